"""Errors of poses: arrays -> numbers.  Spec 7.1 and 7.2.

Every function of a pose takes poses (..., K, 3) in metres (or (..., K, 2) in pixels) and `valid`
(..., K), the joints that count (default: all), and gives one number over all valid joints; nan when
there are none.  Nothing is aligned unless the name says so: `root_relative` does the usual thing.
The functions of a motion take frames as first axis, one step apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.angles import included_angle_deg
from xnect.skeleton import JOINTS3D, ROOT

PCK_THRESHOLD_M = 0.15
"""An error below it counts as correct (spec 7.1)."""

AUC_THRESHOLDS_M = np.arange(0, 151, 5) / 1000
"""0, 5 ... 150 mm: 31 thresholds, zero included (spec 7.1)."""

PCKH_WITHIN = 0.5
"""Head lengths, of PCKh@0.5 (Andriluka et al., CVPR 2014)."""


@dataclass(frozen=True)
class PoseFigures:
    """Errors of N root-relative poses; nan where nothing counted.  mm, and shares 0..1."""

    poses: int
    mpjpe_mm: float
    n_mpjpe_mm: float  # after the best scale
    pa_mpjpe_mm: float  # after the best rotation, scale and shift
    pck_150mm: float
    auc_150mm: float
    visible_mpjpe_mm: float  # of the joints that are seen; nan when it is not known which are
    occluded_mpjpe_mm: float
    visible_pck_150mm: float
    occluded_pck_150mm: float
    knee_deg: float  # mean absolute error of how far both knees are bent
    elbow_deg: float
    by_joint_mm: dict[str, float]


def mpjpe(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean distance of the joints, m.  Nothing is aligned: give root-relative poses."""
    return _mean(joint_errors(pred_m, true_m), valid)


def n_mpjpe(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean distance after the best scale of each pose about its origin, m."""
    w = _weights(true_m, valid)[..., None]
    pred, true = np.where(w > 0, pred_m, 0), np.where(w > 0, true_m, 0)
    up = (w * pred * true).sum((-1, -2), keepdims=True)
    down = (w * pred * pred).sum((-1, -2), keepdims=True)
    return mpjpe(pred_m * (up / np.maximum(down, 1e-12)), true_m, valid)


def pa_mpjpe(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean distance after the best rotation, scale and shift of each pose (Procrustes), m."""
    return mpjpe(procrustes(pred_m, true_m, valid), true_m, valid)


def pck3d(
    pred_m: np.ndarray,
    true_m: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    threshold_m: float = PCK_THRESHOLD_M,
) -> float:
    """Share of the joints whose error is below the threshold (strictly), 0..1."""
    return _mean((joint_errors(pred_m, true_m) < threshold_m).astype(np.float64), valid)


def auc3d(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean of `pck3d` over `AUC_THRESHOLDS_M`, 0..1."""
    return float(np.mean([pck3d(pred_m, true_m, valid, threshold_m=t) for t in AUC_THRESHOLDS_M]))


def joint_errors(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(..., K, D) and (..., K, D) -> (..., K) distances, in the unit of the coordinates."""
    return np.linalg.norm(np.asarray(pred, np.float64) - np.asarray(true, np.float64), axis=-1)


def root_relative(joints_m: np.ndarray, *, root: int = ROOT) -> np.ndarray:
    """(..., K, 3) with the root joint at the origin."""
    return joints_m - joints_m[..., root : root + 1, :]


def by_joint(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(..., K) -> (K,) mean of each joint where it is valid; nan where it never is."""
    flat = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
    keep = np.ones(flat.shape, bool)
    if valid is not None:
        keep = np.broadcast_to(valid, values.shape).reshape(flat.shape)
    count = keep.sum(0)
    total = np.where(keep, flat, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pose_figures(
    pred_m: np.ndarray,
    true_m: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    visible: np.ndarray | None = None,
) -> PoseFigures:
    """All errors of root-relative poses (N, 21, 3).

    Args:
        pred_m: predictions with the root at the origin.
        true_m: the truth likewise.
        valid: (N, 21) joints that count.
        visible: (N, 21) 1 seen, 0 hidden; nan or a negative number where it is not known.
    """
    errors = joint_errors(pred_m, true_m)
    ok = np.ones(errors.shape, bool) if valid is None else np.broadcast_to(valid, errors.shape)
    state = np.full(errors.shape, -1.0) if visible is None else np.asarray(visible, np.float64)
    right = (errors < PCK_THRESHOLD_M).astype(np.float64)
    seen, hidden = ok & (state > 0), ok & (state == 0)
    counted = np.where(ok[..., None], true_m, np.nan)
    return PoseFigures(
        poses=len(errors),
        mpjpe_mm=1000 * _mean(errors, ok),
        n_mpjpe_mm=1000 * n_mpjpe(pred_m, true_m, valid),
        pa_mpjpe_mm=1000 * pa_mpjpe(pred_m, true_m, valid),
        pck_150mm=_mean(right, ok),
        auc_150mm=auc3d(pred_m, true_m, valid),
        visible_mpjpe_mm=1000 * _mean(errors, seen),
        occluded_mpjpe_mm=1000 * _mean(errors, hidden),
        visible_pck_150mm=_mean(right, seen),
        occluded_pck_150mm=_mean(right, hidden),
        knee_deg=bend_error_deg(pred_m, counted, KNEE),
        elbow_deg=bend_error_deg(pred_m, counted, ELBOW),
        by_joint_mm=dict(zip(JOINTS3D, (1000 * by_joint(errors, ok)).tolist(), strict=True)),
    )


KNEE, ELBOW = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")


def bend_error_deg(pred_m: np.ndarray, true_m: np.ndarray, limb: tuple[str, str, str]) -> float:
    """Mean absolute error of how far a limb is bent, both sides: (N, 21, 3) m, nan where unknown.

    Args:
        pred_m: predictions.
        true_m: the truth.
        limb: joints above, at and below the bend, such as `KNEE`.
    """
    errors = []
    for side in ("left", "right"):
        ours, theirs = (
            included_angle_deg(a, *(f"{side}_{part}" for part in limb)) for a in (pred_m, true_m)
        )
        errors.append(np.abs(ours - theirs))
    both = np.concatenate(errors)
    return float(np.nanmean(both)) if np.isfinite(both).any() else float("nan")


def pck2d(
    pred_px: np.ndarray,
    true_px: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    reference_px: np.ndarray | float,
    within: float,
) -> float:
    """Share of the joints that lie within `within` reference lengths of the label (inclusive).

    Args:
        pred_px: (..., K, 2); nan where a joint was not found, which is wrong.
        true_px: (..., K, 2) labels.
        valid: (..., K) labelled joints.
        reference_px: (...,) length of each person: torso, head or box.
        within: share of it.
    """
    near = joint_errors(pred_px, true_px) <= within * np.asarray(reference_px)[..., None]
    return _mean(near.astype(np.float64), valid)


def pckh(
    pred_px: np.ndarray,
    true_px: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    head_px: np.ndarray | float,
    within: float = PCKH_WITHIN,
) -> float:
    """`pck2d` in head lengths (neck to head top as labelled; MPII takes 0.6 head diagonals)."""
    return pck2d(pred_px, true_px, valid, reference_px=head_px, within=within)


def accelerations(motion: np.ndarray) -> np.ndarray:
    """(F, ..., 3) -> (F - 2, ..., 3) second differences, per frame^2."""
    motion = np.asarray(motion, np.float64)
    return motion[:-2] - 2 * motion[1:-1] + motion[2:]


def jitter(motion_m: np.ndarray) -> float:
    """Mean length of the accelerations, m/frame^2; nan for fewer than three frames.

    What a still person does is jitter; real acceleration is in it too, so the truth's is the
    number to compare with.
    """
    return _mean(np.linalg.norm(accelerations(motion_m), axis=-1), None)


def acceleration_error(pred_m: np.ndarray, true_m: np.ndarray) -> float:
    """Mean distance of the accelerations, m/frame^2 (Kanazawa et al., CVPR 2019)."""
    return _mean(joint_errors(accelerations(pred_m), accelerations(true_m)), None)


def procrustes(
    pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """(..., K, 3) predictions moved by the similarity that brings the valid joints nearest.

    Proper rotations only: a mirrored pose stays mirrored (Umeyama 1991, eqs. 38-43).  A pose with
    a joint that counts and is not finite is nan.
    """
    pred, true = np.asarray(pred_m, np.float64), np.asarray(true_m, np.float64)
    w = _weights(true, valid)[..., None]
    given = np.where((w > 0) | np.isfinite(pred), pred, np.nan)  # infinities make matmul warn
    pred, true = np.where(w > 0, pred, 0), np.where(w > 0, true, 0)
    total = np.maximum(w.sum((-1, -2), keepdims=True), 1e-12)
    pred_mean = (w * pred).sum(-2, keepdims=True) / total
    true_mean = (w * true).sum(-2, keepdims=True) / total
    p, t = pred - pred_mean, true - true_mean
    covariance = np.swapaxes(w * t, -1, -2) @ p  # (..., 3, 3)
    known = np.isfinite(covariance).all((-1, -2))
    u, s, vt = np.linalg.svd(np.where(known[..., None, None], covariance, 0))
    s = np.where(known[..., None], s, np.nan)
    sign = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u = u * np.stack([np.ones_like(sign), np.ones_like(sign), sign], -1)[..., None, :]
    spread = np.maximum((w * p * p).sum((-1, -2)), 1e-12)
    scale = (s[..., 0] + s[..., 1] + sign * s[..., 2]) / spread
    rotation = u @ vt
    moved = scale[..., None, None] * (given - pred_mean)
    return moved @ np.swapaxes(rotation, -1, -2) + true_mean


def _weights(poses_m: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    shape = np.asarray(poses_m).shape[:-1]
    return np.ones(shape) if valid is None else np.broadcast_to(valid, shape).astype(np.float64)


def _mean(values: np.ndarray, valid: np.ndarray | None) -> float:
    chosen = values if valid is None else values[np.broadcast_to(valid, values.shape)]
    return float(chosen.mean()) if chosen.size else float("nan")
