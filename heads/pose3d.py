"""The 3D branch of Stage I: what the picture round each joint says of its bones (spec 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pose2d import BranchWidths, Upsample, conv


class Pose3dHead(nn.Module):
    """Features at strides 16 and 8, and the 2D branch's features -> codes (B, 3K, h, w).

    Planar: all x, all y, all z of the K parent-relative bone vectors.
    """

    def __init__(
        self,
        in_channels: int,
        fine_channels: int,
        pose2d_channels: int,
        *,
        widths: BranchWidths,
        num_codes: int,
    ) -> None:
        super().__init__()
        self.upsample = Upsample(in_channels, fine_channels, widths)
        self.mid = conv(self.upsample.out_channels, widths.mid, 3)
        self.join = conv(widths.mid + pose2d_channels, widths.mid, 1)
        self.last = conv(widths.mid, widths.last, 3, widths.groups)
        self.out = nn.Conv2d(widths.last, num_codes, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        self.out.bias = nn.Parameter(torch.zeros(num_codes))

    def forward(self, coarse: Tensor, fine: Tensor, pose2d_features: Tensor) -> Tensor:
        """(B, C, h/2, w/2), (B, C', h, w), (B, C2, h, w) -> (B, 3K, h, w)."""
        x = self.mid(self.upsample(coarse, fine))
        return self.out(self.last(self.join(torch.cat([x, pose2d_features], 1))))
