"""How sure it is that somebody is there: the refiner's joints, and what Stage I saw at that place.

The refiner looks at one square and names joints also where there is nobody.  Two others who looked
at the whole picture know better: the box branch, and the joints and limbs of Stage I.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xnect.boxes import iou
from xnect.follow import joint_boxes
from xnect.types import SUREST, PartialPose


@dataclass(frozen=True)
class PresenceOptions:
    """Chosen by AP on COCO train2017 pictures: most before any was trained on, the eight after."""

    box_iou: float = 0.4  # of a box and that of the joints: the same person
    pose_iou: float = 0.3  # of the joints that Stage I and the refiner saw
    alone: float = 0.3  # what the refiner counts for by itself
    single_at_least: float = 0.35  # person_score of who is given out of a single picture
    whole: float = 2.0  # with this much support the mean of the joints is believed as it is


def supported(
    people: Sequence[PartialPose],
    found: Sequence[PartialPose],
    boxes_xyxy: np.ndarray,
    box_score: np.ndarray,
    options: PresenceOptions = PresenceOptions(),
) -> list[PartialPose]:
    """The refiner's people with a `person_score` that heeds Stage I, best first.

    person_score = mean of the eight surest joints * sqrt((alone + box's score + Stage I's
    person_score) / whole), at most 1; ours.

    Args:
        people: what the refiner saw.
        found: what Stage I and association found.
        boxes_xyxy: (M, 4) px, of the box branch.
        box_score: (M,) 0..1.
        options: when it is the same person, and what counts how much.
    """
    if not people:
        return []
    own, o = joint_boxes(people), options
    box = _best(own, boxes_xyxy, box_score, o.box_iou)
    pose = _best(own, joint_boxes(found), np.array([p.person_score for p in found]), o.pose_iou)
    share = np.sqrt((o.alone + box + pose) / o.whole)
    scored = [
        replace(person, person_score=min(1.0, float(person.surest().sum() / SUREST * s)))
        for person, s in zip(people, share, strict=True)
    ]
    return sorted(scored, key=lambda person: -person.person_score)


def _best(own: np.ndarray, other: np.ndarray, score: np.ndarray, at_least: float) -> np.ndarray:
    """(P, 4), (M, 4), (M,) -> (P,) highest score of the boxes at the same place, 0 without one."""
    if not len(other):
        return np.zeros(len(own))
    best: np.ndarray = np.where(iou(own, other) >= at_least, score, 0.0).max(1)
    return best
