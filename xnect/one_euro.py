"""The 1-euro filter on arrays, by real time (Casiez, Roussel & Vogel 2012).

A low pass whose cutoff rises with speed: what stands still does not tremble, what moves does not
lag.
"""

from __future__ import annotations

import numpy as np

from xnect.errors import BadInput


class OneEuro:
    """Filters each element of arrays of one shape; elements that were not seen are held.

    Args:
        cutoff_hz: of a value at rest; lower is smoother.
        beta: hertz of cutoff per unit of the value and second; higher lags less.
        speed_cutoff_hz: of the speed itself.
        forget_s: an element unseen for longer starts anew.
    """

    def __init__(
        self, cutoff_hz: float, beta: float, *, speed_cutoff_hz: float = 1.0, forget_s: float = 0.5
    ) -> None:
        self.cutoff_hz, self.beta = cutoff_hz, beta
        self.speed_cutoff_hz, self.forget_s = speed_cutoff_hz, forget_s
        self._time_s: np.ndarray | None = None  # (N,) when each element was last seen, -inf never
        self._now_s = -np.inf
        self._value = self._speed = np.empty((0, 1))

    def __call__(self, value: np.ndarray, time_s: float, score: np.ndarray) -> np.ndarray:
        """(N, C) at `time_s`, (N,) score -> (N, C) filtered; where the score is 0, the last value.

        Raises:
            BadInput: time that does not increase.
        """
        value = np.asarray(value, np.float64)
        if self._time_s is None:
            self._time_s = np.full(len(value), -np.inf)
            self._value, self._speed = value.copy(), np.zeros_like(value)
        if time_s <= self._now_s:
            raise BadInput(f"time must increase: got {time_s} s after {self._now_s} s")
        self._now_s = time_s
        seen = np.asarray(score) > 0
        passed_s = time_s - self._time_s
        fresh = seen & (passed_s > self.forget_s)
        self._value[fresh], self._speed[fresh] = value[fresh], 0.0
        go = seen & ~fresh
        dt = passed_s[go, None]
        speed = (value[go] - self._value[go]) / dt
        self._speed[go] += _gain(self.speed_cutoff_hz, dt) * (speed - self._speed[go])
        cutoff = self.cutoff_hz + self.beta * np.abs(self._speed[go])
        self._value[go] += _gain(cutoff, dt) * (value[go] - self._value[go])
        self._time_s[seen] = time_s
        return self._value.copy()

    def rescale(self, factor: np.ndarray | float, shift: np.ndarray | float) -> None:
        """Go on in other units: what was `value` is `factor * value + shift` from now on."""
        self._value, self._speed = factor * self._value + shift, factor * self._speed


def _gain(cutoff_hz: np.ndarray | float, dt_s: np.ndarray) -> np.ndarray:
    """Share of the new value that a first-order low pass takes in after `dt_s`."""
    turn = 2 * np.pi * cutoff_hz * dt_s
    return turn / (1 + turn)
