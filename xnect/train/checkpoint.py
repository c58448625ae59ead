"""Weights with metadata, and checkpoints from which training goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write fp16 safetensors; integer buffers stay as they are; replaces the file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {
        name: (t.half() if t.is_floating_point() else t).contiguous().cpu()
        for name, t in state.items()
        if not name.endswith("num_batches_tracked")
    }
    partial = path.with_suffix(".part")
    save_file(half, partial, metadata)
    partial.chmod(0o644)  # safetensors makes files that only their owner can read
    partial.replace(path)


def save_checkpoint(path: Path, **state: Any) -> None:
    """Write everything needed to go on; the old file stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote; nothing in the file is executed."""
    return torch.load(path, map_location="cpu", weights_only=True)


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
