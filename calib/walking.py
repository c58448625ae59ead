"""Focal length, tilt and height of a camera from people who walk upright before it.

Somebody of stature h stands at a point X of the floor (normal n, camera at height d above it): the
foot is seen at the projection of X, the head at that of X + h n.  Heads lean apart from feet by how
much the camera looks down and by its focal length together; how tall people seem, near and far,
tells the horizon.  Only both give the focal length: people at one distance, or a camera that looks
level (then any focal length fits), leave it open, and that is refused (compare Lv, Zhao and
Nevatia, PAMI 2006).

Nonlinear least squares over (log f, tilt, roll, log d, log h of each person) with Cauchy loss.  All
but the common scale follows from the picture; a prior on stature holds it meanwhile.  Then it is
that of the people who may be grown-ups when the others are children, as in `feet`.  Lens distortion
is not modelled, and the principal point is the middle of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .errors import CannotCalibrate
from .feet import camera_height
from .floor import FloorFit, floor_of

MAX_FOCAL_SD = 0.15
"""Largest standard deviation of the focal length, as a share of it; above that it is refused."""

MIN_ROWS = 12
MAX_ROWS = 300
MIN_NOISE_PX = 0.5
STATURE_SD = 0.06
ROLL_SD_RAD = math.radians(4)
STEP_S = 0.5
"""Rows of one person nearer in time than this say the same."""

SAME_DEPTH = 1.35
"""Least ratio of people's farthest distance to the nearest: below it, how they lean and step says
more about the focal length than the picture does, and says it wrongly."""

LEVEL_RAD = math.radians(6)
_FOCALS = (0.5, 0.8, 1.2, 1.8, 2.8)  # over the longer side
_TILTS = (-0.1, 0.0, 0.12, 0.25, 0.45, 0.7, 1.0)
_HEIGHTS = (0.4, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)  # of the camera, over stature
_FOCAL_RANGE = (0.3, 8.0)


@dataclass(frozen=True, eq=False)
class Walkers:
    """N rows, one for each person and frame in which a person stands or walks upright."""

    time_s: np.ndarray  # (N,)
    person: np.ndarray  # (N,) whole numbers
    top_px: np.ndarray  # (N, 2) a point of the head or trunk
    foot_px: np.ndarray  # (N, 2) a point between the feet
    top: float = 1.0  # height of `top_px` over stature
    foot: float = 0.0  # height of `foot_px` over stature


@dataclass(frozen=True, eq=False)
class WalkingFit:
    """A camera and its floor from people, and how well they are known."""

    camera: Camera  # with the floor
    floor: FloorFit
    focal_sd_px: float
    statures_m: np.ndarray  # (P,) by number of the person, ascending
    depths: tuple[float, float]  # nearest and farthest distance of people in m (5 and 95 %)
    error_px: float  # typical distance between a head and where it should be
    count: int  # rows used


def camera_from_walking(
    walkers: Walkers, *, height_px: int, width_px: int, stature_m: float = 1.70
) -> WalkingFit:
    """The camera before which these people walk.

    Args:
        walkers: rows that are not finite are left out.
        height_px: of the picture.
        width_px: of the picture.
        stature_m: mean of grown-ups; all distances scale with it, the focal length does not.

    Raises:
        CannotCalibrate: too few rows, or people and camera stand so that the focal length cannot
            be told; the text says which.
    """
    top, foot, who = _thinned(walkers)
    if len(top) < MIN_ROWS:
        raise CannotCalibrate(
            f"upright people are seen in {len(top)} moments, at least {MIN_ROWS} are needed"
        )
    size = max(height_px, width_px)
    centre = np.array(((width_px - 1) / 2, (height_px - 1) / 2))
    problem = _Problem(
        (top - centre) / size, (foot - centre) / size, who, walkers.top, walkers.foot
    )
    values, noise = _solve(problem, size)
    sd_log_focal, sd_tilt, sd_log_height = _deviations(problem, values, noise)
    values, sd_log_scale = _scaled(problem, values, noise)
    focal, tilt = math.exp(values[0]), float(values[1])
    depth = problem.depths(values) * stature_m
    near, far = (float(v) for v in np.percentile(depth, (5, 95)))
    at_edge = not _FOCAL_RANGE[0] * 1.02 < focal < _FOCAL_RANGE[1] * 0.98
    if at_edge or sd_log_focal > MAX_FOCAL_SD or far < SAME_DEPTH * near:
        raise CannotCalibrate(_why(near, far, tilt, sd_log_focal))
    distance_m = math.exp(values[3]) * stature_m
    floor = floor_of(_normal(tilt, float(values[2])), distance_m)
    height_sd_m = math.hypot(sd_log_height, sd_log_scale) * distance_m
    fit = FloorFit(floor, sd_tilt, height_sd_m, noise * size, "px", len(top))
    camera = Camera(
        focal * size, focal * size, float(centre[0]), float(centre[1]), width_px, height_px,
        floor=floor,
    )  # fmt: skip
    return WalkingFit(
        camera, fit, sd_log_focal * focal * size, np.exp(values[4:]) * stature_m, (near, far),
        noise * size, len(top),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows in units of the longer side from the middle of the picture; statures near 1."""

    top: np.ndarray  # (N, 2)
    foot: np.ndarray  # (N, 2)
    who: np.ndarray  # (N,) 0 ... P-1
    top_height: float
    foot_height: float

    @property
    def people(self) -> int:
        return int(self.who.max()) + 1

    def depths(self, values: np.ndarray) -> np.ndarray:
        """(N,) of the feet."""
        normal = _normal(values[1], values[2])
        stature = np.exp(values[4:])[self.who]
        ray = np.concatenate([self.foot / math.exp(values[0]), np.ones((len(self.foot), 1))], 1)
        down = np.maximum(-(ray @ normal), 1e-3)  # a foot above the horizon is very far
        return (math.exp(values[3]) - self.foot_height * stature) / down

    def off(self, values: np.ndarray) -> np.ndarray:
        """(N, 2) from each head to where its foot says that it should be."""
        focal, normal = math.exp(values[0]), _normal(values[1], values[2])
        stature = np.exp(values[4:])[self.who]
        ray = np.concatenate([self.foot / focal, np.ones((len(self.foot), 1))], 1)
        long = (self.top_height - self.foot_height) * stature
        head = ray * self.depths(values)[:, None] + long[:, None] * normal
        out: np.ndarray = focal * head[:, :2] / np.maximum(head[:, 2:], 1e-3) - self.top
        return out

    def residuals(self, values: np.ndarray, noise: float) -> np.ndarray:
        """(2 N + 1 + P,) over their standard deviations: heads, roll, statures.

        Both ends of a person are seen with the same noise, hence the root of 2.
        """
        return np.concatenate(
            [
                self.off(values).ravel() / (noise * math.sqrt(2)),
                values[2:3] / ROLL_SD_RAD,
                values[4:] / STATURE_SD,
            ]
        )


def _thinned(walkers: Walkers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heads (N, 2), feet (N, 2) and people (N,) numbered from 0, of rows that say something new."""
    good = np.isfinite(np.concatenate([walkers.top_px, walkers.foot_px], 1)).all(1)
    kept = []
    for person in np.unique(walkers.person[good]):
        rows = np.flatnonzero(good & (walkers.person == person))
        last = -math.inf
        for row in rows[np.argsort(walkers.time_s[rows], kind="stable")]:
            if walkers.time_s[row] - last >= STEP_S:
                kept.append(row)
                last = float(walkers.time_s[row])
    if len(kept) > MAX_ROWS:
        kept = [kept[i] for i in np.linspace(0, len(kept) - 1, MAX_ROWS).astype(int)]
    index = np.array(kept, int)
    _, who = np.unique(walkers.person[index], return_inverse=True)
    return walkers.top_px[index].astype(float), walkers.foot_px[index].astype(float), who


def _solve(problem: _Problem, size: int) -> tuple[np.ndarray, float]:
    """(4 + P,) values, and the noise of a point in units of the longer side."""
    from scipy.optimize import least_squares

    starts = _starts(problem)
    low = np.full(starts.shape[1], -np.inf)
    high = -low
    low[0], high[0] = (math.log(f) for f in _FOCAL_RANGE)
    low[1:3], high[1:3] = -1.4, 1.4
    best, noise = starts[0], 0.01
    least = math.inf
    for start in starts:
        found = least_squares(
            problem.residuals, start, args=(noise,), bounds=(low, high), loss="cauchy", f_scale=2.0,
            x_scale="jac", max_nfev=60,
        )  # fmt: skip
        if found.cost < least:
            best, least = found.x, float(found.cost)
    for _ in range(3):
        off = np.linalg.norm(problem.off(best), axis=1)
        # the median length of a 2D Gaussian is 1.18 sd; both ends are noisy
        noise = max(MIN_NOISE_PX / size, float(np.median(off)) / 1.18 / math.sqrt(2))
        best = least_squares(
            problem.residuals, best, args=(noise,), bounds=(low, high), loss="cauchy", f_scale=2.0,
            x_scale="jac", max_nfev=100,
        ).x  # fmt: skip
    return best, noise


def _starts(problem: _Problem, count: int = 3) -> np.ndarray:
    """(count, 4 + P) the best of a grid, with different focal lengths."""
    found = []
    for focal in _FOCALS:
        tried = []
        for tilt in _TILTS:
            for height in _HEIGHTS:
                values = np.zeros(4 + problem.people)
                values[:4] = math.log(focal), tilt, 0.0, math.log(height)
                off = np.linalg.norm(problem.off(values), axis=1)
                tried.append((float(np.median(off)), values))
        found.append(min(tried, key=lambda pair: pair[0]))
    found.sort(key=lambda pair: pair[0])
    return np.stack([values for _, values in found[:count]])


def _deviations(problem: _Problem, values: np.ndarray, noise: float) -> tuple[float, float, float]:
    """Standard deviations of log f, of the normal (rad), and of log d against people's statures."""
    step = 1e-5
    middle = problem.residuals(values, noise)
    jacobian = np.stack(
        [
            (problem.residuals(values + step * e, noise) - middle) / step
            for e in np.eye(len(values))
        ],
        1,
    )
    trust = 1 / (1 + (middle / 2.0) ** 2)
    precision = jacobian.T @ (trust[:, None] * jacobian)
    covariance = np.linalg.pinv(precision, hermitian=True)
    sd = np.sqrt(np.maximum(np.diag(covariance), 0))
    ratio = np.r_[0, 0, 0, 1, np.full(problem.people, -1 / problem.people)]
    return float(sd[0]), float(max(sd[1], sd[2])), math.sqrt(max(ratio @ covariance @ ratio, 0.0))


def _scaled(problem: _Problem, values: np.ndarray, noise: float) -> tuple[np.ndarray, float]:
    """(4 + P,) values at the scale of grown-ups, and the standard deviation of its logarithm."""
    long = float(np.median(np.linalg.norm(problem.top - problem.foot, axis=1)))
    share = math.sqrt(2) * noise / max(long, noise)
    distance = np.exp(values[3] - values[4:])
    height, sd = camera_height(distance, np.bincount(problem.who), share, STATURE_SD)
    scaled = values.copy()
    scaled[3:] += math.log(height) - values[3]
    return scaled, sd / height


def _why(near_m: float, far_m: float, tilt_rad: float, sd: float) -> str:
    """The reason for which the focal length cannot be told from these people."""
    start = "the focal length cannot be told from these people: "
    if far_m < SAME_DEPTH * near_m:
        return start + (
            f"they all stand at about the same distance ({near_m:.1f} to {far_m:.1f} m); "
            "let them walk towards the camera and away, or use a board"
        )
    if abs(tilt_rad) < LEVEL_RAD:
        return start + (
            f"the camera looks level ({math.degrees(tilt_rad):.0f} degrees down), where any focal "
            "length fits; tilt it down by 10 degrees or more, or use a board"
        )
    return start + (
        f"it stays uncertain by {100 * sd:.0f} %; let more people walk through the whole picture, "
        "or use a board"
    )


def _normal(tilt_rad: float, roll_rad: float) -> np.ndarray:
    """(3,) up, in the axes of a camera that looks down by the tilt and is rolled clockwise."""
    level = math.cos(tilt_rad)
    return np.array((-math.sin(roll_rad) * level, -math.cos(roll_rad) * level, -math.sin(tilt_rad)))
