"""Stage I: one picture -> heatmaps, limb affinities and 3D codes for everybody in it (spec 2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from xnect.backbones import Features, UnknownBackbone, create_backbone
from xnect.errors import BadInput, BadWeights, UnknownName
from xnect.heads.boxes import BoxHead
from xnect.heads.context import Context
from xnect.heads.pose2d import BranchWidths, Pose2dHead
from xnect.heads.pose3d import Pose3dHead
from xnect.skeleton import JOINTS2D, JOINTS3D, LIMBS

STRIDE = 8
"""Pixels of the network's input per cell of its maps."""

MULTIPLE = 16
"""Input sizes must be multiples of this."""


class Maps(NamedTuple):
    """What Stage I predicts, at stride 8."""

    heatmaps: Tensor  # (B, J, h, w) logits
    affinities: Tensor  # (B, L, 2, h, w)
    codes: Tensor  # (B, 3K, h, w)
    offsets: Tensor  # (B, J, 2, h, w) cells, from a cell's centre to the joint next to it
    boxes: Tensor  # (B, 5, h, w) logit of a box's centre, log distances to its sides (cells)


@dataclass(frozen=True)
class Preset:
    """One network as data."""

    backbone: str  # any name of `create_backbone`
    width: float  # 1 but for SelecSLS
    paper_groups: bool  # SelecSLS60 only
    pose2d: BranchWidths
    pose3d: BranchWidths
    input_hw: tuple[int, int]  # nominal; other aspect ratios keep about this area
    boxes: BranchWidths
    context: int = 0  # channels of the context at stride 32; 0: none


PRESETS = {
    "m": Preset(  # the deployed network of the paper, spec 2.2, ungrouped core
        "selecsls60",
        1.0,
        False,
        BranchWidths(256, 192, 128, 96),
        BranchWidths(256, 192, 160, 128),
        (320, 512),
        BranchWidths(256, 128, 128, 128, lateral=64),
    ),
    "s": Preset(  # trains on two CPU cores in hours
        "selecsls42",
        0.5,
        False,
        BranchWidths(96, 64, 96, 64, lateral=48, groups=2),
        BranchWidths(96, 48, 64, 64, lateral=0, groups=2),
        (192, 304),  # best on training pictures: people of 40 to 140 pixels
        BranchWidths(96, 64, 96, 64, lateral=48, groups=2),
        context=256,
    ),
}


STAGE1_TAPS = (2, 3)
"""Of every backbone: the taps of stride 8 and 16."""


class Network(nn.Module):
    """Normalised images (B, 3, H, W), multiples of 16 -> `Maps` at stride 8."""

    def __init__(
        self,
        backbone: Features,
        pose2d: Pose2dHead,
        pose3d: Pose3dHead,
        context: Context | None = None,
        boxes: BoxHead | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.pose2d, self.pose3d, self.context = backbone, pose2d, pose3d, context
        self.boxes: BoxHead | None = boxes

    def forward(self, images: Tensor) -> Maps:
        """(B, 3, H, W) -> heatmap logits, affinities, codes, offsets, boxes at (H / 8, W / 8).

        Without a box branch nobody's box is found: its logits are -inf.
        """
        fine, coarse = self.features(images)
        seen = self.pose2d(coarse, fine)
        codes = self.pose3d(coarse, fine, seen.features)
        boxes = self._boxes(coarse, fine)
        return Maps(seen.heatmaps, seen.affinities, codes, seen.offsets, boxes)

    def box_maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the boxes of `forward` alone, in less time."""
        fine, coarse = self.features(images)
        return self._boxes(coarse, fine)

    def _boxes(self, coarse: Tensor, fine: Tensor) -> Tensor:
        if self.boxes is not None:
            maps: Tensor = self.boxes(coarse, fine)
            return maps
        return fine.new_full((len(fine), 5, *fine.shape[-2:]), -torch.inf)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> what the branches read, at strides 8 and 16."""
        fine, coarse = self.backbone(images)
        return fine, coarse if self.context is None else self.context(coarse)


def build_network(
    preset: str,
    *,
    backbone: str | None = None,
    pretrained: bool | str | Path = False,
    boxes: bool = True,
) -> Network:
    """The network of a preset with fresh weights.

    Args:
        preset: A name of `PRESETS`.
        backbone: Another one in place of the preset's, at its full width.
        pretrained: Weights of the backbone, as `create_backbone` takes them.
        boxes: With the box branch; weights of before it have none.

    Raises:
        UnknownName: A preset or backbone that does not exist.
        BadInput: A backbone that does not have maps of stride 8 and 16.
        BadWeights: Weights of the backbone that cannot be had, or are for another.
    """
    if preset not in PRESETS:
        raise UnknownName("preset", preset, sorted(PRESETS))
    p = PRESETS[preset]
    options: dict[str, Any] = {}
    if backbone is None:
        backbone = p.backbone
        options |= {"width": p.width} if p.width != 1 else {}
        options |= {"paper_groups": True} if p.paper_groups else {}
    features = _stage1_backbone(backbone, pretrained, options)
    fine, coarse = features.channels
    return Network(
        features,
        Pose2dHead(coarse, fine, widths=p.pose2d, num_joints=len(JOINTS2D), num_limbs=len(LIMBS)),
        Pose3dHead(coarse, fine, p.pose2d.mid, widths=p.pose3d, num_codes=3 * len(JOINTS3D)),
        Context(coarse, p.context) if p.context else None,
        BoxHead(coarse, fine, widths=p.boxes) if boxes else None,
    )


def _stage1_backbone(name: str, pretrained: bool | str | Path, options: dict[str, Any]) -> Features:
    try:
        features = create_backbone(
            name, pretrained=pretrained, features_only=True, out_indices=STAGE1_TAPS, **options
        )
    except UnknownBackbone as error:
        raise UnknownName("backbone", name, error.nearest) from error
    except (ValueError, OSError) as error:
        raise BadWeights(f"backbone {name}: {error}") from error
    assert isinstance(features, Features)
    if features.strides != (8, 16):
        raise BadInput(f"backbone {name} has maps of strides {features.strides}, not of 8 and 16")
    return features


AnyModule = TypeVar("AnyModule", bound=nn.Module)


def channels_last(network: AnyModule) -> AnyModule:
    """The same network, its weights laid out for the faster convolutions of CPU and GPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
