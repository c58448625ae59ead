"""The pinhole camera.

Camera axes: x right, y down, z forward, metres.  Pixel (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadCamera

if TYPE_CHECKING:
    from .floor import Floor

DIST_SIZES = (0, 4, 5, 8, 12, 14)
"""How many coefficients OpenCV's model of distortion may have."""


_UNDISTORT = (100, 1e-9)
"""Iterations at most, and the step at which to stop: OpenCV's five leave pixels at the corners."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one camera for pictures of one size.

    `dist` are OpenCV's distortion coefficients k1 k2 p1 p2 [k3 ...], empty for none.
    `calibrated` is False when the focal length is a guess: depth is then only proportional.
    `floor` is the floor under the camera where it is known (it must not move then), else None.

    Raises:
        BadCamera: sizes or focal lengths that are not positive and finite, or a number of
            distortion coefficients that OpenCV does not have.
    """

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int
    dist: tuple[float, ...] = ()
    calibrated: bool = True
    floor: Floor | None = None

    def __post_init__(self) -> None:
        dist = tuple(np.ravel(np.asarray(self.dist, np.float64)).tolist())  # OpenCV's are (1, 5)
        object.__setattr__(self, "dist", dist)
        for name in ("fx_px", "fy_px", "cx_px", "cy_px"):  # whatever numpy types they had
            object.__setattr__(self, name, float(getattr(self, name)))
        positive = (self.fx_px, self.fy_px, self.width_px, self.height_px)
        if not (np.isfinite(positive).all() and min(positive) > 0):
            fx, fy, width, height = positive
            raise BadCamera(
                "fx, fy, width and height of a camera must be positive numbers, "
                f"got {fx:g}, {fy:g}, {width:g} and {height:g}"
            )
        for name in ("width_px", "height_px"):
            object.__setattr__(self, name, int(getattr(self, name)))
        if not np.isfinite([self.cx_px, self.cy_px, *dist]).all():
            raise BadCamera("the centre and the distortion of a camera must be finite numbers")
        if len(dist) not in DIST_SIZES:
            raise BadCamera(
                f"a camera has 0, 4, 5, 8, 12 or 14 distortion coefficients, got {len(dist)}"
            )

    @classmethod
    def guess(cls, height_px: int, width_px: int) -> Camera:
        """The camera that is assumed when none is given: f = 0.85 max(W, H), 61 degrees.

        Phones and webcams see 55 to 75 degrees along the longer side.  Photogrammetry often takes
        1.2 (45 degrees); simulated adults seen at 50 to 80 degrees were too far away by 40 % with
        that, and by 4 % with this (`benchmarks/root_error.py`).
        """
        focal = 0.85 * max(height_px, width_px)
        cx, cy = (width_px - 1) / 2, (height_px - 1) / 2
        return cls(focal, focal, cx, cy, width_px, height_px, calibrated=False)

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) m camera space -> (..., 2) px; distorted when the camera has `dist`."""
        import cv2

        points = np.asarray(points_m, np.float64)
        if not self.dist or not points.size:
            z = np.maximum(points[..., 2], 1e-6)
            x = points[..., 0] / z * self.fx_px + self.cx_px
            y = points[..., 1] / z * self.fy_px + self.cy_px
            return np.stack([x, y], -1)
        flat, _ = cv2.projectPoints(
            points.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), self.matrix, np.array(self.dist)
        )
        return flat.reshape((*points.shape[:-1], 2))

    def rays(self, pixels_px: np.ndarray) -> np.ndarray:
        """(..., 2) px -> (..., 2): x/z and y/z of the ray through each pixel, undistorted."""
        import cv2

        pixels = np.asarray(pixels_px, np.float64)
        if self.dist and pixels.size:
            points, dist = pixels.reshape(-1, 1, 2), np.array(self.dist)
            stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, *_UNDISTORT)
            if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
                level = np.eye(3)
                flat = cv2.undistortPointsIter(points, self.matrix, dist, level, level, stop)
            else:
                flat = cv2.undistortPoints(points, self.matrix, dist, criteria=stop)
            return flat.reshape(pixels.shape)
        return (pixels - (self.cx_px, self.cy_px)) / (self.fx_px, self.fy_px)

    def resized(self, height_px: int, width_px: int) -> Camera:
        """The same camera for pictures scaled to another size (half-pixel exact)."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return replace(
            self, fx_px=self.fx_px * sx, fy_px=self.fy_px * sy,
            cx_px=(self.cx_px + 0.5) * sx - 0.5, cy_px=(self.cy_px + 0.5) * sy - 0.5,
            width_px=width_px, height_px=height_px,
        )  # fmt: skip

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) OpenCV's K."""
        return np.array(
            [[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1]], np.float64
        )
