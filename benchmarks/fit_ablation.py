"""What the skeleton fit makes of the lifter's poses, and what each of its residuals buys.

    python benchmarks/fit_ablation.py --data ../shared/data/synth

Takes of people in motion with exact truth (`xnect.synth.takes`: held-out motion capture, real body
shapes, a simulated detector), through the lifter, the tracker's filter and the fit; the fit again
with each residual switched off once, and with the floor known.  Everybody has a tracker of their
own, so that exchanged identities do not count.  The result goes to
`benchmarks/results/fit_ablation.json`, a Markdown table to the screen.

Figures, means over joints, people and frames:
* mpjpe_mm, pa_mpjpe_mm: joints from the pelvis against the truth; the worst 5 % of the poses;
* acceleration_error_m_s2: of the same joints; jitter_m_s3: length of their third derivative
  (the truth has some too);
* root_mm: absolute place of the pelvis; skate_mm: motion of ankles and toes along the floor, per
  frame of true contact; sunk_mm: depth of ankles and toes below the floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stages import machine

from xnect.calib.floor import Floor
from xnect.errors import XnectError
from xnect.eval.metrics import pa_mpjpe
from xnect.fit import FitOptions, fit
from xnect.lift import lift, load_lifter
from xnect.residuals import FEET
from xnect.rig import SOLES_M
from xnect.skeleton import ROOT
from xnect.starts import StartOptions
from xnect.synth.skeletons import load_bodies
from xnect.synth.takes import FRAME_S, Take, make_take
from xnect.track import Tracker
from xnect.types import Person, Pose3D

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "xnect" / "weights" / "open" / "lifter.safetensors"

Lifted = tuple[tuple[Pose3D, ...], ...]


def variants(base: FitOptions) -> dict[str, tuple[FitOptions, bool]]:
    """Name -> options, and whether the floor is known."""

    def without(**weights: float) -> tuple[FitOptions, bool]:
        return replace(base, weights=replace(base.weights, **weights)), False

    return {
        "fit": (base, False),
        "no 3D": without(shape_3d=0.0, bones_3d=0.0),
        "no bones": without(bones_3d=0.0),
        "no 2D": without(seen_2d=0.0),
        "no limits": without(limits=0.0),
        "no prior": without(ease=1e-9),
        "no smoothness": without(steady=0.0, root=0.0, depth=0.0),
        "no depth": without(depth=0.0),
        "no standing feet": without(stand=0.0),
        "not robust": without(soft_3d_m=100.0, soft_2d_m=100.0),
        "no further starts": (replace(base, starts=StartOptions(most=0)), False),
        "floor known": (base, True),
        "floor known, no harder from below": (
            replace(base, weights=replace(base.weights, sunk=1.0)),
            True,
        ),
        "floor known, no contact": (
            replace(base, past=replace(base.past, near_m=(-10.0, -9.0))),
            True,
        ),
    }


def make_takes(data: Path, count: int, people: int, frames: int) -> list[tuple[Take, Lifted]]:
    """Takes and what the lifter makes of them."""
    bodies, lifter = load_bodies(data), load_lifter(WEIGHTS)
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        take = make_take(rng, data, bodies, people=people, frames=frames)
        out.append((take, tuple(tuple(lift(p, lifter, camera=take.camera)) for p in take.partials)))
    return out


def follow(
    take: Take, lifted: Lifted, options: FitOptions, floor: Floor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(F, P, 21, 3) m filtered and fitted, nan where somebody is missed; (F,) ms of the fit."""
    frames, people = take.joints_m.shape[:2]
    trackers = [Tracker() for _ in range(people)]
    filtered = np.full(take.joints_m.shape, np.nan)
    fitted, ms = filtered.copy(), np.zeros(frames)
    for f, time_s in enumerate(take.time_s):
        found = [t.match([lifted[f][p]], None, time_s) for p, t in enumerate(trackers)]
        who = [p for p, tracks in enumerate(found) if tracks and tracks[-1].missed_s == 0]
        tracks = [found[p][-1] for p in who]
        begin = time.process_time()
        given: Sequence[Person] = fit(tracks, take.camera, time_s, options, floor=floor)
        ms[f] = 1e3 * (time.process_time() - begin)
        for p, track, person in zip(who, tracks, given, strict=True):
            trackers[p].remember([person])
            filtered[f, p], fitted[f, p] = track.pose.joints_m, person.joints3d_m
    return filtered, fitted, ms


def figures(take: Take, joints_m: np.ndarray, *, absolute: bool) -> dict[str, float]:
    """Errors of (F, P, 21, 3) m against the truth, as the top of this file says."""
    true, known = take.joints_m, np.isfinite(joints_m).all((-1, -2))
    mine, theirs = (a - a[..., ROOT, None, :] for a in (joints_m, true))
    off = np.linalg.norm(mine - theirs, axis=-1)
    out = {
        "mpjpe_mm": 1e3 * float(off[known].mean()),
        "worst_5_percent_mm": 1e3 * float(np.percentile(off[known].mean(-1), 95)),
        "pa_mpjpe_mm": 1e3 * pa_mpjpe(mine[known], theirs[known]),
        "acceleration_error_m_s2": _speeding(mine - theirs, known, 2),
        "jitter_m_s3": _speeding(mine, known, 3),
        "true_jitter_m_s3": _speeding(theirs, known, 3),
    }
    if absolute:
        out["root_mm"] = 1e3 * float(
            np.linalg.norm((joints_m - true)[..., ROOT, :], axis=-1)[known].mean()
        )
        out |= _on_the_floor(take, joints_m, known)
    return out


def _speeding(joints_m: np.ndarray, known: np.ndarray, order: int) -> float:
    """Mean length of the derivative of this order, where all its frames are known."""
    whole = np.lib.stride_tricks.sliding_window_view(known, order + 1, axis=0).all(-1)
    derivative = np.diff(joints_m, order, axis=0) / FRAME_S**order
    return float(np.linalg.norm(derivative, axis=-1)[whole].mean())


def _on_the_floor(take: Take, joints_m: np.ndarray, known: np.ndarray) -> dict[str, float]:
    normal = np.array(take.floor.normal)
    feet = joints_m[:, :, FEET]
    stands = np.repeat(take.contact, 2, axis=-1)  # ankle and toe of each foot
    stands = stands[1:] & stands[:-1] & (known[1:] & known[:-1])[..., None]
    step = np.diff(feet, axis=0)
    step = step - (step @ normal)[..., None] * normal
    height = take.floor.heights_m(feet) - np.tile(list(SOLES_M.values()), 2)
    return {
        "skate_mm": 1e3 * float(np.linalg.norm(step, axis=-1)[stands].mean()),
        "sunk_mm": 1e3 * float(np.maximum(-height, 0)[known].mean()),
    }


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([r[name] for r in rows])), 2) for name in rows[0]}


def measure(
    takes: list[tuple[Take, Lifted]], say: Callable[[str], object]
) -> dict[str, dict[str, float]]:
    """Row -> figures: before the fit, and each variant of it."""
    rows: dict[str, dict[str, float]] = {}
    lifted = [np.array([[p.joints_m for p in frame] for frame in poses]) for _, poses in takes]
    rows["lifter"] = _mean(
        [figures(t, j, absolute=False) for (t, _), j in zip(takes, lifted, strict=True)]
    )
    truth = [figures(t, t.joints_m, absolute=True) for t, _ in takes]
    for name, (options, on_floor) in variants(FitOptions()).items():
        before, after, ms = [], [], []
        for take, poses in takes:
            filtered, fitted, spent = follow(take, poses, options, take.floor if on_floor else None)
            before.append(figures(take, filtered, absolute=False))
            after.append(figures(take, fitted, absolute=True))
            ms.append(spent)
        if name == "fit":
            rows["lifter, filtered"] = _mean(before)
        rows[name] = {
            **_mean(after),
            "cpu_ms_per_frame": round(float(np.median(np.concatenate(ms))), 2),
        }
        say(f"{name}: {rows[name]}")
    rows["truth"] = _mean(truth)
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: a row for each variant."""
    names = [
        "mpjpe_mm", "worst_5_percent_mm", "pa_mpjpe_mm", "acceleration_error_m_s2", "jitter_m_s3",
        "root_mm", "skate_mm", "sunk_mm",
    ]  # fmt: skip
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for label, row in rows.items():
        cells = [f"{row[n]:.1f}" if n in row else "-" for n in names]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "synth")
    parser.add_argument("--takes", type=int, default=6)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--frames", type=int, default=90, help="per take, at 30 frames/s")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fit_ablation.json")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    try:
        takes = make_takes(options.data, options.takes, options.people, options.frames)
        rows = measure(takes, lambda text: print(text, file=sys.stderr, flush=True))
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found: dict[str, Any] = {
        "takes": options.takes, "people": options.people, "frames": options.frames,
        "rows": rows, "machine": machine(),
    }  # fmt: skip
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
