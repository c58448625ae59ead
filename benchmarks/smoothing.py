"""What the live filter delays and what smoothing a whole take buys, against the truth.

    python benchmarks/smoothing.py --data ../shared/data/synth

1. Lag on a known motion: somebody whose limbs all swing at one frequency, seen without error, goes
   through the tracker's filter and the fit at 30 frames/s; phase and gain of the hands and feet
   against the truth, at rest of the body.  The same for the unfiltered pipeline and `smooth_take`.
2. Lag on real motion: takes of motion capture (`xnect.synth.takes`: held-out clips, real body
   shapes) seen without error, through lifter, tracker and fit; the shift in time at which found and
   true velocities of the joints about the pelvis correlate best.
3. Accuracy on the same takes with a simulated detector's errors: live; unfiltered; unfiltered,
   then smoothed; and with feet locked.  Everybody has a tracker of their own, so that exchanged
   identities do not count.

The result goes to `benchmarks/results/smoothing.json`, Markdown tables to the screen.

Figures, means over joints, people and frames: mpjpe_mm of the joints about the pelvis; root_mm of
the pelvis; acceleration_error_mm and jitter_mm (length of the acceleration) per frame^2 in camera
space and about the pelvis; skate_mm: motion of ankles and toes per frame of true contact;
own_skate_mm: the same while `lock_feet` says that they stand; contact_recall and _precision: share
of the true frames of standing points that it finds, and of the found ones that are true; lag_ms as
in 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from xnect.calib.camera import Camera
from xnect.contact import POINTS, foot_skate_mm, lock_feet
from xnect.demo.machine import machine
from xnect.errors import XnectError
from xnect.eval.metrics import accelerations
from xnect.fit import FitOptions, fit
from xnect.kinematics import Pose, forward, offsets_m, with_hinges
from xnect.lift import lift, load_lifter
from xnect.model import WEIGHTS, unfiltered
from xnect.recording import Recording, load_recording, save_recording
from xnect.rig import JOINTS, RIG
from xnect.rotations import matrix_from_rotvec
from xnect.skeleton import BODY, J3D, ROOT
from xnect.smooth import SmoothOptions, smooth_take
from xnect.synth.skeletons import load_bodies
from xnect.synth.takes import DetectorOptions, Take, make_take
from xnect.track import Tracker, TrackOptions
from xnect.types import PartialPose, Pose3D, Result

HERE = Path(__file__).resolve().parent
FPS = 30.0
FLAWLESS = DetectorOptions(
    offset_m=0, drift_m=0, tremble_m=0, missing=0, wild=0, swapped=0, code_sigma=0, flipped=0
)
ENDS = [J3D[f"{side}_{part}"] for side in ("left", "right") for part in ("wrist", "ankle")]
FREQUENCIES_HZ = (0.5, 1.0, 2.0, 3.0)

Options = tuple[TrackOptions, FitOptions]
Seen = Sequence[Sequence[Pose3D]]


def followed(seen: Seen, camera: Camera, time_s: np.ndarray, options: Options) -> Recording:
    """F x P poses -> a recording; person p is number p + 1."""
    track, fitting = options
    trackers = [Tracker(track) for _ in seen[0]]
    results = []
    for f, poses in enumerate(seen):
        people = []
        for p, (tracker, pose) in enumerate(zip(trackers, poses, strict=True)):
            tracks = tracker.match([pose], None, float(time_s[f]))[-1:]
            given = fit(tracks, camera, float(time_s[f]), fitting)
            tracker.remember(given)
            people += [replace(person, track_id=p + 1) for person in given]
        hw = (camera.height_px, camera.width_px)
        results.append(Result(f, float(time_s[f]), hw, camera, tuple(people)))
    with tempfile.TemporaryDirectory() as folder:
        return load_recording(save_recording(Path(folder) / "take", results, fps=FPS))


def joints_of(recording: Recording, people: int) -> np.ndarray:
    """(F, P, 21, 3) m, nan where somebody is missing."""
    out = np.full((len(recording.time_s), people, JOINTS, 3), np.nan)
    out[recording.person_frame, recording.track_id - 1] = recording.joints3d_m
    return out


def swinging(hz: float, seconds: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """(F,) s and (F, 21, 3) m in camera space: all limbs swing by 20 degrees at `hz`."""
    time_s = np.arange(int(seconds * FPS)) / FPS
    wave = np.radians(20) * np.sin(2 * np.pi * hz * time_s)
    local = np.tile(np.eye(3), (len(time_s), JOINTS, 1, 1))
    local[:, ROOT] = np.diag([1.0, -1.0, -1.0]) @ matrix_from_rotvec(np.array([0, 0.5, 0]))
    for sign, side in ((1, "left"), (-1, "right")):
        arm = np.stack([0 * wave, wave, 0 * wave - sign * 0.6], 1)
        local[:, J3D[f"{side}_shoulder"]] = matrix_from_rotvec(arm)
        local[:, J3D[f"{side}_hip"]] = matrix_from_rotvec(np.outer(sign * wave, (1, 0, 0)))
    bend = np.tile(np.where(np.isin(RIG.hinges, [J3D["left_ankle"], J3D["right_ankle"]]), 0, 0.6),
                   (len(time_s), 1))  # fmt: skip
    pose = with_hinges(Pose(np.tile([0.0, 0.1, 4.0], (len(time_s), 1)), local), bend)
    rest = offsets_m(np.tile(BODY.lengths_m, (len(time_s), 1)))
    return time_s, forward(pose, rest).points_m


def perfectly_seen(points_m: np.ndarray, camera: Camera) -> list[list[Pose3D]]:
    """(F, N, 3) m points of the rig -> what a network without error gives, one person a frame."""
    out = []
    for points in points_m:
        pixels = camera.project(points[RIG.seen])
        partial = PartialPose(pixels, np.full(18, 0.9), np.zeros((18, 63)), 0.9)
        joints = points[:JOINTS] - points[ROOT]
        out.append([Pose3D(partial, joints, np.full(JOINTS, 0.9))])
    return out


def response(found_m: np.ndarray, true_m: np.ndarray, time_s: np.ndarray, hz: float) -> list[float]:
    """Lag in ms and gain of (F, K, 3) m at one frequency; the first 2 s and the last are left."""
    inside = (time_s > 2) & (time_s < time_s[-1] - 1)
    wave = np.exp(-2j * np.pi * hz * time_s[inside])
    parts = [
        np.tensordot(wave, (m - m[:, ROOT, None])[inside][:, ENDS], 1) for m in (found_m, true_m)
    ]
    ratio = (parts[0] * parts[1].conj()).sum() / (np.abs(parts[1]) ** 2).sum()
    return [float(-np.angle(ratio) / (2 * np.pi * hz) * 1e3), float(abs(ratio))]


def lag_ms(found_m: np.ndarray, true_m: np.ndarray, time_s: np.ndarray) -> float:
    """By how much (F, ..., 3) m must be moved back in time to fit the truth best.

    By the correlation of velocities; frames with nan are left out.
    """
    known = np.isfinite(found_m).reshape(len(found_m), -1).all(1)
    speed = np.gradient(np.where(known.reshape(-1, *[1] * (found_m.ndim - 1)), found_m, 0), time_s,
                        axis=0)  # fmt: skip
    known &= np.roll(known, 1) & np.roll(known, -1)
    known &= (time_s > 0.5) & (time_s < time_s[-1] - 0.5)
    true_speed = CubicSpline(time_s, true_m).derivative()
    shifts_s = np.arange(-0.1, 0.3, 0.001)
    match = []
    for shift in shifts_s:
        then = true_speed(time_s[known] - shift)
        match.append((speed[known] * then).sum() / np.sqrt((then**2).sum()))
    return float(1e3 * shifts_s[int(np.argmax(match))])


def figures(take: Take, recording: Recording) -> dict[str, float]:
    """As the top of this file says."""
    true = take.joints_m
    found = joints_of(recording, true.shape[1])
    known = np.isfinite(found).all((-1, -2))
    pose, true_pose = (m - m[..., ROOT, None, :] for m in (found, true))
    off = np.linalg.norm(pose - true_pose, axis=-1)[known]
    root = np.linalg.norm((found - true)[..., ROOT, :], axis=-1)[known]
    out = {"mpjpe_mm": 1e3 * off.mean(), "root_mm": 1e3 * root.mean()}
    for name, mine, theirs in (("", found, true), ("pose_", pose, true_pose)):
        change, wanted = accelerations(mine), accelerations(theirs)
        whole = np.isfinite(change).all((-1, -2))
        for kind, of in (("jitter", change), ("true_jitter", wanted),
                         ("acceleration_error", change - wanted)):  # fmt: skip
            out[f"{name}{kind}_mm"] = 1e3 * np.linalg.norm(of, axis=-1)[whole].mean()
    feet = [J3D[name] for name in POINTS]
    stands = np.repeat(take.contact[1:] & take.contact[:-1], 2, axis=-1)
    for name, of in (("skate_mm", found), ("true_skate_mm", true)):
        steps = np.linalg.norm(np.diff(of[:, :, feet], axis=0), axis=-1)
        out[name] = 1e3 * steps[stands & np.isfinite(steps)].mean()
    lags = [lag_ms(pose[:, p], true_pose[:, p], take.time_s) for p in range(true.shape[1])]
    out["lag_ms"] = float(np.mean(lags))
    return {name: float(value) for name, value in out.items()}


def contact_found(take: Take, recording: Recording, contact: np.ndarray) -> dict[str, float]:
    """Recall and precision, in percent, of standing points (N, 4)."""
    true = np.repeat(take.contact[recording.person_frame, recording.track_id - 1], 2, axis=-1)
    both = 100.0 * (contact & true).sum()
    return {
        "contact_recall_percent": float(both / max(true.sum(), 1)),
        "contact_precision_percent": float(both / max(contact.sum(), 1)),
    }


def stages(seen: Seen, camera: Camera, time_s: np.ndarray) -> dict[str, Recording]:
    """The takes that are compared."""
    live = followed(seen, camera, time_s, (TrackOptions(), FitOptions()))
    raw = followed(seen, camera, time_s, unfiltered())
    smooth = smooth_take(raw)
    return {
        "live": live, "unfiltered": raw, "smoothed": smooth,
        "smoothed, feet locked": lock_feet(smooth).recording,
        "live, then smoothed": smooth_take(live),
    }  # fmt: skip


def known_motion() -> dict[str, dict[str, list[float]]]:
    """Frequency -> stage -> lag in ms and gain."""
    camera = Camera(1000.0, 1000.0, 639.5, 359.5, 1280, 720)
    out: dict[str, dict[str, list[float]]] = {}
    for hz in FREQUENCIES_HZ:
        time_s, points = swinging(hz)
        found = stages(perfectly_seen(points, camera), camera, time_s)
        out[f"{hz:g} Hz"] = {
            name: response(joints_of(take, 1)[:, 0], points[:, :JOINTS], time_s, hz)
            for name, take in found.items()
        }
    return out


def takes(
    data: Path, count: int, people: int, frames: int, detector: DetectorOptions
) -> list[tuple[Take, Seen]]:
    """Takes, and what the lifter makes of them."""
    bodies, lifter = load_bodies(data), load_lifter(WEIGHTS / "open" / "lifter.safetensors")
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        take = make_take(rng, data, bodies, people=people, frames=frames, detector=detector)
        out.append((take, [lift(p, lifter, camera=take.camera) for p in take.partials]))
    return out


def real_motion(chosen: Sequence[tuple[Take, Seen]]) -> dict[str, dict[str, float]]:
    """Stage -> figures, means over the takes."""
    found: dict[str, list[dict[str, float]]] = {}
    for take, seen in chosen:
        for name, recording in stages(seen, take.camera, take.time_s).items():
            own = lock_feet(recording)
            row = figures(take, recording)
            row["own_skate_mm"] = foot_skate_mm(recording, own.contact)
            row |= contact_found(take, recording, own.contact)
            found.setdefault(name, []).append(row)
    return {
        name: {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
        for name, rows in found.items()
    }


def tables(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| motion | " + " | ".join(next(iter(result["known_motion"].values()))) + " |"]
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for hz, row in result["known_motion"].items():
        cells = [f"{lag:.0f} ms, gain {gain:.2f}" for lag, gain in row.values()]
        lines.append(f"| {hz} | {' | '.join(cells)} |")
    for title in ("flawless_detector", "simulated_detector"):
        rows = result[title]
        lines += ["", f"| {title} | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
        for key in next(iter(rows.values())):
            lines.append(f"| {key} | " + " | ".join(f"{r[key]:.1f}" for r in rows.values()) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="the synthetic people pack")
    parser.add_argument("--takes", type=int, default=4, help="default 4")
    parser.add_argument("--people", type=int, default=2, help="per take (default 2)")
    parser.add_argument("--frames", type=int, default=150, help="per take (default 150)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "smoothing.json")
    args = parser.parse_args()
    if args.out and not args.out.parent.is_dir():
        parser.error(f"no folder {args.out.parent} to write to")
    try:
        size = (args.data, args.takes, args.people, args.frames)
        result: dict[str, Any] = {
            "takes": args.takes, "people": args.people, "frames": args.frames,
            "options": {"smooth": vars_of(SmoothOptions())},
            "known_motion": known_motion(),
            "flawless_detector": real_motion(takes(*size, FLAWLESS)),
            "simulated_detector": real_motion(takes(*size, DetectorOptions())),
        }  # fmt: skip
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    result["machine"] = machine()
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(tables(result))
    print(f"\nwritten to {args.out}")
    return 0


def vars_of(options: SmoothOptions) -> dict[str, float]:
    """The fields of the options."""
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


if __name__ == "__main__":
    sys.exit(main())
