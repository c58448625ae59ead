"""Walkers for the tests of calibration: necks, ankles and toes by the rules of a gait, no data.

World: x right, y up, z forward, metres; the floor is y = 0.
"""

from __future__ import annotations

import math

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.feet import FOOT, Feet
from xnect.calib.floor import Floor, floor_of

STEP_S = 0.5
FPS = 15


def floor_camera(*, focal=1000.0, tilt_deg=15.0, roll_deg=1.0, height_m=2.2) -> Camera:
    """A camera of 1280x720 over its floor."""
    tilt, roll = math.radians(tilt_deg), math.radians(roll_deg)
    up = (-math.sin(roll) * math.cos(tilt), -math.cos(roll) * math.cos(tilt), -math.sin(tilt))
    return Camera(focal, focal, 639.5, 359.5, 1280, 720, floor=floor_of(np.array(up), height_m))


def to_camera(points: np.ndarray, floor: Floor) -> np.ndarray:
    """(..., 3) world -> camera axes."""
    up = np.array(floor.normal)
    ahead = np.array((0.0, 0, 1)) - up * up[2]
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, up) * -1
    right = right if right[0] > 0 else -right
    return points @ np.stack([right, up, ahead]) - floor.distance_m * up


def walker(rng: np.random.Generator, seconds: float, *, stature=1.7, start=None, end=None):
    """(F,) s, (F, 2, 3) ankles, (F, 2, 3) toes, (F, 3) necks, (F, 3) crowns: one straight walk."""
    time_s = np.arange(0, seconds, 1 / FPS)
    start = np.array((rng.uniform(-2, 2), 0, rng.uniform(3, 9))) if start is None else start
    end = np.array((rng.uniform(-2, 2), 0, rng.uniform(3, 9))) if end is None else end
    along = (end - start) / max(np.linalg.norm(end - start), 1e-9)
    side = np.cross((0, 1.0, 0), along)
    speed = np.linalg.norm(end - start) / seconds
    ankles, toes = np.zeros((len(time_s), 2, 3)), np.zeros((len(time_s), 2, 3))
    for foot, sign in enumerate((1, -1)):
        phase = time_s / (2 * STEP_S) + foot / 2
        done, part = np.floor(phase), phase % 1  # the first half stands, the second swings
        stride = 2 * STEP_S * speed
        swing = np.clip((part - 0.5) * 2, 0, 1)
        moved = (done - foot / 2 + 0.25 + (1 - np.cos(np.pi * swing)) / 2) * stride
        lift = 0.12 * np.sin(np.pi * swing)
        heel = 0.06 * np.clip((part - 0.4) / 0.1, 0, 1) * (part < 0.5)
        place = start + moved[:, None] * along + sign * 0.1 * side
        ankles[:, foot] = place + np.stack([0 * lift, 0.0424 * stature + lift + heel, 0 * lift], 1)
        toes[:, foot] = (
            place + 0.19 * along + np.stack([0 * lift, 0.0089 * stature + lift, 0 * lift], 1)
        )
    middle = start + (speed * time_s)[:, None] * along
    sway = 0.02 * np.sin(2 * np.pi * time_s / (2 * STEP_S))[:, None] * side
    bob = 0.015 * np.cos(2 * np.pi * time_s / STEP_S)
    necks = middle + sway + np.stack([0 * bob, 0.795 * stature + bob, 0 * bob], 1)
    crowns = middle + sway + np.stack([0 * bob, stature + bob, 0 * bob], 1)
    return time_s, ankles, toes, necks, crowns


def feet_of_walkers(
    rng, floor: Floor, *, statures=(1.7, 1.7, 1.7), seconds=6.0, noise_m=0.01, depth=0.01
) -> Feet:
    """What a tracker that takes everybody for 1.70 m tall would say of their feet."""
    parts = []
    for number, stature in enumerate(statures):
        time_s, ankles, toes, necks, _ = walker(rng, seconds, stature=stature)
        points = to_camera(np.concatenate([ankles, toes, necks[:, None]], 1), floor)
        wrong = 1.7 / stature * (1 + rng.normal(0, depth, (len(points), 1, 1)))
        points = points * wrong + rng.normal(0, noise_m, points.shape)
        parts.append((np.full(len(points), number), points, time_s))
    who, points, time_s = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Feet(time_s, who, points[:, :2], points[:, 2:4], points[:, 4])


__all__ = ["FOOT", "feet_of_walkers", "floor_camera", "to_camera", "walker"]
