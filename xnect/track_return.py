"""Who of the newcomers is somebody who was lost: a probability, by looks, size and place.

Everybody else who was lost and a new person are the other explanations of a newcomer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnect.appearance import unlikeness_of_people
from xnect.track_extent import distances, size_changes
from xnect.track_match import ways_px
from xnect.track_memory import Memory
from xnect.track_options import TrackOptions


def unlikely_again(
    lost: Sequence[Memory], new: Sequence[Memory], time_s: float, options: TrackOptions
) -> np.ndarray:
    """(M, K) -log likelihood of newcomers being somebody lost, by looks, size and place."""
    if not lost or not new:
        return np.zeros((len(lost), len(new)))
    unlike = _unlike(lost, new)
    missed_s = np.array([[n.born_s - m.time_s for n in new] for m in lost])
    gone_s = np.maximum(missed_s, 0)
    reach = 0.5 + 2 * gone_s  # torsos that a walker may have gone
    apart = distances(
        [m.seen for m in lost], [m.seen for m in new], ways_px(lost, time_s, options.predict_s)
    )
    apart[[not m.placed for m in lost]] = 0.0  # anywhere: the pictures have another shape now
    was_px = [m.own_px or m.size_px for m in lost]
    resized = size_changes(was_px, np.array([m.size_px for m in new]))
    sd = np.hypot(options.again_size[0], options.again_size[1] * gone_s)
    cost = 0.5 * (unlike / options.again_looks) ** 2
    cost = cost + np.log1p((resized / sd) ** 2) + 0.5 * (apart / reach) ** 2
    return np.where(missed_s > 0, cost, np.inf)  # nobody is two people at a time


def shares(unlikely: np.ndarray, newcomer: float) -> np.ndarray:
    """(M, K) -log likelihoods -> probability of each pair, among all others of the two.

    A newcomer is one of those who were lost or somebody new; who was lost is one of the newcomers
    or not here.  The smaller of the two probabilities.
    """
    likely = np.exp(-unlikely)
    none = np.exp(-newcomer)
    share: np.ndarray = likely / (none + np.maximum(likely.sum(0), likely.sum(1, keepdims=True)))
    return share


def _unlike(lost: Sequence[Memory], new: Sequence[Memory]) -> np.ndarray:
    """(M, K) unlikeness of the likest views; 0.5 where one was never seen."""
    columns = [
        unlikeness_of_people([m.looks for m in lost], n.looks).min(1)
        if len(n.looks)
        else np.full(len(lost), 0.5)
        for n in new
    ]
    return np.stack(columns, 1)
