"""PCK on Leeds Sports Pose Extended: the share of joints that lie where they were labelled.

A joint is right within 0.2 torso lengths.  The torso is the distance of the left shoulder from the
right hip (right shoulder and left hip where one of those is not labelled; pictures with neither
are left out and counted).  Twelve joints count: head_top is not predicted, and LSP's neck is
another point than the middle of the shoulders.  One person is labelled per picture: the found
person is the one whose joints' box, padded like the labelled box, overlaps that box most (IoU);
the labelled joints play no part in the choice.  Joints that were not found are wrong.

PCKh@0.5 is given beside it: the same joints within half a head, neck to head top as labelled
(pictures without both are left out).
"""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.errors import BadInput, CannotOpenSource
from xnect.eval.label_files import (
    FLAG,
    IDENTITY,
    TEXT,
    check_records,
    number_list,
    read_labels,
)
from xnect.eval.metrics import PCKH_WITHIN, joint_errors
from xnect.eval.predictions import People2d, Predict, people2d
from xnect.eval.tables import rows_of_table
from xnect.skeleton import J2D, LSP14

WITHIN_TORSOS = 0.2
JOINTS = LSP14[:12]
"""Those that are predicted and labelled at the same place: all but neck and head_top."""

PADDING = 0.12
"""Of the longer side, as the labelled boxes were made."""

_FROM_18 = [J2D[name] for name in JOINTS]
_IMAGE = {"id": IDENTITY, "file_name": TEXT, "tar": TEXT}
_ANNOTATION = {
    "image_id": IDENTITY, "keypoints": number_list(42), "bbox": number_list(4), "suspect": FLAG
}  # fmt: skip
_DAMAGED = (OSError, EOFError, tarfile.TarError, zlib.error, KeyError)
"""What `tarfile` raises of files that are missing, cut off, overwritten, or lack a member."""


@dataclass(frozen=True)
class PckReport:
    """Shares 0..1 at 0.2 torso lengths; nan where no joint is labelled."""

    mean: float  # of the shares of the twelve joints, or of those that are labelled anywhere
    pooled: float  # of all labelled joints together
    by_joint: dict[str, float]
    found: float  # share of the labelled people with any overlapping skeleton
    pictures: int
    without_torso: int  # pictures left out
    joints: int  # labelled joints that counted
    pckh: float = float("nan")  # mean of the twelve joints within half a head

    def table(self) -> str:
        """Markdown: left and right together, then each joint."""
        parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        sides = [[self.by_joint[f"{s}_{p}"] for s in ("left", "right")] for p in parts]
        cells = [f"{100 * _mean(v):.1f}" for v in ([self.mean], [self.pooled], *sides)]
        cells += [f"{100 * self.pckh:.1f}", f"{100 * self.found:.1f}", str(self.pictures)]
        columns = ["mean of 12", "pooled", *parts, "PCKh@0.5", "person found", "pictures"]
        joints = [[name, f"{100 * share:.1f}"] for name, share in self.by_joint.items()]
        return f"{rows_of_table(columns, [cells])}\n\n{rows_of_table(['joint', '%'], joints)}"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One picture: where it is, its label, and who was found in it."""

    number: int  # of the annotation
    keypoints: np.ndarray  # (14, 3) x, y, labelled
    box_xywh: np.ndarray  # (4,)
    suspect: bool
    people: People2d


def evaluate_lspet(predict: Predict, root: Path, split: str = "dev") -> dict[str, PckReport]:
    """`predict` on every picture of a split -> reports of `all` and of `without_suspect` labels."""
    return lspet_reports(predict_lspet(predict, root, split))


def predict_lspet(predict: Predict, root: Path, split: str = "dev") -> list[Labelled]:
    """`predict` on every picture of a split."""
    return [
        Labelled(
            number,
            np.array(annotation["keypoints"], np.float64).reshape(14, 3),
            np.array(annotation["bbox"], np.float64),
            bool(annotation["suspect"]),
            people2d(predict(image)),
        )
        for number, (image, annotation) in enumerate(pictures(root, split))
    ]


def lspet_reports(labelled: Sequence[Labelled]) -> dict[str, PckReport]:
    """Reports of `all` and of `without_suspect` labels."""
    sure = [one for one in labelled if not one.suspect]
    reports = {}
    for name, chosen in (("all", labelled), ("without_suspect", sure)):
        rows = [correct_joints(x.people, x.keypoints, x.box_xywh) for x in chosen]
        heads = [correct_joints(x.people, x.keypoints, x.box_xywh, unit="head") for x in chosen]
        reports[name] = replace(report(rows), pckh=report(heads).mean)
    return reports


def correct_joints(
    people: People2d,
    keypoints: np.ndarray,
    box_xywh: Sequence[float] | np.ndarray,
    *,
    unit: str = "torso",
) -> np.ndarray | None:
    """(14, 3) labels and box -> (12,) 1 right, 0 wrong, nan not labelled; None without torso.

    A thirteenth number, 1 or 0, says whether there is a person at all.  `unit` "head" takes half a
    head in place of a fifth of the torso; None without it.
    """
    if unit == "head":
        length_px, within = _head_px(keypoints), PCKH_WITHIN
    else:
        length_px, within = _torso_px(keypoints), WITHIN_TORSOS
    if length_px is None:
        return None
    right = np.zeros(len(JOINTS) + 1)
    best = best_person(people, np.array(box_xywh))
    if best is not None:
        away = joint_errors(people.joints_px[best, _FROM_18], keypoints[:12, :2])
        right[:12] = (away <= within * length_px) & (people.score[best, _FROM_18] > 0)
        right[12] = 1
    right[:12][keypoints[:12, 2] == 0] = np.nan
    return right


def report(rows: Sequence[np.ndarray | None]) -> PckReport:
    """What `correct_joints` gave for each picture -> shares."""
    counted = [row for row in rows if row is not None]
    table = np.array(counted).reshape(-1, len(JOINTS) + 1)
    right, labelled = np.nansum(table[:, :12], 0), np.isfinite(table[:, :12]).sum(0)
    share = np.where(labelled > 0, right / np.maximum(labelled, 1), np.nan)
    return PckReport(
        mean=_mean(share),
        pooled=float(right.sum() / labelled.sum()) if labelled.any() else float("nan"),
        by_joint={name: float(s) for name, s in zip(JOINTS, share, strict=True)},
        found=float(table[:, 12].mean()) if len(table) else 0.0,
        pictures=len(counted),
        without_torso=len(rows) - len(counted),
        joints=int(labelled.sum()),
    )


def _mean(shares: Sequence[float] | np.ndarray) -> float:
    """Mean of those that are there; nan without any."""
    there = np.asarray(shares, np.float64)[np.isfinite(shares)]
    return float(there.mean()) if there.size else float("nan")


def _torso_px(keypoints: np.ndarray) -> float | None:
    for one, two in (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")):
        a, b = keypoints[LSP14.index(one)], keypoints[LSP14.index(two)]
        if a[2] > 0 and b[2] > 0:
            return float(np.hypot(*(a - b)[:2]))
    return None


def _head_px(keypoints: np.ndarray) -> float | None:
    neck, top = keypoints[LSP14.index("neck")], keypoints[LSP14.index("head_top")]
    return float(np.hypot(*(neck - top)[:2])) if min(neck[2], top[2]) > 0 else None


def best_person(people: People2d, box_xywh: np.ndarray) -> int | None:
    """The person whose padded box of joints overlaps the labelled box most; None without any."""
    box = np.concatenate([box_xywh[:2], box_xywh[:2] + box_xywh[2:]])
    best, most = None, 0.0
    for p, (joints, score) in enumerate(zip(people.joints_px, people.score, strict=True)):
        seen = joints[score > 0]
        if not len(seen):
            continue
        low, high = seen.min(0), seen.max(0)
        pad = PADDING * (high - low).max()
        low, high = low - pad, high + pad
        inside = np.prod(np.maximum(np.minimum(high, box[2:]) - np.maximum(low, box[:2]), 0))
        union = np.prod(high - low) + np.prod(box_xywh[2:]) - inside
        if inside / union > most:
            best, most = p, float(inside / union)
    return best


def read_lspet(root: Path, split: str) -> dict[str, Any]:
    """The labels of a split, of which every picture is in its archive.

    Raises:
        CannotOpenSource: there are no labels, or no JSON.
        BadInput: a list or a field is missing or of another kind, or an archive is missing or
            damaged or lacks a picture.
    """
    path = root / f"{split}.json"
    data = read_labels(path)
    check_records(data, "images", _IMAGE, path)
    check_records(data, "annotations", _ANNOTATION, path)
    records = {record["id"]: record for record in data["images"]}
    for number, annotation in enumerate(data["annotations"]):
        if annotation["image_id"] not in records:
            raise BadInput(
                f"{path}, annotations[{number}]: there is no image {annotation['image_id']!r}"
            )
    wanted: dict[str, list[str]] = {}
    for annotation in data["annotations"]:
        record = records[annotation["image_id"]]
        wanted.setdefault(record["tar"], []).append(record["file_name"])
    for name, files in wanted.items():
        with _archive(root / name) as archive, _readable(root / name):
            there = set(archive.getnames())
        missing = [file for file in files if file not in there]
        if missing:
            raise BadInput(
                f"{root / name} lacks {len(missing)} of the {len(files)} pictures that {path} "
                f"names, {missing[0]} among them"
            )
    return data


def pictures(
    root: Path, split: str, numbers: Collection[int] | None = None
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """(H, W, 3) RGB and annotation of each picture of a split, or of the annotations `numbers`.

    Raises:
        CannotOpenSource: there are no labels, or a picture cannot be decoded.
        BadInput: labels or archives are not as they should be; see `read_lspet`.
    """
    data = read_lspet(root, split)
    records = {record["id"]: record for record in data["images"]}
    tars: dict[str, tarfile.TarFile] = {}
    with contextlib.ExitStack() as opened:
        for number, annotation in enumerate(data["annotations"]):
            if numbers is not None and number not in numbers:
                continue
            record = records[annotation["image_id"]]
            name = record["tar"]
            if name not in tars:
                tars[name] = opened.enter_context(_archive(root / name))
            with _readable(root / name):
                file = tars[name].extractfile(record["file_name"])
                raw = np.frombuffer(file.read() if file else b"", np.uint8)
            image = cv2.imdecode(raw, cv2.IMREAD_COLOR) if len(raw) else None
            if image is None:
                raise CannotOpenSource(f"cannot decode {record['file_name']} of {root / name}")
            yield np.ascontiguousarray(image[..., ::-1]), annotation


def _archive(path: Path) -> tarfile.TarFile:
    with _readable(path):
        return tarfile.open(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever is wrong with the archive within the block is one sentence."""
    try:
        yield
    except _DAMAGED as error:
        what = "is damaged" if path.is_file() else "does not exist"
        reason = str(error).split("\n", maxsplit=1)[0]  # `tarfile` lists what it tried
        raise BadInput(
            f"the archive {path} {what}; it must be a whole tar of pictures ({reason})"
        ) from error
