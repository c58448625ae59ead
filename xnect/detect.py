"""Read-out of the network's maps: joint peaks with sub-pixel positions, and how well limbs fit.

Everything here is in cells of the maps: (0, 0) is the centre of the first cell, x to the right,
y down.  Peaks are numbered through, sorted by joint; `Peaks.first[j] : Peaks.first[j + 1]` are
joint j's, best first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.skeleton import LIMBS

LARGEST_SHIFT_CELLS = 0.6  # a peak's true place is at most half a cell off; the rest is for noise
FARTHEST_VOTE_CELLS = 1.5  # a cell that points farther away speaks of another joint
SAMPLES = 10  # points along a limb, as Cao et al. 2017
_NEIGHBOURS = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])  # (9, 2), 4 = itself
LIKELY = 0.5  # of `along_at_least`, at a glance
_STEPS = ((np.arange(SAMPLES) + 0.5) / SAMPLES).astype(
    np.float32
)  # middles of ten equal parts: never at a joint itself
_GLANCE = np.array([0.25, 0.5, 0.75], np.float32)
_LIMB_A = np.array([a for a, _ in LIMBS])
_LIMB_B = np.array([b for _, b in LIMBS])


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """N local maxima of the joint heatmaps."""

    joint: np.ndarray  # (N,) which of the 18 joints, ascending
    xy: np.ndarray  # (N, 2) cells, sub-cell
    cell: np.ndarray  # (N, 2) x, y of the cell that holds the maximum
    score: np.ndarray  # (N,) value of the maximum, 0..1
    first: np.ndarray  # (19,) first peak of each joint, and N at the end


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """M pairs of peaks that may be the two ends of one limb."""

    limb: np.ndarray  # (M,) number in LIMBS
    a: np.ndarray  # (M,) peak at the limb's first joint
    b: np.ndarray  # (M,) peak at its second
    length: np.ndarray  # (M,) cells
    along: np.ndarray  # (M,) mean over the samples of field times direction, -1..1
    support: np.ndarray  # (M,) share of the samples that point along the limb


def find_peaks(
    heatmaps: np.ndarray,
    offsets: np.ndarray | None = None,
    *,
    threshold: float,
    most: int = 32,
) -> Peaks:
    """(18, h, w) probabilities -> the local maxima above `threshold`, at most `most` per joint.

    A maximum is a cell that no neighbour of the eight exceeds; of equal neighbours the last one
    in reading order counts.  Its sub-cell place is where the cells of its 3x3 neighbourhood say
    that the joint is, by `offsets` (18, 2, h, w) and weighted by the squares of their values.

    Without offsets it is the top of a Gaussian through the sums of the neighbourhood's rows and
    columns (a parabola in their logarithms).  Measured on Gaussians of sigma 0.75..1.25 cells that
    is exact for one person, 0.02 cells off where two overlap, and with noise a quarter better than
    a fit through the middle row, which beats centroids.
    """
    joints, h, w = heatmaps.shape
    j, y, x = np.nonzero(heatmaps > threshold)
    padded = np.zeros((joints, h + 2, w + 2), np.float32)
    padded[:, 1:-1, 1:-1] = heatmaps
    flat = (j * (h + 2) + y + 1) * (w + 2) + x + 1
    around = padded.reshape(-1)[flat[:, None] + _NEIGHBOURS @ (w + 2, 1)]  # (n, 9)
    middle = around[:, 4:5]
    top = (middle >= around[:, :4]).all(1) & (middle > around[:, 5:]).all(1)
    j, y, x, around = j[top], y[top], x[top], around[top]
    order = np.lexsort((-around[:, 4], j))
    count = np.bincount(j, minlength=joints)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    order = order[rank < most]
    j, y, x, around = j[order], y[order], x[order], around[order]
    square = around.reshape(-1, 3, 3)
    cell = np.stack([x, y], 1)
    if offsets is None:
        inside = (cell > 0) & (cell < (w - 1, h - 1))  # beyond the map nothing is known: no shift
        shift = np.stack([_gaussian_top(square.sum(1)), _gaussian_top(square.sum(2))], 1) * inside
    else:
        shift = _voted(j, cell, around, offsets)
    first = np.searchsorted(j, np.arange(joints + 1))
    return Peaks(j, cell + shift, cell, around[:, 4], first)


def _voted(
    joint: np.ndarray, cell: np.ndarray, around: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """(n,) joint, (n, 2) cell, (n, 9) values round it -> (n, 2) cells from it to the joint."""
    h, w = offsets.shape[2:]
    beside = _NEIGHBOURS[:, ::-1]  # (9, 2) x, y
    place = np.clip(cell[:, None] + beside, 0, (w - 1, h - 1))  # beyond the map the value is 0
    way = offsets[joint[:, None], :, place[..., 1], place[..., 0]] + beside  # (n, 9, 2)
    weight = around**2 * (np.abs(way) < FARTHEST_VOTE_CELLS).all(-1)
    way = np.where(weight[..., None] > 0, way, 0.0)  # what has no weight may be infinite
    total = weight.sum(1, keepdims=True)
    shift = (weight[..., None] * way).sum(1) / np.maximum(total, 1e-12)
    return np.clip(shift, -1, 1)


def _gaussian_top(three: np.ndarray) -> np.ndarray:
    """(n, 3) values at -1, 0, 1 -> (n,) where the Gaussian through them is highest, clamped."""
    left, middle, right = np.log(np.maximum(three.astype(np.float64), 1e-9)).T
    bend = np.minimum(left - 2 * middle + right, -1e-6)
    return np.clip((left - right) / (2 * bend), -LARGEST_SHIFT_CELLS, LARGEST_SHIFT_CELLS)


def score_links(peaks: Peaks, affinities: np.ndarray, *, along_at_least: float) -> Links:
    """Every pair of peaks that a limb could join, with its fit to (19, 2, h, w) affinities.

    The field is sampled bilinearly at `SAMPLES` points between the two peaks; a sample supports
    the limb if the field along it is at least `along_at_least`.  Pairs between which a glance at
    three points shows no field are left out.
    """
    count = np.diff(peaks.first)
    pairs = count[_LIMB_A] * count[_LIMB_B]  # (L,)
    limb = np.repeat(np.arange(len(LIMBS)), pairs)
    k = np.arange(len(limb)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    of_b = count[_LIMB_B][limb]
    a = peaks.first[_LIMB_A[limb]] + k // np.maximum(of_b, 1)
    b = peaks.first[_LIMB_B[limb]] + k % np.maximum(of_b, 1)
    pixels = affinities.transpose(0, 2, 3, 1).reshape(-1, 2)  # both components lie together
    hw = affinities.shape[2:]
    # Most pairs are of two people: three samples of the nearest cells tell that there is no limb.
    xy = peaks.xy.astype(np.float32)
    start, way = xy[a], xy[b] - xy[a]  # (M, 2)
    points = start[:, None] + _GLANCE[:, None] * way[:, None]
    glance = np.einsum("msc,mc->m", _nearest(pixels, limb, points, hw), way)
    likely = glance > len(_GLANCE) * along_at_least * LIKELY * np.hypot(*way.T)
    likely |= (np.abs(way) < 2).all(1)  # too few cells to tell
    limb, a, b, start, way = limb[likely], a[likely], b[likely], start[likely], way[likely]
    length = np.hypot(way[:, 0], way[:, 1])
    unit = way / np.maximum(length, 1e-6)[:, None]
    points = start[:, None] + _STEPS[:, None] * way[:, None]  # (M, S, 2)
    along = np.einsum("msc,mc->ms", _bilinear(pixels, limb, points, hw), unit)
    support = (along >= along_at_least).mean(1)
    return Links(limb, a, b, length, along.mean(1), support)


def _nearest(
    pixels: np.ndarray, limb: np.ndarray, points: np.ndarray, hw: tuple[int, ...]
) -> np.ndarray:
    """(L * h * w, 2) fields, (M,) limb, (M, S, 2) cells -> (M, S, 2) of the nearest cells."""
    h, w = hw
    x = np.clip(points[..., 0] + 0.5, 0, w - 1).astype(np.intp)
    y = np.clip(points[..., 1] + 0.5, 0, h - 1).astype(np.intp)
    return pixels[(limb[:, None] * h + y) * w + x]


def _bilinear(
    pixels: np.ndarray, limb: np.ndarray, points: np.ndarray, hw: tuple[int, ...]
) -> np.ndarray:
    """(L * h * w, 2) fields, (M,) limb, (M, S, 2) cells -> (M, S, 2) between the cells."""
    h, w = hw
    x = np.clip(points[..., 0], 0, w - 1)
    y = np.clip(points[..., 1], 0, h - 1)
    x0 = np.minimum(x.astype(np.intp), max(w - 2, 0))
    y0 = np.minimum(y.astype(np.intp), max(h - 2, 0))
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    right, down = min(1, w - 1), w * min(1, h - 1)
    corner = (limb[:, None] * h + y0) * w + x0
    upper = pixels[corner] * (1 - fx) + pixels[corner + right] * fx
    lower = pixels[corner + down] * (1 - fx) + pixels[corner + down + right] * fx
    return upper * (1 - fy) + lower * fy


def codes_at(codes: np.ndarray | None, peaks: Peaks) -> np.ndarray:
    """(63, h, w) -> (N, 63) at each peak's nearest cell, where the code is trained; None -> 0."""
    if codes is None:
        return np.zeros((len(peaks.joint), 63), np.float32)
    x, y = np.rint(peaks.xy).astype(np.intp).T
    return codes[:, y.clip(0, codes.shape[1] - 1), x.clip(0, codes.shape[2] - 1)].T
