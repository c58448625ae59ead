"""MuCo-3DHP (Mehta et al. 2018): composites of people of MPI-INF-3DHP -> `Sample`.  Research only.

The form in which the set is passed round: `MuCo-3DHP.json` in COCO's layout beside the folders
`augmented_set` and `unaugmented_set` (Moon et al. 2019), 21 joints per person in the order of
`JOINTS3D` (spec 7.3).  Of a person: `keypoints_img` (21, 2) px, `keypoints_cam` (21, 3) mm in
camera space, and, where given, `keypoints_vis` (21,).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xnect.errors import BadInput, CannotOpenSource
from xnect.skeleton import JOINTS3D
from xnect.train.datasets.coco_layout import read_listing
from xnect.train.datasets.files import numbers, read_picture
from xnect.train.datasets.posed import posed_sample
from xnect.train.samples import Sample

__all__ = ["muco"]

log = logging.getLogger(__name__)

AUGMENTED_OUTSIDE_WEIGHT = 0.3
"""Behind `augmented_set` are photographs, in which others may be; the studio is empty."""

_N = len(JOINTS3D)


def _person(record: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pixels = numbers(record, "keypoints_img", (_N, 2), where)
    camera_mm = numbers(record, "keypoints_cam", (_N, 3), where)
    visible = np.ones(_N, bool)
    if "keypoints_vis" in record:
        visible = numbers(record, "keypoints_vis", (_N,), where) > 0
    return pixels, camera_mm, visible


def muco(annotations: Path, images: Path) -> Iterator[Sample]:
    """Every composite; nearer people hide farther ones where the file says so.

    A picture that is missing, or one of whose people has a damaged record, is left out with a
    warning: a person whose place is not known cannot be masked.

    Raises:
        BadInput: the annotation file is missing or damaged.
    """
    listing = read_listing(annotations)
    lost = len(listing.unplaced) + listing.unreadable
    if lost:
        log.warning(
            "%s: %d annotations without image_id; so no picture is sure background",
            annotations, lost,
        )  # fmt: skip
    for record in listing.pictures:
        name = str(record.get("file_name"))
        try:
            parts = [
                _person(p, f"{annotations}, annotation {p.get('id')}")
                for p in listing.people.get(record["id"], [])
            ]
            image = read_picture(images / name)
        except (BadInput, CannotOpenSource) as error:
            log.warning("left out %s: %s", name, error)
            continue
        pixels, camera_mm, visible = (
            (np.stack(column) for column in zip(*parts, strict=True))
            if parts
            else (np.zeros((0, _N, 2)), np.zeros((0, _N, 3)), np.zeros((0, _N), bool))
        )
        plain = not lost and not name.startswith("augmented_set")
        yield posed_sample(
            image,
            pixels,
            camera_mm,
            visible=visible,
            outside_weight=1.0 if plain else AUGMENTED_OUTSIDE_WEIGHT,
        )
