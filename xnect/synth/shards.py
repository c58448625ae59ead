"""Shards of training pictures: random scenes in, one `.npz` of JPEG bytes and labels out.

Arrays of a shard of N pictures with M people together:

* `jpeg`, `mask`: bytes of all pictures (RGB JPEG) and person maps (grey PNG); `jpeg_len`,
  `mask_len` (N,) say where to cut; `person_offset` (N + 1,) does for the people.
* `joints3d_m` (M, 21, 3), `joints2d_px` (M, 18, 2), `visibility2d` (M, 18): as `xnect.skeleton`
  names them, camera axes, pixel (0, 0) is a centre.
* `joints_cam_m` (M, 29, 3), `joints_px` (M, 29, 2), `vis` (M, 29): the raw points of
  `xnect.synth.labels.RAW`; here pixel *centres are at +0.5*, as the sketch had it.
* `hidden_by2d` (M, 18): what hides a hidden joint, by `xnect.synth.labels`; `depth_order` (M,)
  rank in the picture, 0 = nearest.
* `focal` (N,) px, the principal point is the middle of the picture; `floor` (N, 4) normal and
  height of the camera, as `xnect.calib.floor` has them; `stature` (M,) m.
* `made_json`: how it was drawn (`Made`), absent in older shards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.atomic import replacing
from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.errors import BadInput
from xnect.npz import read_npz
from xnect.synth.dataset import DatasetOptions
from xnect.synth.labels import Labels
from xnect.synth.render import Picture
from xnect.synth.scene import Scene

JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One picture of a shard."""

    picture: Picture  # its distances are empty: they are not stored
    camera: Camera
    stature_m: np.ndarray  # (P,)


@dataclass(frozen=True, slots=True)
class Made:
    """How a shard was drawn: the same values give the same pictures."""

    split: str  # training, held-out or all: the part of the pack that may be in it
    seed: int
    shard: int  # its number
    options: DatasetOptions

    def said(self) -> dict[str, Any]:
        """Name -> value, as JSON has it; what changes no picture is not among them."""
        options = asdict(self.options)
        scene = options.pop("scene")
        for name in ("device", "batch"):
            options.pop(name)
        own = {"split": self.split, "seed": self.seed, "shard": self.shard}
        values: dict[str, Any] = json.loads(json.dumps({**own, **options, **scene}))
        return values


def made_otherwise(path: Path, made: Made) -> list[str]:
    """How the pictures of a shard that exists differ from those of `made`; none, or clauses.

    An older shard does not say how it was made: only its number of pictures is compared.

    Raises:
        BadInput: the shard is damaged.
    """
    wanted, data = made.said(), _arrays(path)
    there = _said(data, path) or {"pictures": len(data["focal"])}
    return [
        f"{name} is {there[name]!r} there, {value!r} here"
        for name, value in wanted.items()
        if name in there and there[name] != value
    ]


def split_of(path: Path) -> str | None:
    """The part of the pack that a shard shows; None for an older one, which does not say.

    Raises:
        BadInput: the shard is damaged.
    """
    split = (_said(read_npz(path, "the shard"), path) or {}).get("split")
    return None if split is None else str(split)


def write_shard(
    path: Path,
    pictures: Iterable[tuple[Picture, Scene]],
    *,
    made: Made | None = None,
    progress: Callable[[], object] = lambda: None,
) -> int:
    """Write one shard at once (a broken run leaves no half file); returns how many pictures.

    `made` is written as well; `progress` is called after every picture.

    Raises:
        BadInput: there are no pictures.
        CannotWrite: the folder cannot be written, or the disk is full; an older file stays.
    """
    jpegs, masks, offset, labels, focal, floors, stature = [], [], [0], [], [], [], []
    for picture, scene in pictures:
        bgr = np.ascontiguousarray(picture.image[..., ::-1])
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        jpegs.append(cv2.imencode(".jpg", bgr, quality)[1].ravel())
        masks.append(cv2.imencode(".png", picture.owner)[1].ravel())
        offset.append(offset[-1] + len(scene.people))
        labels.append(picture.labels)
        focal.append(scene.view.camera.fx_px)
        floor = scene.view.floor
        floors.append([*floor.normal, floor.distance_m])
        stature += [p.stature_m for p in scene.people]
        progress()
    if not labels:
        raise BadInput("a shard needs at least one picture; ask for --pictures 1 or more")

    def joined(field: str) -> np.ndarray:
        array = np.concatenate([getattr(x, field) for x in labels])
        return array if array.dtype == np.uint8 else array.astype(np.float32)

    says: dict[str, Any] = {} if made is None else {"made_json": np.array(json.dumps(made.said()))}
    with replacing(path) as file:
        np.savez(
            file,
            jpeg=np.concatenate(jpegs),
            jpeg_len=np.array([len(j) for j in jpegs]),
            mask=np.concatenate(masks),
            mask_len=np.array([len(m) for m in masks]),
            person_offset=np.array(offset),
            joints3d_m=joined("joints3d_m"),
            joints2d_px=joined("joints2d_px"),
            visibility2d=joined("visibility"),
            joints_cam_m=joined("raw_m"),
            joints_px=joined("raw_px") + np.float32(0.5),
            vis=joined("raw_visibility"),
            hidden_by2d=joined("hidden_by"),
            depth_order=np.concatenate([x.depth_order for x in labels]).astype(np.uint8),
            floor=np.array(floors, np.float32),
            focal=np.array(focal, np.float32),
            stature=np.array(stature, np.float32),
            **says,
        )
    return len(labels)


def read_shard(path: Path) -> Iterator[Example]:
    """The pictures of a shard, decoded one by one.

    Raises:
        BadInput: the shard is missing, damaged or of another kind; the field is named.
    """
    data = _arrays(path)
    data.setdefault("hidden_by2d", np.zeros_like(data["visibility2d"]))  # shards of before
    jpeg, mask = (np.concatenate([[0], np.cumsum(data[f"{k}_len"])]) for k in ("jpeg", "mask"))
    for i, focal in enumerate(data["focal"]):
        bgr = cv2.imdecode(data["jpeg"][jpeg[i] : jpeg[i + 1]], cv2.IMREAD_COLOR)
        owner = cv2.imdecode(data["mask"][mask[i] : mask[i + 1]], cv2.IMREAD_UNCHANGED)
        if bgr is None or owner is None:
            raise BadInput(f"picture {i} of {path} cannot be decoded; write the shard again")
        rows = slice(data["person_offset"][i], data["person_offset"][i + 1])
        labels = Labels(
            raw_m=data["joints_cam_m"][rows],
            raw_px=data["joints_px"][rows] - np.float32(0.5),
            raw_visibility=data["vis"][rows],
            joints3d_m=data["joints3d_m"][rows],
            joints2d_px=data["joints2d_px"][rows],
            visibility=data["visibility2d"][rows],
            hidden_by=data["hidden_by2d"][rows],
        )
        height, width = owner.shape
        centre = (width - 1) / 2, (height - 1) / 2
        floor = None
        if "floor" in data:
            normal = data["floor"][i, :3].astype(float)
            normal = normal / np.linalg.norm(normal)
            floor = Floor((normal[0], normal[1], normal[2]), float(data["floor"][i, 3]))
        camera = Camera(float(focal), float(focal), *centre, width, height, floor=floor)
        nothing = np.zeros((0, 0), np.float32)
        image, people = np.ascontiguousarray(bgr[..., ::-1]), np.asarray(owner)
        picture = Picture(image, people, nothing, labels)
        yield Example(picture, camera, data["stature"][rows])


_FIELDS: Mapping[str, tuple[int | str, ...]] = {
    "focal": ("N",), "jpeg_len": ("N",), "mask_len": ("N",), "jpeg": ("J",), "mask": ("K",),
    "stature": ("M",), "joints3d_m": ("M", 21, 3), "joints2d_px": ("M", 18, 2),
    "visibility2d": ("M", 18), "joints_cam_m": ("M", 29, 3), "joints_px": ("M", 29, 2),
    "vis": ("M", 29),
}  # fmt: skip
_LATER: Mapping[str, tuple[int | str, ...]] = {"hidden_by2d": ("M", 18), "floor": ("N", 4)}
"""Shapes of the arrays; N pictures, M people.  Older shards lack the latter two."""


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a shard, of the right shapes."""
    data = read_npz(path, "the shard")
    missing = [name for name in (*_FIELDS, "person_offset") if name not in data]
    if missing:
        raise BadInput(
            f"the shard {path} has no field {', '.join(missing)}; give one that "
            "`python -m xnect.synth images` wrote (not one of those packed for training)"
        )
    sizes: dict[str, int] = {}
    for name, shape in {**_FIELDS, **{n: s for n, s in _LATER.items() if n in data}}.items():
        right = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in shape)
        array = data[name]
        if array.dtype.kind not in "fiub" or array.ndim != len(right) or any(
            isinstance(size, int) and size != got
            for size, got in zip(right, array.shape, strict=True)
        ):  # fmt: skip
            text = f"({', '.join(map(str, right))})"
            raise BadInput(
                f"the shard {path}: {name} must be numbers {text}, got {array.shape} of "
                f"{array.dtype}; write the shard again"
            )
        sizes |= {
            size: got for size, got in zip(shape, array.shape, strict=True) if isinstance(size, str)
        }
    _check_cuts(data, path)
    return data


def _check_cuts(data: Mapping[str, np.ndarray], path: Path) -> None:
    """Check that the counts fit what they cut: bytes into pictures, people into pictures."""
    offset = data["person_offset"]
    people = [0, len(data["stature"])]
    if (
        offset.dtype.kind not in "iu" or offset.shape != (len(data["focal"]) + 1,)
        or offset[[0, -1]].tolist() != people or (np.diff(offset) < 0).any()
    ):  # fmt: skip
        raise BadInput(
            f"the shard {path}: person_offset must rise from 0 to {people[1]}, the number of "
            "people, by picture; write the shard again"
        )
    for name in ("jpeg", "mask"):
        length = data[f"{name}_len"]
        if length.dtype.kind not in "iu" or length.sum() != len(data[name]):
            raise BadInput(
                f"the shard {path}: {name}_len must sum up to the {len(data[name])} bytes of "
                f"{name}, got {length.sum()}; write the shard again"
            )


def _said(data: Mapping[str, np.ndarray], path: Path) -> dict[str, Any] | None:
    """What a shard says of how it was made; None when it says nothing."""
    if "made_json" not in data:
        return None
    try:
        said = json.loads(str(data["made_json"]))
    except ValueError as error:
        raise BadInput(f"the shard {path}: made_json is no JSON; write the shard again") from error
    if not isinstance(said, dict):
        raise BadInput(f"the shard {path}: made_json must be an object; write the shard again")
    return said
