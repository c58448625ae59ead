"""The box branch of Stage I: where people are, also those of whom few joints can be told apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .pose2d import BranchWidths, Upsample, conv

NEAREST, FARTHEST = -2.0, 5.0
"""Logarithms of the distances, in cells, that can be said."""


class BoxHead(nn.Module):
    """Features at strides 16 and 8 -> (B, 5, h, w): logit of a centre, and four log distances.

    A cell says how likely the centre of somebody's box is there, and how far the box reaches from
    it to the left, upwards, to the right and downwards, in logarithms of cells.  Centres as in
    CenterNet (Zhou et al. 2019), distances as in FCOS (Tian et al. 2019).  Not in the paper, whose
    limbs need some size to be told apart: for who is small, cut off or hidden this says where the
    second look is worth while.
    """

    def __init__(self, in_channels: int, fine_channels: int, *, widths: BranchWidths) -> None:
        super().__init__()
        self.upsample = Upsample(in_channels, fine_channels, widths)
        self.mid = conv(self.upsample.out_channels, widths.mid, 3)
        self.last = conv(widths.mid, widths.last, 3)
        self.out = nn.Conv2d(widths.last, 5, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        self.out.bias = nn.Parameter(torch.tensor([-4.0, *[math.log(4.0)] * 4]))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, C, h/2, w/2), (B, C', h, w) -> (B, 5, h, w)."""
        maps = self.out(self.last(self.mid(self.upsample(coarse, fine))))
        return torch.cat([maps[:, :1], maps[:, 1:].clamp(NEAREST, FARTHEST)], 1)
