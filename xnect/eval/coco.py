"""COCO keypoint AP and AR by pycocotools (spec 7.4).

The neck is dropped and the other 17 joints come in COCO's order.  Joints that were not found are
given as (0, 0), so they count as wrong.  COCO's keypoints are the numbers of pixels, 0 to W - 1:
whole at a pixel's centre, as in this project.

The size of a found person tells whether a false alarm counts among medium or large people.  By
pycocotools it is that of the box of all joints, those at (0, 0) included; here it is that of the
box of the found ones: AP of medium and of large people differs from the official kit's where joints
are absent.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.errors import BadInput, CannotOpenSource, MissingExtra
from xnect.eval.label_files import (
    FLAG,
    IDENTITY,
    NUMBER,
    TEXT,
    check_records,
    number_list,
    read_labels,
)
from xnect.eval.picture_folders import read_picture
from xnect.eval.predictions import Predict, people2d
from xnect.eval.tables import rows_of_table
from xnect.skeleton import COCO17, J2D
from xnect.types import PartialPose, Result

MOST_PEOPLE = 20
"""Detections per picture that count, as in COCO's own keypoint evaluation."""

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
"""Of COCO's 17 joints: the labellers' own spread, in square roots of a person's area."""

_FROM_18 = [J2D[name] for name in COCO17]


PAIRED_FROM = 0.1
"""OKS from which a found person is taken for a labelled one in the table of joints."""

RIGHT_FROM = 0.5
"""A joint is right when its own similarity (the term of OKS) reaches this: 1.18 spreads away."""


@dataclass(frozen=True)
class JointShares:
    """Labelled joints of one kind that were found at the right place; nan where none is labelled.

    Visible ones are labelled 2, occluded ones 1.  Those of people who were not found are wrong.
    """

    right: float  # 0..1
    right_visible: float
    right_occluded: float
    visible: int
    occluded: int


@dataclass(frozen=True)
class CocoReport:
    """Shares 0..1; -1 where the file holds no person of that size."""

    ap: float  # mean over OKS 0.50:0.05:0.95
    ap50: float
    ap75: float
    ap_medium: float  # people of 32^2..96^2 px
    ap_large: float
    ar: float
    ar50: float
    pictures: int
    labelled_people: int
    found_people: int
    joints: dict[str, JointShares] = field(default_factory=dict)  # "all" and each of COCO's 17

    def table(self) -> str:
        """Markdown."""
        names = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50")
        cells = [f"{getattr(self, name):.3f}" for name in names]
        cells += [str(self.pictures), str(self.labelled_people), str(self.found_people)]
        figures = rows_of_table([*names, "pictures", "labelled", "found"], [cells])
        rows = [
            [name, *(f"{100 * x:.1f}" for x in (j.right, j.right_visible, j.right_occluded)),
             str(j.visible), str(j.occluded)]
            for name, j in self.joints.items()
        ]  # fmt: skip
        columns = ["joint", "right %", "of visible %", "of occluded %", "visible", "occluded"]
        return f"{figures}\n\n{rows_of_table(columns, rows)}" if rows else figures


_IMAGE = {"id": IDENTITY, "file_name": TEXT}
_ANNOTATION = {
    "id": IDENTITY, "image_id": IDENTITY, "category_id": NUMBER, "iscrowd": FLAG,
    "num_keypoints": NUMBER, "keypoints": number_list(51), "area": NUMBER, "bbox": number_list(4),
}  # fmt: skip
PERSON_CATEGORY = 1


def read_coco(path: Path) -> dict[str, Any]:
    """A COCO keypoints file with everything that scoring needs.

    Raises:
        CannotOpenSource: the file is missing or is no JSON.
        BadInput: a list or a field is missing or of another kind, or people are no category 1.
    """
    data = read_labels(path)
    for name, fields in (
        ("images", _IMAGE), ("annotations", _ANNOTATION), ("categories", {"id": NUMBER})
    ):  # fmt: skip
        check_records(data, name, fields, path)
    known = [category["id"] for category in data["categories"]]
    if PERSON_CATEGORY not in known:
        raise BadInput(
            f"{path}: 'categories' must hold people as category {PERSON_CATEGORY}, "
            f"it has {', '.join(map(str, known)) or 'none'}"
        )
    return data


def check_pictures(data: dict[str, Any], images: Path) -> None:
    """Check that every picture of a COCO file is there.

    Raises:
        CannotOpenSource: one is missing.
    """
    names = [record["file_name"] for record in data["images"]]
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise CannotOpenSource(
            f"{len(missing)} of {len(names)} pictures are not in {images}, {missing[0]} among "
            "them; give their folder with --images"
        )


def detections(image_id: int, prediction: Iterable[PartialPose] | Result) -> list[dict[str, Any]]:
    """One picture's people in COCO's result format."""
    people = people2d(prediction if isinstance(prediction, Result) else list(prediction))
    seen = people.score > 0
    places = np.where(seen[..., None], people.joints_px, 0)
    keypoints = np.concatenate([places, people.score[..., None]], 2)[:, _FROM_18]  # (P, 17, 3)
    return [
        {"image_id": image_id, "category_id": 1, "keypoints": k.ravel().tolist(), "score": float(s)}
        for k, s in zip(keypoints, people.person_score, strict=True)
    ]


def predict_all(
    predict: Predict, annotations: Path, images: Path, ids: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """`predict` over every picture of a COCO file (or those of `ids`), in COCO's result format.

    Raises:
        CannotOpenSource: the file or a picture cannot be read.
        BadInput: the file is not one of COCO keypoints; see `read_coco`.
    """
    records = read_coco(annotations)["images"]
    chosen = None if ids is None else set(ids)
    found = []
    for record in records:
        if chosen is None or record["id"] in chosen:
            image = read_picture(images / record["file_name"])
            found += detections(record["id"], predict(image))
    return found


def oks(found_px: np.ndarray, labels: np.ndarray, area_px2: np.ndarray) -> np.ndarray:
    """(H, 17, 2) found, (T, 17, 3) labels, (T,) areas -> (T, H) object keypoint similarity, 0..1.

    For choosing pictures to look at; AP itself is pycocotools' business.  Every labelled person
    needs a labelled joint.
    """
    away = ((labels[:, None, :, :2] - found_px[None]) ** 2).sum(-1)  # (T, H, 17)
    spread = (2 * SIGMAS) ** 2 * (area_px2[:, None, None] + np.spacing(1))
    shown = labels[:, None, :, 2] > 0
    return (np.exp(-away / spread / 2) * shown).sum(-1) / np.maximum(shown.sum(-1), 1)


def joint_shares(
    annotations: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> dict[str, JointShares]:
    """Of the labelled joints, which were found: "all" and each of COCO's 17 names.

    In each picture the people are paired so that the sum of OKS is largest; pairs below
    `PAIRED_FROM` do not count.  A found person counts only once, extra people do not matter here
    (they do in AP).
    """
    labels, people = defaultdict(list), defaultdict(list)
    for a in annotations:
        if a["num_keypoints"] and not a["iscrowd"]:
            labels[a["image_id"]].append(a)
    for d in found:
        people[d["image_id"]].append(np.reshape(d["keypoints"], (17, 3))[:, :2])
    states: list[np.ndarray] = [np.zeros((0, 17))]
    rights: list[np.ndarray] = [np.zeros((0, 17), bool)]
    for image, rows in labels.items():
        true = np.array([np.reshape(a["keypoints"], (17, 3)) for a in rows], np.float64)
        area = np.array([a["area"] for a in rows], np.float64)
        right = np.zeros(true.shape[:2], bool)
        if people[image]:
            there = np.array(people[image], np.float64)
            similarity = oks(there, true, area)
            for t, h in zip(*linear_sum_assignment(similarity, maximize=True), strict=True):
                if similarity[t, h] >= PAIRED_FROM:
                    away = ((true[t, :, :2] - there[h]) ** 2).sum(-1)
                    spread = (2 * SIGMAS) ** 2 * (area[t] + np.spacing(1))
                    right[t] = np.exp(-away / spread / 2) >= RIGHT_FROM
        states.append(true[..., 2])
        rights.append(right)
    state, right = np.concatenate(states), np.concatenate(rights)
    columns = {"all": slice(None), **{name: slice(k, k + 1) for k, name in enumerate(COCO17)}}
    return {name: _shares(state[:, c], right[:, c]) for name, c in columns.items()}


def _shares(state: np.ndarray, right: np.ndarray) -> JointShares:
    def share(of: np.ndarray) -> float:
        return float(right[of].mean()) if of.any() else float("nan")

    visible, occluded = state == 2, state == 1
    return JointShares(
        share(state > 0), share(visible), share(occluded), int(visible.sum()), int(occluded.sum())
    )


def score_detections(annotations: Path, found: list[dict[str, Any]]) -> CocoReport:
    """Detections in COCO's result format against a COCO keypoints file.

    Raises:
        MissingExtra: pycocotools is not installed.
        CannotOpenSource: the file cannot be read.
        BadInput: it is not one of COCO keypoints; see `read_coco`.
    """
    read_coco(annotations)
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtra(
            "COCO evaluation needs pycocotools; `pip install xnect[train]` installs it"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        truth = COCO(str(annotations))
        people = truth.getAnnIds(iscrowd=False)
        labelled = sum(a["num_keypoints"] > 0 for a in truth.loadAnns(people))
        if found:
            results = truth.loadRes([dict(d) for d in found])
            for result in results.dataset["annotations"]:
                result["area"] = _area_px2(result["keypoints"])
            run = COCOeval(truth, results, "keypoints")
            run.params.maxDets = [MOST_PEOPLE]
            run.evaluate()
            run.accumulate()
            run.summarize()
            stats = [float(value) for value in run.stats]
        else:
            stats = [0.0] * 10
    ap, ap50, ap75, ap_medium, ap_large, ar, ar50 = stats[:7]
    joints = joint_shares(truth.loadAnns(people), found)
    pictures = len(truth.getImgIds())
    return CocoReport(
        ap, ap50, ap75, ap_medium, ap_large, ar, ar50, pictures, labelled, len(found), joints
    )


def _area_px2(keypoints: Sequence[float]) -> float:
    """Area of the box of the joints that were found, (51,) x, y, score; 0 if none was."""
    x, y, score = np.reshape(keypoints, (17, 3)).T
    seen = score > 0
    return float(np.ptp(x[seen]) * np.ptp(y[seen])) if seen.any() else 0.0


def evaluate_coco(predict: Predict, annotations: Path, images: Path) -> CocoReport:
    """`predict` on every picture of a COCO keypoints file."""
    return score_detections(annotations, predict_all(predict, annotations, images))
