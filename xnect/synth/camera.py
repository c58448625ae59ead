"""A camera in the world of the scene (y up, floor at y = 0, metres)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor, floor_of


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A pinhole camera and where it stands; its axes are x right, y down, z forward."""

    camera: Camera
    camera_from_world: np.ndarray  # (3, 3) rotation
    position_m: np.ndarray  # (3,) in the world

    def to_camera(self, world_m: np.ndarray) -> np.ndarray:
        """(..., 3) m world -> (..., 3) m camera space."""
        return (world_m - self.position_m) @ self.camera_from_world.T

    @property
    def floor(self) -> Floor:
        """The world's plane y = 0 as this camera has it."""
        return floor_of(self.camera_from_world[:, 1], float(self.position_m[1]))


def stand(camera: Camera, *, height_m: float, pitch_rad: float, roll_rad: float = 0.0) -> View:
    """A camera above the world's origin that looks along -z, tilted up by `pitch_rad`."""
    forward = np.array([0, np.sin(pitch_rad), -np.cos(pitch_rad)])
    up = np.array([0, np.cos(pitch_rad), np.sin(pitch_rad)])
    right = np.cross(forward, up)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    right, up = c * right + s * up, c * up - s * right
    return View(camera, np.stack([right, -up, forward]), np.array([0, height_m, 0.0]))


def pinhole(width_px: int, height_px: int, *, view_rad: float) -> Camera:
    """The camera of a horizontal field of view, its centre in the middle of the picture."""
    focal = width_px / 2 / np.tan(view_rad / 2)
    return Camera(focal, focal, (width_px - 1) / 2, (height_px - 1) / 2, width_px, height_px)


def random_view(
    rng: np.random.Generator, width_px: int, height_px: int, *, distance_m: float
) -> tuple[View, float]:
    """A camera aimed at people who stand about as large as at `distance_m` m with 420 px focal.

    Returns it and the distance at which they stand.
    """
    view_deg = rng.uniform(40, 75) if rng.random() < 0.7 else rng.uniform(28, 95)
    camera = pinhole(width_px, height_px, view_rad=np.deg2rad(view_deg))
    heights = [(0.4, 1.2), (1.2, 1.8), (1.8, 3.2), (3.2, 5.0)]
    height = rng.uniform(*heights[rng.choice(4, p=[0.23, 0.5, 0.2, 0.07])])
    distance = distance_m * camera.fx_px / (0.82 * width_px)
    pitch = np.arctan2(rng.uniform(0.65, 1.15) - height, distance)
    pitch += np.deg2rad(rng.normal(0, 3))
    roll = np.deg2rad(rng.normal(0, 3))
    return stand(camera, height_m=height, pitch_rad=pitch, roll_rad=roll), float(distance)
