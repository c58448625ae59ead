"""The test set of MPI-INF-3DHP: its protocol (spec 7.2), by sequence and by activity.

One labelled person per frame; frames whose `valid_frame` is 0 do not count.  Both poses have the
pelvis at the origin, nothing else is aligned, and the truth is `univ_annot3`: a body whose chain
from knee to neck is 920 mm.  `to_universal` brings ours to that size.  PCK and AUC are over the 14
joints of `mpi_groups`, MPJPE over all 17.

The kit knows no missing person.  Here a frame in which nobody was found is wrong in every joint
of PCK and AUC; MPJPE is over the frames in which somebody was found, and `found` is their share.
Of several people, the one whose seen joints lie nearest to the labelled ones counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.eval.mat_files import numbers_of, read_mat
from xnect.eval.mpi_groups import PELVIS, RELEVANT, GroupScores, group_scores, scores_table
from xnect.eval.mupots import Found
from xnect.skeleton import chain_m

SEQUENCES = tuple(f"TS{i}" for i in range(1, 7))
ACTIVITIES = {
    1: "standing/walking", 2: "exercising", 3: "sitting", 4: "reaching/crouching",
    5: "on the floor", 6: "sports", 7: "miscellaneous",
}  # fmt: skip
UNIVERSAL_CHAIN_MM = 920.0
"""Knee to neck of `univ_annot3` (spec 7.3)."""

_FOCAL_MM = {"studio": 7.3203, "outdoor": 8.7707}  # on a sensor that is 10 mm wide


@dataclass(frozen=True, slots=True, eq=False)
class TestSequence:
    """F frames of one person."""

    joints_px: np.ndarray  # (F, 17, 2)
    universal_mm: np.ndarray  # (F, 17, 3)
    activity: np.ndarray  # (F,) 1 ... 7
    valid: np.ndarray  # (F,) bool

    __test__ = False  # its name is not pytest's business


@dataclass(frozen=True)
class Mpi3dhpReport:
    """The kit's two tables; `all` is pooled over all frames."""

    sequences: dict[str, GroupScores]
    activities: dict[str, GroupScores]
    all: GroupScores
    found: float  # share of the valid frames
    left_out: tuple[str, ...] = ()

    def table(self) -> str:
        """Markdown."""
        parts = [f"Somebody was found in {100 * self.found:.1f} % of the frames."]
        if self.left_out:
            parts.append(f"No predictions for {', '.join(self.left_out)}: left out.")
        parts += ["By sequence, %", scores_table({**self.sequences, "all": self.all})]
        parts += ["By activity, %", scores_table(self.activities)]
        return "\n\n".join(parts)


def sequence_camera(name: str) -> Camera:
    """The camera of a sequence: centred, 2048x2048 in the studio, 1920x1080 outdoors.

    Raises:
        BadInput: there is no such sequence.
    """
    if name not in SEQUENCES:
        raise BadInput(f"{name!r} is none of MPI-INF-3DHP's test sequences: {', '.join(SEQUENCES)}")
    outdoor = name in ("TS5", "TS6")
    width, height = (1920, 1080) if outdoor else (2048, 2048)
    focal = width / 10 * _FOCAL_MM["outdoor" if outdoor else "studio"]
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height, calibrated=True)


def to_universal(joints_mm: np.ndarray) -> np.ndarray:
    """(..., 17, 3) mm with the pelvis at the origin, a chain of 920 mm from knee to neck."""
    joints = joints_mm - joints_mm[..., PELVIS : PELVIS + 1, :]
    return joints * (UNIVERSAL_CHAIN_MM / np.maximum(chain_m(joints), 1e-9))[..., None, None]


def chosen_pose(joints_px: np.ndarray, found: Found | None) -> np.ndarray | None:
    """(17, 2) labels -> (17, 3) mm of the person whose seen joints are nearest; None for nobody."""
    if found is None or not len(found.joints_px):
        return None
    present = (found.joints_px != 0).any(-1)  # (P, 17)
    away = np.linalg.norm(found.joints_px - joints_px, axis=-1)
    count = present.sum(-1)
    mean = np.where(present, away, 0).sum(-1) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, np.inf)
    return found.joints_mm[int(mean.argmin())] if np.isfinite(mean.min()) else None


def sequence_errors(
    truth: TestSequence, found: Mapping[int, Found], *, universal: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(V, 17) mm of the valid frames, nan where nobody was found, and their (V,) activities.

    Args:
        truth: labels.
        found: frame number, from 0 -> people.
        universal: predictions are brought to the universal size first.
    """
    frames = np.flatnonzero(truth.valid)
    errors = np.full((len(frames), len(RELEVANT)), np.nan)
    for row, frame in enumerate(frames):
        pose = chosen_pose(truth.joints_px[frame], found.get(int(frame)))
        if pose is None:
            continue
        pose = to_universal(pose) if universal else pose - pose[PELVIS]
        true = truth.universal_mm[frame]
        errors[row] = np.linalg.norm(pose - (true - true[PELVIS]), axis=-1)
    return errors, truth.activity[frames]


def evaluate_mpi3dhp(
    truth: Mapping[str, TestSequence],
    found: Mapping[str, Mapping[int, Found]],
    *,
    universal: bool = True,
) -> Mpi3dhpReport:
    """The report of the sequences for which there are predictions.

    Raises:
        BadInput: there is no prediction for any sequence.
    """
    names = [name for name in truth if name in found]
    if not names:
        raise BadInput(
            f"there are no predictions for any of the sequences {', '.join(truth)}; "
            "recordings are named after them, such as TS1.npz"
        )
    parts = {n: sequence_errors(truth[n], found[n], universal=universal) for n in names}
    errors = np.concatenate([e for e, _ in parts.values()])
    activity = np.concatenate([a for _, a in parts.values()])
    return Mpi3dhpReport(
        sequences={name: _scores(e) for name, (e, _) in parts.items()},
        activities={
            label: _scores(errors[activity == number])
            for number, label in ACTIVITIES.items()
            if (activity == number).any()
        },
        all=_scores(errors),
        found=float(np.isfinite(errors).all(-1).mean()) if len(errors) else float("nan"),
        left_out=tuple(name for name in truth if name not in found),
    )


def read_sequence(folder: str | Path) -> TestSequence:
    """The labels of one folder TSn from its `annot_data.mat` (MATLAB 7.3, or older).

    `annot2` is (2, 17, 1, F), `univ_annot3` (3, 17, 1, F), `valid_frame` and
    `activity_annotation` F numbers.

    Raises:
        BadInput: the file is missing, damaged, or has another layout.
        MissingExtra: h5py is not installed.
    """
    path = Path(folder) / "annot_data.mat"
    variables = read_mat(path)
    univ = _poses(variables, "univ_annot3", 3, path)
    pixels = _poses(variables, "annot2", 2, path)
    frames = len(univ)
    numbers = [_flat(variables, n, frames, path) for n in ("activity_annotation", "valid_frame")]
    if len(pixels) != frames:
        raise BadInput(f"{path}: annot2 has {len(pixels)} frames, univ_annot3 has {frames}")
    return TestSequence(pixels, univ, numbers[0].astype(int), numbers[1] == 1)


def read_test_set(root: str | Path) -> dict[str, TestSequence]:
    """Sequence -> labels, of the folders TS1 ... TS6 that are in `root`.

    Raises:
        BadInput: there is none, or one of them is damaged.
        MissingExtra: h5py is not installed.
    """
    there = [name for name in SEQUENCES if (Path(root) / name).is_dir()]
    if not there:
        raise BadInput(f"{root} holds none of the folders TS1 ... TS6 of MPI-INF-3DHP's test set")
    return {name: read_sequence(Path(root) / name) for name in there}


def _scores(errors_mm: np.ndarray) -> GroupScores:
    scores = group_scores(errors_mm)  # nan is wrong
    there = errors_mm[np.isfinite(errors_mm).all(-1)]
    mpjpe = float(there.mean()) if len(there) else float("nan")
    return GroupScores(scores.pck, scores.auc, mpjpe, scores.poses)


def _poses(variables: dict[str, np.ndarray], name: str, size: int, path: Path) -> np.ndarray:
    """(F, 17, size) of a variable (size, 17, 1, F)."""
    value = variables.get(name)
    if value is None:
        raise BadInput(f"{path} has no {name!r}; its variables: {', '.join(sorted(variables))}")
    value = numbers_of(value, f"{path}: {name}")
    if value.ndim == 4 and value.shape[2] == 1:
        value = value[:, :, 0]
    if value.ndim != 3 or value.shape[:2] != (size, 17):
        raise BadInput(f"{path}: {name} must be ({size}, 17, 1, frames), got {value.shape}")
    return value.transpose(2, 1, 0)


def _flat(variables: dict[str, np.ndarray], name: str, frames: int, path: Path) -> np.ndarray:
    value = variables.get(name)
    if value is None:
        raise BadInput(f"{path} has no {name!r}; its variables: {', '.join(sorted(variables))}")
    if np.size(value) != frames:
        raise BadInput(f"{path}: {name} must have {frames} numbers, got {np.size(value)}")
    flat = numbers_of(value, f"{path}: {name}").ravel()
    if not np.isfinite(flat).all():
        raise BadInput(f"{path}: {name} must be finite numbers, frame {_first_bad(flat)} is not")
    return flat


def _first_bad(flat: np.ndarray) -> int:
    """Number, from 1, of the first that is not finite."""
    return int(np.flatnonzero(~np.isfinite(flat))[0]) + 1
