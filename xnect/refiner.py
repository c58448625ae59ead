"""The refiner's network: one person, centred in a small picture -> joint heatmaps and offsets.

Stage I has to find everybody at every size.  The refiner looks at one person at a time, at one
size, in the middle of its input, and names the joints of that person only (top-down, as Xiao et
al. 2018): a far easier task, which a small network learns in a fraction of the time.  Not in the
paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xnect.backbones import Features, create_backbone
from xnect.heads.context import Context
from xnect.heads.pose2d import BranchWidths, Upsample, conv
from xnect.network import STAGE1_TAPS
from xnect.skeleton import JOINTS2D

REFINER_NAME = "xnect refiner"
"""Architecture in the metadata of its weights."""

SIDE_PX = 128
"""Side of the refiner's square input."""

PERSON_PX = 92
"""Longer side of the person's box in the input."""


class PersonMaps(NamedTuple):
    """What the refiner says of the person in the middle, at stride 8."""

    heatmaps: Tensor  # (B, J, h, w) logits
    offsets: Tensor  # (B, J, 2, h, w) cells, from a cell's centre to the joint next to it


@dataclass(frozen=True)
class RefinerPreset:
    """One network as data."""

    backbone: str
    width: float
    branch: BranchWidths
    context: int


REFINER = RefinerPreset(
    "selecsls42", 0.5, BranchWidths(96, 64, 96, 64, lateral=48, groups=2), context=256
)
"""Backbone, context and branch are those of preset `s`, so that its weights can be the start."""


class Refiner(nn.Module):
    """Normalised pictures (B, 3, 128, 128) of one person each -> `PersonMaps`."""

    def __init__(self, preset: RefinerPreset = REFINER) -> None:
        super().__init__()
        options: dict[str, Any] = {"width": preset.width} if preset.width != 1 else {}
        features = create_backbone(
            preset.backbone, features_only=True, out_indices=STAGE1_TAPS, **options
        )
        assert isinstance(features, Features)
        self.backbone = features
        fine, coarse = features.channels
        widths, joints = preset.branch, len(JOINTS2D)
        self.context = Context(coarse, preset.context)
        self.upsample = Upsample(coarse, fine, widths)
        self.mid = conv(self.upsample.out_channels, widths.mid, 3)
        self.last = conv(widths.mid, widths.last, 3, widths.groups)
        self.heatmaps = nn.Conv2d(widths.last, joints, 3, padding=1)
        self.offsets = nn.Conv2d(widths.last, 2 * joints, 3, padding=1)
        for layer, start in ((self.heatmaps, -4.0), (self.offsets, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), start))

    def forward(self, images: Tensor) -> PersonMaps:
        """(B, 3, H, W) -> heatmap logits (B, J, H/8, W/8), offsets (B, J, 2, H/8, W/8)."""
        fine, coarse = self.backbone(images)
        seen = self.last(self.mid(self.upsample(self.context(coarse), fine)))
        return PersonMaps(self.heatmaps(seen), self.offsets(seen).unflatten(1, (-1, 2)))


def from_stage1(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of Stage I, preset `s` -> those of a refiner with the same backbone and branch."""
    joints = len(JOINTS2D)
    taken = {}
    for name, value in state.items():
        if name.startswith(("backbone.", "context.")):
            taken[name] = value
        elif name.startswith("pose2d.out."):
            taken[name.replace("pose2d.out.", "heatmaps.")] = value[:joints]
        elif name.startswith("pose2d."):
            taken[name.removeprefix("pose2d.")] = value
    return taken
