"""PCK and AUC over 14 joints in 8 groups, as the kits of MPI-INF-3DHP and MuPoTS-3D make them.

Errors are (N, 17) millimetres in the order of `JOINTS3D[:17]`, which is the kits' "relevant" set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xnect.eval.metrics import AUC_THRESHOLDS_M, PCK_THRESHOLD_M
from xnect.eval.tables import rows_of_table
from xnect.skeleton import JOINTS3D

RELEVANT = JOINTS3D[:17]
PELVIS = RELEVANT.index("pelvis")
SCORED = 14
"""The first 14 joints count in PCK and AUC; pelvis, spine and head do not."""

GROUPS: dict[str, tuple[int, ...]] = {
    "head": (0,), "neck": (1,), "shoulders": (2, 5), "elbows": (3, 6), "wrists": (4, 7),
    "hips": (8, 11), "knees": (9, 12), "ankles": (10, 13),
}  # fmt: skip

THRESHOLD_MM = 1000 * PCK_THRESHOLD_M
AUC_THRESHOLDS_MM = np.rint(1000 * AUC_THRESHOLDS_M)


@dataclass(frozen=True)
class GroupScores:
    """Percent by group, and `total`, the mean weighted by the number of joints; mm."""

    pck: dict[str, float]
    auc: dict[str, float]
    mpjpe_mm: float
    poses: int


def group_scores(errors_mm: np.ndarray, *, mpjpe_joints: int = SCORED) -> GroupScores:
    """Scores of (N, 17) errors; nan for N = 0.

    An error counts as right when it is below 150 mm, strictly; nan is wrong.  AUC is the mean of
    the PCK at 0, 5 ... 150 mm, so that no errors at all give 30/31, not 1.  MPJPE is over the first
    `mpjpe_joints` joints.
    """
    errors = np.asarray(errors_mm, np.float64).reshape(-1, len(RELEVANT))
    if not len(errors):
        nothing = dict.fromkeys((*GROUPS, "total"), float("nan"))
        return GroupScores(nothing, dict(nothing), float("nan"), 0)
    below = (errors[..., None] < AUC_THRESHOLDS_MM).mean(-1)  # (N, 17)
    return GroupScores(
        pck=_by_group(errors < THRESHOLD_MM),
        auc=_by_group(below),
        mpjpe_mm=float(errors[:, :mpjpe_joints].mean()),
        poses=len(errors),
    )


def mean_scores(scores: Mapping[str, GroupScores]) -> GroupScores:
    """The mean over sequences, each counting the same; those without poses are left out."""
    some = [s for s in scores.values() if s.poses]
    names = (*GROUPS, "total")

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    return GroupScores(
        pck={name: mean([s.pck[name] for s in some]) for name in names},
        auc={name: mean([s.auc[name] for s in some]) for name in names},
        mpjpe_mm=mean([s.mpjpe_mm for s in some]),
        poses=sum(s.poses for s in some),
    )


def scores_table(rows: Mapping[str, GroupScores]) -> str:
    """Markdown: PCK by group, then the totals."""
    columns = ["", *GROUPS, "**PCK**", "**AUC**", "MPJPE mm", "poses"]
    return rows_of_table(
        columns,
        [
            [
                name,
                *(f"{s.pck[group]:.1f}" for group in (*GROUPS, "total")),
                f"{s.auc['total']:.1f}",
                f"{s.mpjpe_mm:.1f}",
                str(s.poses),
            ]
            for name, s in rows.items()
        ],
    )


def _by_group(values: np.ndarray) -> dict[str, float]:
    percent = 100 * values.mean(0)  # (17,)
    scores = {name: float(percent[list(joints)].mean()) for name, joints in GROUPS.items()}
    return {**scores, "total": float(percent[:SCORED].mean())}
