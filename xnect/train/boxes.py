"""`python -m xnect.train.boxes`: train the box branch of Stage I; everything else stays as it is.

The branch reads features that already tell people from things, so that it learns in a fraction of
the time, and the joints of the weights that it joins stay exactly what they were.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from xnect.backbones.hub import download
from xnect.errors import BadWeights, UnknownName
from xnect.heads.boxes import BoxHead
from xnect.network import PRESETS, Network, build_network, channels_last
from xnect.prepare import Normalisation
from xnect.train.augment import AugmentOptions
from xnect.train.batches import Batch, Mixture, Source, loader
from xnect.train.checkpoint import file_metadata, fingerprint, save_weights
from xnect.train.descent import LossesOf
from xnect.train.lanes import LICENCES, mixture_sources, read_shares, refuse_research
from xnect.train.loop import train
from xnect.train.losses import box_losses
from xnect.train.options import TrainOptions, add_flags, told
from xnect.train.processes import as_command
from xnect.train.stage1 import stage1_input, start_from
from xnect.train.targets import make_box_targets

SIZES = (0.07, 1.0)
"""Of people in a training crop: also those who are too small for limbs."""

SMALLEST_PX = 12.0

_NOT_HERE = (
    "size_at_least", "hard_joints", "patience", "validate_minutes", "validate_steps"
)  # fmt: skip
"""Options of the other trainings; nothing here is validated."""


class OnFrozen(nn.Module):
    """A box branch; the network whose features it reads is no part of its parameters."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        assert network.boxes is not None
        self.boxes: BoxHead = network.boxes
        self._frozen = [channels_last(network).eval()]  # in a list: no child

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> OnFrozen:
        """As of any module: the frozen network, of which the branch is a part, goes along."""
        self._frozen[0]._apply(fn, recurse)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 5, H / 8, W / 8)."""
        with torch.no_grad():
            fine, coarse = self._frozen[0].features(images)
        maps: Tensor = self.boxes(coarse, fine)
        return maps


def box_step(normalisation: Normalisation) -> LossesOf:
    """What `train` needs: branch and batch -> losses."""

    def losses_of(branch: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            targets = make_box_targets(batch)
        images = stage1_input(batch.images, normalisation)
        with torch.autocast(images.device.type, torch.bfloat16):
            maps = branch(images)
        return box_losses(maps, targets)

    return losses_of


def whole_stage1(source: str) -> Path:
    """The weights file that `--stage1` means (of a folder that in it), which can be joined later.

    Raises:
        BadWeights: there is none, or it is no safetensors file of Stage I.
    """
    try:
        path = download(source)
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadWeights(
            f"--stage1 {source} must be a safetensors file of Stage I: {reason}"
        ) from error
    if not any(name.startswith("backbone.") for name in names):
        raise BadWeights(
            f"--stage1 {source} must be weights of Stage I; these have no backbone with heads"
        )
    return path


def joined(stage1: Path, branch: Path, out: Path) -> None:
    """Write the weights of Stage I with this box branch in place of the one they may have.

    Raises:
        BadWeights: files that cannot be read, or are not of these two.
        CannotWrite: the disk is full.
    """
    try:
        state, boxes = load_file(stage1), load_file(branch)
    except (OSError, SafetensorError) as error:
        raise BadWeights(f"cannot join {stage1} and {branch}: {error}") from error
    if not boxes or not all(name.startswith("boxes.") for name in boxes):
        raise BadWeights(f"{branch} is no box branch; `ema.safetensors` of this command would be")
    rest = {name: value for name, value in state.items() if not name.startswith("boxes.")}
    told, metadata = file_metadata(branch), file_metadata(stage1)
    if told.get("lane") == "research":
        metadata |= {"lane": "research", "licence": LICENCES["research"]}
    metadata["boxes"] = f"{told.get('images')} crops, {told.get('data')}"
    save_weights(out, rest | boxes, metadata)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status, 2 for a mistake in words or files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--stage1", required=True, help="safetensors file of Stage I that the branch joins"
    )
    parser.add_argument("--lane", choices=tuple(LICENCES), default="research")
    parser.add_argument("--shares", default="", help="such as renders=0.5,coco-train2017=0.5")
    add_flags(parser, without=_NOT_HERE)
    flags = vars(parser.parse_args(arguments))
    data, out, stage1, lane, shares = (
        flags.pop(n) for n in ("data", "out", "stage1", "lane", "shares")
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    def run(rank: int) -> str:
        options = told(flags, TrainOptions())
        whole = whole_stage1(stage1)
        refuse_research(lane, whole)
        sources = mixture_sources(data, lane, read_shares(shares))
        return _train(options, sources, out, whole, lane, rank)

    return as_command(run, flags["device"])


def _train(
    options: TrainOptions, sources: list[Source], out: Path, stage1: Path, lane: str, rank: int
) -> str:
    if options.preset not in PRESETS:
        raise UnknownName("preset", options.preset, sorted(PRESETS))
    torch.manual_seed(options.seed)
    network = build_network(options.preset, backbone=options.backbone or None)
    normalisation = start_from(network, str(stage1), flag="--stage1")
    augmentation = AugmentOptions(
        crop_px=options.crop_px, size_range=SIZES, min_person_px=SMALLEST_PX
    )
    mixture = Mixture(sources, augmentation, batch=options.batch, seed=options.seed + 1000 * rank)
    shares = zip(mixture.sources, mixture.shares, strict=True)
    reason = train(
        OnFrozen(network),
        loader(mixture, workers=options.workers),
        options,
        out=out,
        losses_of=box_step(normalisation),
        validate=None,
        metadata={
            "lane": lane,
            "preset": options.preset,
            "started_from": fingerprint(stage1),
            "data": ", ".join(f"{source.name} {share:.2f}" for source, share in shares),
            "options": json.dumps(asdict(options)),
        },
    )
    if rank == 0:
        joined(stage1, out / "ema.safetensors", out / "stage1.safetensors")
    return reason


if __name__ == "__main__":
    sys.exit(main())
