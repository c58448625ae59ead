"""Feet that stand stay where they stand: contact of a finished take, and locking by the legs alone.

A point of a foot (ankle, toe) stands while it is slow and, where the floor is known, near it.  It
is put to its mean place of that time and blended in and out.  The leg follows by the law of
cosines: bones keep their length, the knee its bending plane, and only to bring the toe to its place
the leg turns about the line from hip to ankle, because the rig's foot lies in the leg's plane.
Where a straight leg is too short the pelvis comes along.  With a floor nothing of a foot is below.

The camera must stand still.  Do this last, after `smooth_take`: smoothing would loosen the feet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import label

from xnect.calib.floor import Floor
from xnect.errors import BadInput
from xnect.kinematics import Pose, forward, offsets_m
from xnect.recording import Recording
from xnect.rig import JOINTS, RIG, SOLES_M
from xnect.rotations import (
    between,
    cross,
    length,
    matrix_from_quat,
    matrix_from_rotvec,
    quat_from_matrix,
    unit,
)
from xnect.skeleton import BODY, J3D, ROOT
from xnect.smooth import spans

POINTS = tuple(f"{side}_{part}" for side in ("left", "right") for part in SOLES_M)
"""What can stand: left ankle, left foot, right ankle, right foot."""


@dataclass(frozen=True)
class ContactOptions:
    """What counts as standing, and how feet are put; speeds by `benchmarks/smoothing.py`."""

    still_m_s: float = 0.3  # contact begins below this speed
    moving_m_s: float = 0.5  # and ends above this
    near_m: float = 0.05  # the same of the height above where the sole stands, with a floor
    away_m: float = 0.10
    depth_trust: float = 0.4  # of speed along the view: it is known worse than that across
    least_s: float = 0.1  # for which a point must stand
    blend_s: float = 0.1  # before and after
    most_m: float = 0.10  # a point that strays further from its mean place is put anew ...
    drift_m_s: float = 0.20  # ... unless it goes on all along at this speed: then it does not stand
    most_swivel_rad: float = 0.35  # of the leg, to bring the toe to its place
    max_gap_s: float = 0.5  # over which nothing is said

    def __post_init__(self) -> None:
        """Refuse thresholds in the wrong order."""
        if not (0 < self.still_m_s <= self.moving_m_s and 0 <= self.near_m <= self.away_m):
            raise BadInput(
                "contact must end later than it begins: still_m_s <= moving_m_s and near_m <= "
                f"away_m, got {self.still_m_s}, {self.moving_m_s}, {self.near_m}, {self.away_m}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Locked:
    """A take whose feet stand."""

    recording: Recording
    contact: np.ndarray  # (N, 4) bool, of `POINTS`, per row of the recording
    skate_before_mm: float  # per frame during contact; nan without any contact
    skate_mm: float  # the same now


class _Stand(NamedTuple):
    """Rows first..last - 1 of a span in which a point stands, and where."""

    first: int
    last: int
    place_m: np.ndarray  # (3,)


def lock_feet(recording: Recording, options: ContactOptions = ContactOptions()) -> Locked:
    """The take with its feet locked while they stand; people of single pictures are left alone."""
    contact = np.zeros((len(recording.track_id), len(POINTS)), bool)
    columns = {
        name: getattr(recording, name).copy()
        for name in ("root_m", "rotations_quat_wxyz", "joints3d_m", "joints2d_px")
    }
    for track_id in recording.track_ids:
        rows = np.flatnonzero(recording.track_id == track_id)
        time_s = recording.time_s[recording.person_frame[rows]]
        if track_id == 0 or not (np.diff(time_s) > 0).all():
            continue
        for span in spans(time_s, options.max_gap_s):
            if len(rows[span]) > 1:
                contact[rows[span]] = _lock_span(recording, rows[span], columns, options)
    done = replace(recording, **columns)
    return Locked(done, contact, foot_skate_mm(recording, contact), foot_skate_mm(done, contact))


def foot_skate_mm(recording: Recording, contact: np.ndarray) -> float:
    """Mean mm per frame that points of feet move while they stand, (N, 4) bool; nan without any."""
    steps = [np.zeros(0)]
    for track_id in recording.track_ids:
        rows = np.flatnonzero(recording.track_id == track_id)
        points = recording.joints3d_m[rows][:, _FEET].astype(np.float64)
        next_to = np.diff(recording.person_frame[rows]) == 1
        both = contact[rows][1:] & contact[rows][:-1] & next_to[:, None]
        steps.append(length(np.diff(points, axis=0))[..., 0][both])
    together = np.concatenate(steps)
    return float(1000 * together.mean()) if len(together) else float("nan")


def standing(
    time_s: np.ndarray,
    points_m: np.ndarray,
    options: ContactOptions = ContactOptions(),
    *,
    floor: Floor | None = None,
    size: float = 1.0,
) -> np.ndarray:
    """(N,) s, (N, 4, 3) m of `POINTS` -> (N, 4) bool: what stands.  `size` is of the body."""
    if len(time_s) < 2:
        return np.zeros(points_m.shape[:2], bool)
    velocity = np.gradient(points_m, time_s, axis=0)
    ray = unit(points_m)
    along = (velocity * ray).sum(-1, keepdims=True)
    speed = np.hypot(length(velocity - along * ray), options.depth_trust * along)[..., 0]
    begins, holds = speed < options.still_m_s, speed < options.moving_m_s
    if floor is not None:
        height = floor.heights_m(points_m) - size * _SOLES_M
        begins &= height < options.near_m
        holds &= height < options.away_m
    out = np.zeros(begins.shape, bool)
    for k in range(out.shape[1]):
        run, _ = label(holds[:, k])
        for number in np.unique(run[begins[:, k]]):
            inside = np.flatnonzero((run == number) & begins[:, k])
            out[inside[0] : inside[-1] + 1, k] = True
        _drop_short(out[:, k], time_s, options.least_s)
    return out


def _drop_short(stands: np.ndarray, time_s: np.ndarray, least_s: float) -> None:
    """Take out of (N,) bool the runs that last less long."""
    step_s = float(np.median(np.diff(time_s)))
    for first, last in _runs(stands):
        if time_s[last - 1] - time_s[first] + step_s < least_s - 1e-9:
            stands[first:last] = False


def _runs(stands: np.ndarray) -> list[tuple[int, int]]:
    """(N,) bool -> first and last + 1 of its runs."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stands, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


_FEET = np.array([J3D[name] for name in POINTS])
_SOLES_M = np.tile(list(SOLES_M.values()), 2)


def _lock_span(
    recording: Recording, rows: np.ndarray, columns: dict[str, np.ndarray], options: ContactOptions
) -> np.ndarray:
    """Lock the rows of one identity without a gap, in `columns`; (n, 4) bool what stands."""
    frames = recording.person_frame[rows]
    time_s = recording.time_s[frames]
    lengths = recording.bone_lengths_m[rows].astype(np.float64)
    size = float(np.median(lengths.sum(1)) / BODY.lengths_m.sum())
    numbers = np.unique(recording.camera_number[frames])
    floor = recording.cameras[numbers[0]].floor if len(numbers) == 1 else None
    quats = recording.rotations_quat_wxyz[rows].astype(np.float64)
    pose = Pose(recording.root_m[rows].astype(np.float64), matrix_from_quat(quats))
    rest = offsets_m(lengths)
    points = forward(pose, rest).points_m[:, _FEET]
    stands = standing(time_s, points, options, floor=floor, size=size)
    targets = points.copy()
    foot_m = lengths[:, _FEET[1::2]]  # (n, 2) ankle to toe
    for side in (0, 1):
        both = slice(2 * side, 2 * side + 2)
        places = [_stands(time_s, points[:, k], stands[:, k], options) for k in (both.start,
                  both.start + 1)]  # fmt: skip
        targets[:, both] = _planted(
            time_s, points[:, both], places, float(np.median(foot_m[:, side])), floor, size,
            options.blend_s,
        )  # fmt: skip
        stands[:, both] = np.stack([_inside(len(rows), p) for p in places], 1)
    touched = (np.abs(targets - points) > 1e-6).any((1, 2))
    if not touched.any():
        return stands
    pose = _followed(Pose(pose.root_m[touched], pose.local[touched]), rest[touched],
                     targets[touched], floor, size, options)  # fmt: skip
    _write(recording, rows[touched], columns, pose, rest[touched])
    return stands


def _write(
    recording: Recording,
    rows: np.ndarray,
    columns: dict[str, np.ndarray],
    pose: Pose,
    rest_m: np.ndarray,
) -> None:
    points = forward(pose, rest_m).points_m
    quats = quat_from_matrix(pose.local)
    same = (quats * columns["rotations_quat_wxyz"][rows]).sum(-1, keepdims=True) >= 0
    columns["rotations_quat_wxyz"][rows] = np.where(same, quats, -quats)
    columns["root_m"][rows] = pose.root_m
    columns["joints3d_m"][rows] = points[:, :JOINTS]
    for k in np.flatnonzero(recording.filled[rows]):  # what was seen stays as it was seen
        camera = recording.cameras[recording.camera_number[recording.person_frame[rows[k]]]]
        columns["joints2d_px"][rows[k]] = camera.project(points[k, RIG.seen])


def _stands(
    time_s: np.ndarray, point_m: np.ndarray, stands: np.ndarray, options: ContactOptions
) -> list[_Stand]:
    """The times in which a point (N, 3) stands, with a break wherever it strays too far.

    What drifts on does not stand, slow as it may be along the view.
    """
    found: list[_Stand] = []
    left = _runs(stands)
    while left:
        first, last = left.pop()
        place = point_m[first:last].mean(0)
        if length(point_m[first:last] - place).max() <= options.most_m:
            found.append(_Stand(first, last, place))
            continue
        if _drift_m_s(time_s[first:last], point_m[first:last]) >= options.drift_m_s:
            continue
        middle = (time_s[first] + time_s[last - 1]) / 2
        inside = np.arange(first, last)
        for half in (inside[time_s[inside] < middle - options.blend_s / 2],
                     inside[time_s[inside] > middle + options.blend_s / 2]):  # fmt: skip
            if len(half) > 1 and time_s[half[-1]] - time_s[half[0]] >= options.least_s:
                left.append((int(half[0]), int(half[-1]) + 1))
    return found


def _drift_m_s(time_s: np.ndarray, point_m: np.ndarray) -> float:
    """Speed of a point (N, 3) that goes one way, as on wheels; 0 where it rather wavers."""
    passed_s, away_m = time_s - time_s.mean(), point_m - point_m.mean(0)
    speed = passed_s @ away_m / max(float(passed_s @ passed_s), 1e-12)
    wavers = ((away_m - passed_s[:, None] * speed) ** 2).sum()
    return float(length(speed)[..., 0]) if wavers < _ONE_WAY * (away_m**2).sum() else 0.0


_ONE_WAY = 0.2  # of the variance: what may be left beside a drift


def _inside(count: int, stands: Sequence[_Stand]) -> np.ndarray:
    """(N,) bool."""
    out = np.zeros(count, bool)
    for stand in stands:
        out[stand.first : stand.last] = True
    return out


def _planted(
    time_s: np.ndarray,
    foot_m: np.ndarray,
    stands: Sequence[Sequence[_Stand]],
    bone_m: float,
    floor: Floor | None,
    size: float,
    blend_s: float,
) -> np.ndarray:
    """(N, 2, 3) m ankle and toe -> where they should be.

    The toe's place rules: the ankle moves on the sphere about it while the toe stands.
    """
    soles = size * _SOLES_M[:2]
    toes = [s._replace(place_m=_raised(s.place_m, floor, soles[1])) for s in stands[1]]
    ankles = []
    for stand in stands[0]:
        place = _raised(stand.place_m, floor, soles[0])
        common = [min(stand.last, t.last) - max(stand.first, t.first) for t in toes]
        if common and max(common) > 0:
            toe = toes[int(np.argmax(common))].place_m
            place = toe + bone_m * unit(place - toe)
        ankles.append(stand._replace(place_m=place))
    shift_a, sure_a = _offsets(time_s, foot_m[:, 0], ankles, blend_s)
    shift_t, sure_t = _offsets(time_s, foot_m[:, 1], toes, blend_s)
    shift_a = shift_a + (1 - sure_a) * shift_t
    ankle = foot_m[:, 0] + shift_a
    toe = foot_m[:, 1] + shift_t + (1 - sure_t) * shift_a
    on_sphere = toe + bone_m * unit(ankle - toe)
    moved = (sure_a > 0) | (sure_t > 0)
    ankle = np.where(moved, ankle + sure_t * (1 - sure_a) * (on_sphere - ankle), ankle)
    return np.stack([_raised(ankle, floor, soles[0]), _raised(toe, floor, soles[1])], 1)


def _raised(point_m: np.ndarray, floor: Floor | None, sole_m: float) -> np.ndarray:
    """(..., 3) m, none lower above the floor than `sole_m`."""
    if floor is None:
        return point_m
    low = np.maximum(sole_m - floor.heights_m(point_m), 0)
    return np.asarray(point_m + low[..., None] * np.array(floor.normal))


def _offsets(
    time_s: np.ndarray, point_m: np.ndarray, stands: Sequence[_Stand], blend_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) m what brings a point to its places, and (N, 1) 0..1 how much it stands."""
    shift, total = np.zeros(point_m.shape), np.zeros((len(point_m), 1))
    inside = _inside(len(point_m), stands)
    for first, last, place in stands:
        off = place - point_m
        off[:first], off[last:] = off[first], off[last - 1]  # what it was at the edges fades
        away_s = np.maximum(time_s[first] - time_s, time_s - time_s[last - 1])
        near = np.clip(1 - away_s / max(blend_s, 1e-9), 0, 1)
        share = near**2 * (3 - 2 * near)
        share[inside] = 0  # another place holds
        share[first:last] = 1
        shift += share[:, None] * off
        total += share[:, None]
    return shift / np.maximum(total, 1), np.minimum(total, 1)


def _followed(
    pose: Pose,
    rest_m: np.ndarray,
    targets_m: np.ndarray,
    floor: Floor | None,
    size: float,
    options: ContactOptions,
) -> Pose:
    """The poses with ankles and toes at (N, 4, 3) m, as far as the legs go."""
    pose = Pose(_within_reach(pose, rest_m, targets_m), pose.local)
    for _ in range(1 if floor is None else 3):
        for side in (0, 1):
            pose = _leg(pose, rest_m, targets_m[:, 2 * side : 2 * side + 2], side, options)
        if floor is None:
            break
        found = forward(pose, rest_m).points_m[:, _FEET]
        low = np.maximum(size * _SOLES_M - floor.heights_m(found), 0).reshape(-1, 2, 2).max(-1)
        if low.max() < 1e-6:
            break
        targets_m = targets_m + np.repeat(low, 2, 1)[..., None] * np.array(floor.normal)
    return pose


_LEGS = [[J3D[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")]
         for side in ("left", "right")]  # fmt: skip
_KNEE_RAD = RIG.upper_rad[-len(RIG.hinges) :][list(RIG.hinges).index(J3D["left_knee"])]
_ANKLE_RAD = tuple(
    bound[-len(RIG.hinges) :][list(RIG.hinges).index(J3D["left_ankle"])]
    for bound in (RIG.lower_rad, RIG.upper_rad)
)


def _within_reach(pose: Pose, rest_m: np.ndarray, targets_m: np.ndarray) -> np.ndarray:
    """(N, 3) m roots from which straight legs reach the ankles."""
    root, turned = pose.root_m.copy(), pose.local[:, ROOT]
    for _ in range(8):  # alternating projections on two spheres
        for side, (hip, knee, ankle, _) in enumerate(_LEGS):
            hip_m = root + (turned @ rest_m[:, hip, :, None])[..., 0]
            way = targets_m[:, 2 * side] - hip_m
            far = length(way) - length(rest_m[:, knee]) - length(rest_m[:, ankle])
            root = root + np.maximum(far, 0) * unit(way)
    return root


def _leg(
    pose: Pose, rest_m: np.ndarray, target_m: np.ndarray, side: int, options: ContactOptions
) -> Pose:
    """One leg of the poses brought to (N, 2, 3) m of ankle and toe."""
    hip, knee, ankle, foot = _LEGS[side]
    local = pose.local.copy()
    pelvis = local[:, ROOT]
    hip_m = pose.root_m + (pelvis @ rest_m[:, hip, :, None])[..., 0]
    thigh, shank = length(rest_m[:, knee]), length(rest_m[:, ankle])
    way = target_m[:, 0] - hip_m
    square = (way**2).sum(-1, keepdims=True)
    bend = np.arccos(np.clip((square - thigh**2 - shank**2) / (2 * thigh * shank), -1, 1))
    bend = np.clip(bend, 0, _KNEE_RAD)
    local[:, knee] = _about_x(bend[:, 0])
    thigh_turned = pelvis @ local[:, hip]
    reach = thigh_turned @ (rest_m[:, knee, :, None] + local[:, knee] @ rest_m[:, ankle, :, None])
    thigh_turned = between(reach[..., 0], way) @ thigh_turned

    axis = unit(way)
    foot_way = target_m[:, 1] - target_m[:, 0]
    now = (thigh_turned @ local[:, knee] @ local[:, ankle] @ rest_m[:, foot, :, None])[..., 0]
    side_now, side_then = (v - (v * axis).sum(-1, keepdims=True) * axis for v in (now, foot_way))
    sine = (axis * cross(side_now, side_then)).sum(-1)
    swivel = np.arctan2(sine, (side_now * side_then).sum(-1))
    # a foot along the leg has no heading
    clear = np.clip(length(side_then) / length(rest_m[:, foot]) * 4 - 1, 0, 1)[:, 0]
    most = options.most_swivel_rad
    swivel = np.clip(swivel, -most, most) * clear
    thigh_turned = matrix_from_rotvec(axis * swivel[:, None]) @ thigh_turned
    local[:, hip] = pelvis.swapaxes(-1, -2) @ thigh_turned
    shank_turned = thigh_turned @ local[:, knee]
    there = (shank_turned.swapaxes(-1, -2) @ foot_way[..., None])[..., 0]
    at_rest = rest_m[:, foot]
    pitch = np.arctan2(there[:, 2], there[:, 1]) - np.arctan2(at_rest[:, 2], at_rest[:, 1])
    pitch = (pitch + np.pi) % (2 * np.pi) - np.pi
    local[:, ankle] = _about_x(np.clip(pitch, *_ANKLE_RAD))
    return Pose(pose.root_m, local)


def _about_x(angle_rad: np.ndarray) -> np.ndarray:
    """(N,) rad -> (N, 3, 3)."""
    return matrix_from_rotvec(angle_rad[:, None] * (1.0, 0.0, 0.0))
