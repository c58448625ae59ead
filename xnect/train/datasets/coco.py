"""COCO keypoints (Lin et al. 2014) -> `Sample`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xnect.errors import BadInput, CannotOpenSource
from xnect.skeleton import FROM_COCO17
from xnect.train.datasets.coco_layout import Listing, read_listing
from xnect.train.datasets.files import box_xyxy, numbers, read_picture
from xnect.train.datasets.outside import outside
from xnect.train.samples import ABSENT, HIDDEN, SEEN, UNKNOWN, Sample

__all__ = ["coco", "joints18_from_coco17"]

log = logging.getLogger(__name__)

MIN_JOINTS = 5
"""People with fewer labelled joints define no targets; they are masked (spec 5.3)."""


def joints18_from_coco17(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 17, 3) COCO x, y, v -> (P, 18, 2) px, (P, 18) state; the neck is between the shoulders.

    A joint with v = 0 is absent: COCO's annotators marked every joint that they could see or guess,
    so there is nothing to be found of it.  With one shoulder the neck is there, but not known
    where.  COCO's keypoints are the numbers of pixels, 0 to W - 1, as ours: whole at the centre.
    """
    source = np.array(FROM_COCO17)
    joints = keypoints[:, np.maximum(source, 0)].astype(np.float64)
    shoulders = keypoints[:, [5, 6]].astype(np.float64)
    joints[:, 1, :2] = shoulders[..., :2].mean(1)
    joints[:, 1, 2] = shoulders[..., 2].min(1)
    state = np.select([joints[..., 2] == 2, joints[..., 2] == 1], [SEEN, HIDDEN], ABSENT)
    labelled = (shoulders[..., 2] > 0).sum(1)
    state[labelled == 1, 1] = UNKNOWN
    return joints[..., :2], state.astype(np.int8)


def _keypoints(person: dict[str, Any], hw: tuple[int, int], where: str) -> np.ndarray | None:
    """(17, 3) of a person with enough of them, else None; damaged ones count as none.

    What lies outside the picture gets v = 0.  Without `num_keypoints` those with v > 0 are counted.
    """
    count = person.get("num_keypoints", MIN_JOINTS if "keypoints" in person else 0)
    if person.get("iscrowd") or (isinstance(count, int | float) and count < MIN_JOINTS):
        return None
    try:
        if not isinstance(count, int | float):
            raise BadInput(f"{where}: num_keypoints must be a number, got {count!r:.80}")
        keypoints = numbers(person, "keypoints", (17, 3), where)
    except BadInput as error:
        log.warning("the person is masked: %s", error)
        return None
    if not np.isfinite(keypoints).all() or not np.isin(keypoints[:, 2], (0, 1, 2)).all():
        log.warning("the person is masked: %s: keypoints must be x, y, v with v 0, 1 or 2", where)
        return None
    away = outside(keypoints[:, :2], hw) & (keypoints[:, 2] > 0)
    if away.any():
        log.warning("%s: %d joints outside the picture are taken as absent", where, away.sum())
        keypoints[away, 2] = 0
    return keypoints if (keypoints[:, 2] > 0).sum() >= MIN_JOINTS else None


def _crowd(person: dict[str, Any], hw: tuple[int, int], where: str) -> np.ndarray | None:
    """(H, W) bool mask of a crowd with run lengths; None if it has only a box."""
    runs = person.get("segmentation")
    if not person.get("iscrowd") or not isinstance(runs, dict):
        return None
    try:
        from pycocotools import mask
    except ImportError:  # the extra `train`; the box masks more than is needed
        return None
    try:
        if tuple(runs["size"]) != hw:
            raise ValueError(f"size {runs['size']}, the picture has {list(hw)}")
        with warnings.catch_warnings():  # of pycocotools' own about numpy 2
            warnings.simplefilter("ignore", DeprecationWarning)
            packed = mask.frPyObjects(runs, *hw) if isinstance(runs["counts"], list) else runs
            return np.asarray(mask.decode(packed)) > 0
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        log.warning("the crowd's box is masked: %s: segmentation: %s", where, error)
        return None


def _sample(
    image: np.ndarray,
    people: list[dict[str, Any]],
    all_listed: bool,
    file: Path,
    anywhere: list[np.ndarray],
) -> Sample:
    hw = (image.shape[0], image.shape[1])
    boxes, keypoints = [], []
    ignored = [box for box in anywhere if box[0] < hw[1] and box[1] < hw[0]]
    crowds = np.zeros(hw, bool)
    for person in people:
        where = f"{file}, annotation {person.get('id')}"
        box, joints = box_xyxy(person, where), _keypoints(person, hw, where)
        crowd = _crowd(person, hw, where)
        if joints is not None:
            boxes.append(box)
            keypoints.append(joints)
        elif crowd is not None:
            crowds |= crowd
        else:
            ignored.append(box)
    n = len(boxes)
    joints_px, state = joints18_from_coco17(np.array(keypoints).reshape(-1, 17, 3))
    boxes_xyxy = np.array(boxes).reshape(-1, 4)
    return Sample(
        image=image,
        joints_px=joints_px,
        state=state,
        boxes_xyxy=boxes_xyxy,
        joints3d_m=np.zeros((n, 21, 3)),
        joints3d_weight=np.zeros((n, 21)),
        depth_m=boxes_xyxy[:, 1] - boxes_xyxy[:, 3],
        ignore_xyxy=np.array(ignored).reshape(-1, 4),
        outside_weight=1.0 if all_listed else 0.3,
        ignore_mask=crowds.astype(np.uint8) if crowds.any() else None,
    )


MASKED_EVERYWHERE = 20
"""With more boxes than this that may be in any picture, all pictures are doubted instead."""


def _anywhere(listing: Listing, file: Path) -> tuple[list[np.ndarray], bool]:
    """(4,) boxes to be masked in every picture, and whether these are all that are missing."""
    boxes: list[np.ndarray] = []
    whole = listing.unreadable == 0
    for person in listing.unplaced:
        try:
            boxes.append(box_xyxy(person, f"{file}, annotation {person.get('id')}"))
        except BadInput as error:
            log.warning("whose place is not known: %s", error)
            whole = False
    if len(boxes) > MASKED_EVERYWHERE:
        boxes, whole = [], False
    if listing.unplaced:
        log.warning(
            "%s: %d annotations without a picture's id in image_id, the first is %s; %s",
            file, len(listing.unplaced), listing.unplaced[0].get("id"),
            "their boxes are masked everywhere" if boxes else "nobody is masked for them",
        )  # fmt: skip
    if not whole:
        log.warning("%s: who is in which picture is not sure, so none is sure background", file)
    return boxes, whole


def coco(annotations: Path, images: Path) -> Iterator[Sample]:
    """Every picture of a COCO keypoints file; people without enough joints are masked.

    A crowd is masked by its run lengths where it has them, everybody else by the box.  A picture
    that does not decode, or one of whose people has no box, is left out with a warning: a person
    whose place is not known cannot be masked.  So is a picture without an id.  Who is annotated
    without a picture is masked in every picture; without a box either, no picture is sure to list
    all its people.

    Raises:
        BadInput: the annotation file is missing or damaged.
    """
    listing = read_listing(annotations)
    anywhere, whole = _anywhere(listing, annotations)
    for record in listing.pictures:
        name = str(record.get("file_name"))
        try:
            image = read_picture(images / name)
            listed = whole and bool(record.get("all_persons_listed", True))
            people = listing.people.get(record["id"], [])
            sample = _sample(image, people, listed, annotations, anywhere)
        except (BadInput, CannotOpenSource) as error:
            log.warning("left out %s: %s", name, error)
            continue
        yield sample
