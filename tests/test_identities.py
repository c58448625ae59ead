"""CLEAR MOT and IDF1: hand-counted cases, and motmetrics on random ones where it is installed."""

import warnings

import numpy as np
import pytest

from xnect.eval.identities import (
    FrameDistances,
    identity_figures,
    image_distances,
    pair_frames,
    root_distances,
)

FAR = np.inf


def take(*frames):
    """Frames as (true ids, found ids, distances)."""
    return [
        FrameDistances(
            np.array(true, int),
            np.array(found, int),
            np.array(distance, float).reshape(len(true), len(found)),
        )
        for true, found, distance in frames
    ]


def pairs_of(frames):
    return [
        {(int(f.true_ids[r]), int(f.found_ids[c])) for r, c in pairs}
        for f, pairs in zip(frames, pair_frames(frames), strict=True)
    ]


def test_perfect_tracks_score_one():
    frames = take(*[([0, 1], [7, 8], [[0.1, 1], [1, 0.3]])] * 5)
    figures = identity_figures(frames)
    assert (figures.mota, figures.idf1, figures.switches, figures.fragmentations) == (1, 1, 0, 0)
    assert figures.motp == pytest.approx(0.2)
    assert (figures.mostly_tracked, figures.mostly_lost) == (2, 0)


def test_a_switch_a_miss_and_a_false_positive_cost_one_each():
    # 4 frames of one person: found as 1, found as 1, not found (2 is far away), found as 2.
    # Misses 1, false positives 1, switches 1: MOTA = 1 - 3/4.  The missing frame lies between
    # two paired ones: 1 fragmentation.  IDF1: track 1 agrees in 2 frames; 4 true, 4 found:
    # 2 * 2 / (4 + 4) = 0.5.
    frames = take(
        ([0], [1], [0.1]), ([0], [1], [0.1]), ([0], [2], [FAR]), ([0], [2], [0.1]),
    )  # fmt: skip
    figures = identity_figures(frames)
    assert (figures.misses, figures.false_positives, figures.switches) == (1, 1, 1)
    assert figures.mota == pytest.approx(0.25)
    assert figures.fragmentations == 1
    assert figures.idf1 == pytest.approx(0.5)
    assert (figures.id_precision, figures.id_recall) == (0.5, 0.5)


def test_two_people_who_exchange_ids_make_two_switches():
    # 10 frames, exchanged half-way: each pairing of tracks agrees in 5 of 10 frames for both.
    frames = take(
        *[([0, 1], [1, 2], [[0.1, FAR], [FAR, 0.1]])] * 5,
        *[([0, 1], [1, 2], [[FAR, 0.1], [0.1, FAR]])] * 5,
    )
    figures = identity_figures(frames)
    assert figures.switches == 2
    assert figures.mota == pytest.approx(1 - 2 / 20)
    assert figures.idf1 == pytest.approx(0.5)


def test_a_pair_is_kept_while_it_is_within_the_gate_though_another_is_nearer():
    frames = take(([0], [1], [0.1]), ([0], [1, 2], [0.4, 0.0]), ([0], [1, 2], [FAR, 0.0]))
    assert pairs_of(frames) == [{(0, 1)}, {(0, 1)}, {(0, 2)}]
    assert identity_figures(frames).switches == 1


def test_the_last_pair_is_remembered_over_a_gap():
    frames = take(([0], [1], [0.1]), ([0], [], []), ([0], [2, 1], [0.1, 0.3]))
    assert pairs_of(frames)[2] == {(0, 1)}
    assert identity_figures(frames).switches == 0


def test_as_many_pairs_as_can_be_come_before_short_distances():
    # 0-1 alone would be the nearest pair (0.0), but then nobody is left for person 1.
    frames = take(([0, 1], [1, 2], [[0.0, 0.4], [0.45, FAR]]))
    assert pairs_of(frames) == [{(0, 2), (1, 1)}]


def test_being_lost_at_the_end_is_no_fragmentation():
    frames = take(([0], [], []), ([0], [1], [0.1]), ([0], [], []))
    figures = identity_figures(frames)
    assert (figures.fragmentations, figures.misses) == (0, 2)


def test_nobody_at_all_is_not_a_number():
    figures = identity_figures(take(([], [], []), ([], [], [])))
    assert np.isnan([figures.mota, figures.motp, figures.idf1]).all()
    only_found = identity_figures(take(([], [4], [])))
    assert (only_found.false_positives, only_found.idf1) == (1, 0)
    assert np.isnan(only_found.mota)


def random_take(seed):
    """Walkers on a line, some missing, some false, ids that change."""
    rng = np.random.default_rng(seed)
    frames, ids = [], np.arange(4) + 10
    place = rng.uniform(0, 4, 4)
    for _ in range(60):
        place = place + rng.normal(0, 0.15, 4)
        there, seen = rng.random(4) < 0.9, rng.random(4) < 0.8
        if rng.random() < 0.15:
            ids = rng.permutation(ids)
        if rng.random() < 0.05:
            ids = np.where(rng.random(4) < 0.3, ids + 10, ids)
        found = np.append((place + rng.normal(0, 0.2, 4))[seen], rng.uniform(0, 4, rng.integers(3)))
        names = np.append(ids[seen], rng.choice(np.arange(90, 99), 2, replace=False))[: len(found)]
        away = np.abs(place[there][:, None] - found[None])
        frames.append((np.flatnonzero(there), names, np.where(away < 0.5, away, np.inf)))
    return take(*frames)


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_motmetrics(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mm = pytest.importorskip("motmetrics", reason="motmetrics is not installed")
        frames = random_take(seed)
        accumulated = mm.MOTAccumulator(auto_id=True)
        for frame in frames:
            distance = np.where(np.isfinite(frame.distance), frame.distance, np.nan)
            accumulated.update(frame.true_ids.tolist(), frame.found_ids.tolist(), distance)
        names = {
            "mota": "mota", "motp": "motp", "idf1": "idf1", "idp": "id_precision",
            "idr": "id_recall", "num_switches": "switches", "num_misses": "misses",
            "num_fragmentations": "fragmentations", "num_false_positives": "false_positives",
            "mostly_tracked": "mostly_tracked", "mostly_lost": "mostly_lost",
            "num_unique_objects": "true_tracks", "num_objects": "true_people",
        }  # fmt: skip
        row = mm.metrics.create().compute(accumulated, metrics=list(names), name="take").iloc[0]
    ours = identity_figures(frames)
    assert ours.switches > 0
    assert ours.fragmentations > 0
    for theirs, name in names.items():
        assert getattr(ours, name) == pytest.approx(float(row[theirs])), name


def test_distances_of_pelvises_and_of_joints_have_a_gate():
    true, found = np.array([[0, 0, 4.0]]), np.array([[0, 0, 4.3], [0, 0, 4.6]])
    assert root_distances(true, found, gate_m=0.5) == pytest.approx(np.array([[0.3, np.inf]]))
    joints = np.array([[(100.0, 100), (110, 200), (120, 300)]])  # 200 px tall
    shown = np.ones((1, 3))
    moved = joints + np.array([[[20, 0]], [[0, 80]]])
    away = image_distances(joints, shown, moved, np.ones((2, 3)), gate=0.3)
    assert away == pytest.approx(np.array([[0.1, np.inf]]))  # 20/200; 80/200 is beyond
    score = np.array([[1, 1, 0], [1, 1, 1]])  # the first shows two joints only
    assert np.isinf(image_distances(joints, shown, moved, score, gate=0.3)).all()
    assert image_distances(joints[:0], shown[:0], moved, score, gate=0.3).shape == (0, 2)
    assert image_distances(joints, shown, moved[:0], score[:0], gate=0.3).shape == (1, 0)
