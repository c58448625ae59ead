"""The light of a scene: one key light with a shadow, a fill light, sky and ground.

Colours are linear; directions point towards the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.synth.mesh import unit


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """All (3,) but the last two."""

    key_direction: np.ndarray
    key: np.ndarray
    sky: np.ndarray  # ambient from above
    ground: np.ndarray  # ambient from below
    fill_direction: np.ndarray
    fill: np.ndarray
    exposure: float
    floor_shadow: float  # how dark the shadow on the floor of a photo is, 0..1

    @property
    def table(self) -> np.ndarray:
        """(6, 3) float32 rows for the kernels."""
        rows = (self.key_direction, self.key, self.sky, self.ground, self.fill_direction, self.fill)
        return np.stack(rows).astype(np.float32)


def towards(azimuth_rad: float, elevation_rad: float) -> np.ndarray:
    """(3,) unit direction; azimuth 0 is where the camera stands."""
    flat = np.cos(elevation_rad)
    return np.array([
        flat * np.sin(azimuth_rad), np.sin(elevation_rad), flat * np.cos(azimuth_rad)
    ])  # fmt: skip


def random_light(rng: np.random.Generator, photo: np.ndarray | None = None) -> Light:
    """A light; sky, ground and exposure match the photo (H, W, 3) where there is one."""
    direction = towards(rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(20, 80)))
    warmth = rng.uniform(-1, 1)
    white, key = np.array([1 + 0.15 * warmth, 1, 1 - 0.15 * warmth]), rng.uniform(0.15, 2.2)
    ambient = rng.uniform(0.35, 0.95)
    if photo is not None:
        sky, ground, exposure = _ambient_of_photo(photo, ambient=ambient)
        exposure *= rng.uniform(0.75, 1.25)
    else:
        sky, ground = ambient * 0.8 * white, ambient * 0.6 * white
        exposure = rng.uniform(0.8, 1.6) * np.clip(1.3 / (ambient + 0.6 * key), 0.6, 1.4)
    turn = rng.uniform(0, 2 * np.pi)
    return Light(
        key_direction=direction,
        key=key * white,
        sky=sky,
        ground=ground,
        fill_direction=unit(np.array([np.sin(turn) * 0.9, 0.4, np.cos(turn) * 0.9])),
        fill=white[::-1] * rng.uniform(0, 0.35),
        exposure=float(exposure),
        floor_shadow=float(rng.uniform(0.3, 0.75) * min(1, key)),
    )


def _ambient_of_photo(photo: np.ndarray, *, ambient: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Sky and ground (3,) in the tint of the upper and lower part, and the exposure."""
    linear = (photo[::4, ::4].astype(np.float32) / 255) ** 2.2
    rows, mean = len(linear), linear.mean((0, 1))
    sky = 0.5 * linear[: rows // 2].mean((0, 1)) + 0.5 * mean
    ground = linear[rows * 2 // 3 :].mean((0, 1))
    level = sky.mean() + 1e-3
    ground = np.minimum((0.3 * ground.mean() + 0.7 * ground) / level * ambient * 0.8, 1.2)
    sky = (0.3 * sky.mean() + 0.7 * sky) / level * ambient
    return sky, ground, float(np.clip((max(mean.mean(), 0.03) / 0.22) ** 0.55, 0.3, 1.6))


def shadow_map_from_world(direction: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    """(3, 4) orthographic camera of the light around points (n, 3).

    Rows: column and row of the shadow map in 0..1, and depth in metres (larger is farther).
    """
    centre = points_m.mean(0)
    radius = min(max(1.6, np.linalg.norm(points_m - centre, axis=1).max() + 0.4), 6.0)
    forward = -direction
    right = unit(np.cross(forward, [0, 1, 0]))
    rows = np.stack([right / (2 * radius), np.cross(right, forward) / (2 * radius), forward])
    return np.concatenate([rows, (np.array([0.5, 0.5, 0]) - rows @ centre)[:, None]], 1)
