"""JSON label files (COCO and LSPet): their records, checked before anything is computed from them.

Each mistake is one sentence with the file, the record, the field, and what would be right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnect.errors import BadInput, CannotOpenSource

SHOWN_CHARACTERS = 60
"""Of a wrong value in a sentence."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field must hold."""

    text: str  # for the sentence
    right: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number_list(count: int) -> Kind:
    """A list of so many finite numbers."""
    return Kind(
        f"a list of {count} numbers",
        lambda v: isinstance(v, list) and len(v) == count and all(map(_is_number, v)),
    )


NUMBER = Kind("a number", _is_number)
FLAG = Kind("0 or 1", lambda v: isinstance(v, (int, float)) and v in (0, 1))
IDENTITY = Kind("a whole number or a text", lambda v: isinstance(v, (int, str)))
TEXT = Kind("a text", lambda v: isinstance(v, str))


def read_labels(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        CannotOpenSource: the file is missing or is no JSON.
        BadInput: it holds something else than an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CannotOpenSource(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise BadInput(
            f"{path} holds {_shown(data)}; labels are an object with images and annotations"
        )
    return data


def check_records(
    data: Mapping[str, Any], name: str, fields: Mapping[str, Kind], path: Path
) -> None:
    """Check that `data[name]` is a list of records with these fields.

    Raises:
        BadInput: the list or a field is missing or of another kind.
    """
    if name not in data:
        known = ", ".join(data) or "none"
        raise BadInput(f"{path} has no list {name!r}; it has {known}")
    records = data[name]
    if not isinstance(records, list):
        raise BadInput(f"{path}: {name!r} must be a list, got {_shown(records)}")
    for number, record in enumerate(records):
        where = f"{path}, {name}[{number}]"
        if not isinstance(record, dict):
            raise BadInput(f"{where} must be an object, got {_shown(record)}")
        for field, kind in fields.items():
            if field not in record:
                raise BadInput(f"{where} has no field {field!r}; {kind.text} is expected")
            if not kind.right(record[field]):
                raise BadInput(
                    f"{where}: {field!r} must be {kind.text}, got {_shown(record[field])}"
                )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    what = f" of {len(value)}" if isinstance(value, list) else ""
    short = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return f"a list{what}: {short}" if what else short
