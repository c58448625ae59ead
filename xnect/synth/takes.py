"""Takes: people who move for seconds in front of one camera, what a detector says of them, truth.

Motion is that of clips that are held out of training, on bodies drawn from the shape space.  What
a detector says is wrong as over time detectors are: a constant offset of each person's joints, an
error that drifts, one that trembles, joints that are missing or elsewhere for some frames, limbs
of the other side.  No picture is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor, floor_of
from xnect.errors import BadInput
from xnect.lift import CARRIED
from xnect.npz import read_npz
from xnect.rig import SOLES_M
from xnect.rotations import matrix_from_quat, matrix_from_rotvec
from xnect.skeleton import BONE_PARENTS, CODE_UNIT_M, FLIP2D, J3D, REFERENCE_STATURE_M
from xnect.synth.skeletons import HELD_OUT, Bodies, pose
from xnect.types import PartialPose

FRAME_S = 1 / 30
_ARMS, _LEGS = range(2, 8), range(8, 14)


@dataclass(frozen=True)
class DetectorOptions:
    """How bad the simulated detector is; lengths at the person's depth."""

    offset_m: float = 0.015  # of a joint of a person, constant: labels differ from the rig
    drift_m: float = 0.012  # slow error
    drift_s: float = 0.3  # for which it lasts
    tremble_m: float = 0.010  # from frame to frame
    missing: float = 0.10  # share of joints that are not found
    missing_s: float = 0.3  # for which they stay away
    wild: float = 0.01  # share of joints that are elsewhere
    wild_m: float = 0.25
    swapped: float = 0.02  # share of frames with arms, and with legs, of the wrong side
    brief_s: float = 0.1  # for which wild and swapped joints last
    code_sigma: float = 0.25  # of the 3D codes, in their unit
    flipped: float = 0.03  # share of frames in which the codes take front for back


@dataclass(frozen=True, eq=False)
class Take:
    """F frames of P people: the truth, and what is seen."""

    camera: Camera
    time_s: np.ndarray  # (F,)
    joints_m: np.ndarray  # (F, P, 21, 3) camera space
    contact: np.ndarray  # (F, P, 2) bool: left and right foot stand still on the floor
    floor: Floor  # of the take's world
    partials: tuple[tuple[PartialPose, ...], ...]  # F x P, person p is number p


def make_take(
    rng: np.random.Generator,
    root: str | Path,
    bodies: Bodies,
    *,
    people: int,
    frames: int,
    detector: DetectorOptions = DetectorOptions(),
    camera: Camera | None = None,
    statures_m: Sequence[float] | None = None,
) -> Take:
    """One take from the pack of synthetic people at `root`.

    Args:
        rng: decides everything that is not given.
        root: of the pack.
        bodies: shapes of people, from `load_bodies(root)`.
        people: how many, side by side, 4 to 7 m away.
        frames: at 30 per second.
        detector: how bad it is.
        camera: None is one of 1280x720 pixels and f = 1000 pixels.
        statures_m: of each person; None makes everybody 1.70 m tall.

    Raises:
        BadInput: there is no `motion.npz`, no held-out clip is long enough, or there is not one
            stature for each person.
    """
    camera = camera or Camera(1000.0, 1000.0, 639.5, 359.5, 1280, 720)
    if statures_m is None:
        statures_m = [REFERENCE_STATURE_M] * people
    if len(statures_m) != people:
        raise BadInput(f"{people} people need {people} statures, got {len(statures_m)}")
    rise, down = rng.uniform(1.0, 2.2), rng.uniform(0.05, 0.2)
    tilt = matrix_from_rotvec(np.array([down, 0, 0])) @ np.diag((1.0, -1.0, -1.0))
    bodies_m, shown_m, contact = [], [], []
    for p in range(people):
        joints, shown, stands = _moving(rng, Path(root), bodies, frames)
        size = statures_m[p] / REFERENCE_STATURE_M  # of the way they go as well
        away_m = rng.uniform(4, 7) + 0.3 * max(0, people - 6)
        place = np.array([away_m * ((p + 0.5) / people - 0.5), -rise, -away_m])  # side by side
        bodies_m.append((size * joints + place) @ tilt.T)
        shown_m.append((size * shown + place) @ tilt.T)
        contact.append(stands)
    joints_m, seen_m = np.stack(bodies_m, 1), np.stack(shown_m, 1)  # (F, P, ., 3)
    partials = detect(rng, camera, joints_m, seen_m, detector)
    floor = floor_of(tilt[:, 1], rise)
    return Take(
        camera, FRAME_S * np.arange(frames), joints_m, np.stack(contact, 1), floor, partials
    )


def _moving(
    rng: np.random.Generator, root: Path, bodies: Bodies, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(F, 21, 3) and (F, 18, 3) m on the floor y = 0, and (F, 2) contact of the feet."""
    path = root / "motion.npz"
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give the folder of the synthetic people pack")
    motion = read_npz(path, "the part of the pack")
    long = motion["clip_length"] >= frames
    good = np.flatnonzero(long & np.isin(motion["clip_group"], list(HELD_OUT)))
    if not len(good):
        raise BadInput(f"no held-out clip of {path} has {frames} frames; ask for fewer")
    clip = rng.choice(good)
    spare = motion["clip_length"][clip] - frames
    first = int(motion["clip_start"][clip] + rng.integers(spare + 1))
    chosen = slice(first, first + frames)
    xyzw = motion["rotation"][chosen].astype(np.float64)
    path_m, lift_m = motion["root"][chosen].astype(float), motion["lift"][chosen].astype(float)
    contact = motion["foot_contact"][chosen] > 0
    source = motion["rig_bone_source"].astype(int)
    turned = matrix_from_quat(xyzw[..., [3, 0, 1, 2]])[:, source]
    body = np.full(frames, rng.integers(len(bodies.heads_m)))
    skeletons = pose(bodies, body, turned)
    joints, shown = skeletons.joints_m.astype(float), skeletons.shown_m.astype(float)
    # `pose` gives every frame reference size; a take needs a body whose bones stay as they are.
    thigh = np.linalg.norm(joints[:, J3D["left_knee"]] - joints[:, J3D["left_hip"]], axis=-1)
    size = (np.median(thigh) / thigh)[:, None, None]
    joints, shown = joints * size, shown * size
    feet = [J3D[f"{side}_{part}"] for side in ("left", "right") for part in SOLES_M]
    soles = joints[:, feet, 1] - np.tile(list(SOLES_M.values()), 2)
    path_m[:, [0, 2]] -= path_m[:, [0, 2]].mean(0)
    lowest = minimum_filter1d(np.minimum(soles.min(1), joints[..., 1].min(1) - 0.013), 3)
    path_m[:, 1] = gaussian_filter1d(lift_m - lowest, 1.5)
    heading = matrix_from_rotvec(np.array([0, rng.uniform(0, 2 * np.pi), 0]))
    return (
        (joints + path_m[:, None]) @ heading.T,
        (shown + path_m[:, None]) @ heading.T,
        contact,
    )


def detect(
    rng: np.random.Generator,
    camera: Camera,
    joints_m: np.ndarray,
    shown_m: np.ndarray,
    options: DetectorOptions,
) -> tuple[tuple[PartialPose, ...], ...]:
    """(F, P, 21, 3) joints, (F, P, 18, 3) visible points -> F x P partial poses."""
    frames, people = joints_m.shape[:2]
    each = (frames, people, 18)
    error = options.offset_m * rng.normal(size=(1, people, 18, 2))
    error = error + options.drift_m * drifting(rng, (*each, 2), options.drift_s)
    error = error + options.tremble_m * rng.normal(size=(*each, 2))
    wild = bursts(rng, each, options.wild, options.brief_s)
    error = error + wild[..., None] * options.wild_m * rng.normal(size=(*each, 2))
    rays = shown_m[..., :2] / np.maximum(shown_m[..., 2:], 0.2)
    pixels = camera.project(shown_m) + error * (camera.fx_px, camera.fy_px) / shown_m[..., 2:]
    for limbs in (_ARMS, _LEGS):
        other = [FLIP2D[j] if j in limbs else j for j in range(18)]
        swap = bursts(rng, each[:2], options.swapped, options.brief_s)
        pixels = np.where(swap[..., None, None], pixels[:, :, other], pixels)
    size = np.array([camera.width_px, camera.height_px])
    inside = ((pixels >= 0) & (pixels < size)).all(-1) & np.isfinite(rays).all(-1)
    found = inside & ~bursts(rng, each, options.missing, options.missing_s)
    worse = np.linalg.norm(error, axis=-1) / 0.05
    score = np.clip(0.85 * np.exp(-0.3 * worse) + 0.07 * rng.normal(size=each), 0.05, 1) * found
    codes = _codes(rng, joints_m, score > 0, options)
    return tuple(
        tuple(
            PartialPose(pixels[f, p], score[f, p], codes[f, p], float(score[f, p].mean()))
            for p in range(people)
        )
        for f in range(frames)
    )


def _codes(
    rng: np.random.Generator, joints_m: np.ndarray, seen: np.ndarray, options: DetectorOptions
) -> np.ndarray:
    """(F, P, 18, 63) planar codes, wrong in a way that lasts, shared by what reads them."""
    bones = (joints_m - joints_m[:, :, list(BONE_PARENTS)]) / CODE_UNIT_M
    flipped = bursts(rng, bones.shape[:2], options.flipped, options.brief_s)
    bones = bones * np.where(flipped[..., None, None], (1, 1, -1), 1)
    bones = bones + options.code_sigma * drifting(rng, bones.shape, options.drift_s)
    codes = np.zeros((*seen.shape, 3, len(BONE_PARENTS)))
    for joint, bone in CARRIED:
        codes[:, :, joint, :, bone] = bones[:, :, bone]
    codes += options.code_sigma * rng.normal(size=codes.shape) * (codes != 0)
    return (codes * seen[..., None, None]).reshape(*seen.shape, -1)


def drifting(
    rng: np.random.Generator, shape: tuple[int, ...], lasts_s: float, *, frame_s: float = FRAME_S
) -> np.ndarray:
    """Noise of unit variance along the first axis that forgets itself after `lasts_s`."""
    keep = np.exp(-frame_s / lasts_s)
    out = rng.normal(size=shape)
    for f in range(1, shape[0]):
        out[f] = keep * out[f - 1] + np.sqrt(1 - keep**2) * out[f]
    return out


def bursts(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    share: float,
    lasts_s: float,
    *,
    frame_s: float = FRAME_S,
) -> np.ndarray:
    """Bool: true for `share` of the frames (first axis), for about `lasts_s` at a time."""
    end = min(1.0, frame_s / lasts_s)
    begin = end * share / max(1 - share, 1e-9)
    out = np.zeros(shape, bool)
    out[0] = rng.random(shape[1:]) < share
    for f in range(1, shape[0]):
        chance = rng.random(shape[1:])
        out[f] = np.where(out[f - 1], chance >= end, chance < begin)
    return out
