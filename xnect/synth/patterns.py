"""Cloth patterns (stripes, checks, dots, camouflage) and the wrinkles of cloth, as images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

TILE_PX = 128  # the size of the fabric photos that the patterns join


def smooth_noise(
    rng: np.random.Generator, octaves: Sequence[int], *, size_px: int, damping: float = 1.6
) -> np.ndarray:
    """(size, size) float32 noise that tiles without a seam; each octave is weaker by `damping`."""
    out = np.zeros((size_px, size_px), np.float32)
    for octave in octaves:
        grid = np.tile(rng.normal(size=(2**octave, 2**octave)).astype(np.float32), (3, 3))
        wide = (3 * size_px, 3 * size_px)
        big = np.asarray(cv2.resize(grid, wide, interpolation=cv2.INTER_CUBIC), np.float32)
        out += big[size_px : 2 * size_px, size_px : 2 * size_px] / damping ** (octave - octaves[0])
    return out


def pattern(rng: np.random.Generator) -> np.ndarray:
    """(128, 128, 3) uint8 tile of one random pattern."""
    y, x = np.mgrid[:TILE_PX, :TILE_PX] / TILE_PX
    a, b, c = (rng.integers(10, 245, 3).astype(float) for _ in range(3))
    kind = rng.choice(["vertical", "horizontal", "gingham", "tartan", "dots", "camouflage"])
    u, v = np.array([x, y]) * int(2 ** rng.integers(0, 4)) % 1
    if kind in ("vertical", "horizontal"):
        mask = (u if kind == "vertical" else v) < rng.uniform(0.2, 0.8)
        image = np.where(mask[..., None], a, b)
    elif kind == "gingham":
        share = ((u < 0.5).astype(float) + (v < 0.5))[..., None] / 2
        image = a * (1 - share) + b * share
    elif kind == "tartan":
        share = ((u < 0.3) * 0.5 + (v < 0.3) * 0.5)[..., None]
        line = ((u + 0.55) % 1 < 0.06) | ((v + 0.55) % 1 < 0.06)
        image = np.where(line[..., None], c, a * (1 - share) + b * share)
    elif kind == "dots":
        dot = np.hypot(u - 0.5, v - 0.5) < rng.uniform(0.12, 0.4)
        image = np.where(dot[..., None], a, b)
    else:
        noise = smooth_noise(rng, (2, 3, 4, 5), size_px=TILE_PX)
        low, high = np.quantile(noise, [0.35, 0.65])
        image = np.where((noise < high)[..., None], b, c)
        image = np.where((noise < low)[..., None], a, image)
    return np.clip(image, 0, 255).astype(np.uint8)


def fabric_library(photos: np.ndarray, count: int = 120) -> np.ndarray:
    """(F, 128, 128, 3) fabric photos -> (F + count, 128, 128, 3) with patterns behind them."""
    rng = np.random.default_rng(5)  # the library is part of the renderer, not of a picture
    patterns = np.stack([pattern(rng) for _ in range(count)])
    return np.ascontiguousarray(np.concatenate([photos, patterns]))


def wrinkle_map(size_px: int = 256) -> np.ndarray:
    """(size, size, 2) float32 tilt of cloth normals: a gradient of noise, deviation 0.3."""
    noise = smooth_noise(np.random.default_rng(1), (3, 4, 5, 6), size_px=size_px, damping=2.0)
    tilt = np.stack([np.roll(noise, -1, k) - np.roll(noise, 1, k) for k in (1, 0)], -1)
    return np.ascontiguousarray(tilt / tilt.std() * 0.3).astype(np.float32)
