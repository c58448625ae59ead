"""Milliseconds of the skeleton fit per frame at 1, 3, 10 and 20 people, beside an older one.

    python benchmarks/fitting.py --data ../shared/data/synth --old ab3b3f2

Takes with simulated detections (`xnect.synth.takes`) through lifter and tracker; then every frame
is fitted by both in turn, each with its own memory.  The older fit is read out of git and never
lies in the tree.  Times are those of the processor on one thread, so that other work on the
machine counts little; on an idle core they are wall-clock times.  First frames (births) are in the
p95.  The result goes to `benchmarks/results/fitting.json`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fit_ablation import make_takes
from stages import machine

from xnect.errors import XnectError
from xnect.fit import fit
from xnect.track import Tracker

HERE = Path(__file__).resolve().parent
COUNTS = (1, 3, 10, 20)
OLD_FILES = (
    "fit", "kinematics", "residuals", "least_squares", "first_pose", "place", "rotations",
)  # fmt: skip

Fit = Callable[..., Any]


def old_fit(commit: str, folder: Path) -> Fit:
    """The function `fit` of another commit, under names of its own."""
    package = folder / "older_fit"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in OLD_FILES:
        shown = subprocess.run(
            ["git", "show", f"{commit}:xnect/{name}.py"],
            cwd=HERE, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        own = re.sub(rf"from xnect\.({'|'.join(OLD_FILES)}) ", r"from older_fit.\1 ", shown)
        (package / f"{name}.py").write_text(own)
    sys.path.insert(0, str(folder))
    found: Fit = importlib.import_module("older_fit.fit").fit
    return found


def measure(fits: dict[str, Fit], data: Path, people: int, frames: int) -> dict[str, Any]:
    """Milliseconds of each fit in every frame of one take -> median, p95 and first frame."""
    take, lifted = make_takes(data, 1, people, frames)[0]
    trackers = {name: Tracker() for name in fits}
    ms: dict[str, list[float]] = {name: [] for name in fits}
    found = []
    for f, time_s in enumerate(take.time_s):
        for name, fit_ in fits.items():
            tracks = trackers[name].match(lifted[f], None, time_s)
            begin = time.thread_time()
            given = fit_(tracks, take.camera, time_s)
            ms[name].append(1e3 * (time.thread_time() - begin))
            trackers[name].remember(given)
        found.append(len(tracks))
    typical = float(np.median(found))
    return {
        "people": people,
        "people_tracked_median": typical,
        "frames": frames,
        "ms": {
            name: {
                "median": round(float(np.median(spent)), 3),
                "p95": round(float(np.percentile(spent, 95)), 3),
                "first_frame": round(spent[0], 3),
                "median_per_person": round(float(np.median(spent)) / typical, 3),
            }
            for name, spent in ms.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: median / p95 per frame, and per person."""
    names = list(rows[0]["ms"])
    lines = [
        f"| people | {' | '.join(f'{n}: median / p95 ms | per person' for n in names)} |",
        "|---" * (2 * len(names) + 1) + "|",
    ]
    for row in rows:
        cells = [
            f"{c['median']:.1f} / {c['p95']:.1f} | {c['median_per_person']:.2f}"
            for c in row["ms"].values()
        ]
        lines.append(f"| {row['people_tracked_median']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data" / "synth")
    parser.add_argument("--old", help="commit whose fit is measured too")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fitting.json")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    try:
        with tempfile.TemporaryDirectory() as folder:
            fits: dict[str, Fit] = {"new": fit}
            if options.old:
                fits["old"] = old_fit(options.old, Path(folder))
            rows = [measure(fits, options.data, n, options.frames) for n in COUNTS]
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report = {"old_commit": options.old, "rows": rows, "machine": machine()}
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
