"""Weak 3D and face labels that a teacher network guessed on real pictures (data pack teacher3d)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnect.errors import BadInput
from xnect.skeleton import J2D, J3D, REFERENCE_CHAIN_M, SIDES2D, chain_m
from xnect.train.samples import read_arrays

MIN_AGREEMENT = 0.8
"""Share of the human-labelled joints that the teacher must have within 0.2 torso sizes."""

FACE_AGREEMENT = 0.5
"""The same, for the face alone: its readers also compare it with the labelled head."""

_FACE = {"nose": 0, "right_eye": 5, "left_eye": 2, "right_ear": 8, "left_ear": 7}
_SAME = {
    "right_shoulder": 12, "right_elbow": 14, "right_wrist": 16, "left_shoulder": 11,
    "left_elbow": 13, "left_wrist": 15, "right_hip": 24, "right_knee": 26, "right_ankle": 28,
    "left_hip": 23, "left_knee": 25, "left_ankle": 27, "right_foot": 32, "left_foot": 31,
}  # fmt: skip


_PEOPLE: dict[str, tuple[int, ...]] = {
    "agreement": (), "landmarks_px": (33, 2), "visibility": (33,), "world_m": (33, 3)
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What the teacher says of one labelled person."""

    face_px: np.ndarray  # (18, 2), filled at nose, eyes, ears
    face_seen: np.ndarray  # (18,) bool
    joints3d_m: np.ndarray  # (21, 3) camera axes, reference size
    joints3d_weight: np.ndarray  # (21,) 0..1


def joints21_from_blazepose(world_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(33, 3) BlazePose m -> (21, 3) m at reference size, (21,) weight; head_top is not known.

    Spine and neck are placed on the line from the hips to the shoulders as on our body.
    """
    joints, weight = np.zeros((21, 3)), np.zeros(21)
    for name, source in _SAME.items():
        joints[J3D[name]], weight[J3D[name]] = world_m[source], 1
    shoulders, hips = world_m[[11, 12]].mean(0), world_m[[23, 24]].mean(0)
    up = shoulders - hips
    joints[J3D["pelvis"]] = hips
    joints[J3D["spine"]] = hips + 0.80 * up
    joints[J3D["neck"]] = hips + 1.18 * up
    joints[J3D["head"]] = world_m[[7, 8]].mean(0)
    joints[J3D["left_hand"]] = world_m[[17, 19]].mean(0)
    joints[J3D["right_hand"]] = world_m[[18, 20]].mean(0)
    for name, value in (
        ("pelvis", 1), ("spine", 0.5), ("neck", 0.5), ("head", 0.5),
        ("left_hand", 0.5), ("right_hand", 0.5),
    ):  # fmt: skip
        weight[J3D[name]] = value
    size = chain_m(joints)
    return joints * (REFERENCE_CHAIN_M / max(float(size), 1e-3)), weight


def read_teacher(path: Path) -> dict[int, Teacher]:
    """Annotation id -> `Teacher`, for the people on whom it agrees with the human labels.

    Where it agrees less, only the face is given: every 3D weight is 0.  What is not finite is left
    out.

    Raises:
        BadInput: the file is missing or damaged; the field is named.
    """
    found: dict[int, Teacher] = {}
    data = _columns(path, "annotation_id", _PEOPLE)
    finite = np.all([np.isfinite(data[n].reshape(len(data[n]), -1)).all(1) for n in _PEOPLE], 0)
    for i in np.flatnonzero((data["agreement"] >= FACE_AGREEMENT) & finite):
        face, seen = np.zeros((18, 2)), np.zeros(18, bool)
        for name, source in _FACE.items():
            face[J2D[name]] = data["landmarks_px"][i, source]
            seen[J2D[name]] = data["visibility"][i, source] > 0.6
        joints, weight = joints21_from_blazepose(data["world_m"][i].astype(np.float64))
        visible = np.full(21, float(data["agreement"][i] >= MIN_AGREEMENT))
        for name, source in _SAME.items():
            visible[J3D[name]] *= data["visibility"][i, source] > 0.5
        found[int(data["annotation_id"][i])] = Teacher(face, seen, joints, weight * visible)
    return found


def read_limbs(path: Path) -> dict[int, np.ndarray]:
    """Annotation id -> (18, 2) px where the teacher saw shoulders to ankles; the rest is nan.

    Of everybody, also where it disagrees with the labels.

    Raises:
        BadInput: the file is missing or damaged; the field is named.
    """
    data = _columns(path, "annotation_id", {"landmarks_px": (33, 2)})
    limbs = np.full((len(data["annotation_id"]), 18, 2), np.nan)
    for name, source in _SAME.items():
        if name in J2D:
            limbs[:, J2D[name]] = data["landmarks_px"][:, source]
    return dict(zip(data["annotation_id"].tolist(), limbs, strict=True))


_TORSO = [SIDES2D[0], SIDES2D[3]]  # shoulders, hips

APART = 0.4
"""Torsos between a left joint and its right one from which on it can be told which is which."""

AT = 0.3
"""Torsos within which the teacher's joint is at a labelled one."""

PAIRS_AT_LEAST = 3
"""Of those that the teacher must see exchanged."""


def sides_exchanged(joints_px: np.ndarray, state: np.ndarray, limbs_px: np.ndarray) -> bool:
    """Whether the teacher sees all labelled pairs of joints with left and right exchanged.

    Where it finds the same places and only the names differ, one of both has taken the front of a
    person for the back; in LSP-Extended mostly the label.

    Args:
        joints_px: (18, 2) labels.
        state: (18,) as in `samples`.
        limbs_px: (18, 2) of `read_limbs`.
    """
    torsos = [
        np.linalg.norm(joints_px[a] - joints_px[b])
        for a, b in zip(*_TORSO, strict=True)
        if state[a] > 0 and state[b] > 0
    ]
    if not torsos:
        return False
    torso, exchanged = max(torsos), 0
    for sides in map(list, SIDES2D):
        pair = joints_px[sides]
        if min(state[sides]) <= 0:
            continue
        if np.linalg.norm(pair[0] - pair[1]) < APART * torso:
            continue
        seen = limbs_px[sides]
        if np.linalg.norm(seen - pair, axis=1).max() < AT * torso:
            return False
        exchanged += bool(np.linalg.norm(seen - pair[::-1], axis=1).max() < AT * torso)
    return exchanged >= PAIRS_AT_LEAST


def read_boxes(path: Path) -> dict[int, np.ndarray]:
    """Image id -> (M, 4) person boxes xyxy that a detector found, labelled people included.

    Raises:
        BadInput: the file is missing or damaged; the field is named.
    """
    data = _columns(path, "box_image_id", {"box_xyxy_score": (5,)})
    ids, boxes = data["box_image_id"], data["box_xyxy_score"]
    finite = np.isfinite(boxes).all(1)
    ids, boxes = ids[finite], boxes[finite]
    return {int(i): boxes[ids == i][:, :4].astype(np.float64) for i in np.unique(ids)}


def _columns(path: Path, ids: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The field `ids` of whole numbers, and the others with one row of numbers for each."""
    data = read_arrays(path, (ids, *shapes))
    if data[ids].ndim != 1 or data[ids].dtype.kind not in "iu":
        raise BadInput(f"{path}: {ids} must hold whole numbers, got {data[ids].dtype}")
    for name, shape in shapes.items():
        whole = (len(data[ids]), *shape)
        if data[name].shape != whole or data[name].dtype.kind not in "fiu":
            raise BadInput(
                f"{path}: {name} must hold {whole} numbers, as {ids} does; "
                f"got {data[name].shape} of {data[name].dtype}"
            )
    return data
