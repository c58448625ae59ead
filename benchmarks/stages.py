"""Milliseconds per frame by stage on this machine, at one and at six people.

    python benchmarks/stages.py --preset s --one ONE_PERSON.mp4 --six SIX_PEOPLE.mp4

Frames are decoded beforehand; the pipeline's own timings (`Result.timings_ms`, synced on a GPU)
are summed up after a warm-up.  The result goes to `benchmarks/results/stages_<preset>.json` with
machine, versions and commit, and a Markdown table to the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xnect.demo.machine import machine
from xnect.demo.sources.video import VideoFile
from xnect.errors import BadInput, XnectError
from xnect.types import Frame

HERE = Path(__file__).resolve().parent
CLIPS = HERE.parents[1] / "shared" / "data" / "clips"


def decoded(path: Path, count: int) -> list[Frame]:
    """The first `count` frames of a file, in memory."""
    with VideoFile(path) as video:
        frames = list(islice(video, count))
    if len(frames) < 3:
        raise BadInput(f"{path} has {len(frames)} frames; at least 3 are needed")
    return frames


def measure(pipeline: Any, frames: list[Frame], warm_up: int) -> dict[str, Any]:
    """One clip through the pipeline -> median and p95 of each stage and of the whole, in ms."""
    whole, stages, people = [], [], []
    results: Iterator[Any] = iter(pipeline.stream(iter(frames)))
    while True:
        start = time.perf_counter()
        result = next(results, None)
        if result is None:
            break
        whole.append((time.perf_counter() - start) * 1e3)
        stages.append(dict(result.timings_ms))
        people.append(len(result.people))
    kept = slice(min(warm_up, len(whole) - 2), None)
    names = list(dict.fromkeys(name for row in stages for name in row))
    columns = {name: [row.get(name, 0.0) for row in stages[kept]] for name in names}
    columns["whole"] = whole[kept]
    return {
        "frames": len(whole[kept]),
        "image_hw": list(frames[0].image.shape[:2]),
        "people_median": float(np.median(people[kept])),
        "ms": {
            name: {"median": float(np.median(ms)), "p95": float(np.percentile(ms, 95))}
            for name, ms in columns.items()
        },
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown: a row per stage, median / p95 in ms for each clip."""
    clips = figures["clips"]
    names = list(dict.fromkeys(name for clip in clips.values() for name in clip["ms"]))
    head = [f"{label} ({clip['people_median']:.0f} found)" for label, clip in clips.items()]
    lines = [f"| stage | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in names:
        cells = [
            f"{clip['ms'][name]['median']:.1f} / {clip['ms'][name]['p95']:.1f}"
            if name in clip["ms"]
            else "-"
            for clip in clips.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--preset", default="s", help="s or m (default s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--weights", type=Path, help="safetensors; default: the bundled ones")
    parser.add_argument("--one", type=Path, default=CLIPS / "pexels_yoga_one_person.mp4")
    parser.add_argument(
        "--six", type=Path, default=CLIPS / "pexels_3196293_six_people_exercise.mp4"
    )
    parser.add_argument("--refiner", default="sa", help="of the second look: sa, m or a file (sa)")
    parser.add_argument("--frames", type=int, default=60, help="per clip (default 60)")
    parser.add_argument("--warm-up", type=int, default=10, help="frames left out (default 10)")
    parser.add_argument("--threads", type=int, help="of torch; default: its own choice")
    parser.add_argument("--out", type=Path, help="default: results/stages_<preset>.json")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    try:
        import torch

        from xnect.model import load_pipeline

        if options.threads:
            torch.set_num_threads(options.threads)
        figures: dict[str, Any] = {
            "preset": options.preset, "refiner": options.refiner, "device": options.device,
            "clips": {},
        }  # fmt: skip
        for label, path in (("1 person", options.one), ("6 people", options.six)):
            pipeline = load_pipeline(  # a fresh one: no memory of the other clip
                options.preset, device=options.device, weights=options.weights,
                refiner=options.refiner,
            )  # fmt: skip
            frames = decoded(path, options.frames)
            figures["clips"][label] = {
                "clip": path.name,
                **measure(pipeline, frames, options.warm_up),
            }
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures["machine"] = machine()
    out = options.out or HERE / "results" / f"stages_{options.preset}.json"
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(figures))
    print(f"\nwritten to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
