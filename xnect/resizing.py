"""Pictures that change their size in a running stream: what is remembered in their pixels.

Video calls and network cameras do so.  The same view in more or fewer pixels is the old one scaled;
a picture of another shape is turned or cropped, nobody knows where, and its places mean nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xnect.types import PartialPose, Person

SHAPE_TOLERANCE = 0.04
"""Of the ratio of the sides: encoders round sizes to 16 pixels (640x360 -> 320x176)."""


def same_shape(before_hw: np.ndarray, now_hw: np.ndarray) -> np.ndarray:
    """(..., 2), (..., 2) sizes of pictures -> (...) bool: the sides are to each other alike."""
    before, now = np.asarray(before_hw, np.float64), np.asarray(now_hw, np.float64)
    change = now[..., 1] * before[..., 0] / (now[..., 0] * before[..., 1])
    return np.asarray(np.abs(np.log(change)) <= SHAPE_TOLERANCE)


def scale_between(before_hw: tuple[int, int], now_hw: tuple[int, int]) -> np.ndarray | None:
    """(2,) x and y of new pixels per old pixel; None for pictures of another shape."""
    if not same_shape(np.array(before_hw), np.array(now_hw)):
        return None
    return np.array([now_hw[1] / before_hw[1], now_hw[0] / before_hw[0]])


def scaled_points(points_px: np.ndarray, scale_xy: np.ndarray) -> np.ndarray:
    """(..., 2) px -> (..., 2) px of the scaled picture; pixel 0 is the centre of the first one."""
    scaled = (points_px + 0.5) * scale_xy - 0.5
    return scaled.astype(points_px.dtype, copy=False)


def scaled_pose(pose: PartialPose, scale_xy: np.ndarray) -> PartialPose:
    """The pose in the scaled picture."""
    second = pose.second
    if second is not None:
        second = replace(second, joints_px=scaled_points(second.joints_px, scale_xy))
    return replace(pose, joints_px=scaled_points(pose.joints_px, scale_xy), second=second)


def scaled_person(person: Person, scale_xy: np.ndarray) -> Person:
    """The person, whose 2D joints are in the scaled picture."""
    return replace(person, joints2d_px=scaled_points(person.joints2d_px, scale_xy))
