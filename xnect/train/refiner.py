"""`python -m xnect.train.refiner`: train the refiner on single people cut out of pictures."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from xnect.errors import BadInput, BadWeights, UnknownName
from xnect.network import STRIDE
from xnect.prepare import MEAN, STD
from xnect.refiner import (
    REFINER_NAME,
    REFINERS,
    SIDE_PX,
    PersonMaps,
    Refiner,
    from_stage1,
)
from xnect.skeleton import JOINTS2D
from xnect.train.checkpoint import fingerprint
from xnect.train.crops import PersonCrops, read_person_crops
from xnect.train.lanes import (
    LICENCES,
    RESEARCH_CROPS,
    check_shares,
    read_shares,
    refuse_research,
)
from xnect.train.loop import train
from xnect.train.losses import code_loss, heatmap_loss
from xnect.train.options import FROM_SCRATCH, TrainOptions, add_flags, told
from xnect.train.person_augment import RefinerAugment, Seen, augment_person
from xnect.train.processes import as_command
from xnect.train.refiner_figures import bone_error, crop_pck
from xnect.train.samples import UNKNOWN
from xnect.train.targets import bone_codes
from xnect.train.widen import widened


class PersonBatch(NamedTuple):
    """B people."""

    images: Tensor  # (B, 3, 160, 160) uint8
    joints_px: Tensor  # (B, 18, 2)
    state: Tensor  # (B, 18) int8
    joints3d_m: Tensor  # (B, 21, 3)
    joints3d_weight: Tensor  # (B, 21)


class People(IterableDataset[PersonBatch]):
    """Endless batches by seed; each person's data set is drawn by its share."""

    def __init__(
        self,
        crops: list[PersonCrops],
        shares: list[float],
        *,
        batch: int,
        seed: int,
        options: RefinerAugment = RefinerAugment(),
    ) -> None:
        self.crops, self.batch, self.seed, self.options = crops, batch, seed, options
        self.shares = np.array(shares) / sum(shares)

    def __iter__(self) -> Iterator[PersonBatch]:
        return self.from_batch(0)

    def from_batch(self, number: int) -> Iterator[PersonBatch]:
        """From any batch on: a batch depends on the seed and its number alone."""
        cv2.setNumThreads(1)
        for n in itertools.count(number):
            rng = np.random.default_rng([self.seed, n])
            made = []
            for which in rng.choice(len(self.crops), self.batch, p=self.shares):
                data = self.crops[which]
                i = int(rng.integers(len(data.images)))
                made.append(augment_person(rng, data, i, self.options))
            yield as_batch(made)


def as_batch(people: Sequence[Seen]) -> PersonBatch:
    """Stacked, as tensors."""
    images, joints, state, joints3d, weight = (np.stack(part) for part in zip(*people, strict=True))
    return PersonBatch(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(joints.astype(np.float32)),
        torch.from_numpy(state),
        torch.from_numpy(joints3d.astype(np.float32)),
        torch.from_numpy(weight.astype(np.float32)),
    )


CODE_SHARE = 0.5
"""Of the loss of the 3D codes."""


def refiner_losses(maps: PersonMaps, batch: PersonBatch) -> dict[str, Tensor]:
    """Focal loss of the heatmaps, cross-entropy over their cells, L1 of the offsets and of codes.

    The focal loss makes a score of each cell; the cross-entropy asks only which cell it is, and so
    goes on telling left from right where both look possible.
    """
    logits, offsets = maps.heatmaps.float(), maps.offsets.float()
    h, w = logits.shape[-2:]
    cells = (batch.joints_px - (STRIDE - 1) / 2) / STRIDE  # (B, J, 2)
    there, known = (batch.state > 0).float(), (batch.state != UNKNOWN).float()
    x, y = torch.arange(w).float(), torch.arange(h).float()
    dx, dy = x - cells[..., :1], y - cells[..., 1:]  # (B, J, w), (B, J, h)
    square = dy.square()[..., None] + dx.square()[..., None, :]
    target = torch.exp(-0.5 * square / 0.95**2) * there[..., None, None]
    focal = heatmap_loss(logits, target, known[..., None, None].expand_as(target))
    sharp = torch.exp(-0.5 * square / 0.6**2)
    share = sharp / sharp.sum((-2, -1), keepdim=True).clamp_min(1e-9)
    chance = F.log_softmax(logits.flatten(2), -1).unflatten(-1, (h, w))
    cross = -(share * chance).sum((-2, -1))
    near = (dx.abs()[..., None, :] <= 1.5) & (dy.abs()[..., None] <= 1.5)
    weight = near * there[..., None, None]
    way = torch.stack(torch.broadcast_tensors(-dx[..., None, :], -dy[..., None]), 2)
    error = (offsets - way).abs().sum(2)
    count = there.sum().clamp_min(1.0)
    codes, code_weight = bone_codes(  # of one person in each picture
        batch.joints_px[:, None], batch.state[:, None], batch.joints3d_m[:, None],
        batch.joints3d_weight[:, None], h, w,
    )  # fmt: skip
    return {
        "heatmaps": focal,
        "cells": 0.3 * (cross * there).sum() / count,
        "offsets": 0.3 * (error * weight).sum() / weight.sum().clamp_min(1.0),
        "codes": CODE_SHARE * code_loss(maps.codes.float(), codes, code_weight),
    }


def step_losses(network: nn.Module, batch: PersonBatch) -> dict[str, Tensor]:
    """What `train` needs of the refiner: network and batch -> losses."""
    images = batch.images.float().div_(255).sub_(MEAN).div_(STD)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16):
        maps = network(images)
    with images.device:
        return refiner_losses(maps, batch)


_NOT_HERE = ("backbone", "crop_px", "size_at_least", "hard_joints", "workers")
"""Options of the other trainings."""

SHARES = {"lspet": 0.42, "coco": 0.22, "renders": 0.27, "negatives": 0.04, "alarms": 0.05,
          "alarms-research": 0.05}  # fmt: skip


def shares_of(lane: str, wished: Mapping[str, float], people: Path) -> dict[str, float]:
    """Shares of the data sets that a lane may learn from: those wished, or all that are there.

    Raises:
        UnknownName: a set that no refiner learns from, or none of this lane.
        BadInput: a share that is not positive.
    """
    known = [name for name in SHARES if lane != "open" or name not in RESEARCH_CROPS]
    check_shares(wished, lane, known)
    there = (name for name in known if (people / f"{name}.npz").exists())
    return dict(wished) or {name: SHARES[name] for name in there}


def start_from(network: Refiner, stage1: Path | None, refiner: Path | None) -> None:
    """Fill all of the refiner from weights of Stage I, preset `s`, then from those of a refiner.

    One of twice their width, and one with attention where they have none, begin as what they give.

    Raises:
        BadWeights: a file that is none, or is for another network, or leaves something out that
            the other does not give.
    """
    state: dict[str, Tensor] = {}
    path = refiner or stage1
    try:
        if stage1 is not None:
            state |= from_stage1(load_file(stage1))
        if refiner is not None:
            state |= load_file(refiner)
        if not any(name.startswith("attention.") for name in state):
            fresh = {n: v for n, v in network.state_dict().items() if n.startswith("attention.")}
            state = fresh | state
        wide = network.state_dict()["heatmaps.weight"].shape[1]
        if "heatmaps.weight" in state and 2 * state["heatmaps.weight"].shape[1] == wide:
            state = widened(state, network)
        left = network.load_state_dict(state, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadWeights(f"{path} does not fit the refiner: {error}") from error
    missing = [n for n in left.missing_keys if not n.endswith("num_batches_tracked")]
    if missing or left.unexpected_keys:
        raise BadWeights(
            f"{path} does not fit the refiner: {len(missing)} tensors lack, "
            f"{len(left.unexpected_keys)} are too many; weights of Stage I, preset s, would"
        )


@dataclass(frozen=True)
class Files:
    """Where things lie."""

    people: Path  # folder of person crops
    out: Path
    stage1: Path | None
    refiner: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=Path, required=True, help="folder of person crops")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lane", choices=tuple(LICENCES), default="research")
    parser.add_argument("--stage1", type=Path, help="weights of preset s to start from")
    parser.add_argument("--refiner", type=Path, help="weights of a refiner to go on from")
    parser.add_argument("--shares", default="", help="such as renders=0.9,negatives=0.1")
    add_flags(parser, FROM_SCRATCH, without=_NOT_HERE)
    flags = vars(parser.parse_args(arguments))
    files = Files(*(flags.pop(n) for n in ("people", "out", "stage1", "refiner")))
    lane, shares = flags.pop("lane"), flags.pop("shares")

    def run(rank: int) -> str:
        options = told(flags, FROM_SCRATCH)
        return _train(options, files, lane, read_shares(shares), rank)

    return as_command(run, flags["device"])


def _train(
    options: TrainOptions, files: Files, lane: str, wished: Mapping[str, float], rank: int
) -> str:
    torch.manual_seed(options.seed)
    refuse_research(lane, files.stage1, files.refiner)
    people = files.people
    shares = shares_of(lane, wished, people)
    if not shares:
        raise BadInput(f"{people} holds no person crops for lane {lane}; make them first")
    data = People(
        [read_person_crops(people / name) for name in shares],
        list(shares.values()),
        batch=options.batch,
        seed=options.seed + 1000 * rank,
    )
    if options.preset not in REFINERS:
        raise UnknownName("preset", options.preset, sorted(REFINERS))
    network = Refiner(REFINERS[options.preset])
    if files.stage1 or files.refiner:
        start_from(network, files.stage1, files.refiner)
    held = {
        figure: read_person_crops(people / name)
        for figure, name in ((crop_pck, "dev"), (bone_error, "dev-renders"))
        if (people / f"{name}.npz").exists()
    }

    def validate(network: nn.Module) -> dict[str, float]:
        found = {k: v for figure, crops in held.items() for k, v in figure(network, crops).items()}
        if crop_pck in held:
            return found
        return {"minus_bone_error_mm": -found["bone_error_mm"], **found}  # more is better

    metadata = {
        "architecture": REFINER_NAME,
        "preset": options.preset,
        "lane": lane,
        "licence": LICENCES[lane],
        "input_hw": f"{SIDE_PX}x{SIDE_PX}",
        "joints": ", ".join(JOINTS2D),
        "data": ", ".join(f"{name} {share:.2f}" for name, share in shares.items()),
        "started_from": " ".join(map(fingerprint, filter(None, (files.stage1, files.refiner)))),
        "options": json.dumps(asdict(options)),
    }
    return train(
        network,
        data,
        options,
        out=files.out,
        losses_of=step_losses,
        validate=validate if held else None,
        metadata=metadata,
        start="--refiner",
    )


if __name__ == "__main__":
    sys.exit(main())
