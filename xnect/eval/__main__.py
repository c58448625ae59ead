"""`python -m xnect.eval coco|lspet|clip ...`: figures as a Markdown table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xnect import __version__
from xnect.errors import BadInput, CannotWrite, XnectError
from xnect.eval.clip import evaluate_clip
from xnect.eval.coco import evaluate_coco
from xnect.eval.pck import evaluate_lspet
from xnect.eval.predictions import Predict

EXAMPLES = """examples:
  python -m xnect.eval coco ../shared/data/coco/dev.json --json coco.json
  python -m xnect.eval lspet ../shared/data/lspet --split dev
  python -m xnect.eval clip OUT/take.npz --people 6
"""


def load_predict(options: argparse.Namespace) -> Predict:
    """Stage I and association, or the whole pipeline, with a progress bar over the pictures."""
    from xnect.model import load_pipeline

    pipeline = load_pipeline(options.preset, device=options.device, weights=options.weights)
    run: Predict = pipeline if options.whole else pipeline.find
    bar = tqdm(unit=" pictures", file=sys.stderr)

    def predict(image: np.ndarray) -> Any:
        bar.update()
        return run(image)

    return predict


def coco(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Table and figures of COCO keypoint AP."""
    images = options.images or options.labels.with_suffix("")
    result = evaluate_coco(load_predict(options), options.labels, images)
    return result.table(), asdict(result)


def lspet(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Tables and figures of PCK, with and without the labels that are suspect."""
    reports = evaluate_lspet(load_predict(options), options.folder, options.split)
    text = "\n".join(f"\n{name}\n\n{r.table()}" for name, r in reports.items())
    return f"PCK@0.2 torso, %\n{text}", {name: asdict(r) for name, r in reports.items()}


def clip(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Table and figures of a recording."""
    from xnect.recording import load_recording

    result = evaluate_clip(load_recording(options.recording).results, people=options.people)
    return result.table(), asdict(result)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        "python -m xnect.eval",
        description="Figures of a model on labelled pictures, or of a recording.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)

    def command(run: Callable[..., Any], text: str, *, model: bool) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", type=Path, help="write the figures here as well")
        if model:
            sub.add_argument("--preset", help="s or m; default: that of the weights")
            sub.add_argument("--weights", type=Path, help="safetensors; default: the bundled ones")
            sub.add_argument(
                "--whole", action="store_true", help="people after the skeleton fit, not before"
            )
            sub.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
        return sub

    sub = command(coco, "Keypoint AP and AR by pycocotools.", model=True)
    sub.add_argument("labels", type=Path, help="a COCO keypoints file")
    sub.add_argument("--images", type=Path, help="folder; default: named like the labels")
    sub = command(lspet, "PCK@0.2 torso on Leeds Sports Pose Extended.", model=True)
    sub.add_argument("folder", type=Path, help="with dev.json and dev-000.tar")
    sub.add_argument("--split", default="dev", choices=["dev", "train"])
    sub = command(clip, "Presence, identities and steadiness in a recording.", model=False)
    sub.add_argument("recording", type=Path, help="the .npz that `xnect video` writes")
    sub.add_argument("--people", type=int, default=6, help="shares for 1..N people (default 6)")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one sentence about what the user can mend."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "clip" and options.people < 1:
            raise BadInput(f"--people must be at least 1, got {options.people}")
        table, figures = options.run(options)
        print(table)
        if options.json:
            _write(options.json, {"version": __version__, "command": options.command, **figures})
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _write(path: Path, figures: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
