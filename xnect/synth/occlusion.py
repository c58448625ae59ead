"""Ambient occlusion from the picture's own distances: corners, and where things touch, are darker.

Each pixel is compared with pairs of neighbours on opposite sides, on two rings: where the mean of a
pair is nearer to the camera than the pixel, the surface is hollow and gets less light.  A slanted
surface has one neighbour nearer and one farther and keeps its light.  A neighbour far in front or
behind belongs to something else and is taken for the continuation of the surface.  (Screen-space
ambient occlusion after Mittring 2007, with fixed taps.)
"""

from __future__ import annotations

import cv2
import numpy as np

RINGS_M = (0.08, 0.25)
"""Radii of the rings, on the surface."""

PAIRS = 4
BIAS_M = 0.006
STRENGTH = 0.45
GAIN = 2.2
"""How much darker than the mean hollow: most pairs of an edge lie along it and say nothing."""


def ambient_occlusion(distance_m: np.ndarray, *, focal_px: float, factor: int = 1) -> np.ndarray:
    """(H, W) m along the ray -> (H, W) float32 factor 0..1 on the light.

    Worked out at half the size of the picture, of which `distance_m` has `factor` samples per
    pixel and side, and enlarged.  The radii in pixels are those at the median distance: near people
    have a ring too small, far ones one too large, both by less than the spread of distances.
    """
    height, width = distance_m.shape
    step = 2 * factor
    size = max(width // step, 1), max(height // step, 1)
    small = cv2.resize(distance_m, size, interpolation=cv2.INTER_NEAREST)
    typical_m = float(np.median(small[small < 50])) if (small < 50).any() else 5.0
    taken = np.zeros_like(small)
    for ring_m in RINGS_M:
        radius_px = float(np.clip(focal_px / step * ring_m / typical_m, 1, 24))
        limit_m = np.float32(1.5 * ring_m)
        border = int(np.ceil(radius_px)) + 1
        wide = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        for k in range(PAIRS):
            angle = np.pi * (k + 0.5 * (ring_m == RINGS_M[0])) / PAIRS
            dx, dy = round(radius_px * np.cos(angle)), round(radius_px * np.sin(angle))
            one, two = (
                small - wide[border + y : border + y + size[1], border + x : border + x + size[0]]
                for x, y in ((dx, dy), (-dx, -dy))
            )
            one_near, two_near = np.abs(one) < limit_m, np.abs(two) < limit_m
            hollow_m = np.where(one_near & two_near, (one + two) / 2, 0)
            taken += np.clip((hollow_m - BIAS_M) / np.float32(ring_m), 0, 1)
    blurred = cv2.GaussianBlur(taken / (PAIRS * len(RINGS_M)), (0, 0), 1.0)
    light = 1 - STRENGTH * np.clip(GAIN * blurred, 0, 1)
    out = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.where(distance_m < 100, out, 1), np.float32)
