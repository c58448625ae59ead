"""What the refiner's maps say of each joint: place and score, a second place, sides, 3D codes."""

from __future__ import annotations

import numpy as np

from xnect.skeleton import FLIP2D


def best_cells(heatmaps: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, J, h, w), (P, J, 2, h, w) -> (P, J, 2) cells x, y of each joint, (P, J) its value.

    The place is where the best cell and its eight neighbours say that the joint is, weighted by
    the squares of their values.
    """
    return _read_at(heatmaps, offsets, *_best(heatmaps))


def _read_at(
    heatmaps: np.ndarray, offsets: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `best_cells` gives, of any cells (P, J)."""
    people, joints, h, w = heatmaps.shape
    p, j = np.indices((people, joints))
    score = heatmaps[p, j, row, column]
    steps = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    y, x = row[..., None] + steps[:, 0], column[..., None] + steps[:, 1]  # (P, J, 9)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    y, x = y.clip(0, h - 1), x.clip(0, w - 1)
    p, j = p[..., None], j[..., None]
    way = np.stack([offsets[p, j, 0, y, x] + steps[:, 1], offsets[p, j, 1, y, x] + steps[:, 0]], -1)
    weight = heatmaps[p, j, y, x] ** 2 * inside * (np.abs(way) < 1.5).all(-1)
    way = np.where(weight[..., None] > 0, way, 0.0)  # what has no weight may be infinite
    shift = (weight[..., None] * way).sum(2) / np.maximum(weight.sum(2), 1e-12)[..., None]
    return np.stack([column, row], -1) + np.clip(shift, -1, 1), score


SECOND_AWAY = 3
"""Cells from a joint's best cell from which on another peak is a second place."""


def second_cells(heatmaps: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `best_cells`, of the surest peak that is not the best one or beside it.

    The value is 0 where there is no other peak.
    """
    h, w = heatmaps.shape[-2:]
    row, column = _best(heatmaps)
    y, x = np.arange(h)[:, None], np.arange(w)
    away = np.maximum(abs(y - row[..., None, None]), abs(x - column[..., None, None]))
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    along = np.maximum(np.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    around = np.maximum(np.maximum(along[..., :-2, :], along[..., 1:-1, :]), along[..., 2:, :])
    peak = (heatmaps >= around) & (away >= SECOND_AWAY)
    cells, score = _read_at(heatmaps, offsets, *_best(heatmaps * peak))
    return cells, score * peak.any((-2, -1))


def read_codes(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(P, 63, h, w), (P, J, 2) cells x, y -> (P, J, 63) codes at the nearest cells."""
    x, y = np.moveaxis(np.rint(cells).astype(np.intp), -1, 0)
    x, y = x.clip(0, maps.shape[-1] - 1), y.clip(0, maps.shape[-2] - 1)
    read: np.ndarray = maps[np.arange(len(maps))[:, None], :, y, x]
    return read


def side_margin(heatmaps: np.ndarray) -> np.ndarray:
    """(P, J, h, w) -> (P, J) log-odds of each joint at its best cell against its twin there.

    The twin counts where it is surest in the 3x3 cells round that place.
    """
    people, joints = heatmaps.shape[:2]
    row, column = _best(heatmaps)
    p, j = np.indices((people, joints))
    own = heatmaps[p, j, row, column]
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = [
        padded[p, np.array(FLIP2D)[j], row + dy, column + dx] for dy in range(3) for dx in range(3)
    ]
    twin = np.max(around, 0)
    own, twin = np.clip((own, twin), 1e-4, 1 - 1e-4)
    return np.log(own / (1 - own)) - np.log(twin / (1 - twin))


def _best(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, J, h, w) -> (P, J) row and column of each joint's surest cell."""
    best = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(-1)
    row, column = np.divmod(best, heatmaps.shape[-1])
    return row, column
