"""How well identities hold: simulated takes of people who cross, hide, leave and come back.

    python benchmarks/identities.py --seeds 20 --before 8a80907

Without pictures of people and without a network, so that it is quick (`identity_takes.py`).

Kinds of takes: `cross` (walking past each other, or turning back where they meet), `wall` (standing
or sitting still behind a wall for 2 to 5 s), `leave` (out of the picture and back, or somebody else
comes), `circle` (round each other), `poor` (as cross, with a detector that fails thrice as often).

Counted are people of whom 5 joints can be seen; what is found of a hidden one does not count.
`thefts` are switches to a number that somebody else had before; the other switches are splits: the
same person under a new number.  The result goes to `--output`, a table to
the screen.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from identity_takes import FPS, FRAMES, KINDS, Scene, make_scene
from stages import machine

from xnect.eval.identities import FrameDistances, identity_figures, image_distances, pair_frames
from xnect.track import Tracker, TrackOptions

HERE = Path(__file__).resolve().parent
COUNTED = 5  # visible joints
GATE = 0.35  # heights of the person, of a found one


def followed(scene: Scene, tracker: Any) -> tuple[list[FrameDistances], float]:
    """Distances of what a tracker gives out, and its milliseconds per frame."""
    frames, spent = [], 0.0
    for f, time_s in enumerate(scene.time_s):
        start = time.process_time()
        tracks = tracker.match(scene.poses[f], scene.images[f], float(time_s))
        spent += time.process_time() - start
        found_px = np.array([t.pose.partial.joints_px for t in tracks]).reshape(-1, 18, 2)
        score = np.array([t.pose.partial.score for t in tracks]).reshape(-1, 18)
        truth = scene.joints_px[f]
        apart = image_distances(truth, np.ones(truth.shape[:2]), found_px, score, gate=GATE)
        counted = scene.visible[f].sum(-1) >= COUNTED
        rows = np.flatnonzero(counted)
        hidden = np.isfinite(apart[~counted]).any(0) & ~np.isfinite(apart[counted]).any(0)
        ids = np.array([t.track_id for t in tracks], int)[~hidden]
        frames.append(FrameDistances(rows, ids, apart[np.ix_(rows, np.flatnonzero(~hidden))]))
    return frames, 1e3 * spent / len(frames)


def counted(frames: list[FrameDistances]) -> dict[str, float]:
    """Sums of one take that can be added to those of others."""
    pairs = pair_frames(frames)
    figures = identity_figures(frames, pairs)
    owner: dict[int, int] = {}
    last: dict[int, int] = {}
    thefts = 0
    for frame, pair in zip(frames, pairs, strict=True):
        for row, column in pair:
            true, found = int(frame.true_ids[row]), int(frame.found_ids[column])
            thefts += last.get(true, found) != found and owner.get(found, true) != true
            last[true] = found
        for true, found in last.items():
            owner.setdefault(found, true)
    total = figures.true_people + figures.found_people
    return {
        "agreed": figures.idf1 * total / 2, "total": total, "switches": figures.switches,
        "thefts": thefts, "fragmentations": figures.fragmentations, "misses": figures.misses,
        "false_positives": figures.false_positives, "true": figures.true_people,
        "true_tracks": figures.true_tracks, "found_tracks": figures.found_tracks,
    }  # fmt: skip


def summary(takes: list[dict[str, float]]) -> dict[str, float]:
    """Figures over takes."""
    sums = {key: sum(t[key] for t in takes) for key in takes[0]}
    wrong = sums["misses"] + sums["false_positives"] + sums["switches"]
    out = {
        "takes": len(takes), "idf1": 2 * sums["agreed"] / sums["total"],
        "mota": 1 - wrong / sums["true"],
    }  # fmt: skip
    for key in ("switches", "thefts", "fragmentations", "misses", "false_positives", "true",
                "true_tracks", "found_tracks"):  # fmt: skip
        out[key] = int(sums[key])
    out["ms_per_frame"] = sums["ms"] / len(takes)
    return {k: round(v, 4) for k, v in out.items()}


@functools.cache
def tracker_of(commit: str) -> Callable[[], Any]:
    """The tracker as it was at a commit, with the looks of that time."""
    folder = Path(tempfile.mkdtemp(prefix="xnect_old_"))
    git = functools.partial(subprocess.check_output, cwd=HERE.parent, text=True)
    for path in git(["git", "ls-tree", "--name-only", commit, "xnect/"]).split():
        name = Path(path).name
        if name.startswith(("appearance", "track")):
            text = re.sub(
                r"xnect\.(appearance|track)", r"old_\1", git(["git", "show", f"{commit}:{path}"])
            )
            (folder / f"old_{name}").write_text(text)
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("old_track", folder / "old_track.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["old_track"] = module
    spec.loader.exec_module(module)
    maker: Callable[[], Any] = module.Tracker
    return maker


ABLATIONS: dict[str, dict[str, Any]] = {
    "without 2D": {"weight_2d": 0.0},
    "without 3D": {"weight_3d": 0.0},
    "without looks": {"weight_looks": 0.0},
    "without motion": {"predict_s": 0.0},
    "without size": {"weight_size": 0.0},
    "without putting right": {"swap_one": 9.0, "swap_both": 9.0},
}


def variants(before: str | None, ablate: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and maker of each tracker that is compared."""
    if before:
        yield "before", tracker_of(before)
    yield "now", Tracker
    known = {f.name for f in fields(TrackOptions)}
    for name, change in ABLATIONS.items() if ablate else ():
        assert set(change) <= known, f"{name}: {set(change) - known} are no options"
        yield name, functools.partial(Tracker, replace(TrackOptions(), **change))


def one_take(job: tuple[str, int], before: str | None, ablate: bool) -> dict[str, dict[str, float]]:
    """Sums of one take for each tracker."""
    kind, seed = job
    scene, out = make_scene(seed, kind), {}
    for name, make in variants(before, ablate):
        frames, ms = followed(scene, make())
        out[name] = {**counted(frames), "ms": ms}
    return out


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--before", help="commit of an earlier tracker to compare with")
    parser.add_argument("--ablate", action="store_true", help="each part of the cost off once")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, help="JSON, such as results/identities.json")
    args = parser.parse_args()
    if args.output and not args.output.parent.is_dir():
        parser.error(f"no folder {args.output.parent} to write to")
    if args.before:
        known = ["git", "rev-parse", "--verify", "--quiet", f"{args.before}^{{commit}}"]
        if subprocess.run(known, cwd=HERE.parent, capture_output=True, check=False).returncode:
            parser.error(f"--before {args.before} is no commit of this repository")
    jobs = [(k, s) for k in args.kinds for s in range(args.first, args.first + args.seeds)]
    takes: dict[str, list[tuple[str, int, dict[str, float]]]] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        done = pool.map(one_take, jobs, [args.before] * len(jobs), [args.ablate] * len(jobs))
        for (kind, seed), figures in zip(jobs, done, strict=True):
            print(kind, seed, "done", file=sys.stderr, flush=True)
            for name, sums in figures.items():
                takes.setdefault(name, []).append((kind, seed, sums))
    rows: dict[str, dict[str, Any]] = {}
    for name, all_takes in takes.items():
        groups = {"all": [t for _, _, t in all_takes]}
        for kind in args.kinds:
            groups[kind] = [t for k, _, t in all_takes if k == kind]
        groups["different clothes"] = [t for _, s, t in all_takes if s % 2 == 0]
        groups["same clothes"] = [t for _, s, t in all_takes if s % 2 == 1]
        rows[name] = {group: summary(some) for group, some in groups.items() if some}
    columns = ("idf1", "mota", "switches", "thefts", "fragmentations", "found_tracks",
               "true_tracks", "misses", "false_positives", "ms_per_frame")  # fmt: skip
    print("| tracker | takes | " + " | ".join(columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    for name, groups_of in rows.items():
        shown = groups_of if name in ("before", "now") else {"all": groups_of["all"]}
        for group, row in shown.items():
            print(f"| {name} | {group} | " + " | ".join(str(row[c]) for c in columns) + " |")
    if args.output:
        what = {"before": args.before, "fps": FPS, "frames_per_take": FRAMES,
                "first_seed": args.first, "seeds_per_kind": args.seeds, "counted_joints": COUNTED,
                "gate_heights": GATE}  # fmt: skip
        found = {**what, "rows": rows, "machine": machine()}
        args.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
