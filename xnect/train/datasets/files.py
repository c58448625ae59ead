"""Annotation files and pictures of the data sets, with one sentence for what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.errors import BadInput, CannotOpenSource


def read_json(path: Path, *fields: str) -> dict[str, Any]:
    """The object in a JSON file, which must have these fields.

    Raises:
        BadInput: the file is missing, is no JSON (the line is named), or lacks a field.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path} is not whole JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(f"cannot read the annotations {path}: {reason}") from error
    if not isinstance(data, dict):
        raise BadInput(f"{path} must hold an object, got a {type(data).__name__}")
    missing = [name for name in fields if name not in data]
    if missing:
        raise BadInput(f"{path} has no {', '.join(missing)}; it has {', '.join(data) or 'nothing'}")
    return data


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


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        CannotOpenSource: the file is missing or does not decode.
    """
    return decode_picture(path.read_bytes() if path.is_file() else None, str(path))


def decode_picture(data: bytes | None, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of encoded bytes; None is a missing file.

    Raises:
        CannotOpenSource: there is no picture in them.
    """
    if data is None:
        raise CannotOpenSource(f"there is no picture {name}")
    raw = np.frombuffer(data, np.uint8)
    bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
    if bgr is None:
        raise CannotOpenSource(f"cannot decode {name}; expected a JPEG, PNG or WebP picture")
    return bgr[..., ::-1]
