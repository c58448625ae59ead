"""What a model says of one picture, as arrays, whatever stage it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xnect.types import PartialPose, Result

Predict = Callable[[np.ndarray], "Sequence[PartialPose] | Result"]
"""(H, W, 3) uint8 RGB -> the people in it: after association, or after the whole pipeline."""


@dataclass(frozen=True, slots=True, eq=False)
class People2d:
    """P people in the image; a joint of score 0 is absent."""

    joints_px: np.ndarray  # (P, 18, 2)
    score: np.ndarray  # (P, 18)
    person_score: np.ndarray  # (P,)


def people2d(prediction: Sequence[PartialPose] | Result) -> People2d:
    """The 2D part of what a `Predict` gave."""
    if isinstance(prediction, Result):
        rows = [(p.joints2d_px, p.joints2d_score, p.score) for p in prediction.people]
    else:
        rows = [(p.joints_px, p.score, p.person_score) for p in prediction]
    return People2d(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 18, 2),
        np.array([r[1] for r in rows], np.float64).reshape(-1, 18),
        np.array([r[2] for r in rows], np.float64),
    )


def rows_of_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
