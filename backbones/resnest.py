"""ResNeSt: a ResNet whose 3x3 convolutions choose between splits (Zhang et al., CVPRW 2022).

Split attention.  The convolution gives R ("radix") maps u_1 .. u_R of C channels each; what the
whole picture looks like decides, channel by channel, how much of which is taken::

    x ─► conv 3x3, C ► R C ─► bn0 ReLU ─┬─ u_1 ────────────────────────────── × a_1 ─┐
                                        ├─ u_2 ────────────────────────────── × a_2 ─┤
                                        │                                       ▲    ▼
                                        └─► sum over R ─► mean over H, W        │   (+) ─► out, C
                                                               │                │
                                            fc1, C ► A  ◄──────┘                │
                                               └─► bn1 ReLU ─► fc2, A ► R C ─► softmax over R

A = max(32, C R / 4).  With R = 1 there is nothing to choose between, and a sigmoid takes the place
of the softmax.  K ("cardinality") groups of channels are computed apart, in all three convolutions.

The block is ResNet's bottleneck with split attention for its 3x3 convolution; where it strides, an
average does it ("avd"), after the split attention or, in two variants, before it::

    x ─┬─► 1x1 ─► BN ReLU ─► split attention ─► [mean 3x3 /2] ─► 1x1 ─► BN ─(+)─► ReLU
       │    p                    p                                4p         ▲
       └─────────────────► [mean 2x2 /2] ─► 1x1 ─► BN ───────────────────────┘

The stem is three 3x3 convolutions in place of one 7x7.  The rest is `resnet.Skeleton`.  Names of
the parameters are those of timm; written from the paper and spec 1.7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from .features import Backbone
from .resnet import Skeleton

EXPANSION = 4
"""Channels out of a block per plane."""


class Plan(NamedTuple):
    """One variant as data."""

    blocks: tuple[int, int, int, int]  # per level
    stem_width: int = 32  # of the first two convolutions; the third has twice as many
    radix: int = 2  # R, splits
    cardinality: int = 1  # K, groups
    base_width: int = 64  # channels per group inside a block of 64 planes
    average_first: bool = False  # the block strides before the split attention, not after it


PLANS = {
    "resnest14d": Plan((1, 1, 1, 1)),
    "resnest26d": Plan((2, 2, 2, 2)),
    "resnest50d": Plan((3, 4, 6, 3)),
    "resnest50d_1s4x24d": Plan(
        (3, 4, 6, 3), radix=1, cardinality=4, base_width=24, average_first=True
    ),
    "resnest50d_4s2x40d": Plan(
        (3, 4, 6, 3), radix=4, cardinality=2, base_width=40, average_first=True
    ),
    "resnest101e": Plan((3, 4, 23, 3), stem_width=64),
    "resnest200e": Plan((3, 24, 36, 3), stem_width=64),
    "resnest269e": Plan((3, 30, 48, 8), stem_width=64),
}
"""The published variants; `4s2x40d` reads: 4 splits, 2 groups of base width 40."""


class SplitAttention(nn.Module):
    """(B, C, H, W) -> (B, C, H, W), drawn at the top of the file."""

    def __init__(self, channels: int, *, radix: int, cardinality: int) -> None:
        super().__init__()
        self.radix, self.cardinality = radix, cardinality
        wide, narrow = radix * channels, max(32, radix * channels // 4)
        self.conv = nn.Conv2d(channels, wide, 3, padding=1, groups=radix * cardinality, bias=False)
        self.bn0 = nn.BatchNorm2d(wide)
        self.fc1 = nn.Conv2d(channels, narrow, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.fc2 = nn.Conv2d(narrow, wide, 1, groups=cardinality)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the splits as the mean over the picture says."""
        u = F.relu(self.bn0(self.conv(x)), inplace=True)
        u = u.unflatten(1, (self.radix, -1))  # (B, R, C, H, W)
        mean = u.sum(1).mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        z = F.relu(self.bn1(self.fc1(mean)), inplace=True)
        share = self._normalised(self.fc2(z))  # (B, R, C)
        return (u * share[..., None, None]).sum(1)

    def _normalised(self, a: Tensor) -> Tensor:
        """(B, R C, 1, 1) -> (B, R, C): shares of the splits, adding up to 1 where R > 1."""
        a = a.flatten(1).unflatten(1, (self.cardinality, self.radix, -1))  # group by group
        a = a.transpose(1, 2).flatten(2)  # (B, R, C)
        return a.softmax(1) if self.radix > 1 else a.sigmoid()


class SplitBottleneck(nn.Module):
    """(B, in, H, W) -> (B, 4p, H / stride, W / stride), drawn at the top of the file."""

    def __init__(self, plan: Plan, in_channels: int, planes: int, stride: int) -> None:
        super().__init__()
        width = planes * plan.base_width // 64 * plan.cardinality
        out_channels = planes * EXPANSION
        average = nn.AvgPool2d(3, 2, 1) if stride > 1 else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.avd_first = average if plan.average_first else nn.Identity()
        self.conv2 = SplitAttention(width, radix=plan.radix, cardinality=plan.cardinality)
        self.avd_last = nn.Identity() if plan.average_first else average
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = average_shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(x around + what the convolutions add)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.avd_last(self.conv2(self.avd_first(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


def average_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The way around a block: where it strides, every cell of the input is averaged in."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    # the last cell of an odd size is averaged over what there is of it
    average = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        average if stride > 1 else nn.Identity(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def deep_stem(in_chans: int, width: int) -> nn.Sequential:
    """(B, in_chans, H, W) -> (B, 2 width, H / 2, W / 2), without the last norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_chans, width, 3, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, 1, 1, bias=False),
    )


class ResNeSt(Skeleton):
    """Images (B, in_chans, H, W) of any size -> (B, num_classes) logits."""

    def __init__(
        self, plan: Plan, *, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__(
            deep_stem(in_chans, plan.stem_width),
            partial(SplitBottleneck, plan),
            stem_channels=2 * plan.stem_width,
            expansion=EXPANSION,
            blocks=plan.blocks,
            num_classes=num_classes,
            drop_rate=drop_rate,
        )


MODELS: dict[str, Callable[..., Backbone]] = {n: partial(ResNeSt, p) for n, p in PLANS.items()}
"""Architecture -> builder with the keywords `num_classes`, `in_chans`, `drop_rate`."""
