"""COCO keypoints (Lin et al. 2014) -> `Sample`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.errors import CannotOpenSource
from xnect.skeleton import FROM_COCO17
from xnect.train.samples import ABSENT, HIDDEN, SEEN, Sample

__all__ = ["coco", "joints18_from_coco17"]

MIN_JOINTS = 5
"""People with fewer labelled joints define no targets; they are masked (spec 5.3)."""


def joints18_from_coco17(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 17, 3) COCO x, y, v -> (P, 18, 2) px, (P, 18) state; the neck is between the shoulders.

    COCO gives pixel (0, 0)'s corner the coordinate 0; ours is the centre, hence the half pixel.
    """
    source = np.array(FROM_COCO17)
    joints = keypoints[:, np.maximum(source, 0)].astype(np.float64)
    shoulders = keypoints[:, [5, 6]].astype(np.float64)
    joints[:, 1, :2] = shoulders[..., :2].mean(1)
    joints[:, 1, 2] = shoulders[..., 2].min(1)
    state = np.select([joints[..., 2] == 2, joints[..., 2] == 1], [SEEN, HIDDEN], ABSENT)
    return joints[..., :2] - 0.5, state.astype(np.int8)


def _xyxy(box_xywh: list[float]) -> list[float]:
    x, y, w, h = box_xywh
    return [x, y, x + w, y + h]


def _sample(image: np.ndarray, people: list[dict[str, Any]], all_listed: bool) -> Sample:
    used = [p for p in people if p.get("num_keypoints", 0) >= MIN_JOINTS and not p["iscrowd"]]
    rest = [p for p in people if not any(p is u for u in used)]
    keypoints = np.array([p["keypoints"] for p in used], np.float64).reshape(-1, 17, 3)
    joints, state = joints18_from_coco17(keypoints)
    n = len(used)
    return Sample(
        image=image,
        joints_px=joints,
        state=state,
        boxes_xyxy=np.array([_xyxy(p["bbox"]) for p in used], np.float64).reshape(-1, 4),
        joints3d_m=np.zeros((n, 21, 3)),
        joints3d_weight=np.zeros((n, 21)),
        depth_m=-np.array([p["bbox"][3] for p in used], np.float64),
        ignore_xyxy=np.array([_xyxy(p["bbox"]) for p in rest], np.float64).reshape(-1, 4),
        outside_weight=1.0 if all_listed else 0.3,
    )


def coco(annotations: Path, images: Path) -> Iterator[Sample]:
    """Every picture of a COCO keypoints file; people without enough joints become ignore boxes.

    Raises `CannotOpenSource` for a picture that does not decode.
    """
    data = json.loads(annotations.read_text())
    people: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in data["annotations"]:
        people[annotation["image_id"]].append(annotation)
    for record in data["images"]:
        file = images / record["file_name"]
        bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if bgr is None:
            raise CannotOpenSource(f"cannot decode {file}; expected a JPEG, PNG or WebP picture")
        yield _sample(bgr[..., ::-1], people[record["id"]], record.get("all_persons_listed", True))
