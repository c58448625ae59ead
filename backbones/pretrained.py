"""Weights that others have trained on ImageNet, and how they want their pictures.

Facts of the model cards and of timm's configurations (spec 1.4); no file is shipped with xnect.
"""

from __future__ import annotations

from dataclasses import dataclass

RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download/"
"""Where the files lay before there was a hub."""


@dataclass(frozen=True)
class PretrainedConfig:
    """One set of weights."""

    architecture: str
    tag: str  # of the training, after the dot of the full name
    first_conv: str
    classifier: str
    licence: str
    url: str = ""  # older direct file; its name ends with the first digits of its SHA-256
    input_hw: tuple[int, int] = (224, 224)
    pool_hw: tuple[int, int] = (7, 7)  # cells before pooling, at `input_hw`
    interpolation: str = "bilinear"
    crop_pct: float = 0.875  # share of the resized picture's side that the crop keeps
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    num_classes: int = 1000
    top1: float | None = None  # per cent of the ImageNet validation set, timm's evaluation
    top5: float | None = None

    @property
    def name(self) -> str:
        """Architecture and tag, as timm writes it."""
        return f"{self.architecture}.{self.tag}"

    @property
    def hub_id(self) -> str:
        """Repository on the Hugging Face hub."""
        return f"timm/{self.name}"


def _selecsls(architecture: str, file: str, top1: float, top5: float) -> PretrainedConfig:
    return PretrainedConfig(
        architecture, "in1k", "stem.0", "fc", "cc-by-4.0", f"{RELEASES}v0.1-selecsls/{file}",
        pool_hw=(4, 4), interpolation="bicubic", top1=top1, top5=top5,
    )  # fmt: skip


def _hrnet(
    architecture: str,
    tag: str = "ms_in1k",
    *,
    url: str = "",
    crop_pct: float = 0.875,
    top1: float | None = None,
    top5: float | None = None,
) -> PretrainedConfig:
    return PretrainedConfig(
        architecture, tag, "conv1", "classifier", "mit", url,
        crop_pct=crop_pct, top1=top1, top5=top5,
    )  # fmt: skip


def _resnest(
    architecture: str,
    tag: str = "in1k",
    *,
    url: str = "",
    side_px: int = 224,
    crop_pct: float = 0.875,
    interpolation: str = "bilinear",
    top1: float | None = None,
    top5: float | None = None,
) -> PretrainedConfig:
    return PretrainedConfig(
        architecture, tag, "conv1.0", "fc", "apache-2.0", url,
        input_hw=(side_px, side_px), pool_hw=(side_px // 32, side_px // 32),
        interpolation=interpolation, crop_pct=crop_pct, top1=top1, top5=top5,
    )  # fmt: skip


def _resnet(architecture: str, file: str) -> PretrainedConfig:
    return PretrainedConfig(
        architecture, "tv_in1k", "conv1", "fc", "bsd-3-clause",
        f"https://download.pytorch.org/models/{file}",
    )  # fmt: skip


_ALL = (
    _selecsls("selecsls42b", "selecsls42b-8af30141.pth", 77.184, 93.390),
    _selecsls("selecsls60", "selecsls60-bbf87526.pth", 77.974, 93.822),
    _selecsls("selecsls60b", "selecsls60b-94e619b5.pth", 78.410, 94.166),
    _hrnet("hrnet_w18", "ms_aug_in1k", crop_pct=0.95, top1=78.110, top5=94.062),
    _hrnet("hrnet_w18", url=f"{RELEASES}v0.1-hrnet/hrnetv2_w18-8cb57bb9.pth", top1=76.77),
    _hrnet("hrnet_w18_small"),
    _hrnet("hrnet_w18_small_v2"),
    _hrnet("hrnet_w18_ssld", "paddle_in1k", crop_pct=0.95),
    _hrnet("hrnet_w30"),
    _hrnet("hrnet_w32"),
    _hrnet("hrnet_w40"),
    _hrnet("hrnet_w44"),
    _hrnet("hrnet_w48"),
    _hrnet("hrnet_w48_ssld", "paddle_in1k", crop_pct=0.95),
    _hrnet("hrnet_w64"),
    _resnest("resnest14d", "gluon_in1k"),
    _resnest("resnest26d", "gluon_in1k"),
    _resnest("resnest50d"),
    _resnest("resnest50d_1s4x24d", interpolation="bicubic"),
    _resnest("resnest50d_4s2x40d", interpolation="bicubic"),
    _resnest(
        "resnest101e", url=f"{RELEASES}v0.1-resnest/resnest101-22405ba7.pth", side_px=256,
        top1=82.916, top5=96.310,
    ),
    _resnest("resnest200e", side_px=320, crop_pct=0.909, interpolation="bicubic"),
    _resnest("resnest269e", side_px=416, crop_pct=0.928, interpolation="bicubic"),
    _resnet("resnet18", "resnet18-f37072fd.pth"),
    _resnet("resnet34", "resnet34-b627a593.pth"),
    _resnet("resnet50", "resnet50-0676ba61.pth"),
    _resnet("resnet101", "resnet101-63fe2227.pth"),
    _resnet("resnet152", "resnet152-394f9c45.pth"),
)  # fmt: skip

PRETRAINED: dict[str, PretrainedConfig] = {config.name: config for config in _ALL}
"""Full name (`selecsls42b.in1k`) -> configuration; the first of an architecture is its default."""


def default_config(architecture: str) -> PretrainedConfig | None:
    """What `pretrained=True` means for a name without a tag; None where nothing was published."""
    return next((c for c in PRETRAINED.values() if c.architecture == architecture), None)
