"""Annotation files and pictures of the data sets, with one sentence for what is wrong in them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.errors import BadInput, CannotOpenSource

log = logging.getLogger(__name__)


def read_json(path: Path, *fields: str) -> dict[str, Any]:
    """The object in a JSON file, which must have these fields.

    Raises:
        BadInput: the file is missing, is no JSON (the line is named), or lacks a field.
    """
    data = _parsed(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path} must hold an object, got {_kind(data)}")
    missing = [name for name in fields if name not in data]
    if missing:
        raise BadInput(f"{path} has no {', '.join(missing)}; it has {', '.join(data) or 'nothing'}")
    return data


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """The objects of a list in a JSON file; what is no object is left out with a warning.

    Raises:
        BadInput: the file is missing, is no JSON (the line is named), or holds no list.
    """
    return _objects(_parsed(path), str(path))


def records(data: dict[str, Any], field: str, path: Path) -> list[dict[str, Any]]:
    """The objects of a list in an annotation file; what is no object is left out with a warning.

    Raises:
        BadInput: the field holds no list.
    """
    return _objects(data[field], f"{path}: {field}")


def _objects(values: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(values, list):
        raise BadInput(f"{where} must be a list of objects, got {_kind(values)}")
    wrong = [i for i, value in enumerate(values) if not isinstance(value, dict)]
    if wrong:
        log.warning(
            "left out of %s: %d records that are no objects; the first is number %d, %s",
            where, len(wrong), wrong[0], _kind(values[wrong[0]]),
        )  # fmt: skip
    return [value for value in values if isinstance(value, dict)]


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def is_id(value: Any) -> bool:
    """Whether a value of a JSON file can name a record: a number or a text."""
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path} is not whole JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(f"cannot read the annotations {path}: {reason}") from error


def numbers(record: dict[str, Any], field: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A field of an annotation as float64 of this shape (as many numbers, in any nesting).

    Raises:
        BadInput: the field is missing or holds something else; `where` and the field are named.
    """
    if field not in record:
        raise BadInput(f"{where}: no field {field!r}")
    try:
        array = np.array(record[field], np.float64)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{where}: {field} must hold numbers, got {record[field]!r:.80}") from error
    if array.size != np.prod(shape):
        raise BadInput(f"{where}: {field} must hold {shape} numbers, got {array.shape}")
    return array.reshape(shape)


def box_xyxy(record: dict[str, Any], where: str) -> np.ndarray:
    """(4,) x0, y0, x1, y1 of an annotation's `bbox`, which is x, y, width, height.

    Raises:
        BadInput: there is no such box.
    """
    x, y, w, h = numbers(record, "bbox", (4,), where)
    if not (np.isfinite([x, y, w, h]).all() and w >= 0 and h >= 0):
        raise BadInput(f"{where}: bbox must be x, y, width, height, got {record['bbox']}")
    return np.array([x, y, x + w, y + h])


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        CannotOpenSource: the file is missing, cannot be read or does not decode.
    """
    try:
        data = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise CannotOpenSource(f"cannot read the picture {path}: {error.strerror}") from error
    return decode_picture(data, str(path))


def decode_picture(data: bytes | None, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of encoded bytes; None is a missing file.

    Raises:
        CannotOpenSource: there is no picture in them.
    """
    if data is None:
        raise CannotOpenSource(f"there is no picture {name}")
    raw = np.frombuffer(data, np.uint8)
    try:
        bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
    except cv2.error:  # such as more pixels than OpenCV takes
        bgr = None
    if bgr is None:
        raise CannotOpenSource(f"cannot decode {name}; expected a JPEG, PNG or WebP picture")
    return bgr[..., ::-1]
