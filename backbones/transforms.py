"""Pillow picture -> input of a pretrained network, with the pixels of timm's evaluation transform.

1. RGB, by Pillow's own conversion: transparency is dropped, not blended; EXIF orientation is *not*
   applied (timm does not; turn the picture before with `PIL.ImageOps.exif_transpose` if wanted).
2. The shorter side is resized to `floor(input / crop_pct)` (224 / 0.875 = 256) by Pillow's
   antialiased filter, the longer one in proportion, rounded down.  For an input that is not square
   both sides are scaled alike until they cover `floor(input_hw / crop_pct)`, rounded to nearest.
3. The centre is cropped; halves of a pixel are rounded to the even side.  Where the picture is
   smaller than the crop (crop_pct > 1), black is added evenly.
4. Divided by 255, mean subtracted, divided by the standard deviation, in float32.

timm's arithmetic was read from timm 1.0 `data/transforms_factory.py` and torchvision's `resize` and
`center_crop`; no code was taken over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

MOST_PIXELS = 1 << 28
"""Of a resized picture; only pictures hundreds of times longer than wide come near."""


class DataConfig(Protocol):
    """What the transform needs to know of a model; `PretrainedConfig` has it."""

    @property
    def input_hw(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def mean(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def std(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def interpolation(self) -> str: ...  # noqa: D102
    @property
    def crop_pct(self) -> float: ...  # noqa: D102


def evaluation_transform(config: DataConfig) -> Callable[[Image], Tensor]:
    """A function from a Pillow picture of any mode to (3, H, W) float32, as described above.

    Raises:
        ValueError: An interpolation that does not exist, or sizes that are not positive.
    """
    if config.interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"unknown interpolation {config.interpolation!r}; known: {', '.join(INTERPOLATIONS)}"
        )
    if min(config.input_hw) < 1 or not config.crop_pct > 0:
        raise ValueError(
            f"input_hw and crop_pct must be positive, got {config.input_hw} and {config.crop_pct}"
        )
    mean = torch.tensor(config.mean).view(3, 1, 1)
    std = torch.tensor(config.std).view(3, 1, 1)

    def transform(image: Image) -> Tensor:
        pixels = resized_and_cropped(image, config)  # (3, H, W)
        return pixels.float().div_(255).sub_(mean).div_(std)

    return transform


def resized_and_cropped(image: Image, config: DataConfig) -> Tensor:
    """(3, H, W) uint8 RGB: steps 1 to 3."""
    import numpy as np
    from PIL import Image as pillow

    height, width = config.input_hw
    hw = resized_hw((image.height, image.width), config.input_hw, config.crop_pct)
    if math.prod(hw) > MOST_PIXELS:
        raise ValueError(
            f"a picture of {image.width}x{image.height} is too long and narrow: it would become "
            f"{hw[1]}x{hw[0]}"
        )
    image = image.convert("RGB")
    if hw != (image.height, image.width):
        image = image.resize(hw[::-1], pillow.Resampling[config.interpolation.upper()])
    if hw[0] < height or hw[1] < width:  # black around it
        larger = max(hw[0], height), max(hw[1], width)
        canvas = pillow.new("RGB", larger[::-1])
        canvas.paste(image, ((larger[1] - hw[1]) // 2, (larger[0] - hw[0]) // 2))
        image, hw = canvas, larger
    top, left = round((hw[0] - height) / 2), round((hw[1] - width) / 2)
    image = image.crop((left, top, left + width, top + height))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def resized_hw(
    image_hw: tuple[int, int], input_hw: tuple[int, int], crop_pct: float
) -> tuple[int, int]:
    """Height and width of the picture after step 2."""
    wanted = math.floor(input_hw[0] / crop_pct), math.floor(input_hw[1] / crop_pct)
    height, width = image_hw
    if wanted[0] != wanted[1]:
        ratio = min(height / wanted[0], width / wanted[1])
        return round(height / ratio), round(width / ratio)
    shorter, longer = min(image_hw), max(image_hw)
    scaled = int(wanted[0] * longer / shorter)
    return (scaled, wanted[0]) if height > width else (wanted[0], scaled)
