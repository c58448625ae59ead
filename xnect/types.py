"""What passes between the stages.  Sizes: P people, J 2D joints (18), K 3D joints (21), C code
channels (63), L limbs (19), H W pixels or cells.

Units are suffixes.  Images are RGB uint8 (H, W, 3).  Pixel (0, 0) is the centre of the top-left
pixel.  Camera axes: x right, y down, z forward, metres.  An absent joint has score 0: test the
score, never the coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from xnect.calib.camera import Camera


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source, with the time of its capture (or its presentation time)."""

    index: int
    time_s: float
    image: np.ndarray  # (H, W, 3) uint8 RGB


@dataclass(frozen=True, slots=True, eq=False)
class SecondPlaces:
    """Where each joint of a person is if it is not where it seems to be."""

    joints_px: np.ndarray  # (18, 2)
    score: np.ndarray  # (18,) 0 where there is no other place
    codes: np.ndarray  # (18, 63) there


@dataclass(frozen=True, slots=True, eq=False)
class PartialPose:
    """What the image shows of one person: the result of association."""

    joints_px: np.ndarray  # (18, 2) pixels of the given picture
    score: np.ndarray  # (18,) 0..1, 0 where the joint was not seen
    codes: np.ndarray  # (18, 63) 3D encoding at each joint, zeros where not seen; planar x, y, z
    person_score: float  # 0..1
    margin: np.ndarray | None = (
        None  # (18,) log-odds of each joint against its twin of the other side at the same place
    )
    sure: np.ndarray | None = None  # (18,) bool, joints that are evidence in 3D; None: all seen
    second: SecondPlaces | None = None

    def finite(self) -> PartialPose:
        """The pose; joints that are no numbers become absent ones at 0."""
        good = np.isfinite(self.joints_px).all(-1) & np.isfinite(self.score)
        if good.all():
            return self
        return replace(
            self,
            joints_px=np.where(good[:, None], self.joints_px, 0.0),
            score=np.where(good, self.score, 0.0),
        )

    def evidence(self) -> np.ndarray:
        """(18,) scores of the joints that are evidence in 3D, 0 for all others."""
        return self.score if self.sure is None else np.where(self.sure, self.score, 0)

    def surest(self) -> np.ndarray:
        """Scores of the eight surest joints, or of as many as are seen, in rising order.

        They tell whether somebody is there: hidden legs make nobody doubtful.
        """
        return np.sort(self.score[self.score > 0])[-SUREST:]


SUREST = 8
"""Joints that say whether somebody is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose3D:
    """A complete root-relative pose of one person at reference stature."""

    partial: PartialPose
    joints_m: np.ndarray  # (21, 3) camera axes, pelvis at the origin, body of REFERENCE_STATURE_M
    score: np.ndarray  # (21,) 0..1


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in one frame: what the product gives."""

    joints2d_px: np.ndarray  # (18, 2) pixels of the given picture
    joints2d_score: np.ndarray  # (18,) 0 = absent
    joints3d_m: np.ndarray  # (21, 3) camera space: x right, y down, z forward
    joints3d_score: np.ndarray  # (21,)
    track_id: int  # stable over time; 1, 2, ...; 0 for a single picture
    score: float  # 0..1
    rotations_quat_wxyz: (
        np.ndarray
    )  # (21, 4) of each joint against its parent in BODY; the root's is camera from rest
    root_m: np.ndarray  # (3,) pelvis in camera space
    bone_lengths_m: np.ndarray  # (21,) of this identity: bone from BODY.parents[j] to j
    filled: bool = False  # not seen in this frame; `smooth_take` put the person in
    stature_sd_m: float = math.nan  # of the stature that the bones say; nan: nobody told


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Everybody in one frame."""

    index: int
    time_s: float
    image_hw: tuple[int, int]
    camera: Camera
    people: tuple[Person, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)  # by stage
    image: np.ndarray | None = None  # the picture itself, of single pictures only: a video's
    # results are kept by the thousand

    def plot(self, image: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB copy of the picture with everybody's skeleton drawn in.

        Args:
            image: the picture, of any kind that a pipeline takes; None takes the one kept, or black
                for a frame of a video.

        Raises:
            BadInput: no picture.
        """
        from xnect.draw import draw_result
        from xnect.image import as_rgb8

        if image is None:
            image = self.image
        if image is None:
            image = np.zeros((*self.image_hw, 3), np.uint8)
        return draw_result(as_rgb8(image), self)

    def save(self, path: str | Path = "result.npz") -> Path:
        """Write this one frame as a recording (`.npz` and the `.json` beside it).

        Raises:
            CannotWrite: a folder that cannot be written, or a full disk.
        """
        from xnect.recording import save_recording

        return save_recording(path, [self])
