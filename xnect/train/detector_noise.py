"""`python -m xnect.train.detector_noise`: how wrong Stage II's evidence really is, to train it on.

Pictures with labels are given to the pipeline; everybody who is found is compared with the labels.
What comes out are the sizes in `EvidenceOptions`: noise, outliers, missed joints and limbs, arms
and legs of the wrong side.

    python -m xnect.train.detector_noise --shared ../shared/data -o evidence.json
    python -m xnect.train.second_stage --evidence evidence.json ...
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xnect.atomic import replacing
from xnect.errors import BadInput, XnectError
from xnect.model import load_pipeline
from xnect.pipeline import Pipeline
from xnect.skeleton import BODY, FLIP2D, J2D, J3D, JOINTS2D
from xnect.sure_joints import sure_joints
from xnect.synth.evidence import JOINT_NOISE, EvidenceOptions
from xnect.train.datasets.coco import coco
from xnect.train.datasets.files import read_json
from xnect.train.datasets.lspet import lspet
from xnect.train.samples import SEEN, Sample
from xnect.types import PartialPose

WRONG_M = 0.25
"""Beyond so much on the reference body a joint is not imprecise but somewhere else."""

_SIDES = ("right", "left")
_ARMS, _LEGS = (
    tuple(tuple(J2D[f"{side}_{part}"] for part in parts) for side in _SIDES)
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)
_LIMB_JOINTS = tuple(sorted(j for pair in (_ARMS, _LEGS) for limb in pair for j in limb))
_RULERS = tuple(
    (J2D[f"{side}_{a}"], J2D[f"{side}_{b}"], f"{side}_{a}", f"{side}_{b}")
    for side in _SIDES
    for a, b in (("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"))
)


@dataclass(frozen=True)
class Measured:
    """Of people who were found; all but the first two are fields of `EvidenceOptions`."""

    people: int  # labelled and found
    missed: float  # share of the labelled who were not found
    noise_m: float
    outlier: float
    drop: float
    drop_limb: float
    swap: float


def px_per_m(joints_px: np.ndarray, there: np.ndarray) -> float:
    """Pixels of a metre of the reference body, by the segment foreshortened least; 0 if none."""
    rest = _rest_m()
    sizes = [
        np.linalg.norm(joints_px[a] - joints_px[b])
        / np.linalg.norm(rest[J3D[name_a]] - rest[J3D[name_b]])
        for a, b, name_a, name_b in _RULERS
        if there[a] and there[b]
    ]
    return float(max(sizes, default=0.0))


def _rest_m() -> np.ndarray:
    place = np.zeros((len(BODY.names), 3))
    for j in BODY.order:
        if BODY.parents[j] >= 0:
            place[j] = place[BODY.parents[j]] + BODY.offsets_m[j]
    return place


def matched(
    joints_px: np.ndarray, there: np.ndarray, scale: float, found: Sequence[PartialPose]
) -> PartialPose | None:
    """Who of those found is the labelled person: most joints in place, left and right forgiven."""
    best, most = None, 2
    for person in found:
        count = 0
        for index in (np.arange(len(JOINTS2D)), np.array(FLIP2D)):
            away = np.linalg.norm(person.joints_px[index] - joints_px, axis=-1)
            near = (away < WRONG_M * scale) & there & (person.score[index] > 0)
            count = max(count, int(near.sum()))
        if count > most:
            best, most = person, count
    return best


def measure(
    samples: Iterable[Sample], find: Callable[[np.ndarray], Sequence[PartialPose]]
) -> Measured:
    """Compare what is found with what is labelled.

    Args:
        samples: Pictures; people with fewer than six seen limb joints are passed over.
        find: Picture -> people, such as `Pipeline.find`.

    The noise is that of inliers, with the annotators' own in it.  Joints of which the whole end of
    the limb is missing count as a dropped limb, the others as dropped joints.

    Raises:
        BadInput: nobody who is labelled was found.
    """
    tally = Tally()
    for sample in samples:
        found = find(sample.image)
        for joints, state in zip(sample.joints_px, sample.state, strict=True):
            there = state == SEEN
            scale = px_per_m(joints, there)
            if there[list(_LIMB_JOINTS)].sum() < 6 or scale <= 0:
                continue
            person = matched(joints, there, scale, found)
            if person is None:
                tally.missed_people += 1
            else:
                tally.add(person, joints, there, scale)
    return tally.measured()


@dataclass
class Tally:
    """Counts over the people who were compared."""

    people: int = 0
    missed_people: int = 0
    pairs: int = 0  # both arms or both legs
    swapped: int = 0
    limbs: int = 0
    ends_missing: int = 0
    missed_joints: int = 0
    joints: int = 0
    wrong: int = 0
    errors_m: list[float] = field(default_factory=list)  # of inliers, in those of a shoulder

    def add(
        self, person: PartialPose, joints_px: np.ndarray, there: np.ndarray, scale: float
    ) -> None:
        """Count one person: (18, 2) labels, (18,) which of them are seen, pixels of a metre."""
        self.people += 1
        has = person.score > 0
        away_m = np.linalg.norm(person.joints_px - joints_px, axis=-1) / scale
        crossed_m = np.linalg.norm(person.joints_px[list(FLIP2D)] - joints_px, axis=-1) / scale
        turned: set[int] = set()
        for part in (_ARMS, _LEGS):
            both = [j for limb in part for j in limb if there[j] and has[j] and has[FLIP2D[j]]]
            if len(both) >= 4:
                self.pairs += 1
                far = away_m[both].mean() > WRONG_M / 2  # hips are 0.2 m apart
                if far and crossed_m[both].sum() < 0.5 * away_m[both].sum():
                    self.swapped += 1
                    turned |= set(both)
            for limb in part:
                if there[list(limb)].all():
                    self.limbs += 1
                    end = not has[limb[1]] and not has[limb[2]]
                    self.ends_missing += end
                    self.missed_joints += 0 if end else sum(not has[j] for j in limb)
        for j in _LIMB_JOINTS:
            if there[j] and has[j] and j not in turned:
                self.joints += 1
                if away_m[j] > WRONG_M:
                    self.wrong += 1
                else:
                    self.errors_m.append(float(away_m[j]) / JOINT_NOISE[j])

    def measured(self) -> Measured:
        """As parameters of the simulation, by how `xnect.synth.evidence` uses them.

        Raises:
            BadInput: nobody was compared.
        """
        if not self.errors_m or not self.limbs:
            raise BadInput("nobody who is labelled in these pictures was found; give others")
        hard = EvidenceOptions().hard
        whole = self.limbs - self.ends_missing
        return Measured(
            people=self.people,
            missed=self.missed_people / (self.people + self.missed_people),
            noise_m=float(np.median(self.errors_m)) / math.sqrt(2 * math.log(2)),  # of one axis
            outlier=self.wrong / self.joints / math.exp(-0.5),  # so many of them go so far
            drop=self.missed_joints / max(3 * whole, 1) / (1.1 * hard),
            drop_limb=self.ends_missing / self.limbs / (2 / 3 * hard),
            swap=self.swapped / max(self.pairs, 1) / (4 / 3),  # arms or legs, or everything
        )


def evidence_of(pipeline: Pipeline, image: np.ndarray) -> list[PartialPose]:
    """The people in a picture with the joints that Stage II is given: those that are sure."""
    return [replace(p, score=p.score * sure_joints(p)) for p in pipeline.find(image)]


def read_evidence(path: Path) -> EvidenceOptions:
    """What `main` wrote.

    Raises:
        BadInput: the file is missing or damaged, or a value is no share or size.
    """
    names = [f.name for f in fields(Measured) if f.name in EvidenceOptions.__dataclass_fields__]
    data = read_json(path, *names)
    for name in names:
        if not isinstance(data[name], (int, float)) or not 0 <= data[name] <= 1:
            raise BadInput(f"{path}: {name} must be a number from 0 to 1, got {data[name]!r}")
    values: dict[str, Any] = {name: float(data[name]) for name in names}
    return replace(EvidenceOptions(), **values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--weights", type=Path, help="of Stage I; the bundled ones if not given")
    parser.add_argument("--pictures", type=int, default=100, help="of each data set")
    flags = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    shared = flags.shared
    try:
        if flags.pictures < 1:
            raise BadInput(f"pictures must be 1 or more, got {flags.pictures}")
        pipeline = load_pipeline(weights=flags.weights)
        readers = (coco(shared / "coco" / "train.json", shared / "coco" / "train"),
                   lspet(shared / "lspet", "train"))  # fmt: skip
        samples = itertools.chain(*(itertools.islice(r, flags.pictures) for r in readers))
        found = asdict(measure(samples, partial(evidence_of, pipeline)))
        with replacing(flags.out) as file:
            file.write(json.dumps(found, indent=2).encode())
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("  ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
