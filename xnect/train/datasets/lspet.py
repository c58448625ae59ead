"""Leeds Sports Pose Extended (Johnson & Everingham 2011) -> `Sample`.  Research lane only.

One labelled person per picture; bystanders are not labelled, so what lies outside the person's box
counts little as background and the boxes of a person detector not at all.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from xnect.skeleton import J2D, LSP14
from xnect.train.datasets.teacher import Teacher, read_boxes, read_teacher
from xnect.train.samples import SEEN, UNKNOWN, Sample

__all__ = ["lspet"]

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
    if teacher is not None:
        for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear"):
            if teacher.face_seen[J2D[name]]:
                joints[J2D[name]], state[J2D[name]] = teacher.face_px[J2D[name]], SEEN
    return joints, state


def _bystanders(boxes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Boxes (M, 4) other than the person's own (4,): intersection over union < 0.3."""
    if not len(boxes):
        return np.zeros((0, 4))
    low, high = np.maximum(boxes[:, :2], own[:2]), np.minimum(boxes[:, 2:], own[2:])
    inter = np.prod(np.maximum(high - low, 0), 1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1) + np.prod(own[2:] - own[:2]) - inter
    return boxes[inter / np.maximum(area, 1) < 0.3]


def lspet(root: Path, split: str = "train", teacher_file: Path | None = None) -> Iterator[Sample]:
    """Every picture of a split without those whose labels are suspect."""
    data = json.loads((root / f"{split}.json").read_text())
    records = {record["id"]: record for record in data["images"]}
    teachers = read_teacher(teacher_file) if teacher_file else {}
    boxes = read_boxes(teacher_file) if teacher_file else {}
    with ExitStack() as stack:
        tars = {
            path.name: stack.enter_context(tarfile.open(path))
            for path in sorted(root.glob(f"{split}-*.tar"))
        }
        for annotation in data["annotations"]:
            if annotation.get("suspect"):
                continue
            record = records[annotation["image_id"]]
            file = tars[record["tar"]].extractfile(record["file_name"])
            assert file is not None
            raw = np.frombuffer(io.BytesIO(file.read()).getbuffer(), np.uint8)
            bgr = cv2.imdecode(raw, cv2.IMREAD_COLOR)
            assert bgr is not None
            teacher = teachers.get(annotation["id"])
            keypoints = np.array(annotation["keypoints"], np.float64).reshape(14, 3)
            joints, state = _joints(keypoints, teacher)
            x, y, w, h = annotation["bbox"]
            own = np.array([x, y, x + w, y + h], np.float64)
            no3d = np.zeros((1, 21))
            yield Sample(
                image=bgr[..., ::-1],
                joints_px=joints[None],
                state=state[None],
                boxes_xyxy=own[None],
                joints3d_m=teacher.joints3d_m[None] if teacher else np.zeros((1, 21, 3)),
                joints3d_weight=0.5 * teacher.joints3d_weight[None] if teacher else no3d,
                depth_m=np.zeros(1),
                ignore_xyxy=_bystanders(boxes.get(record["id"], np.zeros((0, 4))), own),
                outside_weight=OUTSIDE_WEIGHT,
            )
