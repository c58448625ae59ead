"""What a good fit of the rig is: the terms of the energy (spec 4.3), each a plain function.

Each returns a `Term`: residuals scaled by the square root of their weight, their derivative by the
rig's degrees of freedom, and the cost.  Everything is in metres or radians; a pixel is turned into
metres at the person's depth, so that 2D and 3D residuals weigh alike near and far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xnect.kinematics import JOINTS, RIG, Pose, Posed
from xnect.rotations import right_jacobian_inverse, rotvec_from_matrix
from xnect.skeleton import ROOT

_FIRST_BALL = 6
_FIRST_HINGE = _FIRST_BALL + 3 * len(RIG.balls)
_NEAR_M = 0.1
_BALL_ROW = np.arange(3 * len(RIG.balls))[:, None]
_BALL_COLUMN = _BALL_ROW // 3 * 3 + np.arange(3)
_HINGE = np.arange(len(RIG.hinges))
_MOVING = np.concatenate([[ROOT], RIG.balls, RIG.hinges])


class Term(NamedTuple):
    """One part of the energy of P people with R residuals."""

    residual: np.ndarray  # (P, R)
    jacobian: np.ndarray  # (P, R, D)
    cost: np.ndarray  # (P,)


def _robust(residual: np.ndarray, jacobian: np.ndarray, weight: np.ndarray, soft_m: float) -> Term:
    """(P, N, C), (P, N, C, D), (P, N): Cauchy's loss, under which an outlier stops to pull."""
    far = (residual**2).sum(-1) / soft_m**2  # (P, N)
    root = np.sqrt(weight / (1 + far))[..., None]
    cost = 0.5 * soft_m**2 * (weight * np.log1p(far)).sum(-1)
    count, number = len(residual), residual.shape[1] * residual.shape[2]
    return Term(
        (root * residual).reshape(count, number),
        (root[..., None] * jacobian).reshape(count, number, RIG.freedom),
        cost,
    )


def _squared(residual: np.ndarray, jacobian: np.ndarray) -> Term:
    return Term(residual, jacobian, 0.5 * (residual**2).sum(-1))


def shape_3d(
    posed: Posed, slope: np.ndarray, target_m: np.ndarray, weight: np.ndarray, *, soft_m: float
) -> Term:
    """Joints against the lifted pose, both from the pelvis: (P, 21, 3) m, (P, 21) weights."""
    residual = posed.points_m[:, :JOINTS] - posed.points_m[:, ROOT, None] - target_m
    # The pelvis moves with the translation only, so relative joints do not depend on it.
    relative = slope[:, :JOINTS].copy()
    relative[..., :3] = 0
    return _robust(residual, relative, weight, soft_m)


def seen_2d(
    posed: Posed,
    slope: np.ndarray,
    rays: np.ndarray,
    weight: np.ndarray,
    depth_m: np.ndarray,
    *,
    soft_m: float,
) -> Term:
    """Points against the rays on which they are seen: (P, 18, 2), (P, 18) weights, (P,) m."""
    point = posed.points_m[:, RIG.seen]
    z = np.maximum(point[..., 2:], _NEAR_M)
    on_plane = point[..., :2] / z
    depth = depth_m[:, None, None]
    residual = depth * (on_plane - rays)
    by_point = slope[:, RIG.seen]  # (P, 18, 3, D)
    jacobian = (depth / z)[..., None] * (
        by_point[..., :2, :] - on_plane[..., None] * by_point[..., 2:, :]
    )
    return _robust(residual, jacobian, weight, soft_m)


def limits(angles: np.ndarray, d_balls: np.ndarray, *, weight: float) -> Term:
    """How far anatomical angles (P, 24) are beyond their limits, rad."""
    excess = np.maximum(angles - RIG.upper_rad, 0) - np.maximum(RIG.lower_rad - angles, 0)
    return _of_angles(excess, d_balls * (excess[:, : d_balls.shape[1], None] != 0), weight)


def ease(angles: np.ndarray, d_balls: np.ndarray, *, weight: float) -> Term:
    """The weak wish to stand relaxed, which decides what nothing shows."""
    return _of_angles(angles - RIG.relaxed_rad, d_balls, weight)


def _of_angles(residual: np.ndarray, d_balls: np.ndarray, weight: float) -> Term:
    count, number = residual.shape
    jacobian = np.zeros((count, number, RIG.freedom))
    jacobian[:, _BALL_ROW, _FIRST_BALL + _BALL_COLUMN] = d_balls
    jacobian[:, _HINGE + len(_BALL_ROW), _FIRST_HINGE + _HINGE] = residual[:, len(_BALL_ROW) :] != 0
    return _squared(np.sqrt(weight) * residual, np.sqrt(weight) * jacobian)


def steady(pose: Pose, before: Pose, weight: np.ndarray) -> Term:
    """Change of each joint's rotation since the last frame, rad; (P,) weights."""
    change = rotvec_from_matrix(before.local[:, _MOVING].swapaxes(-1, -2) @ pose.local[:, _MOVING])
    count, free = len(change), 1 + len(RIG.balls)
    slope = right_jacobian_inverse(change[:, :free])
    jacobian = np.zeros((count, 3 * free + len(RIG.hinges), RIG.freedom))
    turns = 3 * np.arange(free)[:, None, None]
    row, column = turns + np.arange(3)[:, None], 3 + turns + np.arange(3)
    jacobian[:, row, column] = slope[:, :free]
    jacobian[:, 3 * free + _HINGE, _FIRST_HINGE + _HINGE] = 1
    angle = (change[:, free:] * RIG.hinge_axes).sum(-1)
    residual = np.concatenate([change[:, :free].reshape(count, 3 * free), angle], 1)
    root = np.sqrt(weight)[:, None]
    return _squared(root * residual, root[..., None] * jacobian)


def root_near(pose: Pose, expected_m: np.ndarray, weight: np.ndarray) -> Term:
    """The root against where it is expected: (P, 3) m, (P, 3) weights; depth is the third."""
    root = np.sqrt(weight)
    jacobian = np.zeros((len(root), 3, RIG.freedom))
    jacobian[:, (0, 1, 2), (0, 1, 2)] = root
    return _squared(root * (pose.root_m - expected_m), jacobian)
