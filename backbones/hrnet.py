"""HRNet: high resolution is kept, not won back (Wang et al., TPAMI 2020).

Branches of strides 4, 8, 16 and 32 run side by side, and all exchange what they know again and
again.  c is the width of the finest one: 18 in W18::

    stride                     stage2        stage3            stage4
      4    stem ─► layer1 ─┬─► [c    ] ────► [c    ] x4 ─────► [c    ] x3 ─► incre ─► 128 ─┐
                           │   [fused]       [     ]           [     ]                     ▼
      8                    └─► [2c   ] ─┬──► [2c   ] ────────► [2c   ] ────► incre ─► 256 ─(+)─┐
                                        │    [fused]           [     ]                         ▼
     16                                 └──► [4c   ] ─┬──────► [4c   ] ────► incre ─► 512 ────(+)─┐
                                                      │        [fused]                            ▼
     32                                               └──────► [8c   ] ────► incre ─► 1024 ──────(+)
                                                                                                   │
                                   logits ◄─ classifier ◄─ mean ◄─ 2048 ◄─ final_layer 1x1 ◄───────┘

One box is a `HighResolutionModule`: in every branch some residual blocks, and then, for each branch
i, the sum of all branches j, made to fit::

    y_i = ReLU( f_i0(x_0) + f_i1(x_1) + ... )      f_ij  j > i: 1x1, BN, nearest neighbour upwards
                                                         j = i: as it is
                                                         j < i: i - j times 3x3 /2, BN, ReLU between

A branch begins as a 3x3 /2 convolution of the coarsest branch before it.  `layer1` and the `incre`
modules are ResNet's bottlenecks, the blocks in the branches its basic ones (`resnet.py`); (+) adds
the finer map, strided by a 3x3 convolution.  Names of the parameters are those of the authors' code
and of timm; written from the paper and spec 1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from .features import Backbone, Tap
from .resnet import BasicBlock, Bottleneck, layer

STEM_CHANNELS = 64
INCRE_PLANES = (32, 64, 128, 256)
"""Of the bottlenecks that widen the four branches at the end: four times as many channels."""
FINAL_CHANNELS = 2048


class Plan(NamedTuple):
    """One variant as data."""

    width: int  # c, channels of the finest branch; each coarser one has twice as many
    layer1_blocks: int = 4
    layer1_planes: int = 64
    modules: tuple[int, int, int] = (1, 4, 3)  # of stages 2, 3, 4
    blocks: int = 4  # in each branch of a module
    head_bias: bool = True  # of the convolutions between the widened branches


PLANS = {
    "hrnet_w18_small": Plan(16, 1, 32, (1, 1, 1), 2),
    "hrnet_w18_small_v2": Plan(18, 2, 64, (1, 3, 2), 2),
    "hrnet_w18": Plan(18),
    "hrnet_w18_ssld": Plan(18, head_bias=False),
    "hrnet_w30": Plan(30),
    "hrnet_w32": Plan(32),
    "hrnet_w40": Plan(40),
    "hrnet_w44": Plan(44),
    "hrnet_w48": Plan(48),
    "hrnet_w48_ssld": Plan(48, head_bias=False),
    "hrnet_w64": Plan(64),
}
"""The published variants; `ssld` ones were distilled, in a port that left out two biases."""


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    relu: bool = True,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution, batch norm and, unless said otherwise, ReLU; keeps the size at stride 1."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
    parts = [conv, nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if relu else []))


class Transition(nn.ModuleList):
    """Branches of one stage -> those of the next, which are one more."""

    def __init__(self, channels: Sequence[int], next_channels: Sequence[int]) -> None:
        kept = (
            nn.Identity() if old == new else conv_norm(old, new)
            for old, new in zip(channels, next_channels, strict=False)
        )
        born = nn.Sequential(conv_norm(channels[-1], next_channels[-1], stride=2))
        super().__init__([*kept, born])

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """The new branch, like the last old one, comes from the coarsest that there is."""
        return [make(branches[min(i, len(branches) - 1)]) for i, make in enumerate(self)]


class HighResolutionModule(nn.Module):
    """Branches -> branches of the same shapes: residual blocks, then the exchange between all."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            layer(BasicBlock, c, c, expansion=1, blocks=blocks, stride=1) for c in channels
        )
        numbers = range(len(channels))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fit(channels, source=j, target=i) for j in numbers) for i in numbers
        )

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """[(B, C_i, H_i, W_i)] -> the same shapes, finest first."""
        x = [blocks(branch) for blocks, branch in zip(self.branches, branches, strict=True)]
        return [self._fused(i, x) for i in range(len(x))]

    def keep_outputs(self, numbers: Sequence[int]) -> None:
        """Delete the exchange towards all other branches, which then give what nobody reads."""
        for i in range(len(self.fuse_layers)):
            if i not in numbers:
                self.fuse_layers[i] = nn.ModuleList()

    def _fused(self, i: int, x: Sequence[Tensor]) -> Tensor:
        """ReLU of the sum over j of f_ij(x_j)."""
        row = self.fuse_layers[i]
        assert isinstance(row, nn.ModuleList)
        if not len(row):  # of `keep_outputs`
            return x[i]
        terms = [fit(branch) for fit, branch in zip(row, x, strict=True)]
        # by size, not by 2^(j - i): sizes that are no multiples of 32 round up at each stride
        size = x[i].shape[-2:]
        terms[i + 1 :] = [F.interpolate(term, size, mode="nearest") for term in terms[i + 1 :]]
        return F.relu(sum(terms[1:], terms[0]), inplace=len(terms) > 1)


def _fit(channels: Sequence[int], *, source: int, target: int) -> nn.Module:
    """What makes branch `source` fit branch `target`, but for the way upwards in size."""
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm(channels[source], channels[target], 1, relu=False)
    between = range(target - source - 1)
    return nn.Sequential(
        *(conv_norm(channels[source], channels[source], stride=2) for _ in between),
        conv_norm(channels[source], channels[target], stride=2, relu=False),
    )


class HRNet(Backbone):
    """Images (B, in_chans, H, W) of any size -> (B, num_classes) logits.

    Taps, named as timm names them: the stem's first convolution (stride 2) and the branches after
    stage 4 (4, 8, 16, 32), each behind its `incre` module (128, 256, 512, 1024 channels), or as
    they are (c, 2c, 4c, 8c) where `widen_taps` is False.  Sizes round up at each stride.
    Initialised with Kaiming normal, fan out.
    """

    transition1: nn.Module
    transition2: nn.Module
    transition3: nn.Module
    stage2: nn.Module
    stage3: nn.Module
    stage4: nn.Module

    def __init__(
        self,
        plan: Plan,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        widen_taps: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, STEM_CHANNELS, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.layer1 = layer(
            Bottleneck, STEM_CHANNELS, plan.layer1_planes,
            expansion=Bottleneck.expansion, blocks=plan.layer1_blocks, stride=1,
        )  # fmt: skip
        channels = [plan.layer1_planes * Bottleneck.expansion]
        for number, modules in enumerate(plan.modules, start=1):
            before, channels = channels, [plan.width << b for b in range(number + 1)]
            self.add_module(f"transition{number}", Transition(before, channels))
            stage = (HighResolutionModule(channels, plan.blocks) for _ in range(modules))
            self.add_module(f"stage{number + 1}", nn.Sequential(*stage))

        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(c, planes))
            for c, planes in zip(channels, INCRE_PLANES, strict=True)
        )
        wide = [planes * Bottleneck.expansion for planes in INCRE_PLANES]
        self.downsamp_modules = nn.ModuleList(
            conv_norm(finer, coarser, stride=2, bias=plan.head_bias)
            for finer, coarser in pairwise(wide)
        )
        self.final_layer = conv_norm(wide[-1], FINAL_CHANNELS, 1, bias=plan.head_bias)
        self.head_drop = nn.Dropout(drop_rate)
        self.num_features, self.num_classes = FINAL_CHANNELS, num_classes
        self.classifier = nn.Linear(FINAL_CHANNELS, num_classes) if num_classes else nn.Identity()
        self.widen_taps = widen_taps
        tapped = enumerate(wide if widen_taps else channels)
        self.taps = (
            Tap(STEM_CHANNELS, 2, "stem"), *(Tap(c, 4 << b, f"stage{b + 1}") for b, c in tapped)
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _first(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 64, H / 2, W / 2): the first convolution of the stem."""
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def _branches(self, x: Tensor) -> list[Tensor]:
        """(B, 64, H / 2, W / 2) -> the four branches after stage 4, finest first."""
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        branches = [self.layer1(x)]
        branches = self.stage2(self.transition1(branches))
        branches = self.stage3(self.transition2(branches))
        out: list[Tensor] = self.stage4(self.transition3(branches))
        return out

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2048, H / 32, W / 32)."""
        branches = self._branches(self._first(x))
        widened = [incre(y) for incre, y in zip(self.incre_modules, branches, strict=True)]
        y = widened[0]
        for stride, coarser in zip(self.downsamp_modules, widened[1:], strict=True):
            y = coarser + stride(y)
        out: Tensor = self.final_layer(y)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, F, h, w) -> (B, num_classes), or (B, F) with `pre_logits` or without classifier."""
        x = self.head_drop(x.mean((2, 3)))  # (B, F)
        return x if pre_logits else self.classifier(x)

    def forward_taps(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """(B, C, H, W) -> [(B, C_i, H / stride_i, W / stride_i)] of the taps `indices`.

        Every tap but the first needs all four stages.
        """
        first = self._first(x)
        branches = self._branches(first) if max(indices) > 0 else []
        return [self._tap(branches, i - 1) if i else first for i in indices]

    def _tap(self, branches: Sequence[Tensor], number: int) -> Tensor:
        branch = branches[number]
        return self.incre_modules[number](branch) if self.widen_taps else branch

    def keep_taps(self, indices: Sequence[int]) -> None:
        """Delete the classifier, and the last exchange and the `incre` modules of other taps.

        For the first tap alone, all but the first convolution goes.
        """
        self.downsamp_modules, self.final_layer = nn.ModuleList(), nn.Sequential()
        self.classifier, self.num_classes = nn.Identity(), 0
        for number in range(len(self.incre_modules)):
            if number + 1 not in indices or not self.widen_taps:
                self.incre_modules[number] = nn.Identity()
        *_, last = self.stage4.children()
        assert isinstance(last, HighResolutionModule)
        last.keep_outputs([i - 1 for i in indices])
        if max(indices) == 0:
            for name, _ in list(self.named_children()):
                if name not in {"conv1", "bn1"}:
                    delattr(self, name)


MODELS: dict[str, Callable[..., Backbone]] = {n: partial(HRNet, p) for n, p in PLANS.items()}
"""Architecture -> builder with the keywords of `HRNet`."""
