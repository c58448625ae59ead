"""Milliseconds per rendered training picture by step, and pictures per second.

    python benchmarks/synth.py --data ../shared/data/synth
    python benchmarks/synth.py --data ../shared/data/synth --backend torch --device cuda --batch 64

On the CPU the time is that of the process, not of the clock, so that other work on the machine
does not count: pictures per second are those of one core, and shards are independent, so n cores
give n times as many.  On a GPU it is the clock's, after a synchronisation.  Building the pool of
people is shared out over the 400 pictures of a shard.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect.demo.machine import machine
from xnect.errors import XnectError

HERE = Path(__file__).resolve().parent
SHARD, POOL = 400, 40


def measure(data: Path, *, backend: str, device: str, batch: int, pictures: int) -> dict[str, Any]:
    """The steps of a training picture at 512x320, in ms, and pictures per second."""
    from xnect.synth.assets import load_assets
    from xnect.synth.body import random_person
    from xnect.synth.dataset import DatasetOptions, PictureSource
    from xnect.synth.render import renderer
    from xnect.synth.scene import random_scene
    from xnect.synth.sensor import camera_noise
    from xnect.synth.split import training

    gpu = device.startswith("cuda")
    clock = time.perf_counter if gpu else time.process_time

    def timed(run: Callable[[], Any]) -> tuple[Any, float]:
        """What it gives, and seconds."""
        start = clock()
        result = run()
        if gpu:
            import torch

            torch.cuda.synchronize()
        return result, clock() - start

    assets = training(load_assets(data))
    rng = np.random.default_rng(1)
    pool, people_s = timed(lambda: [random_person(assets, rng) for _ in range(10)])
    source = PictureSource(assets, DatasetOptions(pictures=1, pool=2))
    for entry in assets.photos:
        source.photo(entry)  # later from memory, as in a long run
    scenes, scenes_s = timed(
        lambda: [random_scene(assets, rng, pool, photo_of=source.photo) for _ in range(pictures)]
    )
    draw_s = {}
    for factor in (2, 1):
        draw: Any = renderer(assets, backend=backend, device=device, supersampling=factor)

        def all_of_them(draw: Any = draw) -> list[Any]:
            parts = [scenes[n : n + batch] for n in range(0, pictures, batch)]
            if gpu:
                return [draw.draw(part) for part in parts]
            return [p for part in parts for p in draw.pictures(part)]

        all_of_them()  # compiles, fills caches
        drawn, draw_s[factor] = timed(all_of_them)
    share = DatasetOptions().smooth_share
    steps = {
        "people of the pool": people_s / 10 * POOL / SHARD,
        "scene": scenes_s / pictures,
        "draw, 1 sample": draw_s[1] / pictures,
        "draw, 4 samples": draw_s[2] / pictures,
        "draw, mixed": (share * draw_s[2] + (1 - share) * draw_s[1]) / pictures,
    }
    whole = steps["people of the pool"] + steps["scene"] + steps["draw, mixed"]
    if not gpu:
        noisy, noise_s = timed(lambda: [camera_noise(rng, p.image, owner=p.owner) for p in drawn])
        _, code_s = timed(
            lambda: [
                (cv2.imencode(".jpg", x), cv2.imencode(".png", p.owner))
                for x, p in zip(noisy, drawn, strict=True)
            ]
        )
        steps |= {"lens and sensor": noise_s / pictures, "encode": code_s / pictures}
        whole += steps["lens and sensor"] + steps["encode"]
    return {
        "backend": backend,
        "device": device,
        "batch": batch,
        "pictures": pictures,
        "people": float(np.mean([len(s.people) for s in scenes])),
        "image_hw": [320, 512],
        "clock": "wall" if gpu else "process",
        "ms": {name: 1e3 * seconds for name, seconds in steps.items()},
        "ms_whole": 1e3 * whole,
        "pictures_per_s": 1 / whole,
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the asset pack")
    parser.add_argument("--backend", choices=("cpu", "torch"), default="cpu")
    parser.add_argument("--device", default="cpu", help="of torch")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--out", type=Path, help="default: results/synth_<backend>_<device>.json")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    if options.batch < 1 or options.pictures < 1:
        parser.error("--batch and --pictures must be 1 or more")
    cv2.setNumThreads(1)
    try:
        figures = measure(
            options.data, backend=options.backend, device=options.device,
            batch=options.batch, pictures=options.pictures,
        )  # fmt: skip
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures["machine"] = machine()
    name = f"synth_{options.backend}_{options.device.replace(':', '')}.json"
    out = options.out or HERE / "results" / name
    out.write_text(json.dumps(figures, indent=2) + "\n")
    for step, ms in figures["ms"].items():
        print(f"| {step} | {ms:.1f} ms |")
    per = "s" if figures["clock"] == "wall" else "s of one core"
    print(f"| whole | {figures['ms_whole']:.1f} ms, {figures['pictures_per_s']:.1f} in a {per} |")
    print(f"\nwritten to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
