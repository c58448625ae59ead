"""How far from the truth people are placed in camera space, and what tells the program better.

    python benchmarks/root_error.py --data ../shared/data/synth

Takes of one adult (1.55 to 1.95 m) and one child (0.95 to 1.40 m) with exact truth
(`xnect.synth.takes`: held-out motion capture, a simulated detector; children are small adults, with
an adult's proportions), each take with another camera: horizontal field of view 50 to 80 degrees,
as phones and webcams have.  Lifter, tracker, fit and builds as in the product; everybody has a
stream of their own, so that neither exchanged identities nor the other's stature count.

Each take eight times: with the true intrinsics or with `Camera.guess`; with the true floor or
without; with the true stature (`--height`) or with the assumed 1.70 m.  The floor under a guessed
camera is the true plane: a floor that was marked with the guess would fit it better.

What the figures mean, over people and frames, in metres unless they say otherwise:
* `root`: distance of the pelvis from its true place: `median`, `mean`, `p95`;
* `depth`: its part along the ray from the camera to the true pelvis; `lateral`: its part across
  that ray.  One picture shows directions well and size not at all, so that without a floor depth is
  wrong by the share by which stature or focal length are, and lateral hardly ever;
* `depth_bias_percent`: median of (found - true) / true depth: positive is too far.  A focal length
  that is guessed 40 % too long puts people 40 % too far;
* `settled`: depth after the first two seconds, when a stature that is measured over the floor has
  been taken;
* `stature_percent`: median error of the stature in use in the last frame; `stature_sd_percent`:
  median of what the person says of it (`Person.stature_sd_m`); `within_2_sd_percent`: share of the
  people whose true stature is nearer than twice that.

The result goes to `benchmarks/results/root_error.json`, a Markdown table to the screen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stages import machine

from xnect.calib.camera import Camera
from xnect.errors import BadInput, XnectError
from xnect.fit import FitOptions, fit
from xnect.lift import lift, load_lifter
from xnect.proportions import Builds, ProportionOptions
from xnect.skeleton import REFERENCE_STATURE_M, ROOT
from xnect.synth.skeletons import load_bodies
from xnect.synth.takes import FRAME_S, make_take
from xnect.track import Tracker
from xnect.types import Pose3D

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "xnect" / "weights" / "open" / "lifter.safetensors"
WIDTH_PX, HEIGHT_PX = 1280, 720
FIELD_DEG = (50.0, 80.0)
ADULT_M, CHILD_M = (1.55, 1.95), (0.95, 1.40)
WHO = ("adult", "child")
SETTLED_S = 2.0


def camera_of(field_deg: float) -> Camera:
    """The camera with this horizontal field of view."""
    focal = WIDTH_PX / 2 / np.tan(np.radians(field_deg) / 2)
    return Camera(focal, focal, (WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2, WIDTH_PX, HEIGHT_PX)


def placed(
    poses: list[Pose3D], time_s: np.ndarray, camera: Camera, height_m: float | None
) -> tuple[np.ndarray, float, float]:
    """(F, 3) m pelvis of one person, nan where nobody is given out; stature and its sd at the end.

    As `Pipeline.stream` does it, from the poses of one person on.
    """
    options, learn = FitOptions(), ProportionOptions()
    if height_m is not None:
        options, learn = replace(options, height_m=height_m), replace(learn, given=True)
    tracker, builds = Tracker(), Builds(learn, options.height_m)
    root_m, last, sd_m = np.full((len(time_s), 3), np.nan), 0, np.nan
    for f, now_s in enumerate(time_s):
        tracks = tracker.match([poses[f]], None, float(now_s))
        people = fit(tracks, camera, float(now_s), options, floor=camera.floor)
        tracker.remember(people)
        builds.update(tracker, tracks, people, camera, float(now_s))
        for track, person in zip(tracks, people, strict=True):
            if track.missed_s == 0:
                root_m[f], last, sd_m = person.root_m, track.track_id, person.stature_sd_m
    return root_m, builds[last].stature_m, sd_m


def errors(root_m: np.ndarray, true_m: np.ndarray) -> dict[str, np.ndarray]:
    """(F, 3) m found and true -> (F,) m root, depth, lateral; (F,) signed share of the depth."""
    away = np.linalg.norm(true_m, axis=-1)
    off = root_m - true_m
    along = (off * true_m).sum(-1) / away
    across = np.sqrt(np.maximum((off**2).sum(-1) - along**2, 0))
    return {
        "root": np.linalg.norm(off, axis=-1), "depth": np.abs(along), "lateral": across,
        "share": along / away,
    }  # fmt: skip


Key = tuple[bool, bool, bool, str]  # true intrinsics, known floor, told stature, who


def one_take(
    seed: int, data: Path, frames: int
) -> dict[Key, tuple[dict[str, np.ndarray], float, float]]:
    """Errors of each frame, and shares by which the stature is wrong and unsure at the end."""
    bodies, lifter, rng = load_bodies(data), load_lifter(WEIGHTS), np.random.default_rng(seed)
    tall = (rng.uniform(*ADULT_M), rng.uniform(*CHILD_M))
    camera = camera_of(rng.uniform(*FIELD_DEG))
    take = make_take(rng, data, bodies, people=2, frames=frames, camera=camera, statures_m=tall)
    out = {}
    for known in (True, False):
        used = camera if known else Camera.guess(HEIGHT_PX, WIDTH_PX)
        lifted = [lift(p, lifter, camera=used) for p in take.partials]
        for floor, told, p in itertools.product((False, True), (False, True), range(2)):
            root_m, stature_m, sd_m = placed(
                [frame[p] for frame in lifted], take.time_s,
                replace(used, floor=take.floor if floor else None), tall[p] if told else None,
            )  # fmt: skip
            found = errors(root_m, take.joints_m[:, p, ROOT])
            wrong, unsure = stature_m / tall[p] - 1, sd_m / tall[p]
            out[known, floor, told, WHO[p]] = found, wrong, unsure
    return out


def measure(data: Path, seeds: range, frames: int, jobs: int) -> list[dict[str, Any]]:
    """A row for each condition and for adults and children: errors over all takes."""
    takes = []
    with ProcessPoolExecutor(jobs) as pool:
        for take in pool.map(one_take, seeds, [data] * len(seeds), [frames] * len(seeds)):
            takes.append(take)
            print(f"{len(takes)} of {len(seeds)} takes", file=sys.stderr, flush=True)
    settled = int(SETTLED_S / FRAME_S)
    rows = []
    for key in takes[0]:
        wrong = np.array([abs(take[key][1]) for take in takes])
        unsure = np.array([take[key][2] for take in takes])
        rows.append({
            "intrinsics": "true" if key[0] else "guessed", "floor": key[1], "height": key[2],
            "who": key[3], **figures([take[key][0] for take in takes], settled),
            "stature_percent": round(100 * float(np.median(wrong)), 1),
            "stature_sd_percent": round(100 * float(np.median(unsure)), 1),
            "within_2_sd_percent": round(100 * float((wrong < 2 * unsure).mean()), 1),
        })  # fmt: skip
    return rows


def figures(some: list[dict[str, np.ndarray]], settled: int) -> dict[str, Any]:
    """Median, mean and 95th percentile over the frames of several people."""
    out: dict[str, Any] = {}
    for name in ("root", "depth", "lateral"):
        values = np.concatenate([one[name] for one in some])
        values = values[np.isfinite(values)]
        out[name] = {
            "median": round(float(np.median(values)), 3), "mean": round(float(values.mean()), 3),
            "p95": round(float(np.percentile(values, 95)), 3),
        }  # fmt: skip
    late = np.concatenate([one["depth"][settled:] for one in some])
    out["settled"] = round(float(np.nanmedian(late)), 3) if np.isfinite(late).any() else None
    share = np.concatenate([one["share"] for one in some])
    out["depth_bias_percent"] = round(100 * float(np.nanmedian(share)), 1)
    out["found_percent"] = round(100 * float(np.isfinite(share).mean()), 1)
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row for each condition."""
    head = ["intrinsics", "floor", "height", "who", "root median", "mean", "p95", "depth median",
            "p95", "settled", "lateral median", "p95", "depth bias", "stature", "its sd",
            "within 2 sd"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [
            row["intrinsics"], "known" if row["floor"] else "-", "told" if row["height"] else "-",
            row["who"], *(f"{row['root'][k]:.2f}" for k in ("median", "mean", "p95")),
            *(f"{row['depth'][k]:.2f}" for k in ("median", "p95")),
            "-" if row["settled"] is None else f"{row['settled']:.2f}",
            *(f"{row['lateral'][k]:.2f}" for k in ("median", "p95")),
            f"{row['depth_bias_percent']:+.0f} %", f"{row['stature_percent']:.0f} %",
            f"{row['stature_sd_percent']:.0f} %", f"{row['within_2_sd_percent']:.0f} %",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "synth")
    parser.add_argument("--takes", type=int, default=8, help="each with an adult and a child")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--frames", type=int, default=120, help="per take, at 30 frames/s")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "root_error.json")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    try:
        if options.takes < 1 or options.frames < 1:
            raise BadInput(f"takes and frames must be 1 or more, got {options.takes} and "
                           f"{options.frames}")  # fmt: skip
        seeds = range(options.first, options.first + options.takes)
        rows = measure(options.data, seeds, options.frames, options.jobs)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found: dict[str, Any] = {
        "takes": options.takes, "first_seed": options.first, "frames": options.frames,
        "field_of_view_deg": FIELD_DEG, "adults_m": ADULT_M, "children_m": CHILD_M,
        "assumed_stature_m": REFERENCE_STATURE_M, "rows": rows, "machine": machine(),
    }  # fmt: skip
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
