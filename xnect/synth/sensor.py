"""What lens, shutter and sensor do to a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class SensorOptions:
    """Shares of pictures to which each thing happens."""

    defocus: float = 0.15  # the background, or the people, out of focus
    moving_person: float = 0.15  # one person's own motion blur
    shake: float = 0.1  # motion blur of the whole picture
    soft: float = 0.3  # slight blur of everything
    small: float = 0.2  # enlarged from fewer pixels
    vignette: float = 0.25
    grey: float = 0.03


def camera_noise(
    rng: np.random.Generator,
    image: np.ndarray,
    *,
    owner: np.ndarray | None = None,
    options: SensorOptions = SensorOptions(),
) -> np.ndarray:
    """A picture as a cheap camera takes it.

    Args:
        rng: draws what happens.
        image: (H, W, 3) uint8 RGB.
        owner: (H, W) person map; None leaves out what happens to people and background apart.
        options: how often.

    Returns:
        (H, W, 3) uint8: defocus and motion blur, shot noise, colour cast, vignette, contrast, JPEG.
    """
    x: np.ndarray = image.astype(np.float32)
    if owner is not None and owner.any():
        if rng.random() < options.defocus:
            x = _defocused(x, owner > 0, rng.uniform(1.2, 3.5), people=rng.random() < 0.15)
        if rng.random() < options.moving_person:
            numbers = np.unique(owner[(owner > 0) & (owner < 255)])
            if len(numbers):
                x = _moved(rng, x, owner == rng.choice(numbers))
    if rng.random() < options.soft:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.1))
    if rng.random() < options.shake:
        x = cv2.filter2D(x, -1, _streak(rng, int(rng.integers(3, 9))))
    if rng.random() < options.small:
        x = _from_fewer(x, rng.uniform(0.35, 0.8))
    if rng.random() < options.vignette:
        x *= _vignette(x.shape[0], x.shape[1], rng.uniform(0.1, 0.5))
    if rng.random() < options.grey:
        x[:] = x.mean(2, keepdims=True)
    cast, contrast = rng.uniform(0.9, 1.1, 3), rng.uniform(0.8, 1.2)
    x *= (cast * contrast).astype(np.float32)
    x += np.float32((rng.uniform(-8, 8) - 128) * contrast + 128)
    x += _grain(rng, x)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
    bgr = np.ascontiguousarray(np.clip(x, 0, 255).astype(np.uint8)[..., ::-1])
    jpeg = cv2.imencode(".jpg", bgr, quality)[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))[..., ::-1])


def _grain(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Noise of the sensor: of the light (more where it is bright) and of its electronics."""
    electronic, shot = rng.uniform(0.5, 5), rng.uniform(0, 0.45)
    spread = np.sqrt(electronic**2 + shot**2 * np.clip(x[..., 1:2], 0, 255), dtype=np.float32)
    noise = _noise(max(1 << 21, 2 * x.size))
    start = int(rng.integers(len(noise) - x.size + 1))
    return np.asarray(noise[start : start + x.size].reshape(x.shape) * spread)


@lru_cache(maxsize=1)
def _noise(count: int) -> np.ndarray:
    """Normal noise to cut pieces from: drawing it anew for every picture is what takes long."""
    return np.random.default_rng(11).standard_normal(count, np.float32)


def _streak(rng: np.random.Generator, size: int) -> np.ndarray:
    """(n, n) kernel, n the next odd size, of a straight move in a random direction.

    Its mean is the middle: nothing moves against its label.
    """
    size += 1 - size % 2
    kernel = np.zeros((size, size), np.float32)
    start = int(rng.integers(size))
    cv2.line(kernel, (0, start), (size - 1, size - 1 - start), 1.0)
    kernel = kernel + kernel[::-1, ::-1]  # a drawn line is not quite point-symmetric
    kernel = np.asarray(kernel.T if rng.random() < 0.5 else kernel)
    return np.ascontiguousarray(kernel / kernel.sum())


def _defocused(x: np.ndarray, near: np.ndarray, sigma: float, *, people: bool) -> np.ndarray:
    """The background blurred, or the people; the sharp part does not bleed into the blurred one."""
    weight = (near if people else ~near).astype(np.float32)[..., None]
    mass = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    blurred = cv2.GaussianBlur(x * weight, (0, 0), sigma) / np.maximum(mass, 1e-3)
    share = cv2.GaussianBlur(weight, (0, 0), sigma / 2 if people else 0.7)[..., None]
    if not people:
        share = np.minimum(share, weight + share * (1 - weight))
    return np.asarray(blurred * share + x * (1 - share), np.float32)


def _moved(rng: np.random.Generator, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One person smeared along a direction, over what is behind."""
    kernel = _streak(rng, int(rng.integers(4, 11)))
    weight = mask.astype(np.float32)
    share = cv2.filter2D(weight, -1, kernel)[..., None]
    smeared = cv2.filter2D(x * weight[..., None], -1, kernel)
    behind = cv2.filter2D(x * (1 - weight[..., None]), -1, kernel)
    behind = behind / np.maximum(1 - share, 1e-2)  # under the person: what is beside
    out = np.where(mask[..., None], behind, x) * (1 - share) + smeared
    return np.asarray(out, np.float32)


def _from_fewer(x: np.ndarray, factor: float) -> np.ndarray:
    """Made smaller and large again."""
    height, width = x.shape[:2]
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    small = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    """(H, W, 1) factor that falls towards the corners."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    return (1 - strength * (x**2 + y**2) / 2).astype(np.float32)[..., None]
