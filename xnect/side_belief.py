"""What is believed of the sides of one person: the states of a hidden Markov chain, as an array.

A belief is (2, 2, 2, 2), logs of chances up to a constant:

| axis | 0 | 1 |
|---|---|---|
| 0, 1 | the labels of arms, of legs, are right | they are exchanged |
| 2, 3 | the network tells the sides of arms, of legs | it is mistaken and sure of the wrong ones |

The network's errors last: who takes a pixelated face for the back of a head does so for a second on
end.  As evidence that is new in each frame they would outweigh any belief within a few frames; that
the network has become mistaken is one event, and explains them all.  The filter is the forward
algorithm of Rabiner 1989.  Ours; not in the paper.
"""

from __future__ import annotations

import numpy as np


def begun(mistaken: float) -> np.ndarray:
    """(2, 2, 2, 2) before anything was seen: sides as likely right as exchanged.

    Args:
        mistaken: Share of the time in which the network is mistaken.
    """
    share = np.log([1 - mistaken, mistaken])
    return np.broadcast_to(share[:, None] + share, (2, 2, 2, 2))


def evidence(arms: float, legs: float, alike: float) -> np.ndarray:
    """(2, 2, 2, 2) what one frame says.

    Args:
        arms: Log-odds of the network's labels of the arms, if it is not mistaken; at least 0.
        legs: The same of the legs.
        alike: Log-odds that arms and legs are both right, or both exchanged.
    """
    wrong_arms, wrong_legs, mistaken_arms, mistaken_legs = np.indices((2, 2, 2, 2))
    against_arms = arms * (wrong_arms != mistaken_arms)
    against_legs = legs * (wrong_legs != mistaken_legs)
    said: np.ndarray = alike * (wrong_arms == wrong_legs) - against_arms - against_legs
    return said


def carried(belief: np.ndarray, links: np.ndarray) -> np.ndarray:
    """(2, 2, ...), (2,) -> (2, 2, ...): those before were right and go on, or neither.

    Args:
        belief: Of the frame before.
        links: Log-odds that the labels of arms, and of legs, continue those before.
    """
    for part, link in enumerate(links):
        stays, turns = -np.logaddexp(0, -link), -np.logaddexp(0, link)
        belief = np.logaddexp(belief + stays, np.flip(belief, part) + turns)
    return belief


def drifted(belief: np.ndarray, passed_s: float, mistaken: float, lasts_s: float) -> np.ndarray:
    """(2, 2, 2, 2) after a time in which the network may have become mistaken, or come round.

    Args:
        belief: Before it.
        passed_s: Seconds.
        mistaken: Share of the time in which the network is mistaken.
        lasts_s: Seconds in which all but 1 / e of the memory of it is gone.
    """
    stay = np.exp(-passed_s / lasts_s)
    chances = stay * np.eye(2) + (1 - stay) * np.array([1 - mistaken, mistaken])  # [from, to]
    moved = np.log(np.maximum(chances, 1e-12))  # no time, no change
    for axis in (2, 3):
        before = np.moveaxis(belief, axis, -1)[..., None]
        after = np.logaddexp.reduce(before + moved, axis=-2)
        belief = np.moveaxis(after, -1, axis)
    return belief


def of_sides(belief: np.ndarray) -> np.ndarray:
    """(2, 2, 2, 2) -> (2, 2): of the labels alone, whether the network is mistaken or not."""
    sides: np.ndarray = np.logaddexp.reduce(np.logaddexp.reduce(belief, 3), 2)
    return sides


def log_odds(belief: np.ndarray) -> np.ndarray:
    """(2, 2, 2, 2) -> (2,) log-odds that arms, and that legs, are right."""
    sides = of_sides(belief)
    arms, legs = np.logaddexp.reduce(sides, 1), np.logaddexp.reduce(sides, 0)
    return np.array([arms[0] - arms[1], legs[0] - legs[1]])


def relabelled(belief: np.ndarray, arms: bool, legs: bool) -> np.ndarray:
    """The same belief after the labels of arms or legs were exchanged."""
    parts = [part for part, turned in enumerate((arms, legs)) if turned]
    return np.flip(belief, tuple(parts))
