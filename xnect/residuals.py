"""What a good fit of the rig is: the terms of the energy (spec 4.3), each a plain function.

The energy is in square metres: half the sum of weight x residual^2.  A pixel counts as the metres
that it is at the person's depth, so that 2D and 3D weigh alike near and far; angles are in radians,
and their weights are square metres per square radian.

Terms on points return a `PointTerm`, terms on anatomical angles an `AngleTerm`; `steady` and
`root_near` are terms on the freedoms themselves.  Each has its own derivative; that through the
rig is taken once for all of them, in `kinematics.normal_equations` and `energy`.

What is wrong, not only inexact, stops to pull: the robust loss is Geman & McClure's,
soft^2 / 2 * r^2 / (soft^2 + r^2), for joints (an outlier's pull goes to zero) and Cauchy's,
soft^2 / 2 * log(1 + r^2 / soft^2), for the motion (it fades, but never vanishes).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xnect.kinematics import Pose, Posed
from xnect.rig import CARRIED_BY, JOINTS, RIG, SOLES_M
from xnect.rotations import unit
from xnect.skeleton import J3D, ROOT

NEAREST_M = 0.1
"""Points nearer than this are projected as if they were there."""

FEET = np.array([J3D[f"{side}_{part}"] for side in ("left", "right") for part in SOLES_M])
"""Points of the floor terms: left ankle, left toe, right ankle, right toe."""

_SOLES_M = np.tile(list(SOLES_M.values()), 2)
_TURNING = np.concatenate([[ROOT], RIG.balls])
_MOVING = np.concatenate([_TURNING, RIG.hinges])


def _inertia() -> np.ndarray:
    """(15,) m^2: summed square distances from each joint that turns to the joints it carries."""
    rest = RIG.above @ RIG.offsets
    square = ((rest[None, :JOINTS] - rest[_MOVING, None]) ** 2).sum(-1)
    return (square * RIG.above[:JOINTS, _MOVING].T).sum(-1)


INERTIA_M2 = _inertia()
"""What a turn of each joint moves: a radian of the elbow is less than a radian of the hip."""


class PointTerm(NamedTuple):
    """A term on K points of P people."""

    cost: np.ndarray  # (P,) m^2
    force: np.ndarray  # (P, K, 3) derivative of the cost by each point's position, m
    stiffness: np.ndarray  # (P, K, 3, 3) Gauss-Newton second derivative


class AngleTerm(NamedTuple):
    """A term on the anatomical angles of P people."""

    cost: np.ndarray  # (P,)
    slope: np.ndarray  # (P, 30) derivative by each angle
    curvature: np.ndarray  # (P, 30) Gauss-Newton second derivative


class TurnTerm(NamedTuple):
    """A term on the freedoms that turn: the root and the balls by threes, then the hinges."""

    cost: np.ndarray  # (P,)
    ball_slope: np.ndarray  # (P, 9, 3)
    hinge_slope: np.ndarray  # (P, 6)
    curvature: np.ndarray  # (P, 15), the same about every axis of a joint


class ShiftTerm(NamedTuple):
    """A term on the root's place."""

    cost: np.ndarray  # (P,)
    slope: np.ndarray  # (P, 3)
    curvature: np.ndarray  # (P, 3), of a diagonal


def geman_mcclure(square: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared residuals -> twice their loss, and its derivative (1 for small ones, 0 for large)."""
    trust = soft**2 / (soft**2 + square)
    return square * trust, trust**2


def cauchy(square: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """The same with the logarithmic loss."""
    far = square / soft**2
    return soft**2 * np.log1p(far), 1 / (1 + far)


def shape_3d(posed: Posed, target_m: np.ndarray, weight: np.ndarray, *, soft_m: float) -> PointTerm:
    """Joints against the lifted pose, both from the root: (P, 21, 3) m, (P, 21) weights."""
    joints = posed.points_m[:, :JOINTS]
    return _drawn_to(joints - joints[:, ROOT, None] - target_m, weight, soft_m)


def bones_3d(posed: Posed, target_m: np.ndarray, weight: np.ndarray, *, soft_m: float) -> PointTerm:
    """Bones, from each joint's parent to it, against lifted ones: (P, 21, 3) m, (P, 21) weights.

    They say how a limb points, wherever it begins: shoulders that the rig's trunk cannot reach
    bend no elbow.  Force and stiffness are those of the bone, for `normal_equations`.
    """
    joints = posed.points_m[:, :JOINTS]
    return _drawn_to(joints - joints[:, CARRIED_BY[:JOINTS]] - target_m, weight, soft_m)


def _drawn_to(residual: np.ndarray, weight: np.ndarray, soft_m: float) -> PointTerm:
    """The robust term of residuals (P, K, 3) m that are as stiff in every direction."""
    loss, trust = geman_mcclure((residual**2).sum(-1), soft_m)
    pull = weight * trust
    return PointTerm(
        0.5 * (weight * loss).sum(-1),
        pull[..., None] * residual,
        pull[..., None, None] * np.eye(3),
    )


def seen_2d(
    posed: Posed, rays: np.ndarray, weight: np.ndarray, depth_m: np.ndarray, *, soft_m: float
) -> PointTerm:
    """Points against the rays on which they are seen, in metres at the depth of the person.

    Args:
        posed: of the rigs.
        rays: (P, 18, 2) x/z and y/z of each 2D joint.
        weight: (P, 18).
        depth_m: (P,) at which a tangent is turned into metres; a constant of the frame.
        soft_m: where joints begin to be outliers.
    """
    point = posed.points_m[:, RIG.seen]
    z = np.maximum(point[..., 2], NEAREST_M)
    on_plane = point[..., :2] / z[..., None]
    residual = depth_m[:, None, None] * (on_plane - rays)
    loss, trust = geman_mcclure((residual**2).sum(-1), soft_m)
    pull = weight * trust
    by_point = np.zeros((*z.shape, 2, 3))  # derivative of `residual` by the point
    by_point[..., 0, 0] = by_point[..., 1, 1] = depth_m[:, None] / z
    by_point[..., 2] = -by_point[..., :1, 0] * on_plane * (point[..., 2:] > NEAREST_M)
    weighted = (pull[..., None, None] * by_point).swapaxes(-1, -2)
    return PointTerm(
        0.5 * (weight * loss).sum(-1),
        (weighted @ residual[..., None])[..., 0],
        weighted @ by_point,
    )


def floor_contact(
    posed: Posed,
    normal: np.ndarray,
    height_m: float,
    size: np.ndarray,
    before_m: np.ndarray,
    contact: np.ndarray,
    *,
    weight: float,
    soft_m: float,
    below: float = 1.0,
) -> PointTerm:
    """Ankles and toes: never below the floor; on it and still while in contact.

    Args:
        posed: of the rigs.
        normal: (3,) of the floor, up, camera axes.
        height_m: of the camera above it: normal . p + height_m is a point's height.
        size: (P,) of the body against the reference body, for how thick the soles are.
        before_m: (P, 4, 3) where the `FEET` were in the last frame.
        contact: (P, 4) 0..1, how sure it is that the foot stands.
        weight: of height and of motion.
        soft_m: motion from which on a foot is rather taken to move.
        below: times `weight`, of heights below the floor: the floor is hard, contact is a guess.
    """
    point = posed.points_m[:, FEET]
    height = point @ normal + height_m - size[:, None] * _SOLES_M
    holds = np.where(height < 0, below, contact)  # below: always pushed up; above: when in contact
    motion = point - before_m
    across = np.eye(3) - np.outer(normal, normal)
    motion = motion @ across
    loss, trust = cauchy((motion**2).sum(-1), soft_m)
    still = contact * trust
    upright = weight * np.outer(normal, normal)
    return PointTerm(
        0.5 * weight * (holds * height**2 + contact * loss).sum(-1),
        weight * ((holds * height)[..., None] * normal + still[..., None] * motion),
        holds[..., None, None] * upright + weight * still[..., None, None] * across,
    )


def standing_feet(
    posed: Posed,
    before_m: np.ndarray,
    contact: np.ndarray,
    *,
    weight: float,
    soft_m: float,
    along: float = 1.0,
) -> PointTerm:
    """Ankles and toes of feet that stand, where no floor is known: still, in a camera at rest.

    Args:
        posed: of the rigs.
        before_m: (P, 4, 3) where the `FEET` were in the last frame.
        contact: (P, 4) 0..1, how sure it is that the foot stands.
        weight: of motion.
        soft_m: motion from which on a foot is rather taken to move.
        along: 0..1, share of the motion along the view that is a residual: a foot that comes
            nearer is as still across the view as one that stands.
    """
    ray = unit(before_m)
    held = np.eye(3) - (1 - along) * ray[..., None] * ray[..., None, :]  # (P, 4, 3, 3)
    motion = (held @ (posed.points_m[:, FEET] - before_m)[..., None])[..., 0]
    loss, trust = cauchy((motion**2).sum(-1), soft_m)
    still = weight * contact * trust
    return PointTerm(
        0.5 * weight * (contact * loss).sum(-1),
        still[..., None] * (held @ motion[..., None])[..., 0],
        still[..., None, None] * (held @ held),
    )


def limits(angles: np.ndarray, *, weight: float) -> AngleTerm:
    """How far anatomical angles (P, 30) are beyond their limits, rad."""
    excess = np.maximum(angles - RIG.upper_rad, 0) - np.maximum(RIG.lower_rad - angles, 0)
    return AngleTerm(0.5 * weight * (excess**2).sum(-1), weight * excess, weight * (excess != 0))


def ease(angles: np.ndarray, *, weight: float) -> AngleTerm:
    """The pose prior: anatomical angles (P, 30) against standing at ease, by their usual spread.

    Weak: it decides what nothing shows.  `weight` is that of an angle whose spread is one radian.
    """
    each = weight / RIG.spread_rad**2
    away = angles - RIG.relaxed_rad
    return AngleTerm(0.5 * (each * away**2).sum(-1), each * away, np.broadcast_to(each, away.shape))


def steady(pose: Pose, expected: np.ndarray, weight: np.ndarray, *, soft_rad: float) -> TurnTerm:
    """Each joint's rotation against the one expected from the last frames, by its `INERTIA_M2`.

    The squared residual is 2 - 2 cos(angle), the square of the angle between them when it is small.

    Args:
        pose: of the rigs.
        expected: (P, 15, 3, 3) of the root, `RIG.balls` and `RIG.hinges`.
        weight: (P,).
        soft_rad: where a rotation begins to count as a sudden one.
    """
    change = expected.swapaxes(-1, -2) @ pose.local[:, _MOVING]
    square = 3 - change[..., 0, 0] - change[..., 1, 1] - change[..., 2, 2]
    loss, trust = cauchy(np.maximum(square, 0), soft_rad)
    each = weight[:, None] * INERTIA_M2
    pull = each * trust
    sine = 0.5 * (change[..., (2, 0, 1), (1, 2, 0)] - change[..., (1, 2, 0), (2, 0, 1)])
    slope = pull[..., None] * sine
    free = len(_TURNING)
    return TurnTerm(
        0.5 * (each * loss).sum(-1),
        slope[:, :free],
        (slope[:, free:] * RIG.hinge_axes).sum(-1),
        pull,
    )


def root_near(pose: Pose, expected_m: np.ndarray, weight: np.ndarray) -> ShiftTerm:
    """The root against where it is expected: (P, 3) m, (P, 3) weights; depth is the third."""
    away = pose.root_m - expected_m
    return ShiftTerm(0.5 * (weight * away**2).sum(-1), weight * away, weight)
