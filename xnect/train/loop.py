"""`python -m xnect.train.loop`: train Stage I.  Everything is passed in; nothing is global."""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xnect.backbones import load_checkpoint_into, read_checkpoint
from xnect.backbones.hub import download
from xnect.errors import BadInput, BadWeights
from xnect.network import PRESETS, Network, build_network, channels_last
from xnect.prepare import MEAN, STD
from xnect.skeleton import JOINTS2D
from xnect.train.augment import AugmentOptions
from xnect.train.batches import Batch, Mixture, Source, loader
from xnect.train.checkpoint import Ema, load_checkpoint, save_checkpoint, save_weights
from xnect.train.datasets.lspet import lspet
from xnect.train.losses import stage1_losses
from xnect.train.targets import make_targets
from xnect.train.validate import peak_pck

LICENCES = {
    "open": "Apache-2.0",
    "research": "research only: trained on Leeds Sports Pose Extended as well",
}
"""Of the weights of each lane."""


@dataclass(frozen=True)
class TrainOptions:
    """One training run."""

    preset: str = "s"
    backbone: str = ""  # any other than the preset's, at full width
    hours: float = 1.0  # wall clock for the whole schedule, over all resumed parts
    batch: int = 16  # small: from scratch, the number of steps counts most
    crop_px: int = 192
    learning_rate: float = 2e-3
    final_rate_share: float = 0.02
    weight_decay: float = 1e-2
    warm_up_steps: int = 200
    ema_decay: float = 0.999
    seed: int = 1
    save_minutes: float = 5.0
    validate_minutes: float = 10.0
    workers: int = 1


def mixture_sources(packed: Path, lane: str) -> list[Source]:
    """The data sets of a lane with their shares.

    `open` has renders and COCO train2017 only; `research` also LSP-Extended.
    """
    rendered = tuple(sorted(packed.glob("renders-*.npz")))
    extra = tuple(sorted(packed.glob("coco-extra*.npz")))
    if not rendered:
        raise BadInput(f"no renders-*.npz in {packed}; run `python -m xnect.train.pack` first")
    coco_share = 0.26 if extra else 0.15
    sources = [
        Source("coco-train2017", (packed / "coco.npz", *extra), coco_share, True),
        Source("negatives", (packed / "negatives.npz",), 0.06, True),
        Source("renders", rendered, 0.28, False),
    ]
    if lane == "research":
        sources.append(Source("lspet", (packed / "lspet.npz",), 0.42, True, min_size=0.45))
    return sources


def parameter_groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on convolutions only: not on biases and batch norm."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def start_from(network: Network, init: str) -> None:
    """Weights of Stage I from a file of this project, or the backbone's from ImageNet training.

    Raises:
        BadWeights: Nothing to be had there, or weights for another network.
    """
    try:
        tensors = read_checkpoint(download(init))
        if any(name.startswith("backbone.") for name in tensors):
            network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
        else:
            load_checkpoint_into(network.backbone, tensors)
    except (ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torch's own sentence has many lines
        raise BadWeights(f"--init {init}: {reason}") from error


def rate_at(progress: float, step: int, options: TrainOptions) -> float:
    """Learning rate: linear warm-up by steps, then cosine by the share of time used."""
    warm = min(1.0, (step + 1) / options.warm_up_steps)
    low = options.final_rate_share
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return options.learning_rate * warm * (low + (1 - low) * cosine)


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch
) -> dict[str, float]:
    """One step; returns the losses.  Raises `FloatingPointError` when they are not finite."""
    images = batch.images.float().div_(255).sub_(MEAN).div_(STD)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        targets = make_targets(batch)
    with torch.autocast(images.device.type, torch.bfloat16):
        maps = network(images)
    losses = stage1_losses(maps, targets)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        raise FloatingPointError(
            f"losses are not finite: { {k: float(v.detach()) for k, v in losses.items()} }"
        )
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def train(
    network: nn.Module,
    batches: Iterable[Any],
    options: TrainOptions,
    *,
    out: Path,
    step_of: Callable[[nn.Module, torch.optim.Optimizer, Any], dict[str, float]],
    validate: Callable[[nn.Module], dict[str, float]] | None,
    metadata: dict[str, str],
) -> None:
    """Train until the time is used up; `out` gets checkpoint, EMA weights and `log.jsonl`.

    Args:
        network: What is trained.
        batches: Of whatever `step_of` takes; its first field holds the pictures.
        options: Schedule, rates, times.
        out: Folder; a checkpoint in it is gone on from.
        step_of: One step of the optimizer; returns the losses.
        validate: Figures of the averaged network, asked for every `validate_minutes`.
        metadata: Of the weights.

    In a process group every process trains on batches of its own and gradients are averaged; the
    first process keeps the time and writes.
    """
    channels_last(network.train())
    optimizer = torch.optim.AdamW(
        parameter_groups(network, options.weight_decay), options.learning_rate
    )
    ema, step, used_s, images = Ema(network, options.ema_decay), 0, 0.0, 0
    resume = out / "checkpoint.pt"
    if resume.exists():
        state = load_checkpoint(resume)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        ema.state, ema.updates = state["ema"], state["ema_updates"]
        step, used_s, images = state["step"], state["used_s"], state["images"]
    first = not dist.is_initialized() or dist.get_rank() == 0
    world = dist.get_world_size() if dist.is_initialized() else 1
    model: nn.Module = DistributedDataParallel(network) if world > 1 else network
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "log.jsonl").open("a")
    average = copy.deepcopy(network)
    last = saved = validated = reported = time.monotonic()
    means: dict[str, float] = {}
    for batch in itertools.chain.from_iterable(itertools.repeat(batches)):
        progress = _agreed(used_s / (options.hours * 3600))
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, step, options)
        losses = step_of(model, optimizer, batch)
        now = time.monotonic()
        used_s, last = used_s + now - last, now
        step, images = step + 1, images + world * len(batch[0])
        if not first:
            continue
        ema.update(network)
        for name, value in losses.items():
            means[name] = 0.98 * means.get(name, value) + 0.02 * value
        if now - reported > 30:
            line = {"step": step, "images": images, "used_s": round(used_s), **means}
            print(json.dumps(line), file=log, flush=True)
            reported = now
        if now - saved > 60 * options.save_minutes:
            _save(out, network, optimizer, ema, step, used_s, images, metadata)
            saved = time.monotonic()
        if validate is not None and now - validated > 60 * options.validate_minutes:
            average.load_state_dict(ema.state)
            figures = {"step": step, "images": images, **validate(average)}
            print(json.dumps(figures), file=log, flush=True)
            validated = last = time.monotonic()
    if first:
        _save(out, network, optimizer, ema, step, used_s, images, metadata)
    log.close()


def _agreed(progress: float) -> float:
    """The first process's progress, in every process, so that all stop at the same step."""
    if not dist.is_initialized():
        return progress
    value = torch.tensor([progress], dtype=torch.float64)
    dist.broadcast(value, 0)
    return float(value)


def _save(
    out: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    step: int,
    used_s: float,
    images: int,
    metadata: dict[str, str],
) -> None:
    save_checkpoint(
        out / "checkpoint.pt",
        network=network.state_dict(),
        optimizer=optimizer.state_dict(),
        ema=ema.state,
        ema_updates=ema.updates,
        step=step,
        used_s=used_s,
        images=images,
    )
    save_weights(
        out / "ema.safetensors",
        ema.state,
        {**metadata, "steps": str(step), "images": str(images), "hours": f"{used_s / 3600:.2f}"},
    )


def main() -> None:
    """Command line of `train`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lane", choices=("open", "research"), default="research")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--init", help="file of Stage I; or file, hub id or URL of the backbone's ImageNet weights"
    )
    for name, value in asdict(TrainOptions()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    flags = vars(parser.parse_args())
    data, out, lane, shared, init = (
        flags.pop(n) for n in ("data", "out", "lane", "shared", "init")
    )
    options = replace(TrainOptions(), **flags)
    rank = int(os.environ.get("RANK", "0"))
    if "RANK" in os.environ:  # started by torchrun
        dist.init_process_group("gloo")
    torch.manual_seed(options.seed)
    sources = mixture_sources(data, lane)
    network = build_network(options.preset, backbone=options.backbone or None)
    if init is not None:
        start_from(network, init)
    augmentation = AugmentOptions(crop_px=options.crop_px)
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
        "data": ", ".join(f"{s.name} {s.share:.2f}" for s in sources),
        "options": json.dumps(asdict(options)),
    }
    train(
        network,
        loader(mixture, workers=options.workers),
        options,
        out=out,
        step_of=train_step,
        validate=(lambda n: {"peak_pck": peak_pck(n, validation)}) if validation else None,
        metadata=metadata,
    )
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
