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
from xnect.demo import backbone_commands, calibrate, options
from xnect.demo.command import INTERRUPTED, OK, USER_ERROR, Problems, add_command
from xnect.errors import XnectError

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

    demo = add_command(commands, "demo", run_demo, "run the bundled clip", EXAMPLES["demo"])
    demo.add_argument("-o", "--out", metavar="DIR", type=Path, default=Path("xnect_demo_out"))
    options.add_model_flags(demo)
    options.add_output_flags(demo)

    video = add_command(
        commands,
        "video",
        run_video,
        "video files to overlays, recordings and BVH",
        EXAMPLES["video"],
    )
    video.add_argument("inputs", metavar="IN", nargs="+", help="files, folders or patterns")
    video.add_argument(
        "-o", "--out", metavar="DIR", type=Path, default=Path("xnect_out"),
        help="folder for the outputs (default: xnect_out)",
    )  # fmt: skip
    options.add_model_flags(video)
    options.add_camera_flags(video)
    options.add_output_flags(video)
    options.add_smoothing_flag(video)

    smooth = add_command(
        commands, "smooth", run_smooth, "smooth a recording as a whole, without delay",
        EXAMPLES["smooth"],
    )  # fmt: skip
    smooth.add_argument("take", metavar="TAKE.npz", type=Path, help="a recording of xnect")
    smooth.add_argument(
        "-o", "--out", metavar="OUT.npz", type=Path, required=True,
        help="where to write: a file, or a folder that is there, under the name of the take",
    )  # fmt: skip
    smooth.add_argument(
        "--max-gap", metavar="S", type=options.positive_float, default=0.5,
        help="seconds for which somebody who is missing is filled in (default: 0.5)",
    )  # fmt: skip
    smooth.add_argument("--no-lock", action="store_true", help="do not hold standing feet still")
    smooth.add_argument("--quiet", action="store_true", help="no summary")

    live = add_command(
        commands,
        "live",
        run_live_command,
        "a webcam, a URL, or a file played live",
        EXAMPLES["live"],
    )
    _add_live_flags(live)
    options.add_model_flags(live)
    options.add_camera_flags(live)
    options.add_output_flags(live)

    backbone_commands.add_commands(commands)
    camera = add_command(
        commands,
        "calibrate",
        calibrate.run,
        "the camera file that others take",
        EXAMPLES["calibrate"],
    )
    calibrate.add_flags(camera)

    add_command(
        commands, "list", run_list, "presets, backbones and weights that exist", EXAMPLES["list"]
    )
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
    from xnect.demo.offline import save_smoothed, smooth_recording, smoothed_path
    from xnect.recording import load_recording
    from xnect.smooth import SmoothOptions

    take = load_recording(args.take)
    out = smoothed_path(args.out, args.take)
    done = smooth_recording(take, SmoothOptions(max_gap_s=args.max_gap), lock=not args.no_lock)
    files = save_smoothed(out, done.recording)
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


def run_list(args: argparse.Namespace) -> int:
    """`xnect list`."""
    from xnect.demo.listing import listing

    print(listing())
    return OK


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
            if stop():  # while the files of the one before were finished
                print("xnect: stopped; what was done is saved", file=sys.stderr)
                return INTERRUPTED
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


def _size(text: str) -> tuple[int, int]:
    """`1280x720` -> (720, 1280)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"must look like 1280x720, got {text!r}")
    return int(match[2]), int(match[1])


if __name__ == "__main__":
    sys.exit(main())
