"""Rotations of the rig from joint positions alone, without iterations: where a fit begins.

The root and the spine are the rotations that best align their points; a limb's upper joint points
its bone and turns its hinge into the plane in which the limb is bent.  A limb that is almost
straight, or that seems to bend the wrong way, gets the least twist, so no knee starts flipped.
"""

from __future__ import annotations

import numpy as np

from xnect.kinematics import Pose, with_hinges
from xnect.rig import JOINTS, RIG
from xnect.rotations import aligning, between, cross, unit
from xnect.skeleton import BODY, J3D, ROOT

_LIMBS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
_BENT = 0.35  # sine of the bend from which on its plane is trusted


def first_pose(joints_m: np.ndarray) -> Pose:
    """(P, 21, 3) m in camera axes -> P poses of the rig, the root where `joints_m` has it."""
    count = len(joints_m)
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    root = ROOT
    hips, shoulders = ["left_hip", "right_hip"], ["left_shoulder", "right_shoulder"]
    camera_from_rest = _aligned(joints_m, root, [*hips, "spine", "neck"], np.eye(3))
    spine = _aligned(joints_m, J3D["spine"], [*shoulders, "neck"], camera_from_rest)
    neck = J3D["neck"]
    head = np.einsum("pba,pb->pa", spine, joints_m[:, J3D["head_top"]] - joints_m[:, neck])
    upright = BODY.offsets_m[J3D["head"]] + BODY.offsets_m[J3D["head_top"]]
    local[:, root] = camera_from_rest
    local[:, J3D["spine"]] = camera_from_rest.swapaxes(-1, -2) @ spine
    local[:, neck] = between(upright, head)
    angles = np.zeros((count, len(RIG.hinges)))
    for side in ("left", "right"):
        for (upper, middle, end), parent in zip(_LIMBS, (spine, camera_from_rest), strict=True):
            a, b, c = (J3D[f"{side}_{name}"] for name in (upper, middle, end))
            bones = np.stack([joints_m[:, b] - joints_m[:, a], joints_m[:, c] - joints_m[:, b]])
            thigh, shin = unit(np.einsum("pba,npb->npa", parent, bones))
            hinge = int(np.flatnonzero(RIG.hinges == b)[0])
            local[:, a], angles[:, hinge] = _limb(
                thigh, shin, unit(BODY.offsets_m[b]), RIG.hinge_axes[hinge], upper == "shoulder"
            )
    return with_hinges(Pose(joints_m[:, root].copy(), local), angles)


def _aligned(
    joints_m: np.ndarray, origin: int, names: list[str], fallback: np.ndarray
) -> np.ndarray:
    """(P, 3, 3): the rotation that best turns resting points about `origin` into the seen ones."""
    ends = [J3D[name] for name in names]
    rest = np.stack([_rest(end) - _rest(origin) for end in ends])
    there = joints_m[:, ends] - joints_m[:, origin, None]
    rotation = aligning(np.broadcast_to(rest, there.shape), there, np.ones(there.shape[:2]))
    flat = np.linalg.norm(there, axis=-1).sum(-1) < 1e-6
    return np.where(flat[:, None, None], fallback, rotation)


def _rest(joint: int) -> np.ndarray:
    """(3,) m: where a joint is in the T-pose."""
    return RIG.above[joint] @ RIG.offsets


def _limb(
    upper: np.ndarray, lower: np.ndarray, bone: np.ndarray, axis: np.ndarray, turns_freely: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3), (P, 3) directions in the parent's frame -> (P, 3, 3) rotation, (P,) hinge, rad."""
    upper = np.where((upper**2).sum(-1, keepdims=True) < 0.5, bone, upper)  # of no length: at rest
    least = between(np.broadcast_to(bone, upper.shape), upper)
    usual = np.einsum("pab,b->pa", least, axis)
    plane = cross(upper, lower)
    sine, cosine = np.linalg.norm(plane, axis=-1), (upper * lower).sum(-1)
    natural = (plane * usual).sum(-1) > 0
    trusted = (sine > _BENT) & (natural | turns_freely)
    hinge = np.where(trusted[:, None], unit(plane), usual)
    frame = np.stack([upper, hinge, cross(upper, hinge)], -1)
    rest = np.stack([bone, axis, cross(bone, axis)], -1)
    angle = np.arctan2(np.where(trusted, sine, (plane * usual).sum(-1)), cosine)
    return frame @ rest.T, angle
