"""VoVNet: every layer seen once more, together, at the end (Lee et al., CVPRW 2019).

One-shot aggregation (OSA).  Every `conv` is a convolution without bias, batch norm and ReLU::

    x ─┬─► conv 3x3 ─┬─► conv 3x3 ─┬─► conv 3x3 ─┬─► conv 3x3 ─┬─► conv 3x3 ─┐
       │      k      │      k      │      k      │      k      │      k      │
       ▼             ▼             ▼             ▼             ▼             ▼
       (                        side by side: in + 5 k                       ) ─► conv 1x1 ─► out

DenseNet hands every layer's output to all later ones; here each goes only to the next one and to
the aggregation, so that all 3x3 convolutions have equally many channels in and out, which is what
costs least memory traffic.  The network::

    images ─► 3x3 /2 ─► 3x3 ─► 3x3 /2 ─► OSA ─► max /2 OSA ─► max /2 OSA ─► max /2 OSA ─► mean, fc
    stride       2       2        4       4          8            16            32

SelecSLS has the same aim and is compared with it.  Names of the parameters are those of timm's
`vovnet39a`; written from the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .features import Backbone, Tap

STEM_CHANNELS = (64, 64, 128)
MID_CHANNELS = (128, 160, 192, 224)
"""k of the four stages."""
OUT_CHANNELS = (256, 512, 768, 1024)
LAYERS = 5
"""3x3 convolutions in a block."""


class Plan(NamedTuple):
    """One variant as data."""

    blocks: tuple[int, int, int, int]  # per stage


PLANS = {"vovnet39a": Plan((1, 1, 2, 2)), "vovnet57a": Plan((1, 1, 4, 3))}
"""VoVNet-39 and -57 of the paper's table 2, under timm's names; the number counts layers."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU; padding keeps the size at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class OsaBlock(nn.Module):
    """(B, in, H, W) -> (B, out, H, W), drawn at the top of the file."""

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        inputs = [in_channels] + [mid_channels] * (LAYERS - 1)
        self.conv_mid = nn.ModuleList(ConvNorm(n, mid_channels, 3) for n in inputs)
        self.conv_concat = ConvNorm(in_channels + LAYERS * mid_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Every layer's output and x itself, side by side, mixed by one 1x1 convolution."""
        seen = [x]
        for conv in self.conv_mid:
            seen.append(conv(seen[-1]))
        out: Tensor = self.conv_concat(torch.cat(seen, 1))
        return out


class OsaStage(nn.Module):
    """Max pooling (not in the first stage: the stem has stridden), then OSA blocks."""

    def __init__(self, number: int, blocks: int) -> None:
        super().__init__()
        in_channels = (STEM_CHANNELS[-1], *OUT_CHANNELS)[number]
        out_channels = OUT_CHANNELS[number]
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True) if number else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                OsaBlock(out_channels if n else in_channels, MID_CHANNELS[number], out_channels)
                for n in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / 2, W / 2), of the first stage (B, out, H, W)."""
        out: Tensor = self.blocks(self.pool(x))
        return out


class VoVNet(Backbone):
    """Images (B, in_chans, H, W) -> (B, num_classes) logits; H and W at least 33.

    Taps: in the stem (stride 2) and after each stage (4, 8, 16, 32).  Initialised with Kaiming
    normal, fan out.
    """

    def __init__(
        self, plan: Plan, *, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        a, b, c = STEM_CHANNELS
        self.stem = nn.Sequential(
            ConvNorm(in_chans, a, 3, 2), ConvNorm(a, b, 3), ConvNorm(b, c, 3, 2)
        )
        self.stages = nn.Sequential(*(OsaStage(i, n) for i, n in enumerate(plan.blocks)))
        self.num_features, self.num_classes = OUT_CHANNELS[-1], num_classes
        fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.head = nn.ModuleDict({"drop": nn.Dropout(drop_rate), "fc": fc})
        stages = (Tap(n, 4 << i, f"stages.{i}") for i, n in enumerate(OUT_CHANNELS))
        self.taps = (Tap(b, 2, "stem.1"), *stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1024, H / 32, W / 32)."""
        out: Tensor = self.stages(self.stem(x))
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, F, h, w) -> (B, num_classes), or (B, F) with `pre_logits` or without classifier."""
        x = self.head["drop"](x.mean((2, 3)))  # (B, F)
        return x if pre_logits else self.head["fc"](x)

    def forward_taps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """(B, C, H, W) -> [(B, C_i, H / stride_i, W / stride_i)] of the taps `indices`."""
        maps = {0: self.stem[:2](x)}
        if max(indices) > 0:
            x = self.stem[2](maps[0])
        for number, stage in enumerate(list(self.stages)[: max(indices)], start=1):
            x = stage(x)
            maps[number] = x
        return [maps[i] for i in indices]

    def keep_taps(self, indices: Sequence[int]) -> None:
        """Delete the classifier and what lies behind the deepest of the taps `indices`."""
        self.stages = nn.Sequential(*list(self.stages)[: max(indices)])
        if max(indices) == 0:
            self.stem = nn.Sequential(*list(self.stem)[:2])
        self.head, self.num_classes = nn.ModuleDict(), 0


MODELS: dict[str, Callable[..., Backbone]] = {n: partial(VoVNet, p) for n, p in PLANS.items()}
"""Architecture -> builder with the keywords `num_classes`, `in_chans`, `drop_rate`."""
