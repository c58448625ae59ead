"""`python -m xnect.synth`: render labelled pictures, a clip, or a contact sheet.

  python -m xnect.synth images --data ../shared/data/synth --out renders --seed 1 --shards 3
  python -m xnect.synth sheet  --data ../shared/data/synth --out sheet.png --seed 1
  python -m xnect.synth clip   --data ../shared/data/synth --out clip.mp4 --seed 2 --seconds 5

The same seed gives the same pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from tqdm import tqdm

from xnect.errors import BadInput, CannotWrite, XnectError
from xnect.synth.assets import Assets, load_assets

if TYPE_CHECKING:
    from xnect.synth.dataset import DatasetOptions
    from xnect.synth.shards import Made

CLIP_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi")
"""Containers that take H.264."""


def number(*, at_least: int, multiple_of: int = 1) -> Callable[[str], int]:
    """The check of a whole number on the command line."""

    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least or int(text) % multiple_of:
            kind = "an even number" if multiple_of == 2 else "a whole number"
            raise argparse.ArgumentTypeError(f"give {kind} from {at_least} up, not {text!r}")
        return int(text)

    return check


def duration_s(text: str) -> float:
    """The check of a length in seconds on the command line."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 / 30 <= seconds < 3600:
        raise argparse.ArgumentTypeError(f"give seconds from 1/30 to below 3600, not {text!r}")
    return seconds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m xnect.synth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)
    images = commands.add_parser("images", help="shards of labelled training pictures")
    images.add_argument("--shards", type=number(at_least=1), default=1, help="how many files (1)")
    images.add_argument(
        "--first", type=number(at_least=0), default=0, help="number of the first shard (0)"
    )
    images.add_argument("--pictures", type=number(at_least=1), default=400, help="per shard (400)")
    sheet = commands.add_parser("sheet", help="a contact sheet, and one with the labels drawn in")
    sheet.add_argument("--rows", type=number(at_least=1), default=4)
    sheet.add_argument("--columns", type=number(at_least=1), default=4)
    clip = commands.add_parser("clip", help="a video of people in a room, with its ground truth")
    clip.add_argument(
        "--seconds", type=duration_s, default=5.0, help="length (5); walk: up to about 5"
    )
    clip.add_argument(
        "--people", type=number(at_least=2), default=3, help="2 walkers and others (3)"
    )
    clip.add_argument(
        "--width", type=number(at_least=16, multiple_of=2), default=640, help="px, even (640)"
    )
    clip.add_argument(
        "--height", type=number(at_least=16, multiple_of=2), default=400, help="px, even (400)"
    )
    clip.add_argument(
        "--style", choices=("walk", "crowd"), default="walk",
        help="walk: two pass each other; crowd: people cross, hide each other, leave, come back",
    )  # fmt: skip
    clip.add_argument("--moving", action="store_true", help="crowd: the camera pans and drifts")
    for command, part in ((images, "training"), (sheet, "training"), (clip, "all")):
        command.add_argument(
            "--split", choices=("training", "held-out", "all"), default=part,
            help=f"which part of the pack may be shown (xnect.synth.split; {part})",
        )  # fmt: skip
    for command in (images, sheet):
        command.add_argument(
            "--backend", choices=("cpu", "torch"), default="cpu", help="kernels or torch (cpu)"
        )
        command.add_argument("--device", default="auto", help="of torch: auto, cpu, cuda or mps")
        command.add_argument(
            "--batch", type=number(at_least=1), default=1, help="drawn together by torch (1)"
        )
        command.add_argument(
            "--empty", action="store_true", help="person-free pictures only, as negatives"
        )
    for command, default in ((images, "renders"), (sheet, "sheet.png"), (clip, "clip.mp4")):
        command.add_argument("--data", type=Path, required=True, help="folder of the asset pack")
        command.add_argument("--out", type=Path, default=Path(default), help=f"({default})")
        command.add_argument("--seed", type=number(at_least=0), default=1)
    return top


def _assets(options: argparse.Namespace) -> Assets:
    """The part of the pack that the split allows."""
    from xnect.synth.split import held_out, training

    part = {"training": training, "held-out": held_out, "all": lambda assets: assets}
    return part[options.split](load_assets(options.data))


def _dataset(options: argparse.Namespace, pictures: int) -> DatasetOptions:
    """How pictures are drawn.

    Raises:
        BadInput: a device that this machine does not have.
        UnknownName: one that there is nowhere.
    """
    from xnect.synth.dataset import DatasetOptions
    from xnect.synth.scene import SceneOptions

    if options.device != "auto":
        from xnect.model import pick_device

        pick_device(options.device)
    return DatasetOptions(
        pictures=pictures,
        pool=min(40, max(8, pictures)),
        scene=SceneOptions(people_shares=(1.0,)) if options.empty else SceneOptions(),
        backend=options.backend,
        device=options.device,
        batch=options.batch,
    )


def _is_there(path: Path, made: Made) -> bool:
    """Whether the shard exists already.

    Raises:
        BadInput: it is damaged or was made with other options.
    """
    from xnect.synth.shards import made_otherwise

    if not path.exists():
        return False
    differences = made_otherwise(path, made)
    if differences:
        raise BadInput(
            f"{path} exists and was made with other options ({'; '.join(differences)}); "
            "delete it or give another folder with --out"
        )
    return True


def images(options: argparse.Namespace) -> None:
    """Write shards `s<seed>_<number>.npz`; those that exist already are left as they are.

    Raises:
        BadInput: one exists that is damaged or was made with other options.
    """
    from xnect.synth.dataset import PictureSource
    from xnect.synth.shards import Made, write_shard

    dataset = _dataset(options, options.pictures)
    numbers = range(options.first, options.first + options.shards)
    shards = {
        options.out / f"s{options.seed}_{n:03d}.npz": Made(options.split, options.seed, n, dataset)
        for n in numbers
    }
    kept = sum(_is_there(path, made) for path, made in shards.items())
    source = PictureSource(_assets(options), dataset)
    with tqdm(total=options.shards * options.pictures, unit="picture") as bar:
        for path, made in shards.items():
            if _is_there(path, made):  # another program may have written it meanwhile
                bar.update(options.pictures)
                continue
            pictures = source.pictures(seed=made.seed, shard=made.shard)
            write_shard(path, pictures, made=made, progress=bar.update)
    before = f", {kept} of them from before" if kept else ""
    print(f"{options.shards} shards of {options.pictures} pictures are in {options.out}{before}")


def sheet(options: argparse.Namespace) -> None:
    """Write the sheet, and `<stem>_labels` beside it."""
    from xnect.synth.dataset import PictureSource
    from xnect.synth.sheet import check_suffix, draw_labels, grid

    check_suffix(options.out)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)  # before the pictures are drawn
    except OSError as error:
        raise CannotWrite(f"cannot write {options.out}: {error.strerror}") from error
    count = options.rows * options.columns
    dataset = _dataset(options, count)
    source = PictureSource(_assets(options), dataset)
    drawn = [p for p, _ in islice(source.pictures(seed=options.seed, shard=0), count)]
    marked = options.out.with_stem(options.out.stem + "_labels")
    plain = grid([p.image for p in drawn], columns=options.columns)
    labelled = grid([draw_labels(p.image, p.labels) for p in drawn], columns=options.columns)
    for path, image in ((options.out, plain), (marked, labelled)):
        if not cv2.imwrite(str(path), image[..., ::-1]):
            raise CannotWrite(f"cannot write {path}; give a writable .png or .jpg with --out")
    print(f"{count} pictures are in {options.out}, with labels in {marked}")


def clip(options: argparse.Namespace) -> None:
    """Write the video, and its ground truth beside it."""
    from xnect.synth.clip import RATE_HZ, ClipOptions, render_clip, write_clip
    from xnect.synth.crowd import CrowdOptions

    if options.out.suffix.lower() not in CLIP_SUFFIXES:
        raise BadInput(
            f"a clip is a video file, --out ends in {' '.join(CLIP_SUFFIXES)}; got {options.out}"
        )
    size = {"width_px": options.width, "height_px": options.height, "people": options.people}
    shape: ClipOptions | CrowdOptions = ClipOptions(options.seconds, **size)
    if options.style == "crowd":
        shape = CrowdOptions(options.seconds, moving=options.moving, **size)
    elif options.moving:
        raise BadInput("--moving goes with --style crowd")
    frames = render_clip(_assets(options), options.seed, shape)
    total = round(options.seconds * RATE_HZ)
    truth = write_clip(options.out, iter(tqdm(frames, total=total, unit="frame")))
    print(f"the clip is {options.out}, its ground truth {truth}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it is done, 2 with one sentence when it is not."""
    options = parser().parse_args(arguments)
    try:
        {"images": images, "sheet": sheet, "clip": clip}[options.command](options)
    except (XnectError, OSError) as error:  # an OSError names its file itself
        print(f"xnect.synth: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
