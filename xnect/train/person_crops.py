"""`python -m xnect.train.person_crops`: packed shards -> one small picture per person.

The refiner trains on single people.  Decoding a whole photograph for each would take longer than
the training step, so everybody is cut out once, at one size, with room for moves and turns.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from xnect.boxes import BoxOptions, find_boxes
from xnect.errors import BadInput
from xnect.lift import look_at
from xnect.network import Network, build_network, channels_last
from xnect.prepare import Normalisation, image_from_cell, network_hw, normalise, resize
from xnect.skeleton import J3D
from xnect.train.datasets.lspet import lspet
from xnect.train.samples import ABSENT, Sample, Shards, read_arrays, write_shard
from xnect.train.stage1 import start_from

CUT_PX = 240
"""Side of a cut-out."""

BOX_PX = 130
"""Longer side of the box of a person's labelled joints in it."""

_LABELS = ("joints_px", "state", "joints3d_m", "joints3d_weight")

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
    """Cut everybody out of packed shards; writes `out`.npy and `out`.npz, returns the count."""
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
    np.save(out.with_suffix(".npy"), np.stack(cuts), allow_pickle=False)
    np.savez(
        out.with_suffix(".npz"),
        joints_px=np.stack(joints).astype(np.float32),
        state=np.stack(states).astype(np.int8),
        joints3d_m=np.stack(joints3d).astype(np.float32),
        joints3d_weight=np.stack(weights).astype(np.float32),
        allow_pickle=False,
    )
    return len(cuts)


def write_backgrounds(shards: list[Path], out: Path, *, count: int, seed: int = 1) -> int:
    """Random squares of pictures without people, where nothing is to be found; as above."""
    data, rng = Shards(shards), np.random.default_rng(seed)
    cuts: list[np.ndarray] = []
    while len(cuts) < count:
        sample = data[int(rng.integers(len(data)))]
        if sample.outside_weight < 1:
            continue
        height, width = sample.image.shape[:2]
        side = min(height, width) * np.exp(rng.uniform(np.log(0.2), 0))
        x, y = rng.uniform(0, 1, 2) * (width - side, height - side)
        square = sample.image[int(y) : int(y + side), int(x) : int(x + side)]
        kind = cv2.INTER_AREA if side > CUT_PX else cv2.INTER_LINEAR
        cuts.append(cv2.resize(square, (CUT_PX, CUT_PX), interpolation=kind))
    _write_empty(out, cuts)
    return count


def _write_empty(out: Path, cuts: list[np.ndarray]) -> None:
    """Cut-outs without anybody."""
    count = len(cuts)
    np.save(out.with_suffix(".npy"), np.stack(cuts), allow_pickle=False)
    np.savez(
        out.with_suffix(".npz"),
        joints_px=np.zeros((count, 18, 2), np.float32),
        state=np.full((count, 18), ABSENT, np.int8),
        joints3d_m=np.zeros((count, 21, 3), np.float32),
        joints3d_weight=np.zeros((count, 21), np.float32),
        allow_pickle=False,
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
        BadInput: files that are missing, or of an older form.
    """
    if not path.with_suffix(".npy").exists() or not path.with_suffix(".npz").exists():
        raise BadInput(f"no {path}.npy and .npz; make them with `xnect.train.person_crops`")
    labels = read_arrays(path.with_suffix(".npz"), _LABELS)
    images = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    return PersonCrops(images, *(labels[name] for name in _LABELS))


def main() -> None:
    """Command line of `person_crops`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="LSPET dev, to validate with"
    )
    parser.add_argument(
        "--stage1", type=Path, help="weights of preset s with boxes, to look for false alarms with"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    held = options.shared / "lspet"
    if held.exists():
        with TemporaryDirectory() as folder:
            shard = Path(folder) / "dev.npz"
            write_shard(shard, lspet(held, "dev"))
            print(
                f"dev: {write_person_crops([shard], options.out / 'dev')} people, never trained on"
            )
    groups = {
        "coco": "coco*.npz", "lspet": "lspet.npz", "renders": "renders-*.npz",
        "dev-renders": "held-out-*.npz",
    }  # fmt: skip
    empty = options.data / "negatives.npz"
    if empty.exists():
        print(f"negatives: {write_backgrounds([empty], options.out / 'negatives', count=3000)}")
    if options.stage1 is not None:
        network = build_network("s")
        normalisation = start_from(network, str(options.stage1))
        pictures = [
            path for path in (empty, *sorted(options.data.glob("empty-*.npz"))) if path.exists()
        ]
        count = write_false_alarms(
            pictures, network, options.out / "alarms", normalisation=normalisation
        )
        print(f"alarms: {count}")
    for name, pattern in groups.items():
        shards = sorted(options.data.glob(pattern))
        if shards:
            print(f"{name}: {write_person_crops(shards, options.out / name)} people", flush=True)


if __name__ == "__main__":
    main()
