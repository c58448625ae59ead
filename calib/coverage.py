"""Which part of the picture the boards have covered: what no corner has seen is not calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .board import View

CELLS = (30, 40)
"""Rows and columns in which the covered part is counted."""

_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")


def covered(views: Sequence[View]) -> np.ndarray:
    """(30, 40) bool: the cells of the picture over which a board was held in some view."""
    import cv2

    mask = np.zeros(CELLS, np.uint8)
    for view in views:
        height, width = view.hw
        scaled = (view.corners_px + 0.5) * (CELLS[1] / width, CELLS[0] / height) - 0.5
        hull = cv2.convexHull(scaled.astype(np.float32)).round().astype(np.int32)
        cv2.fillConvexPoly(mask, hull, 1)
    return mask.astype(bool)


def missing_parts(mask: np.ndarray, *, least: float = 0.1) -> tuple[str, ...]:
    """Names of the ninths of the picture of which less than `least` is covered: "top left", ..."""
    rows, columns = (np.array_split(np.arange(n), 3) for n in mask.shape)
    return tuple(
        (f"{_ROWS[i]} {_COLUMNS[j]}" if (i, j) != (1, 1) else "centre")
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        if mask[np.ix_(row, column)].mean() < least
    )
