"""Damped Gauss-Newton (Levenberg-Marquardt) for many small problems of one shape at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

State = TypeVar("State")


class Quadratic(NamedTuple):
    """P costs around their states: cost + gradient d + d hessian d / 2."""

    cost: np.ndarray  # (P,)
    gradient: np.ndarray  # (P, D)
    hessian: np.ndarray  # (P, D, D), Gauss-Newton


def minimise(
    model: Callable[[State], Quadratic],
    move: Callable[[State, np.ndarray], State],
    choose: Callable[[np.ndarray, State, State], State],
    start: State,
    *,
    iterations: int,
    most: float = 0.7,
    tolerance: float = 1e-4,
) -> tuple[State, np.ndarray]:
    """The best states found and their costs (P,).

    Each problem has its own damping, and takes or refuses its own steps: one that does not lower
    its cost is taken back and tried shorter, so no cost ever rises.

    Args:
        model: the quadratic around a state.
        move: a state after a step (P, D); it may keep within bounds.
        choose: states of the first where (P,) holds, else of the second.
        start: where to begin.
        iterations: at most.
        most: no component of a step is longer; a larger step is shortened as a whole.
        tolerance: stop when no component of any step is larger.
    """
    state, here = start, model(start)
    size = here.gradient.shape[-1]
    damping = np.full(len(here.cost), 1e-3)
    for _ in range(iterations):
        matrix = here.hessian.copy()
        diagonal = matrix.reshape(len(matrix), -1)[:, :: size + 1]  # a view
        diagonal *= 1 + damping[:, None]
        diagonal += 1e-9
        step = -np.linalg.solve(matrix, here.gradient[..., None])[..., 0]
        longest = np.abs(step).max(-1, initial=0)
        step *= np.minimum(1, most / np.maximum(longest, 1e-12))[:, None]
        candidate = move(state, step)
        there = model(candidate)
        better = there.cost < here.cost
        if better.all():
            state, here = candidate, there
        else:
            state = choose(better, candidate, state)
            here = Quadratic(
                np.where(better, there.cost, here.cost),
                np.where(better[:, None], there.gradient, here.gradient),
                np.where(better[:, None, None], there.hessian, here.hessian),
            )
        damping = np.clip(np.where(better, damping * 0.2, damping * 10), 1e-6, 1e6)
        if np.all((longest < tolerance) | (~better & (damping > 1e3))):
            break
    return state, here.cost
