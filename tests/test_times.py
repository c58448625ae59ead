"""Times of bad clocks: what comes out always increases, and good times are left as they are."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xnect.demo.live import Recorder, run_live
from xnect.pipeline import Pipeline
from xnect.recording import load_recording
from xnect.times import LEAST_STEP_S, Times, usual_step_s
from xnect.types import Frame


def out(times: list[float]) -> np.ndarray:
    clock = Times()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.array([clock(t) for t in times])


INCREASING = st.lists(st.floats(LEAST_STEP_S * 1.01, 100), max_size=20), st.floats(-1e5, 1e5)


@given(*INCREASING)
def test_times_that_increase_are_left_alone_but_the_first_after_a_pause(
    steps: list[float], start: float
) -> None:
    times = start + np.cumsum([0.0, *steps])
    found = out(list(times))
    other = np.flatnonzero(np.abs(found - times) > 1e-9)
    assert (found <= times + 1e-9).all()
    assert all(steps[i - 1] > 5.0 for i in other)
    assert (np.diff(other) > 1).all()  # the next one has its time again
    clock = Times(doubt=False)
    np.testing.assert_allclose([clock(t) for t in times], times, rtol=0, atol=1e-9)


@given(st.floats(1e-2, 1e3), st.lists(st.floats(1, 3), max_size=20), st.floats(-1e5, 1e5))
def test_times_that_increase_about_evenly_are_left_alone_however_slowly(
    scale: float, steps: list[float], start: float
) -> None:
    times = start + np.cumsum([0.0, *(scale * np.array(steps))])
    np.testing.assert_allclose(out(list(times)), times, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fps", [0.2, 1, 30])
@pytest.mark.parametrize("ahead_s", [60.0, 1000.0, 1e8])
def test_one_time_that_is_far_ahead_is_put_between_its_neighbours(
    ahead_s: float, fps: float
) -> None:
    times = np.arange(30) / fps
    bad = times.copy()
    bad[[15, 22]] += ahead_s
    clock = Times()
    with pytest.warns(RuntimeWarning, match="backwards") as said:
        found = np.array([clock(float(t)) for t in bad])
    assert len(said) == 1
    np.testing.assert_allclose(found, times, rtol=0, atol=1e-6)


def test_a_time_ahead_among_uneven_ones_shifts_nothing() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.06, 40))
    for i in range(3, 39):
        bad = times.copy()
        bad[i] += 100.0
        found = out(list(bad))
        np.testing.assert_allclose(found[i + 2 :], times[i + 2 :])
        assert np.abs(found - times).max() < 0.06


@pytest.mark.parametrize("pause_s", [3.0, 12.0, 1e6])
@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_pause_is_told_at_once_or_a_frame_late(pause_s: float, after: int) -> None:
    times = np.arange(30) / 30
    times[after + 1 :] += pause_s
    found = out(list(times))
    late = after > 0 and pause_s > 5
    np.testing.assert_allclose(np.delete(found, after + 1), np.delete(times, after + 1))
    assert found[after + 1] == pytest.approx(times[after] + (1 / 30 if late else 1 / 30 + pause_s))
    clock = Times(doubt=False)
    np.testing.assert_allclose([clock(t) for t in times], times)


def test_a_pause_is_told_when_the_time_after_it_is_no_number_or_the_same() -> None:
    found = out([0.0, 0.1, 0.2, 20.0, math.nan, 20.2, 20.3])
    np.testing.assert_allclose(np.delete(found, [3, 4]), (0, 0.1, 0.2, 20.2, 20.3))
    np.testing.assert_allclose(out([0.0, 0.1, 20.0, 20.0, 20.1]), (0, 0.1, 0.2, 20.0, 20.1))


@given(st.lists(st.floats(width=32), min_size=2, max_size=30))
def test_what_comes_out_increases_whatever_goes_in(times: list[float]) -> None:
    found = out([t if abs(t) < 1e9 else math.nan for t in times])
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_a_time_that_repeats_is_a_small_step_and_nothing_shifts() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clock = Times()
        found = [clock(t) for t in (0.0, 0.1, 0.1, 0.1, 0.2)]
    np.testing.assert_allclose(found, (0, 0.1, 0.101, 0.102, 0.2))


def test_one_bad_time_is_put_between_its_neighbours() -> None:
    times = list(np.arange(10) / 30)
    times[5] = 0.0
    found = out(times)
    assert times[4] < found[5] < times[6]
    np.testing.assert_allclose(np.delete(found, 5), np.delete(times, 5))


@pytest.mark.parametrize("back_s", [0.05, 3.0, 1e6])
def test_a_clock_that_is_set_back_goes_on_at_its_pace_and_warns_once(back_s: float) -> None:
    times = np.arange(40) / 30 + 1e6
    times[15:] -= back_s
    times[30:] -= back_s
    clock = Times()
    with pytest.warns(RuntimeWarning, match="backwards") as said:
        found = np.array([clock(float(t)) for t in times])
    assert len(said) == 1
    steps = np.delete(np.diff(found), [14, 29])
    if back_s > 0.1:
        np.testing.assert_allclose(steps, 1 / 30, atol=1e-6)
    assert 0 < np.diff(found).min() and np.diff(found).max() < 0.07


class Standing(Pipeline):
    """A pipeline that sees the same two people in every picture."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Identity(), input_hw=(8, 8))  # type: ignore[arg-type]
        self.calls = 0

    def _poses(self, *frame):  # type: ignore[no-untyped-def]
        from test_fit import bodies, seen

        self.calls += 1
        return seen(bodies(2)[0], noise_px=1.0)


@pytest.mark.parametrize(
    "times",
    [
        [0, 0, 0, 1 / 30, 1 / 30, 2 / 30, 0.1, 0.1],
        [5, 5.033, 5.067, 0, 0.033, 0.067, 0.1],
        [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
        [0, 0.033, 0.067, 0.1, 1000.133, 0.167, 0.2, 60.233, 0.267],
        [math.nan, 0.033, math.nan, math.inf, 0.1, -math.inf],
    ],
)
@pytest.mark.filterwarnings("ignore:the time of a frame:RuntimeWarning")
def test_bad_times_never_split_a_take(times: list[float]) -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    frames = [Frame(i, t, image) for i, t in enumerate(times)]
    results = list(Standing().stream(frames))
    assert [r.index for r in results] == list(range(len(times)))
    assert (np.diff([r.time_s for r in results]) > 0).all()
    for result in results[2:]:
        assert [p.track_id for p in result.people] == [1, 2]
    first, last = results[2].people, results[-1].people
    for one, other in zip(first, last, strict=True):
        assert np.abs(one.joints3d_m - other.joints3d_m).max() < 0.05


@pytest.mark.filterwarnings("ignore:the time of a frame:RuntimeWarning")
def test_a_live_camera_with_a_bad_clock_is_recorded_with_times_that_increase(
    tmp_path: Path,
) -> None:
    image = np.zeros((72, 128, 3), np.uint8)
    recorder = Recorder(tmp_path, "a camera", overlay=False)
    pipeline = Standing()

    def frames():  # type: ignore[no-untyped-def]
        for i, t in enumerate([7.0, 7.0, 7.033, 3.0, 3.033, 3.033, 3.067]):
            while pipeline.calls < i:  # newest() drops what nobody has come for
                time.sleep(1e-3)
            yield Frame(i, t, image)

    report = run_live(frames(), pipeline=pipeline, recorder=recorder, record=True)
    assert (report.frames, report.problems) == (7, ())
    take = load_recording(next(f for f in report.files if f.suffix == ".npz"))
    assert (np.diff(take.time_s) > 0).all()
    assert take.track_ids == (1, 2)


@pytest.mark.parametrize("fps", [2, 4, 30])
def test_the_usual_step_is_learned_whatever_the_frame_rate(fps: int) -> None:
    times = [*(np.arange(60) / fps), math.nan]
    assert np.diff(out(times))[-1] == pytest.approx(1 / fps, rel=0.05)


@pytest.mark.parametrize("pause_s", [0.0, 1.5, 600.0])
@pytest.mark.parametrize(
    ("fps", "clock_s"),
    [(60, 1 / 30), (120, 0.015625), (120, 1 / 30), (30, 1.0), (30, 1e-3), (2, 1e-3), (900, 1e-9)],
)
def test_the_usual_step_is_that_of_the_frames_however_coarse_the_clock_and_long_the_pauses(
    fps: int, clock_s: float, pause_s: float
) -> None:
    times = np.arange(20 * fps + 2) / fps
    times[len(times) // 2 :] += pause_s
    assert usual_step_s(out(list(np.floor(times / clock_s) * clock_s))) == pytest.approx(
        1 / fps, rel=0.06
    )
    assert math.isnan(usual_step_s(times[:1])) and math.isnan(usual_step_s(times[[0, 0]]))
