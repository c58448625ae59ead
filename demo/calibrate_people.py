"""What the people of a recording say of the camera: rows for `calib.feet` and `calib.walking`."""

from __future__ import annotations

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.feet import Feet
from xnect.calib.walking import Walkers
from xnect.recording import Recording
from xnect.skeleton import BODY, J2D, J3D, REFERENCE_STATURE_M

NECK, ANKLE = 0.795, 0.05
"""Heights of the middle of the shoulders, and of the middle of the ankles of a walker, over
stature."""

BENT = np.cos(np.deg2rad(20))
"""Trunk against legs, and the straighter knee: more bent people are not upright."""

CUT_PX = 3
"""An ankle this near to the border of the picture may be cut off."""


def feet_of(recording: Recording, camera: Camera, *, scale: float = 1.0) -> Feet:
    """Feet of everybody whose ankles are seen, as this camera sees them, all distances scaled.

    A recording made with another focal length has wrong distances: every joint is moved along its
    ray, by the ratio of the focal lengths; the vertical ones, as people stand.
    """
    rows = _ankles_seen(recording)
    joints_m = scale * _seen_by(camera, recording, rows)
    pairs = [[J3D[f"{side}_{part}"] for side in ("left", "right")] for part in ("ankle", "foot")]
    return Feet(
        recording.time_s[recording.person_frame[rows]], recording.track_id[rows],
        joints_m[:, pairs[0]], joints_m[:, pairs[1]],
        joints_m[:, J3D["neck"]],
    )  # fmt: skip


def walkers_of(recording: Recording) -> Walkers:
    """Necks and ankles of everybody who stands or walks upright, px of the first picture's size."""
    rows = _ankles_seen(recording)
    rows = rows[recording.joints2d_score[rows, J2D["neck"]] > 0]
    rows = rows[_upright(recording.joints3d_m[rows].astype(float))]
    hw = recording.image_hw[recording.person_frame[rows]]
    scale = (recording.image_hw[0] / hw)[:, None, ::-1]
    points = (recording.joints2d_px[rows] + 0.5) * scale - 0.5
    ankles = points[:, [J2D["left_ankle"], J2D["right_ankle"]]].mean(1)
    return Walkers(
        recording.time_s[recording.person_frame[rows]], recording.track_id[rows],
        points[:, J2D["neck"]], ankles, NECK, ANKLE,
    )  # fmt: skip


def stature_of(recording: Recording) -> float:
    """The stature that the recording's people were given, in the median; metres."""
    total = recording.bone_lengths_m.sum(1)
    total = total[total > 0]
    if not len(total):
        return REFERENCE_STATURE_M
    return REFERENCE_STATURE_M * float(np.median(total)) / float(BODY.lengths_m.sum())


def _ankles_seen(recording: Recording) -> np.ndarray:
    """(R,) rows in which both ankles are seen, inside the picture."""
    ankles = [J2D["left_ankle"], J2D["right_ankle"]]
    points = recording.joints2d_px[:, ankles]
    height, width = recording.image_hw[recording.person_frame].T
    inside = (points[..., 1] < height[:, None] - CUT_PX).all(1)
    inside &= ((points[..., 0] > CUT_PX) & (points[..., 0] < width[:, None] - CUT_PX)).all(1)
    seen = (recording.joints2d_score[:, ankles] > 0).all(1) & np.isfinite(points).all((1, 2))
    return np.flatnonzero(seen & inside)


def _seen_by(camera: Camera, recording: Recording, rows: np.ndarray) -> np.ndarray:
    """(R, 21, 3) joints in the axes of the camera, which need not be the one they came from."""
    joints_m = recording.joints3d_m[rows].astype(float)
    number = recording.camera_number[recording.person_frame[rows]]
    for i, old in enumerate(recording.cameras):
        these = number == i
        new = camera.resized(old.height_px, old.width_px)  # pictures may change their size
        if not these.any() or _lens(old) == _lens(new):
            continue
        there = joints_m[these]
        depth = np.maximum(there[..., 2:], 1e-3) * (new.fy_px / old.fy_px)
        rays = new.rays(old.project(there))
        joints_m[these] = np.concatenate([rays * depth, depth], -1)
    return joints_m


def _lens(camera: Camera) -> tuple[float, ...]:
    """All that says where a ray is seen."""
    return (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, *camera.dist)


def _upright(joints_m: np.ndarray) -> np.ndarray:
    """(N, 21, 3) -> (N,) bool: trunk over straight legs; the swinging leg may be bent."""

    def at(*names: str) -> np.ndarray:
        found: np.ndarray = joints_m[:, [J3D[name] for name in names]].mean(1)
        return found

    hips, ankles = at("left_hip", "right_hip"), at("left_ankle", "right_ankle")
    straight = _cosine(at("neck") - hips, hips - ankles) > BENT
    knee = np.maximum(
        *(
            _cosine(at(f"{s}_hip") - at(f"{s}_knee"), at(f"{s}_knee") - at(f"{s}_ankle"))
            for s in ("left", "right")
        )
    )
    return straight & (knee > BENT)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3), (N, 3) -> (N,)."""
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: np.ndarray = (a * b).sum(1) / np.maximum(length, 1e-9)
    return cosine
