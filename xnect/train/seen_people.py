"""`python -m xnect.train.seen_people`: what the refiner says of rendered people, for Stage II.

The errors of simulated evidence are drawn one by one.  Here they are the network's own, on people
whose pose is known: exchanged sides, joints of hidden limbs guessed together, codes that shrink
where depth is in doubt, and scores that tell of all that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xnect.atomic import replacing
from xnect.backbones.fold import folded
from xnect.errors import BadInput, XnectError
from xnect.lift import CARRIED, FLIP_CARRIED, carried, lift_arrays
from xnect.model import bundled, load_refiner
from xnect.network import STRIDE, channels_last
from xnect.peaks import best_cells, read_codes
from xnect.pipeline import fast_bf16
from xnect.prepare import normalise
from xnect.refine import RefineOptions, look
from xnect.skeleton import FLIP2D, FLIP3D, J3D, SEEN_AS
from xnect.sure_joints import sure_joints
from xnect.synth.evidence import Evidence, EvidenceOptions
from xnect.train.crops import PersonCrops, read_person_crops
from xnect.train.lanes import lane_of
from xnect.train.person_augment import RefinerAugment, Seen, augment_person
from xnect.train.person_crops import in_front
from xnect.train.samples import read_arrays
from xnect.types import PartialPose

SURE_AT_LEAST = (0.1, 0.6)
"""Range of `sure_joints`'s `at_least`, drawn for each person."""

_SHOWN = np.array([j for j in SEEN_AS if j >= 0])  # 2D joints that have one in 3D ...
_SHOWN3D = np.array([k for k, j in enumerate(SEEN_AS) if j >= 0])  # ... and which


def pinhole(joints_px: np.ndarray, joints_m: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Focal length in pixels and (2,) principal point that project 3D joints to their pixels.

    Least squares over (18, 2) and (21, 3) of the joints that both have; None where the labels do
    not fit such a camera.
    """
    points, pixels = joints_m[_SHOWN3D], joints_px[_SHOWN]
    if points[:, 2].min() < 0.3:
        return None
    flat = points[:, :2] / points[:, 2:]
    middle, centre = flat.mean(0), pixels.mean(0)
    focal = float(((flat - middle) * (pixels - centre)).sum() / ((flat - middle) ** 2).sum())
    shift = centre - focal * middle
    away = np.abs(focal * flat + shift - pixels).max()
    return (focal, shift) if focal > 0 and away < 0.1 * np.ptp(pixels, axis=0).max() else None


def watch(
    refiner: nn.Module, crops: PersonCrops, seed: int, *, most: int | None = None
) -> Evidence:
    """Everybody of the cut-outs whose place is known, changed by chance and seen by the refiner.

    Raises:
        BadInput: there is nobody whose place before the camera is known.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(crops.images))[:most]
    parts, batch = [], []
    for number in order:
        if not in_front(crops.joints3d_m[number]):
            continue
        seen = augment_person(rng, crops, int(number), RefinerAugment())
        camera = pinhole(seen.joints_px, seen.joints3d_m)
        if camera is not None:
            batch.append((seen, *camera))
        if len(batch) == 64:
            parts.append(_told(refiner, batch, rng))
            batch = []
    if batch:
        parts.append(_told(refiner, batch, rng))
    if not parts:
        raise BadInput(
            f"of {len(order)} cut-outs none has 3D labels before its camera; renders would have"
        )
    return Evidence(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _told(
    refiner: nn.Module, batch: Sequence[tuple[Seen, float, np.ndarray]], rng: np.random.Generator
) -> Evidence:
    """What the refiner says of some people, and the truth."""
    inputs = np.stack([normalise(seen.image) for seen, _, _ in batch])
    heatmaps, offsets, maps = look(refiner, inputs, flip_test=False)
    cells, score = best_cells(heatmaps, offsets)
    codes = read_codes(maps, cells)
    score = np.where(score >= RefineOptions().joint_at_least, score, 0.0)
    rays, kept = np.zeros((len(batch), 18, 2)), np.zeros((len(batch), 18))
    for i, (_, focal, shift) in enumerate(batch):
        pixels = cells[i] * STRIDE + (STRIDE - 1) / 2
        told = PartialPose(pixels, score[i], codes[i], 1.0)
        sure = sure_joints(told, at_least=rng.uniform(*SURE_AT_LEAST))
        kept[i] = np.where(sure, score[i], 0.0)
        rays[i] = (pixels - shift) / focal
    truth = np.stack([seen.joints3d_m for seen, _, _ in batch])
    pelvis = truth[:, J3D["pelvis"]]
    kept_codes = carried(codes * (kept > 0)[..., None])
    return Evidence(
        rays=torch.as_tensor(rays, dtype=torch.float32),
        score=torch.as_tensor(kept, dtype=torch.float32),
        codes=torch.as_tensor(kept_codes, dtype=torch.float32),
        known=torch.ones(len(batch)),
        joints_m=torch.as_tensor(truth - pelvis[:, None], dtype=torch.float32),
        metres=torch.as_tensor(pelvis[:, 2], dtype=torch.float32),
        usable=torch.as_tensor((kept > 0).sum(1) >= 3),
    )


def draw_seen(seen: Evidence, count: int, rng: np.random.Generator) -> Evidence:
    """Some of them, half of them mirrored, under cameras that are not quite known."""
    rows = torch.from_numpy(rng.integers(len(seen.rays), size=count))
    chosen = Evidence(*(part[rows] for part in seen))
    mirrored = torch.from_numpy(rng.random(count) < 0.5)
    zoom = torch.from_numpy(np.exp(0.15 * rng.normal(size=count) * (rng.random(count) < 0.5)))
    zoom = zoom.float()
    sign = torch.tensor([-1.0, 1.0, 1.0])

    def turned(values: Tensor, order: Sequence[int], signs: Tensor) -> Tensor:
        return torch.where(mirrored.view(-1, 1, 1), values[:, order] * signs, values)

    return Evidence(
        rays=turned(chosen.rays, FLIP2D, sign[:2]) * zoom[:, None, None],
        score=torch.where(mirrored[:, None], chosen.score[:, FLIP2D], chosen.score),
        codes=turned(chosen.codes, FLIP_CARRIED, sign),
        known=torch.from_numpy(rng.random(count) >= EvidenceOptions().unknown_camera).float(),
        joints_m=turned(chosen.joints_m, FLIP3D, sign),
        metres=chosen.metres / zoom,
        usable=chosen.usable,
    )


def seen_error_mm(lifter: nn.Module, seen: Evidence) -> float:
    """Mean error of all joints of those who are usable, root-relative."""
    device = next(lifter.parameters()).device
    given = (seen.rays, seen.score, seen.codes, seen.known)
    with torch.inference_mode():
        joints, _ = lift_arrays(lifter, *(part.to(device) for part in given))
    return 1e3 * float((joints.cpu() - seen.joints_m).norm(dim=-1)[seen.usable].mean())


def save_seen(path: Path, seen: Evidence, lane: str) -> None:
    """Write as `.npz`, with the lane of the refiner that saw them.

    Raises:
        CannotWrite: the disk is full.
    """
    with replacing(path) as file:
        arrays = {k: v.numpy() for k, v in seen._asdict().items()}
        np.savez(file, allow_pickle=False, lane=np.array(lane), **arrays)


def load_seen(path: Path) -> tuple[Evidence, str]:
    """What `save_seen` wrote: the people, and the lane.

    Raises:
        BadInput: the file is missing or damaged, or lacks a field.
    """
    arrays = read_arrays(path, (*Evidence._fields, "lane"))
    seen = Evidence(*(torch.from_numpy(arrays[name]) for name in Evidence._fields))
    return seen, str(arrays["lane"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--people", type=Path, required=True, help="such as PEOPLE/renders")
    parser.add_argument("-o", "--out", type=Path, required=True, help="npz to write")
    parser.add_argument("--refiner", type=Path, default=bundled("refiner"))
    parser.add_argument("--looks", type=int, default=2, help="at each person, changed otherwise")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    try:
        if flags.looks < 1:
            raise BadInput(f"looks must be 1 or more, got {flags.looks}")
        kind = torch.bfloat16 if fast_bf16(torch.device("cpu")) else torch.float32
        refiner = channels_last(folded(load_refiner(flags.refiner)).to(kind))
        crops = read_person_crops(flags.people)
        looks = [watch(refiner, crops, flags.seed + i) for i in range(flags.looks)]
        seen = Evidence(*(torch.cat(part) for part in zip(*looks, strict=True)))
        save_seen(flags.out, seen, lane_of(flags.refiner))
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{sum(len(look.rays) for look in looks)} people seen, {len(CARRIED)} codes each")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
