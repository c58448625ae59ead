"""Other places to begin a fit, for people who may sit in a wrong minimum of the energy.

A fit goes downhill from where it starts.  It goes wrong when the last pose is far from the truth
(somebody turned round unseen), when a limb was taken for that of the other side (crossed legs), or
when a pose is its own mirror image in depth (front for back).  So further starts are tried, all in
the same batch; each only where a cheap test says that it may help, and the lowest energy wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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


def off_m(pose: Pose, seen: Evidence) -> np.ndarray:
    """(P,) m: mean distance of the joints from the lifted ones, by weight."""
    points = forward(pose, seen.rest_m).points_m[:, :JOINTS]
    off = np.linalg.norm(points - points[:, ROOT, None] - seen.target_m, axis=-1)
    return (off * seen.target_weight).sum(1) / np.maximum(seen.target_weight.sum(1), 1e-9)


def further_starts(seen: Evidence, options: StartOptions) -> tuple[np.ndarray, Evidence, Pose]:
    """Starts beside the expected pose: whose they are (C,), what they believe, where they begin."""
    parts = [_fresh(seen, options), *(_swapped(seen, swap, options) for swap in _SWAPS)]
    whose = np.concatenate([p[0] for p in parts])[: options.most]
    pose = Pose(*(np.concatenate(a)[: options.most] for a in zip(*(p[2] for p in parts))))
    believed = [p[1] for p in parts]
    return whose, joined(believed).of(np.arange(len(whose))), pose


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
    arrays = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray)
    }
    return replace(first, **arrays)


def _fresh(seen: Evidence, options: StartOptions) -> tuple[np.ndarray, Evidence, Pose]:
    """A start from the lifted joints alone, and its mirror image, where the past fits badly."""
    off = off_m(seen.pose, seen)
    which = np.flatnonzero(seen.warm & (off > options.doubt_m))
    some = seen.of(which)
    if len(which):
        fresh = first_pose(some.target_m)
        nearer = off_m(Pose(some.root_m, fresh.local), some) < options.gain * off[which]
        some, which = some.of(nearer), which[nearer]
        return which, some, Pose(some.root_m, fresh.local[nearer])
    return which, some, some.pose


def _swapped(
    seen: Evidence, swap: tuple[np.ndarray, np.ndarray], options: StartOptions
) -> tuple[np.ndarray, Evidence, Pose]:
    """The expected pose with left and right of a pair of limbs exchanged in what is seen."""
    points = forward(seen.pose, seen.rest_m).points_m[:, RIG.seen]
    there = points[..., :2] / np.maximum(points[..., 2:], 0.1)
    limbs = swap[0] != np.arange(len(swap[0]))
    other = _with(seen, swap)

    def far_m(believed: Evidence) -> np.ndarray:
        weight = believed.ray_weight * limbs
        off = np.linalg.norm(there - believed.rays, axis=-1) * believed.depth_m[:, None]
        return (off * weight).sum(1) / np.maximum(weight.sum(1), 1e-9)

    plain = far_m(seen)
    helps = (plain > options.swapped_m) & (far_m(other) < options.swapped_gain * plain)
    which = np.flatnonzero(seen.warm & helps)
    some = other.of(which)
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
    )
