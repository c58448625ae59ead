"""The rig: forward kinematics, its derivative, and the anatomical angles with their limits.

`RIG` is `skeleton.BODY` with six more points that ride on it: nose, eyes and ears on the head, and
the middle of the shoulders on the spine (that is what the 2D joint `neck` shows).  So each of the
18 joints seen in an image is one point of the rig.

30 degrees of freedom: root translation 3, root rotation 3, spine 3, neck 3, shoulders 3 + 3,
elbows 1 + 1, hips 3 + 3, knees 1 + 1, ankles 1 + 1.  The state is not 30 numbers but the rotation
matrix of each joint against its parent, and a small change of the state is 30 numbers: metres
along the camera axes, then radians about axes of the turned joint, R <- R exp(axis * radians).  So
nothing is singular, wherever the person looks.

    G_j = G_parent(j) R_j        P_j = P_parent(j) + G_parent(j) offset_j

Anatomical angles (`anatomical`) are R split into swing and twist about the bone: the components at
right angles to the bone are the swing, the component along it the twist; hinges have one angle.
Positive is right-handed about the axes of the T-pose (x to the person's left, y up, z front), so
flexing the left hip is negative x, and a knee bends by positive x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xnect.rotations import cross, cross_matrix, length, matrix_from_rotvec, quat_from_matrix, unit
from xnect.skeleton import BODY, J3D, JOINTS2D, JOINTS3D, ROOT, SEEN_AS

_FACE = {
    "nose": (0.0, -0.0289, 0.1295), "left_eye": (0.0297, 0.0092, 0.0867),
    "left_ear": (0.0846, 0.0, 0.0),
}  # fmt: skip
"""Metres from the joint `head` (middle of the ears): landmarks of the mean CC0 MakeHuman body."""

_BALLS = {
    # joint: bone's direction at rest; lower, upper and relaxed angles about x, y, z in degrees
    "spine": ((0, 1, 0), (-40, -45, -40), (60, 45, 40), (0, 0, 0)),
    "neck": ((0, 1, 0), (-50, -80, -45), (60, 80, 45), (0, 0, 0)),
    "left_shoulder": ((1, 0, 0), (-90, -130, -110), (90, 50, 110), (0, -10, -75)),
    "left_hip": ((0, -1, 0), (-125, -50, -30), (30, 50, 60), (0, 0, 0)),
}
_HINGES = {
    # joint: axis; lower, upper and relaxed angle in degrees
    "left_elbow": ((0, -1, 0), 0, 150, 15),
    "left_knee": ((1, 0, 0), 0, 150, 5),
    "left_ankle": ((1, 0, 0), -30, 55, 0),
}
_MIRROR = np.array((1.0, -1.0, -1.0))  # of a rotation vector, left to right; of a point (-1, 1, 1)


def _mirrored(table: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """The table with the right side added to its left entries."""
    both = dict(table)
    for name, row in table.items():
        if not name.startswith("left_"):
            continue
        right = name.replace("left_", "right_")
        if np.ndim(row[1]):
            low, high = np.array(row[1]) * _MIRROR, np.array(row[2]) * _MIRROR
            bone = np.array(row[0]) * (-1, 1, 1)
            both[right] = (bone, np.minimum(low, high), np.maximum(low, high), row[3] * _MIRROR)
        else:
            both[right] = (np.array(row[0]) * _MIRROR, *row[1:])
    return both


@dataclass(frozen=True, eq=False)
class Rig:
    """The body, the points on it, its degrees of freedom and their limits."""

    parents: np.ndarray  # (N,) joint that carries each point, -1 the root; N = 21 joints + 6
    offsets: np.ndarray  # (N, 3) at rest, m, for lengths of BODY
    levels: tuple[np.ndarray, ...]  # joints by depth in the tree, root first
    above: (
        np.ndarray
    )  # (N, N) 1 where the offset of column k moves point n: k on n's way to the root
    joint: np.ndarray  # (D - 3,) joint of each rotational degree of freedom
    axis: np.ndarray  # (D - 3, 3) its axis in that joint's frame
    moves: np.ndarray  # (D - 3, N) 1 where it moves the point
    balls: np.ndarray  # (6,) joints with swing and twist
    bones: np.ndarray  # (6, 3) their bones' directions at rest
    hinges: np.ndarray  # (6,) joints with one angle
    hinge_axes: np.ndarray  # (6, 3)
    lower_rad: np.ndarray  # (24,) of the anatomical angles: balls x y z each, then hinges
    upper_rad: np.ndarray  # (24,)
    relaxed_rad: np.ndarray  # (24,) standing at ease
    seen: np.ndarray  # (18,) point of the rig that each 2D joint shows

    @property
    def freedom(self) -> int:
        """D, the number of degrees of freedom."""
        return 3 + len(self.joint)


def _rig() -> Rig:
    points = list(JOINTS3D)
    parents, offsets = list(BODY.parents), [tuple(o) for o in BODY.offsets_m]
    for name, offset in _FACE.items():
        for side, sign in (("left", 1), ("right", -1)) if "left" in name else (("", 1),):
            points.append(name.replace("left", side))
            parents.append(J3D["head"])
            offsets.append((sign * offset[0], *offset[1:]))
    points.append("neck2d")
    parents.append(J3D["spine"])
    both = (BODY.offsets_m[J3D["left_shoulder"]], BODY.offsets_m[J3D["right_shoulder"]])
    offsets.append(tuple(np.mean(both, 0)))

    above = np.zeros((len(points), len(points)))
    for n in range(len(points)):
        k = n
        while k >= 0:
            above[n, k] = 1
            k = parents[k]
    depth = above[: len(JOINTS3D)].sum(1).astype(int) - 1
    balls, hinges = _mirrored(_BALLS), _mirrored(_HINGES)
    root = ROOT
    joint = [root] * 3 + [J3D[n] for n in balls for _ in range(3)] + [J3D[n] for n in hinges]
    axis = np.concatenate(
        [np.tile(np.eye(3), (1 + len(balls), 1)), [h[0] for h in hinges.values()]]
    )
    limits = [
        np.radians(
            np.concatenate([*(b[i] for b in balls.values()), [h[i] for h in hinges.values()]])
        )
        for i in (1, 2, 3)
    ]
    seen = [
        points.index("neck2d" if name == "neck" else name)
        if i in (0, 1, 14, 15, 16, 17)
        else SEEN_AS.index(i)
        for i, name in enumerate(JOINTS2D)
    ]
    return Rig(
        parents=np.array(parents), offsets=np.array(offsets, np.float64),
        levels=tuple(np.flatnonzero(depth == d) for d in range(depth.max() + 1)),
        above=above, joint=np.array(joint), axis=axis.astype(np.float64),
        moves=(above[:, joint].T - np.eye(len(points))[joint]),
        balls=np.array([J3D[n] for n in balls]),
        bones=np.array([b[0] for b in balls.values()], np.float64),
        hinges=np.array([J3D[n] for n in hinges]),
        hinge_axes=np.array([h[0] for h in hinges.values()], np.float64),
        lower_rad=limits[0], upper_rad=limits[1], relaxed_rad=limits[2], seen=np.array(seen),
    )  # fmt: skip


RIG = _rig()
JOINTS = len(JOINTS3D)
_UNIT_OFFSETS = unit(BODY.offsets_m)
_CARRIED_BY = np.where(RIG.parents < 0, ROOT, RIG.parents)  # the root's own offset is zero
_FREE = np.concatenate([[ROOT], RIG.balls])
_SINE = np.zeros((len(RIG.hinges), 9))  # of a hinge's angle, from the nine numbers of its matrix
_SINE[:, [7, 2, 3]] = RIG.hinge_axes
_SINE[:, [5, 6, 1]] = -RIG.hinge_axes
_BONE_CROSS = cross_matrix(RIG.bones)
_ACROSS_BONE = np.cross(np.eye(3), RIG.bones[:, None])  # (6, 3, 3) row i is e_i x bone


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
    arms = (turned[:, _CARRIED_BY] @ rest_offsets_m[..., None])[..., 0]
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
    """P poses -> (P, 24) rad anatomical angles, and (P, 18, 3) their derivative.

    The first 18 angles are swing plus twist of `RIG.balls`, x y z each; row i of the derivative is
    that of angle i by the three freedoms of its joint.  The last 6 are hinges, derivative 1.
    """
    rotation = pose.local[:, RIG.balls]  # (P, 6, 3, 3)
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
    quat = quat_from_matrix(rotation)
    w, vector = quat[..., :1], quat[..., 1:]
    along = (vector * bone).sum(-1, keepdims=True)
    twist = 2 * np.arctan2(along, w)
    twist -= 2 * np.pi * np.rint(twist / (2 * np.pi))

    d_there = rotation @ _ACROSS_BONE.swapaxes(-1, -2)  # d there = R (d x bone)
    d_across = _BONE_CROSS @ d_there
    d_cosine = (bone[:, None] @ d_there)[..., 0, :]
    d_swing = factor[..., None] * d_across + (slope * across)[..., None] * d_cosine[..., None, :]
    d_w = -0.5 * vector
    d_along = 0.5 * (w * bone + cross(bone, vector))
    d_twist = 2 * (w * d_along - along * d_w) / np.maximum(w**2 + along**2, 1e-9)
    ball = factor * across + twist * bone
    d_ball = d_swing + bone[:, :, None] * d_twist[..., None, :]
    angles = np.concatenate([ball.reshape(len(ball), 18), hinge_angles(pose)], -1)
    return angles, d_ball.reshape(len(ball), 18, 3)


def chosen(which: np.ndarray, yes: Pose, no: Pose) -> Pose:
    """P poses: those of `yes` where `which` (P,) holds, else those of `no`."""
    return Pose(
        np.where(which[:, None], yes.root_m, no.root_m),
        np.where(which[:, None, None, None], yes.local, no.local),
    )
