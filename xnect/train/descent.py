"""One step of the optimizer: its rate, the gradient of several batches, and what is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xnect.train.optimizers import Optimizers
from xnect.train.options import TrainOptions

LossesOf = Callable[[nn.Module, Any], dict[str, Tensor]]
"""The network, as it is called, and a batch on its device -> losses, which are added."""


def rate_at(progress: float, step: int, options: TrainOptions) -> float:
    """Learning rate: linear warm-up by steps, then cosine by the share of time used."""
    warm = min(1.0, (step + 1) / max(options.warm_up_steps, 1))
    low = options.final_rate_share
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return options.learning_rate * warm * (low + (1 - low) * cosine)


def optimizer_step(
    model: nn.Module,
    optimizer: Optimizers | torch.optim.Optimizer,
    batches: Sequence[Any],
    losses_of: LossesOf,
    *,
    max_gradient: float = 5.0,
) -> dict[str, float]:
    """One step on the mean gradient of several batches; returns their mean losses.

    The gradient's norm is cut to `max_gradient`.

    Raises:
        NotFinite: a loss or a gradient is not; the weights are as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    rows = []
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        alone = nullcontext() if last else getattr(model, "no_sync", nullcontext)()
        with alone:  # processes exchange gradients once
            losses = losses_of(model, batch)
            row = torch.stack(list(losses.values()))
            (row.sum() / len(batches)).backward()
        rows.append(row.detach())
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_gradient)
    *means, size = torch.cat([torch.stack(rows).mean(0), norm[None]]).tolist()  # one wait for a GPU
    named = dict(zip(losses, means, strict=True))
    if not all(map(math.isfinite, (*means, size))):
        raise NotFinite(named, size)
    optimizer.step()
    return named


class NotFinite(FloatingPointError):
    """A loss or the gradient is not finite."""

    def __init__(self, losses: dict[str, float], gradient: float) -> None:
        wrong = [f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)]
        super().__init__(", ".join(wrong) or f"the gradient's norm {gradient}")
