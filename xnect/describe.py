"""What the JSON beside a recording says: units, axes, skeleton, cameras, counts, tracks.

It is for people and for programs that have no xnect; `load_recording` reads the same text out of
the `.npz`, so the JSON may be lost or edited.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from xnect.angles import ANGLES, EULER_ORDER
from xnect.evidence import body_size
from xnect.skeleton import JOINTS2D, REFERENCE_STATURE_M

if TYPE_CHECKING:
    from xnect.recording import Recording

FORMAT = "xnect recording"
FORMAT_VERSION = 1

WORLD_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
"""The Y-up world of exported motion: the camera at its origin, looking along -z."""

ARRAYS: dict[str, tuple[str, str, str]] = {
    "frame_index": ("F", "1", "number of the picture in its source"),
    "time_s": ("F", "s", "time of capture or presentation"),
    "image_hw": ("F 2", "px", "height and width of the picture"),
    "camera_number": ("F", "1", "position in the list `cameras`"),
    "timings_ms": ("F S", "ms", "time spent in each of `stages`; nan where a stage did not run"),
    "person_frame": ("N", "1", "position of the row's frame in the arrays of length F"),
    "track_id": ("N", "1", "who; stable over time; 0 in single pictures"),
    "score": ("N", "0..1", "certainty of the person"),
    "joints2d_px": ("N 18 2", "px", "x and y; pixel (0, 0) is the centre of the top-left pixel"),
    "joints2d_score": ("N 18", "0..1", "0 = absent"),
    "joints3d_m": ("N 21 3", "m", "joints in camera axes"),
    "joints3d_score": ("N 21", "0..1", "certainty of each joint"),
    "rotations_quat_wxyz": (
        "N 21 4",
        "1",
        "unit quaternion w x y z of each joint's axes against its parent's, both as in the rest "
        "pose; the root's is camera from rest",
    ),
    "root_m": ("N 3", "m", "pelvis in camera axes"),
    "bone_lengths_m": ("N 21", "m", "length from the parent to each joint; 0 for the root"),
    "filled": ("N", "bool", "the person was not seen in this frame and was put in afterwards"),
    "stature_sd_m": (
        "N",
        "m",
        "standard deviation of the stature that the bones have, as it was known in that frame; "
        "distances are as unsure in proportion, beside what the intrinsics add; nan: not known",
    ),
}
"""Each array: its sizes (F frames, N rows of people, S stages), unit and meaning."""


def describe(recording: Recording, data_name: str) -> dict[str, Any]:
    """A description that is strict JSON: no nan, no infinity."""
    rig = recording.skeleton
    cameras = [asdict(camera) for camera in recording.cameras]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": {
            "xnect": recording.version,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "data": data_name,
        "source": recording.source,
        "notes": list(recording.notes),
        "counts": {
            "frames": len(recording.time_s),
            "person_rows": len(recording.track_id),
            "tracks": len(recording.track_ids),
        },
        "frame_rate": _frame_rate(recording),
        "units": {"length": "m", "image": "px", "time": "s", "timings": "ms", "scores": "0..1"},
        "axes": {
            "camera": "x right, y down, z forward into the picture; origin at the camera's centre",
            "image": "x right, y down; pixel (0, 0) is the centre of the top-left pixel",
            "world": "of exported motion (BVH): x right, y up, z backward, towards the camera; "
            "origin at the camera's centre",
            "world_from_camera": WORLD_FROM_CAMERA.tolist(),
            "rest": "T-pose: x to the person's left, y up, z to the front; origin at the pelvis",
            "left": "left_ is the person's own left",
        },
        "skeleton": {
            "joints2d_names": list(JOINTS2D),
            "joints3d_names": list(rig.names),
            "parents": list(rig.parents),
            "rest_offsets_m": rig.offsets_m.tolist(),
            "rest_stature_m": REFERENCE_STATURE_M,
            "joints_from_rotations": "R(root) = rotation(root), p(root) = root_m; "
            "R(j) = R(parent) rotation(j), p(j) = p(parent) + R(parent) d(j) bone_lengths_m(j), "
            "d(j) = rest_offsets_m(j) / its length",
        },
        "joint_angles": {
            "array": "joint_angles_deg",
            "sizes": f"N {len(ANGLES)}",
            "unit": "deg",
            "definition": "International Society of Biomechanics, Wu et al. 2002 and 2005; zero is "
            "standing with hanging arms; columns in this order",
            "names": dict(ANGLES),
        },
        "euler_angles": {
            "array": "euler_deg",
            "sizes": "N 21 3",
            "unit": "deg",
            "order": EULER_ORDER,
            "definition": "of each of joints3d_names against its parent, the root against the "
            "camera, in the rest pose's axes: R = Rx(a) Rz(b) Ry(c), the array holds a, b, c; b is "
            "-90..90, and c is 0 where b is +-90, as at the shoulders of hanging arms: there a and "
            "c jump, use rotations_quat_wxyz or joint_angles_deg",
        },
        "camera": cameras[0] if cameras else None,
        "cameras": cameras,
        "image_hw": recording.image_hw[0].tolist() if len(recording.image_hw) else None,
        "stages": list(recording.stages),
        "timings_ms": _timings(recording),
        "tracks": [_track(recording, track_id) for track_id in recording.track_ids],
        "arrays": {
            name: {"sizes": sizes, "unit": unit, "meaning": meaning}
            for name, (sizes, unit, meaning) in ARRAYS.items()
        },
    }


def _frame_rate(recording: Recording) -> dict[str, float | None]:
    """Nominal and measured frame rate, and the span of the times."""
    times = recording.time_s
    if not len(times):
        return {
            "nominal_fps": recording.fps, "mean_fps": None, "first_time_s": None,
            "last_time_s": None,
        }  # fmt: skip
    span_s = float(times[-1] - times[0])
    return {
        "nominal_fps": recording.fps,
        "mean_fps": (len(times) - 1) / span_s if span_s > 0 else None,
        "first_time_s": float(times[0]),
        "last_time_s": float(times[-1]),
    }


def _timings(recording: Recording) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of each stage over the frames in which it ran."""
    summary = {}
    for stage, ms in zip(recording.stages, recording.timings_ms.T, strict=True):
        ran = ms[np.isfinite(ms)]
        if len(ran):
            summary[stage] = {
                "median": float(np.median(ran)),
                "p95": float(np.percentile(ran, 95)),
            }
    return summary


def _track(recording: Recording, track_id: int) -> dict[str, Any]:
    """Where in the take one person is; a BVH of the person starts at `first_time_s`."""
    rows = recording.track_id == track_id
    frames = np.unique(recording.person_frame[rows])
    sd_m = float(recording.stature_sd_m[rows][-1])
    size = float(body_size(recording.bone_lengths_m[rows][-1].astype(np.float64)))
    first, last = int(frames[0]), int(frames[-1])
    return {
        "track_id": track_id,
        "first_frame": first,
        "last_frame": last,
        "first_time_s": float(recording.time_s[first]),
        "last_time_s": float(recording.time_s[last]),
        "frames": len(frames),
        "frames_missed": last - first + 1 - len(frames),
        "stature_m": round(size * REFERENCE_STATURE_M, 4) if np.isfinite(size) else None,
        "stature_sd_m": round(sd_m, 4) if np.isfinite(sd_m) else None,
    }
