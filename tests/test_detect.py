"""Peaks and limb scores: parity with slow loops, and error bounds on maps that are known."""

import numpy as np
import pytest

from xnect.detect import SAMPLES, codes_at, find_peaks, score_links
from xnect.skeleton import LIMBS


def gaussians(places, hw=(40, 64), sigma=0.875):
    """[(joint, x, y, height)] -> (18, h, w) heatmaps, people merged by the maximum."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    maps = np.zeros((18, *hw), np.float32)
    for joint, px, py, height in places:
        bump = height * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
        maps[joint] = np.maximum(maps[joint], bump)
    return maps


def slow_peaks(maps, threshold):
    found = set()
    joints, h, w = maps.shape
    for j in range(joints):
        for y in range(h):
            for x in range(w):
                around = maps[j, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                if maps[j, y, x] > threshold and maps[j, y, x] == around.max():
                    found.add((j, x, y))
    return found


@pytest.mark.parametrize("hw", [(40, 64), (1, 7), (7, 1), (2, 2), (1, 1)])
def test_peaks_are_those_of_a_loop_over_all_cells(hw):
    maps = np.random.default_rng(0).random((18, *hw), np.float32)
    peaks = find_peaks(maps, threshold=0.5, most=10_000)
    found = {(int(j), int(x), int(y)) for j, (x, y) in zip(peaks.joint, peaks.cell, strict=True)}
    assert found == slow_peaks(maps, 0.5)
    assert len(found) == len(peaks.joint)
    assert np.array_equal(peaks.score, maps[peaks.joint, peaks.cell[:, 1], peaks.cell[:, 0]])


def test_peaks_are_sorted_by_joint_then_score_and_the_weakest_are_left_out():
    maps = np.random.default_rng(1).random((18, 20, 30), np.float32)
    everything = find_peaks(maps, threshold=0.3, most=1000)
    few = find_peaks(maps, threshold=0.3, most=5)
    for j in range(18):
        of_joint = everything.score[everything.first[j] : everything.first[j + 1]]
        assert (np.diff(of_joint) <= 0).all()
        assert (everything.joint[everything.first[j] : everything.first[j + 1]] == j).all()
        assert np.array_equal(few.score[few.first[j] : few.first[j + 1]], of_joint[:5])
    assert everything.first[-1] == len(everything.joint)


def test_a_plateau_of_two_cells_is_one_peak_between_them():
    maps = np.zeros((18, 9, 9), np.float32)
    maps[3, 4, 4:6] = 0.8
    maps[3, 4, 3] = maps[3, 4, 6] = 0.4
    peaks = find_peaks(maps, threshold=0.1)
    assert len(peaks.joint) == 1
    assert np.allclose(peaks.xy, [[4.5, 4.0]], atol=1e-6)


@pytest.mark.parametrize("sigma", [0.75, 0.875, 1.0, 1.25])
def test_sub_pixel_error_stays_below_its_bound(sigma):
    rng = np.random.default_rng(2)
    alone, pairs, noisy = [], [], []
    for _ in range(100):
        place = rng.uniform((5, 5), (58, 34))
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 4)
        second = place + distance * np.array([np.cos(angle), np.sin(angle)])
        one = gaussians([(0, *place, 0.9)], sigma=sigma)
        two = gaussians([(0, *place, 0.9), (0, *second, 0.8)], sigma=sigma)
        rough = np.clip(one, 1e-3, 0.999)
        rough = 1 / (1 + (1 / rough - 1) * np.exp(rng.normal(0, 0.2, rough.shape)))
        for maps, errors in ((one, alone), (two, pairs), (rough.astype(np.float32), noisy)):
            xy = find_peaks(maps, threshold=0.3).xy
            errors.append(np.hypot(*(xy - place).T).min())
    assert max(alone) < 0.002  # cells
    assert np.mean(pairs) < 0.03
    assert np.mean(noisy) < 0.16


def test_moving_the_maps_moves_the_peaks_and_nothing_else():
    rng = np.random.default_rng(3)
    maps = gaussians([(j, *rng.uniform(10, 25, 2), 0.9) for j in range(18) for _ in range(2)])
    moved = np.roll(maps, (5, 9), (1, 2))
    here, there = find_peaks(maps, threshold=0.1), find_peaks(moved, threshold=0.1)
    assert np.allclose(here.xy + np.array([9, 5]), there.xy, atol=1e-9)
    assert np.array_equal(here.joint, there.joint)


def slow_along(affinity, a, b):
    """One pair's mean of the field along it, written out."""
    h, w = affinity.shape[1:]
    unit = (b - a) / max(np.hypot(*(b - a)), 1e-6)
    total = 0.0
    for s in range(SAMPLES):
        x, y = a + (s + 0.5) / SAMPLES * (b - a)
        x, y = min(max(x, 0), w - 1), min(max(y, 0), h - 1)
        for cy in range(h):
            for cx in range(w):
                weight = max(0, 1 - abs(x - cx)) * max(0, 1 - abs(y - cy))
                total += weight * (affinity[:, cy, cx] @ unit) / SAMPLES
    return total


@pytest.mark.parametrize("hw", [(8, 11), (1, 6), (1, 1)])
def test_link_scores_are_those_of_a_loop_over_samples_and_cells(hw):
    rng = np.random.default_rng(4)
    maps = rng.random((18, *hw), np.float32)
    fields = rng.normal(size=(19, 2, *hw)).astype(np.float32)
    peaks = find_peaks(maps, threshold=0.5, most=3)
    links = score_links(peaks, fields, along_at_least=0.05)
    count = np.bincount(peaks.joint, minlength=18)
    everything = sum(count[a] * count[b] for a, b in LIMBS)
    assert 0 < len(links.limb) <= everything
    for k, limb in enumerate(links.limb):
        a, b = links.a[k], links.b[k]
        assert (peaks.joint[a], peaks.joint[b]) == LIMBS[limb]
        assert links.along[k] == pytest.approx(
            slow_along(fields[limb], peaks.xy[a], peaks.xy[b]), abs=1e-5
        )


def test_pairs_that_a_glance_leaves_out_have_no_field_between_them():
    rng = np.random.default_rng(6)
    maps = rng.random((18, 20, 30), np.float32)
    fields = np.zeros((19, 2, 20, 30), np.float32)
    fields[:, 0, 5:9, 4:20] = 1
    peaks = find_peaks(maps, threshold=0.5, most=4)
    links = score_links(peaks, fields, along_at_least=0.05)
    kept = set(zip(links.a.tolist(), links.b.tolist(), strict=True))
    for limb, (a, b) in enumerate(LIMBS):
        for i in range(peaks.first[a], peaks.first[a + 1]):
            for j in range(peaks.first[b], peaks.first[b + 1]):
                if slow_along(fields[limb], peaks.xy[i], peaks.xy[j]) > 0.6:
                    assert (i, j) in kept
    assert 0 < len(kept) < 19 * 16


def test_nothing_found_is_empty_arrays():
    empty = find_peaks(np.zeros((18, 40, 64), np.float32), threshold=0.1)
    links = score_links(empty, np.zeros((19, 2, 40, 64), np.float32), along_at_least=0.05)
    assert empty.xy.shape == (0, 2)
    assert links.along.shape == (0,)
    assert codes_at(None, empty).shape == (0, 63)
    assert codes_at(np.zeros((63, 40, 64), np.float32), empty).shape == (0, 63)


def test_codes_are_those_of_the_nearest_cell():
    codes = np.random.default_rng(5).random((63, 40, 64), np.float32)
    peaks = find_peaks(gaussians([(4, 20.4, 11.6, 0.9)]), threshold=0.3)
    assert np.array_equal(codes_at(codes, peaks), codes[None, :, 12, 20])


def test_offsets_lead_to_the_exact_place_whatever_the_maps_look_like():
    rng = np.random.default_rng(5)
    h, w = 20, 30
    truth = rng.uniform((3, 3), (w - 4, h - 4), (18, 2))
    y, x = np.mgrid[:h, :w]
    heat = np.zeros((18, h, w), np.float32)
    offsets = np.zeros((18, 2, h, w), np.float32)
    for j, (cx, cy) in enumerate(truth):
        column, row = round(cx), round(cy)
        heat[j, row - 1 : row + 2, column - 1 : column + 2] = rng.uniform(0.3, 0.7, (3, 3))
        heat[j, row, column] = 0.9
        offsets[j] = cx - x, cy - y
    peaks = find_peaks(heat, offsets, threshold=0.8)
    np.testing.assert_allclose(peaks.xy, truth[peaks.joint], atol=1e-4)
    assert len(peaks.joint) == 18


def test_offsets_that_are_no_numbers_where_no_joint_is_move_nothing():
    heat, offsets = np.zeros((18, 20, 30), np.float32), np.full((18, 2, 20, 30), np.inf, np.float32)
    heat[0, 5, 7], offsets[0, :, 5, 7] = 0.9, (0.25, -0.5)
    np.testing.assert_allclose(find_peaks(heat, offsets, threshold=0.8).xy, [[7.25, 4.5]])
