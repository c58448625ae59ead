"""What a recording of a clip shows without any labels: presence, identities, steadiness.

* A person *carries a skeleton* in a frame when at least `joints_at_least` of the 14 joints of the
  body (no eyes and ears) are seen.
* *Exchanged ids*: everybody of a frame is paired with the people of the next frame by the nearest
  2D joints (least total distance, never further than half a body height); a pair of different ids
  although one of the two ids is there in both frames is counted.  A person who comes back under a
  new id is not in this count but in `distinct_ids`.
* *Jitter*: second difference of the joints from frame to frame, of a person present in three
  frames running; the median over people, frames and joints.  Real acceleration is in it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.errors import BadInput
from xnect.eval.tables import rows_of_table
from xnect.types import Person, Result

BODY_JOINTS = 14  # the first of JOINTS2D
FAR = 1e6


@dataclass(frozen=True)
class ClipReport:
    """Statistics of one recording."""

    frames: int
    people_per_frame: float  # mean number of people who carry a skeleton
    share_with_at_least: dict[int, float]  # number of people -> share of frames
    distinct_ids: int
    exchanged_ids: int
    longest_tracks: list[float]  # share of frames of each id, longest first, at most ten
    gaps: int  # times that an id was away and came back
    jitter_px: float  # per frame^2; nan without three frames of anybody
    jitter_mm: float  # of the 3D joints about the pelvis
    bone_change: float  # largest relative change of a bone's length within one identity
    not_finite: int  # people with a NaN or infinity anywhere in the pose

    def table(self) -> str:
        """Markdown."""
        rows = [
            ["frames", str(self.frames)],
            ["people with a skeleton, mean per frame", f"{self.people_per_frame:.2f}"],
            *(
                [f"frames with >= {n} people", f"{100 * share:.1f} %"]
                for n, share in self.share_with_at_least.items()
            ),
            ["distinct ids", str(self.distinct_ids)],
            ["exchanged ids", str(self.exchanged_ids)],
            ["gaps in tracks", str(self.gaps)],
            ["longest tracks", " ".join(f"{100 * s:.0f}%" for s in self.longest_tracks)],
            ["jitter, 2D", f"{self.jitter_px:.2f} px/frame²"],
            ["jitter, 3D", f"{self.jitter_mm:.1f} mm/frame²"],
            ["largest change of a bone", f"{100 * self.bone_change:.2f} %"],
            ["people with NaN", str(self.not_finite)],
        ]
        return rows_of_table(["what", "value"], rows)


def table_of_clips(reports: Mapping[str, ClipReport]) -> str:
    """Markdown: a row for each clip."""
    columns = [
        "clip", "frames", "people", "ids", "exchanged", "gaps", "longest tracks", "jitter, mm",
        "bones, %", "NaN",
    ]  # fmt: skip
    rows = [
        [
            name, str(r.frames), f"{r.people_per_frame:.2f}", str(r.distinct_ids),
            str(r.exchanged_ids), str(r.gaps),
            " ".join(f"{100 * share:.0f}%" for share in r.longest_tracks[:6]),
            f"{r.jitter_mm:.1f}", f"{100 * r.bone_change:.2f}", str(r.not_finite),
        ]
        for name, r in reports.items()
    ]  # fmt: skip
    return rows_of_table(columns, rows)


def evaluate_clip(
    results: Sequence[Result], *, people: int = 6, joints_at_least: int = 8
) -> ClipReport:
    """The statistics of a recording's frames; shares are given for 1..`people` people.

    Raises:
        BadInput: no frames.
    """
    if not results:
        raise BadInput("the recording has 0 frames; at least 1 is needed")
    carried = [
        [p for p in r.people if (p.joints2d_score[:BODY_JOINTS] > 0).sum() >= joints_at_least]
        for r in results
    ]
    counts = np.array([len(frame) for frame in carried])
    tracks: dict[int, list[int]] = {}
    for number, frame in enumerate(carried):
        for person in frame:
            tracks.setdefault(person.track_id, []).append(number)
    lengths = sorted((len(at) / len(results) for at in tracks.values()), reverse=True)
    jitter_px, jitter_m = _jitter(carried)
    return ClipReport(
        frames=len(results),
        people_per_frame=float(counts.mean()),
        share_with_at_least={n: float((counts >= n).mean()) for n in range(1, people + 1)},
        distinct_ids=len(tracks),
        exchanged_ids=sum(_exchanged(a, b) for a, b in pairwise(carried)),
        longest_tracks=lengths[:10],
        gaps=sum(int((np.diff(at) > 1).sum()) for at in tracks.values()),
        jitter_px=jitter_px,
        jitter_mm=1000 * jitter_m,
        bone_change=_bone_change(carried),
        not_finite=sum(not _finite(p) for r in results for p in r.people),
    )


def _exchanged(before: Sequence[Person], after: Sequence[Person]) -> int:
    """How many people of one frame carry another's id in the next."""
    if not before or not after:
        return 0
    cost = np.array([[_apart(a, b) for b in after] for a in before])
    ids_before, ids_after = {p.track_id for p in before}, {p.track_id for p in after}
    return sum(
        cost[i, j] < 0.5
        and before[i].track_id != after[j].track_id
        and (before[i].track_id in ids_after or after[j].track_id in ids_before)
        for i, j in zip(*linear_sum_assignment(cost), strict=True)
    )


def _apart(a: Person, b: Person) -> float:
    """Mean distance of the joints that both show, in heights of the first one's box."""
    shown = _shown(a)
    both = shown & _shown(b)
    if not both.any():
        return FAR
    seen = a.joints2d_px[shown]
    size = float(max(*np.ptp(seen, axis=0), 1.0))
    way = a.joints2d_px[both] - b.joints2d_px[both]
    return float(np.hypot(way[:, 0], way[:, 1]).mean()) / size


def _shown(person: Person) -> np.ndarray:
    """(18,) bool: joints that are seen somewhere."""
    return (person.joints2d_score > 0) & np.isfinite(person.joints2d_px).all(-1)


def _jitter(frames: Sequence[Sequence[Person]]) -> tuple[float, float]:
    by_id = [{p.track_id: p for p in frame} for frame in frames]
    in_px, in_m = [], []
    for three in zip(by_id, by_id[1:], by_id[2:], strict=False):
        for track in three[0].keys() & three[1].keys() & three[2].keys():
            a, b, c = (frame[track] for frame in three)
            seen = _shown(a) & _shown(b) & _shown(c)
            flat = (a.joints2d_px - 2 * b.joints2d_px + c.joints2d_px)[seen]
            in_px.append(np.linalg.norm(flat, axis=-1))
            local = [p.joints3d_m - p.root_m for p in (a, b, c)]
            moved = np.linalg.norm(local[0] - 2 * local[1] + local[2], axis=-1)
            in_m.append(moved[np.isfinite(moved)])
    if not in_px:
        return float("nan"), float("nan")
    return float(np.median(np.concatenate(in_px))), float(np.median(np.concatenate(in_m)))


def _bone_change(frames: Sequence[Sequence[Person]]) -> float:
    lengths: dict[int, list[np.ndarray]] = {}
    for frame in frames:
        for person in frame:
            if np.isfinite(person.bone_lengths_m).all():
                lengths.setdefault(person.track_id, []).append(person.bone_lengths_m)
    changes = [
        np.ptp(rows, axis=0) / np.maximum(np.median(rows, axis=0), 1e-3)
        for rows in map(np.array, lengths.values())
    ]
    return float(max((change.max() for change in changes), default=0.0))


def _finite(person: Person) -> bool:
    arrays = (person.joints2d_px, person.joints3d_m, person.rotations_quat_wxyz, person.root_m)
    return all(np.isfinite(array).all() for array in arrays)
