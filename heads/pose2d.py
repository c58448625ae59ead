"""The 2D branch of Stage I: joint heatmaps and part affinity fields (spec 2.2; Cao et al. 2017)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Pose2dMaps(NamedTuple):
    """Maps of the 2D branch at stride 8."""

    heatmaps: Tensor  # (B, J, h, w) logits
    affinities: Tensor  # (B, L, 2, h, w) x and y of the unit vector along each limb
    offsets: Tensor  # (B, J, 2, h, w) from each cell to the joint next to it, cells
    features: Tensor  # (B, C, h, w) what the 3D branch reads as well


@dataclass(frozen=True)
class BranchWidths:
    """Channels of one branch, in the order in which they are passed through."""

    reduce: int
    up: int
    mid: int
    last: int
    lateral: int = 0  # channels taken over from the stride-8 features; 0: none, as in the paper
    groups: int = 4  # of the transposed convolution and of the 3x3 before the last


def twice(widths: BranchWidths) -> BranchWidths:
    """The same branch with twice the channels, in as many groups."""
    channels = {name: 2 * value for name, value in asdict(widths).items() if name != "groups"}
    return replace(widths, **channels)


def conv(
    in_channels: int, out_channels: int, kernel: int, groups: int = 1, stride: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Upsample(nn.Module):
    """Features at strides 16 and 8 -> (B, up + lateral, h, w) at stride 8.

    1x1 and a transposed 4x4 convolution as in the paper; the lateral path is ours: it keeps the
    positions of small people.
    """

    def __init__(self, in_channels: int, fine_channels: int, widths: BranchWidths) -> None:
        super().__init__()
        self.reduce = conv(in_channels, widths.reduce, 1)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(widths.reduce, widths.up, 4, 2, 1, groups=widths.groups, bias=False),
            nn.BatchNorm2d(widths.up),
            nn.ReLU(inplace=True),
        )
        self.lateral = conv(fine_channels, widths.lateral, 1) if widths.lateral else None
        self.out_channels = widths.up + widths.lateral

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, C, h/2, w/2), (B, C', h, w) -> (B, up + lateral, h, w)."""
        x = self.up(self.reduce(coarse))
        return x if self.lateral is None else torch.cat([x, self.lateral(fine)], 1)


class Pose2dHead(nn.Module):
    """Features at strides 16 and 8 -> heatmaps, limb affinities and joint offsets at stride 8.

    The offsets are not in the paper, which upsamples its maps: they say where in its cell a joint
    is (as the local offsets of CenterNet, Zhou et al. 2019).
    """

    def __init__(
        self,
        in_channels: int,
        fine_channels: int,
        *,
        widths: BranchWidths,
        num_joints: int,
        num_limbs: int,
    ) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.upsample = Upsample(in_channels, fine_channels, widths)
        self.mid = conv(self.upsample.out_channels, widths.mid, 3)
        self.last = conv(widths.mid, widths.last, 3, widths.groups)
        self.out = nn.Conv2d(widths.last, num_joints + 2 * num_limbs, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = torch.zeros(num_joints + 2 * num_limbs)
        bias[:num_joints] = -4.0  # nearly every cell is empty: start there
        self.out.bias = nn.Parameter(bias)
        self.offsets = nn.Conv2d(widths.last, 2 * num_joints, 3, padding=1)
        nn.init.normal_(self.offsets.weight, std=0.01)
        self.offsets.bias = nn.Parameter(torch.zeros(2 * num_joints))

    def forward(self, coarse: Tensor, fine: Tensor) -> Pose2dMaps:
        """(B, C, h/2, w/2), (B, C', h, w) -> maps at (h, w)."""
        features = self.mid(self.upsample(coarse, fine))
        last = self.last(features)
        maps = self.out(last)
        affinities = maps[:, self.num_joints :].unflatten(1, (-1, 2))
        offsets = self.offsets(last).unflatten(1, (-1, 2))
        return Pose2dMaps(maps[:, : self.num_joints], affinities, offsets, features)
