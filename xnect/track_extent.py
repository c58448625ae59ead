"""Where people are in the picture, how large, and who covers whom: 2D measures of the tracker.

Distances are in torsos of the larger of the two, so that they mean the same near and far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnect.skeleton import J2D, SEEN_AS
from xnect.types import PartialPose, Pose3D

_TORSO = [J2D[n] for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
_NECK, _HIPS = J2D["neck"], [J2D["left_hip"], J2D["right_hip"]]
_SEEN, _SHOWN = np.array(
    [(j, k) for j, k in enumerate(SEEN_AS) if k >= 0]
).T  # 2D joints that are joints of the body, and which


def distances(
    old: Sequence[PartialPose], new: Sequence[PartialPose], shift_px: np.ndarray | float = 0.0
) -> np.ndarray:
    """(M, K) how far poses are apart, in torsos, if the old ones moved on by (M, 2) `shift_px`.

    The mean over the joints seen in both; without a joint in common the distance of the middles of
    what is seen; infinite where nothing is seen.
    """
    if not old or not new:
        return np.zeros((len(old), len(new)))
    shift = np.broadcast_to(shift_px, (len(old), 2))
    was = np.stack([p.joints_px for p in old]) + shift[:, None]  # (M, 18, 2)
    now = np.stack([p.joints_px for p in new])  # (K, 18, 2)
    was_seen = np.stack([p.score for p in old]) > 0
    now_seen = np.stack([p.score for p in new]) > 0
    common = was_seen[:, None] & now_seen  # (M, K, 18)
    count = common.sum(-1)
    off = np.linalg.norm(now - was[:, None], axis=-1)
    mean = np.where(common, off, 0.0).sum(-1) / np.maximum(count, 1)
    middles = [
        np.where(seen[..., None], joints, 0.0).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
        for joints, seen in ((was, was_seen), (now, now_seen))
    ]
    middle = np.linalg.norm(middles[1] - middles[0][:, None], axis=-1)
    size = np.maximum.outer([torso_px(p) for p in old], [torso_px(p) for p in new])
    some = was_seen.any(1, keepdims=True) & now_seen.any(1)
    return np.where(some, np.where(count > 0, mean, middle) / size, np.inf)


def made_of(pose: PartialPose, others: Sequence[PartialPose], within: float) -> float:
    """Share of a pose's joints, by score, that lie on the same joint of one of the others.

    `within` torsos of the other: where people overlap, the networks see the face of one on the
    body of the other besides.
    """
    if not others:
        return 0.0
    near_px = within * np.array([torso_px(other) for other in others])
    away = np.linalg.norm(np.stack([o.joints_px for o in others]) - pose.joints_px, axis=-1)
    on = (away <= near_px[:, None]) & (np.stack([o.score for o in others]) > 0)
    score = np.maximum(pose.score, 0)
    return float(score @ on.any(0) / max(float(score.sum()), 1e-9))


def size_changes(old_px: Sequence[float], now_px: np.ndarray) -> np.ndarray:
    """(M, K) change of the logarithm of the apparent size; 0 where it is not known."""
    old = np.array(old_px)[:, None]
    known = (old > 0) & (now_px > 0)
    return np.abs(np.log(np.where(known, now_px / np.maximum(old, 1e-9), 1.0)))


def overlaps(poses: Sequence[PartialPose], share: float) -> np.ndarray:
    """(K, K) bool: whose boxes cover each other to more than `share` of the smaller one."""
    low = np.full((len(poses), 2), np.inf)
    high = np.full((len(poses), 2), -np.inf)
    for k, pose in enumerate(poses):
        joints = pose.joints_px[pose.score > 0]
        if len(joints):
            low[k], high[k] = joints.min(0), joints.max(0)
    side = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = np.where((side > 0).all(-1), np.maximum(side, 0).prod(-1), 0.0)
    own = np.where(np.isfinite(low).all(1), np.maximum(high - low, 0).prod(1), 0.0)
    out: np.ndarray = shared > share * np.minimum.outer(own, own)
    np.fill_diagonal(out, val=False)
    return out


def covered(poses: Sequence[PartialPose], sizes: np.ndarray) -> np.ndarray:
    """(K,) bool: whose torso somebody nearer stands before, so that its colours are not his."""
    out = np.zeros(len(poses), bool)
    low, high = np.full((len(poses), 2), np.inf), np.full((len(poses), 2), -np.inf)
    for k, pose in enumerate(poses):
        if (pose.score[_TORSO] > 0).sum() >= 3:
            corners = pose.joints_px[_TORSO][pose.score[_TORSO] > 0]
            low[k], high[k] = corners.min(0), corners.max(0)
    for k in range(len(poses)):
        side = np.minimum(high, high[k]) - np.maximum(low, low[k])
        shared = np.where((side > 0).all(1), side.prod(1), 0) if len(side) else np.zeros(0)
        own = np.prod(high[k] - low[k]) if np.isfinite(low[k]).all() else 0.0
        out[k] = bool((shared[sizes > sizes[k]] > 0.3 * own).any()) if own else False
    return out


def px_per_m(pose: Pose3D) -> float:
    """Pixels per metre of the reference body; 0 when too little is seen to tell."""
    seen = pose.partial.score[_SEEN] > 0
    if seen.sum() < 4:
        return 0.0
    px, metres = pose.partial.joints_px[_SEEN[seen]], pose.joints_m[_SHOWN[seen], :2]
    spread_px = np.linalg.norm(px - px.mean(0))
    spread_m = np.linalg.norm(metres - metres.mean(0)) / np.sqrt(seen.sum())
    return float(spread_px / np.sqrt(seen.sum()) / spread_m) if spread_m > 0.1 else 0.0


def torso_px(pose: PartialPose) -> float:
    """From the neck to the hips; guessed from the box of all joints when they are not seen."""
    seen = pose.score > 0
    if not seen.any():
        return 1.0
    joints = pose.joints_px[seen]
    size = 0.3 * float(np.ptp(joints, axis=0).max())
    hips = [h for h in _HIPS if seen[h]]
    if seen[_NECK] and hips:
        torso = np.linalg.norm(pose.joints_px[hips].mean(0) - pose.joints_px[_NECK])
        size = max(size, float(torso))
    return max(size, 4.0)
