"""Times that increase, whatever the clock of a source does.

A missed or doubled frame never splits a take: identities and filters go on over all of this.

* A time that repeats (the same picture again, or a coarse clock) is a step of `LEAST_STEP_S`: the
  filters hardly move.
* One single time that runs backwards (a bad stamp) is put half a usual step after the last one.
* One single time that is far ahead is put a usual step after the last one.  A step of more than
  `_DOUBTED_S` is believed when the time after it confirms it: such a pause is told one frame late.
* Times that stay behind (a clock that was set, a file that begins again) go on from there, as fast
  as they did.  The first time that runs backwards is warned of, once.
* No number: a usual step.
"""

from __future__ import annotations

import math
import warnings
from collections import deque

import numpy as np

LEAST_STEP_S = 1e-3
"""Least time between two frames."""

_USUAL_S = 1 / 30  # step before one is known
_LONGEST_S = 1.0  # a longer step is a pause, not the usual one
_DOUBTED_S = 5.0  # a longer step, thrice as long as the last ones, may be a bad stamp
_REPEATED = 1 / 3  # share of times that repeat, from which a clock is coarse


class Times:
    """Call it with the times of a source in order; what comes out increases.  One per stream.

    Args:
        warn: of times that run backwards.
        doubt: a time that is far ahead; without it such a step is believed at once.
    """

    def __init__(self, *, warn: bool = True, doubt: bool = True) -> None:
        self._last_s = -math.inf  # that was given out
        self._source_s = -math.inf  # what the source said then
        self._behind_s = 0.0  # what is added to the source's times
        self._perhaps_s: float | None = None  # the same, if the source's clock was set back
        self._before_s: float | None = None  # the source's time before one that is in doubt
        self._steps_s: deque[float] = deque(maxlen=5)  # the last ones that were believed
        self._usual_s = _USUAL_S
        self._doubt = doubt
        self._warned = not warn

    def __call__(self, time_s: float) -> float:
        """Seconds as the source says -> seconds, at least `LEAST_STEP_S` after the last ones."""
        last_s, source_s = self._last_s, self._source_s
        if not math.isfinite(time_s):
            self._last_s = last_s + self._usual_s if math.isfinite(last_s) else 0.0
            return self._last_s
        self._source_s = time_s
        if not math.isfinite(source_s):  # the first one
            self._last_s = max(time_s, last_s + self._usual_s)
            self._behind_s = self._last_s - time_s
            return self._last_s
        before_s, self._before_s = self._before_s, None
        if before_s is not None and time_s < source_s:  # the time in doubt was a bad one
            self._warn(time_s, source_s)
            source_s = before_s
        if self._perhaps_s is not None:
            if time_s + self._behind_s <= last_s:  # still behind: it was no single bad time
                self._behind_s = self._perhaps_s
            self._perhaps_s = None
        now_s = time_s + self._behind_s
        if now_s - last_s < LEAST_STEP_S and time_s - source_s <= -LEAST_STEP_S:
            self._warn(time_s, source_s)
            now_s = last_s + max(self._usual_s / 2, LEAST_STEP_S)
            self._perhaps_s = now_s - time_s
        elif before_s is None and self._is_doubtful(now_s - last_s):
            now_s = last_s + float(np.median(self._steps_s))
            self._before_s = source_s
        else:
            if now_s - last_s < _LONGEST_S:
                now_s = max(now_s, last_s + LEAST_STEP_S)
                self._usual_s += 0.1 * (now_s - last_s - self._usual_s)
            self._steps_s.append(now_s - last_s)
        self._last_s = now_s
        return now_s

    def _is_doubtful(self, step_s: float) -> bool:
        """Whether a step may be a bad stamp; the first one never is: that is how frames come."""
        steps_s = self._steps_s
        return bool(self._doubt and steps_s and step_s > max(_DOUBTED_S, 3 * max(steps_s)))

    def _warn(self, time_s: float, after_s: float) -> None:
        if not self._warned:
            warnings.warn(
                f"the time of a frame runs backwards: {time_s:g} s after {after_s:g} s; its people "
                "are followed as if it came next",
                RuntimeWarning,
                stacklevel=4,
            )
        self._warned = True


def usual_step_s(times_s: np.ndarray) -> float:
    """(N,) s ascending -> s from frame to frame without pauses; nan where no time follows another.

    The median of the steps.  Of a coarse clock that tells nothing, since many steps are times that
    repeat (`LEAST_STEP_S`): then the mean.
    """
    steps_s = np.diff(times_s)
    steps_s = steps_s[steps_s > 0]
    if not len(steps_s):
        return math.nan
    repeated = np.mean(steps_s <= 1.5 * LEAST_STEP_S) >= _REPEATED
    if repeated and (mean_s := float(steps_s[steps_s <= _LONGEST_S].mean())) > 2 * LEAST_STEP_S:
        return mean_s
    return float(np.median(steps_s))
