"""`python -m xnect.train.person_crops`: packed shards -> one small picture per person.

The refiner trains on single people.  Decoding a whole photograph for each would take longer than
the training step, so everybody is cut out once, at one size, with room for moves and turns.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from xnect.atomic import replacing
from xnect.boxes import BoxOptions, find_boxes
from xnect.errors import BadInput, XnectError
from xnect.lift import look_at
from xnect.network import Network, build_network, channels_last
from xnect.prepare import Normalisation, image_from_cell, network_hw, normalise, resize
from xnect.skeleton import J3D
from xnect.train.datasets.lspet import lspet
from xnect.train.samples import ABSENT, Sample, Shards, read_arrays, write_shard
from xnect.train.stage1 import start_from

log = logging.getLogger(__name__)

CUT_PX = 240
"""Side of a cut-out."""

BOX_PX = 130
"""Longer side of the box of a person's labelled joints in it."""

_LABELS: dict[str, tuple[int, ...]] = {
    "joints_px": (18, 2), "state": (18,), "joints3d_m": (21, 3), "joints3d_weight": (21,)
}  # fmt: skip
"""Field of the `.npz` -> its shape for one person; `state` holds whole numbers."""

JOINTS_AT_LEAST = 5
SMALLEST_PX = 20.0
"""Longer side of a box in the source below which a person shows too little."""


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


def cut_out(sample: Sample, person: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Picture (240, 240, 3) of one person and (18, 2) joints in it; None if too little shows."""
    there = sample.state[person] > 0
    if there.sum() < JOINTS_AT_LEAST:
        return None
    box = joints_box(sample.joints_px[person], there)
    size = float((box[2:] - box[:2]).max())
    if size < SMALLEST_PX:
        return None
    scale = BOX_PX / size
    image = sample.image
    if scale < 0.6:  # plain bilinear would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
    shift = (CUT_PX - 1) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    cut = cv2.warpAffine(
        image, matrix, (CUT_PX, CUT_PX), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114)
    )
    return cut, sample.joints_px[person] * scale + shift


_TORSO = [J3D[n] for n in ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")]


def facing(joints3d_m: np.ndarray) -> np.ndarray:
    """(21, 3) camera axes -> the same, of a camera at the same place that faces the torso.

    What somebody looks like who stands at the rim of a picture.  Labels that lie round the origin
    rather than before the camera are taken as seen so already.
    """
    ray = joints3d_m[_TORSO].mean(0)
    if not in_front(joints3d_m):
        return joints3d_m
    view = look_at(torch.as_tensor(ray[None, :2] / ray[2]))[0].numpy()
    turned: np.ndarray = joints3d_m @ view
    return turned


def in_front(joints3d_m: np.ndarray) -> bool:
    """Whether (21, 3) labels lie before the camera, rather than round their own pelvis."""
    return bool(joints3d_m[_TORSO, 2].mean() >= 0.3 and np.abs(joints3d_m[J3D["pelvis"]]).max() > 0)


def write_person_crops(shards: list[Path], out: Path) -> int:
    """Cut everybody out of packed shards; writes `out`.npy and `out`.npz, returns the count.

    Raises:
        BadInput: the shards cannot be read, or show nobody well enough.
        CannotWrite: the disk is full; older files stay as they were.
    """
    data = Shards(shards)
    cuts: list[np.ndarray] = []
    joints, states, joints3d, weights = [], [], [], []
    for number in range(len(data)):
        sample = data[number]
        for person in range(len(sample.joints_px)):
            made = cut_out(sample, person)
            if made is not None:
                cuts.append(made[0])
                joints.append(made[1])
                states.append(sample.state[person])
                joints3d.append(facing(sample.joints3d_m[person]))
                weights.append(sample.joints3d_weight[person])
    if not cuts:
        raise BadInput(
            f"there is nobody to cut out of {', '.join(path.name for path in shards)}: nobody has "
            f"{JOINTS_AT_LEAST} joints and {SMALLEST_PX:g} px"
        )
    _write(
        out,
        PersonCrops(
            images=np.stack(cuts),
            joints_px=np.stack(joints).astype(np.float32),
            state=np.stack(states).astype(np.int8),
            joints3d_m=np.stack(joints3d).astype(np.float32),
            joints3d_weight=np.stack(weights).astype(np.float32),
        ),
    )
    return len(cuts)


def _write(out: Path, crops: PersonCrops) -> None:
    """Both files, or none of them when the disk is full."""
    with (
        replacing(out.with_suffix(".npy")) as pictures,
        replacing(out.with_suffix(".npz")) as labels,
    ):
        np.save(pictures, crops.images, allow_pickle=False)
        np.savez(labels, allow_pickle=False, **{name: getattr(crops, name) for name in _LABELS})


def write_backgrounds(shards: list[Path], out: Path, *, count: int, seed: int = 1) -> int:
    """Random squares of pictures without people, where nothing is to be found; as above.

    Raises:
        BadInput: the shards cannot be read, or no picture in them is sure to be empty.
        CannotWrite: the disk is full; older files stay as they were.
    """
    data, rng = Shards(shards), np.random.default_rng(seed)
    cuts: list[np.ndarray] = []
    empty = data.sure_to_be_empty()
    if not empty.any():
        raise BadInput(
            f"no picture in {', '.join(path.name for path in shards)} is sure to show nobody "
            "(outside_weight 1): there is nothing to cut squares out of"
        )
    while len(cuts) < count:
        number = int(rng.integers(len(data)))
        if not empty[number]:
            continue
        sample = data[number]
        height, width = sample.image.shape[:2]
        side = max(1.0, min(height, width) * np.exp(rng.uniform(np.log(0.2), 0)))
        x, y = rng.uniform(0, 1, 2) * (width - side, height - side)
        square = sample.image[int(y) : int(y + side), int(x) : int(x + side)]
        kind = cv2.INTER_AREA if side > CUT_PX else cv2.INTER_LINEAR
        cuts.append(cv2.resize(square, (CUT_PX, CUT_PX), interpolation=kind))
    _write_empty(out, cuts)
    return count


def _write_empty(out: Path, cuts: list[np.ndarray]) -> None:
    """Cut-outs without anybody."""
    count = len(cuts)
    _write(
        out,
        PersonCrops(
            images=np.stack(cuts),
            joints_px=np.zeros((count, 18, 2), np.float32),
            state=np.full((count, 18), ABSENT, np.int8),
            joints3d_m=np.zeros((count, 21, 3), np.float32),
            joints3d_weight=np.zeros((count, 21), np.float32),
        ),
    )


def write_false_alarms(
    shards: list[Path], network: Network, out: Path, *, normalisation: Normalisation
) -> int:
    """Squares of pictures without people in which Stage I's box branch sees somebody; as above.

    What looks like people to it is what the refiner must tell apart (hard negatives, Felzenszwalb
    et al. 2010).
    """
    data = Shards(shards)
    network = channels_last(network).eval()
    cuts: list[np.ndarray] = []
    for number in range(len(data)):
        sample = data[number]
        if sample.outside_weight < 1 or len(sample.joints_px):
            continue
        for size in ALARM_SIDES:
            for middle, side in _alarms(sample.image, network, size, normalisation):
                linear = CUT_PX / side
                shift = (CUT_PX - 1) / 2 - linear * middle
                matrix = np.array([[linear, 0, shift[0]], [0, linear, shift[1]]])
                image = sample.image
                if linear < 0.6:
                    image = cv2.GaussianBlur(image, (0, 0), 0.35 / linear)
                grey = (114, 114, 114)
                cuts.append(cv2.warpAffine(image, matrix, (CUT_PX, CUT_PX), borderValue=grey))
    if cuts:
        _write_empty(out, cuts)
    return len(cuts)


ALARM_SIDES = (240, 400)
"""Sides of the squares whose area Stage I's input has when false alarms are looked for."""

ALARM_AT_LEAST = 0.12
"""Of a box in a picture without people."""


def _alarms(
    image: np.ndarray, network: Network, side_px: int, normalisation: Normalisation
) -> list[tuple[np.ndarray, float]]:
    """Centre (2,) px and side of the cut-out of each box that Stage I sees."""
    hw = image.shape[:2]
    size = network_hw(hw, (side_px, side_px))
    tensor = torch.from_numpy(normalise(resize(image, size), normalisation))[None]
    tensor = tensor.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = network.box_maps(tensor)[0].float()
    maps[0].sigmoid_()
    affine = image_from_cell(hw, size)
    boxes, _ = find_boxes(maps.numpy(), affine, BoxOptions(score_at_least=ALARM_AT_LEAST))
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=SMALLEST_PX)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return [(m, s * CUT_PX / BOX_PX) for m, s in zip(middles, sizes, strict=True)]


def read_person_crops(path: Path) -> PersonCrops:
    """What `write_person_crops` wrote at `path`.

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


GROUPS = {
    "coco": "coco*.npz", "lspet": "lspet.npz", "renders": "renders-*.npz",
    "dev-renders": "held-out-*.npz",
}  # fmt: skip
"""Name of the cut-outs -> the packed shards from which they come."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `person_crops`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="LSPET dev, to validate with"
    )
    parser.add_argument(
        "--stage1", type=Path, help="weights of preset s with boxes, to look for false alarms with"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        _make_all(options.data, options.out, options.shared, options.stage1)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _make_all(data: Path, out: Path, shared: Path, stage1: Path | None) -> None:
    """All cut-outs of a folder of shards; what cannot be made is left out with a warning.

    Raises:
        BadInput: there is no shard in the folder, or nothing can be made of those in it.
        BadWeights: no Stage I in `stage1`.
        CannotWrite: the disk is full.
    """
    if not data.is_dir():
        raise BadInput(f"there is no folder {data}; make one with `python -m xnect.train.pack`")
    groups = {name: sorted(data.glob(pattern)) for name, pattern in GROUPS.items()}
    sure = [path for path in (data / "negatives.npz",) if path.exists()]
    if not sure and not any(groups.values()):
        patterns = ", ".join(("negatives.npz", *GROUPS.values()))
        raise BadInput(
            f"{data} holds none of {patterns}; make them with `python -m xnect.train.pack`"
        )
    made: list[int] = []

    def make(name: str, what: str, write: Callable[[], int]) -> None:
        try:
            count = write()
        except BadInput as error:
            log.warning("left out %s: %s", name, error)
            return
        print(f"{name}: {count}{what}", flush=True)
        if name != "dev":
            made.append(count)

    if (shared / "lspet").exists():
        make("dev", " people, never trained on", lambda: _write_dev(shared / "lspet", out / "dev"))
    if sure:
        make("negatives", "", lambda: write_backgrounds(sure, out / "negatives", count=3000))
    if stage1 is not None:
        network = build_network("s")
        norm = start_from(network, str(stage1))
        empty = [*sure, *sorted(data.glob("empty-*.npz"))]
        alarms = out / "alarms"
        make("alarms", "", lambda: write_false_alarms(empty, network, alarms, normalisation=norm))
    for name, shards in groups.items():
        if shards:
            people = partial(write_person_crops, shards, out / name)
            make(name, " people", people)
    if not made:
        raise BadInput(f"nothing in {data} can be cut out; the warnings above say why")


def _write_dev(lspet_root: Path, out: Path) -> int:
    """Cut out the people whom no training sees."""
    with TemporaryDirectory() as folder:
        shard = Path(folder) / "dev.npz"
        write_shard(shard, lspet(lspet_root, "dev"))
        return write_person_crops([shard], out)


if __name__ == "__main__":
    raise SystemExit(main())
