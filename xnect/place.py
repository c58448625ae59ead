"""Where a root-relative pose stands in the camera's space, from the pixels that show it.

For each seen joint the ray (r_x, r_y, 1) must meet the joint: X + t_x = r_x (Z + t_z), and the same
in y.  That is linear in the translation t: weighted least squares, with a few rounds in which
joints that do not fit lose weight.  The size of the body comes from the height prior, so depth is
proportional to the assumed stature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEAREST_M = 0.3
FARTHEST_M = 200.0
UNKNOWN_M = 4.0  # depth of somebody of whom one joint is seen


class Placed(NamedTuple):
    """Translations of P people."""

    root_m: np.ndarray  # (P, 3) camera space
    sure: np.ndarray  # (P,) bool: False where the depth is from apparent size or a guess


def place(points_m: np.ndarray, rays: np.ndarray, weight: np.ndarray, *, rounds: int = 5) -> Placed:
    """(P, N, 3) m root-relative, (P, N, 2) rays, (P, N) weights -> where the roots are.

    Args:
        points_m: camera axes, metric size.
        rays: x/z and y/z of the ray on which each point is seen (`Camera.rays`).
        weight: 0 for a point that is not seen.
        rounds: of reweighting against outliers.
    """
    weight = np.where(np.isfinite(rays).all(-1) & np.isfinite(points_m).all(-1), weight, 0.0)
    rays = np.where(weight[..., None] > 0, rays, 0.0)
    points = np.where(weight[..., None] > 0, points_m, 0.0)
    fallback = _by_size(points, rays, weight)
    root, sure = fallback, np.zeros(len(points), bool)
    trust = weight
    for _ in range(rounds + 1):
        root, sure = _solve(points, rays, trust, fallback)
        there = points + root[:, None]
        off_m = np.linalg.norm(there[..., :2] - rays * there[..., 2:], axis=-1)
        typical = np.maximum(_median(off_m, weight), 0.02)[:, None]
        trust = weight / (1 + (off_m / typical) ** 2)
    return Placed(root, sure)


def _solve(
    points: np.ndarray, rays: np.ndarray, weight: np.ndarray, fallback: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares of the translation; the fallback where it cannot be trusted."""
    right = rays * points[..., 2:] - points[..., :2]  # (P, N, 2) of [1, 0, -rx] t, [0, 1, -ry] t
    matrix = np.zeros((len(points), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = weight.sum(1)
    slope = -np.einsum("pn,pna->pa", weight, rays)
    matrix[:, :2, 2] = matrix[:, 2, :2] = slope
    matrix[:, 2, 2] = np.einsum("pn,pna->p", weight, rays**2)
    vector = np.empty((len(points), 3))
    vector[:, :2] = np.einsum("pn,pna->pa", weight, right)
    vector[:, 2] = -np.einsum("pn,pna,pna->p", weight, rays, right)
    total = np.maximum(weight.sum(1), 1e-12)
    # What the depth is known from: the spread of the rays about their mean.
    spread = matrix[:, 2, 2] / total - (slope**2).sum(1) / total**2
    known = ((weight > 0).sum(1) >= 2) & (spread > 1e-7)
    matrix[~known] = np.eye(3)
    root = np.linalg.solve(matrix, vector[..., None])[..., 0]
    sure = known & (root[:, 2] > NEAREST_M) & (root[:, 2] < FARTHEST_M)
    return np.where(sure[:, None], root, fallback), sure


def _by_size(points: np.ndarray, rays: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(P, 3) m: depth = spread in metres / spread of the rays, at the middle of what is seen."""
    total = np.maximum(weight.sum(1), 1e-12)[:, None]
    middle = np.einsum("pn,pna->pa", weight, points) / total
    ray = np.einsum("pn,pna->pa", weight, rays) / total
    wide_m = np.einsum("pn,pna->p", weight, (points[..., :2] - middle[:, None, :2]) ** 2)
    wide = np.einsum("pn,pna->p", weight, (rays - ray[:, None]) ** 2)
    several = ((weight > 0).sum(1) >= 2) & (wide > 1e-12)
    depth = np.where(several, np.sqrt(wide_m / np.where(several, wide, 1)), UNKNOWN_M)
    depth = np.clip(np.where(depth > 0, depth, UNKNOWN_M), 2 * NEAREST_M, FARTHEST_M)
    there = np.concatenate([ray * depth[:, None], depth[:, None]], 1)
    return there - middle


def _median(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(P, N) -> (P,) median of what has weight; 0 where nothing has."""
    kept = np.sort(np.where(weight > 0, value, np.inf), 1)
    count = (weight > 0).sum(1)
    people = np.arange(len(value))
    low, high = kept[people, np.maximum(count - 1, 0) // 2], kept[people, count // 2 * (count > 1)]
    return np.where(count > 0, (low + high) / 2, 0.0)
