"""What a cheap camera does to a picture."""

from __future__ import annotations

import cv2
import numpy as np


def camera_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> the same size: blur, motion blur, colour cast, contrast, grain, JPEG."""
    x: np.ndarray = image.astype(np.float32)
    if rng.random() < 0.35:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < 0.12:
        size = int(rng.integers(3, 9))
        kernel = np.zeros((size, size), np.float32)
        start, stop = (0, int(rng.integers(size))), (size - 1, int(rng.integers(size)))
        cv2.line(kernel, start, stop, 1.0)
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    x = x * rng.uniform(0.93, 1.07, 3).astype(np.float32) + np.float32(rng.uniform(-6, 6))
    x = (x - 128) * np.float32(rng.uniform(0.85, 1.15)) + 128
    x += rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(1, 7))
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))]
    bgr = np.ascontiguousarray(np.clip(x, 0, 255).astype(np.uint8)[..., ::-1])
    jpeg = cv2.imencode(".jpg", bgr, quality)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))[..., ::-1])
