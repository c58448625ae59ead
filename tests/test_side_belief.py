"""Beliefs of left and right: laws of chances, and the chain against all its paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xnect.side_belief import (
    begun,
    carried,
    drifted,
    evidence,
    log_odds,
    of_sides,
    relabelled,
)

MISTAKEN, LASTS_S = 0.2, 0.5


def some_belief(seed: int = 0) -> np.ndarray:
    chances = np.random.default_rng(seed).random((2, 2, 2, 2))
    return np.log(chances / chances.sum())


def test_beliefs_are_chances() -> None:
    """Carrying a belief on keeps it one, and a link that says nothing leaves none of the sides."""
    belief = some_belief()
    assert np.exp(carried(belief, np.array([2.0, -1.0]))).sum() == pytest.approx(1)
    assert np.exp(drifted(belief, 0.1, MISTAKEN, LASTS_S)).sum() == pytest.approx(1)
    assert np.exp(begun(MISTAKEN)[0, 0]).sum() == pytest.approx(1)
    unlinked = of_sides(carried(belief, np.zeros(2)))
    np.testing.assert_allclose(np.exp(unlinked), 0.25)
    exchanged_legs = carried(belief, np.array([50.0, -50.0]))
    np.testing.assert_allclose(exchanged_legs, belief[:, ::-1], atol=1e-9)


def test_time_without_pictures_leaves_the_usual_share_of_mistakes() -> None:
    belief = some_belief()
    np.testing.assert_allclose(drifted(belief, 0.0, MISTAKEN, LASTS_S), belief, atol=1e-9)
    late = drifted(belief, 100.0, MISTAKEN, LASTS_S)
    usual = of_sides(belief)[:, :, None, None] + begun(MISTAKEN)
    np.testing.assert_allclose(late, usual, atol=1e-9)


def test_two_short_times_are_one_long_time() -> None:
    belief = some_belief()
    halves = drifted(drifted(belief, 0.1, MISTAKEN, LASTS_S), 0.2, MISTAKEN, LASTS_S)
    np.testing.assert_allclose(halves, drifted(belief, 0.3, MISTAKEN, LASTS_S), atol=1e-9)


def test_exchanged_labels_have_opposite_odds() -> None:
    belief = some_belief()
    odds = log_odds(belief)
    np.testing.assert_allclose(log_odds(relabelled(belief, True, False)), [-odds[0], odds[1]])
    np.testing.assert_allclose(log_odds(relabelled(belief, False, True)), [odds[0], -odds[1]])
    np.testing.assert_array_equal(relabelled(belief, False, False), belief)


def test_arms_are_to_arms_what_legs_are_to_legs() -> None:
    """Exchanging the two parts everywhere exchanges them in what comes out."""

    def both(belief: np.ndarray) -> np.ndarray:
        return belief.transpose(1, 0, 3, 2)

    np.testing.assert_allclose(evidence(1.0, 0.3, 0.2), both(evidence(0.3, 1.0, 0.2)))
    belief, links = some_belief(), np.array([2.0, -1.0])
    np.testing.assert_allclose(carried(belief, links), both(carried(both(belief), links[::-1])))
    np.testing.assert_allclose(log_odds(belief), log_odds(both(belief))[::-1])


def test_the_filter_is_the_sum_over_all_paths() -> None:
    """Of one part, three frames: every way in which labels and network can have been."""
    votes, links, passed_s = (1.5, 0.4, 2.0), (0.0, 3.0, -1.0), 0.1
    belief = begun(MISTAKEN)
    for frame, (vote, link) in enumerate(zip(votes, links, strict=True)):
        if frame:
            belief = carried(belief, np.array([link, 0.0]))
            belief = drifted(belief, passed_s, MISTAKEN, LASTS_S)
        belief = belief + evidence(vote, 0.0, 0.0)
    stay = np.exp(-passed_s / LASTS_S)
    share = np.array([1 - MISTAKEN, MISTAKEN])
    total = np.zeros(2)
    for path in itertools.product(itertools.product(range(2), range(2)), repeat=3):
        chance = share[path[0][1]]
        for frame, (exchanged, mistaken) in enumerate(path):
            if frame:
                was_exchanged, was_mistaken = path[frame - 1]
                continued = 1 / (1 + np.exp(-links[frame]))
                chance *= continued if exchanged == was_exchanged else 1 - continued
                chance *= stay * (mistaken == was_mistaken) + (1 - stay) * share[mistaken]
            chance *= np.exp(-votes[frame] * (exchanged != mistaken))
        total[path[-1][0]] += chance
    assert log_odds(belief)[0] == pytest.approx(np.log(total[0] / total[1]))


def test_a_long_run_of_mistakes_costs_as_much_as_becoming_mistaken_once() -> None:
    """Ten sure frames against a belief weigh little more than two."""
    links = np.array([8.0, 8.0])

    def odds_after(frames: int) -> float:
        belief = begun(MISTAKEN)
        for frame in range(60 + frames):
            belief = drifted(carried(belief, links), 1 / 30, MISTAKEN, LASTS_S)
            said = evidence(3.0, 3.0, 0.0)
            belief = belief + (relabelled(said, True, True) if frame >= 60 else said)
        return float(log_odds(belief)[0])

    before, two, ten = odds_after(0), odds_after(2), odds_after(10)
    assert before > two > ten > 0
    assert two - ten < 0.5 * (before - two)
