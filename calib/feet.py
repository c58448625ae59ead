"""The floor from people's feet over time.

The lower foot of a person is on the floor most of the time.  The middle of its ankle and its toe
lies at a known height above the sole, so every person-frame gives a point of a plane.  Depth of a
person from one camera is proportional to the stature that was assumed for them: somebody half as
tall as assumed, a child, seems twice as far, and their feet seem to walk on a parallel plane twice
as far below the camera.  So the direction is fitted for all with a distance for each person, and
the camera's height is that of the people who are as tall as assumed, which are the distances
that are least: grown-ups vary by some percent, children only make it more.

Where a foot is seen is exact, how far it is, is not: depth is off by some percent.  For a point
z r at height h above the floor, log(-n . z r) = log(D - h); its derivative by the normal n has no z
in it, so errors of depth do not bend the plane towards the rays as total least squares would.
The fit is iteratively reweighted (Geman-McClure: feet in the air, heels that rise), with the
direction from feet to neck as a weak prior for what a walk along a line leaves open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import CannotCalibrate
from .floor import MAX_TILT_SD_RAD, FloorFit, floor_of

FOOT = (0.0424 + 0.0089) / 2
"""Height of the middle of ankle and toe above the sole over stature: mean of the CC0 MakeHuman
bodies (see `xnect/synth`)."""

MIN_ROWS = 20
MIN_TRACK_S = 1.0
"""Somebody seen for less is left out: fragments and things taken for people."""

MIN_PLACES = 8
"""Of all people together."""

SHARED_M = 0.012
"""Error of a foot's height that all rows at one place have: shoes, feet that are not flat."""

MIN_NOISE_M = 0.003
"""Least error of each row by itself that is believed."""

LEAN_SD_RAD = math.radians(10)
"""How far the mean direction from people's feet to their necks is from upright: they lean, and a
pose from one camera leans more, mostly towards the camera or away."""

STATURE_SD = 0.05
"""Of a grown-up against the stature that was assumed, as a share."""

PLACE_M = 0.5
"""Rows of one person within such a distance are at one place."""

PLACE_DEPTH = 0.08
"""... in depth, which trembles, within this share of it."""

PLACE_S = 0.6
"""... and so is what they do for about a step."""

_ROUNDS = 30


@dataclass(frozen=True, eq=False)
class Feet:
    """N rows, one for each person and frame; camera axes."""

    time_s: np.ndarray  # (N,)
    person: np.ndarray  # (N,) whole numbers
    ankles_m: np.ndarray  # (N, 2, 3) left, right
    toes_m: np.ndarray  # (N, 2, 3)
    necks_m: np.ndarray  # (N, 3)


def floor_from_feet(
    feet: Feet, *, stature_m: float = 1.70, stature_sd: float = STATURE_SD
) -> FloorFit:
    """The floor on which these people stand and walk.

    Args:
        feet: rows that are not finite are left out.
        stature_m: that was assumed of them.
        stature_sd: how wrong that is for a grown-up, as a share; 0 when it was measured.

    Raises:
        CannotCalibrate: too few rows, or feet that lie on no plane.
    """
    flat = [
        part.reshape(len(feet.person), math.prod(part.shape[1:]))  # also of nobody
        for part in (feet.ankles_m, feet.toes_m, feet.necks_m)
    ]
    rows = np.isfinite(np.concatenate(flat, 1)).all(1)
    if rows.sum() < MIN_ROWS:
        raise CannotCalibrate(
            f"feet are seen in {int(rows.sum())} person-frames, at least {MIN_ROWS} are needed; "
            "let people walk about"
        )
    rows = _long_tracks(feet, rows)
    under = 0.75 * feet.ankles_m[rows] + 0.25 * feet.toes_m[rows]  # where the weight is
    tall = feet.necks_m[rows] - under.mean(1)
    tall = tall / np.maximum(np.linalg.norm(tall, axis=1, keepdims=True), 1e-9)
    upright = _unit(np.median(tall, 0))
    rows = _below_camera(feet, rows, upright)
    points = (feet.ankles_m[rows] + feet.toes_m[rows]) / 2  # (N, 2, 3)
    rest = FOOT * stature_m
    people, who = np.unique(feet.person[rows], return_inverse=True)
    place = _places(points, who, feet.time_s[rows])
    if place.max() + 1 < MIN_PLACES:
        raise CannotCalibrate(
            f"people were at {place.max() + 1} places only, at least {MIN_PLACES} are needed; let "
            "them walk about the whole room for ten seconds or more"
        )
    normal, distance, noise, covariance, lever = _plane(points, rest, who, place, upright)
    tilt_sd = float(np.sqrt(np.linalg.eigvalsh(covariance).max()))
    if not np.isfinite(normal).all() or tilt_sd > MAX_TILT_SD_RAD:
        raise CannotCalibrate(
            f"people's feet leave the floor uncertain by {math.degrees(tilt_sd):.0f} degrees; "
            "let them walk about the whole room"
        )
    count = np.array([len(np.unique(place[who == i])) for i in range(len(people))])
    height, height_sd = camera_height(distance, count, noise, stature_sd)
    # an error of the tilt lifts the plane where nobody walks, below the camera
    lever = lever.mean(0)
    height_sd = math.hypot(height_sd, height * math.sqrt(float(lever @ covariance @ lever)))
    return FloorFit(
        floor_of(normal, height), tilt_sd, height_sd, noise * height, "m", round(float(count.sum()))
    )


def _long_tracks(feet: Feet, rows: np.ndarray) -> np.ndarray:
    """(N,) bool: the rows of people who are seen long enough.

    Raises:
        CannotCalibrate: nobody is.
    """
    kept = np.zeros(len(rows), bool)
    for person in np.unique(feet.person[rows]):
        these = rows & (feet.person == person)
        if these.sum() >= MIN_ROWS and np.ptp(feet.time_s[these]) >= MIN_TRACK_S:
            kept |= these
    if not kept.any():
        raise CannotCalibrate(
            f"nobody is seen for {MIN_TRACK_S:g} s without a break; let people walk about"
        )
    return kept


def _below_camera(feet: Feet, rows: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """(N,) bool: the rows of people whose feet are below the camera, not on a balcony or poster.

    Raises:
        CannotCalibrate: most people's are not.
    """
    below_m = -((feet.ankles_m + feet.toes_m) / 2 @ upright)  # (N, 2)
    people = np.unique(feet.person[rows])
    above = [i for i in people if np.median(below_m[rows & (feet.person == i)]) <= 0]
    if 2 * len(above) > len(people):
        raise CannotCalibrate("people's feet are above the camera; is the picture upside-down?")
    return rows & ~np.isin(feet.person, above)


def _places(points: np.ndarray, who: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """(N,) number of the place at which each row is; rows of two people are never at one.

    Where somebody is, is the median over `PLACE_S`: trembling is not walking.
    """
    window = np.floor((time_s - time_s.min()) / PLACE_S)
    _, moment = np.unique(np.stack([who, window], 1), axis=0, return_inverse=True)
    moment = moment.ravel()
    order = np.argsort(moment, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(moment))[:-1])
    middle = np.stack([np.median(points[g].mean(1), 0) for g in groups])  # (M, 3)
    depth = np.log(np.maximum(middle[:, 2], 0.1)) / PLACE_DEPTH
    cell = np.concatenate([middle[:, :2] / PLACE_M, depth[:, None]], 1).round()[moment]
    _, place = np.unique(np.concatenate([who[:, None], cell], 1), axis=0, return_inverse=True)
    number: np.ndarray = place.ravel()
    return number


def _plane(
    points: np.ndarray, rest: float, who: np.ndarray, place: np.ndarray, upright: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """Normal (3,), distances (P,) of people's planes, noise as a share of them, covariance (2, 2).

    The covariance is that of the tilt; the last, (P, 2), is how the log of each distance goes with
    the tilt.
    """
    normal, people = upright, int(who.max()) + 1
    row = np.arange(len(points))
    owner = np.zeros(int(place.max()) + 1, int)  # (Q,) whose place it is
    owner[place] = who
    distance = _median_of(-(points @ normal), who, people)
    noise, covariance, middle = 0.1, np.eye(2), np.zeros((people, 2), np.float64)
    for _ in range(_ROUNDS):
        used = points[row, (points @ normal).argmin(1)]  # (N, 3) the lower foot
        below = np.maximum(-(used @ normal), 1e-3)
        off = np.log(below) - np.log(np.maximum(distance[who] - rest, 1e-3))
        shift = _median_of(off, who, people)
        off = off - shift[who]
        distance = distance * np.exp(shift)
        shared = SHARED_M / float(np.median(distance))
        own = max(MIN_NOISE_M / SHARED_M * shared, 1.4826 * float(np.median(np.abs(off))))
        noise = math.hypot(shared, own)
        basis = _across(normal)
        slope = -(used @ basis) / below[:, None]  # (N, 2) of log(-n . p) by the tilt
        # One value for each place: between the feet of one place lies an error of the pose, not a
        # slope of the floor.
        trust = 1 / (1 + (off / (2.5 * noise)) ** 2) ** 2
        sums = np.bincount(place, trust)
        both = np.column_stack([off, slope])
        mean = np.stack([np.bincount(place, trust * part) for part in both.T], 1) / sums[:, None]
        weight = 1 / (shared**2 + own**2 / np.maximum(sums, 1e-3))  # (Q,)
        total = np.bincount(owner, weight, people)
        summed = np.stack([np.bincount(owner, weight * part, people) for part in mean.T], 1)
        centre = summed / total[:, None]  # (P, 3)
        free = mean - centre[owner]  # the distances of the people are free
        mean_off, middle = centre[:, 0], centre[:, 1:]
        precision = np.einsum("q,qa,qb->ab", weight, free[:, 1:], free[:, 1:])
        pull = np.einsum("q,qa,q->a", weight, free[:, 1:], free[:, 0])
        precision = precision + np.eye(2) / LEAN_SD_RAD**2
        pull = pull + basis.T @ (normal - upright) / LEAN_SD_RAD**2
        covariance = np.linalg.inv(precision)
        step = covariance @ pull
        normal = _unit(normal - basis @ step)
        distance = distance * np.exp(mean_off - middle @ step)
        if np.abs(step).max() < 1e-7:
            break
    return normal, distance, noise, covariance, middle


def camera_height(
    distance_m: np.ndarray, count: np.ndarray, noise: float, stature_sd: float
) -> tuple[float, float]:
    """The camera's height and its standard deviation, from that above each person's own plane.

    A person of k times the assumed stature has the distance height / k.  Grown-ups have k near 1,
    children any k from 0.5 to 1; the height that makes all of them likeliest.  Each of a person's
    `count` rows has a distance with `noise`, as a share.
    """
    wide = max(stature_sd, 0.02)
    k = distance_m[:, None] / distance_m  # (T, P): each one tried as the height
    adult = 0.85 * np.exp(-0.5 * ((k - 1) / wide) ** 2) / (wide * math.sqrt(2 * math.pi))
    child = 0.15 * ((k > 0.5) & (k < 1)) / 0.5
    seen = np.sqrt(count)  # long tracks say more, but not in proportion
    best = int((np.log(adult + child + 1e-9) @ seen).argmax())
    likely = adult[best] / (adult[best] + child[best] + 1e-9)
    weight = likely / (wide**2 + noise**2 / np.maximum(count, 1))
    height = float((weight * distance_m).sum() / weight.sum())
    steady = noise / math.sqrt(max(float((likely * count).sum()), 1.0))
    return height, height * math.hypot(steady, stature_sd / math.sqrt(max(likely.sum(), 1.0)))


def _median_of(values: np.ndarray, who: np.ndarray, people: int) -> np.ndarray:
    """(N,) or (N, 2) -> (P,) median of each person's."""
    return np.array([np.median(values[who == i]) for i in range(people)])


def _across(normal: np.ndarray) -> np.ndarray:
    """(3, 2) two unit vectors at right angles to the normal and to each other."""
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)], 1)


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit
