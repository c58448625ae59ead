"""Contact sheets: what a seed draws, with and without the labels in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from xnect.errors import BadInput
from xnect.skeleton import LIMBS
from xnect.synth.labels import OUTSIDE, SEEN, SELF, Labels

COLOURS = ((255, 60, 60), (60, 220, 60), (40, 140, 255), (255, 220, 0), (200, 80, 255),
           (0, 220, 220))  # fmt: skip


SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def check_suffix(path: Path) -> None:
    """Check that a sheet can be written under this name.

    Raises:
        BadInput: its ending is that of no picture.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"a sheet is a picture, --out ends in {' '.join(SUFFIXES)}; got {path}")


def draw_labels(image: np.ndarray, labels: Labels) -> np.ndarray:
    """A copy of (H, W, 3) RGB with the 18 joints: thick and bright where both ends are seen.

    Joints are white where they are seen, black behind their own body, red behind something else.
    """
    out = image.copy()
    pixels = np.rint(np.clip(labels.joints2d_px, -4000, 4000)).astype(int).tolist()
    for i, (points, seen) in enumerate(zip(pixels, labels.visibility, strict=True)):
        colour = COLOURS[i % len(COLOURS)]
        dark = tuple(c // 2 for c in colour)
        for a, b in LIMBS[:17]:  # the last two, shoulder to ear, only help the parsing
            both = min(seen[a], seen[b]) == SEEN
            cv2.line(out, points[a], points[b], colour if both else dark, 2 if both else 1,
                     cv2.LINE_AA)  # fmt: skip
        for point, state, by in zip(points, seen, labels.hidden_by[i], strict=True):
            if state != OUTSIDE:
                own = (0, 0, 0) if by == SELF else (255, 0, 0)
                dot = (255, 255, 255) if state == SEEN else own
                cv2.circle(out, point, 2, dot, -1, cv2.LINE_AA)
    return out


def grid(images: Sequence[np.ndarray], *, columns: int) -> np.ndarray:
    """Pictures (H, W, 3) of one size side by side, row by row; empty places are black."""
    images = [*images, *[np.zeros_like(images[0])] * (-len(images) % columns)]
    rows = [np.hstack(images[i : i + columns]) for i in range(0, len(images), columns)]
    return np.vstack(rows)
