"""A second thought: what the network said of all joints at once, weighed against each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xnect.heads.attention import Block

FINER = 2
"""Cells of the maps to one cell of the features, to each side."""

LOGIT = 4.0
"""Heatmap logits are about so large; divided by it they are of the size of features."""


class Revision(nn.Module):
    """Features and the maps read from them -> what to add to these maps.

    Each heatmap is made without knowledge of the others, so that both knees are often claimed on
    the same limb.  Here every cell reads what was said of all joints, asks the other cells, and
    corrects (beliefs that are fed back: Wei et al. 2016, Convolutional Pose Machines; Newell et al.
    2016, Stacked Hourglass).  The last layer starts at 0: a network that gets this later begins as
    it was.  Not in the paper.

    Args:
        channels: C of the features.
        joints: J, heatmaps that are read.
        outputs: Channels of each map that is corrected.
        width: Channels of the tokens, a multiple of 48.
        blocks: How many.
        side: Cells of the features to each side; another one does not fit.
    """

    def __init__(
        self, channels: int, joints: int, outputs: tuple[int, ...], width: int, blocks: int,
        side: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs = outputs
        self.take = nn.Conv2d(channels + joints * FINER**2, width, 1)
        self.places = nn.Parameter(0.02 * torch.randn(side * side, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.correct = nn.Conv2d(width, sum(outputs) * FINER**2, 1)
        for parameter in self.correct.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, ...]:
        """(B, C, side, side), logits (B, J, 2 side, 2 side) -> corrections, by `outputs`."""
        said = F.pixel_unshuffle(heatmaps / LOGIT, FINER)
        seen = self.take(torch.cat([features, said], 1))
        tokens = seen.flatten(2).transpose(1, 2) + self.places
        tokens = self.norm(self.blocks(tokens))
        added = self.correct(tokens.transpose(1, 2).unflatten(2, features.shape[-2:]))
        return F.pixel_shuffle(added, FINER).split(self.outputs, 1)
