"""`xnect calibrate`: a camera file from pictures of a board, EXIF data, or walking people."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xnect.demo import options
from xnect.errors import BadInput, CannotWrite

if TYPE_CHECKING:
    import numpy as np

    from xnect.calib.board import Board
    from xnect.calib.camera import Camera
    from xnect.calib.file import Origin
    from xnect.calib.floor import FloorFit
    from xnect.demo.calibrate_views import Collected
    from xnect.recording import Recording

EXAMPLES = """\
examples:
  xnect calibrate --print-board board.pdf --board charuco 5x7 --square 0.035
  xnect calibrate photos/ --board chessboard 9x6 --square 0.025 -o camera.json
  xnect calibrate board.mp4 --board charuco 5x7 --square 0.035 --marker 0.026 -o camera.json
  xnect calibrate 0 --board chessboard 9x6                 webcam 0; hold the board still
  xnect calibrate --exif photo.jpg -o camera.json
  xnect calibrate --from-recording out/clip.npz -o camera.json     from people who walk
  xnect calibrate --camera camera.json --from-recording out/clip.npz    the floor only
  xnect calibrate --camera camera.json --floor-board floor.jpg --board chessboard 9x6 --square 0.1
  xnect calibrate --camera camera.json --floor-points 210,640,0,0 905,655,2,0 800,500,2,3
  xnect calibrate --camera camera.json -o camera.yml       as OpenCV YAML

a chessboard is counted in inner corners, a ChArUco board in squares.  Fifteen pictures or more, the
board tilted by 20 to 45 degrees in several directions, and once in every part of the picture.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All flags of the command."""
    parser.add_argument(
        "inputs", metavar="IN", nargs="*",
        help="pictures, folders, patterns; or one video; or one webcam number or URL",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", metavar="FILE", type=Path, default=Path("camera.json"),
        help="camera file: .json, or .yml for OpenCV (default: camera.json)",
    )  # fmt: skip
    board = parser.add_argument_group("board")
    board.add_argument(
        "--board", metavar=("KIND", "CxR"), nargs=2,
        help="chessboard with inner corners (9x6), or charuco with squares (5x7)",
    )  # fmt: skip
    board.add_argument(
        "--square", metavar="M", type=options.positive_float, help="side of a square in metres"
    )
    board.add_argument(
        "--marker", metavar="M", type=options.positive_float,
        help="side of a ChArUco marker (default: three quarters of the square)",
    )  # fmt: skip
    board.add_argument(
        "--dict", metavar="NAME", default="DICT_4X4_50", help="of markers (default: DICT_4X4_50)"
    )
    board.add_argument(
        "--print-board", metavar="FILE", type=Path, help="write the board as .pdf or .png, and end"
    )
    other = parser.add_argument_group("without a board")
    other.add_argument("--exif", metavar="IMG", type=Path, help="focal length in a photo's EXIF")
    other.add_argument(
        "--from-recording", metavar="NPZ", type=Path,
        help="floor, and without a known camera also the focal length, from people who walk",
    )  # fmt: skip
    floor = parser.add_argument_group("floor")
    floor.add_argument("--floor-board", metavar="IMG", type=Path, help="the board, on the floor")
    floor.add_argument(
        "--floor-points", metavar="U,V,X,Y", nargs="+", type=_mark,
        help="3 marks or more: pixels, and metres on the floor",
    )  # fmt: skip
    options.add_camera_flags(parser)
    live = parser.add_argument_group("live camera")
    live.add_argument("--headless", action="store_true", help="no window")
    live.add_argument("--seconds", metavar="N", type=options.positive_float, help="stop after that")
    parser.add_argument("--quiet", action="store_true", help="no progress and no report")


def run(args: argparse.Namespace) -> int:
    """The command; 0 when a camera file, or a board, was written.

    Raises:
        XnectError: with what is missing, or why it cannot be calibrated.
    """
    from xnect.calib.errors import CannotCalibrate
    from xnect.calib.file import save_camera
    from xnect.demo.outputs import check_folder

    check_folder((args.print_board or args.out).parent)
    try:
        if args.print_board is not None:
            _print_board(args)
            return 0
        camera, origin = _camera(args)
        camera, origin = _with_floor(args, camera, origin)
        save_camera(args.out, camera, origin)
    except CannotCalibrate as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        if isinstance(error, (BadInput, CannotWrite)) or error.filename is None:
            raise
        raise CannotWrite(f"cannot write or read {error.filename}: {error.strerror}") from error
    if not args.quiet:
        print(summary(camera, origin))
        print(f"wrote {args.out}")
    return 0


def summary(camera: Camera, origin: Origin) -> str:
    """What is known of the camera, in a few lines for people."""
    sd = f" ± {origin.fx_sd_px:.1f}" if origin.fx_sd_px is not None else ""
    fov = math.degrees(2 * math.atan(max(camera.width_px, camera.height_px) / 2 / camera.fx_px))
    lines = [
        f"camera: {origin.source or 'source unknown'}",
        f"  {camera.width_px}x{camera.height_px}, focal length {camera.fx_px:.1f}{sd} px "
        f"({fov:.0f} degrees along the longer side), centre {camera.cx_px:.1f} {camera.cy_px:.1f}",
    ]
    if camera.dist:
        lines.append("  distortion " + " ".join(f"{k:.4f}" for k in camera.dist))
    if origin.reprojection_error_px is not None:
        lines.append(f"  reprojection error {origin.reprojection_error_px:.2f} px")
    if camera.floor is None:
        return "\n".join([*lines, "floor: unknown"])
    floor = camera.floor
    tilt_sd, height_sd = origin.floor_tilt_sd_rad or 0.0, origin.floor_height_sd_m or 0.0
    return "\n".join([
        *lines, f"floor: {origin.floor_source or 'source unknown'}",
        f"  camera {floor.distance_m:.2f} ± {height_sd:.2f} m high, looks down by "
        f"{math.degrees(floor.tilt_rad):.1f} ± {math.degrees(tilt_sd):.1f} degrees, "
        f"rolled by {math.degrees(floor.roll_rad):.1f} degrees",
    ])  # fmt: skip


def _camera(args: argparse.Namespace) -> tuple[Camera | None, Origin]:
    """The intrinsics that the flags tell; None where only people are to tell them."""
    from xnect.calib.file import Origin, load_origin

    given = {
        "pictures, a video or a live camera": bool(args.inputs), "--exif": args.exif is not None,
        "--camera": args.camera is not None, "--fov": args.fov is not None,
    }  # fmt: skip
    chosen = [name for name, there in given.items() if there]
    if len(chosen) > 1:
        raise BadInput(f"give one source of the camera, got {' and '.join(chosen)}")
    if args.inputs:
        return _of_board(args)
    if args.exif is not None:
        from xnect.calib.exif import camera_of_exif

        _check_is_file(args.exif)
        return camera_of_exif(args.exif), Origin(source=f"EXIF data of {args.exif.name}")
    if args.camera is not None:
        return options.read_camera(args.camera), load_origin(args.camera)
    if args.fov is not None:
        return _of_fov(args), Origin(source=f"--fov {args.fov:g}")
    if args.from_recording is None:
        raise BadInput(
            "nothing to calibrate from; give pictures of a board with --board, or --exif, "
            "--from-recording or --camera (xnect calibrate --help)"
        )
    return None, Origin()


def _of_fov(args: argparse.Namespace) -> Camera:
    """The camera of --fov, for the size of the recording or of the picture of the floor."""
    if args.from_recording is not None:
        height, width = (int(n) for n in _recording(args.from_recording).image_hw[0])
    elif args.floor_board is not None:
        from xnect.demo.calibrate_views import read_picture

        height, width = read_picture(args.floor_board).shape[:2]
    else:
        raise BadInput("--fov needs a picture's size; give --from-recording or --floor-board too")
    camera = options.camera_chooser(args)(height, width)
    assert camera is not None
    return camera


def _of_board(args: argparse.Namespace) -> tuple[Camera, Origin]:
    from xnect.calib.file import Origin
    from xnect.calib.intrinsics import calibrate

    board = _board(args)
    collected = _collect(args, board)
    if not args.quiet:
        for problem in collected.problems:
            print(f"left out: {problem}")
    views = collected.views
    if not views and collected.problems:
        more = len(collected.problems) - 1
        first = collected.problems[0]
        raise BadInput(
            f"no view of the board: {first}" + (f" (and {more} more like it)" if more else "")
        )
    found = calibrate(views, board)
    if not args.quiet:
        for view, error, used, reason in zip(
            views, found.view_error_px, found.used, found.reasons, strict=True
        ):
            if used:
                print(f"{view.name or 'view'}: {error:.2f} px")
            else:
                print(f"{view.name or 'view'}: left out, {reason}")
        print(f"{100 * found.coverage:.0f} % of the picture covered")
        if found.missing:
            print(f"  not covered: {', '.join(found.missing)}; distortion is a guess there")
    count = int(found.used.sum())
    origin = Origin(
        source=f"{board.text}, {count} of {len(views)} views", fx_sd_px=found.fx_sd_px,
        fy_sd_px=found.fy_sd_px, reprojection_error_px=found.error_px,
    )  # fmt: skip
    return found.camera, origin


def _collect(args: argparse.Namespace, board: Board) -> Collected:
    """Views of the inputs: pictures, one video, or one live camera."""
    from tqdm import tqdm

    from xnect.demo.calibrate_views import (
        PICTURES,
        find_files,
        is_live,
        views_of_frames,
        views_of_pictures,
    )
    from xnect.demo.sources.video import VideoFile

    with tqdm(unit="picture", disable=args.quiet or None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        if len(args.inputs) == 1 and is_live(args.inputs[0]):
            return _collect_live(args, board, progress)
        files = find_files(args.inputs)
        if all(path.suffix.lower() in PICTURES for path in files):
            return views_of_pictures(files, board, progress=progress)
        if len(files) > 1:
            raise BadInput(f"give pictures, or one video; got {len(files)} files")
        with VideoFile(files[0]) as video:
            return views_of_frames(video, board, progress=progress)


def _collect_live(
    args: argparse.Namespace, board: Board, progress: Callable[[str], None]
) -> Collected:
    """Views of a camera while the user holds the board, with a window where there can be one."""
    from xnect.demo.calibrate_views import guide, views_of_frames
    from xnect.demo.interrupt import ctrl_c_stops
    from xnect.demo.live import open_live
    from xnect.demo.newest import newest
    from xnect.demo.sinks.window import Window, why_no_window

    with ExitStack() as stack:
        frames = stack.enter_context(open_live(args.inputs[0]))
        screen = None
        if not args.headless:
            if reason := why_no_window():
                print(f"xnect: no window: {reason}; running headless", file=sys.stderr)
            else:
                screen = stack.enter_context(Window())
        stop = stack.enter_context(ctrl_c_stops())

        def show(image: np.ndarray, collected: Collected) -> bool:
            return screen is None or screen.show(guide(image, collected)) != "q"

        fresh = stack.enter_context(closing(newest(frames, stop)))
        return views_of_frames(
            fresh, board, wait_still=True, until_complete=True, seconds=args.seconds, stop=stop,
            show=show, progress=progress,
        )  # fmt: skip


def _with_floor(
    args: argparse.Namespace, camera: Camera | None, origin: Origin
) -> tuple[Camera, Origin]:
    """The camera with the floor that the flags tell; where it is unknown, from people too."""
    given = {
        "--from-recording": args.from_recording is not None,
        "--floor-board": args.floor_board is not None,
        "--floor-points": args.floor_points is not None,
    }
    chosen = [name for name, there in given.items() if there]
    if len(chosen) > 1 and camera is not None:
        raise BadInput(f"give one source of the floor, got {' and '.join(chosen)}")
    if args.from_recording is not None:
        camera, origin = _of_people(args, camera, origin, floor=len(chosen) == 1)
    assert camera is not None
    if args.floor_board is not None:
        from xnect.calib.board import find_board
        from xnect.calib.floor import floor_of_marks
        from xnect.demo.calibrate_views import read_picture

        if args.square is None:
            raise BadInput("--floor-board needs --square, the side of a square in metres")
        board = _board(args)
        image = read_picture(args.floor_board)
        view = find_board(image, board, name=args.floor_board.name)
        sized = options.scaled_camera(camera, *image.shape[:2], name=f"{args.camera or 'camera'}")
        fit = floor_of_marks(sized, view.corners_px, board.corners_m[view.number])
        return _placed(camera, origin, fit, f"{board.text} in {args.floor_board.name}")
    if args.floor_points is not None:
        import numpy as np

        from xnect.calib.floor import floor_of_marks

        u, v, x, y = zip(*args.floor_points, strict=True)
        fit = floor_of_marks(camera, np.stack([u, v], 1), np.stack([x, y], 1))
        return _placed(camera, origin, fit, f"{len(u)} marks")
    return camera, origin


def _of_people(
    args: argparse.Namespace, camera: Camera | None, origin: Origin, *, floor: bool
) -> tuple[Camera, Origin]:
    """The floor, if it is asked for, and focal length where there is none, from a recording."""
    from xnect.calib.feet import STATURE_SD, floor_from_feet
    from xnect.calib.file import Origin
    from xnect.calib.walking import camera_from_walking
    from xnect.demo.calibrate_people import feet_of, stature_of, walkers_of

    recording = _recording(args.from_recording)
    name = args.from_recording.name
    height, width = (int(n) for n in recording.image_hw[0])
    if camera is None and recording.cameras[0].calibrated:
        camera, origin = recording.cameras[0], Origin(source=f"camera of {name}")
    if camera is not None and not floor:
        return camera, origin
    assumed_m = stature_of(recording)
    stature_m = args.height or assumed_m
    if camera is None:
        walk = camera_from_walking(
            walkers_of(recording), height_px=height, width_px=width, stature_m=stature_m
        )
        near, far = walk.depths
        source = f"people walking in {name}, {walk.count} moments, {near:.1f} to {far:.1f} m away"
        origin = Origin(
            source=source, fx_sd_px=walk.focal_sd_px, fy_sd_px=walk.focal_sd_px,
            reprojection_error_px=walk.error_px,
        )  # fmt: skip
        return _placed(walk.camera, origin, walk.floor, f"people walking in {name}")
    sized = options.scaled_camera(camera, height, width, name=f"{args.camera or 'camera'}")
    fit = floor_from_feet(
        feet_of(recording, sized, scale=stature_m / assumed_m), stature_m=stature_m,
        stature_sd=0.02 if args.height else STATURE_SD,
    )  # fmt: skip
    return _placed(camera, origin, fit, f"feet of people in {name}, {fit.count} steps")


def _placed(camera: Camera, origin: Origin, fit: FloorFit, source: str) -> tuple[Camera, Origin]:
    """The camera over its floor."""
    return replace(camera, floor=fit.floor), replace(
        origin, floor_source=source, floor_tilt_sd_rad=fit.tilt_sd_rad,
        floor_height_sd_m=fit.height_sd_m,
    )  # fmt: skip


def _board(args: argparse.Namespace) -> Board:
    """The board of the flags."""
    from xnect.calib.board import Board

    if args.board is None:
        raise BadInput("say which board it is: --board chessboard 9x6, or --board charuco 5x7")
    kind, size = args.board
    match = re.fullmatch(r"(\d+)[xX](\d+)", size)
    if not match:
        raise BadInput(f"--board {kind} needs columns x rows like 9x6, got {size!r}")
    square_m = args.square or 0.025  # intrinsics do not depend on it
    marker_m = args.marker or 0.75 * square_m
    return Board(kind, int(match[1]), int(match[2]), square_m, marker_m, args.dict)


def _print_board(args: argparse.Namespace) -> None:
    from xnect.calib.board_picture import save_board

    if args.square is None:
        raise BadInput("--print-board needs --square, the side of a square in metres")
    width_m, height_m = save_board(args.print_board, _board(args))
    if not args.quiet:
        print(
            f"wrote {args.print_board}: {1000 * width_m:.0f} x {1000 * height_m:.0f} mm; print it "
            "at 100 %, check a square with a ruler, and glue it on something flat"
        )


def _recording(path: Path) -> Recording:
    from xnect.recording import load_recording

    recording = load_recording(path)
    if not len(recording.frame_index) or not recording.cameras:
        raise BadInput(f"the recording {path} has no frames")
    return recording


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise BadInput(f"cannot open {path}: there is no such file")


def _mark(text: str) -> tuple[float, float, float, float]:
    """`210,640,0,2.5` -> pixels u, v and metres x, y."""
    try:
        u, v, x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be four numbers U,V,X,Y (pixels, metres), got {text!r}"
        ) from None
    if not all(math.isfinite(value) for value in (u, v, x, y)):
        raise argparse.ArgumentTypeError(f"must be finite numbers, got {text!r}")
    return u, v, x, y
