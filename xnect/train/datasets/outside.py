"""Labels that lie outside their picture, as damaged annotations have them."""

from __future__ import annotations

import numpy as np

__all__ = ["outside"]

SLACK_PX = 1.0
"""Labels so far beyond the rim are rounding, and stay."""


def outside(points_px: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """(..., 2) px, centres of pixels whole -> (...) bool: outside the picture, or not finite."""
    height, width = image_hw
    low, high = -0.5 - SLACK_PX, np.array([width, height]) - 0.5 + SLACK_PX
    inside = (points_px >= low) & (points_px <= high)
    return np.asarray(~inside.all(-1))
