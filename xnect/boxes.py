"""Stage I's box maps -> boxes of people, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class BoxOptions:
    """When somebody is there."""

    score_at_least: float = 0.3  # of the centre's cell
    same_iou: float = 0.6  # boxes that overlap more are one person
    most: int = 20
    wide: float = 1.6  # sides of the larger picture in which small people are looked for; 0: none
    wide_every_s: float = 0.5  # in a video


def find_boxes(
    maps: np.ndarray, image_from_cell: np.ndarray, options: BoxOptions = BoxOptions()
) -> tuple[np.ndarray, np.ndarray]:
    """(5, h, w) probability of a centre, log distances -> (M, 4) xyxy px, (M,) scores, best first.

    A box is that of the joints that show, without room round them.

    Args:
        maps: left, top, right, bottom distances in logarithms of cells, after the probability.
        image_from_cell: (2, 3), pixel of the picture = A @ [cell_x, cell_y, 1]; without rotation.
        options: thresholds.
    """
    chance = maps[0]
    peak = (chance == cv2.dilate(chance, np.ones((3, 3), np.uint8))) & (
        chance >= options.score_at_least
    )
    y, x = np.nonzero(peak)
    score = chance[y, x]
    left, top, right, bottom = np.exp(maps[1:, y, x])
    cells = np.stack([x - left, y - top, x + right, y + bottom], 1)
    scale, shift = np.diag(image_from_cell[:, :2]), image_from_cell[:, 2]
    return without_copies(cells * np.tile(scale, 2) + np.tile(shift, 2), score, options)


def without_copies(
    boxes: np.ndarray, score: np.ndarray, options: BoxOptions = BoxOptions()
) -> tuple[np.ndarray, np.ndarray]:
    """(M, 4) xyxy, (M,) -> the same, best first, without those that overlap a better one."""
    kept: list[int] = []
    for i in np.argsort(-score, kind="stable"):
        if len(kept) == options.most:
            break
        if not kept or iou(boxes[[i]], boxes[kept]).max() <= options.same_iou:
            kept.append(i)
    return boxes[kept], score[kept]


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) xyxy -> (N, M) intersection over union, 0..1."""
    both = _common(one, other)
    shared: np.ndarray = both / np.maximum(_area(one)[:, None] + _area(other) - both, 1e-9)
    return shared


def inside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) xyxy -> (N, M) share of the first's area that lies in the second, 0..1."""
    share: np.ndarray = _common(one, other) / np.maximum(_area(one)[:, None], 1e-9)
    return share


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both: np.ndarray = np.prod(np.maximum(high - low, 0), -1)
    return both


def _area(boxes_xyxy: np.ndarray) -> np.ndarray:
    sides: np.ndarray = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0).prod(-1)
    return sides
