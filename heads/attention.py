"""Attention over the whole body: which knee is the left one depends on where the other one is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 48
"""Channels of one attention head."""

GROWTH = 4
"""Hidden channels of the block's two linear layers, of its own."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1): (B, heads, N, c) -> the same.

    Torch's own for the CPU is slow where it learns in bfloat16: of 100 tokens it takes about five
    times as long as the products written out (`benchmarks/attention.py`).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value)
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    alike = query.shape[-1] ** -0.5 * query @ key.transpose(-1, -2)
    return alike.softmax(-1) @ value


class Block(nn.Module):
    """(B, N, C) tokens -> the same: self-attention, then two linear layers, each added.

    With the norms in front (pre-norm; Xiong et al. 2020), as in the Vision Transformer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.norm_before = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm_between = nn.LayerNorm(channels)
        self.grow = nn.Linear(channels, GROWTH * channels)
        self.shrink = nn.Linear(GROWTH * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        seen = self.query_key_value(self.norm_before(tokens))  # then (3, B, heads, N, c)
        seen = seen.unflatten(2, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        seen = attend(seen[0], seen[1], seen[2])
        tokens = tokens + self.out(seen.transpose(1, 2).flatten(2))
        added: Tensor = self.shrink(F.gelu(self.grow(self.norm_between(tokens))))
        return tokens + added


class Attention(nn.Module):
    """Features (B, C, side, side) -> the same shape, with what all cells say to each other added.

    Convolutions name each joint by what is near it; here a cell that looks like a knee can ask
    where the other one is (Dosovitskiy et al. 2021; of the features of a backbone, as Yang et al.
    2021, TransPose).  The last convolution starts at 0: a network that gets attention later begins
    as it was.  Not in the paper.

    Args:
        channels: C.
        width: Channels of the tokens, a multiple of 48.
        blocks: How many.
        side: Cells of the map to each side; another one does not fit.
    """

    def __init__(self, channels: int, width: int, blocks: int, side: int) -> None:
        super().__init__()
        self.take = nn.Conv2d(channels, width, 1)
        self.places = nn.Parameter(0.02 * torch.randn(side * side, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.join = nn.Conv2d(width, channels, 1)
        for parameter in self.join.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, side, side) -> (B, C, side, side)."""
        tokens = self.take(features).flatten(2).transpose(1, 2) + self.places
        tokens = self.norm(self.blocks(tokens))
        added: Tensor = self.join(tokens.transpose(1, 2).unflatten(2, features.shape[-2:]))
        return features + added
