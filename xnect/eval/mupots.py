"""MuPoTS-3D: the protocol of its kit, rule by rule (spec 7.1).

1. Everybody whose `isValidFrame` is set counts.  A found joint at (0, 0) is absent; every labelled
   joint counts as visible.
2. Labels choose in their order: each takes the found person, not taken before, with the most of
   the 13 joints from neck to ankles within 40 px in x and in y (strictly); the first of equals;
   nobody when that number is zero.
3. Both poses have the pelvis at the origin; the truth is `univ_annot3`.
4. The found pose gets the labelled bone lengths, bone by bone from the pelvis outwards.
5. Mode "all": who was not found has an error of 1e5 mm in every joint.  Mode "matched": they are
   left out.

The kit's figures are per sequence.  Published totals are of two kinds, pooled over people (Mehta et
al.) and the mean of the sequences (most others): both are given.  `absolute_scores` and `root_ap`
are measures of later work (Moon et al., ICCV 2019; SMAP, ECCV 2020), not of the kit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xnect.errors import BadInput
from xnect.eval.mat_files import cells, field_of, numbers_of, read_mat
from xnect.eval.mpi_groups import (
    PELVIS,
    RELEVANT,
    SCORED,
    THRESHOLD_MM,
    GroupScores,
    group_scores,
    mean_scores,
    scores_table,
)
from xnect.eval.tables import rows_of_table
from xnect.recording import Recording
from xnect.skeleton import SEEN_AS

SEQUENCES = tuple(f"TS{i}" for i in range(1, 21))
MATCHED_WITHIN_PX = 40.0
MATCHED_JOINTS = slice(1, 14)  # neck ... ankles
NOT_FOUND_MM = 1e5
NAN_MM = 160.0
"""What a nan counts as in the tables of visible and occluded joints."""

ROOT_AP_WITHIN_MM = 250.0

PARENTS = tuple(p - 1 for p in (2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2))
"""Of the 17 joints; the pelvis is its own parent."""

BONE_ORDER = tuple(j - 1 for j in (16, 2, 1, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
"""Parents before children; the pelvis stays where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The A people labelled in one frame."""

    joints_px: np.ndarray  # (A, 17, 2)
    universal_mm: np.ndarray  # (A, 17, 3) `univ_annot3`
    camera_mm: np.ndarray  # (A, 17, 3) `annot3`
    occluded: np.ndarray  # (A, 17) 0 or 1


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The P people found in one frame."""

    joints_px: np.ndarray  # (P, 17, 2); (0, 0) is absent
    joints_mm: np.ndarray  # (P, 17, 3) camera axes
    score: np.ndarray  # (P,) for `root_ap`


NOBODY = Found(np.zeros((0, 17, 2)), np.zeros((0, 17, 3)), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class SequenceErrors:
    """The A labelled people of a sequence, frame after frame."""

    errors_mm: np.ndarray  # (A, 17); NOT_FOUND_MM where nobody was matched
    absolute_mm: np.ndarray  # (A, 17) the same without moving the pelvis
    matched: np.ndarray  # (A,) bool
    occluded: np.ndarray  # (A, 17) 0 or 1


@dataclass(frozen=True)
class MaskedScores:
    """Of visible or of occluded joints: shares as the kit counts them, and how many there are."""

    pck: float  # percent, of all joints together
    mpjpe_mm: float
    by_joint: dict[str, float]  # percent
    joints: int


@dataclass(frozen=True)
class ModeReport:
    """One mode: by sequence, pooled over people, and the mean of the sequences."""

    sequences: dict[str, GroupScores]
    pooled: GroupScores
    sequence_mean: GroupScores
    visible: MaskedScores  # pooled
    occluded: MaskedScores
    visible_by_sequence: dict[str, MaskedScores]
    occluded_by_sequence: dict[str, MaskedScores]


@dataclass(frozen=True)
class MupotsReport:
    """Both modes, and the measures of later work."""

    all: ModeReport
    matched: ModeReport
    labelled: int
    found: int  # of the labelled
    absolute: dict[str, GroupScores] = field(default_factory=dict)  # later work; pooled, by mode
    root_ap_25cm: float = float("nan")  # later work; percent
    left_out: tuple[str, ...] = ()  # sequences without predictions

    def table(self) -> str:
        """Markdown."""
        parts = [f"{self.found} of {self.labelled} labelled people were found."]
        if self.left_out:
            parts.append(f"No predictions for {', '.join(self.left_out)}: left out.")
        for name, mode in (("all annotated", self.all), ("matched only", self.matched)):
            rows = {
                **mode.sequences,
                "pooled": mode.pooled,
                "mean of sequences": mode.sequence_mean,
            }
            parts += [f"3DPCK@150 mm, {name} people, %", scores_table(rows)]
        masked = [
            [f"{name}, {kind}", f"{m.pck:.1f}", f"{m.mpjpe_mm:.1f}", str(m.joints)]
            for name, mode in (("all", self.all), ("matched", self.matched))
            for kind, m in (("visible", mode.visible), ("occluded", mode.occluded))
        ]
        parts.append(rows_of_table(["pooled", "PCK", "MPJPE mm", "joints"], masked))
        parts += [
            "Measures of later work, not of the kit: camera space, pooled",
            scores_table(self.absolute),
            f"Root AP@25cm: {self.root_ap_25cm:.1f} %",
        ]
        return "\n\n".join(parts)


def match(joints_px: np.ndarray, found_px: np.ndarray) -> np.ndarray:
    """(A, 17, 2) labels, (P, 17, 2) found -> (A,) number of the found person, -1 for nobody."""
    labelled, found = joints_px[:, MATCHED_JOINTS], found_px[:, MATCHED_JOINTS]
    present = (found != 0).any(-1)  # (P, 13)
    taken = np.zeros(len(found), bool)
    chosen = np.full(len(labelled), -1)
    for a, joints in enumerate(labelled):
        near = (np.abs(found - joints) < MATCHED_WITHIN_PX).all(-1)  # (P, 13)
        score = np.where(taken, 0, (near & present).sum(-1))
        if score.any():
            chosen[a] = score.argmax()  # the first of equals
            taken[chosen[a]] = True
    return chosen


def with_bone_lengths(pose_mm: np.ndarray, true_mm: np.ndarray) -> np.ndarray:
    """(..., 17, 3) of which every bone has the direction in `pose_mm` and the true length.

    The pelvis stays.  A bone of length 0 in `pose_mm` has no direction: nan from there outwards.
    """
    out = np.array(pose_mm, np.float64)
    for joint in BONE_ORDER:
        parent = PARENTS[joint]
        bone = pose_mm[..., joint, :] - pose_mm[..., parent, :]
        length = np.linalg.norm(bone, axis=-1, keepdims=True)
        true = np.linalg.norm(
            true_mm[..., joint, :] - true_mm[..., parent, :], axis=-1, keepdims=True
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            out[..., joint, :] = out[..., parent, :] + bone * (true / length)
    return out


def frame_errors(labels: Labels, found: Found) -> SequenceErrors:
    """The errors of one frame."""
    chosen = match(labels.joints_px, found.joints_px)
    matched = chosen >= 0
    errors = np.full(labels.universal_mm.shape[:2], NOT_FOUND_MM)
    absolute = errors.copy()
    poses = found.joints_mm[chosen[matched]]
    true = _from_pelvis(labels.universal_mm[matched])
    errors[matched] = _distance(with_bone_lengths(_from_pelvis(poses), true), true)
    in_camera = labels.camera_mm[matched]
    absolute[matched] = _distance(with_bone_lengths(poses, in_camera), in_camera)
    return SequenceErrors(errors, absolute, matched, labels.occluded)


def sequence_errors(
    labels: Sequence[Labels], found: Mapping[int, Found] | Sequence[Found]
) -> SequenceErrors:
    """All frames of a sequence; a frame that `found` lacks has nobody."""
    by_frame = found if isinstance(found, Mapping) else dict(enumerate(found))
    frames = [frame_errors(one, by_frame.get(i, NOBODY)) for i, one in enumerate(labels)]
    return _joined(frames)


def masked_scores(errors_mm: np.ndarray, mask: np.ndarray) -> MaskedScores:
    """Scores of the joints whose mask is 1, with the kit's own rules.

    They differ from `group_scores`: wrong is an error *above* 150 mm, nan counts as 160 mm, the
    total is over all joints together, and a joint that the mask never shows is 100 % right.
    """
    m = np.asarray(mask, np.float64)[:, :SCORED]
    errors = np.where(np.isnan(errors_mm), NAN_MM, errors_mm)[:, :SCORED] * m
    wrong, count = (errors > THRESHOLD_MM).sum(0), m.sum(0)
    total = float(count.sum())
    by_joint = 100 * (1 - wrong / np.maximum(count, 1e-28))
    return MaskedScores(
        pck=float(100 * (1 - wrong.sum() / total)) if total else float("nan"),
        mpjpe_mm=float(errors.sum() / total) if total else float("nan"),
        by_joint=dict(zip(RELEVANT[:SCORED], by_joint.tolist(), strict=True)),
        joints=int(total),
    )


def root_ap(
    labels: Sequence[Labels], found: Mapping[int, Found], *, within_mm: float = ROOT_AP_WITHIN_MM
) -> float:
    """Average precision of the pelvis in camera space, percent (Moon et al. 2019).

    Found people by falling score, each with the nearest labelled pelvis of its frame that is still
    free; right within 25 cm.  Area under the precision made monotone.
    """
    order = sorted(
        ((float(s), i, p) for i, f in found.items() for p, s in enumerate(f.score)),
        key=lambda one: -one[0],
    )
    total = sum(len(one.camera_mm) for one in labels)
    free = [np.ones(len(one.camera_mm), bool) for one in labels]
    right = np.zeros(len(order))
    for row, (_, i, p) in enumerate(order):
        if i >= len(labels) or not free[i].any():
            continue
        away = np.linalg.norm(
            labels[i].camera_mm[:, PELVIS] - found[i].joints_mm[p, PELVIS], axis=-1
        )
        nearest = int(np.where(free[i], away, np.inf).argmin())
        if away[nearest] < within_mm:
            free[i][nearest], right[row] = False, 1
    if not total:
        return float("nan")
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(order) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    return float(100 * (best_after * right).sum() / total)


def evaluate_mupots(
    labels: Mapping[str, Sequence[Labels]], found: Mapping[str, Mapping[int, Found]]
) -> MupotsReport:
    """The report of the sequences for which there are predictions.

    Args:
        labels: sequence -> its frames.
        found: sequence -> frame number, from 0 -> people.

    Raises:
        BadInput: there is no prediction for any sequence.
    """
    names = [name for name in labels if name in found]
    if not names:
        raise BadInput(
            f"there are no predictions for any of the sequences {', '.join(labels)}; "
            "recordings are named after them, such as TS1.npz"
        )
    errors = {name: sequence_errors(labels[name], found[name]) for name in names}
    pooled = _joined(list(errors.values()))
    shifted_labels, shifted = _one_sequence(labels, found, names)
    return MupotsReport(
        all=_mode(errors, matched_only=False),
        matched=_mode(errors, matched_only=True),
        labelled=len(pooled.matched),
        found=int(pooled.matched.sum()),
        absolute={
            "all": group_scores(pooled.absolute_mm),
            "matched": group_scores(pooled.absolute_mm[pooled.matched]),
        },
        root_ap_25cm=root_ap(shifted_labels, shifted),
        left_out=tuple(name for name in labels if name not in found),
    )


def read_labels(folder: str | Path) -> list[Labels]:
    """The frames of one sequence from its `annot.mat` and `occlusion.mat`.

    `annotations{frame, person}` are structs with annot2 (2, 17), annot3 and univ_annot3 (3, 17) and
    isValidFrame; `occlusion_labels{frame, person}` are 17 numbers, 1 = occluded.

    Raises:
        BadInput: a file is missing or has another layout; the sentence names file, frame, person.
    """
    path, occlusion_path = Path(folder) / "annot.mat", Path(folder) / "occlusion.mat"
    annotations = cells(read_mat(path), "annotations", path)
    occlusions = cells(read_mat(occlusion_path), "occlusion_labels", occlusion_path)
    if occlusions.shape != annotations.shape:
        raise BadInput(
            f"{occlusion_path} has {occlusions.shape} frames and people, "
            f"but {path} has {annotations.shape}"
        )
    frames = []
    for f in range(len(annotations)):
        people: list[tuple[np.ndarray, ...]] = []
        for p, annotation in enumerate(annotations[f]):
            where = f"{path}, frame {f + 1}, person {p + 1}"
            if not np.any(field_of(annotation, "isValidFrame", where, shape=None)):
                continue
            at = f"{occlusion_path}, frame {f + 1}, person {p + 1}"
            occluded = numbers_of(occlusions[f, p], f"{at}: occlusion labels").ravel()
            if occluded.shape != (17,):
                raise BadInput(f"{at}: 17 occlusion labels are expected, not {occluded.size}")
            people.append((
                field_of(annotation, "annot2", where, shape=(2, 17)).T,
                field_of(annotation, "univ_annot3", where, shape=(3, 17)).T,
                field_of(annotation, "annot3", where, shape=(3, 17)).T,
                occluded,
            ))  # fmt: skip
        columns = [np.array([person[i] for person in people]) for i in range(4)]
        shapes = ((-1, 17, 2), (-1, 17, 3), (-1, 17, 3), (-1, 17))
        frames.append(Labels(*(c.reshape(s) for c, s in zip(columns, shapes, strict=True))))
    return frames


def read_all_labels(root: str | Path) -> dict[str, list[Labels]]:
    """Sequence -> frames, of the folders TS1 ... TS20 that are in `root`.

    Raises:
        BadInput: there is none, or one of them is damaged.
    """
    there = [name for name in SEQUENCES if (Path(root) / name).is_dir()]
    if not there:
        raise BadInput(f"{root} holds none of the folders TS1 ... TS20 of MuPoTS-3D")
    return {name: read_labels(Path(root) / name) for name in there}


def found_in(recording: Recording) -> dict[int, Found]:
    """Frame number -> people of a recording; joints that were not seen are at (0, 0)."""
    seen_as = np.array(SEEN_AS[:17])
    score = np.where(seen_as >= 0, recording.joints2d_score[:, np.maximum(seen_as, 0)], 0)
    pixels = recording.joints2d_px[:, np.maximum(seen_as, 0)] * (score > 0)[..., None]
    people: dict[int, Found] = {}
    for position, number in enumerate(recording.frame_index):
        rows = recording.person_frame == position
        people[int(number)] = Found(
            pixels[rows].astype(np.float64),
            1000 * recording.joints3d_m[rows, :17].astype(np.float64),
            recording.score[rows].astype(np.float64),
        )
    return people


def _mode(errors: Mapping[str, SequenceErrors], *, matched_only: bool) -> ModeReport:
    kept = {
        name: (e.errors_mm[e.matched], e.occluded[e.matched])
        if matched_only
        else (e.errors_mm, e.occluded)
        for name, e in errors.items()
    }
    sequences = {name: group_scores(e) for name, (e, _) in kept.items()}
    all_errors = np.concatenate([e for e, _ in kept.values()])
    all_occluded = np.concatenate([o for _, o in kept.values()])
    return ModeReport(
        sequences=sequences,
        pooled=group_scores(all_errors),
        sequence_mean=mean_scores(sequences),
        visible=masked_scores(all_errors, 1 - all_occluded),
        occluded=masked_scores(all_errors, all_occluded),
        visible_by_sequence={name: masked_scores(e, 1 - o) for name, (e, o) in kept.items()},
        occluded_by_sequence={name: masked_scores(e, o) for name, (e, o) in kept.items()},
    )


def _joined(parts: Sequence[SequenceErrors]) -> SequenceErrors:
    if not parts:
        return SequenceErrors(
            np.zeros((0, 17)), np.zeros((0, 17)), np.zeros(0, bool), np.zeros((0, 17))
        )
    return SequenceErrors(
        np.concatenate([p.errors_mm for p in parts]),
        np.concatenate([p.absolute_mm for p in parts]),
        np.concatenate([p.matched for p in parts]),
        np.concatenate([p.occluded for p in parts]),
    )


def _one_sequence(
    labels: Mapping[str, Sequence[Labels]],
    found: Mapping[str, Mapping[int, Found]],
    names: Sequence[str],
) -> tuple[list[Labels], dict[int, Found]]:
    """All sequences behind one another, their frames numbered through."""
    frames: list[Labels] = []
    people: dict[int, Found] = {}
    for name in names:
        within = range(len(labels[name]))
        people |= {len(frames) + i: f for i, f in found[name].items() if i in within}
        frames += labels[name]
    return frames, people


def _from_pelvis(joints_mm: np.ndarray) -> np.ndarray:
    return joints_mm - joints_mm[..., PELVIS : PELVIS + 1, :]


def _distance(one_mm: np.ndarray, other_mm: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one_mm - other_mm, axis=-1)
