"""Joint angles in the terms of biomechanics, from the rotations of `Person` and `Recording`.

Every rotation is that of a joint against its parent, in the rest pose's axes: x to the person's
left, y up, z to the front.  The signs below follow the recommendations of the International Society
of Biomechanics (Wu et al. 2002 for hip, knee, ankle and spine; Wu et al. 2005 for the shoulder),
whose axes are x to the front, y up, z to the right:

    hip, spine, neck   R = Rx(a) Rz(b) Ry(c): a about the parent's axis across the body, c about
                       the child's long axis, b about the floating axis (Grood & Suntay 1983)
    shoulder           R A = Ry(p) R-(e) Ry(i): plane of elevation, elevation, axial rotation (ISB's
                       Y-X-Y); A hangs the arm down first, because the rest pose is a T
    knee, elbow, ankle hinges: one angle

Zero is standing upright with hanging arms, palms as in the rest pose.  All angles are degrees.
"""

from __future__ import annotations

import numpy as np

from xnect.rotations import matrix_from_quat
from xnect.skeleton import J3D, JOINTS3D

ANGLES: dict[str, str] = {
    "spine_flexion": "thorax against pelvis: forward +",
    "spine_lateral_bending": "to the right +",
    "spine_rotation": "to the left +",
    "neck_flexion": "head and neck against thorax: forward +",
    "neck_lateral_bending": "to the right +",
    "neck_rotation": "to the left +",
    "left_shoulder_plane_of_elevation": "of the upper arm: 0 in the frontal plane (abduction), "
    "+90 in front (flexion), -90 behind; undefined, and 0, while the arm hangs or points up",
    "right_shoulder_plane_of_elevation": "as on the left",
    "left_shoulder_elevation": "of the upper arm from hanging: 0 to 180",
    "right_shoulder_elevation": "of the upper arm from hanging: 0 to 180",
    "left_shoulder_rotation": "axial, internal +",
    "right_shoulder_rotation": "axial, internal +",
    "left_elbow_flexion": "0 straight",
    "right_elbow_flexion": "0 straight",
    "left_hip_flexion": "forward +, extension -",
    "right_hip_flexion": "forward +, extension -",
    "left_hip_adduction": "towards the other leg +, abduction -",
    "right_hip_adduction": "towards the other leg +, abduction -",
    "left_hip_rotation": "internal +, external -",
    "right_hip_rotation": "internal +, external -",
    "left_knee_flexion": "0 straight",
    "right_knee_flexion": "0 straight",
    "left_ankle_dorsiflexion": "toes up +, plantarflexion -",
    "right_ankle_dorsiflexion": "toes up +, plantarflexion -",
}
"""Each angle and its sign, in the order of the columns of `joint_angles_deg`."""

EULER_ORDER = "XZY"
"""Of `euler_deg`: intrinsic rotations about x, then the turned z, then the turned y."""

HANGING_RAD = np.pi / 2
"""From the hanging arm to that of the rest pose, about the axis to the front; left positive."""

_STRAIGHT_RAD = 1e-6


def joint_angles_deg(rotations_quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 21, 4) rotations of `Person` -> (..., 24) degrees in the order of `ANGLES`.

    Elevation of the shoulder is 0..180; all others are -180..180.  The hip's are not unique where
    its adduction passes +-90, which no hip reaches.
    """
    rotation = matrix_from_quat(rotations_quat_wxyz)
    found: dict[str, np.ndarray] = {}
    for part in ("spine", "neck"):
        a, b, c = _xzy_rad(rotation[..., J3D[part], :, :])
        names = (f"{part}_flexion", f"{part}_lateral_bending", f"{part}_rotation")
        found |= dict(zip(names, (a, b, c), strict=True))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("shoulder_plane_of_elevation", "shoulder_elevation", "shoulder_rotation")
        shoulder = _shoulder_rad(rotation[..., J3D[f"{side}_shoulder"], :, :], sign)
        found |= {f"{side}_{n}": v for n, v in zip(names, shoulder, strict=True)}
        a, b, c = _xzy_rad(rotation[..., J3D[f"{side}_hip"], :, :])
        found[f"{side}_hip_flexion"] = -a
        found[f"{side}_hip_adduction"] = -sign * b
        found[f"{side}_hip_rotation"] = -sign * c
        elbow = rotation[..., J3D[f"{side}_elbow"], :, :]
        found[f"{side}_elbow_flexion"] = -sign * np.arctan2(elbow[..., 0, 2], elbow[..., 2, 2])
        knee = rotation[..., J3D[f"{side}_knee"], :, :]
        found[f"{side}_knee_flexion"] = np.arctan2(knee[..., 2, 1], knee[..., 2, 2])
        ankle = rotation[..., J3D[f"{side}_ankle"], :, :]
        found[f"{side}_ankle_dorsiflexion"] = -np.arctan2(ankle[..., 2, 1], ankle[..., 2, 2])
    return np.degrees(np.stack([found[name] for name in ANGLES], -1))


def euler_deg(rotations_quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 21, 4) -> (..., 21, 3) degrees about x, z and y in this order (`EULER_ORDER`).

    Of every joint against its parent, the root against the camera: R = Rx Rz Ry.  The middle angle
    is -90..90; where it is +-90 the third is set to 0.
    """
    return np.degrees(np.stack(_xzy_rad(matrix_from_quat(rotations_quat_wxyz)), -1))


def included_angle_deg(joints_m: np.ndarray, above: str, joint: str, below: str) -> np.ndarray:
    """(..., 21, 3) m -> (...) degrees by which a limb is bent at `joint`; 0 is straight.

    From three points alone, so it can be had of any joints in the order of `JOINTS3D`, also of
    triangulated ones; nan where two of them coincide.
    """
    a, b, c = (joints_m[..., JOINTS3D.index(name), :] for name in (above, joint, below))
    first, second = b - a, c - b
    across = np.linalg.norm(np.cross(first, second), axis=-1)
    along = (first * second).sum(-1)
    angle = np.degrees(np.arctan2(across, along))
    return np.where(np.hypot(across, along) > 0, angle, np.nan)


def _xzy_rad(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., 3, 3) = Rx(a) Rz(b) Ry(c) -> a, b, c."""
    b = np.arcsin(np.clip(-rotation[..., 0, 1], -1, 1))
    a = np.arctan2(rotation[..., 2, 1], rotation[..., 1, 1])
    c = np.arctan2(rotation[..., 0, 2], rotation[..., 0, 0])
    locked = np.hypot(rotation[..., 2, 1], rotation[..., 1, 1]) < _STRAIGHT_RAD
    a = np.where(locked, np.arctan2(-rotation[..., 1, 2], rotation[..., 2, 2]), a)
    return a, b, np.where(locked, 0.0, c)


def _shoulder_rad(rotation: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., 3, 3), 1 left or -1 right -> plane of elevation, elevation, internal rotation.

    M = R A with A the rotation about z that turns the hanging arm into the rest pose's; then
    M = Ry(p') Rz(side e) Ry(i'), with elevation about the axis to the front when p' is 0.
    """
    sine, cosine = np.sin(side * HANGING_RAD), np.cos(side * HANGING_RAD)
    from_hanging = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])
    m = rotation @ from_hanging
    # M = Ry(p) Rz(s e) Ry(i): column y is (-sin e cos p, cos e, sin e sin p) for s = 1
    across = np.hypot(m[..., 0, 1], m[..., 2, 1])
    elevation = np.arctan2(across, m[..., 1, 1])
    plane = np.arctan2(side * m[..., 2, 1], -side * m[..., 0, 1])
    turn = np.arctan2(side * m[..., 1, 2], side * m[..., 1, 0])
    still = across < _STRAIGHT_RAD
    up = m[..., 1, 1] < 0  # then Rz(pi) mirrors the sense of the first rotation
    sense = np.where(up, -1, 1)
    both = np.arctan2(m[..., 0, 2] * sense, m[..., 0, 0] * sense)
    plane, turn = np.where(still, 0.0, plane), np.where(still, both, turn)
    return -side * plane, elevation, -side * turn
