"""Clips that are hard to follow: people cross, hide each other, leave the picture and come back.

Everybody walks through on a chain of walks; who has left the picture comes back somewhere else, in
another walk, after a while.  Some stay and gesture.  The camera stands, or pans and drifts slowly.
Identity is the place in the list of people, for the whole clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from xnect.errors import BadInput
from xnect.synth.assets import Assets
from xnect.synth.body import Person, random_person
from xnect.synth.camera import View, pinhole, stand
from xnect.synth.light import random_light
from xnect.synth.mesh import yaw_matrix
from xnect.synth.motion import animate, root_path
from xnect.synth.room import random_furniture, random_room
from xnect.synth.scene import Scene

RATE_HZ = 30
HIGHEST_LIFT_M = 0.13
NEAREST_M = 1.8  # mid-hips that can be seen
FARTHEST_M = 8.0
HALF_WIDTH_M = 0.75  # how far arms and strides reach beside the mid-hip
APART_M = 0.5
TRIES = 300
ATTEMPTS = 6
CHOICES = 6
"""Walks that fit are drawn up to this often; the one that hides or is hidden most is taken."""


@dataclass(frozen=True, slots=True)
class CrowdOptions:
    """What the clip shows."""

    seconds: float = 10.0
    width_px: int = 640
    height_px: int = 400
    people: int = 5
    stay_share: float = 0.3  # of people who do not walk through
    moving: bool = False  # the camera pans and drifts


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """One stretch of motion of one person, from the frame `first` of the clip on."""

    first: int
    frames: np.ndarray  # (n,) of the motion
    turn: np.ndarray  # (3, 3) about the vertical axis
    place_m: np.ndarray  # (3,) start on the floor
    mirror: bool
    way_m: np.ndarray  # (n, 3) mid-hip in the world


def views(rng: np.random.Generator, options: CrowdOptions) -> list[View]:
    """The camera of every frame."""
    count = round(options.seconds * RATE_HZ)
    view_rad = np.deg2rad(rng.uniform(48, 68))
    camera = pinhole(options.width_px, options.height_px, view_rad=view_rad)
    height = rng.uniform(1.2, 2.4)
    first = stand(camera, height_m=height, pitch_rad=np.arctan2(0.9 - height, 4.5),
                  roll_rad=np.deg2rad(rng.normal(0, 1)))  # fmt: skip
    if not options.moving:
        return [first] * count
    time_s = np.arange(count) / RATE_HZ
    phase = rng.uniform(0, 2 * np.pi, 4)
    slow = np.sin(2 * np.pi * time_s[:, None] / rng.uniform(6, 14, 4) + phase) - np.sin(phase)
    pan_rad = np.deg2rad(rng.uniform(3, 8)) * slow[:, 0]
    drift_m = slow[:, 1:] * (0.25, 0.06, 0.15)
    return [
        replace(first, camera_from_world=first.camera_from_world @ yaw_matrix(pan),
                position_m=first.position_m + drift)
        for pan, drift in zip(pan_rad, drift_m, strict=True)
    ]  # fmt: skip


def in_camera(way_m: np.ndarray, seen_from: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) m and n cameras -> (n,) column px of the mid-hip, (n,) depth m."""
    turn = np.stack([v.camera_from_world for v in seen_from])
    place = np.stack([v.position_m for v in seen_from])
    seen = np.einsum("fij,fj->fi", turn, way_m - place)
    camera = seen_from[0].camera
    return seen[:, 0] / np.maximum(seen[:, 2], 0.1) * camera.fx_px + camera.cx_px, seen[:, 2]


def may_show(column_px: np.ndarray, depth_m: np.ndarray, width_px: int, fx_px: float) -> np.ndarray:
    """(n,) whether any part of a person can be in the picture."""
    reach = HALF_WIDTH_M / np.maximum(depth_m, 0.3) * fx_px
    return (depth_m > 0.1) & (column_px > -reach) & (column_px < width_px + reach)


def _candidate(
    assets: Assets, rng: np.random.Generator, person: Person, cameras: list[View], *, first: int,
    clips: np.ndarray, entering: bool, leaving: bool, staying: bool,
) -> Walk | None:  # fmt: skip
    """A random walk from the frame `first` on that can be shown; None where this draw does not fit.

    It begins outside the picture when `entering`, and ends outside when `leaving`, or else unless
    the clip ends before.
    """
    motion, left = assets.motion, len(cameras) - first
    clip = int(rng.choice(clips))
    length = int(motion.length[clip])
    if staying and length < left:
        return None
    start = int(rng.integers(length - left + 1)) if length > left else 0
    frames = motion.start[clip] + np.arange(start, min(start + left, length))
    mirror, turn = bool(rng.random() < 0.5), yaw_matrix(rng.uniform(0, 2 * np.pi))
    way = root_path(motion, person, frames, mirror=mirror) @ turn.T
    # one frame of it is at a chosen place in the picture
    at = int(rng.integers(len(frames)))
    camera, depth = cameras[0].camera, rng.uniform(2.6, 6.5)
    column = rng.uniform(0.15, 0.85) * camera.width_px
    spot = np.array([(column - camera.cx_px) / camera.fx_px * depth, 0, -depth])
    place = spot - way[at] * (1, 0, 1)
    way = way + place
    columns, depths = in_camera(way, cameras[first : first + len(frames)])
    shows = may_show(columns, depths, camera.width_px, camera.fx_px)
    begin, end = 0, len(frames)
    if entering:
        outside = np.flatnonzero(~shows[:at])
        if not len(outside):
            return None
        begin = int(outside[-1])
    after = np.flatnonzero(~shows[at:])
    if len(after):
        end = at + int(after[0]) + 1
    elif leaving or begin + left > len(frames):  # it would stop in the picture before the clip ends
        return None
    used = slice(begin, end)
    now = cameras[first : first + end - begin]  # it may play earlier than it was drawn
    columns, depths = in_camera(way[used], now)
    shows = may_show(columns, depths, camera.width_px, camera.fx_px)
    if (entering and shows[0]) or (end - begin < left and shows[-1]):
        return None
    there = depths[shows]
    if len(there) < 15 or there.min() < NEAREST_M or there.max() > FARTHEST_M:
        return None
    way = way[used]
    start_m = way[0] * (1, 0, 1)
    return Walk(first, frames[used], turn, start_m, mirror, way)


def plan(
    assets: Assets, rng: np.random.Generator, people: list[Person], cameras: list[View],
    *, stay_share: float,
) -> list[list[Walk]] | None:  # fmt: skip
    """The walks of everybody; None where somebody finds no way at all.

    Raises:
        BadInput: a pack without walks.
    """
    motion, count = assets.motion, len(cameras)
    lift = np.array([
        motion.lift_m[s : s + n].max() for s, n in zip(motion.start, motion.length, strict=True)
    ])  # fmt: skip
    usable = (lift < HIGHEST_LIFT_M) & (motion.source != "deepmimic")
    words = ("walk", "run", "jog", "soccer", "sideways", "forward")
    goes = np.array([any(w in str(a) for w in words) for a in motion.action])
    walking = np.flatnonzero(usable & goes & (motion.length >= 45))
    standing = np.flatnonzero(usable & (motion.length >= count))
    if not len(walking):
        raise BadInput("the pack has no walk of 1.5 s; give the whole asset pack")
    ways = np.full((len(people), count, 3), np.nan)
    plans: list[list[Walk]] = []
    for p, person in enumerate(people):
        stays = bool(rng.random() < stay_share) and len(standing) > 0
        clips = standing if stays else walking
        walks: list[Walk] = []
        first = 0 if rng.random() < 0.7 else int(rng.integers(1, 25))
        while first < count - 20:
            staying = stays and not walks
            fitting: list[Walk] = []
            for attempt in range(TRIES):
                leaving = not staying and attempt < TRIES // 2 and count - first > 60
                if not leaving and fitting:
                    break
                one = _candidate(assets, rng, person, cameras, first=first, clips=clips,
                                 entering=first > 0, leaving=leaving, staying=staying)  # fmt: skip
                if one is not None and _free(one, ways[:p]):
                    fitting.append(one)
                    if len(fitting) == CHOICES:
                        break
            if not fitting:
                clips = walking
                stays = False
                first += 12
                continue
            best = max(fitting, key=lambda w: _hidden(w, ways[:p], cameras))
            walks.append(best)
            ways[p, first : first + len(best.frames)] = best.way_m
            first += len(best.frames) + int(rng.integers(5, 30))
        if not walks:
            return None
        plans.append(walks)
    return plans


def _free(walk: Walk, others_m: np.ndarray) -> bool:
    """Whether the walk keeps clear of the ways (p, F, 3) of the others."""
    there = others_m[:, walk.first : walk.first + len(walk.frames)]
    apart = np.hypot(*np.moveaxis((there - walk.way_m)[..., [0, 2]], -1, 0))
    return bool(np.nan_to_num(apart, nan=9.0).min(initial=9.0) > APART_M)


def _hidden(walk: Walk, others_m: np.ndarray, cameras: list[View]) -> int:
    """Frames and people for which one is before the other."""
    now = cameras[walk.first : walk.first + len(walk.frames)]
    column, depth = in_camera(walk.way_m, now)
    near = 0.25 / np.maximum(depth, 0.5) * now[0].camera.fx_px
    total = 0
    for other in others_m:
        there = other[walk.first : walk.first + len(walk.frames)]
        known = np.isfinite(there[:, 0])
        columns, _ = in_camera(np.nan_to_num(there), now)
        total += int((known & (np.abs(columns - column) < near)).sum())
    return total


def _tracks(assets: Assets, person: Person, walks: list[Walk], count: int) -> np.ndarray:
    """(F, 31, 3, 4) of one person, who is far away before, between and after the walks."""
    out = np.zeros((count, 31, 3, 4))
    filled = 0
    for walk in walks:
        moved = animate(
            assets, person, walk.frames, turn=walk.turn, place_m=walk.place_m, mirror=walk.mirror
        )
        end = walk.first + len(walk.frames)
        out[filled : walk.first] = _away(out[filled - 1] if filled else moved[0])
        out[walk.first : end] = moved
        filled = end
    out[filled:] = _away(out[filled - 1])
    return out


def _away(matrices: np.ndarray) -> np.ndarray:
    """(31, 3, 4) moved far behind the camera."""
    out = matrices.copy()
    out[..., 2, 3] += 40.0
    return out


def crowd_scenes(
    assets: Assets, seed: int, options: CrowdOptions = CrowdOptions()
) -> Iterator[Scene]:
    """The scene of every frame.

    Raises:
        BadInput: fewer than two people, less than 2 s, or people who find no way.
    """
    if options.people < 2 or options.seconds < 2:
        raise BadInput(
            "a crowd needs 2 people or more and 2 s or more, got "
            f"{options.people} and {options.seconds:g}"
        )
    rng = np.random.default_rng(seed)
    cameras = views(rng, options)
    people = [random_person(assets, rng) for _ in range(options.people)]
    plans = None
    for _ in range(ATTEMPTS):
        plans = plan(assets, rng, people, cameras, stay_share=options.stay_share)
        if plans is not None:
            break
    if plans is None:
        raise BadInput("somebody finds no free way; try another --seed or fewer --people")
    tracks = np.stack([
        _tracks(assets, person, walks, len(cameras))
        for person, walks in zip(people, plans, strict=True)
    ])  # (P, F, 31, 3, 4)  # fmt: skip
    ways = np.concatenate([w.way_m for walks in plans for w in walks]) * (1, 0, 1)
    ways = ways[ways[:, 2] < 0]
    room = random_room(assets, rng, ways, camera_m=cameras[0].position_m)
    furniture = random_furniture(
        assets, rng, ways, low_m=room.low_m, high_m=room.high_m, in_front=0.15
    )
    scene = Scene(tuple(people), tracks[:, 0], cameras[0], random_light(rng), room, None, furniture)
    for frame, view in enumerate(cameras):
        yield replace(scene, matrices=tracks[:, frame], view=view)
