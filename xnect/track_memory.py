"""What the tracker remembers of one identity, and how a frame changes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from xnect.appearance import BINS, learned
from xnect.one_euro import OneEuro
from xnect.resizing import scaled_person, scaled_points, scaled_pose
from xnect.skeleton import BODY
from xnect.track_options import TrackOptions
from xnect.types import SUREST, PartialPose, Person, Pose3D


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One identity in one frame, and what is known of its past."""

    track_id: int
    pose: Pose3D  # filtered; the last one when missed
    missed_s: float = 0.0  # since the identity was last seen; 0 = seen in this frame
    frames: int = 1  # in which it was seen so far
    lengths_m: np.ndarray = field(default_factory=lambda: BODY.lengths_m)  # (21,) of a 1.70 m body
    previous: Person | None = None  # what was given out last
    previous_time_s: float = 0.0
    root_velocity_m_s: np.ndarray = field(default_factory=lambda: np.zeros(3))
    before: Person | None = None  # what was given out `BETWEEN_S` or more before `previous`
    before_time_s: float = 0.0
    stature_sd_m: float | None = None  # of this identity; None: of anybody


@dataclass(slots=True, eq=False)
class Memory:
    """The tracker's own notes on one identity."""

    seen: PartialPose  # as seen, not filtered
    pose: Pose3D
    looks: np.ndarray  # (G, 30, 30) views of the torso
    size_px: float  # per metre of the reference body; 0 unknown
    born_s: float
    time_s: float
    filter_px: OneEuro
    filter_m: OneEuro
    velocity_px_s: np.ndarray
    quality: float  # mean score of the surest joints, of late
    own_px: float = 0.0  # `size_px` when nobody had overlapped for a while
    beside_s: float = -np.inf  # when somebody last overlapped
    met: set[int] = field(default_factory=set)  # identities that overlapped, not told apart yet
    lately: np.ndarray = field(default_factory=lambda: np.zeros((BINS, BINS)))  # looks since then
    lately_px: float = 0.0  # size since then
    lately_frames: int = 0  # in which looks were seen since then
    lately_time_s: float = -np.inf  # when they were seen last
    shown: bool = True  # good enough to be given out
    track_id: int = 0  # 0 until the person is given out
    frames: int = 1
    lengths_m: np.ndarray = field(default_factory=lambda: BODY.lengths_m)
    stature_sd_m: float | None = None
    previous: Person | None = None
    previous_time_s: float = 0.0
    root_velocity_m_s: np.ndarray = field(default_factory=lambda: np.zeros(3))
    older: tuple[tuple[float, Person], ...] = ()  # what was given out before `previous`, and when

    @property
    def placed(self) -> bool:
        """Whether it is known where in the picture the person was; not after `lose_place`."""
        return bool((self.seen.score > 0).any())


BETWEEN_S = 1 / 30
"""Least time over which speeds are told from two fits: of more frames they tell noise only."""


def given_before(memory: Memory, time_s: float) -> tuple[tuple[float, Person], ...]:
    """What goes on as `older` when somebody is given out again, at `time_s`.

    Back to the last one that is `BETWEEN_S` older.
    """
    if memory.previous is None or time_s <= memory.previous_time_s:
        return ()
    older = (*memory.older, (memory.previous_time_s, memory.previous))
    while len(older) > 1 and time_s - older[1][0] >= BETWEEN_S - 1e-3:
        older = older[1:]
    return older


def newborn(
    pose: Pose3D,
    looks: np.ndarray,
    size_px: float,
    time_s: float,
    px: float,
    options: TrackOptions,
) -> Memory:
    """Somebody who was not known before."""
    memory = Memory(
        pose.partial, pose, looks[None][: int(looks.any())], size_px, time_s, time_s,
        OneEuro(*options.filter_px), OneEuro(*options.filter_m), np.zeros(2),
        quality(pose.partial), size_px,
    )  # fmt: skip
    memory.pose = filtered(memory, pose, time_s, px)
    return memory


def update(
    memory: Memory,
    pose: Pose3D,
    looks: np.ndarray,
    size_px: float,
    alone: bool,
    time_s: float,
    px: float,
    options: TrackOptions,
) -> None:
    """Take the pose of this frame into the memory."""
    passed_s = time_s - memory.time_s
    common = (pose.partial.score > 0) & (memory.seen.score > 0)
    if common.any():
        way = np.median(pose.partial.joints_px[common] - memory.seen.joints_px[common], axis=0)
        gain = 1 - np.exp(-passed_s / (options.speed_s * (1 if alone else 3)))
        speed = memory.velocity_px_s + gain * (way / passed_s - memory.velocity_px_s)
        most = options.most_speed_m_s * (memory.size_px or np.inf)
        memory.velocity_px_s = speed * min(1.0, most / max(float(np.linalg.norm(speed)), 1e-9))
    if size_px > 0 and memory.size_px > 0:
        gain = 1 - np.exp(-passed_s / 0.3)
        memory.size_px *= (size_px / memory.size_px) ** gain
    elif size_px > 0:
        memory.size_px = size_px
    if memory.met:
        if looks.any():
            rate = 1 - np.exp(-(time_s - memory.lately_time_s) / options.lately_s)
            memory.lately = memory.lately + rate * (looks - memory.lately)
            memory.lately_time_s = time_s
            memory.lately_frames += 1
        if size_px > 0:
            rate = 1 - np.exp(-passed_s / options.lately_s)
            memory.lately_px = (memory.lately_px or size_px) ** (1 - rate) * size_px**rate
    memory.seen, memory.time_s = pose.partial, time_s
    memory.frames += 1
    gain = max(1 / memory.frames, 1 - np.exp(-passed_s / options.hidden_s))
    surest = pose.partial.surest()
    gain *= len(surest) / SUREST
    memory.quality += gain * (float(surest.mean()) - memory.quality)
    least = options.hidden_below if memory.shown else options.shown_at_least
    memory.shown = not memory.track_id or memory.quality >= least
    memory.pose = filtered(memory, pose, time_s, px)
    if not alone:
        memory.beside_s = time_s
    if time_s - memory.beside_s >= options.settle_s or not len(memory.looks):
        memory.looks = learned(memory.looks, looks, rate=options.looks_rate, most=options.views)


def become(new: Memory, lost: Memory) -> None:
    """Make a newcomer the one who was lost."""
    new.track_id, new.lengths_m = lost.track_id, lost.lengths_m
    new.stature_sd_m = lost.stature_sd_m
    new.frames += lost.frames
    new.looks = lost.looks if len(lost.looks) else new.looks
    new.previous, new.previous_time_s = lost.previous, lost.previous_time_s
    new.older = lost.older
    new.root_velocity_m_s = lost.root_velocity_m_s
    new.own_px = lost.own_px or new.own_px
    new.met = lost.met - {lost.track_id}


def rescale(memory: Memory, scale_xy: np.ndarray, px: float, px_before: float) -> None:
    """Go on in a picture of `scale_xy` (2,) pixels per pixel; `px` is the filter's unit there."""
    memory.seen = scaled_pose(memory.seen, scale_xy)
    memory.pose = replace(memory.pose, partial=scaled_pose(memory.pose.partial, scale_xy))
    memory.velocity_px_s = memory.velocity_px_s * scale_xy
    size = float(np.sqrt(scale_xy.prod()))
    memory.size_px, memory.own_px = memory.size_px * size, memory.own_px * size
    memory.lately_px *= size
    memory.filter_px.rescale(scale_xy * px_before / px, scaled_points(np.zeros(2), scale_xy) / px)
    if memory.previous is not None:
        memory.previous = scaled_person(memory.previous, scale_xy)
    memory.older = tuple((at_s, scaled_person(p, scale_xy)) for at_s, p in memory.older)


def lose_place(memory: Memory) -> None:
    """Keep who it is and what they look like: neither place, size nor fit holds in this picture."""
    memory.seen = replace(memory.seen, score=np.zeros_like(memory.seen.score))
    memory.size_px = memory.own_px = memory.lately_px = 0.0
    memory.velocity_px_s = np.zeros(2)
    memory.previous, memory.older, memory.root_velocity_m_s = None, (), np.zeros(3)


def filtered(memory: Memory, pose: Pose3D, time_s: float, px: float) -> Pose3D:
    """The pose with its 2D and 3D joints filtered."""
    partial = pose.partial
    joints_px = memory.filter_px(partial.joints_px / px, time_s, partial.score) * px
    joints_px = np.where(partial.score[:, None] > 0, joints_px, partial.joints_px)
    joints_m = memory.filter_m(pose.joints_m, time_s, pose.score)
    return replace(pose, partial=replace(partial, joints_px=joints_px), joints_m=joints_m)


def quality(pose: PartialPose) -> float:
    """Mean score of the surest joints; what lacks to eight counts as 0."""
    return float(pose.surest().sum() / SUREST)


def as_track(memory: Memory, time_s: float) -> Track:
    """The identity as it is given out in the frame at `time_s`."""
    before_time_s, before = memory.older[0] if memory.older else (0.0, None)
    return Track(
        memory.track_id, memory.pose, time_s - memory.time_s, memory.frames,
        memory.lengths_m, memory.previous, memory.previous_time_s,
        memory.root_velocity_m_s.copy(), before, before_time_s, memory.stature_sd_m,
    )  # fmt: skip


def resized(person: Person, size: float, root_m: np.ndarray) -> Person:
    """The person larger by a factor, with the root elsewhere."""
    return replace(
        person,
        joints3d_m=(person.joints3d_m - person.root_m) * size + root_m,
        root_m=root_m,
        bone_lengths_m=person.bone_lengths_m * size,
    )
