"""A recording of a rendered clip against its ground truth: poses, places, identities, motion.

In each frame found people are paired with true ones (`identities`: CLEAR MOT), by their 2D joints
(unseen ones where the skeleton projects) or by the distance of their pelvises.  In 2D a person at
the wrong depth is still that person, so the error of the place is measured and not cut off by the
gate; that is the default.

A true person of whom the picture shows fewer than `SEEN_AT_LEAST` body joints counts neither as
missed nor as found: whoever is paired with them is left out of that frame as well.

* Errors of the pose are those of `metrics.PoseFigures`, pelvis at the origin; nothing else is
  aligned, so a wrong stature is in MPJPE but not in N-MPJPE and PA-MPJPE.
* Jitter and acceleration error: second differences over three frames running in which the same
  found person is paired with the same true one; in camera space, and about the pelvis.
* Foot skate: how far a found foot moves from frame to frame against the true one while the true
  foot is on the floor.  Which feet those are is `contact` of the truth; without it, a true foot
  counts as on the floor while it moves slower than `STILL_M_S` (a camera that moves must come with
  `contact`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from xnect.errors import BadInput
from xnect.eval.identities import (
    FrameDistances,
    IdentityFigures,
    identity_figures,
    image_distances,
    pair_frames,
    root_distances,
)
from xnect.eval.metrics import PoseFigures, accelerations, pose_figures, root_relative
from xnect.eval.predictions import people2d
from xnect.eval.tables import rows_of_table
from xnect.npz import read_npz
from xnect.skeleton import BODY, J3D, JOINTS2D, JOINTS3D, ROOT, SEEN_AS
from xnect.types import Person, Result

BODY_JOINTS = 14  # the first of JOINTS2D: no eyes and ears
SEEN_AT_LEAST = 3
STILL_M_S = 0.15
FEET = (J3D["left_foot"], J3D["right_foot"])
SEEN = 2
"""In `Truth.visibility`; 1 is hidden, 0 outside the picture."""

GATES = {"2d": 0.3, "3d": 0.5}
"""How far a pair may be apart: in heights of the person, and in metres."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """F frames of P people, who are number 0 ... P-1 throughout."""

    joints3d_m: np.ndarray  # (F, P, 21, 3) camera space
    joints2d_px: np.ndarray  # (F, P, 18, 2)
    visibility: np.ndarray  # (F, P, 18) 2 seen, 1 hidden, 0 outside
    fps: float
    contact: np.ndarray | None = None  # (F, P, 2) bool: left and right foot stand on the floor


@dataclass(frozen=True)
class MotionFigures:
    """mm/frame^2, and mm/frame; nan where there was nothing to measure."""

    jitter_mm: float  # mean length of the acceleration, camera space
    true_jitter_mm: float  # of the truth at the same moments
    acceleration_error_mm: float
    pose_jitter_mm: float  # the same about the pelvis
    true_pose_jitter_mm: float
    pose_acceleration_error_mm: float
    foot_skate_mm: float  # mm/frame while the true foot is on the floor
    contact_frames: int  # of single feet


@dataclass(frozen=True)
class SynthClipReport:
    """Figures of one recording."""

    frames: int
    matched_by: str  # "2d" or "3d"
    identities: IdentityFigures
    poses: PoseFigures
    root_error_m: float  # mean distance of the pelvises in camera space
    root_error_median_m: float
    root_depth_error_m: float  # mean of the absolute difference in z
    motion: MotionFigures
    bone_variation: float  # largest standard deviation / mean of a bone of one identity
    bone_variation_mean: float

    def table(self) -> str:
        """Markdown."""
        p, m = self.poses, self.motion
        rows = [
            ["MPJPE", f"{p.mpjpe_mm:.1f} mm"],
            ["N-MPJPE", f"{p.n_mpjpe_mm:.1f} mm"],
            ["PA-MPJPE", f"{p.pa_mpjpe_mm:.1f} mm"],
            ["3DPCK@150 mm / AUC", f"{100 * p.pck_150mm:.1f} % / {100 * p.auc_150mm:.1f} %"],
            ["MPJPE of seen / hidden joints", f"{p.visible_mpjpe_mm:.1f} / "
             f"{p.occluded_mpjpe_mm:.1f} mm"],
            ["bend of knees / elbows, error", f"{p.knee_deg:.1f} / {p.elbow_deg:.1f}°"],
            ["pelvis in camera space, mean / median", f"{self.root_error_m:.3f} / "
             f"{self.root_error_median_m:.3f} m"],
            ["– of it depth", f"{self.root_depth_error_m:.3f} m"],
            ["jitter (truth)", f"{m.jitter_mm:.1f} ({m.true_jitter_mm:.1f}) mm/frame²"],
            ["acceleration error", f"{m.acceleration_error_mm:.1f} mm/frame²"],
            ["– about the pelvis", f"{m.pose_acceleration_error_mm:.1f} mm/frame²"],
            ["foot skate", f"{m.foot_skate_mm:.1f} mm/frame in {m.contact_frames} foot contacts"],
            ["variation of bones, largest / mean", f"{100 * self.bone_variation:.2f} / "
             f"{100 * self.bone_variation_mean:.2f} %"],
            ["poses compared", str(p.poses)],
        ]  # fmt: skip
        by_joint = [[name, f"{value:.1f}"] for name, value in p.by_joint_mm.items()]
        unit = "heights" if self.matched_by == "2d" else "m"
        return "\n\n".join([
            self.identities.table(unit=unit),
            rows_of_table(["what", "value"], rows),
            rows_of_table(["joint", "error mm"], by_joint),
        ])  # fmt: skip


def read_truth(path: str | Path) -> Truth:
    """The ground truth that `python -m xnect.synth clip` writes.

    Raises:
        BadInput: the file is missing, damaged, or of other joints.
    """
    path = Path(path)
    arrays = read_npz(path, "the ground truth")
    try:
        truth = Truth(
            arrays["joints3d_m"].astype(np.float64),
            arrays["joints2d_px"].astype(np.float64),
            arrays["visibility"],
            float(arrays["fps"]),
            arrays.get("contact"),
        )
        names = [tuple(arrays[f"joints{d}d_names"].tolist()) for d in (2, 3)]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is damaged, or not the ground truth of a clip") from error
    except KeyError as error:
        raise BadInput(f"{path} is not the ground truth of a clip: it lacks {error}") from error
    if names != [JOINTS2D, JOINTS3D]:
        raise BadInput(f"the joints of {path} are others than those of this xnect")
    return truth


def evaluate_synth_clip(
    results: Sequence[Result], truth: Truth, *, match_by: str = "2d", gate: float | None = None
) -> SynthClipReport:
    """The figures of a recording's frames; frame numbers are those of the truth.

    Args:
        results: of the clip.
        truth: of the same clip.
        match_by: "2d" or "3d".
        gate: how far a pair may be apart; default `GATES`.

    Raises:
        BadInput: another way to match, or frames that the truth does not have.
    """
    if match_by not in GATES:
        raise BadInput(f"people are matched by 2d or 3d, got {match_by!r}")
    beyond = [r.index for r in results if not 0 <= r.index < len(truth.joints3d_m)]
    if beyond or not results:
        what = f"frame {beyond[0]}" if beyond else "no frames"
        raise BadInput(
            f"the recording has {what}, the ground truth 0 to {len(truth.joints3d_m) - 1}; "
            "are they of the same clip?"
        )
    reach = GATES[match_by] if gate is None else gate
    everybody = [_distances(r, truth, match_by, reach) for r in results]
    counted = [
        _without_hidden(r, truth, f, p)
        for r, f, p in zip(results, everybody, pair_frames(everybody), strict=True)
    ]
    pairs = pair_frames(counted)
    matched = [_people(r, f, p) for r, f, p in zip(results, counted, pairs, strict=True)]
    return _report(results, truth, matched, identity_figures(counted, pairs), match_by)


def on_floor(truth: Truth) -> np.ndarray:
    """(F, P, 2) bool: left and right foot stand on the floor between this frame and the next."""
    if truth.contact is not None:
        now = np.asarray(truth.contact, bool)
        return now & np.concatenate([now[1:], now[-1:]])
    feet = truth.joints3d_m[:, :, FEET]
    step = np.linalg.norm(np.diff(feet, axis=0), axis=-1) * truth.fps  # (F - 1, P, 2) m/s
    return np.concatenate([step < STILL_M_S, np.zeros((1, *step.shape[1:]), bool)])


def bone_variation(tracks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Poses (F, 21, 3) of each identity -> largest and mean standard deviation / mean of a bone."""
    parents = np.array(BODY.parents)
    bones = np.flatnonzero(parents >= 0)
    variation = []
    for poses in tracks:
        length = np.linalg.norm(poses[:, bones] - poses[:, parents[bones]], axis=-1)
        variation.append(length.std(0) / np.maximum(length.mean(0), 1e-9))
    if not variation:
        return float("nan"), float("nan")
    return float(np.max(variation)), float(np.mean(variation))


def motion_figures(
    matched: Sequence[dict[int, Person]], truth: Truth, frames: Sequence[int]
) -> MotionFigures:
    """Figures of the people matched in consecutive frames.

    Args:
        matched: true number -> found person, of each frame.
        truth: of the clip.
        frames: number of each of those frames.
    """
    found, true, found_pose, true_pose = _accelerations(matched, truth, frames)
    skate = _skate(matched, truth, frames)
    return MotionFigures(
        jitter_mm=_mean_mm(found),
        true_jitter_mm=_mean_mm(true),
        acceleration_error_mm=_mean_mm(found - true),
        pose_jitter_mm=_mean_mm(found_pose),
        true_pose_jitter_mm=_mean_mm(true_pose),
        pose_acceleration_error_mm=_mean_mm(found_pose - true_pose),
        foot_skate_mm=_mean_mm(skate),
        contact_frames=len(skate),
    )


def _distances(result: Result, truth: Truth, match_by: str, gate: float) -> FrameDistances:
    """Everybody of one frame who is in the picture."""
    shown = truth.visibility[result.index, :, :BODY_JOINTS] > 0
    there = np.flatnonzero(shown.any(-1))
    ids = np.array([p.track_id for p in result.people], int)
    if match_by == "3d":
        roots = np.array([p.root_m for p in result.people]).reshape(-1, 3)
        true = truth.joints3d_m[result.index, there, ROOT]
        return FrameDistances(there, ids, root_distances(true, roots, gate_m=gate))
    people = people2d(result)  # with unseen joints where the skeleton projects
    distance = image_distances(
        truth.joints2d_px[result.index, there, :BODY_JOINTS], shown[there],
        people.joints_px[:, :BODY_JOINTS], people.score[:, :BODY_JOINTS], gate=gate,
    )  # fmt: skip
    return FrameDistances(there, ids, distance)


def _without_hidden(
    result: Result, truth: Truth, frame: FrameDistances, pairs: np.ndarray
) -> FrameDistances:
    """The frame without those who cannot be seen, and without those who were found for them."""
    seen = (truth.visibility[result.index, :, :BODY_JOINTS] == SEEN).sum(-1)
    keep_true = seen[frame.true_ids] >= SEEN_AT_LEAST
    keep_found = np.ones(len(frame.found_ids), bool)
    for row, column in pairs:
        keep_found[column] = keep_true[row]
    return FrameDistances(
        frame.true_ids[keep_true],
        frame.found_ids[keep_found],
        frame.distance[keep_true][:, keep_found],
    )


def _people(result: Result, frame: FrameDistances, pairs: np.ndarray) -> dict[int, Person]:
    """True number -> the found person.

    Raises:
        BadInput: an identity is given out twice in this frame, or to nobody in particular.
    """
    by_id = {p.track_id: p for p in result.people}
    if len(by_id) < len(result.people):
        raise BadInput(
            f"frame {result.index} has {len(result.people)} people with {len(by_id)} identities; "
            "each needs its own, as videos have them and single pictures do not"
        )
    return {int(frame.true_ids[r]): by_id[int(frame.found_ids[c])] for r, c in pairs}


def _report(
    results: Sequence[Result],
    truth: Truth,
    matched: Sequence[dict[int, Person]],
    identities: IdentityFigures,
    match_by: str,
) -> SynthClipReport:
    frames = [r.index for r in results]
    both = [(f, i, p) for f, people in zip(frames, matched, strict=True) for i, p in people.items()]
    found = np.array([p.joints3d_m for _, _, p in both]).reshape(-1, 21, 3)
    at = tuple(np.array([(f, i) for f, i, _ in both], int).reshape(-1, 2).T)
    true, state = truth.joints3d_m[at], truth.visibility[at]
    seen_as = np.array(SEEN_AS)
    visible = np.where(seen_as >= 0, state[:, np.maximum(seen_as, 0)] == SEEN, -1.0)
    away = found[:, ROOT] - true[:, ROOT]
    tracks: dict[int, list[np.ndarray]] = {}
    for result in results:
        for person in result.people:
            tracks.setdefault(person.track_id, []).append(person.joints3d_m)
    largest, mean = bone_variation([np.array(t, np.float64) for t in tracks.values()])
    distance = np.linalg.norm(away, axis=-1)
    none = float("nan")
    return SynthClipReport(
        frames=len(results),
        matched_by=match_by,
        identities=identities,
        poses=pose_figures(root_relative(found), root_relative(true), visible=visible),
        root_error_m=float(distance.mean()) if both else none,
        root_error_median_m=float(np.median(distance)) if both else none,
        root_depth_error_m=float(np.abs(away[:, 2]).mean()) if both else none,
        motion=motion_figures(matched, truth, frames),
        bone_variation=largest,
        bone_variation_mean=mean,
    )


def _accelerations(
    matched: Sequence[dict[int, Person]], truth: Truth, frames: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """(N, 21, 3) found and true in camera space, found and true about the pelvis."""
    found, true = [], []
    for n in range(len(frames) - 2):
        three = matched[n : n + 3]
        if frames[n + 2] - frames[n] != 2:
            continue
        for i in three[0].keys() & three[1].keys() & three[2].keys():
            people = [people[i] for people in three]
            if len({p.track_id for p in people}) == 1:
                found.append(np.array([p.joints3d_m for p in people], np.float64))
                true.append(truth.joints3d_m[frames[n] : frames[n] + 3, i])
    motions = [np.array(m).reshape(-1, 3, 21, 3).swapaxes(0, 1) for m in (found, true)]
    motions += [root_relative(m) for m in motions]
    return tuple(accelerations(m)[0] for m in motions)


def _skate(matched: Sequence[dict[int, Person]], truth: Truth, frames: Sequence[int]) -> np.ndarray:
    """(N, 3) m: steps of found feet against the true ones while those are on the floor."""
    stand = on_floor(truth)
    slips = []
    for (f, now), (g, then) in pairwise(zip(frames, matched, strict=True)):
        for i in now.keys() & then.keys():
            if g != f + 1 or now[i].track_id != then[i].track_id:
                continue
            feet = [k for side, k in enumerate(FEET) if stand[f, i, side]]
            found = (then[i].joints3d_m - now[i].joints3d_m)[feet]
            slips.append(found - (truth.joints3d_m[g, i] - truth.joints3d_m[f, i])[feet])
    return np.concatenate([np.zeros((0, 3)), *slips])


def _mean_mm(vectors_m: np.ndarray) -> float:
    """(..., 3) m -> mean length, mm."""
    if not vectors_m.size:
        return float("nan")
    return float(1000 * np.linalg.norm(vectors_m, axis=-1).mean())
