"""Joint labels: 29 raw points that move with the rig, and the 18 and 21 joints made of them.

The 18 and 21 joints are fixed linear combinations of the raw points, so they hold in 3D, for any
pose and any body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.skeleton import JOINTS2D, JOINTS3D, ROOT
from xnect.synth.camera import View

RAW: tuple[str, ...] = (
    "pelvis", "spine", "neck", "head_top", "nose",
    "left_eye", "right_eye", "left_ear", "right_ear",
    *(f"{side}_{part}" for side in ("left", "right") for part in (
        "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle",
        "heel", "big_toe", "small_toe")),
)  # fmt: skip
R = {name: i for i, name in enumerate(RAW)}

HAND_REACH = 2.6
"""The rig's hand bone ends 3 cm from the wrist; the joint is the middle of the hand."""

SEEN, HIDDEN, OUTSIDE = 2, 1, 0
NOTHING, SELF, PERSON, THING = 0, 1, 2, 3
"""What hides a joint (`Labels.hidden_by`): its own body or clothes, another person, an object."""

_DEEP = [R[n] for n in ("pelvis", "spine", "neck", "left_hip", "right_hip")]
_FACE, _EARS = [R[n] for n in ("nose", "left_eye", "right_eye")], [R["left_ear"], R["right_ear"]]


def _weights(names: tuple[str, ...], special: dict[str, dict[str, float]]) -> np.ndarray:
    """(len(names), 29) so that `weights @ raw` are the named joints."""
    out = np.zeros((len(names), len(RAW)))
    for row, name in zip(out, names, strict=True):
        for raw, weight in special.get(name, {name: 1.0}).items():
            row[R[raw]] = weight
    return out


JOINTS2D_FROM_RAW = _weights(JOINTS2D, {"neck": {"left_shoulder": 0.5, "right_shoulder": 0.5}})
JOINTS3D_FROM_RAW = _weights(
    JOINTS3D,
    {
        "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
        "head": {"left_ear": 0.5, "right_ear": 0.5},
        **{f"{s}_foot": {f"{s}_big_toe": 1.0} for s in ("left", "right")},
        **{
            f"{s}_hand": {f"{s}_wrist": 1 - HAND_REACH, f"{s}_hand": HAND_REACH}
            for s in ("left", "right")
        },
    },
)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Where everybody is in one picture; camera axes, pixel (0, 0) is a centre."""

    raw_m: np.ndarray  # (P, 29, 3)
    raw_px: np.ndarray  # (P, 29, 2)
    raw_visibility: np.ndarray  # (P, 29) uint8: 2 seen, 1 hidden, 0 outside the picture
    joints3d_m: np.ndarray  # (P, 21, 3)
    joints2d_px: np.ndarray  # (P, 18, 2)
    visibility: np.ndarray  # (P, 18) uint8 as above
    hidden_by: np.ndarray  # (P, 18) uint8: `SELF`, `PERSON`, `THING`; `NOTHING` where not hidden

    @property
    def depth_order(self) -> np.ndarray:
        """(P,) rank of each person by the depth of the pelvis, 0 = nearest to the camera.

        Who is behind the camera comes last.
        """
        depth_m = self.joints3d_m[:, ROOT, 2]
        depth_m = np.where(depth_m > 0, depth_m, np.inf)
        return np.argsort(np.argsort(depth_m, kind="stable"), kind="stable")


def label(world_m: np.ndarray, view: View, *, owner: np.ndarray, distance_m: np.ndarray) -> Labels:
    """Labels of raw points (P, 29, 3) in the world, given what the picture shows.

    Args:
        world_m: Raw points, people in the order of the picture.
        view: The camera.
        owner: (H, W) uint8, people are 1, 2, ...
        distance_m: (H, W) along the ray.
    """
    raw = view.to_camera(world_m)
    raw_px = view.camera.project(raw)
    joints3d, joints2d = JOINTS3D_FROM_RAW @ raw, JOINTS2D_FROM_RAW @ raw
    joints2d_px = view.camera.project(joints2d)
    raw_visibility = visibility(raw, raw_px, owner=owner, distance_m=distance_m)
    state = visibility_of_joints2d(raw_visibility)
    hidden_by = np.where(state == HIDDEN, cover(joints2d_px, owner=owner), NOTHING)
    return Labels(
        raw, raw_px, raw_visibility, joints3d, joints2d_px, state, hidden_by.astype(np.uint8)
    )


def cover(joints_px: np.ndarray, *, owner: np.ndarray) -> np.ndarray:
    """(P, J, 2) pixels -> (P, J) uint8: who fills most of the 3 x 3 pixels around each joint.

    The background counts as the own body: it is never in front of a joint.  `owner` is the person
    map, in which numbers above the people are objects.
    """
    people, height, width = len(joints_px), *owner.shape
    own = np.arange(1, people + 1)[:, None]
    column, row = (np.rint(np.clip(joints_px[..., k], -9, 1e6)).astype(int) for k in (0, 1))
    votes = np.zeros((4, *joints_px.shape[:-1]), int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            there = owner[np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)]
            other = (there > 0) & (there != own)
            votes[PERSON] += other & (there <= people)
            votes[THING] += other & (there > people)
    votes[SELF] = 9 - votes[PERSON] - votes[THING]
    return votes.argmax(0).astype(np.uint8)


def visibility(
    raw_m: np.ndarray, raw_px: np.ndarray, *, owner: np.ndarray, distance_m: np.ndarray
) -> np.ndarray:
    """(P, 29) uint8: 2 where the person's own surface is near the joint in a 3 x 3 window.

    Deep joints lie farther behind the surface; "near" is 16 cm, or 22 cm for them.  Nose, eyes and
    ears lie on it, and a head is 15 to 20 cm deep: 5 cm, and 8 cm for ears below hair.
    """
    height, width = owner.shape
    people = np.arange(1, len(raw_m) + 1)[:, None]
    depth_m = np.linalg.norm(raw_m, axis=-1)
    tolerance_m = np.full(raw_m.shape[1], 0.16)
    tolerance_m[_DEEP] = 0.22
    tolerance_m[_FACE], tolerance_m[_EARS] = 0.05, 0.08
    column, row = (np.rint(np.clip(raw_px[..., k], -9, 1e6)).astype(int) for k in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (raw_m[..., 2] > 0.1)
    seen = np.zeros(inside.shape, bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            y, x = np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)
            seen |= (owner[y, x] == people) & (distance_m[y, x] > depth_m - tolerance_m)
    return np.where(inside, np.where(seen, SEEN, HIDDEN), OUTSIDE).astype(np.uint8)


def visibility_of_joints2d(raw: np.ndarray) -> np.ndarray:
    """(P, 29) -> (P, 18); the neck is seen when it or a shoulder is, inside when both are."""
    out = raw[:, [R[name] for name in JOINTS2D]]
    shoulders = raw[:, [R["left_shoulder"], R["right_shoulder"]]]
    neck = np.maximum(shoulders.max(1), raw[:, R["neck"]])
    out[:, JOINTS2D.index("neck")] = np.where(shoulders.min(1) == OUTSIDE, OUTSIDE, neck)
    return out
