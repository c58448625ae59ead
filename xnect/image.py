"""Whatever people call an image -> what the pipeline takes: RGB uint8 (H, W, 3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from xnect.errors import BadInput

RULES = (
    "give (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA as uint8, uint16, or float from 0 to 1"
)


_NOT_RGB = ("1", "LA", "La", "P", "PA", "CMYK", "HSV", "YCbCr", "LAB")
"""Modes of Pillow's images whose numbers are no colours, or others, or grey in another form."""


def as_rgb8(image: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture of any usual kind; the input itself if it is one already.

    Grey is repeated in three channels.  The alpha of RGBA is dropped.  uint16 uses its whole
    range (65535 -> 255).  Float must lie in 0..1.  Pillow's images of palettes, other colours, one
    bit, or grey with alpha are made RGB.  Anything else raises `BadInput`.
    """
    if getattr(image, "mode", None) in _NOT_RGB and hasattr(image, "convert"):
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGB")
    try:
        array = np.asarray(image)
    except Exception as error:  # what a foreign object's __array__ raises is not ours to know
        raise BadInput(f"cannot use a {type(image).__name__} as an image: {error}") from error
    if array.dtype.kind not in "uif":
        raise BadInput(f"cannot use a {type(image).__name__} as an image; {RULES}")
    return _rgb(_uint8(array))


def _uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise BadInput(f"an image of {array.dtype} has no agreed range; {RULES}")
    if array.size and not (0 <= array.min() and array.max() <= 1):  # also true for NaN
        low, high = float(array.min()), float(array.max())
        raise BadInput(f"a float image must lie in 0..1, got {low:g}..{high:g}")
    return np.rint(array * 255).astype(np.uint8)


def _rgb(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = "; channels come last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise BadInput(f"an image cannot have the shape {array.shape}{hint}; {RULES}")
    if 0 in array.shape:
        raise BadInput(f"an image must have at least one pixel, got the shape {array.shape}")
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array[..., :3])
