"""Renders of synthetic people, as `xnect.synth` writes them -> `Sample`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from xnect.errors import BadInput
from xnect.skeleton import J2D, J3D, JOINTS2D, JOINTS3D, REFERENCE_CHAIN_M, chain_m
from xnect.synth.evidence import FACING
from xnect.train.datasets.outside import outside
from xnect.train.samples import ABSENT, HIDDEN, SEEN, UNKNOWN, Sample, read_arrays

__all__ = ["joints18_from_raw", "joints21_from_raw", "renders", "without_lost"]

log = logging.getLogger(__name__)

_FIELDS = (
    "jpeg", "jpeg_len", "mask", "mask_len", "person_offset", "joints_px", "vis", "joints_cam_m"
)  # fmt: skip
_MIDDLE = ("pelvis", "spine", "neck", "head_top", "nose")
_FACE = ("left_eye", "right_eye", "left_ear", "right_ear")
_PARTS = (
    "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "heel", "big_toe", "small_toe"
)  # fmt: skip
RAW29 = (*_MIDDLE, *_FACE, *(f"{side}_{part}" for side in ("left", "right") for part in _PARTS))
_R = {name: i for i, name in enumerate(RAW29)}
_PARENT2D = (1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15)


def joints21_from_raw(raw_m: np.ndarray) -> np.ndarray:
    """(P, 29, 3) labels of the renderer -> (P, 21, 3) in the order of `JOINTS3D`, same unit."""
    out = np.zeros((len(raw_m), len(JOINTS3D), 3))
    for name, j in J3D.items():
        if name in _R and not name.endswith("hand"):
            out[:, j] = raw_m[:, _R[name]]
    out[:, J3D["pelvis"]] = raw_m[:, [_R["left_hip"], _R["right_hip"]]].mean(1)
    out[:, J3D["head"]] = raw_m[:, [_R["left_ear"], _R["right_ear"]]].mean(1)
    for side in ("left", "right"):
        wrist, hand = raw_m[:, _R[f"{side}_wrist"]], raw_m[:, _R[f"{side}_hand"]]
        out[:, J3D[f"{side}_hand"]] = wrist + 2.6 * (hand - wrist)  # the label is 3 cm away
        out[:, J3D[f"{side}_foot"]] = raw_m[:, _R[f"{side}_big_toe"]]
    return out


def faces_turned_away(raw_m: np.ndarray) -> np.ndarray:
    """(P, 29, 3) m in camera axes -> (P, 29) bool: nose, eyes, ears behind the person's own head.

    Nobody labels them on photographs (COCO: v = 0), so there they are absent.
    """
    away = np.zeros(raw_m.shape[:2], bool)
    nose, left, right = (raw_m[:, _R[n]] for n in ("nose", "left_ear", "right_ear"))
    head = (left + right) / 2
    to_camera, ahead, leftward = (_unit(v) for v in (-head, nose - head, left - right))
    ahead, leftward = (ahead * to_camera).sum(-1), (leftward * to_camera).sum(-1)
    for name, (front, side, least) in FACING.items():
        away[:, _R[name]] = front * ahead + side * leftward + least < 0
    return away


def _unit(vectors: np.ndarray) -> np.ndarray:
    out: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return out


def joints18_from_raw(pixels: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 29, 2) px with centres at +0.5, (P, 29) 2 / 1 / 0 -> (P, 18, 2) px, (P, 18) state.

    A hidden joint is located only when its parent is seen (XNect: "themselves visible or their
    kinematic parents visible"); else it is unknown.
    """
    index = [_R[n] if n != "neck" else 0 for n in JOINTS2D]
    joints, state = pixels[:, index] - 0.5, seen[:, index].astype(np.int8)
    shoulders = [_R["left_shoulder"], _R["right_shoulder"]]
    joints[:, J2D["neck"]] = pixels[:, shoulders].mean(1) - 0.5
    neck = np.maximum(seen[:, shoulders].max(1), seen[:, _R["neck"]])
    state[:, J2D["neck"]] = np.where(seen[:, shoulders].min(1) == 0, ABSENT, neck)
    return joints, without_lost(state)


def without_lost(state: np.ndarray) -> np.ndarray:
    """(P, 18) state in which hidden joints are unknown unless their parent is seen."""
    parents = np.array(_PARENT2D)
    lost = (state == HIDDEN) & (state[:, np.maximum(parents, 0)] != SEEN)
    lost[:, J2D["neck"]] = False
    return np.where(lost, UNKNOWN, state).astype(np.int8)


def renders(path: Path, *, min_visible: int = 3) -> Iterator[Sample]:
    """Every picture of one shard of the generator.

    People of whom fewer than `min_visible` joints are seen become ignore boxes.  Pictures that do
    not decode, or whose labels are not finite, are left out with a warning.

    Raises:
        BadInput: the shard is missing or damaged; the field is named.
    """
    data = read_arrays(path, _FIELDS)
    _check(data, path)
    jpeg = np.concatenate([[0], np.cumsum(data["jpeg_len"])])
    mask = np.concatenate([[0], np.cumsum(data["mask_len"])])
    for i in range(len(data["jpeg_len"])):
        bgr = _decoded(data["jpeg"][jpeg[i] : jpeg[i + 1]], cv2.IMREAD_COLOR)
        owner = _decoded(data["mask"][mask[i] : mask[i + 1]], cv2.IMREAD_UNCHANGED)
        if bgr is None or owner is None or owner.shape != bgr.shape[:2]:
            log.warning("left out picture %d of %s: it does not decode", i, path)
            continue
        rows = slice(data["person_offset"][i], data["person_offset"][i + 1])
        pixels, seen = data["joints_px"][rows].astype(np.float64), data["vis"][rows]
        raw_m = data["joints_cam_m"][rows].astype(np.float64)
        camera_m = joints21_from_raw(raw_m)
        if not (np.isfinite(pixels).all() and np.isfinite(camera_m).all()):
            log.warning("left out picture %d of %s: its labels are not finite", i, path)
            continue
        height, width = owner.shape
        away = outside(pixels - 0.5, (height, width)) & (seen > 0)
        if away.any():
            log.warning("picture %d of %s: %d joints outside are absent", i, path, away.sum())
        away |= faces_turned_away(raw_m)
        joints, state = joints18_from_raw(pixels, np.where(away, ABSENT, seen))
        low = np.maximum(pixels.min(1) - 8, 0)
        high = np.minimum(pixels.max(1) + 8, [width, height])
        boxes = np.concatenate([low, high], 1)
        good = (state == SEEN).sum(1) >= min_visible
        inside = (high > low).all(1)
        size = REFERENCE_CHAIN_M / np.maximum(chain_m(camera_m), 1e-3)
        yield Sample(
            image=bgr[..., ::-1],
            joints_px=joints[good],
            state=state[good],
            boxes_xyxy=boxes[good],
            joints3d_m=(camera_m * size[:, None, None])[good],
            joints3d_weight=np.ones((int(good.sum()), len(JOINTS3D))),
            depth_m=camera_m[good, J3D["pelvis"], 2],
            ignore_xyxy=boxes[~good & inside],
            outside_weight=1.0,
            owner=owner,
        )


def _check(data: dict[str, np.ndarray], path: Path) -> None:
    """Whether the fields of a shard fit each other.

    Raises:
        BadInput: one does not; it is named.
    """
    for name in ("jpeg_len", "mask_len", "person_offset"):
        values = data[name]
        if values.ndim != 1 or values.dtype.kind not in "iu" or (values < 0).any():
            raise BadInput(f"the shard {path} is damaged: {name} must hold counts")
    offsets = data["person_offset"].astype(np.int64)
    pictures, people = len(data["jpeg_len"]), len(data["joints_px"])
    shapes = {
        "jpeg": (int(data["jpeg_len"].sum()),),
        "mask": (int(data["mask_len"].sum()),),
        "mask_len": (pictures,),
        "person_offset": (pictures + 1,),
        "joints_px": (people, len(RAW29), 2),
        "vis": (people, len(RAW29)),
        "joints_cam_m": (people, len(RAW29), 3),
    }
    for name, shape in shapes.items():
        if data[name].shape != shape:
            raise BadInput(
                f"the shard {path} is damaged: {name} has the shape {data[name].shape}, "
                f"the other fields say {shape}; render it again"
            )
    if offsets[0] != 0 or offsets[-1] != people or (np.diff(offsets) < 0).any():
        raise BadInput(f"the shard {path} is damaged: person_offset must go from 0 to {people}")
    if not np.isin(data["vis"], (ABSENT, HIDDEN, SEEN)).all():
        raise BadInput(f"the shard {path} is damaged: vis must be 0, 1 or 2")


def _decoded(data: np.ndarray, flag: int) -> np.ndarray | None:
    """The picture of encoded bytes; None if there is none in them."""
    try:
        return cv2.imdecode(data, flag) if len(data) else None
    except cv2.error:
        return None
