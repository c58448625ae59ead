"""The focal length that a camera wrote into a picture (EXIF 2.32).

Two rules, no table of sensors.  `FocalLengthIn35mmFilm` compares diagonals: f_px = f35 * diagonal
/ 43.27 mm (CIPA DCG-001).  Otherwise `FocalLength` and the pixels per length on the sensor
(`FocalPlaneXResolution`), times what the picture was scaled by.  A focal length in millimetres
alone says nothing, as the size of the sensor is not known.

Both are for the whole picture: a crop after taking it, or a video with stabilisation, sees less.
Expect some percent of error: f35 is a whole number, and lens makers round.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .camera import Camera
from .errors import CannotCalibrate

FILM_DIAGONAL_MM = math.hypot(36, 24)
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""Millimetres per unit of `FocalPlaneResolutionUnit`: inch, cm, mm, um."""

_EXIF_IFD = 0x8769
_ORIENTATION, _FOCAL_MM, _FOCAL_35MM, _ZOOM = 0x0112, 0x920A, 0xA405, 0xA404
_PER_UNIT_X, _UNIT, _STORED_WIDTH, _STORED_HEIGHT = 0xA20E, 0xA210, 0xA002, 0xA003
_SIDEWAYS = (5, 6, 7, 8)


def camera_of_exif(path: str | Path) -> Camera:
    """The camera of an upright picture, by its EXIF data; no distortion, centred.

    Raises:
        CannotCalibrate: no picture, or one that does not say its focal length.
        OSError: the file cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            exif = picture.getexif()
            tags = {**exif, **exif.get_ifd(_EXIF_IFD)}
    except UnidentifiedImageError:
        raise CannotCalibrate(f"{path} is not a picture") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise CannotCalibrate(f"the EXIF data of {path} are damaged ({error})") from None
    if tags.get(_ORIENTATION) in _SIDEWAYS:
        focal = focal_px(tags, width_px=width, height_px=height, name=str(path))
        width, height = height, width
    else:
        focal = focal_px(tags, width_px=width, height_px=height, name=str(path))
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def focal_px(tags: dict[int, Any], *, width_px: int, height_px: int, name: str) -> float:
    """Focal length in pixels of a picture as it is stored, from its EXIF tags by number.

    Raises:
        CannotCalibrate: the tags do not tell it.
    """
    film_mm = _number(tags, _FOCAL_35MM)
    if film_mm:
        return film_mm * math.hypot(width_px, height_px) / FILM_DIAGONAL_MM
    focal_mm, per_unit = _number(tags, _FOCAL_MM), _number(tags, _PER_UNIT_X)
    unit_mm = UNIT_MM.get(int(_number(tags, _UNIT) or 2), 0.0)
    if not focal_mm:
        raise CannotCalibrate(
            f"{name} does not say its focal length (EXIF); take a picture of a board, or give --fov"
        )
    if not (per_unit and unit_mm):
        raise CannotCalibrate(
            f"{name} says a focal length of {focal_mm:g} mm, but not for which sensor; "
            "take pictures of a board, or give --fov"
        )
    if _number(tags, _ZOOM) > 1.01:
        raise CannotCalibrate(
            f"{name} was zoomed digitally by {_number(tags, _ZOOM):g}; take one without zoom"
        )
    # the longer sides: programs that turn a picture leave these tags as the camera wrote them
    longer = max(width_px, height_px)
    stored = max(_number(tags, _STORED_WIDTH), _number(tags, _STORED_HEIGHT)) or longer
    return focal_mm * per_unit / unit_mm * longer / stored


def _number(tags: dict[int, Any], tag: int) -> float:
    """The value of a tag; 0 where it is absent or nonsense."""
    try:
        value = float(tags.get(tag, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
