"""Weights with metadata, and checkpoints from which training goes on exactly."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from xnect.atomic import replacing
from xnect.errors import BadWeights


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write fp16 safetensors; replaces the file at once.

    Integer buffers stay as they are, and the statistics of batch norm are fp32: variances of
    features have no scale of their own, and soon leave the range of fp16.

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; an older file stays.
    """
    half = {
        name: (t.half() if t.is_floating_point() and "running_" not in name else t)
        .contiguous()
        .cpu()
        for name, t in state.items()
        if not name.endswith("num_batches_tracked")
    }
    with replacing(path) as file:
        file.write(save(half, metadata))


def fingerprint(path: Path | None) -> str:
    """Name and SHA-256 (12 digits) of a file that a training starts from; empty without one."""
    if path is None or not path.is_file():
        return ""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def file_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself, whatever its name; nothing for files of another kind.

    Raises:
        OSError: there is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}


def save_checkpoint(path: Path, **state: Any) -> None:
    """Write everything needed to go on; the old file stays until the new one is whole.

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; the old file stays valid.
    """
    whole = io.BytesIO()
    torch.save(state, whole)
    with replacing(path) as file:
        file.write(whole.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote; nothing in the file is executed.

    Raises:
        BadWeights: the file is missing or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadWeights(
            f"the checkpoint {path} cannot be read ({reason}); move it away to start anew"
        ) from error


def differing(before: dict[str, Any], now: dict[str, Any], free: Collection[str] = ()) -> list[str]:
    """`name was -> is` for each entry that differs, in one or in both; those in `free` may."""
    names = [n for n in {**before, **now} if n not in free and before.get(n) != now.get(n)]
    return [f"{n} {before.get(n)!r} -> {now.get(n)!r}" for n in names]


class Ema:
    """Exponential moving average of a network's state, with a short memory at the start."""

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = network.state_dict()
        names = [name for name, mean in self.state.items() if mean.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in names], [now[n] for n in names], 1 - decay)
        for name in self.state.keys() - set(names):
            self.state[name].copy_(now[name])
