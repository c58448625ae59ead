"""The names of the joints, how they hang together, and the body that is assumed at first.

Two joint sets (spec 2.3): 18 joints that are seen in the image (COCO's 17 and the neck) and
21 joints of the 3D pose (MPI-INF-3DHP's "extended" set, XNect's order).

Two trees over the 21 joints:
* `BONE_PARENTS`: the parent-relative encoding of the network (VNect's tree).
* `BODY.parents`: the rig whose joint angles come out.  It differs in one place: the shoulders
  hang from the spine, not from the neck, so that nodding does not move the arms.

The rest pose is a T-pose in metres: x to the person's left, y up, z to the front, pelvis at the
origin, stature `REFERENCE_STATURE_M`.  Its proportions are the mean of 400 adult bodies of the CC0
MakeHuman shape space (see `xnect/synth`); the shoulders are where hanging arms have them, in the
mean of 6,000 synthetic people in motion, 35 mm above those of the shape space's own T-pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

JOINTS2D: tuple[str, ...] = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

JOINTS3D: tuple[str, ...] = (
    "head_top", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "pelvis", "spine", "head",
    "right_hand", "left_hand", "right_foot", "left_foot",
)  # fmt: skip

J2D = {name: i for i, name in enumerate(JOINTS2D)}
J3D = {name: i for i, name in enumerate(JOINTS3D)}
SIDES2D: tuple[tuple[int, int], ...] = tuple(
    (J2D[f"right_{part}"], J2D[f"left_{part}"])
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
"""Right and left 2D joint of each part of arms and legs."""
LIMB_JOINTS = sorted(joint for pair in SIDES2D for joint in pair)
FACE = [J2D[name] for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]
"""2D joints of the face."""
ROOT = J3D["pelvis"]

LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
"""The 19 limbs of the part affinity fields, in the order in which they are parsed (spec 2.3)."""

BONE_PARENTS: tuple[int, ...] = (
    16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, 14, 14, 1, 4, 7, 10, 13
)  # fmt: skip
"""Parent of each 3D joint in the network's encoding; the root is its own parent (spec 2.4)."""

CODE_BONES: tuple[tuple[int, ...], ...] = (
    (16, 0), (1, 2, 5, 16, 15), (2, 3), (3, 4), (4, 17), (5, 6), (6, 7), (7, 18),
    (8, 9, 15), (9, 10), (10, 19), (11, 12, 15), (12, 13), (13, 20),
    (), (), (), (),
)  # fmt: skip
"""Bones that the 3D encoding describes at each 2D joint: its own and its children's (spec 2.4)."""

CODE_UNIT_M = 0.3
"""One unit of the 3D encoding, in metres of the reference body (spec 2.4)."""

SEEN_AS: tuple[int, ...] = (
    -1,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    -1,
    -1,
    -1,
    -1,
    -1,
    -1,
    -1,
)
"""2D joint that shows each 3D joint, -1 where there is none."""

FLIP2D: tuple[int, ...] = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
FLIP3D: tuple[int, ...] = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14, 15, 16, 18, 17, 20, 19)

COCO17: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
FROM_COCO17: tuple[int, ...] = tuple(
    -1 if name == "neck" else COCO17.index(name) for name in JOINTS2D
)
"""COCO's number of each of the 18 joints; -1 is the neck, the middle of the shoulders."""

LSP14: tuple[str, ...] = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "neck", "head_top",
)  # fmt: skip

REFERENCE_STATURE_M = 1.70
REFERENCE_CHAIN_M = 0.9529
"""Knee-hip + pelvis-spine + spine-neck of the reference body: the measure of a person's size."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A rig: joint names, parents (-1 = root, any order), rest offsets from the parent in m."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_m: np.ndarray  # (J, 3), rest pose; the root's own offset is zero

    @property
    def order(self) -> tuple[int, ...]:
        """Joint numbers with every parent before its children."""
        done: list[int] = []
        while len(done) < len(self.names):
            done += [
                j for j, p in enumerate(self.parents) if j not in done and (p < 0 or p in done)
            ]
        return tuple(done)

    @property
    def root(self) -> int:
        """Number of the root joint."""
        return self.parents.index(-1)

    @property
    def lengths_m(self) -> np.ndarray:
        """(J,) length of the bone from the parent to each joint; 0 for the root."""
        return np.linalg.norm(self.offsets_m, axis=-1)


def _body() -> Skeleton:
    """The rig with mean adult proportions; left is the mirror image of right."""
    left = {
        "shoulder": (0.1785, 0.1184, 0.0387), "elbow": (0.2488, 0, 0), "wrist": (0.2381, 0, 0),
        "hand": (0.0850, 0, 0), "hip": (0.1060, 0, 0), "knee": (0, -0.3925, 0),
        "ankle": (0, -0.4320, 0), "foot": (0, -0.0573, 0.1916),
    }  # fmt: skip
    middle = {
        "pelvis": (0, 0, 0), "spine": (0, 0.3740, -0.0267), "neck": (0, 0.1798, 0.0333),
        "head": (0, 0.1323, 0.0267), "head_top": (0, 0.1192, 0.0130),
    }  # fmt: skip
    parent = {
        "shoulder": "spine", "elbow": "shoulder", "wrist": "elbow", "hand": "wrist",
        "hip": "pelvis", "knee": "hip", "ankle": "knee", "foot": "ankle",
        "spine": "pelvis", "neck": "spine", "head": "neck", "head_top": "head",
    }  # fmt: skip
    parents, offsets = [], []
    for name in JOINTS3D:
        side, _, part = name.partition("_")
        if side in ("left", "right"):
            up = parent[part]
            parents.append(J3D[up if up in middle else f"{side}_{up}"])
            x, y, z = left[part]
            offsets.append((x if side == "left" else -x, y, z))
        else:
            parents.append(J3D[parent[name]] if name in parent else -1)
            offsets.append(middle[name])
    array = np.array(offsets, np.float64)
    array.setflags(write=False)
    return Skeleton(JOINTS3D, tuple(parents), array)


BODY = _body()


def chain_m(joints_m: np.ndarray) -> np.ndarray:
    """(..., 21, 3) m -> (...,) m: knee-hip (mean of both) + pelvis-spine + spine-neck.

    Dividing by it and multiplying with `REFERENCE_CHAIN_M` brings anybody to reference size.
    """

    def length(a: str, b: str) -> np.ndarray:
        return np.linalg.norm(joints_m[..., J3D[a], :] - joints_m[..., J3D[b], :], axis=-1)

    thigh = (length("left_hip", "left_knee") + length("right_hip", "right_knee")) / 2
    return thigh + length("pelvis", "spine") + length("spine", "neck")
