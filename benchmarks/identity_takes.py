"""Simulated takes of people who cross, hide, leave and come back, for `identities.py`.

Walking figures on a floor before one camera; what nearer bodies, a wall and the border hide is
computed, and a detector is simulated that is wrong as bottom-up ones are: hidden joints that are
found nevertheless or on the body in front, two people who become one, one who becomes two, limbs
missing, ghosts.  Clothes are painted as one patch of colour for each torso, different ones in even
seeds, all the same in odd.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from xnect.rig import RIG
from xnect.rotations import matrix_from_rotvec
from xnect.skeleton import FLIP2D, J3D
from xnect.synth import takes
from xnect.types import PartialPose, Pose3D

KINDS = ("cross", "wall", "leave", "circle", "poor")
FPS, FRAMES = 25.0, 200
bursts = functools.partial(takes.bursts, frame_s=1 / FPS)
drifting = functools.partial(takes.drifting, frame_s=1 / FPS)
WIDTH, HEIGHT, FOCAL = 320, 180, 250.0
CAMERA_M = 1.5  # height

_LIMBS = [
    ("neck", "pelvis", 0.15), ("neck", "head_top", 0.10),
    *((f"{s}_{a}", f"{s}_{b}", r) for s in ("left", "right") for a, b, r in (
        ("shoulder", "elbow", 0.06), ("elbow", "wrist", 0.05), ("hip", "knee", 0.09),
        ("knee", "ankle", 0.07))),
]  # fmt: skip
"""Capsules that hide what is behind: from, to, radius in m."""


@dataclass(frozen=True, eq=False)
class Scene:
    """F frames of P people: truth, detections and pictures."""

    time_s: np.ndarray  # (F,)
    joints_px: np.ndarray  # (F, P, 18, 2) truth
    visible: np.ndarray  # (F, P, 18) bool
    poses: list[list[Pose3D]]
    images: list[np.ndarray]


def make_scene(seed: int, kind: str) -> Scene:
    """One take; even seeds wear different clothes, odd ones the same."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    people = int(rng.integers(3, 5)) if kind != "circle" else int(rng.integers(3, 6))
    floor_m, low = _paths(rng, kind, people)  # (F, P, 2), (F, P)
    points = _figures(rng, floor_m, low)  # (F, P, 27, 3)
    nodes_px = FOCAL * points[..., :2] / np.maximum(points[..., 2:], 0.3)
    nodes_px = nodes_px + np.array([WIDTH / 2, HEIGHT / 2])
    wall = np.array([120, 20, 200, 180]) if kind == "wall" else None
    visible, front = _visible(nodes_px, points, wall)
    joints_px = nodes_px[:, :, RIG.seen]
    worse = 3.0 if kind == "poor" else 1.0
    poses = _detections(rng, points, joints_px, visible, front, worse)
    images = _pictures(rng, seed % 2 == 1, nodes_px, points[:, :, J3D["pelvis"], 2], wall)
    return Scene(np.arange(FRAMES) / FPS, joints_px, visible, poses, images)


def _paths(rng: np.random.Generator, kind: str, people: int) -> tuple[np.ndarray, np.ndarray]:
    """(F, P, 2) m right and away on the floor, and (F, P) 0 standing .. 1 sitting."""
    seconds = np.arange(FRAMES) / FPS
    floor_m, low = np.zeros((FRAMES, people, 2)), np.zeros((FRAMES, people))
    for p in range(people):
        away = rng.uniform(3.2, 6.5)
        half = 0.5 * WIDTH / FOCAL * away  # to the border of the picture
        speed = rng.uniform(0.7, 1.6)
        if kind in ("cross", "poor"):  # to and fro; about half turn back in the middle
            x = rng.uniform(-0.8, 0.8) * half
            times, places, t = [0.0], [x], 0.0
            while t < seconds[-1]:
                goal = rng.uniform(-0.15, 0.15) if rng.random() < 0.3 else rng.uniform(0.3, 0.85)
                goal = -np.sign(x) * goal * half
                t += abs(goal - x) / speed + 0.2
                times.append(t)
                places.append(goal)
                x = goal
            track = np.stack([np.interp(seconds, times, places), np.full(FRAMES, away)], -1)
            track[:, 1] += 0.4 * np.sin(seconds * rng.uniform(0.3, 1) + rng.uniform(0, 6))
        elif kind == "wall":
            away = rng.uniform(3.5, 6.0)
            behind = rng.uniform(-0.06, 0.06) * away
            side = rng.choice([-1, 1])
            begin, stay = rng.uniform(0.5, 2.0), rng.uniform(2, 5)
            far = side * rng.uniform(0.3, 0.55) * away
            back = far * rng.choice([-1, 1])
            walk = abs(far - behind) / 1.3
            at_s = np.cumsum([0, begin, walk, stay, walk])
            track = np.interp(seconds, at_s, [far, far, behind, behind, back])
            track = np.stack([track, np.full(FRAMES, away)], -1)
            if rng.random() < 0.5:
                low[:, p] = np.interp(seconds, at_s[1:] - [0, 0.2, 0, -0.5], [0, 1, 1, 0])
        elif kind == "leave":  # some start outside: strangers
            x = rng.uniform(-0.7, 0.7) * half if rng.random() < 0.7 else 1.5 * half
            edge = rng.choice([-1, 1]) * 1.5 * half
            out, stay = rng.uniform(0.5, 3.0), rng.uniform(0.3, 3.5)
            go = abs(edge - x) / (1.2 * speed)
            at_s = np.cumsum([0, out, go, stay, 2 * half / speed])
            back = edge * rng.choice([-1, 1], p=[0.3, 0.7])  # from the other side, sometimes
            track = np.interp(seconds, at_s, [x, x, edge, edge, -0.3 * back])
            after = seconds > at_s[3]
            track[after] *= np.sign(edge * back)
            track = np.stack([track, np.full(FRAMES, away)], -1)
        else:
            turn = rng.uniform(0.6, 1.2) * rng.choice([-1, 1])
            angle = turn * seconds + 2 * np.pi * p / people + rng.uniform(-0.3, 0.3)
            radius = rng.uniform(0.6, 1.3)
            track = np.stack([radius * np.cos(angle), 4.8 + radius * np.sin(angle)], -1)
        jumps = np.linalg.norm(np.diff(track, axis=0), axis=-1) > 0.5  # outside, to the other side
        smooth = gaussian_filter1d(track, 0.12 * FPS, axis=0, mode="nearest")
        floor_m[:, p] = track if jumps.any() else smooth
    return floor_m, gaussian_filter1d(low, 0.2 * FPS, axis=0)


def _figures(rng: np.random.Generator, floor_m: np.ndarray, low: np.ndarray) -> np.ndarray:
    """(F, P, 27, 3) points of walking bodies in camera space."""
    frames, people = floor_m.shape[:2]
    out = np.empty((frames, people, len(RIG.above), 3))
    for p in range(people):
        stature = rng.uniform(0.9, 1.1)
        speed = np.linalg.norm(np.gradient(floor_m[:, p], 1 / FPS, axis=0), axis=-1)
        speed = np.minimum(gaussian_filter1d(speed, 3), 1.8)
        phase = np.cumsum(speed) / FPS * 4.2 + rng.uniform(0, 6)
        swing = 0.45 * np.minimum(speed, 1) * np.sin(phase)
        sit = low[:, p]
        body = np.tile(RIG.above @ RIG.offsets, (frames, 1, 1))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            hang = np.sign(body[0, J3D[f"{side}_shoulder"], 0])
            _turn(body, f"{side}_elbow", 0.5 + 0.3 * swing * sign, (0, -hang, 0))
            _turn(body, f"{side}_shoulder", np.full(frames, 1.3), (0, 0, -hang))
            _turn(body, f"{side}_shoulder", sign * swing, (1, 0, 0))
            _turn(body, f"{side}_knee", 1.4 * sit + np.maximum(0, sign * swing) * 1.2, (1, 0, 0))
            _turn(body, f"{side}_hip", -1.4 * sit - sign * swing, (1, 0, 0))
        way = gaussian_filter1d(np.gradient(floor_m[:, p], axis=0), 6, axis=0)
        still = np.linalg.norm(way, axis=-1) < 0.004
        heading = np.where(still, 0.0, np.arctan2(way[:, 0], -way[:, 1]))
        heading = np.unwrap(heading)
        heading = gaussian_filter1d(heading, 3) + rng.normal(0, 0.15)
        body = body @ np.swapaxes(_about(heading, (0, 1, 0)), -1, -2)
        body = body * stature
        body[..., 1] -= body[..., 1].min(-1, keepdims=True)
        out[:, p] = body * (1, -1, -1)
        out[:, p] += np.stack([floor_m[:, p, 0], np.full(frames, CAMERA_M), floor_m[:, p, 1]], -1)[
            :, None
        ]
    return out


def _about(angle: np.ndarray, axis: tuple[float, float, float]) -> np.ndarray:
    return matrix_from_rotvec(angle[:, None] * np.array(axis, float))


def _turn(body: np.ndarray, name: str, angle: np.ndarray, axis: tuple[float, float, float]) -> None:
    """Turn everything below a joint of (F, 27, 3), in place."""
    joint = J3D[name]
    below = RIG.above[:, joint] > 0
    pivot = body[:, joint, None]
    body[:, below] = (body[:, below] - pivot) @ np.swapaxes(_about(angle, axis), -1, -2) + pivot


def _visible(
    nodes_px: np.ndarray, points: np.ndarray, wall: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(F, P, 18) what nothing hides, and whose body is in front (-1 nobody's)."""
    joints = nodes_px[:, :, RIG.seen]
    inside = ((joints >= 0) & (joints < (WIDTH, HEIGHT))).all(-1)
    if wall is not None:
        inside &= ~((joints >= wall[:2]) & (joints < wall[2:])).all(-1)
    front = np.full(joints.shape[:3], -1)
    away = points[:, :, J3D["pelvis"], 2]
    for q in range(joints.shape[1]):
        for a, b, radius in _LIMBS:
            start, end = nodes_px[:, q, None, None, J3D[a]], nodes_px[:, q, None, None, J3D[b]]
            along = end - start
            share = ((joints - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
            nearest = start + np.clip(share, 0, 1)[..., None] * along
            off = np.linalg.norm(joints - nearest, axis=-1)
            covered = off < (radius * FOCAL / away[:, q])[:, None, None]
            front[covered & (away > away[:, q : q + 1] + 0.05)[..., None]] = q
    front[~inside] = -1
    return inside & (front < 0), front


def _detections(
    rng: np.random.Generator,
    points: np.ndarray,
    joints_px: np.ndarray,
    visible: np.ndarray,
    front: np.ndarray,
    worse: float,
) -> list[list[Pose3D]]:
    """What a detector makes of it; `worse` multiplies how often it fails."""
    frames, people = visible.shape[:2]
    each = (frames, people)
    away = points[:, :, J3D["pelvis"], 2]
    metre_px = (FOCAL / away)[..., None, None]
    seen_px = joints_px + metre_px * 0.015 * rng.normal(size=joints_px.shape)
    inside = ((joints_px >= 0) & (joints_px < (WIDTH, HEIGHT))).all(-1)
    guess = bursts(rng, (*each, 18), 0.25, 0.3) & inside & (front >= 0)
    stolen = bursts(rng, (*each, 18), 0.15, 0.3) & (front >= 0)
    for f, p, j in np.argwhere(stolen):
        seen_px[f, p, j] = joints_px[f, front[f, p, j], j]
    found = (visible | guess | stolen) & ~bursts(rng, (*each, 18), 0.07 * worse, 0.2)
    found &= ~bursts(rng, each, 0.02 * worse, 0.12)[..., None]  # nothing of somebody
    half = bursts(rng, each, 0.03 * worse, 0.2)
    legs = np.isin(np.arange(18), np.arange(8, 14))
    found &= ~(half[..., None] & legs)
    mirrored = bursts(rng, each, 0.02 * worse, 0.1)
    seen_px = np.where(mirrored[..., None, None], seen_px[:, :, list(FLIP2D)], seen_px)
    bone = drifting(rng, (*each, 21, 3), 0.3) * 0.04 + 0.02 * rng.normal(size=(*each, 21, 3))
    root = points[:, :, J3D["pelvis"], None]
    joints_m = points[:, :, :21] - root
    head = np.ptp(joints_m[..., 1], axis=-1).max(0)  # taken to reference size
    joints_m = joints_m * (1.6 / np.maximum(head, 0.5))[:, None, None] + bone
    unsure = np.clip(1.5 - found.mean(-1), 1, 2)[..., None, None]
    joints_m = joints_m + (unsure - 1) * 0.25 * drifting(rng, (*each, 21, 3), 0.3)
    flipped = bursts(rng, each, 0.03 * worse, 0.1)
    joints_m = np.where(flipped[..., None, None], joints_m * (1, 1, -1), joints_m)
    merge, copy = bursts(rng, each, 0.35 * worse, 0.2), bursts(rng, each, 0.01 * worse, 0.1)
    ghost = bursts(rng, (frames,), 0.03 * worse, 0.12)
    place, size = rng.uniform((0, 40), (WIDTH, HEIGHT)), rng.uniform(20, 60)
    out = []
    for f in range(frames):
        shown = [p for p in range(people) if found[f, p].sum() >= 4]
        poses = {p: (seen_px[f, p].copy(), found[f, p].copy(), joints_m[f, p]) for p in shown}
        for p in shown:  # the one behind gives its legs or its upper body to the one in front
            others = [q for q in shown if q != p and q in poses and away[f, q] < away[f, p]]
            near = [q for q in others if _close(joints_px[f, p], joints_px[f, q])]
            if near and merge[f, p]:
                px, has, pose = poses[near[0]]
                part = legs if int(10 * away[0, p]) % 2 else ~legs
                take = part & found[f, p]
                px[take], has[take] = seen_px[f, p, take], True
                poses[near[0]] = px, has, pose
                del poses[p]
        several = [
            (px + shift, has & keep, pose)
            for p, (px, has, pose) in poses.items()
            for shift, keep in (
                [(0.0, np.ones(18, bool))]
                + [(0.06 * FOCAL / away[f, p], rng.random(18) < 0.6)] * int(copy[f, p])
            )
        ]
        if not ghost[f]:
            place, size = rng.uniform((0, 40), (WIDTH, HEIGHT)), rng.uniform(20, 60)
        else:
            px = place + size * rng.normal(0, 0.5, (18, 2))
            several.append((px, rng.random(18) < 0.35, rng.normal(0, 0.3, (21, 3))))
        rng.shuffle(several)
        out.append([_pose(rng, *one) for one in several if one[1].sum() >= 3])
    return out


def _close(a_px: np.ndarray, b_px: np.ndarray) -> bool:
    """Whether the boxes of two people overlap by half of the narrower one."""
    low, high = np.maximum(a_px.min(0), b_px.min(0)), np.minimum(a_px.max(0), b_px.max(0))
    width = min(np.ptp(a_px[:, 0]), np.ptp(b_px[:, 0]))
    return bool((high > low).all() and high[0] - low[0] > 0.5 * width)


def _pose(
    rng: np.random.Generator, px: np.ndarray, has: np.ndarray, joints_m: np.ndarray
) -> Pose3D:
    score = np.clip(rng.normal(0.75, 0.1, 18), 0.1, 1) * has
    partial = PartialPose(px, score, np.zeros((18, 63)), float(score.mean()))
    return Pose3D(partial, joints_m, np.full(21, 0.5 * float(score.mean())) + 0.1)


def _pictures(
    rng: np.random.Generator,
    same: bool,
    nodes_px: np.ndarray,
    away: np.ndarray,
    wall: np.ndarray | None,
) -> list[np.ndarray]:
    """Torsos as patches of colour, the far ones first, under light that changes with the place."""
    people = nodes_px.shape[1]
    hues = rng.permutation(12)[:people] * 15 + rng.uniform(-4, 4, people)
    tone = np.stack([hues, rng.uniform(110, 230, people), rng.uniform(90, 220, people)], -1)
    if same:
        tone[:] = tone[0]
    colours = cv2.cvtColor((tone[None] % (180, 256, 256)).astype(np.uint8), cv2.COLOR_HSV2RGB)[0]
    noise = rng.normal(0, 10, (HEIGHT, WIDTH, 3)).astype(np.float32)
    corners = [J3D[n] for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    out = []
    for f in range(len(nodes_px)):
        image = np.full((HEIGHT, WIDTH, 3), 110, np.float32)
        for p in np.argsort(-away[f]):
            quad = nodes_px[f, p, corners]
            middle = quad.mean(0)
            light = 0.8 + 0.4 * np.clip(middle[0] / WIDTH, 0, 1) * np.array([1.0, 0.97, 0.93])
            quad = middle + 1.15 * (quad - middle)
            if (np.abs(quad) < 2000).all():
                cv2.fillConvexPoly(
                    image, quad.round().astype(np.int32), (colours[p] * light).tolist()
                )
        if wall is not None:
            image[wall[1] : wall[3], wall[0] : wall[2]] = 80
        out.append(np.clip(image + noise, 0, 255).astype(np.uint8))
    return out
