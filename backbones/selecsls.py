"""SelecSLS: selective long- and short-range skip connections (Mehta et al., XNect, 2020, sec. 4).

The block.  Every `conv` is a convolution without bias, batch norm and ReLU; k is the width of the
block, and `stride` is 2 where a level begins::

    x ──► conv1 3x3 ──┬──► conv2 1x1 ──► conv3 3x3 ──┬──► conv4 1x1 ──► conv5 3x3 ──┐
          k, stride   │    k             k/2         │    k             k/2         │
                      │d1                            │d2                          d3│
                      └───────────────┐  ┌───────────┘  ┌───────────────────────────┘
       long skip of the level ──────┐ │  │              │
       (not in its first block)     ▼ ▼  ▼              ▼
                          conv6 1x1 ( d1, d2, d3, long skip  side by side ) ──► out

*Short* skips: d1 and d2 reach the output past the convolutions that follow them.  They are put side
by side, not added, so that conv6 chooses ("selective") what it takes from each depth, and the 3x3
convolutions stay narrow: that is where the speed comes from.

*Long* skip: the output of the first block of a level is handed on, unchanged, to conv6 of every
later block of that level.  So what travels between blocks is a pair (output, long skip)::

    images ─► stem 3x3 /2 ─► [ first ─► block ] ─► [ first ─► block ─► block ] ─► [ ... ] ─► head
    stride          2            │  4     ▲            │ 8     ▲         ▲          16       32, 64
                                 └────────┘            └───────┴─────────┘
                                  long skip                long skip

The head of the classifier is four more convolutions down to stride 64, a mean over the picture and
one linear layer.  The pose network reads the maps of stride 8 and 16 and has no head.

Variants differ in their tables only.  The b ones swap the widths of the last two layers of the
head: 1280 then 1024 in place of 1024 then 1280.  Names of the parameters are those of the authors'
code and of timm, written from the published tables (no code taken over).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .features import Backbone, Tap


class Block(NamedTuple):
    """One block of `features`."""

    in_channels: int
    skip_channels: int  # of the level's long skip; 0 in a first block
    mid_channels: int  # k
    out_channels: int
    is_first: bool  # of its level
    stride: int
    groups: tuple[int, int] = (1, 1)  # of conv1, and of conv3 and conv5


class HeadConv(NamedTuple):
    """One convolution of the classifier's head."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int


class Plan(NamedTuple):
    """One variant as data."""

    blocks: tuple[Block, ...]
    head: tuple[HeadConv, ...]


def _level(in_channels: int, mid: int, blocks: int, out_channels: int) -> tuple[Block, ...]:
    """One level: every block is as wide as its input convolution, only the last puts out more."""
    first = Block(in_channels, 0, mid, mid, True, 2)
    later = Block(mid, mid, mid, mid, False, 1)
    return (first, *[later] * (blocks - 2), later._replace(out_channels=out_channels))


def _head(*widths: int, last_kernel: int = 1) -> tuple[HeadConv, ...]:
    """Stride 16 -> 32 -> 64: `widths` are the channels in, after each of the four layers."""
    a, b, c, d, e = widths
    return (
        HeadConv(a, b, 3, 2),
        HeadConv(b, c, 3, 1),
        HeadConv(c, d, 3, 2),
        HeadConv(d, e, last_kernel, 1),
    )


_CORE42 = _level(32, 64, 2, 128) + _level(128, 144, 2, 288) + _level(288, 304, 2, 480)
_CORE60 = _level(32, 64, 2, 128) + _level(128, 128, 3, 288) + _level(288, 288, 4, 416)
_CORE84 = _level(32, 64, 2, 144) + _level(144, 144, 5, 304) + _level(304, 304, 6, 512)
_CORE102 = _level(32, 64, 4, 128) + _level(128, 128, 5, 288) + _level(288, 288, 7, 480)

PLANS = {
    "selecsls42": Plan(_CORE42, _head(480, 960, 1024, 1024, 1280)),
    "selecsls42b": Plan(_CORE42, _head(480, 960, 1024, 1280, 1024)),
    "selecsls60": Plan(_CORE60, _head(416, 756, 1024, 1024, 1280)),
    "selecsls60b": Plan(_CORE60, _head(416, 756, 1024, 1280, 1024)),
    "selecsls84": Plan(_CORE84, _head(512, 960, 1024, 1024, 1280)),
    "selecsls102": Plan(_CORE102, _head(480, 960, 1024, 1024, 1280)),
}
"""The six published variants (spec 1.2).

The number counts layers: the stem, six for each block, four of the head and the linear one.
"""

TIMM_84 = PLANS["selecsls84"]._replace(head=_head(512, 960, 1024, 1024, 1280, last_kernel=3))
"""timm's selecsls84 ends with a 3x3 convolution where the authors' ends with a 1x1."""

PAPER_GROUPS = ((1, 1), (1, 1), (2, 1), (2, 1), (4, 2), (4, 2), (4, 2), (4, 2), (4, 2))
"""Groups of SelecSLS60's 3x3 convolutions in the deployed XNect network (spec 2.2)."""


def conv_bn(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; padding keeps the size at stride 1."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class SelecSLSBlock(nn.Module):
    """(x, long skip) -> (out, long skip); see the drawing at the top of the file."""

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
        """(x, long skip) -> (out, long skip), all (B, C, H, W)."""
        x, skip = state
        d1 = self.conv1(x)
        d2 = self.conv3(self.conv2(d1))
        d3 = self.conv5(self.conv4(d2))
        parts = [d1, d2, d3] if self.is_first else [d1, d2, d3, skip]
        out = self.conv6(torch.cat(parts, 1))
        return out, (out if self.is_first else skip)


class SelecSLS(Backbone):
    """Images (B, 3, H, W) of any size -> (B, num_classes) logits.

    Taps: the stem (stride 2), the ends of the three levels (4, 8, 16), and in the head where it
    leaves stride 32 and 64.  Initialised as timm does: Kaiming normal, fan out.
    """

    def __init__(
        self, plan: Plan, *, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        blocks, head = plan
        stem_channels = blocks[0].in_channels
        self.stem = conv_bn(in_chans, stem_channels, 3, 2)
        self.features = nn.Sequential(*(SelecSLSBlock(block) for block in blocks))
        self.head = nn.Sequential(*(conv_bn(*layer) for layer in head))
        self.head_drop = nn.Dropout(drop_rate)
        self.num_classes, self.num_features = num_classes, head[-1].out_channels
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        ends = [i for i in range(len(blocks)) if i + 1 == len(blocks) or blocks[i + 1].is_first]
        self.taps = (
            Tap(stem_channels, 2, "stem.2"),
            *(Tap(blocks[i].out_channels, 4 << n, f"features.{i}") for n, i in enumerate(ends)),
            Tap(head[1].out_channels, 32, "head.1"),
            Tap(head[3].out_channels, 64, "head.3"),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_features, H / 64, W / 64), sizes rounded up."""
        x = self.stem(x)
        x, _ = self.features((x, x))
        out: Tensor = self.head(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, F, h, w) -> (B, num_classes), or (B, F) with `pre_logits` or without classifier."""
        x = self.head_drop(x.mean((2, 3)))  # (B, F)
        return x if pre_logits else self.fc(x)

    def forward_taps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) -> [(B, C, H / stride, W / stride)] of the taps `indices`, ascending."""
        wanted = [self.taps[i].module for i in indices]
        maps: list[Tensor] = []
        x = self.stem(x)
        if "stem.2" in wanted:
            maps.append(x)
        state = (x, x)
        for number, block in enumerate(self.features):
            if len(maps) == len(wanted):
                return maps
            state = block(state)
            if f"features.{number}" in wanted:
                maps.append(state[0])
        x = state[0]
        for number, layer in enumerate(self.head):
            if len(maps) == len(wanted):
                return maps
            x = layer(x)
            if f"head.{number}" in wanted:
                maps.append(x)
        return maps

    def keep_taps(self, indices: Sequence[int]) -> None:
        """Delete the classifier and every layer behind the deepest of the taps `indices`."""
        part, number = self.taps[max(indices)].module.split(".")
        kept = int(number) + 1
        if part != "head":
            blocks = list(self.features)[: kept if part == "features" else 0]
            self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(*list(self.head)[: kept if part == "head" else 0])
        self.fc, self.num_classes = nn.Identity(), 0

    def adapt_to(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint under this model's names: the authors call the classifier `classifier.0`.

        Of SelecSLS84 there are two layouts, with a 1x1 and with a 3x3 convolution at the end of the
        head: this model takes on that of the checkpoint.
        """
        tensors = {
            f"fc.{name.removeprefix('classifier.0.')}"
            if name.startswith("classifier.0.")
            else name: tensor
            for name, tensor in tensors.items()
        }
        theirs = tensors.get("head.3.0.weight")
        if theirs is not None and len(self.head) == 4:
            *_, last = self.head
            assert isinstance(last, nn.Sequential)
            conv = last[0]
            assert isinstance(conv, nn.Conv2d)
            kernel, ours = theirs.shape[-1], conv.kernel_size[0]
            if theirs.shape[:2] == conv.weight.shape[:2] and {kernel, ours} == {1, 3}:
                last[0] = nn.Conv2d(
                    conv.in_channels, conv.out_channels, kernel, padding=kernel // 2, bias=False
                ).to(conv.weight)
        return tensors


def _scaled(plan: Plan, width: float) -> Plan:
    """The same plan with every channel count scaled to a multiple of 8 (the stem's 32 too)."""

    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8) if channels else 0

    def of_block(row: Block) -> Block:
        return row._replace(
            in_channels=scaled(row.in_channels),
            skip_channels=scaled(row.skip_channels),
            mid_channels=scaled(row.mid_channels),
            out_channels=scaled(row.out_channels),
        )

    def of_layer(row: HeadConv) -> HeadConv:
        return row._replace(
            in_channels=scaled(row.in_channels), out_channels=scaled(row.out_channels)
        )

    return Plan(tuple(map(of_block, plan.blocks)), tuple(map(of_layer, plan.head)))


def selecsls(
    variant: str,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    width: float = 1.0,
    paper_groups: bool = False,
    timm_head: bool = False,
) -> SelecSLS:
    """A variant of `PLANS` with fresh weights.

    Args:
        variant: `selecsls42`, `42b`, `60`, `60b`, `84` or `102`.
        num_classes: 0 for embeddings.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifier.
        width: Scales all channel counts.
        paper_groups: Of 60 and 60b: the grouped convolutions of the deployed XNect.
        timm_head: Of 84: timm's layout of the head.

    Raises:
        ValueError: A switch that this variant does not have, or a width that is not positive.
    """
    plan = PLANS[variant]
    if timm_head:
        if variant != "selecsls84":
            raise ValueError(f"timm_head is a switch of selecsls84 only, not of {variant}")
        plan = TIMM_84
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    if width != 1:
        plan = _scaled(plan, width)
    if paper_groups:
        if len(plan.blocks) != len(PAPER_GROUPS):
            raise ValueError(f"paper_groups is a switch of selecsls60 and 60b, not of {variant}")
        grouped = zip(plan.blocks, PAPER_GROUPS, strict=True)
        plan = plan._replace(blocks=tuple(row._replace(groups=g) for row, g in grouped))
    return SelecSLS(plan, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate)


MODELS: dict[str, Callable[..., Backbone]] = {name: partial(selecsls, name) for name in PLANS}
"""Architecture -> builder with the keywords of `selecsls`."""
