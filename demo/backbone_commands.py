"""Commands that use a backbone by itself: `classify`, `features`, `eval imagenet`, `bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from xnect.demo import options
from xnect.demo.command import INTERRUPTED, Problems, add_command

EXAMPLES = {
    "classify": """\
examples:
  xnect classify dog.jpg --model selecsls60b.in1k
  xnect classify holiday/ 'more/*.png' --model hrnet_w18.ms_aug_in1k --top 3 --json
  xnect classify leaf.jpg --model selecsls42b --weights mine.safetensors --labels leaves.txt

pictures are turned as their EXIF orientation says; --as-stored leaves them, as timm does
""",
    "features": """\
examples:
  xnect features pictures/ --model selecsls60b.in1k -o features.npz
  xnect features pictures/ --model resnest101e.in1k -o embeddings.npz --embed
  xnect features a.jpg b.jpg --model selecsls42b --weights mine.pth --taps 2 3 -o out.npz

writes `files` (N,) and, with --embed, `embedding` (N, F); without it `features_0`, ...
(N, C, h, w) with `channels` and `strides`
""",
    "eval": """\
examples:
  xnect eval imagenet --data imagenet/val --model selecsls60b.in1k
""",
    "eval imagenet": """\
examples:
  xnect eval imagenet --data imagenet/val --model selecsls60b.in1k
  xnect eval imagenet --data val/ --labels LOC_val_solution.csv --model resnest101e.in1k
  xnect eval imagenet --data val/ --model selecsls42b --weights mine.pth -o mine.json

--data holds a folder for each class (n01440764 or 0, 1, 2, ...), or pictures for --labels.
Ctrl-C keeps every answer; the same command goes on.  Remove the .jsonl to begin again.
""",
    "bench": """\
examples:
  xnect bench backbones
  xnect bench backbones --sizes 512 --models selecsls60,resnet50
  xnect bench backbones --help
""",
}


def add_commands(commands: Any) -> None:
    """`classify`, `features`, `eval imagenet` and `bench`, with their flags."""
    from xnect.demo.pretrained_model import add_flags

    classify = add_command(
        commands, "classify", run_classify, "what is in pictures (ImageNet)", EXAMPLES["classify"]
    )
    classify.add_argument("inputs", metavar="IMG", nargs="+", help="files, folders or patterns")
    add_flags(classify)
    classify.add_argument(
        "--top", metavar="N", type=options.positive_int, default=5, help="classes (default: 5)"
    )
    classify.add_argument(
        "--labels", metavar="FILE", type=Path, help="names of other classes, one per line"
    )
    classify.add_argument("--json", action="store_true", help="one JSON line per picture")
    classify.add_argument("--as-stored", action="store_true", help="ignore EXIF orientation")

    features = add_command(
        commands, "features", run_features, "feature maps or embeddings to npz",
        EXAMPLES["features"],
    )  # fmt: skip
    features.add_argument("inputs", metavar="IMG", nargs="+", help="files, folders or patterns")
    add_flags(features)
    features.add_argument("-o", "--out", metavar="NPZ", type=Path, required=True)
    either = features.add_mutually_exclusive_group()
    either.add_argument("--embed", action="store_true", help="pooled features in place of maps")
    either.add_argument(
        "--taps", metavar="I", type=int, nargs="+",
        help="which maps, 0 is the finest (default: 0 1 2 3 4)",
    )  # fmt: skip
    features.add_argument("--as-stored", action="store_true", help="ignore EXIF orientation")
    features.add_argument("--quiet", action="store_true", help="no progress and no summary")

    evaluation = add_command(
        commands, "eval", run_eval_imagenet, "accuracy of a model", EXAMPLES["eval"]
    )
    what = evaluation.add_subparsers(title="on what", metavar="WHAT", required=True)
    imagenet = add_command(
        what, "imagenet", run_eval_imagenet, "top-1 and top-5 over labelled pictures",
        EXAMPLES["eval imagenet"],
    )  # fmt: skip
    imagenet.add_argument("--data", metavar="DIR", type=Path, required=True)
    imagenet.add_argument("--labels", metavar="CSV", type=Path, help="file,class in each line")
    add_flags(imagenet)
    imagenet.add_argument(
        "-o", "--out", metavar="JSON", type=Path, help="report (default: imagenet_MODEL.json)"
    )
    imagenet.add_argument(
        "--workers", metavar="N", type=_count, default=4, help="processes that read (default: 4)"
    )
    imagenet.add_argument("--quiet", action="store_true", help="no progress and no summary")

    bench = add_command(
        commands, "bench", run_bench, "milliseconds per picture of the backbones", EXAMPLES["bench"]
    )
    bench.add_argument("what", choices=("backbones",), help="what is measured")
    bench.add_argument(
        "flags", nargs=argparse.REMAINDER, help="`xnect bench backbones --help` shows them"
    )


def run_classify(args: argparse.Namespace) -> int:
    """`xnect classify IMG...`."""
    from xnect.demo.classify import classify
    from xnect.demo.pictures import find_pictures
    from xnect.demo.pretrained_model import open_backbone, read_class_names

    problems = Problems()
    paths = find_pictures(args.inputs, problems.tell)
    labels = read_class_names(args.labels)
    opened = open_backbone(args, num_classes=len(labels))
    for answer in classify(
        paths, opened, labels, top=args.top, upright=not args.as_stored, batch=args.batch,
        on_problem=problems.tell,
    ):  # fmt: skip
        print(answer.json() if args.json else answer.text(), flush=True)
    return problems.status


def run_features(args: argparse.Namespace) -> int:
    """`xnect features IMG...`."""
    from tqdm import tqdm

    from xnect.demo.features import extract, write_features
    from xnect.demo.interrupt import ctrl_c_stops
    from xnect.demo.pictures import find_pictures
    from xnect.demo.pretrained_model import open_backbone

    problems = Problems()
    paths = find_pictures(args.inputs, problems.tell)
    opened = open_backbone(args, num_classes=0)
    with (
        tqdm(total=len(paths), unit="picture", disable=args.quiet or None) as bar,
        ctrl_c_stops() as stop,
    ):
        arrays = extract(
            paths, opened, embed=args.embed, taps=args.taps, upright=not args.as_stored,
            batch=args.batch, on_problem=problems.tell, on_done=bar.update, stop=stop,
        )  # fmt: skip
        stopped = stop()
    write_features(args.out, arrays)
    if not args.quiet:
        print(f"{args.out}: {len(arrays['files'])} pictures")
        for name, array in arrays.items():
            if name.startswith(("embedding", "features_")):
                print(f"  {name}  {' x '.join(map(str, array.shape))}")
    if stopped:
        print("xnect: stopped; what was done is saved", file=sys.stderr)
        return INTERRUPTED
    return problems.status


def run_eval_imagenet(args: argparse.Namespace) -> int:
    """`xnect eval imagenet`."""
    from tqdm import tqdm

    from xnect.demo.evaluate_imagenet import evaluate
    from xnect.demo.interrupt import ctrl_c_stops
    from xnect.demo.pretrained_model import open_backbone

    opened = open_backbone(args)
    out = args.out or Path(f"imagenet_{args.model}.json")
    with tqdm(unit="picture", disable=args.quiet or None) as bar, ctrl_c_stops() as stop:

        def on_progress(done: int, total: int, top1: float) -> None:
            bar.total = total
            bar.set_postfix_str(f"top-1 {top1:.2f} %", refresh=False)
            bar.update(done - bar.n)

        report = evaluate(
            args.data, opened, out=out, labels=args.labels, workers=args.workers,
            batch=args.batch, stop=stop, on_progress=on_progress,
        )  # fmt: skip
    if not args.quiet:
        print(f"{report.text()}\n  {out}")
    problems = Problems()
    for problem in report.problems:
        problems.tell(problem)
    if report.stopped:
        print("xnect: stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    return problems.status


def run_bench(args: argparse.Namespace) -> int:
    """`xnect bench backbones`."""
    from xnect.demo.bench_backbones import run

    return int(run(args.flags))


def _count(text: str) -> int:
    """A whole number from 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number
