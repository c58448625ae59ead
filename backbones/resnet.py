"""ResNet: layers that learn what to add to their input (He et al., CVPR 2016).

The blocks.  p is the width ("planes") of the level; `/s` marks the convolution that strides::

    BasicBlock                                   Bottleneck (four times wider outside than inside)

    x ─┬─► 3x3 /s ─► BN ReLU ─► 3x3 ─► BN ─(+)─► ReLU     x ─┬─► 1x1 ─► BN ReLU ─► 3x3 /s ─► BN ReLU
       │     p                   p          ▲                │     p                 p       │
       └──────────── downsample ────────────┘                │         ┌─────────────────────┘
                                                             │         └─► 1x1 ─► BN ─(+)─► ReLU
                                                             │              4p         ▲
                                                             └────── downsample ───────┘

`downsample` is the identity, or, where channels or size change, a 1x1 convolution with the stride
and batch norm.  The network::

    images ─► 7x7 /2 ─► BN ReLU ─► max 3x3 /2 ─► layer1 ─► layer2 /2 ─► layer3 /2 ─► layer4 /2 ─► fc
    stride       2                      4           4         8            16           32      mean

The stride of a bottleneck lies in its 3x3 convolution ("v1.5": torchvision, timm), in the paper in
the first 1x1.  `Skeleton` is everything but the blocks and the first convolution: ResNeSt shares
it.  HRNet is built from the same two blocks.  Names of the parameters are those of torchvision and
timm; written from the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from .features import Backbone, Tap

PLANES = (64, 128, 256, 512)
"""p of the four levels."""


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The way around a block: identity, or 1x1 convolution and batch norm where shapes change."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """(B, in, H, W) -> (B, p, H / stride, W / stride), drawn at the top of the file."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut(in_channels, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(x around + what the convolutions add)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """(B, in, H, W) -> (B, 4p, H / stride, W / stride), drawn at the top of the file."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(x around + what the convolutions add)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


MakeBlock = Callable[[int, int, int], nn.Module]
"""(channels in, planes, stride) -> block."""


def layer(
    make_block: MakeBlock,
    in_channels: int,
    planes: int,
    *,
    expansion: int,
    blocks: int,
    stride: int,
) -> nn.Sequential:
    """One level: the first block changes size and channels, the others keep both."""
    first = make_block(in_channels, planes, stride)
    return nn.Sequential(
        first, *(make_block(planes * expansion, planes, 1) for _ in range(blocks - 1))
    )


class Skeleton(Backbone):
    """First convolution, max pooling, four levels of blocks, mean, linear layer.

    Taps: after the stem (stride 2) and after each level (4, 8, 16, 32).  Any input size; strides
    round up.  Initialised as in He et al. 2015: Kaiming normal, fan out.
    """

    def __init__(
        self,
        conv1: nn.Module,
        make_block: MakeBlock,
        *,
        stem_channels: int,
        expansion: int,
        blocks: Sequence[int],
        num_classes: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = stem_channels
        taps = [Tap(stem_channels, 2, "act1")]
        for level, (planes, count) in enumerate(zip(PLANES, blocks, strict=True), start=1):
            stride = 1 if level == 1 else 2  # the max pooling has come before the first
            self.add_module(
                f"layer{level}",
                layer(
                    make_block, channels, planes, expansion=expansion, blocks=count, stride=stride
                ),
            )
            channels = planes * expansion
            taps.append(Tap(channels, 2 << level, f"layer{level}"))
        self.taps = tuple(taps)
        self.num_features, self.num_classes = channels, num_classes
        self.head_drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_taps(x, [len(self.taps) - 1])[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, F, h, w) -> (B, num_classes), or (B, F) with `pre_logits` or without classifier."""
        x = self.head_drop(x.mean((2, 3)))  # (B, F)
        return x if pre_logits else self.fc(x)

    def forward_taps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """(B, C, H, W) -> [(B, C_i, H / stride_i, W / stride_i)] of the taps `indices`."""
        maps = {0: self.act1(self.bn1(self.conv1(x)))}
        x = self.maxpool(maps[0]) if max(indices) > 0 else x
        for level in range(1, max(indices) + 1):
            x = getattr(self, f"layer{level}")(x)
            maps[level] = x
        return [maps[i] for i in indices]

    def keep_taps(self, indices: Sequence[int]) -> None:
        """Delete the classifier and the levels behind the deepest of the taps `indices`."""
        for level in range(max(indices) + 1, len(self.taps)):
            delattr(self, f"layer{level}")
        self.fc, self.num_classes = nn.Identity(), 0


class Plan(NamedTuple):
    """One variant as data."""

    block: type[BasicBlock] | type[Bottleneck]
    blocks: tuple[int, int, int, int]  # per level


PLANS = {
    "resnet18": Plan(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Plan(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Plan(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Plan(Bottleneck, (3, 4, 23, 3)),
    "resnet152": Plan(Bottleneck, (3, 8, 36, 3)),
}
"""Table 1 of the paper; the number counts layers."""


class ResNet(Skeleton):
    """Images (B, in_chans, H, W) of any size -> (B, num_classes) logits."""

    def __init__(
        self, plan: Plan, *, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__(
            nn.Conv2d(in_chans, PLANES[0], 7, 2, 3, bias=False),
            plan.block,
            stem_channels=PLANES[0],
            expansion=plan.block.expansion,
            blocks=plan.blocks,
            num_classes=num_classes,
            drop_rate=drop_rate,
        )


MODELS: dict[str, Callable[..., Backbone]] = {n: partial(ResNet, p) for n, p in PLANS.items()}
"""Architecture -> builder with the keywords `num_classes`, `in_chans`, `drop_rate`."""
