"""Left and right over time: nobody's left leg becomes the right one from frame to frame.

In single pictures the networks often exchange the sides of arms or legs, above all in people seen
from behind or from the side.  In a video the joints move little between frames, so that the labels
of one frame can be followed into the next.  Four hypotheses are kept of each person, arms and legs
labelled right or exchanged, as the states of a hidden Markov chain:

* how well the joints continue the motion of those before them, as labelled or exchanged, carries
  the belief on;
* how much surer the network was of its own labels than of exchanged ones (`PartialPose.margin`) is
  the evidence of the frame; the errors of neighbouring frames are the same error (`side_belief`);
* and that shoulders and hips face one way, as nearly always: exchanged legs after the legs
  crossed come right again.

Then, of each joint alone, at which of two places it is (`two_places`).

A filter: it looks back only, and has no delay.  Ours; not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.resizing import scale_between, scaled_points
from xnect.side_belief import begun, carried, drifted, evidence, log_odds, of_sides, relabelled
from xnect.skeleton import FLIP2D, FLIP3D, J2D, JOINTS2D
from xnect.two_places import Paths, PlaceOptions, followed
from xnect.types import PartialPose, SecondPlaces


@dataclass(frozen=True)
class SideOptions:
    """How sides are followed.  Lengths are shares of the person's size."""

    step: float = 0.055  # usual error of the predicted place of a joint, at 30 frames per second;
    # it grows with the time since then
    link_at_most: float = 8.0  # log-odds: even the clearest link may be a wrong one
    vote: float = 0.6  # of the network's margin, squared: small ones are as often wrong as right;
    # at 30 frames per second, as `facing`; less for each frame where there are more
    margin_at_most: float = 2.5
    mistaken: float = 0.2  # share of the time in which the network is sure of the wrong sides
    lasts_s: float = 0.5  # and about how long it is when it is
    unclear: float = 0.75  # a link of fewer log-odds says nothing: wait for a clearer frame
    together: float = 0.4  # of their distance before: two joints nearer than that are seen as one
    facing: float = 1.0  # log-odds of shoulders and hips that face one way
    belief_at_most: float = 10.0
    same_within: float = 0.3  # mean distance of a person's joints from those remembered
    remembered_s: float = 0.5
    places: PlaceOptions = field(default_factory=PlaceOptions)


ARMS = tuple(J2D[f"left_{part}"] for part in ("shoulder", "elbow", "wrist", "eye", "ear"))
LEGS = tuple(J2D[f"left_{part}"] for part in ("hip", "knee", "ankle"))
PARTS = (ARMS, LEGS)

_FLIP2D, _FLIP3D = np.array(FLIP2D), np.array(FLIP3D)


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """One person of the last frames, with the sides that were given out."""

    joints_px: np.ndarray  # (18, 2)
    speed_px_s: np.ndarray  # (18, 2)
    seen: np.ndarray  # (18,) bool
    belief: np.ndarray  # (2, 2, 2, 2) of the sides that were given out (`side_belief`)
    part_s: np.ndarray  # (2,) time of the frame in which the sides of arms and legs were clear
    time_s: float
    paths: Paths | None  # of `two_places`


class Sides:
    """The sides of everybody in one stream; call `update` once for each frame."""

    def __init__(self, options: SideOptions = SideOptions()) -> None:
        self.options = options
        self._known: list[_Memory] = []

    def resize(self, before_hw: tuple[int, int], now_hw: tuple[int, int]) -> None:
        """Go on in pictures of another size; places in those of another shape are forgotten."""
        scale = scale_between(before_hw, now_hw)
        self._known = [] if scale is None else [_scaled(m, scale) for m in self._known]

    def update(self, people: Sequence[PartialPose], time_s: float) -> list[PartialPose]:
        """The people of the next frame, in their order, with sides that continue those before."""
        o, people = self.options, [person.finite() for person in people]
        self._known = [m for m in self._known if 0 <= time_s - m.time_s <= o.remembered_s]
        before = _matched(people, self._known, time_s, o)
        out, known = [], []
        for person, memory in zip(people, before, strict=True):
            links = np.zeros(2) if memory is None else _links(person, memory, time_s, o)
            belief = _believed(person, memory, links, time_s, o)
            sides = of_sides(belief)
            arms, legs = map(bool, np.unravel_index(sides.argmax(), sides.shape))
            given, belief = exchanged(person, arms, legs), relabelled(belief, arms, legs)
            size = _size(given.joints_px, given.score > 0)
            paths = None if memory is None else memory.paths
            placed, paths = followed(given, size, paths, time_s, o.places)
            out.append(placed)
            unclear = (np.abs(links) < o.unclear) & (memory is not None)
            known.append(_remembered(given, memory, belief, unclear, paths, time_s, o))
        taken = {id(m) for m in before if m is not None}
        self._known = known + [m for m in self._known if id(m) not in taken]
        return out


def exchanged(person: PartialPose, arms: bool, legs: bool) -> PartialPose:
    """The same joints, with left and right of arms or legs exchanged; codes go with their joints.

    A code tells bones apart by side as well, so its bones are exchanged where its joint is.
    """
    if not arms and not legs:
        return person
    source = np.arange(len(JOINTS2D))
    for part, wanted in zip(PARTS, (arms, legs), strict=True):
        if wanted:
            both = np.array([*part, *_FLIP2D[list(part)]])
            source[both] = _FLIP2D[both]
    second = person.second
    if second is not None:
        second = SecondPlaces(
            second.joints_px[source], second.score[source], _exchanged_codes(second.codes, source)
        )
    return replace(
        person,
        joints_px=person.joints_px[source],
        score=person.score[source],
        codes=_exchanged_codes(person.codes, source),
        margin=None if person.margin is None else person.margin[source],
        second=second,
    )


def _exchanged_codes(codes: np.ndarray, source: np.ndarray) -> np.ndarray:
    """(18, 63) -> those of joints `source` (18,), with the sides of the bones of who moved."""
    codes = codes[source]
    turned = source != np.arange(len(JOINTS2D))
    bones = codes.reshape(len(JOINTS2D), 3, -1)[:, :, _FLIP3D].reshape(codes.shape)
    out: np.ndarray = np.where(turned[:, None], bones, codes).astype(np.float32)
    return out


def _scaled(memory: _Memory, scale_xy: np.ndarray) -> _Memory:
    paths = memory.paths
    if paths is not None:
        paths = replace(paths, places_px=scaled_points(paths.places_px, scale_xy))
    return replace(
        memory,
        joints_px=scaled_points(memory.joints_px, scale_xy),
        speed_px_s=memory.speed_px_s * scale_xy,
        paths=paths,
    )


def _size(joints_px: np.ndarray, seen: np.ndarray) -> float:
    return float(max(np.ptp(joints_px[seen], axis=0).max(), 1.0)) if seen.any() else 1.0


_STEADY_S, _FADE_S = 1 / 30, 0.1


def _predicted(memory: _Memory, time_s: float) -> np.ndarray:
    """(18, 2) px; the speed holds for a frame, and fades out after it: limbs swing back."""
    passed_s = time_s - memory.time_s
    ahead_s = min(passed_s, _STEADY_S)
    ahead_s += _FADE_S * (1 - np.exp(-max(passed_s - _STEADY_S, 0) / _FADE_S))
    return memory.joints_px + memory.speed_px_s * ahead_s


def _matched(
    people: Sequence[PartialPose], known: Sequence[_Memory], time_s: float, o: SideOptions
) -> list[_Memory | None]:
    """Who each person was in the frames before; sides play no part in it."""
    cost = np.full((len(people), len(known)), 1e3)
    for column, memory in enumerate(known):
        was = _predicted(memory, time_s)
        for row, person in enumerate(people):
            seen = person.score > 0
            away = np.full((2, len(JOINTS2D)), np.inf)
            for k, order in enumerate((np.arange(len(JOINTS2D)), _FLIP2D)):
                both = seen & memory.seen[order]
                away[k, both] = np.linalg.norm(person.joints_px[both] - was[order][both], axis=-1)
            best = away.min(0)
            both = np.isfinite(best)
            if both.sum() >= 3:
                size = _size(person.joints_px, seen)
                if best[both].mean() > o.same_within * size:
                    continue
                # a fragment on somebody is not them: what only one of the two has counts against it
                alone = max(seen.sum(), memory.seen.sum()) - both.sum()
                near = np.minimum(best[both] / size, 1).sum()
                cost[row, column] = (near + o.same_within * alone) / (both.sum() + alone)
    before: list[_Memory | None] = [None] * len(people)
    for row, column in zip(*linear_sum_assignment(cost), strict=True):
        if cost[row, column] <= o.same_within:
            before[row] = known[column]
    return before


def _believed(
    person: PartialPose, memory: _Memory | None, links: np.ndarray, time_s: float, o: SideOptions
) -> np.ndarray:
    """(2, 2, 2, 2) of the labels of this frame, after it and those before.

    The network is surer of right ones, and nobody turns hips and shoulders to opposite sides.
    """
    arms, legs = o.vote * _votes(person, o) ** 2
    belief = evidence(float(arms), float(legs), o.facing * _alike(person))
    if memory is None:
        belief = belief + begun(o.mistaken)
    else:
        passed_s = time_s - memory.time_s
        belief = belief * min(30 * passed_s, 1.0)  # more frames in a second are not more evidence
        before = carried(memory.belief, links)
        belief = belief + drifted(before, passed_s, o.mistaken, o.lasts_s)
    return np.maximum(belief - belief.max(), -o.belief_at_most)


def _alike(person: PartialPose) -> float:
    """How far shoulders and hips are labelled to one side, -1 to 1; 0 of who stands sideways."""
    ends = [J2D[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]
    if not (person.score[ends] > 0).all():
        return 0.0
    joints = person.joints_px[ends].astype(np.float64)
    across = np.array([joints[0] - joints[1], joints[2] - joints[3]])
    size = _size(person.joints_px, person.score > 0)
    return float(np.clip((across[0] @ across[1]) / (0.1 * size) ** 2, -1, 1))


def _votes(person: PartialPose, o: SideOptions) -> np.ndarray:
    """(2,) how much surer the network is of its labels than of exchanged ones; never negative."""
    if person.margin is None:
        return np.full(2, 0.5 * o.margin_at_most)
    votes = np.zeros(2)
    for k, part in enumerate(PARTS):
        both = np.array([*part, *_FLIP2D[list(part)]])
        seen = both[person.score[both] > 0]
        if len(seen):
            votes[k] = np.clip(person.margin[seen], 0, o.margin_at_most).mean()
    return votes


def _links(person: PartialPose, memory: _Memory, time_s: float, o: SideOptions) -> np.ndarray:
    """(2,) log-odds that the labels continue those remembered, against exchanged ones."""
    was, seen = _predicted(memory, time_s), person.score > 0
    size = _size(person.joints_px, seen)
    links = np.zeros(2)
    for k, part in enumerate(PARTS):
        step = o.step * size * max(30 * (time_s - memory.part_s[k]), 1.0)
        for joint in (*part, *_FLIP2D[list(part)]):
            twin = _FLIP2D[joint]
            if not (seen[joint] and memory.seen[joint] and memory.seen[twin]):
                continue
            apart = np.linalg.norm(was[joint] - was[twin])
            if seen[twin]:
                now = np.linalg.norm(person.joints_px[joint] - person.joints_px[twin])
                if now < o.together * apart:
                    continue  # the network put both on one limb
            away = np.square(person.joints_px[joint] - was[[joint, twin]]).sum(-1)
            links[k] += np.clip((away[1] - away[0]) / (2 * step**2), -4, 4)
    return np.clip(links, -o.link_at_most, o.link_at_most)


def _remembered(
    person: PartialPose,
    memory: _Memory | None,
    belief: np.ndarray,
    unclear: np.ndarray,
    paths: Paths | None,
    time_s: float,
    o: SideOptions,
) -> _Memory:
    """What is kept of this frame; parts whose sides are unclear stay as they were before."""
    seen, speed = person.score > 0, np.zeros((len(JOINTS2D), 2))
    joints, part_s = person.joints_px.astype(np.float64), np.full(2, time_s)
    if memory is None or time_s <= memory.time_s:
        return _Memory(joints, speed, seen, belief, part_s, time_s, paths)
    both, gap = seen & memory.seen, time_s - memory.time_s
    speed[both] = 0.5 * memory.speed_px_s[both] + 0.5 * (joints - memory.joints_px)[both] / gap
    belief, seen = belief.copy(), seen.copy()
    was = _predicted(memory, time_s)
    odds, odds_before = log_odds(belief), log_odds(memory.belief)
    for k, part in enumerate(PARTS):
        surer = odds_before[k] > odds[k] and time_s - memory.part_s[k] < o.remembered_s
        if unclear[k] and surer:
            own = np.array([*part, *_FLIP2D[list(part)]])
            joints[own], speed[own], seen[own] = (
                was[own],
                0.8 * memory.speed_px_s[own],
                memory.seen[own],
            )
            np.moveaxis(belief, k, 0)[0] += odds_before[k] - odds[k]
            part_s[k] = memory.part_s[k]
    return _Memory(joints, speed, seen, belief, part_s, time_s, paths)
