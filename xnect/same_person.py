"""Which of several looks at people are the same person, a part of one, or somebody hidden.

Two looks are one person when most joints lie at the same place, or the whole trunk, or the face.
Where Stage I saw two people and both looks found the nearer one, the hidden one stays as Stage I
saw them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnect.skeleton import FACE, J2D
from xnect.types import PartialPose


@dataclass(frozen=True)
class SameOptions:
    """When two looks are one person."""

    same_within: float = 0.12  # of the box's longer side: joints at the same place
    same_share: float = 0.6  # of the joints at the same place as a surer person's: the same person
    trunk_joints: int = 4  # of the trunk that both have, all at the same place: the same person
    face_joints: int = 3  # of the face that both have at least ...
    face_m: float = 0.1  # ... and whose mean distance is less, at the body's scale: one face
    part_size: float = 0.35  # of the size of somebody whose box holds it all: a limb, not a person
    two_of_joints: int = 6  # joints that both of two whole people have in Stage I ...
    two_share: float = 0.34  # ... of which fewer than this share are at the same place


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """P looks at people."""

    joints_px: np.ndarray  # (P, 18, 2)
    score: np.ndarray  # (P, 18) 0 where absent
    size_px: np.ndarray  # (P,) longer side of the box
    px_per_m: np.ndarray  # (P,) scale of the body, 0 where unknown
    first: Sequence[PartialPose | None]  # as Stage I saw them, if it did


def different(
    looks: Looks, order: Sequence[int], options: SameOptions = SameOptions()
) -> tuple[list[int], list[PartialPose]]:
    """The looks that are people of their own, and the hidden people as Stage I saw them.

    Args:
        looks: at people.
        order: those that count, surest first; a less sure one is dropped for a surer one.
        options: thresholds.
    """
    joints, score, first = looks.joints_px, looks.score, looks.first
    near, face_px = options.same_within * looks.size_px, options.face_m * looks.px_per_m
    counts = np.isin(np.arange(len(score)), order)  # who was rejected holds nobody's limbs
    kept: list[int] = []
    behind: set[int] = set()
    for i in order:
        copies = [
            k
            for k in kept
            if one_person(joints[[i, k]], score[[i, k]], near[k], face_px[k], options)
        ]
        if not copies and not _is_part(i, joints, score, counts, options):
            kept.append(i)
        elif copies and all(_two(first[i], first[k], near[k], options) for k in copies):
            # One is behind the other, and the refiner looked at the wrong one.
            behind.add(max([i, *copies], key=lambda n: _away_px(first[n], joints[i])))
    hidden = []
    for somebody in (first[n] for n in sorted(behind)):
        if somebody is not None and not any(
            one_person(
                np.stack([somebody.joints_px, joints[k]]), np.stack([somebody.score, score[k]]),
                near[k], face_px[k], options,
            )
            for k in kept
        ):  # fmt: skip
            hidden.append(somebody)
    return kept, hidden


def one_person(
    joints: np.ndarray, score: np.ndarray, near_px: float, face_px: float, options: SameOptions
) -> bool:
    """(2, 18, 2), (2, 18): whether these are one person, by the joints or by the face."""
    return same(joints, score, near_px, options) or one_face(joints, score, face_px, options)


def same(joints: np.ndarray, score: np.ndarray, within_px: float, options: SameOptions) -> bool:
    """(2, 18, 2), (2, 18): whether most of the joints that both have lie at the same place.

    Or the whole trunk does: a second look at somebody that slipped has limbs of its own.
    """
    both = np.asarray((score > 0).all(0))
    if both.sum() < 3:
        return False
    away: np.ndarray = np.linalg.norm(joints[0] - joints[1], axis=-1)
    near = np.asarray(both & (away <= within_px))
    trunk = both[_TRUNK].sum() >= options.trunk_joints and near[_TRUNK].sum() == both[_TRUNK].sum()
    return bool(trunk or near.sum() >= options.same_share * both.sum())


_TRUNK = [
    J2D[name] for name in ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")
]


def one_face(joints: np.ndarray, score: np.ndarray, within_px: float, options: SameOptions) -> bool:
    """(2, 18, 2), (2, 18): whether two people would have one face.

    Beside somebody else a look that slipped joins the face of one to the body of the other.
    """
    both = (score[:, FACE] > 0).all(0)
    if both.sum() < options.face_joints:
        return False
    away = np.linalg.norm(joints[0, FACE] - joints[1, FACE], axis=-1)
    return bool(away[both].mean() < within_px)


def _two(
    one: PartialPose | None, other: PartialPose | None, within_px: float, options: SameOptions
) -> bool:
    """Whether Stage I saw two people: many joints of both, and few at the same place."""
    if one is None or other is None:
        return False
    both = (one.score > 0) & (other.score > 0)
    if both.sum() < options.two_of_joints:
        return False
    near = np.linalg.norm(one.joints_px[both] - other.joints_px[both], axis=-1) <= within_px
    return bool(near.mean() < options.two_share)


def _away_px(one: PartialPose | None, joints_px: np.ndarray) -> float:
    """How far Stage I's joints of somebody lie from these (18, 2), mean."""
    if one is None or not (seen := one.score > 0).any():
        return 0.0
    return float(np.linalg.norm(one.joints_px[seen] - joints_px[seen], axis=-1).mean())


def _is_part(
    one: int, joints: np.ndarray, score: np.ndarray, counts: np.ndarray, options: SameOptions
) -> bool:
    """Whether a person is tiny and wholly in the box of another: a limb taken for somebody.

    The other is one of those that count, (P,) bool.
    """
    low = np.where((score > 0)[..., None], joints, np.inf).min(1)  # (P, 2)
    high = np.where((score > 0)[..., None], joints, -np.inf).max(1)
    holds = counts & ((low <= low[one]) & (high >= high[one])).all(1)
    size = (high - low).max(1)
    return bool((holds & (size[one] < options.part_size * size)).any())
