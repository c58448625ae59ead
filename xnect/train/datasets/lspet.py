"""Leeds Sports Pose Extended (Johnson & Everingham 2011) -> `Sample`.  Research lane only.

One labelled person per picture; bystanders are not labelled, so what lies outside the person's box
counts little as background and the boxes of a person detector not at all.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from xnect.boxes import iou
from xnect.errors import BadInput, CannotOpenSource
from xnect.skeleton import J2D, LSP14
from xnect.train.datasets.files import decode_picture, numbers, read_json
from xnect.train.datasets.teacher import Teacher, read_boxes, read_teacher
from xnect.train.samples import SEEN, UNKNOWN, Sample

__all__ = ["lspet"]

log = logging.getLogger(__name__)

OUTSIDE_WEIGHT = 0.3


def _joints(keypoints: np.ndarray, teacher: Teacher | None) -> tuple[np.ndarray, np.ndarray]:
    """(14, 3) -> (18, 2) px, (18,) state; the face is the teacher's."""
    joints, state = np.zeros((18, 2)), np.full(18, UNKNOWN, np.int8)
    for number, name in enumerate(LSP14[:12]):
        if keypoints[number, 2] > 0:
            joints[J2D[name]], state[J2D[name]] = keypoints[number, :2], SEEN
    left, right = J2D["left_shoulder"], J2D["right_shoulder"]
    if state[left] == SEEN and state[right] == SEEN:
        joints[J2D["neck"]], state[J2D["neck"]] = joints[[left, right]].mean(0), SEEN
    if teacher is not None and _at_head(keypoints, teacher):
        for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear"):
            if teacher.face_seen[J2D[name]]:
                joints[J2D[name]], state[J2D[name]] = teacher.face_px[J2D[name]], SEEN
    return joints, state


def _at_head(keypoints: np.ndarray, teacher: Teacher) -> bool:
    """Whether the teacher's face lies at the labelled head, between crown and neck."""
    neck, crown = keypoints[LSP14.index("neck")], keypoints[LSP14.index("head_top")]
    if teacher.joints3d_weight.any():
        return True  # it agrees on the whole body
    if min(neck[2], crown[2]) <= 0 or not teacher.face_seen.any():
        return False
    length = np.linalg.norm(neck[:2] - crown[:2])
    away = teacher.face_px[teacher.face_seen] - (neck[:2] + crown[:2]) / 2
    return bool((np.linalg.norm(away, axis=1) < 0.6 * length).all())


def _bystanders(boxes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Boxes (M, 4) other than the person's own (4,): intersection over union < 0.3."""
    if not len(boxes):
        return np.zeros((0, 4))
    others: np.ndarray = boxes[iou(boxes, own[None])[:, 0] < 0.3]
    return others


def lspet(root: Path, split: str = "train", teacher_file: Path | None = None) -> Iterator[Sample]:
    """Every picture of a split without those whose labels are suspect.

    Pictures that do not decode and damaged annotations are left out with a warning.

    Raises:
        BadInput: the annotation file is missing or damaged.
    """
    file = root / f"{split}.json"
    data = read_json(file, "images", "annotations")
    records = {record["id"]: record for record in data["images"]}
    teachers = read_teacher(teacher_file) if teacher_file else {}
    boxes = read_boxes(teacher_file) if teacher_file else {}
    with ExitStack() as stack:
        tars: dict[str, tarfile.TarFile] = {}
        for path in sorted(root.glob(f"{split}-*.tar")):
            try:
                tars[path.name] = stack.enter_context(tarfile.open(path))
            except tarfile.TarError as error:
                log.warning("left out %s: %s", path, error)
        for annotation in data["annotations"]:
            if annotation.get("suspect"):
                continue
            record = records.get(annotation.get("image_id"), {})
            where = f"{file}, annotation {annotation.get('id')}"
            try:
                keypoints = numbers(annotation, "keypoints", (14, 3), where)
                x, y, w, h = numbers(annotation, "bbox", (4,), where)
                image = _picture(tars, record, where)
            except (BadInput, CannotOpenSource) as error:
                log.warning("left out: %s", error)
                continue
            teacher = teachers.get(annotation["id"])
            joints, state = _joints(keypoints, teacher)
            own = np.array([x, y, x + w, y + h])
            no3d = np.zeros((1, 21))
            yield Sample(
                image=image,
                joints_px=joints[None],
                state=state[None],
                boxes_xyxy=own[None],
                joints3d_m=teacher.joints3d_m[None] if teacher else np.zeros((1, 21, 3)),
                joints3d_weight=0.5 * teacher.joints3d_weight[None] if teacher else no3d,
                depth_m=np.zeros(1),
                ignore_xyxy=_bystanders(boxes.get(record["id"], np.zeros((0, 4))), own),
                outside_weight=OUTSIDE_WEIGHT,
            )


def _picture(tars: dict[str, tarfile.TarFile], record: dict[str, Any], where: str) -> np.ndarray:
    """The picture of one record out of its tar.

    Raises:
        CannotOpenSource: the tar is missing or damaged, or the picture in it is.
    """
    shard, name = str(record.get("tar")), str(record.get("file_name"))
    tar = tars.get(shard)
    if tar is None:
        raise CannotOpenSource(f"{where}: there is no tar {shard!r} that can be read")
    try:
        member = tar.extractfile(name)
        data = None if member is None else member.read()
    except (KeyError, OSError, tarfile.TarError) as error:
        raise CannotOpenSource(f"{where}: {name} in {shard}: {error}") from error
    return decode_picture(data, f"{name} in {shard}")
