"""What the upper body looks like: a histogram of hue and saturation that tells people apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xnect.skeleton import J2D
from xnect.types import PartialPose

BINS = 30
_MOST_PX = 48  # the torso is sampled no finer than this many pixels across
_SAME_VIEW = 0.35  # unlikeness below which two histograms are the same view of a person
_CORNERS = [J2D[n] for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]


def torso_histogram(image: np.ndarray, pose: PartialPose) -> np.ndarray:
    """(30, 30) share of the torso's pixels by hue and saturation; zeros when it is not seen.

    Hips that are not seen are guessed one and a half shoulder widths below the shoulders.
    """
    import cv2

    corners = np.array(pose.joints_px[_CORNERS], np.float64)
    seen = pose.score[_CORNERS] > 0
    if not seen[:2].all():
        return np.zeros((BINS, BINS))
    width = np.linalg.norm(corners[0] - corners[1])
    for hip, shoulder in ((2, 1), (3, 0)):
        if not seen[hip]:
            corners[hip] = corners[shoulder] + (0, 1.5 * width)
    h, w = image.shape[:2]
    low = np.floor(np.clip(corners.min(0), 0, (w - 1, h - 1))).astype(int)
    high = np.ceil(np.clip(corners.max(0), 0, (w - 1, h - 1))).astype(int) + 1
    step = max(1, int((high - low).max()) // _MOST_PX)
    crop = np.ascontiguousarray(image[low[1] : high[1] : step, low[0] : high[0] : step])
    inside = np.zeros(crop.shape[:2], np.uint8)
    quad = np.clip((corners - low) / step, -1e4, 1e4).round().astype(np.int32)
    cv2.fillConvexPoly(inside, quad, 1)
    if inside.sum() < 12:
        return np.zeros((BINS, BINS))
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist([hsv], [0, 1], inside, [BINS, BINS], [0, 180, 0, 256])
    histogram = cv2.GaussianBlur(histogram, (3, 3), 0).astype(np.float64)
    shares: np.ndarray = histogram / histogram.sum()
    return shares


def unlikeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, 30, 30), (B, 30, 30) -> (A, B) Bhattacharyya distance 0..1; 0.5 where one is all zero."""
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    alike = np.sqrt(flat_a) @ np.sqrt(flat_b).T
    known = (flat_a.sum(1) > 0)[:, None] & (flat_b.sum(1) > 0)
    return np.where(known, np.sqrt(np.clip(1 - alike, 0, 1)), 0.5)


def learned(gallery: np.ndarray, looks: np.ndarray, *, rate: float, most: int) -> np.ndarray:
    """(G, 30, 30) looks of one person with the (30, 30) of a frame taken in; at most `most`.

    What is much like a view that is known blends into it by `rate`; another view (the back, another
    light) is kept beside it, in place of the one that was learned first when there are too many.
    """
    if not looks.any():
        return gallery
    if not len(gallery):
        return looks[None]
    off = unlikeness(gallery, looks[None])[:, 0]
    if off.min() < _SAME_VIEW:
        at = int(off.argmin())
        out = gallery.copy()
        out[at] += rate * (looks - out[at])
        return out
    return np.concatenate([gallery[int(len(gallery) >= most) :], looks[None]])


def unlikeness_of_people(galleries: Sequence[np.ndarray], looks: np.ndarray) -> np.ndarray:
    """(A,) galleries, (B, 30, 30) -> (A, B) unlikeness of the likest view; 0.5 without any."""
    return np.array(
        [unlikeness(g, looks).min(0) if len(g) else np.full(len(looks), 0.5) for g in galleries]
    ).reshape(len(galleries), len(looks))
