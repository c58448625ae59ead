"""A pipeline without a network: people who walk on a line, for tests of programs and drawings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from xnect.calib.camera import Camera
from xnect.skeleton import BODY, J3D, JOINTS2D, SEEN_AS
from xnect.types import Frame, Person, Result


def person(track_id: int, x_m: float, z_m: float, camera: Camera) -> Person:
    """Somebody in T-pose who looks into the camera, pelvis 0.2 m below its axis."""
    rest = np.zeros((21, 3))
    for joint in BODY.order:
        if BODY.parents[joint] >= 0:
            rest[joint] = rest[BODY.parents[joint]] + BODY.offsets_m[joint]
    root = np.array([x_m, 0.2, z_m])
    joints = rest * (1, -1, -1) + root  # y up, z front -> y down, z forward
    projected = camera.project(joints)
    joints2d = np.zeros((18, 2))
    for joint3d, joint2d in enumerate(SEEN_AS):
        if joint2d >= 0:
            joints2d[joint2d] = projected[joint3d]
    joints2d[JOINTS2D.index("nose")] = projected[J3D["head"]]
    score2d = np.ones(18)
    score2d[14:] = 0
    quats = np.tile([1.0, 0, 0, 0], (21, 1))
    quats[J3D["pelvis"]] = (0, 1, 0, 0)
    return Person(
        joints2d, score2d, joints, np.ones(21), track_id, 0.9, quats, root, BODY.lengths_m
    )  # fmt: skip


class FakePipeline:
    """`people` walkers per frame; `on_frame` is called before each result."""

    def __init__(self, people: int = 2, on_frame: Callable[[int], None] = lambda index: None):
        self.people, self.on_frame = people, on_frame
        self.camera: Camera | None = None

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        for frame in frames:
            self.on_frame(frame.index)
            height, width = frame.image.shape[:2]
            camera = self.camera or Camera.guess(height, width)
            walkers = tuple(
                person(i + 1, 1.2 * i - 0.6 + 0.02 * frame.index, 4.0 + 0.7 * i, camera)
                for i in range(self.people)
            )
            yield Result(
                frame.index, frame.time_s, (height, width), camera, walkers, {"network": 1.0}
            )
