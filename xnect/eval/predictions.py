"""What a model says of one picture, as arrays, whatever stage it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xnect.calib.camera import Camera
from xnect.skeleton import SEEN_AS
from xnect.types import PartialPose, Person, Result

INFERRED_SCORE = 0.01
"""Score of a joint that was not seen but placed by the skeleton."""

Predict = Callable[[np.ndarray], "Sequence[PartialPose] | Result"]
"""(H, W, 3) uint8 RGB -> the people in it: after association, or after the whole pipeline."""


@dataclass(frozen=True, slots=True, eq=False)
class People2d:
    """P people in the image; a joint of score 0 is absent."""

    joints_px: np.ndarray  # (P, 18, 2)
    score: np.ndarray  # (P, 18)
    person_score: np.ndarray  # (P,)


def people2d(prediction: Sequence[PartialPose] | Result) -> People2d:
    """The 2D part of what a `Predict` gave.

    Of a `Result`, body joints that were not seen are where the fitted skeleton projects.
    """
    if isinstance(prediction, Result):
        rows = [(*_completed(p, prediction.camera), p.score) for p in prediction.people]
    else:
        rows = [(p.joints_px, p.score, p.person_score) for p in prediction]
    return People2d(
        np.array([r[0] for r in rows], np.float64).reshape(-1, 18, 2),
        np.array([r[1] for r in rows], np.float64).reshape(-1, 18),
        np.array([r[2] for r in rows], np.float64),
    )


def _completed(person: Person, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(18, 2) px and (18,) score with the unseen joints taken from the skeleton."""
    joint3d = np.array([k for k, j in enumerate(SEEN_AS) if j >= 0])
    joint2d = np.array(SEEN_AS)[joint3d]
    joints, score = person.joints2d_px.astype(np.float64), person.joints2d_score.astype(np.float64)
    unseen = score[joint2d] == 0
    joints[joint2d[unseen]] = camera.project(person.joints3d_m[joint3d[unseen]])
    score[joint2d[unseen]] = INFERRED_SCORE
    return joints, score
