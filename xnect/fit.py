"""The rig fitted to the tracks of a frame: from noisy joints to people with joint angles.

Bone lengths are fixed: those of the identity (`Track.lengths_m`, at first the proportions of the
reference body) times height / 1.70 m.  So they are constant from the first frame of an identity to
its last.  Depth is proportional to the assumed height.

The fit starts at the last frame's pose, or at `first_pose` when there is none or when the last one
fits badly, and minimises the terms of `residuals` by damped Gauss-Newton for all people at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from xnect.calib.camera import Camera
from xnect.first_pose import first_pose
from xnect.kinematics import (
    JOINTS,
    RIG,
    Pose,
    anatomical,
    chosen,
    forward,
    hinge_angles,
    jacobian,
    moved,
    offsets_m,
    with_hinges,
)  # fmt: skip
from xnect.least_squares import Quadratic, minimise
from xnect.place import place
from xnect.residuals import ease, limits, root_near, seen_2d, shape_3d, steady
from xnect.rotations import matrix_from_quat, quat_from_matrix
from xnect.skeleton import BODY, FLIP3D, J2D, J3D, REFERENCE_STATURE_M, ROOT, SEEN_AS
from xnect.track import Track
from xnect.types import Person, Pose3D


@dataclass(frozen=True)
class FitOptions:
    """Weights of the energy, in metres and radians squared, and how long to search."""

    height_m: float = REFERENCE_STATURE_M  # everybody's; sets the metric scale and so the depth
    weight_3d: float = 1.0
    weight_2d: float = 1.0
    weight_limits: float = 10.0
    weight_steady: float = 0.003  # of rotations, at 30 frames/s
    weight_depth: float = 0.3  # of the root's depth against its expected one, at 30 frames/s
    weight_root: float = 0.01  # of the root across the view
    weight_ease: float = 2e-4  # of the relaxed pose
    face: float = 0.3  # of a 2D point of the face against a joint: faces differ
    soft_3d_m: float = 0.2  # beyond this a joint is an outlier
    soft_2d_m: float = 0.15
    iterations: int = 3  # from the last frame's pose
    first_iterations: int = 20  # without one
    doubt_m: float = 0.12  # mean 3D residual from which on a fresh start is tried too
    forget_s: float = 1.0  # after which the last pose is not used


class _Evidence(NamedTuple):
    """What the frame says about P people, and what was known before."""

    rest_m: np.ndarray  # (P, N, 3) the rig's rest offsets
    target_m: np.ndarray  # (P, 21, 3) from the pelvis, metric
    target_weight: np.ndarray  # (P, 21)
    rays: np.ndarray  # (P, 18, 2)
    ray_weight: np.ndarray  # (P, 18)
    depth_m: np.ndarray  # (P,) of the root, about
    before: Pose
    steady_weight: np.ndarray  # (P,) 0 without a pose before
    root_m: np.ndarray  # (P, 3) expected
    root_weight: np.ndarray  # (P, 3)


def fit(
    tracks: Sequence[Track], camera: Camera, time_s: float, options: FitOptions = FitOptions()
) -> tuple[Person, ...]:
    """The people of a frame, in the order of the tracks; a missed one keeps its last pose.

    Args:
        tracks: from `Tracker.match`.
        camera: of the picture in which the joints' pixels are.
        time_s: of the frame.
        options: see `FitOptions`.
    """
    seen = [t for t in tracks if t.missed_s == 0 or t.previous is None]
    fitted = iter(_fit_seen(seen, camera, time_s, options))
    return tuple(
        next(fitted) if t.missed_s == 0 or t.previous is None else _held(t.previous, t.missed_s)
        for t in tracks
    )


def fit_single(
    poses: Sequence[Pose3D], camera: Camera, options: FitOptions = FitOptions()
) -> tuple[Person, ...]:
    """The people of one picture, without memory; their `track_id` is 0."""
    return fit([Track(0, pose) for pose in poses], camera, 0.0, options)


def measured_lengths(poses: Sequence[Pose3D], *, score_at_least: float = 0.4) -> np.ndarray:
    """(21,) m bone lengths of one identity: medians over its poses, left and right made equal.

    For a calibration before or after a recording (`Tracker.set_lengths`); a bone of which both
    ends were seen in fewer than 10 poses keeps the reference length.
    """
    lengths = BODY.lengths_m.copy()
    parents = np.array(BODY.parents)
    if poses:
        joints = np.stack([pose.joints_m for pose in poses])
        seen = np.stack([pose.score for pose in poses]) >= score_at_least
        bone_m = np.linalg.norm(joints - joints[:, parents], axis=-1)
        good = seen & seen[:, parents] & np.isfinite(bone_m)
        for j in range(JOINTS):
            if j != ROOT and good[:, j].sum() >= 10:
                lengths[j] = np.median(bone_m[good[:, j], j])
    lengths = (lengths + lengths[list(FLIP3D)]) / 2
    lengths[ROOT] = 0
    return lengths


def _fit_seen(
    tracks: Sequence[Track], camera: Camera, time_s: float, options: FitOptions
) -> list[Person]:
    if not tracks:
        return []
    evidence = _evidence(tracks, camera, time_s, options)
    warm = evidence.steady_weight > 0
    start, rounds = evidence.before, options.iterations
    if not warm.all():
        fresh = first_pose(evidence.target_m)
        start = chosen(warm, start, Pose(evidence.root_m, fresh.local))
        rounds = options.first_iterations
    pose, cost = _search(evidence, start, options, rounds)
    doubtful = np.flatnonzero(warm & (_off_m(pose, evidence) > options.doubt_m))
    if len(doubtful):
        some = _of(evidence, doubtful)
        fresh = Pose(some.root_m, first_pose(some.target_m).local)
        again, cost_again = _search(some, fresh, options, options.first_iterations)
        better = cost_again < cost[doubtful]
        for mine, theirs in zip(pose, again, strict=True):
            mine[doubtful[better]] = theirs[better]
    return _people(tracks, pose, evidence.rest_m)


def _evidence(
    tracks: Sequence[Track], camera: Camera, time_s: float, options: FitOptions
) -> _Evidence:
    """Everything that the energy needs, as arrays over people; what is not finite has weight 0."""
    size = options.height_m / REFERENCE_STATURE_M
    joints = np.stack([t.pose.joints_m for t in tracks]).astype(np.float64) * size
    score = np.stack([t.pose.score for t in tracks]).astype(np.float64)
    pixels = np.stack([t.pose.partial.joints_px for t in tracks]).astype(np.float64)
    seen = np.stack([t.pose.partial.score for t in tracks]).astype(np.float64)
    score = np.where(np.isfinite(joints).all(-1) & np.isfinite(score), np.clip(score, 0, 1), 0)
    seen = np.where(np.isfinite(pixels).all(-1) & np.isfinite(seen), np.clip(seen, 0, 1), 0)
    rest = offsets_m(np.stack([t.lengths_m for t in tracks]) * size)
    joints = np.where(score[..., None] > 0, joints, _resting(rest))
    joints = joints - joints[:, ROOT, None]
    rays = camera.rays(np.where(seen[..., None] > 0, pixels, 0.0))

    placed = place(_shown(joints), rays, seen * _PLACING)
    usable = [
        t.previous is not None and 0 < time_s - t.previous_time_s <= options.forget_s
        for t in tracks
    ]
    passed_s = np.array(
        [time_s - t.previous_time_s if u else 1.0 for t, u in zip(tracks, usable, strict=True)]
    )
    before_root, before_local = (
        placed.root_m.copy(),
        np.tile(np.eye(3), (len(tracks), JOINTS, 1, 1)),
    )
    for i, track in enumerate(tracks):
        if usable[i] and track.previous is not None:
            before_root[i] = track.previous.root_m + track.root_velocity_m_s * min(passed_s[i], 0.2)
            before_local[i] = matrix_from_quat(track.previous.rotations_quat_wxyz)
    rate = np.where(usable, 1 / 30 / np.maximum(passed_s, 0.004), 0)
    age = np.minimum(1, np.array([t.frames for t in tracks]) / 10)
    root_weight = np.full((len(tracks), 3), options.weight_root)
    root_weight[:, 2] += options.weight_depth * rate * age
    face = np.ones(len(J2D))
    face[_FACE] = options.face
    return _Evidence(
        rest, joints, score * (np.arange(JOINTS) != ROOT), rays, seen * face,
        np.maximum(before_root[:, 2], 0.3), Pose(before_root, before_local),
        options.weight_steady * rate, before_root, root_weight,
    )  # fmt: skip


_FACE = [J2D[n] for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_SHOWN = np.array([SEEN_AS.index(i) if i in SEEN_AS else -1 for i in range(len(J2D))])
_PLACING = (_SHOWN >= 0).astype(np.float64)  # the face has no joint to place it by


def _shown(joints_m: np.ndarray) -> np.ndarray:
    """(P, 21, 3) -> (P, 18, 3): what each 2D joint shows; the 2D neck is the shoulders' middle."""
    points = np.array(joints_m[:, _SHOWN])
    shoulders = joints_m[:, [J3D["left_shoulder"], J3D["right_shoulder"]]]
    points[:, J2D["neck"]] = shoulders.mean(1)
    return points


def _resting(rest_m: np.ndarray) -> np.ndarray:
    """(P, N, 3) -> (P, 21, 3) m: the T-pose facing the camera, for joints that nobody knows."""
    return ((RIG.above @ rest_m) * (1, -1, -1))[:, :JOINTS]


def _search(
    evidence: _Evidence, start: Pose, options: FitOptions, iterations: int
) -> tuple[Pose, np.ndarray]:
    def model(pose: Pose) -> Quadratic:
        posed = forward(pose, evidence.rest_m)
        slope = jacobian(posed)
        angles, d_balls = anatomical(pose)
        terms = (
            shape_3d(
                posed, slope, evidence.target_m, options.weight_3d * evidence.target_weight,
                soft_m=options.soft_3d_m,
            ),
            seen_2d(
                posed, slope, evidence.rays, options.weight_2d * evidence.ray_weight,
                evidence.depth_m, soft_m=options.soft_2d_m,
            ),
            limits(angles, d_balls, weight=options.weight_limits),
            ease(angles, d_balls, weight=options.weight_ease),
            steady(pose, evidence.before, evidence.steady_weight),
            root_near(pose, evidence.root_m, evidence.root_weight),
        )  # fmt: skip
        residual = np.concatenate([t.residual for t in terms], 1)
        by_freedom = np.concatenate([t.jacobian for t in terms], 1)
        transposed = by_freedom.swapaxes(-1, -2)
        gradient = (transposed @ residual[..., None])[..., 0]
        return _bounded(
            pose,
            Quadratic(np.sum([t.cost for t in terms], 0), gradient, transposed @ by_freedom),
        )

    return minimise(
        model, moved, chosen, with_hinges(start, hinge_angles(start)), iterations=iterations
    )


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
    diagonal = np.arange(RIG.freedom)
    hessian[:, diagonal, diagonal] += 1 - free
    return Quadratic(here.cost, here.gradient * free, hessian)


def _off_m(pose: Pose, evidence: _Evidence) -> np.ndarray:
    """(P,) m: mean distance of the joints from the lifted ones, by weight."""
    points = forward(pose, evidence.rest_m).points_m[:, :JOINTS]
    off = np.linalg.norm(points - points[:, ROOT, None] - evidence.target_m, axis=-1)
    total = np.maximum(evidence.target_weight.sum(1), 1e-9)
    return (off * evidence.target_weight).sum(1) / total


def _of(evidence: _Evidence, which: np.ndarray) -> _Evidence:
    """The evidence on some of the people."""
    before = Pose(*(a[which] for a in evidence.before))
    rest = {k: v[which] for k, v in evidence._asdict().items() if k != "before"}
    return _Evidence(before=before, **rest)


def _people(tracks: Sequence[Track], pose: Pose, rest_m: np.ndarray) -> list[Person]:
    joints = forward(pose, rest_m).points_m[:, :JOINTS]
    quats = quat_from_matrix(pose.local)
    people = []
    for i, track in enumerate(tracks):
        quat = quats[i]
        if track.previous is not None:  # q and -q are the same: no jump for those who interpolate
            same = (quat * track.previous.rotations_quat_wxyz).sum(-1, keepdims=True) >= 0
            quat = np.where(same, quat, -quat)
        partial = track.pose.partial
        people.append(
            Person(
                joints2d_px=partial.joints_px,
                joints2d_score=partial.score,
                joints3d_m=joints[i],
                joints3d_score=track.pose.score,
                track_id=track.track_id,
                score=float(partial.person_score),
                rotations_quat_wxyz=quat,
                root_m=joints[i, ROOT].copy(),
                bone_lengths_m=np.linalg.norm(rest_m[i, :JOINTS], axis=-1),
            )
        )
    return people


def _held(person: Person, missed_s: float) -> Person:
    """The last pose of somebody who is missed just now: no 2D joint is seen, all is less sure."""
    fade = float(np.exp(-missed_s / 0.2))
    return replace(
        person,
        joints2d_score=np.zeros_like(person.joints2d_score),
        joints3d_score=person.joints3d_score * fade,
        score=person.score * fade,
    )
