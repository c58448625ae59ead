"""Where to look again for the people of the frame before.

Stage I finds everybody anew in each frame, and now and then misses somebody, or finds a part.  The
refiner only needs to know where to look, and in a video the pose of the last frame says that (as
BlazePose does for one person: Bazarevsky et al. 2020).  So the refiner looks

* at those whom Stage I found where they were in the last frame, if they were there: that box is
  one of sure joints (but not beside others, where a look that has slipped must not last);
* at boxes in which Stage I sees somebody, but not which joints;
* at those whom Stage I missed, for as long as the refiner is sure of them, and not for ever: what
  Stage I never confirms may be a thing that looks like somebody.

Ours; not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.boxes import inside, iou
from xnect.resizing import scale_between, scaled_pose
from xnect.types import PartialPose


@dataclass(frozen=True)
class FollowOptions:
    """Who is the same person, and how long somebody is followed whom Stage I does not find."""

    near: float = 0.25  # of the person's size: a joint at the same place
    share: float = 0.5  # of the joints that both have: the same person
    common: int = 3  # joints that both have at least
    smallest: float = 0.7  # of the size that Stage I says: a smaller box has lost the person
    remembered_s: float = 0.2  # between two frames; what lies farther back says nothing
    alone_s: float = 1.0  # for which the refiner alone is believed
    alone_at_least: float = 0.4  # mean joint value of somebody whom Stage I does not find
    box_iou: float = 0.5  # of a box and the box of a person's joints: the same person
    whole: int = 14  # joints that Stage I sees of somebody whose box it knows by itself
    beside_iou: float = 0.3  # of the boxes of two people, where a look may slip to the other
    shadow_iou: float = 0.4  # of whom the refiner alone sees and whom Stage I sees as well ...
    shadow_inside: float = 0.8  # ... or share of the former's box: no other person


class Candidates(NamedTuple):
    """Where the refiner looks."""

    people: list[PartialPose]  # Stage I's, then those of the last frame whom it missed
    boxes: list[PartialPose]  # for each, the pose that says where
    found: int  # how many are Stage I's
    more_xyxy: np.ndarray = np.zeros((0, 4))  # boxes, px, in which there may be somebody else


class Follow:
    """The people of one stream; `candidates` before the second look, `keep` after it."""

    def __init__(self, options: FollowOptions = FollowOptions()) -> None:
        self.options = options
        self._last: list[PartialPose] = []
        self._alone_s: list[float] = []
        self._time_s = 0.0
        self._searched_s = -np.inf

    def resize(self, before_hw: tuple[int, int], now_hw: tuple[int, int]) -> None:
        """Go on in pictures of another size; places in those of another shape are forgotten."""
        scale = scale_between(before_hw, now_hw)
        if scale is None:
            self._last, self._alone_s, self._searched_s = [], [], -np.inf
        else:
            self._last = [scaled_pose(person, scale) for person in self._last]

    def search(self, time_s: float, every_s: float) -> bool:
        """Whether it is time to look for people who are hard to find; asking counts as looking."""
        due = not 0 <= time_s - self._searched_s < every_s
        if due:
            self._searched_s = time_s
        return due

    def candidates(
        self,
        found: Sequence[PartialPose],
        time_s: float,
        boxes_xyxy: np.ndarray = np.zeros((0, 4)),
    ) -> Candidates:
        """Stage I's people of a frame, those of the last frame whom it missed, and other boxes."""
        if not 0 <= time_s - self._time_s <= self.options.remembered_s + 1e-6:
            self._last, self._alone_s = [], []
        pairs = matched(found, self._last, self.options)
        beside = _beside(found, self._last, pairs, self.options)
        boxes = [
            self._box(one, self._last[pairs[i]]) if i in pairs and not beside[i] else one
            for i, one in enumerate(found)
        ]
        missed = [one for k, one in enumerate(self._last) if k not in pairs.values()]
        people, looked = [*found, *missed], [*boxes, *missed]
        return Candidates(people, looked, len(found), others(boxes_xyxy, looked, self.options))

    def _box(self, found: PartialPose, last: PartialPose) -> PartialPose:
        return last if size_px(last) >= self.options.smallest * size_px(found) else found

    def keep(
        self,
        refined: Sequence[PartialPose],
        found: Sequence[PartialPose],
        time_s: float,
        boxes_xyxy: np.ndarray = np.zeros((0, 4)),
    ) -> list[PartialPose]:
        """Those of the refined people who are believed; they are where to look next."""
        o = self.options
        confirmed = {*matched(refined, found, o), *_in_boxes(refined, boxes_xyxy, o)}
        before = matched(refined, self._last, o)
        step = max(time_s - self._time_s, 0.0)
        shadows = _shadows(refined, confirmed, o)
        kept, alone = [], []
        for i, person in enumerate(refined):
            if i in shadows:
                continue
            followed = i in before and i not in confirmed
            seconds = self._alone_s[before[i]] + step if followed else 0.0
            sure = float(person.score.mean()) >= o.alone_at_least
            if i in confirmed or (seconds <= o.alone_s and sure):
                kept.append(person)
                alone.append(seconds)
        self._last, self._alone_s, self._time_s = kept, alone, time_s
        return kept


def others(
    boxes_xyxy: np.ndarray, people: Sequence[PartialPose], options: FollowOptions = FollowOptions()
) -> np.ndarray:
    """The boxes (M, 4) that are not one of the people's."""
    if not people or not len(boxes_xyxy):
        return boxes_xyxy
    left: np.ndarray = boxes_xyxy[iou(boxes_xyxy, joint_boxes(people)).max(1) < options.box_iou]
    return left


def _in_boxes(
    people: Sequence[PartialPose], boxes_xyxy: np.ndarray, options: FollowOptions
) -> list[int]:
    """Numbers of the people who are in one of the boxes."""
    if not people or not len(boxes_xyxy):
        return []
    near = iou(joint_boxes(people), boxes_xyxy).max(1) >= options.box_iou
    return np.flatnonzero(near).tolist()


def _beside(
    found: Sequence[PartialPose],
    last: Sequence[PartialPose],
    pairs: dict[int, int],
    options: FollowOptions,
) -> list[bool]:
    """Whether each of Stage I's people is whole, and so near to somebody else that a look may slip.

    There the place in the last frame may be half that of the other already.
    """
    whole = np.array([(person.score > 0).sum() >= options.whole for person in found], bool)
    sure = np.array([person.score.mean() >= options.alone_at_least for person in last], bool)
    boxes, before = joint_boxes(found), joint_boxes(last)
    own = (iou(boxes, boxes) >= options.beside_iou) & whole
    past = (iou(boxes, before) >= options.beside_iou) & sure
    return [
        bool(whole[i] and (own[i].sum() > 1 or np.delete(past[i], pairs.get(i, [])).any()))
        for i in range(len(found))
    ]


def _shadows(
    people: Sequence[PartialPose], confirmed: set[int], options: FollowOptions
) -> set[int]:
    """Numbers of those whom the refiner alone sees, at the place of somebody who is confirmed.

    At crossings the second look at one person slips to the other, and names joints of both.
    """
    alone = [i for i in range(len(people)) if i not in confirmed]
    if not alone or not confirmed:
        return set()
    boxes = joint_boxes(people)
    others_xyxy = boxes[sorted(confirmed)]
    near = iou(boxes[alone], others_xyxy).max(1) >= options.shadow_iou
    near |= inside(boxes[alone], others_xyxy).max(1) >= options.shadow_inside
    return {i for i, shadow in zip(alone, near, strict=True) if shadow}


def joint_boxes(people: Sequence[PartialPose]) -> np.ndarray:
    """(P, 4) xyxy px of the joints that are seen."""
    points = [person.joints_px[person.score > 0] for person in people]
    return np.array([[*p.min(0), *p.max(0)] for p in points], np.float64).reshape(-1, 4)


def matched(
    people: Sequence[PartialPose], others: Sequence[PartialPose], options: FollowOptions
) -> dict[int, int]:
    """Number of each of the people -> number of the other who is the same person, one to one."""
    if not people or not others:
        return {}
    share = np.array([[same_share(a, b, options) for b in others] for a in people])
    rows, columns = linear_sum_assignment(share, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {i: k for i, k in pairs if share[i, k] >= options.share}


def same_share(one: PartialPose, other: PartialPose, options: FollowOptions) -> float:
    """Share of the joints that both have which lie at the same place, of the larger one's size."""
    both = (one.score > 0) & (other.score > 0)
    if both.sum() < options.common:
        return 0.0
    size = max(size_px(one), size_px(other))
    away = np.linalg.norm(one.joints_px[both] - other.joints_px[both], axis=-1)
    return float((away <= options.near * size).mean())


def size_px(person: PartialPose) -> float:
    """Longer side of the box of the joints that are seen."""
    return float(np.ptp(person.joints_px[person.score > 0], axis=0).max())
