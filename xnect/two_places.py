"""Which of two places each joint is at, over time: the network's best peak is not always the one.

Where left and right are in doubt, the heatmap of an ankle has a peak on either foot, and from frame
to frame now this, now that one is higher: both ankles on one foot, and a leg that jumps.  The
second peak (`SecondPlaces`) is mostly right where the first is wrong.  So for each pair of a left
and a right joint the best path through the four combinations of their peaks is followed (Viterbi
1967), with an energy in log-odds:

* `vote` times the logarithm of each peak's value;
* less the squared step from the frame before, over twice `step` squared, `jump` at most;
* less `together` where both joints are at one place.

What the frames say counts by time, at most as one of thirty in a second, so that a camera of more
frames does not overrule the past sooner.

A filter: it looks back only, and has no delay.  Ours; not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from xnect.skeleton import JOINTS2D, SIDES2D
from xnect.types import PartialPose, SecondPlaces


@dataclass(frozen=True)
class PlaceOptions:
    """How places are followed.  Lengths are shares of the person's size."""

    vote: float = 1.0
    step: float = 0.08  # of a joint from frame to frame, at 30 frames per second; grows with time
    jump: float = 4.0
    together: float = 1.0
    near: float = 0.05
    second_at_least: float = 0.5  # of the first peak's value: of a peak that may be the place


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """The best paths of one person up to the last frame."""

    places_px: np.ndarray  # (6, 4, 2, 2) of each pair's combinations: right and left joint; x, y
    belief: np.ndarray  # (6, 4) log-odds of each against the best; -inf where there is none
    time_s: float


PAIRS = np.array(SIDES2D)  # (6, 2) right and left

_TAKEN = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])  # which peak of the right, of the left joint


def followed(
    person: PartialPose,
    size_px: float,
    before: Paths | None,
    time_s: float,
    options: PlaceOptions = PlaceOptions(),
) -> tuple[PartialPose, Paths | None]:
    """The person with each joint at the place that the frames so far make most likely.

    Args:
        person: of this frame.  One without `second` keeps its joints, and `before` is given back.
        size_px: of the person in the picture.
        before: of the same person, at an earlier time.
        time_s: of the frame.
        options: see `PlaceOptions`.
    """
    o, second = options, person.second
    if second is None:
        return person, before
    places = np.stack([person.joints_px, second.joints_px], 1)[PAIRS]  # (6, 2, peak, 2)
    value = np.stack([person.score, second.score], 1)[PAIRS].astype(np.float64)  # (6, 2, peak)
    seen = value[..., :1] > 0
    there = np.concatenate(
        [np.ones_like(seen), seen & (value[..., 1:] >= o.second_at_least * value[..., :1])], -1
    )
    side = np.arange(2)
    path = places[:, side, _TAKEN].astype(np.float64)  # (6, 4, 2, 2)
    known = np.broadcast_to(seen[:, None, :, 0], path.shape[:-1])
    path = np.where(known[..., None], path, np.nan)  # somebody's unseen joint is anywhere
    energy = o.vote * np.log(np.where(seen & there, np.maximum(value, 1e-6), 1.0))
    energy = np.where(there, energy, -np.inf)[:, side, _TAKEN].sum(-1)  # (6, 4)
    apart = np.linalg.norm(path[:, :, 0] - path[:, :, 1], axis=-1)
    belief = energy - o.together * (apart < o.near * size_px)
    if before is not None and time_s > before.time_s:
        passed = 30 * (time_s - before.time_s)
        belief = np.where(np.isfinite(belief), belief * min(passed, 1.0), -np.inf)
        frames = max(passed, 1.0)
        away = np.square(path[:, :, None] - before.places_px[:, None]).sum(-1)  # (6, 4, 4, 2)
        away = np.nan_to_num(away) / (2 * (frames * o.step * size_px) ** 2)
        belief += (before.belief[:, None] - np.minimum(away, o.jump).sum(-1)).max(-1)
    belief -= belief.max(-1, keepdims=True)
    taken = np.zeros(len(JOINTS2D), bool)
    taken[PAIRS] = _TAKEN[belief.argmax(-1)]
    return _at_second(person, second, taken), Paths(path, belief, time_s)


def _at_second(person: PartialPose, second: SecondPlaces, taken: np.ndarray) -> PartialPose:
    """The person whose joints `taken` (18,) are at their second place, and that at their first."""
    if not taken.any():
        return person
    which = taken[:, None]
    return replace(
        person,
        joints_px=np.where(which, second.joints_px, person.joints_px).astype(np.float32),
        score=np.where(taken, second.score, person.score).astype(np.float32),
        codes=np.where(which, second.codes, person.codes).astype(np.float32),
        second=SecondPlaces(
            np.where(which, person.joints_px, second.joints_px),
            np.where(taken, person.score, second.score),
            np.where(which, person.codes, second.codes),
        ),
    )
