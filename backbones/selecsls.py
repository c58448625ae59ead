"""SelecSLS: selective long- and short-range skip connections (Mehta et al., XNect, 2020, sec. 4).

One block ("SLS module"), every box a convolution with batch norm and ReLU:

    x -> conv1 3x3 -> d1 -> conv2 1x1 -> conv3 3x3 -> d2 -> conv4 1x1 -> conv5 3x3 -> d3
    out = conv6 1x1 (cat [d1, d2, d3, skip])

d1, d2, d3 reach the output by short skips.  The output of the *first* block of a level is the
long skip that every later block of that level receives unchanged; the first block itself has none.
Inside a network the state between blocks is the pair (output, long skip).

Names of the parameters are those of the authors' code and of timm, written from the published
tables (no code taken over).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Block(NamedTuple):
    """One row of the network tables."""

    in_channels: int
    skip_channels: int
    mid_channels: int
    out_channels: int
    is_first: bool
    stride: int
    groups: tuple[int, int] = (1, 1)  # of conv1, and of conv3 and conv5


def conv_bn(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; padding keeps the size at stride 1."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class SelecSLSBlock(nn.Module):
    """(output, skip) -> (output, skip); see the drawing at the top of the file."""

    def __init__(self, row: Block) -> None:
        super().__init__()
        mid, half = row.mid_channels, row.mid_channels // 2
        self.is_first = row.is_first
        joined = mid + 2 * half + (0 if row.is_first else row.skip_channels)
        self.conv1 = conv_bn(row.in_channels, mid, 3, row.stride, row.groups[0])
        self.conv2 = conv_bn(mid, mid, 1)
        self.conv3 = conv_bn(mid, half, 3, 1, row.groups[1])
        self.conv4 = conv_bn(half, mid, 1)
        self.conv5 = conv_bn(mid, half, 3, 1, row.groups[1])
        self.conv6 = conv_bn(joined, row.out_channels, 1)

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(x, level skip) -> (out, level skip), both (B, C, H, W)."""
        x, skip = state
        d1 = self.conv1(x)
        d2 = self.conv3(self.conv2(d1))
        d3 = self.conv5(self.conv4(d2))
        parts = [d1, d2, d3] if self.is_first else [d1, d2, d3, skip]
        out = self.conv6(torch.cat(parts, 1))
        return out, (out if self.is_first else skip)


SELECSLS42 = (
    Block(32, 0, 64, 64, True, 2),
    Block(64, 64, 64, 128, False, 1),
    Block(128, 0, 144, 144, True, 2),
    Block(144, 144, 144, 288, False, 1),
    Block(288, 0, 304, 304, True, 2),
    Block(304, 304, 304, 480, False, 1),
)
SELECSLS60 = (
    Block(32, 0, 64, 64, True, 2),
    Block(64, 64, 64, 128, False, 1),
    Block(128, 0, 128, 128, True, 2),
    Block(128, 128, 128, 128, False, 1),
    Block(128, 128, 128, 288, False, 1),
    Block(288, 0, 288, 288, True, 2),
    Block(288, 288, 288, 288, False, 1),
    Block(288, 288, 288, 288, False, 1),
    Block(288, 288, 288, 416, False, 1),
)
PAPER_GROUPS = ((1, 1), (1, 1), (2, 1), (2, 1), (4, 2), (4, 2), (4, 2), (4, 2), (4, 2))
"""Groups of SelecSLS60's 3x3 convolutions in the deployed XNect network (spec 2.2)."""


class SelecSLS(nn.Module):
    """Images (B, 3, H, W) -> features at strides 2, 4, 8 and 16, finest first.

    H and W must be multiples of 16.  Initialised as the paper's code: Kaiming normal, fan out.
    """

    def __init__(self, rows: Sequence[Block], stem_channels: int = 32) -> None:
        super().__init__()
        self.stem = conv_bn(3, stem_channels, 3, 2)
        self.features = nn.ModuleList(SelecSLSBlock(row) for row in rows)
        last = [i for i in range(len(rows)) if i + 1 == len(rows) or rows[i + 1].is_first]
        self._level_ends = frozenset(last)
        self.channels = (stem_channels, *(rows[i].out_channels for i in last))
        self.strides = tuple(2 ** (level + 1) for level in range(len(self.channels)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> [(B, C_i, H / 2^i, W / 2^i)], finest first."""
        x = self.stem(images)
        levels = [x]
        state = (x, x)
        for number, block in enumerate(self.features):
            state = block(state)
            if number in self._level_ends:
                levels.append(state[0])
        return levels


def _narrow(rows: Sequence[Block], width: float) -> tuple[Block, ...]:
    """The same table with every channel count scaled to a multiple of 8 (the stem's 32 too)."""

    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8) if channels else 0

    return tuple(
        row._replace(
            in_channels=scaled(row.in_channels),
            skip_channels=scaled(row.skip_channels),
            mid_channels=scaled(row.mid_channels),
            out_channels=scaled(row.out_channels),
        )
        for row in rows
    )


def selecsls42(width: float = 1.0) -> SelecSLS:
    """SelecSLS42's core; `width` scales all channel counts."""
    rows = _narrow(SELECSLS42, width)
    return SelecSLS(rows, rows[0].in_channels)


def selecsls60(width: float = 1.0, *, paper_groups: bool = False) -> SelecSLS:
    """SelecSLS60's core; `paper_groups` takes the grouped convolutions of the deployed XNect."""
    rows = _narrow(SELECSLS60, width)
    if paper_groups:
        rows = tuple(r._replace(groups=g) for r, g in zip(rows, PAPER_GROUPS, strict=True))
    return SelecSLS(rows, rows[0].in_channels)
