"""Zero-phase smoothing at any times: penalised least squares with one banded solve.

The path x minimises  sum of w_i dt_i |y_i - x(t_i)|^2 + (2 pi f)^-2d  integral of |d-th derivative
of x|^2  (Whittaker 1922, Henderson 1924; Eilers, Analytical Chemistry 2003).  With weights 1 it
halves what oscillates at f hertz, whatever the frame rate, and delays nothing: the gain at g hertz
is 1 / (1 + (g/f)^2d), that of a Butterworth filter run forth and back.  Polynomials below degree d
pass unchanged, also at the ends.  A row of weight 0 is filled in.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from xnect.errors import BadInput

LEAST_S = 1e-6
"""Least step of the times: below it the solve has no digits left."""


def smoothed(
    time_s: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    *,
    cutoff_hz: float | np.ndarray,
    order: int,
) -> np.ndarray:
    """(N,) s ascending, (N, C) values, (N,) weights from 0 -> (N, C).

    Args:
        time_s: of the rows.
        values: whatever they are where the weight is 0.
        weight: one for each row, or (N, C, C) symmetric where the channels are known together.
        cutoff_hz: frequency that is halved; (N,) where it changes with time, which must be slowly.
        order: of the derivative; no more rows than this with a weight stay, straight between them.

    Raises:
        BadInput: times less than `LEAST_S` apart.
    """
    known = np.asarray(weight.reshape(len(weight), -1).any(1))
    if known.sum() <= order:  # too few to be smoothed
        if not known.any():
            return values.copy()
        columns = [np.interp(time_s, time_s[known], column[known]) for column in values.T]
        return np.stack(columns, 1)
    if (least_s := np.diff(time_s).min()) < 0.99 * LEAST_S:
        raise BadInput(
            f"times must be at least {LEAST_S:g} s apart to be smoothed, got {least_s:.3g} s"
        )
    values = np.where(known[:, None], values, 0.0)
    each = weight * _share_s(time_s).reshape(-1, *[1] * (weight.ndim - 1))
    bands = penalty(time_s, order, cutoff_hz)
    if weight.ndim == 1:
        bands[-1] += each
        return np.asarray(solveh_banded(bands, each[:, None] * values))
    channels = values.shape[1]
    wide = np.zeros((channels * order + 1, values.size))
    wide[::channels] = np.repeat(bands, channels, 1)
    for a in range(channels):
        for b in range(a, channels):
            wide[a - b - 1, b::channels] += each[:, a, b]
    right = (each @ values[..., None]).reshape(-1)
    return np.asarray(solveh_banded(wide, right)).reshape(values.shape)


def penalty(
    time_s: np.ndarray, order: int, cutoff_hz: float | np.ndarray = 1 / (2 * np.pi)
) -> np.ndarray:
    """(order + 1, N) upper bands, as `solveh_banded` takes them, of the derivative's square."""
    weight = np.broadcast_to(2 * np.pi * np.asarray(cutoff_hz), time_s.shape) ** (-2.0 * order)
    rows = np.ones((len(time_s), 1))  # coefficients of the divided differences
    for d in range(1, order + 1):
        step = (time_s[d:] - time_s[:-d])[:, None] / d
        rows = np.pad(rows[1:], ((0, 0), (1, 0))) - np.pad(rows[:-1], ((0, 0), (0, 1)))
        rows = rows / step
    middle = np.lib.stride_tricks.sliding_window_view(weight, order + 1).mean(-1)
    lasts = step[:, 0] * middle
    bands = np.zeros((order + 1, len(time_s)))
    for a in range(order + 1):
        for b in range(a, order + 1):
            bands[order - (b - a), b : b + len(rows)] += lasts * rows[:, a] * rows[:, b]
    return bands


def _share_s(time_s: np.ndarray) -> np.ndarray:
    """(N,) s for which each row stands: half the way to both neighbours."""
    step = np.diff(time_s)
    return np.asarray((np.append(step[:1], step) + np.append(step, step[-1:])) / 2)
