"""Every figure of accuracy in the README, by the README's own commands, for one lane of weights.

    python benchmarks/accuracy.py --empty ROOMS       # default weights, five minutes on two cores
    python benchmarks/accuracy.py --lane open         # the open lane's column
    python benchmarks/accuracy.py --refiner m         # the larger second look's
    python benchmarks/accuracy.py --only pose2sim lspet

Each command writes its JSON to `benchmarks/results/`; what it printed stands in OUT/NAME.txt,
videos and recordings in OUT as well.  A command that fails is named at the end and costs only
itself.  Two run at a time, on one thread each, so times are not measured here.  Without `--empty`,
the folder of pictures without people, their figure is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xnect.model import BUNDLED_REFINERS, DEFAULT_REFINER

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """A command, or several that need each other, one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def _eval(*words: str | Path, result: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "xnect.eval", *map(str, words), "--json", str(RESULTS / result))


def steps(shared: Path, out: Path, empty: Path | None, lane: str, refiner: str) -> Iterator[Step]:
    """What is to be run, longest first; the whole of it for the default weights alone."""
    end = "" if lane == "research" else f"_{lane}"
    if refiner != DEFAULT_REFINER:
        end += f"_refiner_{refiner}"
    weights = ("--lane", lane, "--refiner", refiner)
    pose2sim, lspet = shared / "pose2sim", shared / "lspet"
    dev, synth = shared / "coco" / "dev.json", shared / "synth"

    def one(name: str, *words: str | Path, result: str) -> Step:
        return Step(name, (_eval(*words, *weights, result=result),))

    clips, run = out / "clips", (PYTHON, "-m", "xnect.demo")
    taken = sorted(p for p in (shared / "clips").glob("*") if p.suffix in (".mp4", ".gif"))
    recordings = [clips / f"{path.stem}.npz" for path in taken]
    six = clips / "pexels_3196293_six_people_exercise.npz"
    yield Step(
        "clips",
        (
            (*run, "video", str(shared / "clips"), "-o", str(clips), *weights),
            _eval("clip", *recordings, result=f"real_clips_s{end}.json"),
            *(() if end else (_eval("clip", six, result="six_people_s.json"),)),
        ),
    )
    if not end:
        demo = out / "demo"
        truth = ROOT / "demo" / "demo_truth.npz"
        guessed = out / "guessed"
        yield Step(
            "demo",
            (
                (*run, "demo", "-o", str(demo)),
                _eval("synth-clip", demo / "demo.npz", truth, result="demo_clip_s.json"),
                (*run, "video", str(ROOT / "demo" / "demo.mp4"), "-o", str(guessed)),
                (PYTHON, "-m", "xnect.eval", "synth-clip", str(guessed / "demo.npz"), str(truth)),
            ),
        )
    yield one("pose2sim", "pose2sim", pose2sim, result=f"pose2sim_s{end}.json")
    yield one("lspet", "lspet", lspet, result=f"lspet_dev_s{end}.json")
    yield one("synth", "synth", synth, result=f"synth_held_out_s{end}.json")
    yield one("coco", "coco", dev, result=f"coco_dev_s{end}.json")
    if refiner == DEFAULT_REFINER:
        yield one("coco-stage1", "coco", dev, "--no-refine", result=f"coco_dev_s{end}_stage1.json")
    for name, words in (("lspet", ("lspet", lspet)), ("coco", ("coco", dev))):
        file = f"{name}_dev_s{end}_noflip.json"
        yield one(f"{name}-noflip", *words, "--no-flip-test", result=file)
    if empty is not None:
        listed = ROOT / "benchmarks" / "pictures_without_people.txt"
        yield one("empty", "empty", empty, "--only", listed, result=f"empty_coco_s{end}.json")
    if not end:
        floor = "pose2sim_s_floor.json"
        yield one("pose2sim-floor", "pose2sim", pose2sim, "--floor", result=floor)
        stage1 = "lspet_dev_s_stage1.json"
        yield one("lspet-stage1", "lspet", lspet, "--no-refine", result=stage1)


def run(step: Step, out: Path) -> bool:
    """Run a step; what it prints goes to OUT/NAME.txt; whether all of it worked."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (out / f"{step.name}.txt").open("w", encoding="utf-8") as file:
        for command in step.commands:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            done = subprocess.run(
                command, cwd=ROOT, stdout=file, stderr=subprocess.DEVNULL, env=environment,
                check=False,
            )  # fmt: skip
            if done.returncode:
                file.write(f"failed with status {done.returncode}\n")
                return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "accuracy")
    parser.add_argument("--empty", type=Path, help="folder of pictures that show nobody")
    parser.add_argument("--lane", choices=("research", "open"), default="research")
    parser.add_argument("--refiner", choices=BUNDLED_REFINERS, default=DEFAULT_REFINER)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="steps to run")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    options = parser.parse_args(arguments)
    empty = options.empty and options.empty.resolve()
    shared, out = options.shared.resolve(), options.out.resolve()
    planned = list(steps(shared, out, empty, options.lane, options.refiner))
    names = [step.name for step in planned]
    if unknown := sorted({*(options.only or ())} - {*names}):
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(names)}")
    if not options.shared.is_dir():
        parser.error(f"there is no folder {options.shared}")
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [step for step in planned if not options.only or step.name in options.only]
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        worked = list(pool.map(lambda step: run(step, options.out.resolve()), chosen))
    failed = [step.name for step, ok in zip(chosen, worked, strict=True) if not ok]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} done; what was printed: {options.out}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
