"""Which of the refiner's joints are evidence for the pose in 3D."""

from __future__ import annotations

import numpy as np

from xnect.skeleton import FLIP2D, J2D
from xnect.types import PartialPose

_LIMB_ENDS = np.array([J2D[f"left_{n}"] for n in ("elbow", "wrist", "knee", "ankle")])
_TWINS = np.array(FLIP2D)[_LIMB_ENDS]


def sure_joints(
    person: PartialPose, *, at_least: float = 0.5, twin_within: float = 0.05
) -> np.ndarray:
    """(18,) bool: the joints that are sure enough to be evidence in 3D; at least three are.

    The refiner names a place for every joint, also for hidden ones.  Without the unsure ones, and
    without the weaker of left and right that lie on one limb, Stage II completes the pose better
    (measured by `xnect.eval synth`).

    Args:
        person: as the refiner sees them.
        at_least: score below which a joint is shown, but no evidence for the pose in 3D.
        twin_within: of the box's longer side: nearer twins are one limb seen twice.
    """
    joints, score = person.joints_px, person.score
    seen = score > 0
    if seen.sum() <= 3:
        return seen
    size = float(np.ptp(joints[seen], axis=0).max())
    sure: np.ndarray = seen & (score >= min(at_least, np.sort(score)[-3]))
    away = np.linalg.norm(joints[_LIMB_ENDS] - joints[_TWINS], axis=-1)
    near = (away < twin_within * size) & seen[_LIMB_ENDS] & seen[_TWINS]
    left = score[_LIMB_ENDS] < score[_TWINS]
    sure[_LIMB_ENDS[near & left]] = False
    sure[_TWINS[near & ~left]] = False
    return sure
