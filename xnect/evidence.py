"""What a frame says about P people, and what the last frames let expect, as arrays for a fit.

What is not finite, or has no score, has weight 0.  The expected pose goes on from the last two
ones at a speed that fades; a track without a usable past (none, older than `forget_s`, or of a time
that is not before this frame's) expects nothing, and somebody who is seen far from the expected
place is placed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.first_pose import first_pose
from xnect.kinematics import Pose, forward, offsets_m
from xnect.place import place
from xnect.residuals import FEET
from xnect.rig import CARRIED_BY, JOINTS, RIG, SOLES_M
from xnect.rotations import matrix_from_quat, matrix_from_rotvec, rotvec_from_matrix, unit
from xnect.skeleton import BODY, FACE, J2D, J3D, REFERENCE_STATURE_M, ROOT, SEEN_AS
from xnect.track import Track
from xnect.types import Person

MOVING = np.concatenate([[ROOT], RIG.balls, RIG.hinges])
"""The joints that turn."""

TRUST_2D, TRUST_3D = 4, 2
"""Powers of the scores that are weights, which stand for the inverse square of the error.

Measured on rendered clips with known poses: 2D joints of score 0.9, 0.75 and 0.6 are wrong by 25,
105 and 188 mm (root mean square, at the person's depth), lifted ones of 0.75, 0.55 and 0.25 by 33,
99 and 168 mm.
"""

_IDENTITY = np.tile((1.0, 0, 0, 0), (JOINTS, 1))
_SHOWN = np.array([SEEN_AS.index(i) if i in SEEN_AS else -1 for i in range(len(J2D))])
_PLACING = (_SHOWN >= 0).astype(np.float64)  # the face shows no joint of the body
_SOLES_M = np.tile(list(SOLES_M.values()), 2)


@dataclass(frozen=True)
class PastOptions:
    """How far the past of a track is trusted."""

    forget_s: float = 1.0  # after which the last pose is not used
    fade: float = 0.8  # of the turning speed, from frame to frame at 30 frames/s
    most_turn_rad: float = 0.3  # expected of a joint between two frames
    shift_s: float = 0.2  # for which the root is expected to go on
    jump_m: float = 1.0  # across the view: somebody seen farther from the expected place is moved
    grow_frames: float = 10.0  # until the depth of a new person is trusted
    near_m: tuple[float, float] = (0.03, 0.10)  # foot's height: surely on the floor, surely not
    still_m_s: tuple[float, float] = (
        0.2,
        0.6,
    )  # its speed across the view, without a floor: the same


@dataclass(frozen=True, eq=False)
class Evidence:
    """P people.  Frames: camera axes, metres."""

    size: np.ndarray  # (P,) of the body against the reference body
    rest_m: np.ndarray  # (P, N, 3) the rig's rest offsets
    target_m: np.ndarray  # (P, 21, 3) lifted joints from the pelvis, metric, see `on_bones`
    target_weight: np.ndarray  # (P, 21)
    bone_m: np.ndarray  # (P, 21, 3) of `target_m`, from each joint's parent
    bone_weight: np.ndarray  # (P, 21) of arms, legs and feet
    rays: np.ndarray  # (P, 18, 2)
    ray_weight: np.ndarray  # (P, 18)
    depth_m: np.ndarray  # (P,) of the root, about
    local: np.ndarray  # (P, 21, 3, 3) expected rotations
    steady_weight: np.ndarray  # (P,) 0 without a past, 1 at 30 frames/s
    root_m: np.ndarray  # (P, 3) expected root, or placed
    root_weight: np.ndarray  # (P, 3) 0 without a past, 1 at 30 frames/s; depth less at first
    feet_m: np.ndarray  # (P, 4, 3) where `residuals.FEET` were
    contact: np.ndarray  # (P, 4) 0..1
    floor: Floor | None

    @property
    def expected(self) -> np.ndarray:
        """(P, 15, 3, 3) expected rotations of the joints that turn."""
        return self.local[:, MOVING]

    @property
    def pose(self) -> Pose:
        """The expected pose."""
        return Pose(self.root_m, self.local)

    @property
    def warm(self) -> np.ndarray:
        """(P,) bool: who has a past."""
        return self.steady_weight > 0

    def of(self, which: np.ndarray) -> Evidence:
        """The evidence on some of the people, in the order of `which`."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return Evidence(
            **{k: v[which] if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
        )


def gather(
    tracks: Sequence[Track],
    camera: Camera,
    time_s: float,
    *,
    height_m: float,
    face: float,
    floor: Floor | None = None,
    past: PastOptions = PastOptions(),
) -> Evidence:
    """The evidence on the people of a frame, in the order of their tracks.

    Args:
        tracks: at least one.
        camera: of the picture in which the joints' pixels are.
        time_s: of the frame.
        height_m: stature of those whose `Track.lengths_m` are those of a body of 1.70 m; the
            lifted pose of an identity with larger or smaller bones is scaled with them.
        face: weight of a 2D point of the face against one of the body.
        floor: when it is known.
        past: how far the past is trusted.
    """
    lengths = np.array([t.lengths_m for t in tracks]) * (height_m / REFERENCE_STATURE_M)
    size = body_size(lengths)
    joints = np.array([t.pose.joints_m for t in tracks], np.float64) * size[:, None, None]
    score = np.array([t.pose.score for t in tracks], np.float64)
    pixels = np.array([t.pose.partial.joints_px for t in tracks], np.float64)
    seen = np.array([t.pose.partial.evidence() for t in tracks], np.float64)
    score = np.where(np.isfinite(joints).all(-1) & np.isfinite(score), np.clip(score, 0, 1), 0)
    seen = np.where(np.isfinite(pixels).all(-1) & np.isfinite(seen), np.clip(seen, 0, 1), 0)
    rest = offsets_m(lengths)
    joints = np.where(score[..., None] > 0, joints, _resting(rest))
    joints = joints - joints[:, ROOT, None]
    rays = camera.rays(np.where(seen[..., None] > 0, pixels, 0.0))
    points, weight = _placing(joints, seen, rest, face)
    placed = place(points, rays, weight, rounds=2)

    use = np.array(
        [t.previous is not None and 0 < time_s - t.previous_time_s <= past.forget_s for t in tracks]
    )
    passed_s = np.where(use, time_s - np.array([t.previous_time_s for t in tracks]), 1.0)
    rate = np.where(use, 1 / 30 / np.maximum(passed_s, 1 / 240), 0)
    local, root, feet, speed = _expected(tracks, use, passed_s, placed.root_m, past)
    moved = use & placed.sure & (_across_m(placed.root_m, root) > past.jump_m)
    root = np.where(moved[:, None], placed.root_m, root)
    known = np.minimum(1, np.array([t.frames for t in tracks]) / past.grow_frames)
    root_weight = np.stack([rate, rate, rate * known], 1) * ~moved[:, None]
    weight_2d = np.ones(len(J2D))
    weight_2d[FACE] = face
    target = on_bones(joints, np.linalg.norm(rest[:, :JOINTS], axis=-1))
    ends = np.minimum(score, score[:, _PARENTS])
    return Evidence(
        size=size,
        rest_m=rest,
        target_m=target,
        target_weight=score**TRUST_3D * (np.arange(JOINTS) != ROOT),
        bone_m=target - target[:, _PARENTS],
        bone_weight=ends**TRUST_3D * np.isin(np.arange(JOINTS), _POINTING),
        rays=rays,
        ray_weight=seen**TRUST_2D * weight_2d,
        depth_m=np.maximum(root[:, 2], 0.3),
        local=local,
        steady_weight=rate,
        root_m=root,
        root_weight=root_weight,
        feet_m=feet,
        contact=_contact(feet, speed, use & ~moved, size, floor, past),
        floor=floor,
    )


def on_bones(joints_m: np.ndarray, lengths_m: np.ndarray) -> np.ndarray:
    """(P, 21, 3) m from the pelvis, (P, 21) m -> arms and legs of these lengths, as they point.

    A mean over what may be, as a lifted pose is one, has limbs that are too short; a rig of whole
    ones would bend elbows and knees to reach the places of their ends.  A limb is made at most
    three times as long; the trunk, hands and feet keep their lengths.
    """
    bones = joints_m - joints_m[:, _PARENTS]
    length, whole = np.linalg.norm(bones[:, _LIMBS], axis=-1), lengths_m[:, _LIMBS]
    bones[:, _LIMBS] *= (whole / np.maximum(length, whole / 3))[..., None]
    out: np.ndarray = RIG.above[:JOINTS, :JOINTS] @ bones
    return out


_PARENTS = CARRIED_BY[:JOINTS]
_LIMBS = [
    J3D[f"{side}_{n}"] for side in ("left", "right") for n in ("elbow", "wrist", "knee", "ankle")
]
_POINTING = [*_LIMBS, J3D["left_foot"], J3D["right_foot"]]


def body_size(lengths_m: np.ndarray) -> np.ndarray:
    """(..., 21) m bone lengths -> (...,) size of that body against the reference body.

    Measured as `skeleton.chain_m` does: thighs, pelvis to spine, spine to neck.
    """
    return _chain_m(lengths_m) / _CHAIN_M


def _chain_m(lengths_m: np.ndarray) -> np.ndarray:
    thigh = (lengths_m[..., J3D["left_knee"]] + lengths_m[..., J3D["right_knee"]]) / 2
    total: np.ndarray = thigh + lengths_m[..., J3D["spine"]] + lengths_m[..., J3D["neck"]]
    return total


_CHAIN_M = float(_chain_m(BODY.lengths_m))


def _expected(
    tracks: Sequence[Track],
    use: np.ndarray,
    passed_s: np.ndarray,
    placed_m: np.ndarray,
    past: PastOptions,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the past lets expect: rotations (P, 21, 3, 3), roots (P, 3), and of the feet the last
    places (P, 4, 3) and speeds across the view (P, 4) m/s, infinite where they are not known.
    """
    count = len(tracks)
    root, feet = placed_m.copy(), np.zeros((count, len(FEET), 3))
    foot_speed = np.full((count, len(FEET)), np.inf)
    last: list[Person | None] = [
        t.previous if u else None for t, u in zip(tracks, use, strict=True)
    ]
    local = matrix_from_quat(np.array([p.rotations_quat_wxyz if p else _IDENTITY for p in last]))
    if not use.any():
        return local, root, feet, foot_speed
    shift_s = np.minimum(passed_s, past.shift_s)[:, None]
    speed = np.array([t.root_velocity_m_s for t in tracks])
    was = np.array([p.joints3d_m if p else np.zeros((JOINTS, 3)) for p in last])
    root = np.where(use[:, None], was[:, ROOT] + speed * shift_s, root)
    feet = was[:, FEET]
    between_s = np.array([t.previous_time_s - t.before_time_s for t in tracks])
    twice = use & np.array([t.before is not None for t in tracks]) & (between_s > 1e-3)
    if twice.any():
        older = np.array(
            [
                (t.before.rotations_quat_wxyz if t.before is not None else _IDENTITY)[MOVING]
                for t in tracks
            ]
        )
        turn = rotvec_from_matrix(matrix_from_quat(older).swapaxes(-1, -2) @ local[:, MOVING])
        older_feet = np.array(
            [t.before.joints3d_m[FEET] if t.before is not None else feet[0] for t in tracks]
        )
        gone, ray = feet - older_feet, unit(feet)
        gone = np.linalg.norm(gone - (gone * ray).sum(-1, keepdims=True) * ray, axis=-1)
        foot_speed[twice] = gone[twice] / between_s[twice, None]
        ahead = passed_s / np.where(twice, between_s, 1.0) * twice * past.fade ** (30 * passed_s)
        turn *= np.minimum(ahead, 2.0)[:, None, None]
        most = np.linalg.norm(turn, axis=-1, keepdims=True) / past.most_turn_rad
        local[:, MOVING] = local[:, MOVING] @ matrix_from_rotvec(turn / np.maximum(most, 1))
    return local, root, feet, foot_speed


def _contact(
    feet_m: np.ndarray,
    speed_m_s: np.ndarray,
    use: np.ndarray,
    size: np.ndarray,
    floor: Floor | None,
    past: PastOptions,
) -> np.ndarray:
    """(P, 4) 0..1: how near the floor each foot was, or how still, where no floor is known."""
    if floor is None:
        slow, quick = past.still_m_s
        return np.clip((quick - speed_m_s) / (quick - slow), 0, 1) * use[:, None]
    height = floor.heights_m(feet_m) - size[:, None] * _SOLES_M
    low, high = past.near_m
    return np.clip((high - height) / (high - low), 0, 1) * use[:, None]


def _across_m(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P, 3), (P, 3) -> (P,) m between two places across the view, at the nearer one's depth."""
    near = np.maximum(np.minimum(one[:, 2], other[:, 2]), 0.3)
    off = one[:, :2] / one[:, 2:] - other[:, :2] / np.maximum(other[:, 2:], 0.3)
    return np.linalg.norm(off, axis=-1) * near


def _shown(joints_m: np.ndarray) -> np.ndarray:
    """(P, 21, 3) -> (P, 18, 3): what each 2D joint shows; the 2D neck is the shoulders' middle."""
    points = np.array(joints_m[:, _SHOWN])
    shoulders = joints_m[:, [J3D["left_shoulder"], J3D["right_shoulder"]]]
    points[:, J2D["neck"]] = shoulders.mean(1)
    return points


def _placing(
    joints_m: np.ndarray, seen: np.ndarray, rest_m: np.ndarray, face: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 18, 3) m from the pelvis, and weights (P, 18), that tell where people are.

    Faces differ, and heads turn: they tell it of those of whom little else is seen only.
    """
    points, weight = _shown(joints_m), seen * _PLACING
    near = ((weight > 0).sum(1) < _BODY_AT_LEAST) & ((seen[:, FACE] > 0).sum(1) >= _FACE_AT_LEAST)
    if near.any():
        head = forward(first_pose(joints_m[near]), rest_m[near]).points_m[:, RIG.seen[FACE]]
        points[np.ix_(near, FACE)] = head
        weight[np.ix_(near, FACE)] = face * seen[np.ix_(near, FACE)]
    return points, weight


_BODY_AT_LEAST = 3  # joints by which somebody is placed without the face
_FACE_AT_LEAST = 3


def _resting(rest_m: np.ndarray) -> np.ndarray:
    """(P, N, 3) -> (P, 21, 3) m: the T-pose facing the camera, for joints that nobody knows."""
    return ((RIG.above @ rest_m) * (1, -1, -1))[:, :JOINTS]
