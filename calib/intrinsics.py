"""Corners of a board in several pictures -> focal lengths, principal point and distortion.

Zhang's method (PAMI 2000) as OpenCV has it, with what must be watched around it: pictures that say
the same again are left out, pictures that do not fit are rejected by name, and a set that cannot
tell the focal length is refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .board import Board, View
from .camera import Camera
from .coverage import covered, missing_parts
from .errors import CannotCalibrate

MIN_VIEWS = 5
MAX_VIEWS = 60
SAME_VIEW = 0.02
"""Views whose corners differ less than this share of the diagonal, in the mean, are one."""

MIN_TURN_RAD = math.radians(12)
"""Between the two most different views; parallel boards do not tell the focal length."""

MAX_FOCAL_SD = 0.02
"""Largest standard deviation of the focal length, as a share of it."""

OUTLIER = 3.0
"""A view whose error is this many times the median of the others is rejected."""

OUTLIER_PX = 0.5
"""... but not while its error is below this."""


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """A camera from V views of a board."""

    camera: Camera
    error_px: float  # root mean square over the used views
    view_error_px: np.ndarray  # (V,) of each view; nan where it was not fitted
    used: np.ndarray  # (V,) bool
    reasons: tuple[str, ...]  # (V,) why a view was not used, empty where it was
    coverage: float  # share of the picture over which the board was held
    missing: tuple[str, ...]  # parts of the picture that were not covered
    fx_sd_px: float  # standard deviations
    fy_sd_px: float


@dataclass(frozen=True, eq=False)
class _Fit:
    error_px: float
    matrix: np.ndarray  # (3, 3)
    dist: np.ndarray  # (5,)
    rotations_rad: np.ndarray  # (V, 3) rotation vectors: camera from board
    view_error_px: np.ndarray  # (V,)
    sd: np.ndarray  # (>= 9,) of fx fy cx cy k1 k2 p1 p2 k3


def calibrate(views: Sequence[View], board: Board) -> Intrinsics:
    """The camera that has seen the board in these views.

    Raises:
        CannotCalibrate: views of several sizes, too few or too similar ones, or ones that no
            camera can have taken of this board.
    """
    sizes = sorted({view.hw for view in views})
    if len(sizes) > 1:
        said = ", ".join(f"{w}x{h}" for h, w in sizes)
        raise CannotCalibrate(f"the pictures have several sizes ({said}); give those of one camera")
    _check_count(len(views), "the board was found in")
    reasons = [""] * len(views)
    different = _different(views)
    for i in set(range(len(views))) - set(different):
        reasons[i] = "the same view as another one"
    if len(different) < MIN_VIEWS:
        raise CannotCalibrate(
            f"only {len(different)} of {len(views)} pictures differ, {MIN_VIEWS} are needed; "
            "move and tilt the board between them"
        )
    kept, fit = _without_outliers(views, board, different, reasons)
    _check_fit(fit, views[0].hw, len(kept))
    errors = np.full(len(views), np.nan)
    errors[kept] = fit.view_error_px
    rejected = [i for i in different if i not in kept]
    for i in rejected:
        errors[i] = _error_px(views[i], board, fit)
    used = np.zeros(len(views), bool)
    used[kept] = True
    mask = covered([views[i] for i in kept])
    height, width = views[0].hw
    matrix = fit.matrix
    dist = tuple(float(k) for k in (fit.dist if fit.dist[4] else fit.dist[:4]))
    camera = Camera(
        float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]),
        width, height, dist,
    )  # fmt: skip
    return Intrinsics(
        camera, fit.error_px, errors, used, tuple(reasons), float(mask.mean()),
        missing_parts(mask), float(fit.sd[0]), float(fit.sd[1]),
    )  # fmt: skip


def view_distance(a: View, b: View) -> float:
    """How far the corners that both views show lie apart, in the mean, over the diagonal; inf
    where they show none in common.

    A chessboard turned by half a turn looks the same: its corners are compared both ways.
    """
    _, in_a, in_b = np.intersect1d(a.number, b.number, return_indices=True)
    if not len(in_a):
        return math.inf
    first, second = a.corners_px[in_a], b.corners_px[in_b]
    away = np.linalg.norm(first - second, axis=1).mean()
    if len(in_a) == len(a.number) == len(b.number):
        away = min(away, np.linalg.norm(first - second[::-1], axis=1).mean())
    return float(away) / math.hypot(*a.hw)


def is_new(view: View, others: Sequence[View]) -> bool:
    """Whether the view says something that the others do not."""
    return all(view_distance(view, other) > SAME_VIEW for other in others)


def _different(views: Sequence[View]) -> list[int]:
    """Numbers of views that differ from each other, at most `MAX_VIEWS`, spread over all."""
    chosen: list[int] = []
    for i, view in enumerate(views):
        if is_new(view, [views[j] for j in chosen]):
            chosen.append(i)
    if len(chosen) > MAX_VIEWS:
        chosen = [chosen[round(i)] for i in np.linspace(0, len(chosen) - 1, MAX_VIEWS)]
    return chosen


def _without_outliers(
    views: Sequence[View], board: Board, chosen: list[int], reasons: list[str]
) -> tuple[list[int], _Fit]:
    """The views that fit each other, and their fit; the worst one goes first, until none is."""
    kept = list(chosen)
    while True:
        fit = _fit([views[i] for i in kept], board)
        worst = int(fit.view_error_px.argmax())
        others = float(np.median(np.delete(fit.view_error_px, worst)))
        if fit.view_error_px[worst] <= max(OUTLIER_PX, OUTLIER * others):
            return kept, fit
        reasons[kept[worst]] = (
            f"does not fit: {fit.view_error_px[worst]:.2f} px, the others {others:.2f} px"
        )
        kept.pop(worst)
        _check_count(len(kept), "after rejecting those that do not fit, the board is left in")


def _fit(views: Sequence[View], board: Board) -> _Fit:
    """Least squares over all corners; k3 only where the pictures tell it."""
    import cv2

    plain = _opencv_fit(views, board, cv2.CALIB_FIX_K3)
    if len(views) < 2 * MIN_VIEWS:
        return plain
    more = _opencv_fit(views, board, 0)
    told = abs(more.dist[4]) > 5 * more.sd[8] and more.error_px < 0.95 * plain.error_px
    return more if told else plain


def _opencv_fit(views: Sequence[View], board: Board, flags: int) -> _Fit:
    import cv2

    places = board.corners_m.astype(np.float32)
    height, width = views[0].hw
    guess = Camera.guess(height, width).matrix
    try:
        error, matrix, dist, rotations, _, sd, _, view_error = cv2.calibrateCameraExtended(
            [places[view.number] for view in views],
            [view.corners_px.astype(np.float32) for view in views],
            (width, height), guess, np.zeros(5), flags=flags,
        )  # fmt: skip
    except cv2.error as failed:
        raise CannotCalibrate(
            "these pictures do not determine a camera; tilt the board by 20 to 45 degrees, "
            "in several directions"
        ) from failed
    return _Fit(
        float(error), np.asarray(matrix), np.ravel(dist)[:5],
        np.array([np.ravel(r) for r in rotations]), np.ravel(view_error), np.ravel(sd),
    )  # fmt: skip


def _error_px(view: View, board: Board, fit: _Fit) -> float:
    """Root mean square error of one more view under a fitted camera."""
    import cv2

    places = board.corners_m[view.number]
    _, turn, shift = cv2.solvePnP(places, view.corners_px, fit.matrix, fit.dist)
    seen, _ = cv2.projectPoints(places, turn, shift, fit.matrix, fit.dist)
    return float(np.sqrt(((seen.reshape(-1, 2) - view.corners_px) ** 2).sum(1).mean()))


def _check_count(count: int, found: str) -> None:
    if count < MIN_VIEWS:
        raise CannotCalibrate(
            f"{found} {count} pictures, at least {MIN_VIEWS} are needed, better 15, each with the "
            "board in another place and at another angle"
        )


def _check_fit(fit: _Fit, hw: tuple[int, int], count: int) -> None:
    """Refuse a fit that cannot be trusted."""
    import cv2

    normals = np.array([cv2.Rodrigues(r)[0][:, 2] for r in fit.rotations_rad])  # (V, 3)
    turn = float(np.arccos(np.clip(normals @ normals.T, -1, 1)).max())
    if turn < MIN_TURN_RAD:
        raise CannotCalibrate(
            f"the board was held at the same angle in all {count} pictures (they differ by "
            f"{math.degrees(turn):.0f} degrees); tilt it by 20 to 45 degrees"
        )
    if not np.isfinite([fit.error_px, *fit.matrix.ravel(), *fit.dist]).all():
        raise CannotCalibrate("these pictures do not determine a camera; take others")
    if fit.error_px > max(hw) / 800:
        raise CannotCalibrate(
            f"no camera fits these pictures (error {fit.error_px:.1f} px); is the board flat, and "
            "were zoom and focus left alone?"
        )
    focal = float(fit.matrix[0, 0])
    if fit.sd[0] > MAX_FOCAL_SD * focal:
        raise CannotCalibrate(
            f"the focal length stays uncertain ({focal:.0f} ± {fit.sd[0]:.0f} px); tilt the board "
            "more, and bring it nearer"
        )
