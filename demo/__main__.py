"""The command `xnect`.  Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xnect import __version__
from xnect.demo import calibrate, options
from xnect.errors import XnectError

OK, USER_ERROR, INTERRUPTED = 0, 2, 130

EXAMPLES = {
    "": """\
examples:
  xnect demo                         the bundled clip, into xnect_demo_out/
  xnect video clip.mp4 -o out/       overlay video, recording and one BVH per person
  xnect live                         the first webcam, in a window
  xnect COMMAND --help               all flags of a command, with examples
""",
    "demo": """\
examples:
  xnect demo
  xnect demo -o /tmp/out --device cpu
  xnect demo --max-frames 30 --quiet
""",
    "video": """\
examples:
  xnect video clip.mp4 -o out/
  xnect video recordings/ 'takes/*.mov' -o out/ --preset s
  xnect video clip.mp4 -o out/ --camera camera.json --height 1.75
  xnect video phone.mp4 -o out/ --fov 65 --scene
  xnect video dance.mp4 -o out/ --smooth offline

writes, for clip.mp4: clip_overlay.mp4, clip.npz + clip.json (the recording),
clip_person1.bvh, clip_person2.bvh, ...
exit status: 0 all done; 2 an input or an argument was wrong; 130 stopped by Ctrl-C
""",
    "smooth": """\
examples:
  xnect smooth xnect_out/clip.npz -o clip_smooth.npz
  xnect smooth take.npz -o smooth.npz --max-gap 1.0 --no-lock
""",
    "live": """\
examples:
  xnect live                                      webcam 0 in a window; r records, q ends
  xnect live 1 --size 1280x720
  xnect live rtsp://user:password@192.168.1.20/stream --fov 90
  xnect live http://192.168.1.21:8080/video --headless --record takes/ --seconds 60
  xnect live clip.mp4                             a file, played as if it were live
""",
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
    "calibrate": calibrate.EXAMPLES,
    "list": """\
examples:
  xnect list
""",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status.  Every mistake of a user ends here, in one sentence."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    args = parser().parse_args(words)
    try:
        return int(args.run(args))
    except XnectError as error:
        print(f"xnect: {error}", file=sys.stderr)
    except BrokenPipeError:
        return OK  # the reader of our output has seen enough
    except OSError as error:
        print(f"xnect: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("xnect: interrupted", file=sys.stderr)
        return INTERRUPTED
    return USER_ERROR


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        "xnect",
        description="Live multi-person 3D motion capture from one ordinary RGB camera.",
        epilog=EXAMPLES[""],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xnect {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", run_demo, "run the bundled clip")
    demo.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("xnect_demo_out"))
    options.add_model_flags(demo)
    options.add_output_flags(demo)

    video = _command(commands, "video", run_video, "video files to overlays, recordings and BVH")
    video.add_argument("inputs", metavar="IN", nargs="+", help="files, folders or patterns")
    video.add_argument(
        "-o", "--out", metavar="DIR", type=Path, default=Path("xnect_out"),
        help="folder for the outputs (default: xnect_out)",
    )  # fmt: skip
    options.add_model_flags(video)
    options.add_camera_flags(video)
    options.add_output_flags(video)
    options.add_smoothing_flag(video)

    smooth = _command(
        commands, "smooth", run_smooth, "smooth a recording as a whole, without delay"
    )
    smooth.add_argument("take", metavar="TAKE.npz", type=Path, help="a recording of xnect")
    smooth.add_argument("-o", "--out", metavar="OUT.npz", type=Path, required=True)
    smooth.add_argument(
        "--max-gap", metavar="S", type=options.positive_float, default=0.5,
        help="seconds for which somebody who is missing is filled in (default: 0.5)",
    )  # fmt: skip
    smooth.add_argument("--no-lock", action="store_true", help="do not hold standing feet still")
    smooth.add_argument("--quiet", action="store_true", help="no summary")

    live = _command(commands, "live", run_live_command, "a webcam, a URL, or a file played live")
    _add_live_flags(live)
    options.add_model_flags(live)
    options.add_camera_flags(live)
    options.add_output_flags(live)

    _add_backbone_commands(commands)
    camera = _command(commands, "calibrate", calibrate.run, "the camera file that others take")
    calibrate.add_flags(camera)

    _command(commands, "list", run_list, "presets, backbones and weights that exist")
    return top


def run_demo(args: argparse.Namespace) -> int:
    """`xnect demo`."""
    from xnect.demo.demo_clip import clip, clip_camera

    path = clip()
    if args.scene is None:
        args.scene = True
    return _process(args, [path], clip_camera, Problems())


def run_video(args: argparse.Namespace) -> int:
    """`xnect video IN...`."""
    from xnect.demo.video import find_videos

    camera_for, problems = options.camera_chooser(args), Problems()
    return _process(args, find_videos(args.inputs, problems.tell), camera_for, problems)


def run_smooth(args: argparse.Namespace) -> int:
    """`xnect smooth TAKE.npz -o OUT.npz`."""
    from xnect.demo.offline import save_smoothed, smooth_recording
    from xnect.recording import load_recording
    from xnect.smooth import SmoothOptions

    take = load_recording(args.take)
    done = smooth_recording(take, SmoothOptions(max_gap_s=args.max_gap), lock=not args.no_lock)
    files = save_smoothed(args.out, done.recording)
    if not args.quiet:
        print("\n".join([f"{args.take}: {done.text()}", *(f"  {path}" for path in files)]))
    return OK


def run_live_command(args: argparse.Namespace) -> int:
    """`xnect live [SOURCE]`."""
    from contextlib import ExitStack

    from tqdm import tqdm

    from xnect.demo.interrupt import ctrl_c_stops
    from xnect.demo.live import Recorder, open_live, run_live
    from xnect.demo.outputs import check_folder
    from xnect.demo.sinks.window import Window, why_no_window

    camera_for = options.camera_chooser(args)
    folder = args.record or Path("xnect_out")
    if args.record:
        check_folder(folder)
    recorder = Recorder(
        folder, args.source, overlay=not args.no_overlay, scene=bool(args.scene)
    )  # fmt: skip
    with ExitStack() as stack:
        viewer: Callable[[Any], bool] = lambda result: True  # noqa: E731
        if args.open3d:
            from xnect.demo.sinks.scene3d import Scene3d

            viewer = stack.enter_context(Scene3d()).show
        frames = stack.enter_context(open_live(args.source, hw=args.size))
        pipeline = options.open_pipeline(args)
        screen = None
        if not args.headless:
            reason = why_no_window()
            if reason:
                print(f"xnect: no window: {reason}; running headless", file=sys.stderr)
            else:
                screen = stack.enter_context(Window())
        bar = stack.enter_context(tqdm(unit="frame", disable=args.quiet or None))
        stop = stack.enter_context(ctrl_c_stops())

        def on_frame(clock: Any) -> None:
            bar.set_postfix_str(f"{clock.latency_ms[-1]:.0f} ms", refresh=False)
            bar.update()

        report = run_live(
            frames, pipeline=pipeline, recorder=recorder, camera_for=camera_for, screen=screen,
            viewer=viewer, record=args.record is not None, seconds=args.seconds,
            max_frames=args.max_frames, stop=stop, on_frame=on_frame,
        )  # fmt: skip
    if not args.quiet:
        print(report.text())
    for problem in report.problems:
        print(f"xnect: {problem}", file=sys.stderr)
    return INTERRUPTED if report.stopped else USER_ERROR if report.problems else OK


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


def run_list(args: argparse.Namespace) -> int:
    """`xnect list`."""
    from xnect.demo.listing import listing

    print(listing())
    return OK


class Problems:
    """Says at once what is wrong with one of many inputs, and remembers that something was."""

    def __init__(self) -> None:
        self.status = OK

    def tell(self, sentence: str) -> None:
        """One sentence for the user."""
        print(f"xnect: {sentence}", file=sys.stderr)
        self.status = USER_ERROR


def _process(
    args: argparse.Namespace, paths: Sequence[Path], camera_for: Callable[[int, int], Any],
    problems: Problems,
) -> int:  # fmt: skip
    """Run every file; one that fails does not keep the others from being done."""
    from xnect.demo.interrupt import ctrl_c_stops
    from xnect.demo.outputs import check_folder
    from xnect.demo.video import output_names, process_video

    check_folder(args.out)
    first_openable(paths)
    pipeline = options.open_pipeline(args)
    with ctrl_c_stops() as stop:
        for path, name in zip(paths, output_names(paths), strict=True):
            try:
                report = process_video(
                    path, args.out, pipeline=pipeline, camera_for=camera_for, name=name,
                    overlay=not args.no_overlay, scene=bool(args.scene),
                    max_frames=args.max_frames, stop=stop, show_progress=not args.quiet,
                    offline=getattr(args, "smooth", "live") == "offline",
                )  # fmt: skip
            except XnectError as error:
                problems.tell(str(error))
                continue
            if not args.quiet:
                print(report.text())
            for problem in report.problems:
                problems.tell(problem)
            if report.stopped:
                print("xnect: stopped; what was done is saved", file=sys.stderr)
                return INTERRUPTED
    return problems.status


def first_openable(paths: Sequence[Path]) -> None:
    """Open a lone input before the network is loaded, so that its mistake shows at once."""
    from xnect.demo.sources.video import VideoFile

    if len(paths) == 1:
        VideoFile(paths[0]).close()


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str,
    *, examples: str = "",
) -> argparse.ArgumentParser:  # fmt: skip
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".",
        epilog=EXAMPLES[examples or name], formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.set_defaults(run=run)
    return made


def _add_backbone_commands(commands: Any) -> None:
    """Those that use a backbone by itself."""
    from xnect.demo.pretrained_model import add_flags

    classify = _command(commands, "classify", run_classify, "what is in pictures (ImageNet)")
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

    features = _command(commands, "features", run_features, "feature maps or embeddings to npz")
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

    evaluation = _command(commands, "eval", run_eval_imagenet, "accuracy of a model")
    what = evaluation.add_subparsers(title="on what", metavar="WHAT", required=True)
    imagenet = _command(
        what, "imagenet", run_eval_imagenet, "top-1 and top-5 over labelled pictures",
        examples="eval imagenet",
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

    bench = _command(commands, "bench", run_bench, "milliseconds per picture of the backbones")
    bench.add_argument("what", choices=("backbones",), help="what is measured")
    bench.add_argument(
        "flags", nargs=argparse.REMAINDER, help="`xnect bench backbones --help` shows them"
    )


def _add_live_flags(live: argparse.ArgumentParser) -> None:
    live.add_argument(
        "source", metavar="SOURCE", nargs="?", default="0",
        help="webcam number, rtsp:// or http:// address, or a file (default: 0)",
    )  # fmt: skip
    live.add_argument("--size", metavar="WxH", type=_size, help="picture size to ask from a webcam")
    live.add_argument("--headless", action="store_true", help="no window")
    live.add_argument("--open3d", action="store_true", help="also a 3D window (xnect[viz])")
    live.add_argument(
        "--record", metavar="DIR", type=Path, help="record from the start into this folder"
    )
    live.add_argument(
        "--seconds", metavar="N", type=options.positive_float, help="stop after N seconds"
    )


def _count(text: str) -> int:
    """A whole number from 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number


def _size(text: str) -> tuple[int, int]:
    """`1280x720` -> (720, 1280)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"must look like 1280x720, got {text!r}")
    return int(match[2]), int(match[1])


if __name__ == "__main__":
    sys.exit(main())
