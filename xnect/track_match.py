"""Who of the people seen not long ago is which pose of this frame.

Everybody is predicted: on with the last speed, which fades out.  Cost of a pair: 2D distance over
the joints seen in both, difference of the root-relative 3D poses, unlikeness of the upper bodies
(XNect's three measures; the formula is spec 4.3), and change of the apparent size, which tells who
is in front.  The cheapest assignment as a whole is taken (Hungarian), in which leaving somebody
without a pose has a price too: a poor pair is never made for the sake of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnect.appearance import unlikeness_of_people
from xnect.track_extent import distances, size_changes
from xnect.track_memory import Memory
from xnect.track_options import TrackOptions
from xnect.types import Pose3D


def costs(
    people: Sequence[Memory],
    poses: Sequence[Pose3D],
    looks: np.ndarray,
    sizes: np.ndarray,
    time_s: float,
    options: TrackOptions,
) -> np.ndarray:
    """(M, K) cost of each pair; infinite where it cannot be the same person."""
    if not people or not poses:
        return np.zeros((len(people), len(poses)))
    missed_s = time_s - np.array([m.time_s for m in people])
    grown = (1 + 2 * missed_s)[:, None]
    gate = options.gate_2d * grown
    apart = distances(
        [m.seen for m in people],
        [p.partial for p in poses],
        ways_px(people, time_s, options.predict_s),
    )
    old = [m.pose for m in people]
    was_m, now_m = np.stack([p.joints_m for p in old]), np.stack([p.joints_m for p in poses])
    known = (np.stack([p.score for p in old]) > 0)[:, None] & (
        np.stack([p.score for p in poses]) > 0
    )
    off_m = (np.linalg.norm(now_m - was_m[:, None], axis=-1) * known).sum(-1)
    off_m = off_m / np.maximum(known.sum(-1), 1)
    cost = (
        options.weight_2d * apart / gate
        + options.weight_3d * np.minimum(off_m / options.far_3d_m, 1)
        + options.weight_looks * unlikeness_of_people([m.looks for m in people], looks)
        + options.weight_size
        * np.minimum(size_changes([m.size_px for m in people], sizes) / options.far_size, 1)
        + options.doubt * (1 - 1 / grown)
    )
    return np.where(apart > gate, np.inf, cost)


def assigned(cost: np.ndarray, most: float) -> list[tuple[int, int]]:
    """Pairs (row, column) cheaper than `most` with the smallest sum, where no pair costs `most`."""
    if not (cost < most).any():
        return []
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.minimum(cost, most))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < most]


def in_turn(cost: np.ndarray, waits: Sequence[bool], most: float) -> list[tuple[int, int]]:
    """As `assigned`; those who wait get what the others leave.

    A newcomer who has no identity yet, and may be a slip of the networks, takes no pose from
    somebody who has one (confirmed tracks first: Wojke et al. 2017).
    """
    first, later = (np.flatnonzero(np.array(waits, bool) == w) for w in (False, True))
    pairs = [(int(first[r]), c) for r, c in assigned(cost[first], most)]
    rest = np.setdiff1d(np.arange(cost.shape[1]), [c for _, c in pairs])
    pairs += [(int(later[r]), int(rest[c])) for r, c in assigned(cost[np.ix_(later, rest)], most)]
    return pairs


def ways_px(people: Sequence[Memory], time_s: float, fade_s: float) -> np.ndarray:
    """(M, 2) how far people have gone since they were seen, at a speed that fades out."""
    missed_s = time_s - np.array([m.time_s for m in people])
    if fade_s <= 0 or not people:
        return np.zeros((len(people), 2))
    gone_s = fade_s * (1 - np.exp(-missed_s / fade_s))
    return np.stack([m.velocity_px_s for m in people]) * gone_s[:, None]
