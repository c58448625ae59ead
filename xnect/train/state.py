"""All that a training is at one moment, on the disk and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xnect.errors import BadInput, BadWeights
from xnect.train.checkpoint import (
    Ema,
    differing,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from xnect.train.optimizers import Optimizers
from xnect.train.options import FREE_OPTIONS


@dataclass
class Training:
    """All that a checkpoint holds, and nothing else: a training goes on exactly from it."""

    network: nn.Module
    optimizer: Optimizers
    ema: Ema
    run: dict[str, Any]  # options and data; resuming with others is refused
    step: int = 0
    used_s: float = 0.0
    images: int = 0
    best: float = -math.inf  # figure of the best validation so far
    worse: int = 0  # validations since then

    def save(self, out: Path, metadata: dict[str, str]) -> None:
        """Write `checkpoint.pt` and `ema.safetensors`; an older file stays until each is whole.

        Raises:
            CannotWrite: the disk is full.
        """
        save_checkpoint(
            out / "checkpoint.pt",
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            ema=self.ema.state,
            ema_updates=self.ema.updates,
            run=self.run,
            rng=torch.get_rng_state(),
            **{name: getattr(self, name) for name in _COUNTERS},
        )
        self.save_average(out / "ema.safetensors", metadata)

    def save_average(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the averaged weights, with how long they were trained."""
        counts = {"steps": str(self.step), "images": str(self.images)}
        counts["hours"] = f"{self.used_s / 3600:.2f}"
        save_weights(path, self.ema.state, {**metadata, **counts})

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            BadWeights: it is damaged, or of another network.
            BadInput: it was trained with other options.
        """
        state = load_checkpoint(path)
        differ = differing(state["run"], self.run, FREE_OPTIONS) if "run" in state else []
        if differ:
            raise BadInput(
                f"{path} was trained with other options: {'; '.join(differ)}; "
                "give the same ones, or another --out"
            )
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadWeights(f"{path} is of another network: {reason}") from error
        device = next(self.network.parameters()).device
        self.ema.state = {name: t.to(device) for name, t in state["ema"].items()}
        self.ema.updates = state["ema_updates"]
        if "rng" in state:
            torch.set_rng_state(state["rng"])
        for name in _COUNTERS:
            setattr(self, name, state.get(name, getattr(self, name)))


_COUNTERS = ("step", "used_s", "images", "best", "worse")
