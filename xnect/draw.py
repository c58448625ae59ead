"""Skeletons on the picture, and the same people from the side.  Everything is drawn by OpenCV.

`draw_result` marks what was seen (2D joints and limbs); `draw_scene` shows the 3D skeletons on a
floor, from a camera that stands beside the real one.  Neither needs a screen or OpenGL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from xnect.skeleton import BODY, FACE, J2D, J3D, LIMBS
from xnect.types import Person, Result

COLOURS: tuple[tuple[int, int, int], ...] = (
    (255, 176, 32), (64, 196, 255), (124, 224, 92), (255, 112, 160), (178, 132, 255),
    (255, 228, 76), (60, 226, 196), (255, 132, 92), (150, 170, 255), (206, 232, 128),
)  # fmt: skip
"""RGB of people, by identity; they repeat after the tenth."""

_EAR_SHOULDER = (
    (J2D["right_shoulder"], J2D["right_ear"]),
    (J2D["left_shoulder"], J2D["left_ear"]),
)
DRAWN_LIMBS = tuple(limb for limb in LIMBS if limb not in _EAR_SHOULDER)
"""The limbs without ear-shoulder, which only serve the association."""

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_BACKGROUND = (24, 27, 33)
_GRID = (62, 68, 79)
_TEXT = (232, 236, 242)


def colour_of(track_id: int) -> tuple[int, int, int]:
    """RGB of an identity; that of a single picture (0) is the first one."""
    return COLOURS[max(track_id - 1, 0) % len(COLOURS)]


def draw_result(image: np.ndarray, result: Result) -> np.ndarray:
    """(H, W, 3) uint8 RGB copy of `image` with everybody's skeleton, identity and score.

    Limbs of the person's left are lighter than those of the right.  Where the camera was guessed,
    distances have a question mark, which a word in the corner explains.
    """
    canvas = np.ascontiguousarray(image).copy()
    size = max(1, round(min(canvas.shape[:2]) / 240))
    for person in sorted(result.people, key=lambda p: -p.root_m[2]):  # the nearest is on top
        _draw_limbs(canvas, person, size)
        _draw_label(canvas, person, size, guessed=not result.camera.calibrated)
    if not result.camera.calibrated and any(_is_drawn(person) for person in result.people):
        _draw_mark(canvas, "? uncalibrated", size)
    return canvas


def draw_joints(
    image: np.ndarray,
    joints_px: np.ndarray,
    score: np.ndarray,
    *,
    colour: tuple[int, int, int] = COLOURS[0],
) -> np.ndarray:
    """(H, W, 3) uint8 RGB copy of `image` with one skeleton: (18, 2) px, (18,) 0 = absent."""
    canvas = np.ascontiguousarray(image).copy()
    size = max(1, round(min(canvas.shape[:2]) / 240))
    _draw_skeleton(canvas, joints_px, score, colour, size)
    return canvas


def draw_scene(
    result: Result,
    *,
    hw: tuple[int, int],
    view: View | None = None,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the 3D skeletons on the floor, seen as `view` says.

    Without `view` it is the one that suits this frame; in a video, hand on the one that
    `follow` gives, else the picture jumps.
    """
    view = view or follow(result, None)
    canvas = np.full((*hw, 3), _BACKGROUND, np.uint8)
    lens = _Lens(view, hw)
    _draw_floor(canvas, lens)
    _draw_camera(canvas, lens, result)
    drawn = [p for p in result.people if np.isfinite(p.joints3d_m).all()]
    for person in drawn:
        _draw_shadow(canvas, lens, person)
    for person in sorted(drawn, key=lambda p: -lens.depth_m(p.root_m)):
        _draw_body(canvas, lens, person)
    return canvas


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where the 3D view looks from, in camera axes (y down).

    The eye circles around `centre_m` at `distance_m`; azimuth 0 looks along the real camera,
    positive values stand to its right; elevation is the angle above the horizon.
    """

    centre_m: np.ndarray  # (3,)
    floor_y_m: float
    distance_m: float
    azimuth_rad: float = np.deg2rad(48.0)
    elevation_rad: float = np.deg2rad(17.0)
    fov_rad: float = np.deg2rad(42.0)


_EMPTY_VIEW = View(np.array([0.0, 0.4, 4.0]), floor_y_m=1.4, distance_m=7.0)


def follow(result: Result, view: View | None, *, pull: float = 0.06, hurry: float = 0.3) -> View:
    """The view for this frame: everybody is in it, the floor is under the lowest foot.

    With the view of the last frame it moves towards that by the share `pull`, so that it is calm,
    or by the share `hurry` while somebody is outside it.
    """
    joints = [p.joints3d_m for p in result.people if np.isfinite(p.joints3d_m).all()]
    if not joints:
        return view or _EMPTY_VIEW
    points = np.concatenate(joints)  # (P * 21, 3)
    low, high = points.min(0), points.max(0)
    floor = float(np.median([person[:, 1].max() for person in joints])) + 0.05
    radius = max(1.2, float(np.linalg.norm(high - low)) / 2)
    target = replace(
        view or _EMPTY_VIEW,
        centre_m=(low + high) / 2,
        floor_y_m=floor,
        distance_m=radius / np.sin(_EMPTY_VIEW.fov_rad / 2) * 1.12,
    )
    if view is None:
        return target
    if not _shows(view, points, beyond=1.15):
        pull = hurry
    return replace(
        view,
        centre_m=view.centre_m + pull * (target.centre_m - view.centre_m),
        floor_y_m=view.floor_y_m + pull * (target.floor_y_m - view.floor_y_m),
        distance_m=view.distance_m + pull * (target.distance_m - view.distance_m),
    )


def _shows(view: View, points_m: np.ndarray, *, beyond: float = 1.0) -> bool:
    """Whether all points (N, 3) m lie in the square picture of a view, or so far beyond it."""
    lens = _Lens(view, (100, 100))
    local = lens.local_m(points_m)
    return bool((local[:, 2] > 0).all() and (np.abs(lens.pixels(local) - 49.5) < 50 * beyond).all())


class _Lens:
    """The virtual camera of a view: metres in camera axes -> pixels of the drawing."""

    def __init__(self, view: View, hw: tuple[int, int]) -> None:
        around, up = view.azimuth_rad, view.elevation_rad
        forward = np.array([-np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)])
        right = np.array([np.cos(around), 0.0, np.sin(around)])
        self.view_from_camera = np.stack([right, np.cross(forward, right), forward])  # (3, 3)
        self.eye_m = view.centre_m - view.distance_m * forward
        self.floor_y_m, self.centre_m, self.hw = view.floor_y_m, view.centre_m, hw
        self.focal_px = min(hw) / 2 / np.tan(view.fov_rad / 2)

    def local_m(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) camera axes -> (..., 3) axes of the view."""
        return (np.asarray(points_m, np.float64) - self.eye_m) @ self.view_from_camera.T

    def depth_m(self, point_m: np.ndarray) -> float:
        """(3,) -> distance along the line of sight."""
        return float(self.local_m(point_m)[2])

    def pixels(self, local_m: np.ndarray) -> np.ndarray:
        """(..., 3) in front of the eye -> (..., 2) px."""
        height, width = self.hw
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        return local_m[..., :2] / local_m[..., 2:] * self.focal_px + middle


def _draw_limbs(canvas: np.ndarray, person: Person, size: int) -> None:
    base = colour_of(person.track_id)
    _draw_skeleton(canvas, person.joints2d_px, person.joints2d_score, base, size)


SURE = 0.5
"""Limbs with a joint of a lower score are drawn thin: hidden, or a guess."""


def _draw_skeleton(
    canvas: np.ndarray,
    joints_px: np.ndarray,
    score: np.ndarray,
    base: tuple[int, int, int],
    size: int,
) -> None:
    good = (score > 0) & np.isfinite(joints_px).all(-1)
    limbs = [(a, b) for a, b in DRAWN_LIMBS if good[a] and good[b]]
    sure = [(a, b) for a, b in limbs if min(score[a], score[b]) >= SURE]
    for a, b in sure:
        _line(canvas, joints_px[[a, b]], (16, 16, 16), 2 * size + 2)
    for a, b in limbs:
        width = 2 * size if min(score[a], score[b]) >= SURE else max(size // 2, 1)
        _line(canvas, joints_px[[a, b]], _side(base, b), width)
    for joint in np.flatnonzero(good):
        radius = 0.8 if joint in FACE or score[joint] < SURE else 1.5
        _dot(canvas, joints_px[joint], radius * size, (255, 255, 255))


def _is_drawn(person: Person) -> bool:
    seen = person.joints2d_px[person.joints2d_score > 0]
    return len(seen) > 0 and bool(np.isfinite(seen).all())


def _draw_label(canvas: np.ndarray, person: Person, size: int, *, guessed: bool) -> None:
    if not _is_drawn(person):
        return
    seen = person.joints2d_px[person.joints2d_score > 0]
    name = f"{person.track_id}" if person.track_id > 0 else "?"
    text = f"{name}  {person.score:.2f}  {person.root_m[2]:.1f} m{'?' if guessed else ''}"
    scale = 0.42 * (1 + 0.35 * (size - 1))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(np.clip(seen[:, 0].mean() - width / 2, 2, max(2, canvas.shape[1] - width - 2)))
    y = int(np.clip(seen[:, 1].min() - 8 * size, height + 3, max(height + 3, canvas.shape[0] - 3)))
    corner, opposite = (x - 2, y - height - 2), (x + width + 2, y + below)
    cv2.rectangle(canvas, corner, opposite, colour_of(person.track_id), cv2.FILLED)
    where, font = (x, y), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(canvas, text, where, font, scale, (16, 16, 16), 1, cv2.LINE_AA)


def _draw_mark(canvas: np.ndarray, text: str, size: int) -> None:
    """A word in the lower left corner, readable on any picture."""
    where, font = (4 * size, canvas.shape[0] - 5 * size), cv2.FONT_HERSHEY_SIMPLEX
    scale = 0.42 * (1 + 0.35 * (size - 1))
    for colour, thickness in (((16, 16, 16), 3), (_TEXT, 1)):
        cv2.putText(canvas, text, where, font, scale, colour, thickness, cv2.LINE_AA)


def _draw_floor(canvas: np.ndarray, lens: _Lens) -> None:
    """A grid of 1 m under the people, fading out with the distance from its centre."""
    centre, reach = np.round(lens.centre_m[[0, 2]]), 7
    steps = np.arange(-reach, reach + 1.0)
    k, j = (grid.ravel() for grid in np.meshgrid(steps, steps[:-1], indexing="ij"))
    across = np.stack([np.stack([k, j], -1), np.stack([k, j + 1], -1)], 1)  # (N, 2, 2) x and z
    ends = np.concatenate([across, across[..., ::-1]])
    strength = np.clip(1.1 - np.linalg.norm(ends.mean(1), axis=-1) / reach, 0, 1)
    points = np.full((len(ends), 2, 3), lens.floor_y_m)
    points[..., [0, 2]] = ends + centre
    local = lens.local_m(points)
    level = np.where(local[..., 2].min(1) > 0.1, np.ceil(strength * 8), 0)
    for part in range(1, 10):
        pixels = lens.pixels(local[level == part])  # (N, 2, 2)
        pixels = pixels[np.abs(pixels).max((1, 2), initial=0) < 1e5]
        colour = np.array(_BACKGROUND) + part / 8 * (np.array(_GRID) - _BACKGROUND)
        lines = np.rint(pixels * 2**_SHIFT).astype(np.int32)
        if len(lines):
            cv2.polylines(canvas, list(lines), False, colour.tolist(), 1, cv2.LINE_AA, _SHIFT)


def _draw_camera(canvas: np.ndarray, lens: _Lens, result: Result) -> None:
    """The pyramid of the real camera, 0.4 m long."""
    height, width = result.image_hw
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
    fx, fy = result.camera.fx_px, result.camera.fy_px
    rays = (corners - (result.camera.cx_px, result.camera.cy_px)) / (fx, fy)
    tips = 0.4 * np.concatenate([rays, np.ones((4, 1))], axis=1)
    for i, tip in enumerate(tips):
        for other in (np.zeros(3), tips[(i + 1) % 4]):
            local = lens.local_m(np.stack([tip, other]))
            if local[:, 2].min() > 0.1:
                _line(canvas, lens.pixels(local), (150, 156, 168), 1)


def _draw_shadow(canvas: np.ndarray, lens: _Lens, person: Person) -> None:
    flat = person.joints3d_m.astype(np.float64).copy()
    flat[:, 1] = lens.floor_y_m
    local = lens.local_m(flat)
    for joint, parent in enumerate(BODY.parents):
        if parent >= 0 and local[[joint, parent], 2].min() > 0.1:
            thickness = max(1, round(0.05 * lens.focal_px / local[joint, 2]))
            _line(canvas, lens.pixels(local[[parent, joint]]), (13, 15, 19), thickness)


def _draw_body(canvas: np.ndarray, lens: _Lens, person: Person) -> None:
    """Bones from far to near, thick as limbs are, darker with the distance."""
    local = lens.local_m(person.joints3d_m)
    bones = [(p, j) for j, p in enumerate(BODY.parents) if p >= 0]
    bones.sort(key=lambda bone: -local[list(bone), 2].mean())
    base = colour_of(person.track_id)
    for parent, joint in bones:
        if local[[parent, joint], 2].min() <= 0.1:
            continue
        ends = lens.pixels(local[[parent, joint]])
        thickness = max(2, round(0.055 * lens.focal_px / local[[parent, joint], 2].mean()))
        _line(canvas, ends, (10, 11, 14), thickness + 2)
        _line(canvas, ends, _side(base, joint, three_d=True), thickness)
    if local[J3D["head"], 2] > 0.1:
        radius = 0.09 * lens.focal_px / local[J3D["head"], 2]
        middle = local[[J3D["head"], J3D["head_top"]]].mean(0)
        _dot(canvas, lens.pixels(middle), radius, base)
        if person.track_id > 0 and local[J3D["head_top"], 2] > 0.1:
            x, y = lens.pixels(local[J3D["head_top"]]) - np.array([4.0, 1.6 * radius])
            if np.abs([x, y]).max() < 1e4:
                where, font = (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(canvas, str(person.track_id), where, font, 0.5, _TEXT, 1, cv2.LINE_AA)


def _side(base: tuple[int, int, int], joint: int, *, three_d: bool = False) -> tuple[int, int, int]:
    """Lighter for the left of the body, darker for the right, the colour itself between."""
    return _sides(base)[_SIDE3D[joint] if three_d else _SIDE2D[joint]]


@lru_cache(maxsize=32)
def _sides(base: tuple[int, int, int]) -> tuple[tuple[int, int, int], ...]:
    r, g, b = base
    lighter = (r + (255 - r) * 2 // 5, g + (255 - g) * 2 // 5, b + (255 - b) * 2 // 5)
    return base, lighter, (r * 13 // 20, g * 13 // 20, b * 13 // 20)


def _side_numbers(names: dict[str, int]) -> tuple[int, ...]:
    return tuple(
        1 if name.startswith("left") else 2 if name.startswith("right") else 0 for name in names
    )


_SIDE2D = _side_numbers(J2D)
_SIDE3D = _side_numbers(J3D)


def _line(canvas: np.ndarray, ends_px: np.ndarray, colour: tuple[int, ...], thickness: int) -> None:
    if np.abs(ends_px).max() < 1e5:  # OpenCV's fixed point overflows far outside
        (x0, y0), (x1, y1) = (np.rint(ends_px * 2**_SHIFT)).astype(int).tolist()
        cv2.line(canvas, (x0, y0), (x1, y1), colour, thickness, cv2.LINE_AA, _SHIFT)


def _dot(
    canvas: np.ndarray, centre_px: np.ndarray, radius_px: float, colour: tuple[int, ...]
) -> None:
    if np.abs(centre_px).max() < 1e5:
        x, y = (np.rint(centre_px * 2**_SHIFT)).astype(int).tolist()
        radius = int(radius_px * 2**_SHIFT)
        cv2.circle(canvas, (x, y), radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
