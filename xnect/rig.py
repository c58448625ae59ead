"""The rig as data: joints, degrees of freedom, anatomical limits, and what standing at ease is.

`RIG` is `skeleton.BODY` with six more points that ride on it: nose, eyes and ears on the head, and
the middle of the shoulders on the spine (that is what the 2D joint `neck` shows).  So each of the
18 joints seen in an image is one point of the rig.

36 degrees of freedom: root translation 3, root rotation 3, spine 3, neck 3, shoulders 3 + 3,
elbows 1 + 1, wrists 3 + 3, hips 3 + 3, knees 1 + 1, ankles 1 + 1.  `head`, `head_top`, hands and
toes follow the joint that carries them.  One point of a hand does not show how the forearm is
turned about itself: wrists swing, and their twist is next to none.

Anatomical angles are swing plus twist about the bone for balls, x y z of the T-pose's axes (x to
the person's left, y up, z front), right-handed: flexing the left hip is negative x, and a knee
bends by positive x.  Limits are those of healthy adults, rounded; the relaxed angles and their
spread are medians and standard deviations over 1,200 poses of the synthetic people, rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xnect.skeleton import BODY, J3D, JOINTS2D, JOINTS3D, ROOT, SEEN_AS

_FACE = {
    "nose": (0.0, -0.0289, 0.1295), "left_eye": (0.0297, 0.0092, 0.0867),
    "left_ear": (0.0846, 0.0, 0.0),
}  # fmt: skip
"""Metres from the joint `head` (middle of the ears): landmarks of the mean CC0 MakeHuman body."""

_BALLS = {
    # joint: bone's direction at rest; lower, upper, relaxed angles and spread about x, y, z, deg
    "spine": ((0, 1, 0), (-40, -45, -40), (60, 45, 40), (0, 0, 0), (16, 14, 8)),
    "neck": ((0, 1, 0), (-50, -80, -45), (60, 80, 45), (15, 0, 0), (20, 15, 15)),
    "left_shoulder": ((1, 0, 0), (-90, -130, -110), (90, 50, 110), (0, -5, -70), (36, 46, 40)),
    "left_wrist": ((1, 0, 0), (-5, -80, -80), (5, 80, 80), (0, 0, 0), (2, 25, 25)),
    "left_hip": ((0, -1, 0), (-125, -50, -30), (30, 50, 60), (-10, 0, 3), (38, 18, 15)),
}
_HINGES = {
    # joint: axis; lower, upper, relaxed angle and spread in degrees
    "left_elbow": ((0, -1, 0), 0, 150, 40, 35),
    "left_knee": ((1, 0, 0), 0, 150, 15, 35),
    "left_ankle": ((1, 0, 0), -30, 55, -10, 15),
}
SOLES_M = {"ankle": 0.070, "foot": 0.013}
"""How high these joints of the reference body are above the floor on which it stands."""

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
            ease = np.array(row[3]) * _MIRROR
            both[right] = (bone, np.minimum(low, high), np.maximum(low, high), ease, row[4])
        else:
            both[right] = (np.array(row[0]) * _MIRROR, *row[1:])
    return both


@dataclass(frozen=True, eq=False)
class Rig:
    """The body, the points on it, its degrees of freedom and their limits."""

    parents: np.ndarray  # (N,) joint that carries each point, -1 the root; N = 21 joints + 6
    offsets: np.ndarray  # (N, 3) at rest, m, for lengths of BODY
    levels: tuple[np.ndarray, ...]  # joints by depth in the tree, root first
    above: np.ndarray  # (N, N) 1 where k is on n's way to the root: k's offset moves point n
    joint: np.ndarray  # (D - 3,) joint of each rotational degree of freedom
    axis: np.ndarray  # (D - 3, 3) its axis in that joint's frame
    moves: np.ndarray  # (D - 3, N) 1 where it moves the point
    balls: np.ndarray  # (8,) joints with swing and twist
    bones: np.ndarray  # (8, 3) their bones' directions at rest
    hinges: np.ndarray  # (6,) joints with one angle
    hinge_axes: np.ndarray  # (6, 3)
    lower_rad: np.ndarray  # (30,) of the anatomical angles: balls x y z each, then hinges
    upper_rad: np.ndarray  # (30,)
    relaxed_rad: np.ndarray  # (30,) standing at ease
    spread_rad: np.ndarray  # (30,) how far people are from it, standard deviation
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
        for i in (1, 2, 3, 4)
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
        lower_rad=limits[0], upper_rad=limits[1], relaxed_rad=limits[2],
        spread_rad=limits[3], seen=np.array(seen),
    )  # fmt: skip


RIG = _rig()
JOINTS = len(JOINTS3D)

CARRIED_BY = np.where(RIG.parents < 0, ROOT, RIG.parents)
"""(N,) the joint that carries each point; the root, whose own offset is zero, carries itself."""
