"""The mean of turned looks: what all of them say of one place is what comes out, in level axes."""

import numpy as np
import pytest
import torch

from xnect.refiner import PersonMaps
from xnect.squares import turns
from xnect.turned import mean_of_turned

SIDE = 20
TURNS = (0.0, 0.44, -0.44)


def looks(angles, joint, bones, sure=1.0):
    """A joint (2,) in cells from the middle and bones (3, 21), as seen in turned squares."""
    heatmaps, offsets, codes = [], [], []
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    for turn in turns(np.array(angles)):
        u, v = turn.T @ joint
        heatmaps.append(sure * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8)[None])
        offsets.append(np.stack([u - x, v - y])[None])
        code = np.concatenate([turn.T @ bones[:2], bones[2:]]).reshape(-1, 1, 1)
        codes.append(np.broadcast_to(code, (63, SIDE, SIDE)))
    return PersonMaps(*(torch.from_numpy(np.stack(m)) for m in (heatmaps, offsets, codes)))


@pytest.fixture
def bones():
    return np.random.default_rng(1).normal(size=(3, 21))


@pytest.mark.parametrize("joint", [(0.0, 0.0), (3.2, -4.4), (-5.5, 1.25)])
@pytest.mark.parametrize("angles", [TURNS, (1.5, -3.0), (np.pi / 2,)])
def test_looks_that_agree_give_what_they_say(angles, joint, bones):
    level = looks([0.0], np.array(joint), bones)
    mean = mean_of_turned(looks(angles, np.array(joint), bones), angles)
    inner = (..., slice(3, -3), slice(3, -3))
    assert (
        float((mean.heatmaps - level.heatmaps)[inner].abs().max()) < 0.0625
    )  # bilinear: curvature 1/4, half a cell, twice
    torch.testing.assert_close(mean.offsets[inner], level.offsets[inner], atol=1e-6, rtol=0)
    torch.testing.assert_close(mean.codes[inner], level.codes[inner], atol=1e-6, rtol=0)


def test_no_turn_changes_nothing_and_one_look_repeated_is_itself(bones):
    one = looks([0.0], np.array([2.0, 1.0]), bones)
    for mean in (mean_of_turned(one, [0.0]), mean_of_turned(_both(one, one), [0.0, 0.0])):
        for got, was in zip(mean, one, strict=True):
            torch.testing.assert_close(got, was, atol=1e-9, rtol=0)


def test_people_stay_apart(bones):
    """Turn by turn, person by person: each comes out as alone."""
    first, second = (looks(TURNS, np.array(j), bones) for j in ((4.0, -3.0), (-2.0, 5.0)))
    mixed = PersonMaps(*(torch.stack(m, 1).flatten(0, 1) for m in zip(first, second, strict=True)))
    both = mean_of_turned(mixed, TURNS)
    for i, alone in enumerate((first, second)):
        for got, was in zip(both, mean_of_turned(alone, TURNS), strict=True):
            torch.testing.assert_close(got[i : i + 1], was)


def test_a_corner_that_no_turned_square_covers_keeps_the_level_look():
    flat = PersonMaps(*(torch.full(s, 0.5) for s in ((3, 1, 8, 8), (3, 1, 2, 8, 8), (3, 63, 8, 8))))
    heat = mean_of_turned(flat, (0.0, 0.8, -0.8)).heatmaps
    torch.testing.assert_close(heat, torch.full((1, 1, 8, 8), 0.5))


def test_offsets_that_are_no_numbers_far_from_a_joint_spoil_nothing(bones):
    seen = looks(TURNS, np.zeros(2), bones)
    seen.offsets[..., 0, 0] = torch.nan
    assert bool(torch.isfinite(mean_of_turned(seen, TURNS).offsets).all())


def _both(one, other):
    return PersonMaps(*(torch.cat(m) for m in zip(one, other, strict=True)))
