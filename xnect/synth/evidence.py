"""Posed people -> what a detector would report of them: rays, scores, 3D codes (spec 3.4).

Everything is drawn anew for every call: the camera, where the person stands in the picture, which
joints are hidden, how wrong the others are.  Poses come in with y up (`xnect.synth.skeletons`) and
go out in camera axes: x right, y down, z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xnect.lift import CARRIED, CARRIED_BONES, CARRIERS, centre_of, look_at
from xnect.skeleton import (
    BONE_PARENTS,
    CODE_UNIT_M,
    FLIP2D,
    FLIP3D,
    J2D,
    REFERENCE_STATURE_M,
)

_LIMB_JOINTS = [
    [J2D[f"{side}_{part}"] for part in parts]
    for side in ("right", "left")
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
]
_TORSO = [J2D[n] for n in ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")]
JOINT_NOISE = (0.5, 0.8, 1, 1, 1, 1, 1, 1, 1.4, 1.1, 1.2, 1.4, 1.1, 1.2, 0.5, 0.5, 0.6, 0.6)
"""How uncertain each 2D joint is against the shoulder, roughly as COCO's annotators are."""


@dataclass(frozen=True)
class EvidenceOptions:
    """How bad the simulated detector is; the defaults train, `clean` measures."""

    noise_m: float = 0.022  # median error of a shoulder on the reference body
    definition_m: float = 0.02  # constant offset of a person's joints: labels differ from the rig
    outlier: float = 0.02  # share of joints that are elsewhere
    hard: float = 0.65  # share of people to whom the four kinds of hiding below are done
    drop: float = 0.1  # share of joints that are not found, in the mean
    drop_limb: float = 0.12
    drop_lower: float = 0.15  # share of people cut off below a line
    occluder: float = 0.1  # share of people behind a rectangle
    swap: float = 0.02  # share of people with arms or legs of the wrong side
    codes: float = 0.5  # share of people with 3D codes
    code_sigma: tuple[float, float] = (0.1, 0.5)  # in units of the code, log-uniform per person
    unknown_camera: float = 0.08  # share of people in pictures of unknown units
    focal_sigma: float = 0.15  # log error of the assumed focal length, half of the people
    truncate: bool = True

    @classmethod
    def clean(cls, *, codes: float) -> EvidenceOptions:
        """Whole people, exact cameras, small noise."""
        return cls(
            noise_m=0.015, definition_m=0.0, outlier=0, drop=0, drop_limb=0, drop_lower=0,
            occluder=0, swap=0, codes=codes, code_sigma=(0.2, 0.2), unknown_camera=0,
            focal_sigma=0, truncate=False,
        )  # fmt: skip


class Evidence(NamedTuple):
    """B simulated detections and the truth."""

    rays: Tensor  # (B, 18, 2) tangents, or unknown units where `known` is 0
    score: Tensor  # (B, 18)
    codes: Tensor  # (B, 33, 3) of the bones `xnect.lift.CARRIED`
    known: Tensor  # (B,)
    joints_m: Tensor  # (B, 21, 3) truth, pelvis at the origin, camera axes (unknown: facing them)
    metres: Tensor  # (B,) metres at the depth of the pelvis in one unit of `rays`
    usable: Tensor  # (B,) bool: at least 4 joints, one of them of the torso


def simulate(joints_m: Tensor, shown_m: Tensor, options: EvidenceOptions, seed: int) -> Evidence:
    """(B, 21, 3) and (B, 18, 3) people, y up, pelvis at the origin -> evidence of each."""
    rng = torch.Generator().manual_seed(seed)
    mirrored = _rand(rng, len(joints_m), 1, 1) < 0.5
    sign = torch.tensor([-1.0, 1.0, 1.0])
    joints_m = torch.where(mirrored, (joints_m * sign)[:, FLIP3D], joints_m)
    shown_m = torch.where(mirrored, (shown_m * sign)[:, FLIP2D], shown_m)
    world = _orientations(rng, len(joints_m))
    joints, shown = joints_m @ world.mT, shown_m @ world.mT
    view = _camera(rng, joints)
    joints, shown = joints @ view.axes.mT, shown @ view.axes.mT
    shown = shown + _definition(rng, shown, options)
    points = shown + view.pelvis_m[:, None]
    depth = points[..., 2].clamp_min(0.15)
    tangents = points[..., :2] / depth[..., None]
    found = _found(rng, tangents, shown, view, options)
    tangents, score = _disturb(rng, tangents, view, found, options)
    codes = _codes(rng, joints, score > 0, options)
    known, zoom = _assume_camera(rng, len(tangents), options)
    ahead = torch.zeros(len(tangents), 2)  # of unknown cameras everybody is taken to be there
    centre = torch.where(known[:, None] > 0, ahead, centre_of(tangents, (score > 0).float()))
    facing = look_at(centre)
    joints, codes = joints @ facing, codes @ facing
    torso = (score[:, _TORSO] > 0).any(1)
    usable = torso & ((score > 0).sum(1) >= 4) & (depth.amin(1) > 0.2)
    rays = tangents * zoom[:, None, None]
    return Evidence(rays, score, codes, known, joints, view.pelvis_m[:, 2] / zoom, usable)


class _View(NamedTuple):
    axes: Tensor  # (B, 3, 3) camera from world
    pelvis_m: Tensor  # (B, 3)
    half: Tensor  # (B, 2) tangents of half the picture's width and height
    pixel: Tensor  # (B,) tangent of one pixel of the network's input


def _orientations(rng: torch.Generator, count: int) -> Tensor:
    """(B, 3, 3) turns of the person: any heading; some lie, a few are upside down."""
    kind = _rand(rng, count)
    tilt = 0.1 * _randn(rng, count)
    tilt = torch.where(kind < 0.14, math.pi / 2 + 0.45 * _randn(rng, count), tilt)
    tilt = torch.where(kind < 0.04, math.pi * _rand(rng, count), tilt)
    about = 2 * math.pi * _rand(rng, count)
    heading, fall = _rotation(1, 2 * math.pi * _rand(rng, count)), _rotation(1, about)
    return fall @ _rotation(0, tilt) @ fall.mT @ heading


def _camera(rng: torch.Generator, joints: Tensor) -> _View:
    """A camera at 0.3 to 6 m height that shows the person somewhere in its picture."""
    count = len(joints)
    long_side = torch.tan((30 + 60 * _rand(rng, count)) * math.pi / 360)
    ratio = torch.tensor([0.5625, 0.625, 0.75, 1.0])[torch.randint(4, (count,), generator=rng)]
    wide = _rand(rng, count) < 0.7
    half = torch.stack(
        [
            torch.where(wide, long_side, long_side * ratio),
            torch.where(wide, long_side * ratio, long_side),
        ],
        1,
    )
    share = torch.exp(math.log(0.12) + _rand(rng, count) * math.log(1.5 / 0.12))
    distance = (REFERENCE_STATURE_M / (2 * half[:, 1] * share)).clamp_min(1.0)
    height = torch.where(
        _rand(rng, count) < 0.8, 0.3 + 2.2 * _rand(rng, count), 6 * _rand(rng, count)
    )
    pelvis_height = -joints[..., 1].amin(1).clamp(-1.2, -0.1)  # the lowest joint is on the floor
    rise = torch.asin(((height - pelvis_height) / distance).clamp(-0.85, 0.85))
    bearing = (2 * _rand(rng, count, 2) - 1) * half * 1.05
    face = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # y up, z to the viewer -> camera axes
    look = look_at(bearing) @ _rotation(2, 0.05 * _randn(rng, count)) @ _rotation(0, rise)
    ray = torch.nn.functional.pad(bearing, (0, 1), value=1.0)
    ray = ray / ray.norm(dim=-1, keepdim=True)
    return _View(look @ face, distance[:, None] * ray, half, long_side / 256)


def _definition(rng: torch.Generator, shown: Tensor, options: EvidenceOptions) -> Tensor:
    """(B, 18, 3) offsets of a person's labels from the rig: hips wider and higher, and so on."""
    count, s = len(shown), options.definition_m
    if s == 0:
        return torch.zeros_like(shown)
    offset = s * 0.6 * _randn(rng, count, 18, 3)
    up = _normal(shown[:, J2D["neck"]] - shown[:, _TORSO[3:]].mean(1))
    for part, wider, higher in (("hip", 0.5, 1.0), ("shoulder", 0.0, 0.3)):
        right, left = J2D[f"right_{part}"], J2D[f"left_{part}"]
        side = _normal(shown[:, left] - shown[:, right])
        out = s * (wider + 1.2 * _randn(rng, count, 1)) * side
        rise = s * (higher + 1.2 * _randn(rng, count, 1)) * up
        offset[:, left] += rise + out
        offset[:, right] += rise - out
    offset[:, J2D["neck"]] += s * 0.8 * _randn(rng, count, 1) * up
    return offset


def _found(
    rng: torch.Generator, tangents: Tensor, shown: Tensor, view: _View, options: EvidenceOptions
) -> Tensor:
    """(B, 18) bool: inside the picture, not hidden, not missed."""
    count = len(tangents)
    missed = torch.tensor([0.3, 1.0, 2.0])[torch.randint(3, (count, 1), generator=rng)]
    hidden = _rand(rng, count, 18) < options.drop * missed
    for joints in _LIMB_JOINTS:  # the whole limb, or its end
        first = torch.randint(3, (count,), generator=rng)
        limb = _rand(rng, count) < options.drop_limb
        for k, joint in enumerate(joints):
            hidden[:, joint] |= limb & (first <= k)
    height = tangents[..., 1]
    low, high = height.amin(1), height.amax(1)
    line = low + (high - low) * (0.25 + 0.75 * _rand(rng, count))
    cut = _rand(rng, count) < options.drop_lower
    hidden |= cut[:, None] & (height > line[:, None])
    middle = tangents[torch.arange(count), torch.randint(18, (count,), generator=rng)]
    extent = (high - low)[:, None] * (0.1 + 0.4 * _rand(rng, count, 2))
    behind = ((tangents - middle[:, None]).abs() < extent[:, None] / 2).all(-1)
    hidden |= behind & (_rand(rng, count, 1) < options.occluder)
    found = ~(hidden & (_rand(rng, count, 1) < options.hard))
    if options.truncate:
        found &= (tangents.abs() < view.half[:, None]).all(-1)
    return found & _face_found(rng, shown, view, options)


FACING = {
    "nose": (1.0, 0.0, 0.25), "left_eye": (0.85, 0.4, 0.2), "right_eye": (0.85, -0.4, 0.2),
    "left_ear": (0.0, 1.0, 0.35), "right_ear": (0.0, -1.0, 0.35),
}  # fmt: skip
"""The head hides a point where the cosines of its axes ahead and leftward to the way to the camera,
times the first two, plus the third, are below 0.
"""


def _face_found(
    rng: torch.Generator, shown: Tensor, view: _View, options: EvidenceOptions
) -> Tensor:
    """(B, 18) bool: nose, eyes and ears are hidden by the head when it is turned away."""
    count = len(shown)
    found = torch.ones(count, 18, dtype=torch.bool)
    nose, right, left = (shown[:, J2D[n]] for n in ("nose", "right_ear", "left_ear"))
    to_camera = _normal(-view.pelvis_m)
    ahead = (_normal(nose - (left + right) / 2) * to_camera).sum(-1)
    leftward = (_normal(left - right) * to_camera).sum(-1)
    for name, (front, side, least) in FACING.items():
        facing = front * ahead + side * leftward + least
        found[:, J2D[name]] = facing + 0.15 * _randn(rng, count) > 0
    if options.drop > 0:  # faces that are pixelated, masked, or simply missed
        for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
            found[:, J2D[name]] &= _rand(rng, count) > 0.1
        missed = _rand(rng, count) < 0.12
        found[:, [0, 14, 15, 16, 17]] &= ~missed[:, None]
    return found


def _disturb(
    rng: torch.Generator, tangents: Tensor, view: _View, found: Tensor, options: EvidenceOptions
) -> tuple[Tensor, Tensor]:
    """Noisy tangents (B, 18, 2) and scores (B, 18); the worse a joint, the lower its score."""
    count, depth = len(tangents), view.pelvis_m[:, 2].clamp_min(0.3)
    quality = torch.exp(0.5 * _randn(rng, count, 1))  # of the person
    worse = torch.exp(0.5 * _randn(rng, count, 18))  # of each joint
    guessed = (_rand(rng, count, 18) < 0.08) & (options.drop > 0)
    worse = torch.where(guessed, 3 * worse, worse)
    sigma = options.noise_m * quality * worse * torch.tensor(JOINT_NOISE) / depth[:, None]
    sigma = (sigma**2 + (0.7 * view.pixel[:, None]) ** 2).sqrt()
    wild = _rand(rng, count, 18) < options.outlier
    sigma = torch.where(wild, sigma + 0.25 / depth[:, None], sigma)
    tangents = tangents + sigma[..., None] * _randn(rng, count, 18, 2)
    tangents = _swap_sides(rng, tangents, options)
    best = 0.4 + 0.6 * _rand(rng, count, 1)
    doubt = (0.25 * torch.log(worse) + 0.15 * torch.log(quality)).clamp(-0.3, 1.2)
    doubt = torch.where(wild, doubt.abs() + 0.5 * _rand(rng, count, 18), doubt)
    score = (best * torch.exp(-doubt) + 0.07 * _randn(rng, count, 18)).clamp(0.05, 1)
    return tangents, score * found


def _swap_sides(rng: torch.Generator, tangents: Tensor, options: EvidenceOptions) -> Tensor:
    """Arms, legs, or everything with left for right."""
    for part in (range(2, 8), range(8, 14), range(2, 18)):
        index = torch.tensor([FLIP2D[j] if j in part else j for j in range(18)])
        chosen = _rand(rng, len(tangents), 1, 1) < options.swap / (1 if len(part) < 7 else 3)
        tangents = torch.where(chosen, tangents[:, index], tangents)
    return tangents


def _codes(rng: torch.Generator, joints: Tensor, seen: Tensor, options: EvidenceOptions) -> Tensor:
    """(B, 18, 21, 3) noisy 3D codes at the joints that are seen; zeros for half of the people."""
    count = len(joints)
    bones = (joints - joints[:, BONE_PARENTS]) / CODE_UNIT_M  # (B, 21, 3)
    low, high = options.code_sigma
    sigma = low * (high / low) ** _rand(rng, count, 1, 1)
    rough = options.drop > 0
    if rough:  # a network that is unsure answers small, and sometimes mistakes front for back
        flat = 1 - 0.4 * _rand(rng, count, 1, 1) * torch.tensor([0.5, 0.5, 1.0])
        turned = torch.where(_rand(rng, count, 21, 1) < 0.05, -1.0, 1.0)
        bones = bones * flat * torch.where(torch.arange(3) == 2, turned, 1.0)
    bones = bones + 0.7 * sigma * _randn(rng, count, 21, 3)
    carried = len(CARRIED)
    codes = bones[:, CARRIED_BONES] + 0.7 * sigma * _randn(rng, count, carried, 3)  # (B, 33, 3)
    if rough:
        garbage = (_rand(rng, count, 18, 1) < 0.04)[:, CARRIERS]
        codes = torch.where(garbage, 0.8 * _randn(rng, count, carried, 3), codes)
        other = _rand(rng, count, 1, 1) < 0.03
        codes = torch.where(other, codes.roll(1, 0), codes)
    given = _rand(rng, count, 1) < options.codes
    return codes * (seen & given)[:, CARRIERS, None]


def _assume_camera(
    rng: torch.Generator, count: int, options: EvidenceOptions
) -> tuple[Tensor, Tensor]:
    """(B,) `known`, and (B,) true over assumed focal length."""
    error = options.focal_sigma * _randn(rng, count) * (_rand(rng, count) < 0.5)
    known = (_rand(rng, count) >= options.unknown_camera).to(torch.float32)
    return known, torch.exp(error)


def _rotation(axis: int, angle_rad: Tensor) -> Tensor:
    """(B,) angles about x, y or z -> (B, 3, 3)."""
    c, s = torch.cos(angle_rad), torch.sin(angle_rad)
    out = torch.zeros(len(angle_rad), 3, 3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, a, a], out[:, b, b], out[:, a, b], out[:, b, a] = c, c, -s, s
    return out


def _normal(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def _rand(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=rng)


def _randn(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng)
