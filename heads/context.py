"""Context of the whole body: which side is left shows at the face, far from knee and ankle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pose2d import conv

STEPS = 4
"""3x3 convolutions after the first: 160 pixels to every side."""


class Context(nn.Module):
    """Features (B, C, H, W) -> the same shape, with what is seen at half the resolution added.

    Five 3x3 convolutions at stride 32 cost little, because they have few cells.  Their outputs and
    the picture's mean go through one 1x1 convolution, which starts at 0: a network that gets a
    context later begins as it was.  Not in the paper, whose network is deeper.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = conv(channels, width, 3, stride=2)
        self.steps = nn.ModuleList(conv(width, width, 3) for _ in range(STEPS))
        self.join = nn.Conv2d((STEPS + 2) * width, channels, 1)
        for parameter in self.join.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        parts = [self.down(features)]
        for step in self.steps:
            parts.append(step(parts[-1]))
        parts.append(parts[-1].mean((2, 3), keepdim=True).expand_as(parts[-1]))
        added = self.join(torch.cat(parts, 1))
        return features + F.interpolate(
            added, features.shape[-2:], mode="bilinear", align_corners=False
        )
