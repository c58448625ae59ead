"""Errors of 3D poses: arrays -> numbers.  Spec 7.1 and 7.2.

Every function takes poses (..., K, 3) in metres and `valid` (..., K), the joints that count
(default: all), and gives one number over all valid joints; nan when there are none.
"""

from __future__ import annotations

import numpy as np

PCK_THRESHOLD_M = 0.15
"""An error below it counts as correct (spec 7.1)."""

AUC_THRESHOLDS_M = np.arange(0, 151, 5) / 1000
"""0, 5 ... 150 mm: 31 thresholds, zero included (spec 7.1)."""


def mpjpe(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean distance of the joints, m.  Nothing is aligned: give root-relative poses."""
    return _mean(joint_errors(pred_m, true_m), valid)


def n_mpjpe(pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean distance after the best scale of each pose about its origin, m."""
    w = _weights(true_m, valid)[..., None]
    up = (w * pred_m * np.where(w > 0, true_m, 0)).sum((-1, -2), keepdims=True)
    down = (w * pred_m * pred_m).sum((-1, -2), keepdims=True)
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


def joint_errors(pred_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    """(..., K, 3) and (..., K, 3) -> (..., K) distances, m."""
    return np.linalg.norm(np.asarray(pred_m, np.float64) - np.asarray(true_m, np.float64), axis=-1)


def procrustes(
    pred_m: np.ndarray, true_m: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """(..., K, 3) predictions moved by the similarity that brings the valid joints nearest.

    Proper rotations only: a mirrored pose stays mirrored (Umeyama 1991, eqs. 38-43).
    """
    pred, true = np.asarray(pred_m, np.float64), np.asarray(true_m, np.float64)
    w = _weights(true, valid)[..., None]
    true = np.where(w > 0, true, 0)
    total = np.maximum(w.sum((-1, -2), keepdims=True), 1e-12)
    pred_mean = (w * pred).sum(-2, keepdims=True) / total
    true_mean = (w * true).sum(-2, keepdims=True) / total
    p, t = pred - pred_mean, true - true_mean
    u, s, vt = np.linalg.svd(np.swapaxes(w * t, -1, -2) @ p)  # covariance (..., 3, 3)
    sign = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u = u * np.stack([np.ones_like(sign), np.ones_like(sign), sign], -1)[..., None, :]
    spread = np.maximum((w * p * p).sum((-1, -2)), 1e-12)
    scale = (s[..., 0] + s[..., 1] + sign * s[..., 2]) / spread
    rotation = u @ vt
    return scale[..., None, None] * p @ np.swapaxes(rotation, -1, -2) + true_mean


def _weights(poses_m: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    shape = np.asarray(poses_m).shape[:-1]
    return np.ones(shape) if valid is None else np.broadcast_to(valid, shape).astype(np.float64)


def _mean(values: np.ndarray, valid: np.ndarray | None) -> float:
    chosen = values if valid is None else values[np.broadcast_to(valid, values.shape)]
    return float(chosen.mean()) if chosen.size else float("nan")
