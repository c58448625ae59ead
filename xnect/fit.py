"""The rig fitted to the tracks of a frame: from noisy joints to people with joint angles.

Bone lengths are fixed: those of the identity (`Track.lengths_m`, at first the proportions of the
reference body) times height / 1.70 m.  So they are constant from the first frame of an identity to
its last.  Depth is proportional to the assumed height.

The fit starts at the pose that the last two frames let expect (`evidence`), and for new people at
`first_pose`; where that may be a wrong minimum, at others too (`starts`).  All starts of all people
go down the energy (`energy`, `residuals`) in one batch by damped Gauss-Newton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.energy import Weights, quadratic
from xnect.evidence import Evidence, PastOptions, gather
from xnect.kinematics import Pose, chosen, forward, hinge_angles, moved, with_hinges
from xnect.least_squares import Quadratic, minimise
from xnect.rig import JOINTS
from xnect.rotations import quat_from_matrix
from xnect.skeleton import BODY, FLIP3D, REFERENCE_STATURE_M, ROOT
from xnect.starts import StartOptions, best, first_starts, further_starts, joined
from xnect.track import Track
from xnect.types import Person, Pose3D


@dataclass(frozen=True)
class FitOptions:
    """What is assumed of people, how the terms weigh, and how long to search."""

    height_m: float = REFERENCE_STATURE_M  # everybody's; sets the metric scale and so the depth
    stature_sd_m: float = 0.2  # of people about it, adults and children (`ProportionOptions`)
    face: float = 0.3  # weight of a 2D point of the face against one of the body: faces differ
    iterations: int = 2  # from the expected pose, which is near
    first_iterations: int = 12  # of new people
    weights: Weights = field(default_factory=Weights)
    past: PastOptions = field(default_factory=PastOptions)
    starts: StartOptions = field(default_factory=StartOptions)


_STAY = 0.01  # weight of the place where the rays meet, or of the expected one: never without any


def fit(
    tracks: Sequence[Track],
    camera: Camera,
    time_s: float,
    options: FitOptions = FitOptions(),
    *,
    floor: Floor | None = None,
) -> tuple[Person, ...]:
    """The people of a frame, in the order of the tracks; a missed one keeps its last pose.

    Args:
        tracks: from `Tracker.match`.
        camera: of the picture in which the joints' pixels are.
        time_s: of the frame.  A track whose past is not before it is fitted as if it were new.
        options: see `FitOptions`.
        floor: on which people stand, when it is known: feet are kept above it, and those that
            stand are kept still.
    """
    seen = [t for t in tracks if t.missed_s == 0 or t.previous is None]
    fitted = iter(_fit_seen(seen, camera, time_s, options, floor))
    return tuple(
        next(fitted) if t.missed_s == 0 or t.previous is None else _held(t.previous, t.missed_s)
        for t in tracks
    )


def fit_single(
    poses: Sequence[Pose3D],
    camera: Camera,
    options: FitOptions = FitOptions(),
    *,
    floor: Floor | None = None,
) -> tuple[Person, ...]:
    """The people of one picture, without memory; their `track_id` is 0.

    Everybody has the stature of the options, also over a floor; `proportions.Builds.alone` measures
    it there.
    """
    return fit([Track(0, pose) for pose in poses], camera, 0.0, options, floor=floor)


def measured_lengths(poses: Sequence[Pose3D], *, score_at_least: float = 0.4) -> np.ndarray:
    """(21,) m bone lengths of one identity: medians over its poses, left and right made equal.

    For a calibration before or after a recording (`Tracker.set_lengths`); a bone of which both
    ends were seen in fewer than 10 poses takes the length of the other side, or that of `BODY`.
    """
    lengths = np.full(JOINTS, np.nan)
    parents = np.array(BODY.parents)
    if poses:
        joints = np.stack([pose.joints_m for pose in poses])
        seen = np.stack([pose.score for pose in poses]) >= score_at_least
        bone_m = np.linalg.norm(joints - joints[:, parents], axis=-1)
        good = seen & seen[:, parents] & np.isfinite(bone_m)
        for j in range(JOINTS):
            if j != ROOT and good[:, j].sum() >= 10:
                lengths[j] = np.median(bone_m[good[:, j], j])
    other = lengths[list(FLIP3D)]
    own = np.where(np.isnan(lengths), other, lengths)
    lengths = (own + np.where(np.isnan(other), own, other)) / 2
    lengths = np.where(np.isnan(lengths), BODY.lengths_m, lengths)
    lengths[ROOT] = 0
    return lengths


def _fit_seen(
    tracks: Sequence[Track],
    camera: Camera,
    time_s: float,
    options: FitOptions,
    floor: Floor | None,
) -> list[Person]:
    if not tracks:
        return []
    seen = gather(
        tracks, camera, time_s, height_m=options.height_m, face=options.face, floor=floor,
        past=options.past,
    )  # fmt: skip
    weight = (options.weights.root, options.weights.root, options.weights.depth)
    seen = replace(seen, root_weight=seen.root_weight * weight + _STAY)
    warm, new = np.flatnonzero(seen.warm), np.flatnonzero(~seen.warm)
    pose = Pose(seen.root_m.copy(), seen.local.copy())
    if len(warm):
        known = seen if len(warm) == len(tracks) else seen.of(warm)
        _put(pose, warm, _followed(known, options))
    if len(new):
        begin = first_starts(seen if len(new) == len(tracks) else seen.of(new))
        _put(pose, new, _lowest(*begin, options, options.first_iterations))
    return _people(tracks, pose, seen.rest_m, options.stature_sd_m)


def _followed(known: Evidence, options: FitOptions) -> Pose:
    """Poses of people with a past: from the expected one, and others where that is doubtful."""
    whose, believed, begin = np.arange(len(known.size)), known, known.pose
    further = further_starts(known, options.starts)
    if further is not None:
        whose = np.concatenate([whose, further[0]])
        believed = joined([known, further[1]])
        begin = Pose(*(np.concatenate(a) for a in zip(begin, further[2], strict=True)))
    return _lowest(whose, believed, begin, options, options.iterations)


def _lowest(
    whose: np.ndarray, seen: Evidence, begin: Pose, options: FitOptions, iterations: int
) -> Pose:
    """The best pose of each person from the starts `whose` (C,), each person's own start first."""

    def model(pose: Pose) -> Quadratic:
        return quadratic(pose, seen, options.weights)

    start = with_hinges(begin, hinge_angles(begin))
    pose, cost = minimise(model, moved, chosen, start, iterations=iterations)
    people = int(whose.max()) + 1
    if people == len(whose):
        return pose
    cost = cost + options.starts.give_up_m2 * ~seen.warm
    taken = best(whose, cost, people, options.starts.margin)
    return Pose(*(a[taken] for a in pose))


def _put(pose: Pose, which: np.ndarray, found: Pose) -> None:
    for mine, theirs in zip(pose, found, strict=True):
        mine[which] = theirs


def _people(
    tracks: Sequence[Track], pose: Pose, rest_m: np.ndarray, anybody_sd_m: float
) -> list[Person]:
    joints = forward(pose, rest_m).points_m[:, :JOINTS]
    quats = quat_from_matrix(pose.local)
    past = [t.previous for t in tracks]
    last = [p.rotations_quat_wxyz if p else q for p, q in zip(past, quats, strict=True)]
    same = (quats * np.array(last)).sum(-1, keepdims=True) >= 0
    quats = np.where(
        same, quats, -quats
    )  # q and -q are the same: no jump for those who interpolate
    lengths = np.linalg.norm(rest_m[:, :JOINTS], axis=-1)
    people = []
    for i, track in enumerate(tracks):
        partial = track.pose.partial
        people.append(
            Person(
                joints2d_px=partial.joints_px,
                joints2d_score=partial.score,
                joints3d_m=joints[i],
                joints3d_score=track.pose.score,
                track_id=track.track_id,
                score=float(partial.person_score),
                rotations_quat_wxyz=quats[i],
                root_m=joints[i, ROOT].copy(),
                bone_lengths_m=lengths[i],
                stature_sd_m=anybody_sd_m if track.stature_sd_m is None else track.stature_sd_m,
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
