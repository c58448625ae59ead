"""Cut-outs of single people on the disk, as the refiner learns from them: one size, few files.

`NAME.npy` holds the pictures, so that they can be mapped into memory, `NAME.npz` the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xnect.atomic import replacing
from xnect.errors import BadInput
from xnect.train.samples import ABSENT, read_arrays

CUT_PX = 240
"""Side of a cut-out."""

BOX_PX = 130
"""Longer side of the box of a person's labelled joints in it."""

_LABELS: dict[str, tuple[int, ...]] = {
    "joints_px": (18, 2), "state": (18,), "joints3d_m": (21, 3), "joints3d_weight": (21,)
}  # fmt: skip
"""Field of the `.npz` -> its shape for one person; `state` holds whole numbers."""


@dataclass(frozen=True, eq=False)
class PersonCrops:
    """N people, each in the middle of a picture of its own; the pictures stay on the disk."""

    images: np.ndarray  # (N, 240, 240, 3) uint8 RGB, memory-mapped
    joints_px: np.ndarray  # (N, 18, 2) pixels of the cut-out
    state: np.ndarray  # (N, 18) int8, as in `samples`
    joints3d_m: np.ndarray  # (N, 21, 3) in the axes of a camera that faces the person, see `facing`
    joints3d_weight: np.ndarray  # (N, 21) 0 where there is no 3D label


def joints_box(joints_px: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(18, 2), (18,) bool -> (4,) box of the joints that are there."""
    points = joints_px[there]
    return np.concatenate([points.min(0), points.max(0)])


def square_cut(image: np.ndarray, box_xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cut-out (240, 240, 3) round a box (4,) px of a picture, and its (2, 3) matrix.

    The longer side of the box becomes `BOX_PX`; beyond the picture it is grey.
    """
    size = max(float((box_xyxy[2:] - box_xyxy[:2]).max()), 1.0)
    scale = BOX_PX / size
    if scale < 0.6:  # plain bilinear would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
    shift = (CUT_PX - 1) / 2 - scale * (box_xyxy[:2] + box_xyxy[2:]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    grey = (114, 114, 114)
    return cv2.warpAffine(image, matrix, (CUT_PX, CUT_PX), borderValue=grey), matrix


def write_crops(out: Path, crops: PersonCrops) -> None:
    """Write `out`.npy and `out`.npz; both, or none of them.

    Raises:
        CannotWrite: the disk is full; older files stay as they were.
    """
    with (
        replacing(out.with_suffix(".npy")) as pictures,
        replacing(out.with_suffix(".npz")) as labels,
    ):
        np.save(pictures, crops.images, allow_pickle=False)
        np.savez(labels, allow_pickle=False, **{name: getattr(crops, name) for name in _LABELS})


def write_labels(out: Path, crops: PersonCrops) -> None:
    """Replace the labels of the cut-outs at `out`, whose pictures stay as they are.

    Raises:
        CannotWrite: the disk is full; the older labels stay as they were.
    """
    with replacing(out.with_suffix(".npz")) as labels:
        np.savez(labels, allow_pickle=False, **{name: getattr(crops, name) for name in _LABELS})


def write_empty(out: Path, cuts: list[np.ndarray]) -> None:
    """The same, of cut-outs (240, 240, 3) without anybody."""
    count = len(cuts)
    write_crops(
        out,
        PersonCrops(
            images=np.stack(cuts),
            joints_px=np.zeros((count, 18, 2), np.float32),
            state=np.full((count, 18), ABSENT, np.int8),
            joints3d_m=np.zeros((count, 21, 3), np.float32),
            joints3d_weight=np.zeros((count, 21), np.float32),
        ),
    )


def read_person_crops(path: Path) -> PersonCrops:
    """What `write_crops` wrote at `path`.

    Raises:
        BadInput: files that are missing, damaged, of an older form, or that do not fit each other.
    """
    if not path.with_suffix(".npy").exists() or not path.with_suffix(".npz").exists():
        raise BadInput(f"no {path}.npy and .npz; make them with `xnect.train.person_crops`")
    labels = read_arrays(path.with_suffix(".npz"), tuple(_LABELS))
    pictures = path.with_suffix(".npy")
    try:
        images = np.load(pictures, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"cannot read the cut-outs {pictures}: {error}; make them again") from error
    if not isinstance(images, np.ndarray):  # an npz of that name
        raise BadInput(f"{pictures} holds no array; make it again")
    if images.ndim != 4 or images.shape[1:] != (CUT_PX, CUT_PX, 3) or images.dtype != np.uint8:
        raise BadInput(
            f"{pictures} must hold (N, {CUT_PX}, {CUT_PX}, 3) uint8, got {images.shape} "
            f"{images.dtype}; make it again"
        )
    for name, shape in _LABELS.items():
        kind = "iu" if name == "state" else "f"
        if labels[name].shape != (len(images), *shape) or labels[name].dtype.kind not in kind:
            raise BadInput(
                f"{path.with_suffix('.npz')} does not fit the {len(images)} pictures beside it: "
                f"{name} is {labels[name].shape} {labels[name].dtype}; make both again"
            )
    return PersonCrops(images, **{name: labels[name] for name in _LABELS})
