"""The floor under a camera: a plane in the camera's axes, and how to find it from marks on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import CannotCalibrate

if TYPE_CHECKING:
    from .camera import Camera

MAX_TILT_SD_RAD = math.radians(5)
"""Marks that leave the floor's direction less certain than this are refused."""

AMBIGUOUS = 1.5
"""Another pose of the marks must fit this many times worse than the best one ..."""

AMBIGUOUS_PX = 0.6
"""... and not within what clicks are off: root mean square of four, less of more."""

CLICK_PX = 3.0
"""By which three marks may be elsewhere without another floor turning up."""

STABLE_RAD = math.radians(15)
"""Further apart, a floor is another one."""


@dataclass(frozen=True)
class Floor:
    """A plane: normal . p + distance_m = 0 for points p on it, camera axes.

    The unit normal points up, to the side of the camera; `distance_m` is how high the camera is.
    """

    normal: tuple[float, float, float]
    distance_m: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", tuple(map(float, self.normal)))
        object.__setattr__(self, "distance_m", float(self.distance_m))
        length = math.sqrt(sum(x * x for x in self.normal)) if len(self.normal) == 3 else 0.0
        if not (abs(length - 1) < 1e-3 and math.isfinite(self.distance_m) and self.distance_m > 0):
            raise CannotCalibrate(
                "a floor has a normal of length 1 and a positive distance, "
                f"got {self.normal} and {self.distance_m:g}"
            )

    @property
    def tilt_rad(self) -> float:
        """How far the camera looks down."""
        return math.asin(max(-1.0, min(1.0, -self.normal[2])))

    @property
    def roll_rad(self) -> float:
        """How far the camera is turned clockwise about its viewing direction."""
        return math.atan2(-self.normal[0], -self.normal[1])

    def heights_m(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) m camera axes -> (...,) m above the floor, negative below."""
        return np.asarray(points_m, float) @ np.array(self.normal) + self.distance_m

    def meet(self, rays: np.ndarray) -> np.ndarray:
        """(..., 2) rays x/z, y/z -> (..., 3) m where they meet the floor; nan where they do not."""
        flat = np.asarray(rays, float)
        direction = np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], -1)
        down = -(direction @ np.array(self.normal))
        depth = np.where(down > 1e-9, self.distance_m / np.where(down > 1e-9, down, 1.0), np.nan)
        return direction * depth[..., None]


@dataclass(frozen=True, eq=False)
class FloorFit:
    """A floor, and how well it is known."""

    floor: Floor
    tilt_sd_rad: float  # of the normal, the worse of its two directions
    height_sd_m: float  # of distance_m
    error: float  # root mean square of what was fitted, in `unit`
    unit: str
    count: int  # of independent measurements


def floor_of(normal: np.ndarray, distance_m: float) -> Floor:
    """Floor from a normal of any length and sign: the camera is above it."""
    length = float(np.linalg.norm(normal))
    if not (length > 0 and math.isfinite(length) and distance_m):
        raise CannotCalibrate(f"no plane has the normal {normal} and the distance {distance_m:g}")
    sign = math.copysign(1.0, distance_m) / length
    x, y, z = (float(v) * sign for v in normal)
    return Floor((x, y, z), abs(distance_m) / length)


def floor_of_marks(camera: Camera, marks_px: np.ndarray, marks_m: np.ndarray) -> FloorFit:
    """The floor, from marks on it whose places are known: a board, tiles, tape.

    Three marks leave up to four poses, of which those with the camera above the floor and the
    horizon not upside-down count; from four on the marks say how certain the floor is.

    Args:
        camera: with its distortion.
        marks_px: (N, 2) where the marks are seen, N >= 3.
        marks_m: (N, 2) or (N, 3) their places on the floor, in any axes of the floor.

    Raises:
        CannotCalibrate: too few marks, marks on a line, or marks that fit no floor or several.
    """
    marks_px = np.asarray(marks_px, float).reshape(-1, 2)
    places = np.zeros((len(marks_px), 3))
    places[:, :2] = np.asarray(marks_m, float).reshape(len(marks_px), -1)[:, :2]
    if len(places) < 3:
        raise CannotCalibrate(
            f"a floor needs at least 3 marks, better 4 or more, got {len(places)}"
        )
    spread = np.linalg.svd(places - places.mean(0), compute_uv=False)
    if not spread[1] > 0.05 * spread[0]:
        raise CannotCalibrate("the marks lie on a line; a floor needs marks beside it")
    poses, refused_px = _poses(camera, places, marks_px)
    if not poses:
        raise CannotCalibrate(
            "the marks lie on no floor that this camera looks down on; check their order, and that "
            "the picture is upright"
        )
    poses.sort(key=lambda pose: pose[0])
    _check_single([pose[0] for pose in poses], [pose[1] for pose in poses], len(places))
    error, floor, turn, shift = poses[0]
    if len(places) == 3:
        _check_stable(camera, places, marks_px, floor)
    if error > max(1.0, AMBIGUOUS * refused_px):
        raise CannotCalibrate(
            f"the marks fit a floor above the camera ({refused_px:.1f} px off) better than one "
            f"below it ({error:.1f} px); check that the picture is upright"
        )
    if error > 0.01 * max(camera.width_px, camera.height_px):
        raise CannotCalibrate(
            f"the marks do not fit a floor (they are {error:.0f} px off); check their order and "
            "their places, and that the picture is upright"
        )
    tilt_sd, height_sd = _certainty(camera, places, turn, shift, error)
    if tilt_sd > MAX_TILT_SD_RAD:
        raise CannotCalibrate(
            f"the marks leave the floor uncertain by {math.degrees(tilt_sd):.0f} degrees; "
            "use marks that lie further apart, or a larger board"
        )
    return FloorFit(floor, tilt_sd, height_sd, error, "px", len(places))


_Pose = tuple[float, Floor, np.ndarray, np.ndarray]
"""Error in px, floor, and the turn and shift from places to camera axes."""


def _poses(camera: Camera, places: np.ndarray, marks_px: np.ndarray) -> tuple[list[_Pose], float]:
    """Poses of the marks before a camera above the floor, and the error of the best one below it.

    The latter is inf for three marks, which fit several poses.
    """
    import cv2

    rays = camera.rays(marks_px)
    eye, none = np.eye(3), np.zeros(4)
    if len(places) == 3:
        _, turns, shifts = cv2.solveP3P(places, rays, eye, none, cv2.SOLVEPNP_AP3P)
    else:
        _, turns, shifts, _ = cv2.solvePnPGeneric(
            places[:, None], rays[:, None], eye, none, flags=cv2.SOLVEPNP_IPPE
        )
    poses: list[_Pose] = []
    refused_px = np.inf
    for found in zip(turns, shifts, strict=True):
        turn, shift = found
        if len(places) > 3:
            turn, shift = cv2.solvePnPRefineLM(places, rays, eye, none, turn, shift)
        normal = cv2.Rodrigues(turn)[0][:, 2]
        floor = floor_of(normal, -float(normal @ np.ravel(shift)))
        ahead = (places @ cv2.Rodrigues(turn)[0].T)[:, 2].mean() + float(np.ravel(shift)[2])
        off_px = _pose_error_px(camera, places, marks_px, turn, shift)
        if floor.normal[1] < 0.1 and ahead > 0:
            poses.append((off_px, floor, turn, shift))
        elif ahead > 0 and len(places) > 3:
            refused_px = min(refused_px, off_px)
    return poses, float(refused_px)


def _check_stable(camera: Camera, places: np.ndarray, marks_px: np.ndarray, best: Floor) -> None:
    """Refuse three marks that fit another floor when one of them is a few pixels elsewhere.

    Where two solutions of P3P nearly meet, the error of a click may take both away, and leave one
    that has nothing to do with the floor and yet fits exactly.
    """
    for shift_px in CLICK_PX * np.concatenate([np.eye(6), -np.eye(6)]):
        poses, _ = _poses(camera, places, marks_px + shift_px.reshape(3, 2))
        for _, floor, _, _ in poses:
            apart = _between(best, floor)
            if apart > STABLE_RAD:
                raise CannotCalibrate(
                    f"two floors fit the marks within {CLICK_PX:.0f} px, "
                    f"{math.degrees(apart):.0f} degrees apart; a fourth mark tells them apart"
                )


def _between(one: Floor, other: Floor) -> float:
    """Angle of the normals, rad."""
    return math.acos(float(np.clip(np.dot(one.normal, other.normal), -1, 1)))


def _pose_error_px(
    camera: Camera, places: np.ndarray, marks_px: np.ndarray, turn: np.ndarray, shift: np.ndarray
) -> float:
    """Root mean square distance between the marks and where this pose puts them."""
    import cv2

    there = places @ cv2.Rodrigues(turn)[0].T + np.ravel(shift)
    return float(np.sqrt(((camera.project(there) - marks_px) ** 2).sum(1).mean()))


def _check_single(errors_px: list[float], floors: list[Floor], count: int) -> None:
    """Refuse marks for which another floor fits as well."""
    best = floors[0]
    clicks_px = AMBIGUOUS_PX * math.sqrt(4 / count)
    for error, floor in zip(errors_px[1:], floors[1:], strict=True):
        apart = _between(best, floor)
        if apart > MAX_TILT_SD_RAD and error < max(AMBIGUOUS * errors_px[0], clicks_px):
            extra = "a fourth mark tells them apart" if count == 3 else "use marks further apart"
            raise CannotCalibrate(
                f"two floors fit the marks, {math.degrees(apart):.0f} degrees apart; {extra}"
            )


def _certainty(
    camera: Camera, places: np.ndarray, turn: np.ndarray, shift: np.ndarray, error_px: float
) -> tuple[float, float]:
    """Standard deviations (rad, m) of normal and distance, by the covariance of the pose."""
    import cv2

    _, jacobian = cv2.projectPoints(
        places, turn, shift, camera.matrix, np.array(camera.dist or (0.0,) * 4)
    )
    freedom = max(2 * len(places) - 6, 1)
    variance = max(error_px, 0.3) ** 2 * len(places) / freedom  # clicks are never exact
    covariance = variance * np.linalg.pinv(jacobian[:, :6].T @ jacobian[:, :6])
    start = np.concatenate([np.ravel(turn), np.ravel(shift)])

    def plane(pose: np.ndarray) -> np.ndarray:
        normal = cv2.Rodrigues(pose[:3])[0][:, 2]
        return np.append(normal, normal @ pose[3:])

    step = 1e-5
    slope = np.stack(
        [(plane(start + step * e) - plane(start - step * e)) / (2 * step) for e in np.eye(6)], 1
    )
    spread = slope @ covariance @ slope.T  # (4, 4)
    return float(np.sqrt(np.linalg.eigvalsh(spread[:3, :3]).max())), float(np.sqrt(spread[3, 3]))
