import numpy as np
import pytest

from xnect.errors import BadInput
from xnect.one_euro import OneEuro


def _run(values: np.ndarray, times: np.ndarray, **options: float) -> np.ndarray:
    made = OneEuro(options.pop("cutoff_hz", 1.0), options.pop("beta", 0.0), **options)
    pairs = zip(values, times, strict=True)
    return np.array([made(np.array([[v]]), t, np.ones(1))[0, 0] for v, t in pairs])


def test_a_constant_passes_unchanged() -> None:
    assert np.allclose(_run(np.full(20, 3.5), np.arange(20) / 30), 3.5)


def test_trembling_is_damped_at_rest() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 300)
    out = _run(noise, np.arange(300) / 30)
    assert out[50:].std() < 0.5 * noise[50:].std()


def test_beta_lowers_the_lag_of_a_mover() -> None:
    times = np.arange(60) / 30
    ramp = 100 * times
    lag_still = ramp[-1] - _run(ramp, times, beta=0.0)[-1]
    lag_moving = ramp[-1] - _run(ramp, times, beta=0.3)[-1]
    assert 0 <= lag_moving < 0.2 * lag_still


def test_the_same_seconds_give_the_same_answer_at_any_frame_rate() -> None:
    slow, fast = np.arange(0, 2, 1 / 30), np.arange(0, 2, 1 / 120)
    a = _run((slow > 0.5) * 1.0, slow)[-1]
    b = _run((fast > 0.5) * 1.0, fast)[-1]
    assert abs(a - b) < 0.02


def test_unseen_elements_are_held_and_forgotten_after_a_while() -> None:
    filter_ = OneEuro(1.0, 0.0, forget_s=0.5)
    value = np.array([[1.0, 2.0], [3.0, 4.0]])
    filter_(value, 0.0, np.ones(2))
    held = filter_(value + 100, 0.1, np.array([0.0, 1.0]))
    assert np.allclose(held[0], (1, 2))
    assert (held[1] > (3, 4)).all()
    assert np.allclose(filter_(value + 50, 0.9, np.array([1.0, 0.0]))[0], (51, 52))


@pytest.mark.parametrize("time_s", [1.0, 0.5])
def test_time_that_does_not_increase_is_an_error(time_s: float) -> None:
    filter_ = OneEuro(1.0, 0.0)
    filter_(np.zeros((1, 1)), 1.0, np.ones(1))
    with pytest.raises(BadInput, match="increase"):
        filter_(np.zeros((1, 1)), time_s, np.ones(1))


def test_in_other_units_it_goes_on_as_before() -> None:
    rng, factor, shift = np.random.default_rng(2), np.array([0.5, 0.3]), np.array([-2.0, 7.0])
    values, seen = rng.normal(size=(40, 3, 2)), rng.random((40, 3)) < 0.8
    one, other = (OneEuro(1.5, 0.0) for _ in range(2))  # of a constant cutoff: any unit is like
    other.rescale(factor, shift)  # nothing is known yet
    for i, (value, score) in enumerate(zip(values, seen, strict=True)):
        want = one(value, i / 30, score)
        if i == 20:
            other.rescale(factor, shift)
        got = other(factor * value + shift if i >= 20 else value, i / 30, score)
        np.testing.assert_allclose(got, factor * want + shift if i >= 20 else want, atol=1e-12)
