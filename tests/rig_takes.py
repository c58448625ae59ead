"""Takes of the rig itself for tests: motion that you name, bones and limits that hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xnect.calib.camera import Camera
from xnect.describe import ARRAYS
from xnect.kinematics import Pose, forward, offsets_m, with_hinges
from xnect.recording import PERSON_ROW, Recording
from xnect.rig import JOINTS, RIG
from xnect.rotations import matrix_from_rotvec, quat_from_matrix
from xnect.skeleton import BODY, ROOT

CAMERA = Camera(700.0, 700.0, 319.5, 239.5, 640, 480)
UPRIGHT = np.diag([1.0, -1.0, -1.0])


def swinging(time_s, *, rad=0.5, hz=0.7, seed=0):
    """(F,) s -> Pose of somebody who swings all limbs within the limits and walks along."""
    rng = np.random.default_rng(seed)
    time_s = np.asarray(time_s, float)
    wave = np.sin(2 * np.pi * hz * time_s[:, None, None] + rng.uniform(0, 6, (len(RIG.balls), 3)))
    local = np.tile(np.eye(3), (len(time_s), JOINTS, 1, 1))
    local[:, RIG.balls] = matrix_from_rotvec(rad * wave * rng.uniform(0.3, 1, (len(RIG.balls), 3)))
    heading = np.zeros((len(time_s), 3))
    heading[:, 1] = 0.4 * np.sin(2 * np.pi * 0.3 * time_s)
    local[:, ROOT] = UPRIGHT @ matrix_from_rotvec(heading)
    root = np.array([-0.5, 0.1, 4.0]) + time_s[:, None] * (0.3, 0.0, 0.1)
    bent = 0.5 + 0.4 * np.sin(2 * np.pi * hz * time_s[:, None] + np.arange(6))
    bent[:, [2, 5]] -= 0.5  # ankles
    return with_hinges(Pose(root, local), bent)


def table(pose, *, track_id=1, lengths_m=BODY.lengths_m, camera=CAMERA):
    """(F,) PERSON_ROW of a person seen in every frame."""
    rows = np.zeros(len(pose.root_m), PERSON_ROW)
    lengths = np.broadcast_to(lengths_m, (len(rows), JOINTS))
    points = forward(pose, offsets_m(lengths)).points_m
    rows["track_id"], rows["score"] = track_id, 0.8
    rows["joints2d_px"], rows["joints2d_score"] = camera.project(points[:, RIG.seen]), 0.9
    rows["joints3d_m"], rows["joints3d_score"] = points[:, :JOINTS], 0.7
    rows["rotations_quat_wxyz"] = quat_from_matrix(pose.local)
    rows["root_m"], rows["bone_lengths_m"] = pose.root_m, lengths
    return rows


def recording(time_s, people, *, camera=CAMERA):
    """A recording of `people`, pairs of frames and PERSON_ROW."""
    time_s = np.asarray(time_s, float)
    frames = np.concatenate([np.zeros(0, int), *(f for f, _ in people)])
    rows = np.concatenate([np.zeros(0, PERSON_ROW), *(t for _, t in people)])
    order = np.lexsort((rows["track_id"], frames))
    count = len(time_s)
    arrays = {
        "frame_index": np.arange(count), "time_s": time_s,
        "image_hw": np.tile([480, 640], (count, 1)), "camera_number": np.zeros(count, int),
        "timings_ms": np.zeros((count, 0)), "person_frame": frames[order],
    } | {name: np.ascontiguousarray(rows[name][order]) for name in PERSON_ROW.names}  # fmt: skip
    assert arrays.keys() == ARRAYS.keys()
    return Recording(**arrays, stages=(), cameras=(camera,), fps=30.0, source="test", notes=(),
                     skeleton=BODY, version="0")  # fmt: skip


def without(take, rows):
    """The recording less some rows."""
    keep = np.ones(len(take.track_id), bool)
    keep[rows] = False
    names = ("person_frame", *PERSON_ROW.names)
    return replace(take, **{name: getattr(take, name)[keep] for name in names})


def changed(take, **columns):
    """The recording with other columns, copied."""
    return replace(take, **{name: np.array(value) for name, value in columns.items()})


def bones_m(joints_m):
    """(..., 21, 3) -> (..., 20)."""
    at = [j for j in range(JOINTS) if BODY.parents[j] >= 0]
    return np.linalg.norm(joints_m[..., at, :] - joints_m[..., [BODY.parents[j] for j in at], :],
                          axis=-1)  # fmt: skip
