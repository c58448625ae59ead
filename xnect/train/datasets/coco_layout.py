"""Files in COCO's layout: `images` with an id, `annotations` that say whose they are."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnect.train.datasets.files import is_id, read_json, records

__all__ = ["Listing", "read_listing"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The pictures of a file, and who is in them."""

    pictures: list[dict[str, Any]]  # every one has an id
    people: dict[Any, list[dict[str, Any]]]  # id of a picture -> annotations
    unplaced: list[dict[str, Any]]  # annotations of whom it is not known in which picture they are
    unreadable: int  # annotations that are no objects: nothing is known of them


def read_listing(path: Path) -> Listing:
    """The pictures and annotations of a file.

    A picture without an id is left out with a warning: who is in it is not known.

    Raises:
        BadInput: the file is missing or damaged.
    """
    data = read_json(path, "images", "annotations")
    pictures: list[dict[str, Any]] = []
    for record in records(data, "images", path):
        if is_id(record.get("id")):
            pictures.append(record)
        else:
            log.warning("left out %s: %s gives it no id", record.get("file_name"), path)
    annotations = records(data, "annotations", path)
    ids = {record["id"] for record in pictures}
    kinds = {type(name) for name in ids}
    people: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    unplaced = []
    for annotation in annotations:
        name = annotation.get("image_id")
        if is_id(name) and (name in ids or type(name) in kinds):
            people[name].append(annotation)
        else:
            unplaced.append(annotation)
    return Listing(pictures, people, unplaced, len(data["annotations"]) - len(annotations))
