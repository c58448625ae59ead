"""Corners of a calibration board in one picture, or one sentence about why there are none.

A chessboard is counted in inner corners (9x6 has 10x7 squares), a ChArUco board in squares, both as
OpenCV does.  The board's own axes: x along its columns, y along its rows, in metres, z = 0.

A mirrored ChArUco board is noticed by its markers.  A mirrored chessboard is again a chessboard, so
it cannot be noticed; the intrinsics are then those of the mirrored picture, which is right as long
as the camera goes on mirroring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import CannotCalibrate

KINDS = ("chessboard", "charuco")
DETECT_PX = 1600
"""Chessboards are looked for in a picture whose longer side is at most this, then refined."""

MIN_CORNERS = 6
MIN_MARKERS = 4
GOOD_LAYOUT = 0.7
"""Share of the markers that must lie where the board has them."""


LARGEST_M = 1.0
"""No board has such squares; a larger number is in another unit."""


@dataclass(frozen=True)
class Board:
    """A flat board: `chessboard` of inner corners, or `charuco` of squares with markers.

    Raises:
        CannotCalibrate: a size that no board has.
    """

    kind: str
    columns: int
    rows: int
    square_m: float
    marker_m: float = 0.0  # side of a marker; charuco only
    dictionary: str = "DICT_4X4_50"  # of the markers; charuco only

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CannotCalibrate(f"a board is one of {', '.join(KINDS)}, got {self.kind!r}")
        if min(self.columns, self.rows) < 3 or max(self.columns, self.rows) > 50:
            raise CannotCalibrate(f"a board has 3 to 50 columns and rows, got {self.size}")
        if not (math.isfinite(self.square_m) and 0 < self.square_m < LARGEST_M):
            raise CannotCalibrate(
                f"the side of a square must be in metres, above 0 and below {LARGEST_M:g}, "
                f"got {self.square_m:g} (2.5 cm are 0.025)"
            )
        if self.kind == "charuco":
            if not 0 < self.marker_m < self.square_m:
                raise CannotCalibrate(
                    f"markers must be smaller than the squares of {self.square_m:g} m, "
                    f"got {self.marker_m:g}"
                )
            available = len(_dictionary(self.dictionary).bytesList)
            if available < self.columns * self.rows // 2:
                raise CannotCalibrate(
                    f"a {self.size} board needs {self.columns * self.rows // 2} markers, "
                    f"{self.dictionary} has {available}"
                )

    @property
    def size(self) -> str:
        """Columns and rows, for people."""
        return f"{self.columns}x{self.rows}"

    @property
    def text(self) -> str:
        """The board, for people."""
        return f"{self.kind} {self.size}"

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of corners."""
        less = 1 if self.kind == "charuco" else 0
        return self.columns - less, self.rows - less

    @property
    def corners_m(self) -> np.ndarray:
        """(N, 3) all corners, row by row; chessboard: from the first, charuco: from the edge."""
        columns, rows = self.grid
        y, x = np.mgrid[:rows, :columns]
        start = 1 if self.kind == "charuco" else 0
        flat = np.stack([x + start, y + start, np.zeros_like(x)], -1).reshape(-1, 3)
        return flat * self.square_m


@dataclass(frozen=True, eq=False)
class View:
    """The corners that one picture shows."""

    name: str  # of the picture, for people
    hw: tuple[int, int]
    corners_px: np.ndarray  # (N, 2)
    number: np.ndarray  # (N,) of each corner on the board
    edge_px: float  # how wide the edges of the squares are


def find_board(image: np.ndarray, board: Board, *, name: str = "", thorough: bool = True) -> View:
    """The corners of the board in (H, W, 3) RGB or (H, W) grey.

    Args:
        image: uint8.
        board: what to look for.
        name: of the picture; sentences start with it.
        thorough: look longer, and find out what is there instead; slow where there is no board.

    Raises:
        CannotCalibrate: the board is absent, blurred, mirrored, or another one.
    """
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    find = _find_charuco if board.kind == "charuco" else _find_chessboard
    try:
        corners, number = find(grey, board, thorough)
        edge = edge_px(grey, corners, number, board)
        limit = max(4.0, max(grey.shape) / 500)
        if edge > limit:
            raise CannotCalibrate(
                f"the picture is blurred: edges of the board are {edge:.1f} px wide, at most "
                f"{limit:.1f} px; hold board and camera still, and give more light"
            )
    except CannotCalibrate as error:
        start = f"{name}: " if name else ""
        raise CannotCalibrate(f"{start}{error}") from None
    height, width = grey.shape
    return View(name, (height, width), corners, number, edge)


def edge_px(grey: np.ndarray, corners_px: np.ndarray, number: np.ndarray, board: Board) -> float:
    """Width of the edges between black and white: contrast over steepest slope, in pixels.

    A sharp edge is 1 to 2 px wide, one blurred by a Gaussian of s px about 2.5 s.  Edges in the two
    directions of the board count separately and the worse one is given: motion blurs only one.
    """
    import cv2

    columns, rows = board.grid
    at = np.full((rows * columns, 2), np.nan)
    at[number] = corners_px
    grid = at.reshape(rows, columns, 2)
    step = np.linspace(-0.25, 0.25, 41)
    widths = []
    for ends in ((grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])):
        start, end = (part.reshape(-1, 2) for part in ends)
        there = np.isfinite(start + end).all(1)
        along = (end - start)[there]
        if not len(along):
            continue
        across = along[:, ::-1] * (-1, 1)
        line = ((start + end)[there, None] / 2 + across[:, None] * step[:, None]).astype(np.float32)
        shade = cv2.remap(  # x and y apart: OpenCV 5.0 misreads maps of two channels
            grey, line[..., 0].copy(), line[..., 1].copy(), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).astype(float)  # fmt: skip
        sample_px = np.linalg.norm(across, axis=1) * (step[1] - step[0])
        slope = np.abs(np.diff(shade, axis=1)).max(1) / sample_px
        contrast = np.percentile(shade, 95) - np.percentile(shade, 5)
        widths.append(float(np.median(contrast / np.maximum(slope, 1e-6))))
    return max(widths, default=math.inf)


def _find_chessboard(
    grey: np.ndarray, board: Board, thorough: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) px and (N,) numbers of all inner corners."""
    import cv2

    scale = min(1.0, DETECT_PX / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = (board.columns, board.rows)
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(small, size, flags=flags)
    if not found:
        seen = _any_chessboard(small) if thorough else None
        if seen is None:
            raise CannotCalibrate(
                f"no {board.text} is seen; show all of it with its white border, evenly lit"
                + (_blurred(grey) if thorough else "")
            )
        if sorted(seen) != sorted(size):
            raise CannotCalibrate(
                f"a chessboard of {_exactly(small, seen)} inner corners is seen, not {board.size}; "
                "show all of it, and count inner corners, not squares"
            )
        found, corners = cv2.findChessboardCornersSB(
            small, size, flags=flags | cv2.CALIB_CB_EXHAUSTIVE
        )
        if not found:
            raise CannotCalibrate(f"the {board.text} is not seen clearly; give more light")
    corners = (np.asarray(corners, np.float64).reshape(-1, 2) + 0.5) / scale - 0.5
    if scale < 1:
        corners = _refined(grey, corners)
    return corners, np.arange(len(corners))


def _any_chessboard(grey: np.ndarray) -> tuple[int, int] | None:
    """Columns and rows of inner corners of whatever chessboard is seen."""
    import cv2

    found, _, meta = cv2.findChessboardCornersSBWithMeta(
        grey, (3, 3), cv2.CALIB_CB_LARGER | cv2.CALIB_CB_EXHAUSTIVE
    )
    return (meta.shape[1], meta.shape[0]) if found else None


def _exactly(grey: np.ndarray, seen: tuple[int, int]) -> str:
    """Size of the chessboard that is seen; its border can be taken for one more column or row."""
    import cv2

    columns, rows = seen
    for size in ((columns - 1, rows - 1), (columns - 1, rows), (columns, rows - 1), seen):
        if min(size) >= 3 and cv2.findChessboardCornersSB(grey, size)[0]:
            return f"{size[0]}x{size[1]}"
    return f"about {columns}x{rows}"


def _refined(grey: np.ndarray, corners_px: np.ndarray) -> np.ndarray:
    """Corners found in a reduced picture, made exact in the full one."""
    import cv2

    away = np.linalg.norm(corners_px[None] - corners_px[:, None], axis=-1)
    np.fill_diagonal(away, np.inf)
    reach = int(np.clip(0.2 * away.min(), 2, 15))
    points = corners_px.astype(np.float32).reshape(-1, 1, 2)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    refined = cv2.cornerSubPix(grey, points, (reach, reach), (-1, -1), stop)
    return np.asarray(refined, np.float64).reshape(-1, 2)


def _find_charuco(grey: np.ndarray, board: Board, thorough: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) px and (N,) numbers of the corners that are seen; markers may be hidden."""
    import cv2

    dictionary = _dictionary(board.dictionary)
    markers = _markers(grey, dictionary)
    enough = min(MIN_MARKERS, board.columns * board.rows // 2)
    if len(markers) < enough:
        raise CannotCalibrate(_why_no_markers(grey, board, len(markers), thorough))
    fits = {
        legacy: _layout(markers, charuco(board, legacy=legacy), board) for legacy in (False, True)
    }
    legacy = fits[True] > fits[False]
    if fits[legacy] < GOOD_LAYOUT:
        raise CannotCalibrate(
            f"the markers do not lie as on a {board.size} board with squares of "
            f"{board.square_m:g} m and markers of {board.marker_m:g} m; correct the sizes"
        )
    detector = cv2.aruco.CharucoDetector(charuco(board, legacy=legacy))
    corners, number, _, _ = detector.detectBoard(grey)
    count = 0 if number is None else len(number)
    if count < MIN_CORNERS:
        raise CannotCalibrate(
            f"only {count} corners of the {board.text} are seen, {MIN_CORNERS} are needed; "
            f"show more of it{_blurred(grey)}"
        )
    which = np.asarray(number).ravel().astype(int)
    places = board.corners_m[which]
    if np.linalg.matrix_rank(places - places.mean(0), tol=0.1 * board.square_m) < 2:
        raise CannotCalibrate(
            f"the {count} corners of the {board.text} that are seen lie on a line; show more"
        )
    return np.asarray(corners, np.float64).reshape(-1, 2), which


def charuco(board: Board, *, legacy: bool = False) -> Any:
    """OpenCV's ChArUco board; `legacy` is the pattern before OpenCV 4.6."""
    import cv2

    made = cv2.aruco.CharucoBoard(
        (board.columns, board.rows), board.square_m, board.marker_m, _dictionary(board.dictionary)
    )
    made.setLegacyPattern(legacy)
    return made


def _markers(grey: np.ndarray, dictionary: Any) -> dict[int, np.ndarray]:
    """Number of each marker that is seen -> its four corners (4, 2) px."""
    import cv2

    corners, numbers, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(grey)
    if numbers is None:
        return {}
    return {
        int(n): np.asarray(c, float).reshape(4, 2)
        for n, c in zip(np.ravel(numbers), corners, strict=True)
    }


def _layout(markers: dict[int, np.ndarray], made: Any, board: Board) -> float:
    """Share of the markers whose corners lie where the board has them (one homography)."""
    import cv2

    place = {
        int(n): np.asarray(p, float)[:, :2]
        for n, p in zip(np.ravel(made.getIds()), made.getObjPoints(), strict=True)
    }
    known = [n for n in markers if n in place]
    if len(known) < 2:
        return 0.0
    there = np.concatenate([place[n] for n in known]) / board.square_m
    seen = np.concatenate([markers[n] for n in known])
    side_px = np.mean(
        [np.linalg.norm(m - np.roll(m, 1, 0), axis=1).mean() for m in markers.values()]
    )
    matrix, _ = cv2.findHomography(there, seen, cv2.RANSAC, max(1.5, 0.12 * float(side_px)))
    if matrix is None:
        return 0.0
    mapped = cv2.perspectiveTransform(there[:, None], matrix)[:, 0]
    off = np.linalg.norm(mapped - seen, axis=1).reshape(-1, 4).max(1)
    good = int((off < max(2.0, 0.15 * float(side_px))).sum())
    return good / len(markers)


def _why_no_markers(grey: np.ndarray, board: Board, count: int, thorough: bool) -> str:
    """A sentence about a picture in which too few markers of the board are seen."""
    absent = f"no {board.text} with {board.dictionary} is seen; show all of it, flat and evenly lit"
    if not thorough:
        return absent
    enough = max(MIN_MARKERS, 2 * count)
    if len(_markers(np.ascontiguousarray(grey[:, ::-1]), _dictionary(board.dictionary))) >= enough:
        return f"the {board.text} is mirrored; switch off the mirroring of the camera"
    for name in ("4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000", "APRILTAG_36h11",
                 "ARUCO_ORIGINAL"):  # fmt: skip
        if name[:4] in board.dictionary.upper() and "X" in name[:3]:
            continue
        if len(_markers(grey, _dictionary(f"DICT_{name}"))) >= enough:
            said = name.replace("_1000", "_50 (_100, _250, _1000)")
            return f"markers of DICT_{said} are seen, not of {board.dictionary}; correct --dict"
    return absent + _blurred(grey)


def _blurred(grey: np.ndarray) -> str:
    """The end of a sentence about a picture without a single sharp edge; else empty."""
    import cv2

    sharp = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8)
    sharp = np.maximum(sharp, np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8))
    contrast = float(np.percentile(grey, 99) - np.percentile(grey, 1))
    width = contrast / max(float(np.percentile(sharp, 99.9)), 1e-6)
    if contrast < 40 or width < 4:
        return ""
    return f" (the picture is blurred: its sharpest edges are {width:.0f} px wide)"


def _dictionary(name: str) -> Any:
    """OpenCV's dictionary of markers of that name, with or without `DICT_`."""
    import cv2

    known = sorted(n for n in dir(cv2.aruco) if n.startswith("DICT_"))
    wanted = name if name.startswith("DICT_") else f"DICT_{name}"
    match = [n for n in known if n.upper() == wanted.upper()]
    if not match:
        raise CannotCalibrate(f"unknown dictionary {name!r}; known: {', '.join(known)}")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, match[0]))
