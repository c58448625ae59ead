"""People known by 21 joints in camera space, as sets with motion capture have them -> `Sample`.

MuCo-3DHP, MPI-INF-3DHP and Human3.6M differ in their files only: what a pose says of a picture is
written here once.
"""

from __future__ import annotations

import numpy as np

from xnect.skeleton import J2D, J3D, JOINTS2D, JOINTS3D, REFERENCE_CHAIN_M, ROOT, chain_m
from xnect.train.datasets.renders import without_lost
from xnect.train.samples import ABSENT, HIDDEN, SEEN, UNKNOWN, Sample

MIN_SEEN = 3
"""People of whom fewer 2D joints are seen define no targets; they are masked."""

BOX_MARGIN = 0.06
"""Of the longer side of the joints' extent: flesh reaches beyond the joints."""

_SHARED = tuple(name for name in JOINTS2D if name in J3D and name != "neck")
_SHOULDERS = [J3D["left_shoulder"], J3D["right_shoulder"]]


def joints18_from_posed(
    joints_px: np.ndarray, visible: np.ndarray, image_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 21, 2) px, (P, 21) bool -> (P, 18, 2) px, (P, 18) state.

    The neck is between the shoulders, as in COCO.  These sets do not have the face: its joints are
    unknown.  What lies outside the picture is absent; what is not finite is unknown; a hidden joint
    whose parent is not seen is unknown.
    """
    joints = np.zeros((len(joints_px), len(JOINTS2D), 2))
    state = np.full(joints.shape[:2], UNKNOWN, np.int8)
    seen = np.where(visible, SEEN, HIDDEN)
    for name in _SHARED:
        joints[:, J2D[name]] = joints_px[:, J3D[name]]
        state[:, J2D[name]] = seen[:, J3D[name]]
    joints[:, J2D["neck"]] = joints_px[:, _SHOULDERS].mean(1)
    state[:, J2D["neck"]] = seen[:, _SHOULDERS].max(1)
    finite = np.asarray(np.isfinite(joints).all(-1))
    joints = np.where(finite[..., None], joints, 0.0)
    state[~finite] = UNKNOWN
    height, width = image_hw
    inside = ((joints > -0.5) & (joints < (width - 0.5, height - 0.5))).all(-1)
    state[~inside & (state != UNKNOWN)] = ABSENT
    return joints, without_lost(state)


def box_of(joints_px: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """(P, 21, 2) px -> (P, 4) xyxy round the finite joints, cut by the picture; empty if none."""
    finite = np.isfinite(joints_px).all(-1, keepdims=True)
    low = np.where(finite, joints_px, np.inf).min(1)
    high = np.where(finite, joints_px, -np.inf).max(1)
    some = finite.any((1, 2))
    low[~some], high[~some] = 0, 0
    margin = BOX_MARGIN * (high - low).max(1, keepdims=True)
    height, width = image_hw
    limit = np.array([width, height]) - 0.5
    corners = np.clip([low - margin, high + margin], -0.5, limit)
    return np.concatenate([corners[0], corners[1]], 1)


def posed_sample(
    image: np.ndarray,
    joints_px: np.ndarray,
    joints_mm: np.ndarray,
    *,
    visible: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    outside_weight: float = 1.0,
) -> Sample:
    """One picture with its people.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints_px: (P, 21, 2) in the order of `JOINTS3D`; nan where there is no label.
        joints_mm: (P, 21, 3) camera axes; nan where there is no label.
        visible: (P, 21) bool; None takes every joint as seen, for the sets that do not say.
        weight: (P, 21) or (21,) trust in each 3D joint, 0..1; None trusts all.
        outside_weight: how sure it is that there is nobody else.

    People with too few joints in the picture become ignore boxes; people who are altogether
    outside it are left out.
    """
    hw = image.shape[:2]
    count = len(joints_px)
    visible = np.ones((count, len(JOINTS3D)), bool) if visible is None else visible
    trust = np.ones(len(JOINTS3D)) if weight is None else weight
    trust = np.broadcast_to(trust, (count, len(JOINTS3D)))
    joints, state = joints18_from_posed(joints_px, visible, hw)
    known = np.isfinite(joints_mm).all(-1)
    pose_m = np.where(known[..., None], joints_mm, 0.0) / 1000
    chain = chain_m(np.where(known[..., None], joints_mm, np.nan)) / 1000
    measured = np.isfinite(chain) & (chain > 0.2)  # without it there is no reference size
    size = REFERENCE_CHAIN_M / np.where(measured, chain, 1.0)
    boxes = box_of(joints_px, hw)
    good = ((state == SEEN) | (state == HIDDEN)).sum(1) >= MIN_SEEN
    inside = (boxes[:, 2:] > boxes[:, :2] + 1).all(1)
    return Sample(
        image=image,
        joints_px=joints[good],
        state=state[good],
        boxes_xyxy=boxes[good],
        joints3d_m=(pose_m * size[:, None, None])[good],
        joints3d_weight=(trust * known * measured[:, None])[good],
        depth_m=np.where(known[:, ROOT], pose_m[:, ROOT, 2], np.inf)[good],
        ignore_xyxy=boxes[~good & inside],
        outside_weight=outside_weight,
    )
