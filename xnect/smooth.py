"""A whole take smoothed without delay, once it is known to its end.

Every identity by itself: the root's path and the rotation of each joint are the smoothest ones near
what was fitted (`whittaker`), frames that lie far off hardly count, the bones are the medians of
the take, and the joints follow by forward kinematics.  So bones stay constant and hinges hinges.

Rotations are smoothed along themselves: the path of the estimate is unrolled into a plane, turn by
turn, the measured rotations are laid beside it, smoothed there and rolled back (Jupp & Kent 1987).
A joint that turns at a constant rate is reproduced exactly.

Where an identity is missing for no longer than `max_gap_s`, the same solve fills it in and the rows
are marked `filled`.  A row in which no 2D joint was seen (the live system holds the last pose for
0.2 s) is no measurement: it is filled like a missing one, or dropped where the gap is longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from xnect.errors import BadInput
from xnect.kinematics import Pose, anatomical, forward, offsets_m
from xnect.recording import PERSON_ROW, Recording
from xnect.resizing import same_shape, scaled_points
from xnect.rig import JOINTS, RIG
from xnect.rotations import (
    length,
    matrix_from_quat,
    matrix_from_rotvec,
    quat_from_matrix,
    rotvec_from_matrix,
    unit,
)
from xnect.skeleton import BODY
from xnect.whittaker import smoothed


@dataclass(frozen=True)
class SmoothOptions:
    """How smooth, how robust, how long a gap may be.  Frequencies are halved, higher ones vanish.

    Measured by `benchmarks/smoothing.py`.
    """

    root_hz: float = 3.0
    depth_trust: float = 0.01  # weight of the root's depth against its place across the view
    turn_hz: float = 2.6  # of rotations
    calm_rad_s: float = 2.5  # of a joint that turns faster more is kept, so that it keeps its size:
    agile_hz: float = 1.2  # so much for each rad/s
    most_turn_hz: float = 4.7  # and no more
    image_hz: float = 6.0  # of 2D joints
    order: int = 3  # of the derivative that is kept small; of the root's path 2 at most
    max_gap_s: float = 0.5
    robust: float = 1.6  # spreads from the path at which a row counts a quarter
    rounds: int = 4  # of re-weighting

    def __post_init__(self) -> None:
        """Refuse what no solve can do."""
        for name in ("root_hz", "depth_trust", "turn_hz", "most_turn_hz", "image_hz", "robust"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name} must be a positive number, got {getattr(self, name)}")
        if self.order not in (1, 2, 3) or self.rounds < 1 or not self.max_gap_s >= 0:
            raise BadInput(
                "order must be 1, 2 or 3, rounds 1 or more and max_gap_s 0 or more, got "
                f"{self.order}, {self.rounds} and {self.max_gap_s}"
            )


_TRUST = 0.02  # weight of a joint of score 0 against one of score 1: it is the fit's guess
_FADE_S = 0.2  # scores of filled rows fall by e in this time
_PILOT_HZ = 5.0  # of the path by which speeds are found
_AROUND_S = 0.3  # before and after a row, over which a joint's speed is measured
_LEAST_M, _LEAST_DEPTH_M, _LEAST_RAD, _LEAST_PX = 2e-3, 5e-3, 5e-3, 0.5
"""Spreads that count as none: nearer to the path than a few of these nothing is an outlier."""


def smooth_take(recording: Recording, options: SmoothOptions = SmoothOptions()) -> Recording:
    """The take with smooth motion, constant bones and short gaps filled; frames as they were.

    People of single pictures (`track_id` 0) are left as they are.

    Raises:
        BadInput: times that do not increase, a body of other joints, or one identity twice in a
            frame.
    """
    _check(recording)
    tables = [(recording.person_frame[keep := recording.track_id == 0], _table(recording, keep))]
    for track_id in recording.track_ids:
        if track_id != 0:
            tables += _smooth_identity(recording, np.flatnonzero(recording.track_id == track_id),
                                       options)  # fmt: skip
    frames = np.concatenate([f for f, _ in tables])
    table = np.concatenate([t for _, t in tables])
    order = np.lexsort((table["track_id"], frames))
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(table[name][order]) for name in PERSON_ROW.names or ()
    }
    filled = int(table["filled"].sum())
    note = f"smoothed as a whole, without delay; {filled} rows of people not seen are filled in"
    return replace(recording, person_frame=frames[order], notes=(*recording.notes, note), **columns)


def _check(recording: Recording) -> None:
    steps = np.diff(recording.time_s)
    if not (np.isfinite(recording.time_s).all() and (steps > 0).all()):
        at = int(np.flatnonzero(~(steps > 0))[0]) + 1 if (~(steps > 0)).any() else 0
        raise BadInput(
            f"times must increase to be smoothed; frame {at} of the recording is at "
            f"{recording.time_s[at]} s after {recording.time_s[max(at - 1, 0)]} s"
        )
    if (recording.skeleton.names, recording.skeleton.parents) != (BODY.names, BODY.parents):
        raise BadInput("this recording has another skeleton than this xnect; it cannot be smoothed")
    off_m = np.abs(recording.skeleton.offsets_m - BODY.offsets_m).max()
    if off_m > 1e-3:
        raise BadInput(
            f"the rest pose of this recording's skeleton differs from this xnect's by "
            f"{off_m * 1e3:.0f} mm; an older version made it: process the video again"
        )
    who = np.stack([recording.person_frame, recording.track_id])[:, recording.track_id != 0]
    pairs, count = np.unique(who, axis=1, return_counts=True)
    if (count > 1).any():
        frame, track_id = pairs[:, count > 1][:, 0]
        raise BadInput(f"person {track_id} is in frame {frame} of the recording more than once")


def _table(recording: Recording, rows: np.ndarray) -> np.ndarray:
    """(n,) PERSON_ROW of some rows."""
    out = np.zeros(len(recording.track_id[rows]), PERSON_ROW)
    for name in PERSON_ROW.names or ():
        out[name] = getattr(recording, name)[rows]
    return out


def _smooth_identity(
    recording: Recording, rows: np.ndarray, options: SmoothOptions
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames and rows of one identity, for each span without a long gap."""
    finite = np.isfinite(recording.rotations_quat_wxyz[rows]).all((1, 2))
    finite &= np.isfinite(recording.root_m[rows]).all(1)
    finite &= np.isfinite(recording.bone_lengths_m[rows]).all(1)
    finite &= np.linalg.norm(recording.rotations_quat_wxyz[rows], axis=-1).min(1) > 0.5
    seen = finite & (recording.joints2d_score[rows] > 0).any(1) & ~recording.filled[rows]
    rows = rows[seen if seen.any() else finite]
    if not len(rows):
        return []
    lengths = np.median(recording.bone_lengths_m[rows].astype(np.float64), 0)
    sd_m = float(np.median(recording.stature_sd_m[rows]))
    time_s = recording.time_s[recording.person_frame[rows]]
    return [
        _smooth_span(recording, rows[span], lengths, sd_m, options)
        for span in spans(time_s, options.max_gap_s)
    ]


def spans(time_s: np.ndarray, max_gap_s: float) -> Iterator[slice]:
    """(N,) s -> the runs between two of which more than `max_gap_s` passed."""
    ends = np.flatnonzero(np.diff(time_s) > max_gap_s + 1e-9) + 1
    for first, last in zip([0, *ends], [*ends, len(time_s)], strict=True):
        yield slice(int(first), int(last))


def _smooth_span(
    recording: Recording,
    rows: np.ndarray,
    lengths_m: np.ndarray,
    stature_sd_m: float,
    options: SmoothOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n,) from the first of the rows to the last, and (n,) PERSON_ROW of them."""
    first, last = recording.person_frame[rows[[0, -1]]]
    frames = np.arange(first, last + 1)
    at = recording.person_frame[rows] - first  # rows -> frames
    time_s = recording.time_s[frames]
    measured = _table(recording, rows)
    score = np.clip(np.nan_to_num(measured["joints3d_score"].astype(np.float64)), 0, 1)
    weight = _TRUST + (1 - _TRUST) * score
    # another size of the body is another depth: about the camera nothing seen changes
    was_m = measured["bone_lengths_m"].astype(np.float64).sum(1, keepdims=True)
    root = measured["root_m"] * np.where(was_m > 0, lengths_m.sum() / np.maximum(was_m, 1e-9), 1)
    root = _smooth_root(time_s, at, root, weight.mean(1), options)
    local = matrix_from_quat(measured["rotations_quat_wxyz"])
    turned = np.stack(
        [
            _smooth_turn(time_s, at, local[:, j], weight[:, _SHOWS[j]].mean(1), options)
            for j in range(JOINTS)
        ],
        1,
    )
    pose = _limited(Pose(root, turned), Pose(root[at], local))

    table = np.zeros(len(frames), PERSON_ROW)
    table[at] = measured
    table["track_id"] = measured["track_id"][0]
    table["root_m"], table["bone_lengths_m"] = pose.root_m, lengths_m
    table["stature_sd_m"] = stature_sd_m
    table["rotations_quat_wxyz"] = _continuous(quat_from_matrix(pose.local))
    points = forward(pose, offsets_m(np.repeat(lengths_m[None], len(frames), 0))).points_m
    table["joints3d_m"] = points[:, :JOINTS]
    table["joints2d_px"][at] = _smooth_pixels(
        time_s[at], recording.image_hw[frames[at]], measured, options
    )
    _fill(table, recording, frames, at, points)
    return frames, table


def _fill(
    table: np.ndarray, recording: Recording, frames: np.ndarray, at: np.ndarray, points: np.ndarray
) -> None:
    """What the frames without a measurement say besides the pose."""
    table["filled"] = True
    table["filled"][at] = False
    gaps = np.flatnonzero(table["filled"])
    if not len(gaps):
        return
    time_s = recording.time_s[frames]
    after = np.searchsorted(at, gaps)
    left, right = at[after - 1], at[after]
    away_s = np.minimum(time_s[gaps] - time_s[left], time_s[right] - time_s[gaps])
    fade = np.exp(-away_s / _FADE_S)
    table["score"][gaps] = np.minimum(table["score"][left], table["score"][right]) * fade
    lower = np.minimum(table["joints3d_score"][left], table["joints3d_score"][right])
    table["joints3d_score"][gaps] = lower * fade[:, None]
    for number in np.unique(recording.camera_number[frames[gaps]]):
        there = gaps[recording.camera_number[frames[gaps]] == number]
        table["joints2d_px"][there] = recording.cameras[number].project(points[there][:, RIG.seen])


_SHOWS = [
    np.array([k for k, parent in enumerate(BODY.parents) if parent == j] or [j])
    for j in range(JOINTS)
]
"""The joints whose places show how each joint is turned: those that hang on it."""


def _spread(values: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """(n, ...) at rows `at` of `count`, zero elsewhere."""
    out = np.zeros((count, *values.shape[1:]))
    out[at] = values
    return out


def _robust(away: np.ndarray, time_s: np.ndarray, least: float, spreads: float) -> np.ndarray:
    """(n,) distances from the path -> (n,) weights 0..1 (Geman & McClure).

    The spread is the median of the take or of the second around a row, whichever is larger: quick
    motion is no outlier.
    """
    step_s = np.median(np.diff(time_s)) if len(time_s) > 1 else 1.0
    near = median_filter(away, min(2 * round(0.5 / step_s) + 1, 2 * len(away) - 1), mode="nearest")
    spread = np.maximum(1.4826 * np.maximum(near, np.median(away)), least)
    return np.asarray((1 + (away / (spreads * spread)) ** 2) ** -2)


def _smooth_root(
    time_s: np.ndarray,
    at: np.ndarray,
    root_m: np.ndarray,
    weight: np.ndarray,
    options: SmoothOptions,
) -> np.ndarray:
    """(n, 3) m at frames `at` -> (N, 3); across the view and along it have weights of their own."""
    ray = unit(root_m)
    along = ray[:, :, None] * ray[:, None]
    across = np.eye(3) - along
    order = min(options.order, 2)  # 3 would let the depth, which weighs little, wander
    values, count = _spread(root_m, at, len(time_s)), len(time_s)
    good, good_depth = np.ones(len(at)), np.ones(len(at))
    for last in range(options.rounds, -1, -1):
        both = good[:, None, None] * across
        both = both + options.depth_trust * good_depth[:, None, None] * along
        each = _spread(weight[:, None, None] * both, at, count)
        path = smoothed(time_s, values, each, cutoff_hz=options.root_hz, order=order)
        if last:
            off = root_m - path[at]
            depth = (off * ray).sum(1)
            side = length(off - depth[:, None] * ray)[:, 0]
            good = _robust(side, time_s[at], _LEAST_M, options.robust)
            good_depth = _robust(np.abs(depth), time_s[at], _LEAST_DEPTH_M, options.robust)
    return path


def _smooth_turn(
    time_s: np.ndarray,
    at: np.ndarray,
    rotation: np.ndarray,
    weight: np.ndarray,
    options: SmoothOptions,
) -> np.ndarray:
    """(n, 3, 3) at frames `at` -> (N, 3, 3)."""
    count = len(time_s)
    if np.abs(rotation - rotation[0]).max() < 1e-9:
        return np.repeat(rotation[:1], count, 0)
    quat = quat_from_matrix(rotation)
    # q and -q are one rotation and have one product: the first path is that of the products
    products = _spread((quat[:, :, None] * quat[:, None]).reshape(-1, 16), at, count)
    good = np.ones(len(at))

    def solve(values: np.ndarray, hz: float | np.ndarray) -> np.ndarray:
        each = _spread(weight * good, at, count)
        return smoothed(time_s, values, each, cutoff_hz=hz, order=options.order)

    hz: float | np.ndarray = _PILOT_HZ
    for first in range(options.rounds + 1):
        _, vectors = np.linalg.eigh(solve(products, hz).reshape(-1, 4, 4))
        path = matrix_from_quat(vectors[..., -1])
        if not first:
            hz = _agile_hz(time_s, path, options)
            continue
        beside = rotvec_from_matrix(path[at].swapaxes(-1, -2) @ rotation)
        good = _robust(length(beside)[:, 0], time_s[at], _LEAST_RAD, options.robust)
    for _ in range(2):
        turns = rotvec_from_matrix(path[:-1].swapaxes(-1, -2) @ path[1:])
        unrolled = np.concatenate([np.zeros((1, 3)), np.cumsum(turns, 0)])
        beside = rotvec_from_matrix(path[at].swapaxes(-1, -2) @ rotation)
        found = solve(_spread(unrolled[at] + beside, at, count), hz)
        path = path @ matrix_from_rotvec(found - unrolled)
    return path


def _agile_hz(time_s: np.ndarray, path: np.ndarray, options: SmoothOptions) -> np.ndarray:
    """(N, 3, 3) -> (N,) Hz: what is kept of a joint's motion, more where it turns quickly.

    As in the 1-euro filter, but by the speed before and after a row, and by its median: what jumps
    away for some frames and comes back is no motion.
    """
    if len(time_s) < 2:
        return np.full(len(time_s), options.turn_hz)
    step_s = np.diff(time_s)
    rad_s = length(rotvec_from_matrix(path[:-1].swapaxes(-1, -2) @ path[1:]))[:, 0] / step_s
    rad_s = (np.append(rad_s[:1], rad_s) + np.append(rad_s, rad_s[-1:])) / 2
    rows = round(_AROUND_S / float(np.median(step_s)))
    usual = median_filter(rad_s, min(2 * rows + 1, 2 * len(rad_s) - 1), mode="nearest")
    usual = gaussian_filter1d(usual, max(rows / 3, 0.5), mode="nearest")
    quick = np.maximum(usual - options.calm_rad_s, 0)
    return np.asarray(np.minimum(options.turn_hz + options.agile_hz * quick, options.most_turn_hz))


def _smooth_pixels(
    time_s: np.ndarray, image_hw: np.ndarray, measured: np.ndarray, options: SmoothOptions
) -> np.ndarray:
    """(n, 18, 2) px: each 2D joint while it is seen; elsewhere as it was.

    Pictures may change their size, (n, 2): paths are those in the largest of one shape, and begin
    anew at another shape.
    """
    pixels = measured["joints2d_px"].astype(np.float64)
    score = measured["joints2d_score"].astype(np.float64)
    usable = (score > 0) & np.isfinite(pixels).all(-1)
    shape = np.append(0, np.cumsum(~same_shape(image_hw[:-1], image_hw[1:])))  # its number
    begins = np.flatnonzero(np.diff(shape, prepend=-1))
    scale = (np.maximum.reduceat(image_hw, begins)[shape] / image_hw)[:, ::-1]
    for j in range(pixels.shape[1]):
        rows = np.flatnonzero(usable[:, j])
        for span in spans(time_s[rows], options.max_gap_s) if len(rows) else ():
            for there in np.split(rows[span], np.flatnonzero(np.diff(shape[rows[span]])) + 1):
                seen = scaled_points(pixels[there, j], scale[there])
                good = np.ones(len(there))
                for last in range(options.rounds, -1, -1):
                    path = smoothed(
                        time_s[there], seen, score[there, j] * good,
                        cutoff_hz=options.image_hz, order=options.order,
                    )  # fmt: skip
                    if last:
                        away = length(seen - path)[:, 0]
                        good = _robust(away, time_s[there], _LEAST_PX, options.robust)
                pixels[there, j] = scaled_points(path, 1 / scale[there])
    return pixels


def _limited(pose: Pose, measured: Pose) -> Pose:
    """The poses, no joint further beyond its anatomical limits than it was measured."""
    was, angle = anatomical(measured)[0], anatomical(pose)[0]
    low, high = np.minimum(RIG.lower_rad, was.min(0)), np.maximum(RIG.upper_rad, was.max(0))
    bounded = np.clip(angle, low, high)
    local = pose.local.copy()
    balls = 3 * len(RIG.balls)
    ball = bounded[:, :balls].reshape(len(angle), -1, 3)
    twist = (ball * RIG.bones).sum(-1, keepdims=True) * RIG.bones
    turned = matrix_from_rotvec(ball - twist) @ matrix_from_rotvec(twist)
    beyond = (bounded != angle)[:, :balls].reshape(ball.shape).any(-1)
    local[:, RIG.balls] = np.where(beyond[..., None, None], turned, local[:, RIG.balls])
    hinge = matrix_from_rotvec(bounded[:, balls:, None] * RIG.hinge_axes)
    there = measured.local[:, RIG.hinges]
    exact = matrix_from_rotvec(was[:, balls:, None] * RIG.hinge_axes)
    hinges = np.abs(there - exact).max((0, 2, 3)) < 1e-3  # not those of a foreign recording
    local[:, RIG.hinges[hinges]] = hinge[:, hinges]
    return Pose(pose.root_m, local)


def _continuous(quat_wxyz: np.ndarray) -> np.ndarray:
    """(N, J, 4) with signs so that each is near the one before."""
    dots = (quat_wxyz[1:] * quat_wxyz[:-1]).sum(-1, keepdims=True)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), 0)
    return np.concatenate([quat_wxyz[:1], quat_wxyz[1:] * signs])
