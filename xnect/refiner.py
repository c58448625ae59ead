"""The refiner's network: one person, centred in a small picture -> joints, and their bones in 3D.

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
from xnect.heads.attention import Attention
from xnect.heads.context import Context
from xnect.heads.pose2d import BranchWidths, Upsample, conv, twice
from xnect.heads.pose3d import Pose3dHead
from xnect.network import PRESETS, STAGE1_TAPS
from xnect.skeleton import JOINTS2D, JOINTS3D

REFINER_NAME = "xnect refiner"
"""Architecture in the metadata of its weights."""

SIDE_PX = 160
"""Side of the refiner's square input."""

PERSON_PX = 115
"""Longer side of the person's box in the input."""


class PersonMaps(NamedTuple):
    """What the refiner says of the person in the middle, at stride 8."""

    heatmaps: Tensor  # (B, J, h, w) logits
    offsets: Tensor  # (B, J, 2, h, w) cells, from a cell's centre to the joint next to it
    codes: Tensor  # (B, 3K, h, w) planar bone vectors, in the axes of a camera facing the person


@dataclass(frozen=True)
class RefinerPreset:
    """One network as data."""

    backbone: str
    width: float
    pose2d: BranchWidths
    pose3d: BranchWidths
    context: int
    attention: int = 0  # channels of the tokens; 0: none


_S = PRESETS["s"]

REFINERS = {
    "s": RefinerPreset(_S.backbone, _S.width, _S.pose2d, _S.pose3d, _S.context),
    "sa": RefinerPreset(_S.backbone, _S.width, _S.pose2d, _S.pose3d, _S.context, attention=192),
    "m": RefinerPreset(
        _S.backbone, 2 * _S.width, twice(_S.pose2d), twice(_S.pose3d), 2 * _S.context, attention=192
    ),
}
"""`s` is Stage I's preset `s`, whose weights can be the start; `sa` has attention besides; `m` is
`sa` at twice the width (`xnect.train.widen`).  `sa` starts from `s`, `m` from either."""

BLOCKS = 4
"""Of the attention."""


class Refiner(nn.Module):
    """Normalised pictures (B, 3, 160, 160) of one person each -> `PersonMaps`."""

    def __init__(self, preset: RefinerPreset = REFINERS["s"]) -> None:
        super().__init__()
        options: dict[str, Any] = {"width": preset.width} if preset.width != 1 else {}
        features = create_backbone(
            preset.backbone, features_only=True, out_indices=STAGE1_TAPS, **options
        )
        assert isinstance(features, Features)
        self.backbone = features
        fine, coarse = features.channels
        widths, joints = preset.pose2d, len(JOINTS2D)
        self.context = Context(coarse, preset.context)
        self.attention = (
            Attention(coarse, preset.attention, BLOCKS, SIDE_PX // 16) if preset.attention else None
        )
        self.upsample = Upsample(coarse, fine, widths)
        self.mid = conv(self.upsample.out_channels, widths.mid, 3)
        self.last = conv(widths.mid, widths.last, 3, widths.groups)
        self.heatmaps = nn.Conv2d(widths.last, joints, 3, padding=1)
        self.offsets = nn.Conv2d(widths.last, 2 * joints, 3, padding=1)
        self.pose3d = Pose3dHead(
            coarse, fine, widths.mid, widths=preset.pose3d, num_codes=3 * len(JOINTS3D)
        )
        for layer, start in ((self.heatmaps, -4.0), (self.offsets, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), start))

    def forward(self, images: Tensor) -> PersonMaps:
        """(B, 3, H, W) -> maps at (H / 8, W / 8)."""
        fine, coarse = self.backbone(images)
        coarse = self.context(coarse)
        if self.attention is not None:
            coarse = self.attention(coarse)
        middle = self.mid(self.upsample(coarse, fine))
        seen = self.last(middle)
        offsets = self.offsets(seen).unflatten(1, (-1, 2))
        return PersonMaps(self.heatmaps(seen), offsets, self.pose3d(coarse, fine, middle))


def from_stage1(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of Stage I, preset `s` -> those of a refiner with the same backbone and branches."""
    joints = len(JOINTS2D)
    taken = {}
    for name, value in state.items():
        if name.startswith(("backbone.", "context.", "pose3d.")):
            taken[name] = value
        elif name.startswith("pose2d.out."):
            taken[name.replace("pose2d.out.", "heatmaps.")] = value[:joints]
        elif name.startswith("pose2d."):
            taken[name.removeprefix("pose2d.")] = value
    return taken
