"""`python -m xnect.train.stage1`: train Stage I on packed pictures."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from xnect.backbones import load_checkpoint_into, read_checkpoint
from xnect.backbones.hub import download
from xnect.errors import BadWeights, UnknownName
from xnect.network import PRESETS, Network, build_network
from xnect.prepare import Normalisation
from xnect.skeleton import JOINTS2D
from xnect.train.augment import as_small_as
from xnect.train.batches import Batch, Mixture, Source, loader
from xnect.train.checkpoint import file_metadata, fingerprint
from xnect.train.datasets.lspet import lspet
from xnect.train.lanes import LICENCES, mixture_sources, read_shares, refuse_research
from xnect.train.loop import train
from xnect.train.losses import stage1_losses
from xnect.train.options import FROM_SCRATCH, TrainOptions, add_flags, told
from xnect.train.processes import as_command
from xnect.train.targets import make_targets
from xnect.train.validate import peak_pck

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of weights trained on ImageNet, by timm and most others (spec 2.6)."""


def start_from(network: Network, init: str, *, flag: str = "--init") -> Normalisation:
    """Weights of Stage I from a file of this project, or the backbone's from ImageNet training.

    Args:
        network: What is filled.
        init: File, folder, hub id or URL.
        flag: By which the user gave it; errors begin with it.

    Returns:
        How the pictures were normalised that they were trained on.

    Raises:
        BadWeights: Nothing to be had there, or weights for another network.
    """
    try:
        path = download(init)
        tensors = read_checkpoint(path)
        if any(name.startswith("backbone.") for name in tensors):
            state = {k: v.float() for k, v in tensors.items()}
            keys = network.load_state_dict(state, strict=False)
            missing = [k for k in keys.missing_keys if not k.startswith("boxes.")]
            missing = [k for k in missing if not k.endswith("num_batches_tracked")]
            if missing or keys.unexpected_keys:
                raise BadWeights(
                    f"weights for another network: {len(missing)} tensors lack, "
                    f"{len(keys.unexpected_keys)} are too many"
                )
            return Normalisation.of(file_metadata(path))
        load_checkpoint_into(network.backbone, tensors)
        return IMAGENET
    except (ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torch's own sentence has many lines
        raise BadWeights(f"{flag} {init}: {reason}") from error


def stage1_step(
    normalisation: Normalisation = Normalisation(), *, hard_joints: int = 0
) -> Callable[[nn.Module, Batch], dict[str, Tensor]]:
    """What `train` needs of Stage I: network and batch -> losses."""

    def losses_of(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        images = stage1_input(batch.images, normalisation)
        with torch.no_grad():
            targets = make_targets(batch)
        with torch.autocast(images.device.type, torch.bfloat16):
            maps = network(images)
        return stage1_losses(maps, targets, hard_joints=hard_joints)

    return losses_of


def stage1_input(images: Tensor, normalisation: Normalisation) -> Tensor:
    """(B, 3, H, W) uint8 -> what Stage I takes."""
    mean, std = (torch.tensor(row, device=images.device).view(-1, 1, 1) for row in normalisation)
    made = images.float().div_(255).sub_(mean).div_(std)
    return made.contiguous(memory_format=torch.channels_last)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `train`; returns the exit status, 2 for a mistake in words or files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lane", choices=tuple(LICENCES), default="research")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--init", help="file of Stage I; or file, hub id or URL of the backbone's ImageNet weights"
    )
    parser.add_argument(
        "--shares", default="", help="such as renders=0.5,coco-train2017=0.5; only these are used"
    )
    add_flags(parser, FROM_SCRATCH)
    flags = vars(parser.parse_args(arguments))
    data, out, lane, shared, init, shares = (
        flags.pop(n) for n in ("data", "out", "lane", "shared", "init", "shares")
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    def run(rank: int) -> str:
        options = told(flags, FROM_SCRATCH)
        sources = mixture_sources(data, lane, read_shares(shares))
        return _train_stage1(options, sources, out, lane, shared, init, rank)

    return as_command(run, flags["device"])


def _train_stage1(
    options: TrainOptions,
    sources: list[Source],
    out: Path,
    lane: str,
    shared: Path,
    init: str | None,
    rank: int,
) -> str:
    """Everything behind the command; returns why it ended."""
    if options.preset not in PRESETS:
        raise UnknownName("preset", options.preset, sorted(PRESETS))
    torch.manual_seed(options.seed)
    network = build_network(options.preset, backbone=options.backbone or None)
    normalisation, started_from = Normalisation(), ""
    if init is not None:
        normalisation = start_from(network, init)
        refuse_research(lane, download(init))
        started_from = fingerprint(download(init))
    augmentation = as_small_as(options.size_at_least, options.crop_px)
    mixture = Mixture(sources, augmentation, batch=options.batch, seed=options.seed + 1000 * rank)
    root = shared / "lspet"
    validation = list(itertools.islice(lspet(root, "dev"), 160)) if root.exists() else []
    metadata = {
        "architecture": f"xnect stage 1 preset {options.preset}",
        "preset": options.preset,
        "backbone": options.backbone,
        "lane": lane,
        "licence": LICENCES[lane],
        "input_hw": "x".join(map(str, PRESETS[options.preset].input_hw)),
        "joints": ", ".join(JOINTS2D),
        "data": ", ".join(
            f"{source.name} {share:.2f}"
            for source, share in zip(mixture.sources, mixture.shares, strict=True)
        ),
        "started_from": started_from,
        **normalisation.metadata(),
        "options": json.dumps(asdict(options)),
    }
    return train(
        network,
        loader(mixture, workers=options.workers),
        options,
        out=out,
        losses_of=stage1_step(normalisation, hard_joints=options.hard_joints),
        validate=(
            (lambda n: {"peak_pck": peak_pck(n, validation, normalisation)}) if validation else None
        ),
        metadata=metadata,
        start="--init",
    )


if __name__ == "__main__":
    raise SystemExit(main())
