"""Forward kinematics of the rig for P people at once, its derivative, and the anatomical angles.

The state is not 36 numbers but the rotation matrix of each joint against its parent, and a small
change of the state is 36 numbers: metres along the camera axes, then radians about axes of the
turned joint, R <- R exp(axis * radians).  So nothing is singular, wherever the person looks.

    G_j = G_parent(j) R_j        P_j = P_parent(j) + G_parent(j) offset_j

`jacobian` is the derivative written out.  `normal_equations` is what a fit needs of it, J^T f and
J^T M J, without writing it out: forces and stiffnesses of the points are summed over each joint's
subtree as 6-vectors and 6 x 6 matrices, as in the composite rigid body algorithm (Featherstone,
Rigid Body Dynamics Algorithms, 2008, ch. 6).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xnect.rig import CARRIED_BY, JOINTS, RIG
from xnect.rotations import cross, cross_matrix, length, matrix_from_rotvec, unit
from xnect.skeleton import BODY, J3D, ROOT

_UNIT_OFFSETS = unit(BODY.offsets_m)
_FREE = np.concatenate([[ROOT], RIG.balls])
_SINE = np.zeros((len(RIG.hinges), 9))  # of a hinge's angle, from the nine numbers of its matrix
_SINE[:, [7, 2, 3]] = RIG.hinge_axes
_SINE[:, [5, 6, 1]] = -RIG.hinge_axes
_BONE_CROSS = cross_matrix(RIG.bones)
_ACROSS_BONE = np.cross(np.eye(3), RIG.bones[:, None])  # (8, 3, 3) row i is e_i x bone


class Pose(NamedTuple):
    """The state of P rigs."""

    root_m: np.ndarray  # (P, 3) pelvis, camera space
    local: np.ndarray  # (P, 21, 3, 3) rotation against the parent; the root's is camera from rest


class Posed(NamedTuple):
    """Where P rigs are."""

    points_m: np.ndarray  # (P, N, 3) camera space; the first 21 are the joints
    turned: np.ndarray  # (P, 21, 3, 3) camera from rest of each joint


def offsets_m(lengths_m: np.ndarray) -> np.ndarray:
    """(P, 21) m bone lengths -> (P, N, 3) m: the rest offsets of the rig with these bones.

    Directions at rest are BODY's.  Points of the face grow with the head's bone, the middle of the
    shoulders stays in the middle of the shoulders.
    """
    offsets = np.empty(lengths_m.shape[:-1] + RIG.offsets.shape)
    offsets[..., :JOINTS, :] = _UNIT_OFFSETS * lengths_m[..., None]
    head = lengths_m[..., J3D["head_top"], None, None] / BODY.lengths_m[J3D["head_top"]]
    offsets[..., JOINTS:-1, :] = RIG.offsets[JOINTS:-1] * head
    both = offsets[..., J3D["left_shoulder"], :] + offsets[..., J3D["right_shoulder"], :]
    offsets[..., -1, :] = both / 2
    return offsets


def forward(pose: Pose, rest_offsets_m: np.ndarray) -> Posed:
    """P poses, (P, N, 3) m rest offsets -> where the points are, and how the joints are turned."""
    turned = np.array(pose.local)
    for level in RIG.levels[1:]:
        turned[:, level] = turned[:, RIG.parents[level]] @ pose.local[:, level]
    arms = (turned[:, CARRIED_BY] @ rest_offsets_m[..., None])[..., 0]
    return Posed(pose.root_m[:, None] + RIG.above @ arms, turned)


def jacobian(posed: Posed) -> np.ndarray:
    """P posed rigs -> (P, N, 3, D): metres of each point per metre or radian of each freedom."""
    points = posed.points_m
    axes = np.einsum("pdab,db->pda", posed.turned[:, RIG.joint], RIG.axis)  # (P, D - 3, 3)
    lever = points[:, None] - points[:, RIG.joint, None]  # (P, D - 3, N, 3)
    lever *= RIG.moves[..., None]
    out = np.zeros((*points.shape, RIG.freedom))
    out[..., (0, 1, 2), (0, 1, 2)] = 1
    for i in range(3):
        k, n = (i + 1) % 3, (i + 2) % 3
        turn = axes[..., k, None] * lever[..., n] - axes[..., n, None] * lever[..., k]
        out[:, :, i, 3:] = turn.transpose(0, 2, 1)
    return out


_TURNING, _OF_FREEDOM = np.unique(RIG.joint, return_inverse=True)  # joints that turn; (D - 3,)
_BELOW = RIG.above[:, _TURNING].T  # (15, N) points that each turning joint carries, and itself
_ABOVE = RIG.above[np.ix_(RIG.joint, RIG.joint)].T  # (D - 3, D - 3) row's joint carries column's
_STRICTLY_ABOVE = _ABOVE * (RIG.joint[:, None] != RIG.joint)


class Load(NamedTuple):
    """What the terms of an energy do to the points of P rigs."""

    force: np.ndarray  # (P, N, 3) derivative of the energy by each point's position
    stiffness: np.ndarray  # (P, N, 3, 3) its Gauss-Newton second derivative


def normal_equations(
    posed: Posed, world: Load, relative: Load, bones: Load
) -> tuple[np.ndarray, np.ndarray]:
    """(P, D) gradient J^T f and (P, D, D) Gauss-Newton Hessian J^T M J by the freedoms.

    Args:
        posed: where the points are.
        world: of terms on points in camera space.
        relative: of terms on points as seen from the root; translation does not change them.
        bones: of terms on the bone from each joint's parent to it, so (P, 21, ...): only how the
            parent is turned changes them.
    """
    arm = posed.points_m - posed.points_m[:, ROOT, None]
    count = len(arm)
    skew = cross_matrix(arm)
    force = world.force + relative.force
    stiffness = world.stiffness + relative.stiffness
    # Rows: moment and force of everything, then force of `world` alone.  Columns: its change with
    # a turn about the root and with a shift, then its value.
    each = np.empty((*arm.shape[:2], 9, 7))
    moment = skew @ stiffness
    each[..., :3, :3] = moment @ skew.swapaxes(-1, -2)
    each[..., :3, 3:6] = moment
    each[..., 3:6, :3] = moment.swapaxes(-1, -2)
    each[..., 3:6, 3:6] = stiffness
    each[..., 6:, :3] = (skew @ world.stiffness).swapaxes(-1, -2)
    each[..., 6:, 3:6] = world.stiffness
    each[..., :3, 6] = cross(arm, force)
    each[..., 3:6, 6] = force
    each[..., 6:, 6] = world.force
    bone = posed.points_m[:, :JOINTS] - posed.points_m[:, _CARRIERS]
    lever = cross_matrix(bone)
    bent = lever @ bones.stiffness @ lever.swapaxes(-1, -2)
    each[..., :3, :3] += (_CARRIES @ bent.reshape(count, -1, 9)).reshape(count, -1, 3, 3)
    each[..., :3, 6] += _CARRIES @ cross(bone, bones.force)
    below = (_BELOW @ each.reshape(count, len(RIG.parents), 63)).reshape(count, -1, 9, 7)
    carried = below[:, _OF_FREEDOM]  # (P, D - 3, 9, 7)
    axis = (posed.turned[:, RIG.joint] @ RIG.axis[..., None])[..., 0]
    twist = np.concatenate([axis, cross(arm[:, RIG.joint], axis)], -1)  # (P, D - 3, 6)
    answer = (carried[..., :6] @ twist[..., None])[..., 0]  # (P, D - 3, 9)
    pair = twist @ answer[..., :6].swapaxes(-1, -2)

    gradient = np.empty((count, RIG.freedom))
    gradient[:, :3] = below[:, _ROOT_AMONG_TURNING, 6:, 6]
    gradient[:, 3:] = (twist * carried[..., :6, 6]).sum(-1)
    hessian = np.empty((count, RIG.freedom, RIG.freedom))
    hessian[:, :3, :3] = below[:, _ROOT_AMONG_TURNING, 6:, 3:6]
    hessian[:, 3:, :3] = answer[..., 6:]
    hessian[:, :3, 3:] = answer[..., 6:].swapaxes(-1, -2)
    hessian[:, 3:, 3:] = pair * _ABOVE + (pair * _STRICTLY_ABOVE).swapaxes(-1, -2)
    return gradient, hessian


_CARRIERS = CARRIED_BY[:JOINTS]
_CARRIES = (np.arange(len(RIG.parents))[:, None] == _CARRIERS).astype(np.float64)  # (N, 21)
_ROOT_AMONG_TURNING = int(np.flatnonzero(_TURNING == ROOT)[0])


def moved(pose: Pose, step: np.ndarray) -> Pose:
    """P poses after a small change (P, D) of their freedoms; hinges stay within their limits."""
    first_hinge = 3 + 3 * len(_FREE)
    turn = step[:, 3:first_hinge].reshape(len(step), len(_FREE), 3)
    local = pose.local.copy()
    local[:, _FREE] = local[:, _FREE] @ matrix_from_rotvec(turn)
    angle = hinge_angles(pose) + step[:, first_hinge:]
    return with_hinges(Pose(pose.root_m + step[:, :3], local), angle)


def hinge_angles(pose: Pose) -> np.ndarray:
    """P poses -> (P, 6) rad: the angle of each joint of `RIG.hinges`, -pi to pi."""
    entries = pose.local[:, RIG.hinges].reshape(len(pose.local), len(RIG.hinges), 9)
    return np.arctan2((entries * _SINE).sum(-1), entries[..., ::4].sum(-1) - 1)


def with_hinges(pose: Pose, angle_rad: np.ndarray) -> Pose:
    """P poses with their hinges set to (P, 6) rad, clipped to the limits."""
    count = len(RIG.hinges)
    angle = np.minimum(np.maximum(angle_rad, RIG.lower_rad[-count:]), RIG.upper_rad[-count:])
    local = pose.local.copy()
    local[:, RIG.hinges] = matrix_from_rotvec(angle[..., None] * RIG.hinge_axes)
    return Pose(pose.root_m, local)


def anatomical(pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """P poses -> (P, 30) rad anatomical angles, and (P, 24, 3) their derivative.

    The first 24 angles are swing plus twist of `RIG.balls`, x y z each; row i of the derivative is
    that of angle i by the three freedoms of its joint.  The last 6 are hinges, derivative 1.
    """
    rotation = pose.local[:, RIG.balls]  # (P, 8, 3, 3)
    bone = RIG.bones
    there = (rotation @ bone[..., None])[..., 0]
    cosine = (there * bone).sum(-1, keepdims=True)
    across = cross(bone, there)
    sine = length(across)
    angle = np.arctan2(sine, cosine)
    small = sine < 1e-3  # straight; or turned by half, which no joint can be
    safe = np.where(small, 1.0, sine)
    factor = np.where(small, 1.0, angle / safe)
    slope = np.where(small, -1 / 3, -(safe - angle * cosine) / safe**3)  # d factor / d cosine
    # The quaternion times four times its real part: the twist is a ratio of its components.
    w = 1 + rotation[..., 0, 0] + rotation[..., 1, 1] + rotation[..., 2, 2]
    w = w[..., None]
    vector = rotation[..., (2, 0, 1), (1, 2, 0)] - rotation[..., (1, 2, 0), (2, 0, 1)]
    along = (vector * bone).sum(-1, keepdims=True)
    twist = 2 * np.arctan2(along, w)

    d_there = rotation @ _ACROSS_BONE.swapaxes(-1, -2)  # d there = R (d x bone)
    d_across = _BONE_CROSS @ d_there
    d_cosine = (bone[:, None] @ d_there)[..., 0, :]
    d_swing = factor[..., None] * d_across + (slope * across)[..., None] * d_cosine[..., None, :]
    d_w = -0.5 * vector
    d_along = 0.5 * (w * bone + cross(bone, vector))
    d_twist = 2 * (w * d_along - along * d_w) / np.maximum(w**2 + along**2, 1e-9)
    ball = factor * across + twist * bone
    d_ball = d_swing + bone[:, :, None] * d_twist[..., None, :]
    angles = np.concatenate([ball.reshape(len(ball), 24), hinge_angles(pose)], -1)
    return angles, d_ball.reshape(len(ball), 24, 3)


def chosen(which: np.ndarray, yes: Pose, no: Pose) -> Pose:
    """P poses: those of `yes` where `which` (P,) holds, else those of `no`."""
    return Pose(
        np.where(which[:, None], yes.root_m, no.root_m),
        np.where(which[:, None, None, None], yes.local, no.local),
    )
