"""Who is who over time: CLEAR MOT (Bernardin & Stiefelhagen 2008) and IDF1 (Ristani et al. 2016).

CLEAR MOT goes through the frames.  A true person keeps the found one it was last paired with, as
long as both are there and near enough; everybody else is paired with the least total distance, as
many as can be, never further than the gate.  A true person paired with another found one than the
last time makes a switch.  MOTA = 1 - (misses + false positives + switches) / true people.

IDF1 pairs whole tracks, once for the whole take, such that they agree in the most frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.eval.tables import rows_of_table


@dataclass(frozen=True, slots=True, eq=False)
class FrameDistances:
    """One frame: T true people, H found ones, and how far they are apart."""

    true_ids: np.ndarray  # (T,) int
    found_ids: np.ndarray  # (H,) int
    distance: np.ndarray  # (T, H); infinity or nan beyond the gate


@dataclass(frozen=True)
class IdentityFigures:
    """Figures of a take; nan where they are not defined."""

    mota: float
    motp: float  # mean distance of the pairs, in its unit: smaller is better
    idf1: float
    id_precision: float
    id_recall: float
    switches: int
    fragmentations: int  # times that a tracked person was lost and tracked again later
    misses: int
    false_positives: int
    pairs: int
    true_people: int  # over all frames
    found_people: int
    true_tracks: int
    found_tracks: int
    mostly_tracked: int  # true people who are paired in 80 % of their frames or more
    mostly_lost: int  # in less than 20 %

    def table(self, *, unit: str = "m") -> str:
        """Markdown."""
        columns = ["MOTA", f"MOTP {unit}", "IDF1", "switches", "fragmentations", "misses",
                   "false positives", "true tracks", "found tracks"]  # fmt: skip
        cells = [f"{100 * self.mota:.1f} %", f"{self.motp:.3f}", f"{100 * self.idf1:.1f} %"]
        counts = (self.switches, self.fragmentations, self.misses, self.false_positives,
                  self.true_tracks, self.found_tracks)  # fmt: skip
        cells += [str(n) for n in counts]
        return rows_of_table(columns, [cells])


def pair_frames(frames: Sequence[FrameDistances]) -> list[np.ndarray]:
    """Each frame's pairs (M, 2): row and column of its distances, by CLEAR MOT's rules."""
    last: dict[int, int] = {}  # true person -> found one of the last pair
    pairs = []
    for frame in frames:
        free = np.where(np.isfinite(frame.distance), frame.distance, np.inf)
        kept = []
        for row, true in enumerate(frame.true_ids):
            columns = np.flatnonzero(frame.found_ids == last.get(int(true)))
            if len(columns) and np.isfinite(free[row, columns[0]]):
                kept.append((row, int(columns[0])))
                free[row], free[:, columns[0]] = np.inf, np.inf
        together = kept + _nearest(free)
        for row, column in together:
            last[int(frame.true_ids[row])] = int(frame.found_ids[column])
        pairs.append(np.array(sorted(together), int).reshape(-1, 2))
    return pairs


def identity_figures(
    frames: Sequence[FrameDistances], pairs: Sequence[np.ndarray] | None = None
) -> IdentityFigures:
    """All figures of a take.

    Args:
        frames: in order of time.
        pairs: of `pair_frames`, when they are at hand.
    """
    pairs = pair_frames(frames) if pairs is None else pairs
    true_people = sum(len(f.true_ids) for f in frames)
    found_people = sum(len(f.found_ids) for f in frames)
    count = sum(len(p) for p in pairs)
    apart = sum(
        float(f.distance[p[:, 0], p[:, 1]].sum()) for f, p in zip(frames, pairs, strict=True)
    )
    switches, times = _histories(frames, pairs)
    wrong = (true_people - count) + (found_people - count) + switches
    agreed, true_tracks, found_tracks = _agreement(frames)
    shares = [float(np.mean(was)) for was in times.values()]
    return IdentityFigures(
        mota=1 - wrong / true_people if true_people else float("nan"),
        motp=apart / count if count else float("nan"),
        idf1=_share(2 * agreed, true_people + found_people),
        id_precision=_share(agreed, found_people),
        id_recall=_share(agreed, true_people),
        switches=switches,
        fragmentations=sum(_breaks(was) for was in times.values()),
        misses=true_people - count,
        false_positives=found_people - count,
        pairs=count,
        true_people=true_people,
        found_people=found_people,
        true_tracks=true_tracks,
        found_tracks=found_tracks,
        mostly_tracked=sum(share >= 0.8 for share in shares),
        mostly_lost=sum(share < 0.2 for share in shares),
    )


def root_distances(true_m: np.ndarray, found_m: np.ndarray, *, gate_m: float) -> np.ndarray:
    """(T, 3) and (H, 3) -> (T, H) m; infinity beyond the gate."""
    away = np.linalg.norm(true_m[:, None] - found_m[None], axis=-1)
    return np.where(away <= gate_m, away, np.inf)


def image_distances(
    true_px: np.ndarray,
    true_shown: np.ndarray,
    found_px: np.ndarray,
    found_score: np.ndarray,
    *,
    gate: float,
    joints_at_least: int = 3,
) -> np.ndarray:
    """(T, J, 2), (T, J) and (H, J, 2), (H, J) -> (T, H) mean distance of the joints of both.

    In heights of the true person (the longer side of the box of its joints); infinity beyond the
    gate and where they share fewer than `joints_at_least` joints.
    """
    both = (true_shown[:, None] > 0) & (found_score[None] > 0)  # (T, H, J)
    away = np.linalg.norm(true_px[:, None] - found_px[None], axis=-1)
    count = both.sum(-1)
    box = np.ptp(true_px, axis=1) if len(true_px) else np.zeros((0, 2))
    height = np.maximum(box.max(-1, initial=0), 1.0)
    mean = np.where(both, away, 0).sum(-1) / np.maximum(count, 1) / height[:, None]
    return np.where((count >= joints_at_least) & (mean <= gate), mean, np.inf)


def _nearest(distance: np.ndarray) -> list[tuple[int, int]]:
    """As many pairs as can be of finite distance, with the least total."""
    finite = np.isfinite(distance)
    if not finite.any():
        return []
    # one pair more is always worth it
    far = (distance[finite].max() + 1) * (2 * min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(finite, distance, far))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if finite[r, c]]


def _histories(
    frames: Sequence[FrameDistances], pairs: Sequence[np.ndarray]
) -> tuple[int, dict[int, list[bool]]]:
    """Number of switches, and true id -> whether it was paired in each of its frames."""
    last: dict[int, int] = {}
    times: dict[int, list[bool]] = {}
    switches = 0
    for frame, pair in zip(frames, pairs, strict=True):
        found = {int(r): int(frame.found_ids[c]) for r, c in pair}
        for row, true in enumerate(frame.true_ids.tolist()):
            times.setdefault(true, []).append(row in found)
            if row in found:
                switches += last.get(true, found[row]) != found[row]
                last[true] = found[row]
    return switches, times


def _breaks(was_paired: Sequence[bool]) -> int:
    """Stretches without a pair between the first and the last pair."""
    there = np.flatnonzero(was_paired)
    return int((np.diff(there) > 1).sum())


def _agreement(frames: Sequence[FrameDistances]) -> tuple[int, int, int]:
    """Frames in which tracks agree under the best pairing of tracks; numbers of tracks."""
    true = sorted({int(i) for f in frames for i in f.true_ids})
    found = sorted({int(i) for f in frames for i in f.found_ids})
    near = np.zeros((len(true), len(found)), int)
    row, column = ({i: n for n, i in enumerate(ids)} for ids in (true, found))
    for frame in frames:
        for r, c in np.argwhere(np.isfinite(frame.distance)):
            near[row[int(frame.true_ids[r])], column[int(frame.found_ids[c])]] += 1
    best = linear_sum_assignment(near, maximize=True)
    return int(near[best].sum()), len(true), len(found)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
