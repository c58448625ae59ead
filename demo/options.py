"""Flags that several commands share, and what they mean.

Nothing heavy is imported here: `xnect --help` must be instant.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnect.errors import BadInput

if TYPE_CHECKING:
    from xnect.calib.camera import Camera

DEVICES = ("auto", "cpu", "cuda", "mps")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The network, and where it runs."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--preset", metavar="NAME", help="size of the network; `xnect list` shows them"
    )
    group.add_argument("--weights", metavar="FILE", type=Path, help="your own .safetensors file")
    group.add_argument(
        "--lane", choices=("open", "research"),
        help="of the bundled weights: open ones may be shipped in a product, research ones see "
        "better and may not (default: research)",
    )  # fmt: skip
    group.add_argument(
        "--flip-test", action=argparse.BooleanOptionalAction, default=None,
        help="look at the mirrored picture too, and at each person several times: surer joints, "
        "several times the networks' time (default: for single pictures only)",
    )  # fmt: skip
    group.add_argument(
        "--no-refine", action="store_true",
        help="do without the second look at each person: faster, joints less sure",
    )  # fmt: skip
    group.add_argument(
        "--refiner", metavar="NAME|FILE",
        help="network of the second look: sa, or m, surer and slower; or your own .safetensors "
        "file (default: sa)",
    )  # fmt: skip
    group.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to compute (default: auto)"
    )


def add_camera_flags(parser: argparse.ArgumentParser) -> None:
    """The camera, and the size of people: what makes metres of pixels."""
    group = parser.add_argument_group("camera")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--camera", metavar="FILE", type=Path,
        help="intrinsics: JSON with fx fy cx cy width height [dist], or OpenCV YAML",
    )  # fmt: skip
    either.add_argument(
        "--fov", metavar="DEG", type=float,
        help="angle of view along the longer side (default: a guess of 61, marked uncalibrated)",
    )  # fmt: skip
    group.add_argument(
        "--height", metavar="M", type=body_height, default=None,
        help="mean height of the people in metres; distances scale with it",
    )  # fmt: skip


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """How much is written and said."""
    group = parser.add_argument_group("output")
    group.add_argument("--no-overlay", action="store_true", help="write no overlay video")
    group.add_argument(
        "--scene", action=argparse.BooleanOptionalAction, default=None,
        help="a 3D view beside the picture",
    )  # fmt: skip
    group.add_argument("--max-frames", metavar="N", type=positive_int, help="stop after N frames")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary")


def add_smoothing_flag(parser: argparse.ArgumentParser) -> None:
    """How motion is smoothed."""
    parser.add_argument(
        "--smooth", choices=("live", "offline"), default="live",
        help="offline: the whole take at its end, without delay; short gaps are filled, standing "
        "feet stay (default: live, frame by frame)",
    )  # fmt: skip


def positive_int(text: str) -> int:
    """A whole number from 1; argparse turns the error into its usage message."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def positive_float(text: str) -> float:
    """A finite number above 0."""
    number = _number(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"must be more than 0, got {text}")
    return number


def body_height(text: str) -> float:
    """A height that a person can have, in metres."""
    number = _number(text)
    if not 0.5 <= number <= 2.5:
        raise argparse.ArgumentTypeError(f"must be in metres, 0.5 to 2.5, got {text}")
    return number


def camera_chooser(args: argparse.Namespace) -> Callable[[int, int], Camera | None]:
    """From the flags, a function of picture height and width: the camera, or None for a guess.

    A camera file is read at once, so that a mistake in it shows before any work is done.

    Raises:
        BadInput: the file cannot be read, or an angle is impossible.
    """
    if args.fov is not None:
        from xnect.calib.file import camera_of_fov

        def of_fov(height: int, width: int) -> Camera:
            return camera_of_fov(math.radians(args.fov), height_px=height, width_px=width)

        try:
            of_fov(9, 16)
        except ValueError as error:
            raise BadInput(f"--fov: {error}") from error
        return of_fov
    if args.camera is None:
        return lambda height, width: None
    return _of_file(args.camera)


def read_camera(path: Path) -> Camera:
    """The camera of a file.

    Raises:
        BadInput: the file cannot be read, or holds no camera.
    """
    from xnect.calib.file import load_camera

    try:
        return load_camera(path)
    except OSError as error:
        raise BadInput(f"cannot read the camera file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"--camera: {error}") from error


def scaled_camera(camera: Camera, height: int, width: int, *, name: str) -> Camera:
    """The camera for pictures of that size; says so when it must be scaled.

    Raises:
        BadInput: the pictures have another shape.
    """
    from xnect.calib.errors import CannotCalibrate
    from xnect.calib.resolution import camera_for_size, scaling

    try:
        sized = camera_for_size(camera, height_px=height, width_px=width)
    except CannotCalibrate as error:
        raise BadInput(f"{name} {error}") from error
    if said := scaling(camera, height_px=height, width_px=width):
        print(f"xnect: {name}: {said}", file=sys.stderr)
    return sized


def _of_file(path: Path) -> Callable[[int, int], Camera | None]:
    camera = read_camera(path)
    return lambda height, width: scaled_camera(
        camera, height, width, name=f"the camera file {path}"
    )


def open_pipeline(args: argparse.Namespace) -> Any:
    """The pipeline that the flags ask for.

    Raises:
        XnectError: of `load_pipeline`, or an impossible height.
    """
    from xnect import load_pipeline

    wanted: dict[str, Any] = {"device": args.device}
    if args.preset is not None:
        wanted["preset"] = args.preset
    if args.weights is not None:
        wanted["weights"] = args.weights
    if args.lane is not None:
        wanted["lane"] = args.lane
    if args.flip_test is not None:
        wanted["flip_test"] = args.flip_test
    if args.no_refine:
        wanted["refine"] = False
    if args.refiner is not None:
        wanted["refiner"] = args.refiner
    if getattr(args, "height", None) is not None:
        wanted["height_m"] = args.height
    if getattr(args, "smooth", "live") == "offline":
        wanted["live"] = False
    return load_pipeline(**wanted)
