"""Camera <-> file: JSON of our own, and the YAML that OpenCV's calibration tools write.

JSON (written and read)::

    {"fx": 1280.0, "fy": 1280.0, "cx": 639.5, "cy": 359.5, "width": 1280, "height": 720,
     "dist": [k1, k2, p1, p2, k3], "calibrated": true,
     "floor": {"normal": [0.0, -0.98, -0.2], "distance_m": 1.6},
     "origin": {"source": "chessboard 9x6, 14 of 16 pictures", "reprojection_error_px": 0.21, ...}}

All in pixels of a picture of `width` x `height`; pixel (0, 0) is the centre of the top-left pixel,
as in OpenCV.  The floor is normal . p + distance_m = 0 in camera axes (x right, y down, z forward,
metres), the normal up.  Everything from `dist` on may be missing.  OpenCV YAML needs
`camera_matrix` (3 x 3), `image_width` and `image_height`; `distortion_coefficients` may be missing
(also known as `K`, `dist_coeffs`, `D`).  The YAML written here also holds `floor_normal` and
`floor_distance_m` where there is a floor, and what OpenCV's own tool writes.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .camera import DIST_SIZES, Camera
from .floor import Floor, floor_of

JSON_KEYS = ("fx", "fy", "cx", "cy", "width", "height")
_YAML_NAMES = {
    "matrix": ("camera_matrix", "cameraMatrix", "K"),
    "dist": ("distortion_coefficients", "dist_coeffs", "distCoeffs", "D"),
    "width": ("image_width", "width"),
    "height": ("image_height", "height"),
}
_MODELS = ("", "plumb_bob", "rational_polynomial")  # as ROS calls them; OpenCV says nothing
_YAML_SIZES = {"matrix": 9, "width": 1, "height": 1}
_YAML_FLOOR = {"normal": "floor_normal", "distance_m": "floor_distance_m"}
YAML_SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True)
class Origin:
    """How a camera came to be known; a number is None where it is not known."""

    source: str = ""  # of the intrinsics, for people
    reprojection_error_px: float | None = None  # root mean square over all corners
    fx_sd_px: float | None = None  # standard deviations
    fy_sd_px: float | None = None
    floor_source: str = ""  # of the floor, for people
    floor_tilt_sd_rad: float | None = None
    floor_height_sd_m: float | None = None


def load_camera(path: str | Path) -> Camera:
    """Camera of a JSON or OpenCV YAML file.

    Raises `OSError` when the file cannot be read, `ValueError` with one sentence when it holds no
    valid camera.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    values = _from_json(text, path) if text.lstrip().startswith("{") else _from_yaml(text, path)
    return _checked(values, path)


def load_origin(path: str | Path) -> Origin:
    """How the camera of a JSON file came to be known; nothing for a YAML or an older file.

    Raises `OSError` when the file cannot be read, `ValueError` when it is not valid JSON.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    said = _from_json(text, path).get("origin") if text.lstrip().startswith("{") else None
    if not isinstance(said, dict):  # none, or something written by hand
        return Origin()
    texts = {field.name for field in fields(Origin) if field.default == ""}
    known = {field.name: str if field.name in texts else float for field in fields(Origin)}
    right = {k: v for k, v in said.items() if k in known and _is_a(known[k], v)}
    return Origin(**right)


def _is_a(kind: type, value: object) -> bool:
    """Whether a value of a JSON file is a text, or a finite number."""
    if kind is str:
        return isinstance(value, str)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < math.inf  # type: ignore[arg-type]


def save_camera(path: str | Path, camera: Camera, origin: Origin | None = None) -> Path:
    """Write the camera as JSON, or as OpenCV YAML where the name ends in `.yml` or `.yaml`.

    `load_camera` gives the same camera back; a YAML does not keep `calibrated`, and of the origin
    the reprojection error only.
    """
    path = Path(path)
    origin = Origin() if origin is None else origin
    if path.suffix.lower() in YAML_SUFFIXES:
        return _written(path, _yaml(camera, origin))
    values: dict[str, Any] = {
        "fx": camera.fx_px, "fy": camera.fy_px, "cx": camera.cx_px, "cy": camera.cy_px,
        "width": camera.width_px, "height": camera.height_px, "dist": list(camera.dist),
        "calibrated": camera.calibrated,
    }  # fmt: skip
    if camera.floor is not None:
        values["floor"] = asdict(camera.floor)
    if said := {name: value for name, value in asdict(origin).items() if value not in ("", None)}:
        values["origin"] = said
    return _written(path, json.dumps(values, indent=1) + "\n")


def _written(path: Path, text: str) -> Path:
    """The file, there as a whole or as it was before."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path


def _yaml(camera: Camera, origin: Origin) -> str:
    """The text of OpenCV's YAML."""
    import cv2

    storage = cv2.FileStorage(".yml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write("image_width", camera.width_px)
    storage.write("image_height", camera.height_px)
    storage.write("camera_matrix", camera.matrix)
    storage.write("distortion_coefficients", np.array([camera.dist or (0.0,) * 5], np.float64))
    if origin.reprojection_error_px is not None:
        storage.write("avg_reprojection_error", float(origin.reprojection_error_px))
    if camera.floor is not None:
        storage.write(_YAML_FLOOR["normal"], np.array([camera.floor.normal], np.float64))
        storage.write(_YAML_FLOOR["distance_m"], float(camera.floor.distance_m))
    return str(storage.releaseAndGetString())


def camera_of_fov(fov_rad: float, *, height_px: int, width_px: int) -> Camera:
    """Camera with a known angle of view along the longer side of the picture."""
    if not 0 < fov_rad < math.pi:
        degrees = math.degrees(fov_rad)
        raise ValueError(f"a field of view must be between 0 and 180 degrees, got {degrees:g}")
    focal = max(height_px, width_px) / 2 / math.tan(fov_rad / 2)
    cx, cy = (width_px - 1) / 2, (height_px - 1) / 2
    return Camera(focal, focal, cx, cy, width_px, height_px)


def _from_json(text: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    missing = [key for key in JSON_KEYS if key not in values]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; needed: {', '.join(JSON_KEYS)}")
    return values


def _from_yaml(text: str, path: Path) -> dict[str, Any]:
    import cv2

    if not text.lstrip().startswith("%YAML"):
        text = text.lstrip().removeprefix("---")
        text = "%YAML:1.0\n---\n" + text  # OpenCV insists on its first line
    found: dict[str, np.ndarray] = {}
    optional: dict[str, np.ndarray] = {}
    model = ""
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        for key, names in _YAML_NAMES.items():
            nodes = [storage.getNode(name) for name in names]
            if node := next((node for node in nodes if not node.empty()), None):
                found[key] = _numbers(node)
        floor = {key: _numbers(storage.getNode(name)) for key, name in _YAML_FLOOR.items()}
        names = (*_YAML_NAMES["dist"], *_YAML_FLOOR.values())
        there = {name: node for name in names if not (node := storage.getNode(name)).empty()}
        optional = {name: _numbers(node) for name, node in there.items() if not _is_empty(node)}
        model = str(storage.getNode("distortion_model").string())
        if storage.getNode("fisheye_model").real() == 1:
            model = "fisheye"
    except (cv2.error, SystemError):
        found = {}
    if model not in _MODELS:
        raise ValueError(
            f"{path} has the distortion model {model!r}; only that of ordinary lenses is known "
            "(plumb_bob, rational_polynomial): calibrate again without --fisheye"
        )
    if any(found.get(key, np.zeros(0)).size != size for key, size in _YAML_SIZES.items()):
        raise ValueError(
            f"{path} is neither a JSON nor an OpenCV YAML camera: needed are {', '.join(JSON_KEYS)}"
            ", or camera_matrix, image_width and image_height"
        )
    if unread := [name for name, numbers in optional.items() if not numbers.size]:
        raise ValueError(f"{path}: {', '.join(unread)} must be numbers, or not be there at all")
    matrix = found["matrix"].reshape(3, 3)
    return {
        "fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2],
        "width": found["width"].item(), "height": found["height"].item(),
        "dist": found["dist"].tolist() if np.any(found.get("dist")) else [],
        "floor": _yaml_floor(floor),
    }  # fmt: skip


def _yaml_floor(found: dict[str, np.ndarray]) -> dict[str, Any] | None:
    if found["normal"].size != 3 or found["distance_m"].size != 1:
        return None
    return {"normal": found["normal"].tolist(), "distance_m": found["distance_m"].item()}


def _is_empty(node: Any) -> bool:
    """Whether a YAML node is a list or matrix of nothing, as of a camera without distortion."""
    data = node.getNode("data") if node.isMap() else node
    return bool(data.isNone() or (data.isSeq() and data.size() == 0))


def _numbers(node: Any) -> np.ndarray:
    """(N,) numbers of a YAML node: a number, a list, or a map with `data`; else ()."""
    if node.isReal() or node.isInt():
        return np.array([node.real()])
    data = node if node.isSeq() else node.getNode("data") if node.isMap() else None
    parts = [data.at(i) for i in range(data.size())] if data is not None else []
    if not all(part.isReal() or part.isInt() for part in parts):
        return np.zeros(0)
    return np.array([part.real() for part in parts], np.float64)


def _checked(values: dict[str, Any], path: Path) -> Camera:
    """The camera, or one sentence about the first value that cannot be."""
    try:
        fx, fy, cx, cy, width, height = (float(values[key]) for key in JSON_KEYS)
        if isinstance(given := values.get("dist") or (), str):
            raise TypeError("a text is a row of characters")
        dist = tuple(float(value) for value in given)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{path} holds something that is not a number") from None
    if not np.isfinite([fx, fy, cx, cy, width, height, *dist]).all():
        raise ValueError(f"{path} holds a value that is not finite")
    if min(fx, fy) <= 0 or min(width, height) < 1:
        raise ValueError(
            f"{path}: fx, fy, width and height must be positive, "
            f"got {fx:g}, {fy:g}, {width:g}, {height:g}"
        )
    if len(dist) not in DIST_SIZES:
        raise ValueError(f"{path}: dist must have 0, 4, 5, 8, 12 or 14 numbers, got {len(dist)}")
    calibrated = values.get("calibrated", True)
    if not isinstance(calibrated, bool):
        raise ValueError(f"{path}: calibrated must be true or false, got {calibrated!r}")
    floor = _checked_floor(values.get("floor"), path)
    return Camera(fx, fy, cx, cy, round(width), round(height), dist, calibrated, floor)


def _checked_floor(value: Any, path: Path) -> Floor | None:
    """The floor, if there is one, or one sentence about why it cannot be."""
    if value is None:
        return None
    try:
        x, y, z = (float(v) for v in value["normal"])
        distance_m = float(value["distance_m"])
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ValueError(f"{path}: floor must have normal (3 numbers) and distance_m") from None
    if not (abs(math.hypot(x, y, z) - 1) < 0.01 and math.isfinite(distance_m) and distance_m > 0):
        raise ValueError(
            f"{path}: floor must have a normal of length 1 and a positive distance_m, "
            f"got {x:g} {y:g} {z:g} and {distance_m:g}"
        )
    if abs(math.hypot(x, y, z) - 1) < 1e-9:  # as it was written
        return Floor((x, y, z), distance_m)
    return floor_of(np.array((x, y, z)), distance_m)
