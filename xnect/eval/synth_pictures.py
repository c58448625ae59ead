"""The whole pipeline on rendered pictures of held-out people, clothes, motion and rooms.

The set is fixed: `PICTURES` pictures of `xnect.synth.split.held_out`, seed `SEED`.  Each picture is
given to the pipeline by itself, with its true intrinsics.  Found people are paired with true ones
by their 2D joints (`identities.image_distances`, the gate of the clips).  A true person of whom
fewer than `SEEN_AT_LEAST` body joints are seen counts neither as missed nor as found.

Errors are those of `metrics.PoseFigures`, pelvis at the origin, nothing else aligned, over the
people who were found; 3DPCK is also given over all people, the joints of a missed one being wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.eval.identities import FrameDistances, image_distances, pair_frames
from xnect.eval.metrics import (
    PCK_THRESHOLD_M,
    PoseFigures,
    joint_errors,
    pose_figures,
    root_relative,
)
from xnect.eval.predictions import People2d, people2d
from xnect.eval.report import Case, pick, sheet
from xnect.eval.synth_clip import BODY_JOINTS, GATES, SEEN_AT_LEAST
from xnect.eval.tables import rows_of_table
from xnect.skeleton import J3D, JOINTS3D, ROOT, SEEN_AS
from xnect.synth.labels import HIDDEN, OUTSIDE, PERSON, SEEN, SELF, THING, Labels
from xnect.types import Result

SEED = 20_261_120
PICTURES = 100

Run = Callable[[np.ndarray, Camera], Result]
"""(H, W, 3) uint8 RGB and its camera -> the people in it."""

KINDS = ("seen", "self-occluded", "occluded by a person", "occluded by a thing", "outside")


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture of the set."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    camera: Camera
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was found in one picture."""

    shown: Shown
    counted: np.ndarray  # (P,) bool: true people who can be seen
    pairs: np.ndarray  # (M, 2) true person, found person; counted people only
    false_people: int
    found_m: np.ndarray  # (H, 21, 3) camera space
    found_2d: People2d


@dataclass(frozen=True)
class SynthReport:
    """Figures of a set of pictures; nan where there was nothing to measure."""

    pictures: int
    people: int  # who can be seen
    found: float  # share of them, 0..1
    false_people: int
    poses: PoseFigures
    pck_150mm_of_all: float  # the joints of missed people are wrong
    root_error_median_m: float
    by_kind_mm: dict[str, float]  # error of the joints that are seen, hidden by ..., outside
    by_kind_pck: dict[str, float]
    by_kind_joints: dict[str, int]
    by_size_mm: dict[str, float]  # by the height of the true person's joints in the picture
    by_joint_pck: dict[str, float]

    def table(self) -> str:
        """Markdown."""
        p = self.poses
        rows = [
            ["MPJPE", f"{p.mpjpe_mm:.1f} mm"],
            ["3DPCK@150 mm of those found / of all", f"{100 * p.pck_150mm:.1f} / "
             f"{100 * self.pck_150mm_of_all:.1f} %"],
            ["AUC", f"{100 * p.auc_150mm:.1f} %"],
            ["N-MPJPE", f"{p.n_mpjpe_mm:.1f} mm"],
            ["PA-MPJPE", f"{p.pa_mpjpe_mm:.1f} mm"],
            ["MPJPE of seen / hidden or outside joints", f"{p.visible_mpjpe_mm:.1f} / "
             f"{p.occluded_mpjpe_mm:.1f} mm"],
            ["bend of knees / elbows, error", f"{p.knee_deg:.1f} / {p.elbow_deg:.1f}°"],
            ["pelvis in camera space, median", f"{self.root_error_median_m:.3f} m"],
            ["people found", f"{100 * self.found:.1f} % of {self.people} in {self.pictures} "
             "pictures"],
            ["found where nobody is", str(self.false_people)],
        ]  # fmt: skip
        kinds = [
            [kind, f"{self.by_kind_mm[kind]:.1f}", f"{100 * self.by_kind_pck[kind]:.1f}",
             str(self.by_kind_joints[kind])]
            for kind in KINDS
        ]  # fmt: skip
        joints = [
            [name, f"{p.by_joint_mm[name]:.1f}", f"{100 * self.by_joint_pck[name]:.1f}"]
            for name in JOINTS3D
        ]
        sizes = [[name, f"{value:.1f}"] for name, value in self.by_size_mm.items()]
        return "\n\n".join([
            rows_of_table(["what", "value"], rows),
            rows_of_table(["joints", "error mm", "3DPCK@150 %", "number"], kinds),
            rows_of_table(["people of", "MPJPE mm"], sizes),
            rows_of_table(["joint", "error mm", "3DPCK@150 %"], joints),
        ])  # fmt: skip


def held_out_set(
    pack: str | Path, *, pictures: int = PICTURES, seed: int = SEED
) -> Iterator[Shown]:
    """Draw the set from the asset pack, or read it from a shard of it (`.npz`).

    A shard is read and decoded at once, so that nothing is judged of one that is damaged.  Older
    shards, which do not say what they show, are taken.

    Raises:
        BadInput: neither a pack nor a shard, or a shard that shows more than held-out people.
        MissingExtra: numba is not installed.
    """
    from xnect.synth.assets import load_assets
    from xnect.synth.dataset import DatasetOptions, PictureSource
    from xnect.synth.split import held_out

    path = Path(pack)
    if path.suffix == ".npz":
        return iter(_of_shard(path, pictures))
    options = DatasetOptions(pictures=pictures, pool=min(40, max(8, pictures)))
    source = PictureSource(held_out(load_assets(path)), options)
    return (
        Shown(picture.image, scene.view.camera, picture.labels)
        for picture, scene in source.pictures(seed=seed, shard=0)
    )


def _of_shard(path: Path, count: int) -> list[Shown]:
    """The first pictures of a shard of held-out people."""
    from xnect.synth.shards import read_shard, split_of

    split = split_of(path)
    if split not in (None, "held-out"):
        raise BadInput(
            f"{path} says that it is of the split {split!r}; give one of held-out people "
            "(`python -m xnect.synth images --split held-out`), or the asset pack"
        )
    return [
        Shown(example.picture.image, example.camera, example.picture.labels)
        for example in islice(read_shard(path), count)
    ]


def judge_all(run: Run, pictures: Iterable[Shown]) -> list[Judged]:
    """`run` on every picture."""
    return [judge(shown, run(shown.image, shown.camera)) for shown in pictures]


def judge(shown: Shown, result: Result) -> Judged:
    """Who was found in one picture."""
    labels, found = shown.labels, people2d(result)
    state = labels.visibility[:, :BODY_JOINTS]
    inside = state != OUTSIDE
    there = np.flatnonzero(inside.any(1))
    distance = image_distances(
        labels.joints2d_px[there, :BODY_JOINTS], inside[there],
        found.joints_px[:, :BODY_JOINTS], found.score[:, :BODY_JOINTS], gate=GATES["2d"],
    )  # fmt: skip
    frame = FrameDistances(there, np.arange(len(result.people)), distance)
    pairs = pair_frames([frame])[0]
    pairs = np.stack([there[pairs[:, 0]], pairs[:, 1]], 1) if len(pairs) else pairs
    counted = (state == SEEN).sum(1) >= SEEN_AT_LEAST
    return Judged(
        shown,
        counted,
        pairs[counted[pairs[:, 0]]],
        len(result.people) - len(pairs),
        np.array([p.joints3d_m for p in result.people], np.float64).reshape(-1, 21, 3),
        found,
    )


def synth_report(judged: Sequence[Judged]) -> SynthReport:
    """The figures of a set.

    Raises:
        BadInput: no picture.
    """
    if not judged:
        raise BadInput("there is no picture to judge")
    found = np.concatenate([j.found_m[j.pairs[:, 1]] for j in judged])
    labels = [(j.shown.labels, j.pairs[:, 0]) for j in judged]
    true = np.concatenate([x.joints3d_m[rows] for x, rows in labels])
    kind = np.concatenate([kinds(x)[rows] for x, rows in labels])
    height = np.concatenate([np.ptp(x.joints2d_px[rows], axis=1)[:, 1] for x, rows in labels])
    pose, truth = root_relative(found), root_relative(true)
    errors = joint_errors(pose, truth)
    right = errors < PCK_THRESHOLD_M
    visible = np.where(kind < 0, -1.0, kind == 0)
    figures = pose_figures(pose, truth, visible=visible)
    people = int(sum(j.counted.sum() for j in judged))
    away = np.linalg.norm(found[:, ROOT] - true[:, ROOT], axis=-1)
    limits = (0, 60, 120, 200, np.inf)
    sizes = {
        (f"{low:.0f} to {high:.0f} px" if np.isfinite(high) else f"{low:.0f} px and more"): (
            _mean_mm(errors[(height >= low) & (height < high)])
        )
        for low, high in pairwise(limits)
    }
    return SynthReport(
        pictures=len(judged),
        people=people,
        found=len(found) / people if people else float("nan"),
        false_people=sum(j.false_people for j in judged),
        poses=figures,
        pck_150mm_of_all=float(right.sum() / (people * len(JOINTS3D))) if people else float("nan"),
        root_error_median_m=float(np.median(away)) if len(away) else float("nan"),
        by_kind_mm={name: _mean_mm(errors[kind == n]) for n, name in enumerate(KINDS)},
        by_kind_pck={
            name: float(right[kind == n].mean()) if (kind == n).any() else float("nan")
            for n, name in enumerate(KINDS)
        },
        by_kind_joints={name: int((kind == n).sum()) for n, name in enumerate(KINDS)},
        by_size_mm=sizes,
        by_joint_pck={
            name: float(right[:, j].mean()) if len(right) else float("nan")
            for name, j in J3D.items()
        },
    )


def kinds(labels: Labels) -> np.ndarray:
    """(P, 21) number in `KINDS` of each 3D joint; -1 where no 2D joint shows it."""
    seen_as = np.array(SEEN_AS)
    two = np.maximum(seen_as, 0)
    state, by = labels.visibility[:, two], labels.hidden_by[:, two]
    out = np.full(state.shape, -1)
    out[state == SEEN] = 0
    for number, cause in enumerate((SELF, PERSON, THING), 1):
        out[(state == HIDDEN) & (by == cause)] = number
    out[state == OUTSIDE] = KINDS.index("outside")
    out[:, seen_as < 0] = -1
    return out


def score(one: Judged) -> float:
    """2 sum(share of joints within 150 mm) / (true + found people); nan without any."""
    count = int(one.counted.sum()) + len(one.pairs) + one.false_people
    if not count:
        return float("nan")
    true = root_relative(one.shown.labels.joints3d_m[one.pairs[:, 0]])
    errors = joint_errors(root_relative(one.found_m[one.pairs[:, 1]]), true)
    return float(2 * (errors < PCK_THRESHOLD_M).mean(1).sum() / count)


def synth_sheets(judged: Sequence[Judged], *, count: int = 8) -> dict[str, np.ndarray]:
    """Kind (best, worst, random) -> sheet; labels white, findings coloured."""
    from xnect.eval.cases import drawn

    scores = [score(one) for one in judged]
    sheets = {}
    for name, numbers in pick(scores, count=count).items():
        cases = []
        for n in numbers:
            one = judged[n]
            labels = one.shown.labels
            inside = (labels.visibility != OUTSIDE).astype(np.float64)
            true = zip(labels.joints2d_px[one.counted], inside[one.counted], strict=True)
            found = zip(one.found_2d.joints_px, one.found_2d.score, strict=True)
            caption = f"{n}: {scores[n]:.2f}, {one.counted.sum()} people, {len(one.pairs)} found"
            cases.append(Case(drawn(one.shown.image, true, found), caption))
        sheets[name] = sheet(cases)
    return sheets


def _mean_mm(errors_m: np.ndarray) -> float:
    return float(1000 * errors_m.mean()) if errors_m.size else float("nan")
