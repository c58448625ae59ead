"""The sum of the terms that `residuals` lists, and its derivative by the rig's freedoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.evidence import Evidence
from xnect.kinematics import (
    Load,
    Pose,
    anatomical,
    forward,
    hinge_angles,
    normal_equations,
)
from xnect.least_squares import Quadratic
from xnect.residuals import (
    FEET,
    AngleTerm,
    TurnTerm,
    bones_3d,
    ease,
    floor_contact,
    limits,
    root_near,
    seen_2d,
    shape_3d,
    standing_feet,
    steady,
)
from xnect.rig import JOINTS, RIG

_FIRST_BALL = 6
_TURNING = 1 + len(RIG.balls)
_FIRST_HINGE = _FIRST_BALL + 3 * len(RIG.balls)
_BALLS = slice(_FIRST_BALL, _FIRST_HINGE)
_BLOCK = 3 + np.arange(3 * (1 + len(RIG.balls))).reshape(-1, 3)  # freedoms of the root, the balls
_OF_TURN = np.concatenate(
    [np.repeat(np.arange(_TURNING), 3), _TURNING + np.arange(len(RIG.hinges))]
)  # joint of each freedom
_HINGE_ANGLES = slice(3 * len(RIG.balls), None)


@dataclass(frozen=True)
class Weights:
    """What each term counts, in square metres per square metre or per square radian.

    The unit is the 3D term: a lifted joint of score 0.63 weighs 1 (`evidence.TRUST_3D`).  A weight
    is about the variance of such a joint over that of the term's own residual; measured by
    `benchmarks/fit_ablation.py` and `benchmarks/fit_on_network.py`.
    """

    shape_3d: float = 1.5
    bones_3d: float = 4.0  # of bones, whose directions are less wrong than the places of joints
    seen_2d: float = 4.0  # of a 2D joint of score 1: less wrong than a lifted one, in metres
    limits: float = 10.0  # far stiffer than evidence, yet no wall that stops the search
    ease: float = 1e-4  # decides only what nothing shows
    steady: float = 0.1  # of rotations against constant speed, at 30 frames/s
    depth: float = 1.0  # of the root's depth against its expected one, at 30 frames/s
    root: float = 3.0  # of the root across the view, at 30 frames/s
    floor: float = 2.5  # of heights and of standing feet, when the floor is known
    sunk: float = 12.0  # times `floor`, of heights below the floor, where nobody is
    soft_3d_m: float = 0.5  # beyond this a lifted joint is an outlier
    soft_2d_m: float = 0.3
    soft_turn_rad: float = 0.2  # a joint that turns by more in a frame turns suddenly
    soft_slip_m: float = 0.015  # a foot that moves by more in a frame does not stand
    stand: float = 1.5  # of standing feet, when no floor is known
    stand_along: float = 0.5  # share of that along the view, where no one sees whether feet move
    soft_stand_m: float = 0.03  # the same as `soft_slip_m`, depth and all


def quadratic(pose: Pose, seen: Evidence, weights: Weights) -> Quadratic:
    """The energy of P poses, its gradient and its Gauss-Newton Hessian."""
    posed = forward(pose, seen.rest_m)
    angles, d_balls = anatomical(pose)
    shape = shape_3d(
        posed, seen.target_m, weights.shape_3d * seen.target_weight, soft_m=weights.soft_3d_m
    )
    limbs = bones_3d(
        posed, seen.bone_m, weights.bones_3d * seen.bone_weight, soft_m=weights.soft_3d_m
    )
    image = seen_2d(
        posed, seen.rays, weights.seen_2d * seen.ray_weight, seen.depth_m,
        soft_m=weights.soft_2d_m,
    )  # fmt: skip
    bounds = limits(angles, weight=weights.limits)
    prior = ease(angles, weight=weights.ease)
    motion = steady(
        pose, seen.expected, weights.steady * seen.steady_weight, soft_rad=weights.soft_turn_rad
    )
    place = root_near(pose, seen.root_m, seen.root_weight)

    world, relative = _no_load(len(angles)), _no_load(len(angles))
    relative.force[:, :JOINTS], relative.stiffness[:, :JOINTS] = shape.force, shape.stiffness
    world.force[:, RIG.seen], world.stiffness[:, RIG.seen] = image.force, image.stiffness
    cost = (
        shape.cost + limbs.cost + image.cost + bounds.cost + prior.cost + motion.cost + place.cost
    )
    if seen.floor is not None:
        feet = floor_contact(
            posed, np.array(seen.floor.normal), seen.floor.distance_m, seen.size,
            seen.feet_m, seen.contact, weight=weights.floor, soft_m=weights.soft_slip_m,
            below=weights.sunk,
        )  # fmt: skip
        world.force[:, FEET] += feet.force
        world.stiffness[:, FEET] += feet.stiffness
        cost = cost + feet.cost
    elif weights.stand > 0 and seen.contact.any():
        feet = standing_feet(
            posed, seen.feet_m, seen.contact, weight=weights.stand, soft_m=weights.soft_stand_m,
            along=weights.stand_along,
        )  # fmt: skip
        world.force[:, FEET] += feet.force
        world.stiffness[:, FEET] += feet.stiffness
        cost = cost + feet.cost
    gradient, hessian = normal_equations(posed, world, relative, Load(limbs.force, limbs.stiffness))
    gradient[:, :3] += place.slope
    _diagonal(hessian)[:, :3] += place.curvature
    _add_angles(gradient, hessian, bounds, prior, d_balls)
    _add_turns(gradient, hessian, motion)
    return _bounded(pose, Quadratic(cost, gradient, hessian))


def _no_load(people: int) -> Load:
    points = (people, len(RIG.parents), 3)
    return Load(np.zeros(points), np.zeros((*points, 3)))


def _add_angles(
    gradient: np.ndarray, hessian: np.ndarray, one: AngleTerm, other: AngleTerm, d_balls: np.ndarray
) -> None:
    """Terms on anatomical angles through their derivative (P, 24, 3) by their joint's freedoms."""
    slope, curvature = one.slope + other.slope, one.curvature + other.curvature
    by_ball = d_balls.reshape(len(slope), -1, 3, 3)
    turned = by_ball.swapaxes(-1, -2)
    balls = slope[:, : d_balls.shape[1]].reshape(len(slope), -1, 3, 1)
    stiff = curvature[:, : d_balls.shape[1]].reshape(len(slope), -1, 3, 1)
    gradient[:, _BALLS] += (turned @ balls).reshape(len(slope), -1)
    hessian[:, _BLOCK[1:, :, None], _BLOCK[1:, None]] += turned @ (stiff * by_ball)
    gradient[:, _FIRST_HINGE:] += slope[:, _HINGE_ANGLES]
    _diagonal(hessian)[:, _FIRST_HINGE:] += curvature[:, _HINGE_ANGLES]


def _add_turns(gradient: np.ndarray, hessian: np.ndarray, term: TurnTerm) -> None:
    gradient[:, 3:_FIRST_HINGE] += term.ball_slope.reshape(len(gradient), -1)
    gradient[:, _FIRST_HINGE:] += term.hinge_slope
    _diagonal(hessian)[:, 3:] += term.curvature[:, _OF_TURN]


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    """(P, D, D) -> (P, D), a view."""
    return matrix.reshape(len(matrix), -1)[:, :: matrix.shape[-1] + 1]


def _bounded(pose: Pose, here: Quadratic) -> Quadratic:
    """The quadratic without the freedoms of hinges that would leave their limits."""
    count = len(RIG.hinges)
    angle, slope = hinge_angles(pose), here.gradient[:, -count:]
    low, high = RIG.lower_rad[-count:] + 1e-9, RIG.upper_rad[-count:] - 1e-9
    stuck = ((angle <= low) & (slope > 0)) | ((angle >= high) & (slope < 0))
    if not stuck.any():
        return here
    free = np.ones_like(here.gradient)
    free[:, -count:] = ~stuck
    hessian = here.hessian * free[:, :, None] * free[:, None, :]
    _diagonal(hessian)[...] += 1 - free
    return Quadratic(here.cost, here.gradient * free, hessian)
