"""A network of twice the width that begins as the narrow one is (Net2WiderNet, Chen et al. 2016).

Every channel is there twice, the copies side by side, so that whatever is put side by side in the
network stays in order.  What read a channel reads both copies, with weights that add up to the old
one, in parts drawn by chance: with equal parts both copies would learn the same for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnect.errors import BadWeights

PART = (0.2, 0.8)
"""Range of the first copy's part of a weight."""


def widened(state: dict[str, Tensor], wide: nn.Module, *, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a network -> those of `wide`, the same with twice the channels inside.

    In evaluation mode both give the same outputs.

    Raises:
        BadWeights: `wide` is no network of twice the width.
    """
    random = torch.Generator().manual_seed(seed)
    out = {}
    for prefix, module in wide.named_modules():
        for name, like in (*module.named_parameters(recurse=False), *_buffers(module)):
            key = f"{prefix}.{name}"
            if key not in state:
                raise BadWeights(f"the narrow network has no {key}, which the wide one has")
            value = state[key].float()
            reads = 0 if isinstance(module, nn.ConvTranspose2d) else 1
            for axis in range(like.ndim):
                if like.shape[axis] == value.shape[axis]:
                    continue
                value = value.repeat_interleave(2, axis)
                if like.ndim > 1 and axis == reads:
                    value = _in_parts(value, axis, random)
            if value.shape != like.shape:
                raise BadWeights(
                    f"{key} is {tuple(state[key].shape)} in the narrow network and "
                    f"{tuple(like.shape)} in the wide one, which is not twice as wide"
                )
            out[key] = value
    return out


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Means and variances; the counters of batch norm are nobody's width."""
    return [(name, value) for name, value in module.named_buffers(recurse=False) if value.ndim]


def _in_parts(value: Tensor, axis: int, random: torch.Generator) -> Tensor:
    """Weights that read each channel twice -> parts of them, which add up to the first copy."""
    first = value.unflatten(axis, (-1, 2)).select(axis + 1, 0)
    low, high = PART
    part = low + (high - low) * torch.rand(first.shape, generator=random)
    return torch.stack([part * first, first - part * first], axis + 1).flatten(axis, axis + 1)
