"""Takes made up for tests: people who turn, walk and swing their limbs smoothly."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from xnect.calib.camera import Camera
from xnect.skeleton import BODY
from xnect.types import Person, Result

CAMERA = Camera(700.0, 705.5, 319.5, 239.5, 640, 480, (0.1, -0.02, 0.001, 0.0), calibrated=True)


def forward_kinematics(quats_wxyz, root_m, lengths_m):
    """(21, 4), (3,), (21,) -> (21, 3), joint by joint, as the JSON of a recording says."""
    rotation, place = {}, {}
    for j in BODY.order:
        local = Rotation.from_quat(quats_wxyz[j][[1, 2, 3, 0]])
        parent = BODY.parents[j]
        if parent < 0:
            rotation[j], place[j] = local, np.asarray(root_m, float)
            continue
        rotation[j] = rotation[parent] * local
        direction = BODY.offsets_m[j] / np.linalg.norm(BODY.offsets_m[j])
        place[j] = place[parent] + rotation[parent].apply(direction * lengths_m[j])
    return np.stack([place[j] for j in range(len(BODY.names))])


def person(time_s, track_id, *, swing_rad=0.6, size=1.0, dtype=np.float32):
    """A person at one moment; the motion depends on `track_id` alone."""
    rng = np.random.default_rng(track_id)
    axes, phase, rate_hz = (
        rng.normal(size=(21, 3)),
        rng.uniform(0, 6, 21),
        rng.uniform(0.2, 0.9, 21),
    )
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angle = swing_rad * np.sin(2 * np.pi * rate_hz * time_s + phase)
    local = Rotation.from_rotvec(axes * angle[:, None])
    facing = Rotation.from_euler("y", track_id + 1.5 * time_s)  # turns round several times
    upright = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    quats_wxyz = local.as_quat()[:, [3, 0, 1, 2]]
    root = (upright * facing * local[BODY.root]).as_quat()[[3, 0, 1, 2]]
    quats_wxyz[BODY.root] = root
    quats_wxyz *= rng.choice([-1, 1], (21, 1))  # the sign of a quaternion means nothing
    root_m = np.array([track_id - 2 + 0.3 * time_s, 0.1 * np.sin(3 * time_s), 4 + 0.2 * time_s])
    lengths_m = size * BODY.lengths_m * rng.uniform(0.9, 1.1, 21)
    joints_m = forward_kinematics(quats_wxyz, root_m, lengths_m)
    joints_px = np.concatenate([joints_m[:18, :2] / joints_m[:18, 2:] * 700 + (319.5, 239.5)])
    return Person(
        joints_px.astype(dtype), rng.uniform(0, 1, 18).astype(dtype), joints_m.astype(dtype),
        rng.uniform(0, 1, 21).astype(dtype), track_id, 0.75, quats_wxyz.astype(dtype),
        root_m.astype(dtype), lengths_m.astype(dtype),
    )  # fmt: skip


def take(times_s, present, *, camera=CAMERA, **kind):
    """Results at `times_s`; `present` are {track_id: positions of the frames with that person}."""
    return [
        Result(
            100 + i,
            float(time_s),
            (camera.height_px, camera.width_px),
            camera,
            tuple(person(time_s, t, **kind) for t, frames in present.items() if i in frames),
            {"network": 20.0 + i, "fit": 1.5} | ({"warm_up": 300.0} if i == 0 else {}),
        )
        for i, time_s in enumerate(times_s)
    ]
