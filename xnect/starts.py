"""Other places to begin a fit, for people who may sit in a wrong minimum of the energy.

A fit goes downhill from where it starts.  It goes wrong when the last pose is far from the truth
(somebody turned round unseen), when a limb was taken for that of the other side (crossed legs), or
when a pose is its own mirror image in depth (front for back).  So further starts are tried, all in
the same batch; each only where a cheap test says that it may help, and the lowest energy wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xnect.evidence import Evidence
from xnect.first_pose import first_pose
from xnect.kinematics import Pose, forward
from xnect.rig import JOINTS, RIG
from xnect.skeleton import FLIP2D, FLIP3D, J2D, J3D, ROOT


@dataclass(frozen=True)
class StartOptions:
    """When further starts are tried."""

    doubt_m: float = 0.12  # mean distance from the lifted joints from which on the past is doubted
    gain: float = 0.75  # and a fresh start must be nearer by this factor
    swapped_m: float = 0.12  # mean distance of a limb's 2D joints from the expected ones, the same
    swapped_gain: float = 0.5
    most: int = 12  # further starts in a frame: bounds the time of the worst frames
    give_up_m2: float = 0.05  # of energy: what it costs to disbelieve the past
    margin: float = 0.9  # a further start must end this much lower to be taken


def _limbs(parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the 2D and 3D joints with these joints of left and right exchanged."""
    two, three = np.arange(len(J2D)), np.arange(JOINTS)
    for side in ("left", "right"):
        for part in parts:
            if f"{side}_{part}" in J2D:
                two[J2D[f"{side}_{part}"]] = FLIP2D[J2D[f"{side}_{part}"]]
            three[J3D[f"{side}_{part}"]] = FLIP3D[J3D[f"{side}_{part}"]]
    return two, three


_SWAPS = (_limbs(("shoulder", "elbow", "wrist", "hand")), _limbs(("hip", "knee", "ankle", "foot")))


def off_m(points_m: np.ndarray, seen: Evidence) -> np.ndarray:
    """(P, N, 3) -> (P,) m: mean distance of the joints from the lifted ones, by weight."""
    joints = points_m[:, :JOINTS]
    off = np.sqrt(((joints - joints[:, ROOT, None] - seen.target_m) ** 2).sum(-1))
    return (off * seen.target_weight).sum(1) / np.maximum(seen.target_weight.sum(1), 1e-9)


def further_starts(
    seen: Evidence, options: StartOptions
) -> tuple[np.ndarray, Evidence, Pose] | None:
    """Starts beside the expected pose: whose they are (C,), what they believe, where they begin.

    None where the expected pose needs no other beside it, as in most frames.
    """
    points = forward(seen.pose, seen.rest_m).points_m
    found = [
        part
        for part in (
            _fresh(seen, points, options),
            *(_swapped(seen, points, swap, options) for swap in _SWAPS),
        )
        if part is not None
    ]
    if not found or not options.most:
        return None
    whose = np.concatenate([p[0] for p in found])[: options.most]
    begin = zip(*(p[2] for p in found), strict=True)
    pose = Pose(*(np.concatenate(a)[: options.most] for a in begin))
    return whose, joined([p[1] for p in found]).of(np.arange(len(whose))), pose


def first_starts(seen: Evidence) -> tuple[np.ndarray, Evidence, Pose]:
    """Starts of people who are new: as lifted, mirrored in depth, with the legs exchanged."""
    people = np.arange(len(seen.size))
    mirrored = seen.target_m * (1, 1, -1)
    legs = _with(seen, _SWAPS[1])
    poses = [first_pose(t).local for t in (seen.target_m, mirrored, legs.target_m)]
    return (
        np.tile(people, 3),
        joined([seen, seen, legs]),
        Pose(np.tile(seen.root_m, (3, 1)), np.concatenate(poses)),
    )


def best(whose: np.ndarray, cost: np.ndarray, people: int, margin: float) -> np.ndarray:
    """(P,) row of the start that is taken for each person; the first P rows are their own."""
    taken = np.arange(people)
    for row in range(people, len(whose)):
        person = whose[row]
        own = taken[person] < people
        if cost[row] < cost[taken[person]] * (margin if own else 1):
            taken[person] = row
    return taken


def joined(parts: list[Evidence]) -> Evidence:
    """The people of all parts, one after the other."""
    first = parts[0]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray)
    }
    return replace(first, **arrays)


def _fresh(
    seen: Evidence, points_m: np.ndarray, options: StartOptions
) -> tuple[np.ndarray, Evidence, Pose] | None:
    """A start from the lifted joints alone, without a past, where the expected pose fits badly."""
    off = off_m(points_m, seen)
    which = np.flatnonzero(off > options.doubt_m)
    if not len(which):
        return None
    some = seen.of(which)
    fresh = Pose(some.root_m, first_pose(some.target_m).local)
    nearer = off_m(forward(fresh, some.rest_m).points_m, some) < options.gain * off[which]
    if not nearer.any():
        return None
    some = some.of(np.flatnonzero(nearer))
    without_past = replace(some, steady_weight=np.zeros_like(some.steady_weight))
    return which[nearer], without_past, Pose(*(a[nearer] for a in fresh))


def _swapped(
    seen: Evidence,
    points_m: np.ndarray,
    swap: tuple[np.ndarray, np.ndarray],
    options: StartOptions,
) -> tuple[np.ndarray, Evidence, Pose] | None:
    """The expected pose, with left and right of a pair of limbs exchanged in what is seen."""
    limbs = np.flatnonzero(swap[0] != np.arange(len(swap[0])))
    points = points_m[:, RIG.seen[limbs]]
    there = points[..., :2] / np.maximum(points[..., 2:], 0.1)

    def far_m(joints: np.ndarray) -> np.ndarray:
        weight = seen.ray_weight[:, joints]
        off = np.sqrt(((there - seen.rays[:, joints]) ** 2).sum(-1)) * seen.depth_m[:, None]
        return (off * weight).sum(1) / np.maximum(weight.sum(1), 1e-9)

    plain = far_m(limbs)
    if not (plain > options.swapped_m).any():
        return None
    helps = (plain > options.swapped_m) & (far_m(swap[0][limbs]) < options.swapped_gain * plain)
    which = np.flatnonzero(helps)
    if not len(which):
        return None
    some = _with(seen.of(which), swap)
    return which, some, some.pose


def _with(seen: Evidence, swap: tuple[np.ndarray, np.ndarray]) -> Evidence:
    """What is seen, if the joints of these limbs were found on the wrong side."""
    two, three = swap
    return replace(
        seen,
        rays=seen.rays[:, two],
        ray_weight=seen.ray_weight[:, two],
        target_m=seen.target_m[:, three],
        target_weight=seen.target_weight[:, three],
        bone_m=seen.bone_m[:, three],
        bone_weight=seen.bone_weight[:, three],
    )
