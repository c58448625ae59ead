"""Best, worst and random pictures of the picture sets, with labels and findings drawn in.

Labels are white, what was found is coloured; left limbs are lighter than right ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from xnect.draw import COLOURS, draw_joints
from xnect.eval.coco import oks, read_coco
from xnect.eval.pck import JOINTS, Labelled, best_person, correct_joints, pictures
from xnect.eval.picture_folders import read_picture
from xnect.eval.predictions import People2d
from xnect.eval.report import Case, enlarged, pick, sheet
from xnect.skeleton import FROM_COCO17, J2D

LABEL = (255, 255, 255)
Skeleton2d = tuple[np.ndarray, np.ndarray]
"""(18, 2) px and (18,), 0 = absent."""

DRAWN_AT_PX = 480
"""Height at which skeletons are drawn, whatever the size of the picture."""


def coco_sheets(
    annotations: Path, images: Path, found: Sequence[dict[str, Any]], *, count: int = 8
) -> dict[str, np.ndarray]:
    """Kind -> sheet, of a COCO file and detections in its result format.

    A picture's score is 2 sum(OKS) / (labelled + found) over the best pairs of people: an F-score
    in which a pair counts as much as it agrees.
    """
    data = read_coco(annotations)
    labels, boxes = defaultdict(list), defaultdict(list)
    for a in data["annotations"]:
        if not a["iscrowd"] and a["num_keypoints"]:
            labels[a["image_id"]].append((np.reshape(a["keypoints"], (17, 3)), a["area"]))
    for d in found:
        boxes[d["image_id"]].append(np.reshape(d["keypoints"], (17, 3)))
    scores = [coco_score(labels[r["id"]], boxes[r["id"]]) for r in data["images"]]
    kinds = {}
    for kind, numbers in pick(scores, count=count).items():
        cases = []
        for n in numbers:
            record = data["images"][n]
            true, seen = [k for k, _ in labels[record["id"]]], boxes[record["id"]]
            caption = f"{record['id']}: {scores[n]:.2f}, {len(true)} labelled, {len(seen)} found"
            image = read_picture(images / record["file_name"])
            picture = drawn(image, map(_from_coco, true), map(_from_coco, seen))
            cases.append(Case(picture, caption))
        kinds[kind] = sheet(cases)
    return kinds


def coco_score(labels: Sequence[tuple[np.ndarray, float]], found: Sequence[np.ndarray]) -> float:
    """2 sum(OKS) / (labelled + found) under the best pairing; nan for an empty picture."""
    if not labels and not found:
        return float("nan")
    if not labels or not found:
        return 0.0
    true = np.array([k for k, _ in labels], np.float64)
    area = np.array([a for _, a in labels], np.float64)
    similarity = oks(np.array(found, np.float64)[..., :2], true, area)
    best = linear_sum_assignment(similarity, maximize=True)
    return float(2 * similarity[best].sum() / (len(labels) + len(found)))


def empty_sheets(found: Mapping[Path, People2d], *, count: int = 24) -> dict[str, np.ndarray]:
    """The pictures without people in which somebody is found most surely; {} where nobody is."""
    sure = {path: people.person_score.max(initial=0) for path, people in found.items()}
    worst = sorted((path for path in sure if sure[path] > 0), key=lambda p: -sure[p])[:count]
    cases = [
        Case(
            drawn(
                read_picture(path),
                [],
                zip(found[path].joints_px, found[path].score, strict=True),
            ),
            f"{path.name}: {sure[path]:.2f}",
        )
        for path in worst
    ]
    return {"worst": sheet(cases)} if cases else {}


def lspet_sheets(
    labelled: Sequence[Labelled], root: Path, split: str, *, count: int = 8
) -> dict[str, np.ndarray]:
    """Kind -> sheet; a picture's score is the share of its labelled joints that are right."""
    rows = [correct_joints(x.people, x.keypoints, x.box_xywh) for x in labelled]
    scores = [
        float("nan") if row is None or np.isnan(row[:12]).all() else float(np.nanmean(row[:12]))
        for row in rows
    ]
    kinds = pick(scores, count=count)
    wanted = {n for numbers in kinds.values() for n in numbers}
    cases = {}
    for n, (image, _) in zip(sorted(wanted), pictures(root, split, wanted), strict=True):
        one = labelled[n]
        best = best_person(one.people, one.box_xywh)
        seen = [] if best is None else [(one.people.joints_px[best], one.people.score[best])]
        suspect = ", label suspect" if one.suspect else ""
        caption = f"{n}: {100 * scores[n]:.0f} %, {len(one.people.score)} found{suspect}"
        cases[n] = Case(drawn(image, [_from_lsp(one)], seen), caption)
    return {kind: sheet([cases[n] for n in numbers]) for kind, numbers in kinds.items()}


def drawn(image: np.ndarray, true: Iterable[Skeleton2d], found: Iterable[Skeleton2d]) -> np.ndarray:
    """The picture with labels and findings drawn in at a fixed size."""
    large, factor = enlarged(image, height_px=DRAWN_AT_PX)
    labels, findings = zip(true, repeat(LABEL)), zip(found, cycle(COLOURS))
    for (joints_px, score), colour in chain(labels, findings):
        large = draw_joints(large, (joints_px + 0.5) * factor - 0.5, score, colour=colour)
    return large


def _from_coco(keypoints: np.ndarray) -> Skeleton2d:
    """(17, 3) -> (18, 2) px and (18,) 0 = absent."""
    table = np.asarray(keypoints, np.float64)[np.maximum(FROM_COCO17, 0)]
    joints, score = table[:, :2], (table[:, 2] > 0).astype(np.float64)
    shoulders = [J2D["left_shoulder"], J2D["right_shoulder"]]
    joints[J2D["neck"]] = joints[shoulders].mean(0)
    score[J2D["neck"]] = score[shoulders].min()
    return joints, score


def _from_lsp(one: Labelled) -> Skeleton2d:
    joints, score = np.zeros((18, 2)), np.zeros(18)
    for row, name in zip(one.keypoints, JOINTS, strict=False):
        joints[J2D[name]], score[J2D[name]] = row[:2], row[2] > 0
    shoulders = [J2D["left_shoulder"], J2D["right_shoulder"]]
    joints[J2D["neck"]] = joints[shoulders].mean(0)
    score[J2D["neck"]] = score[shoulders].min()
    return joints, score
