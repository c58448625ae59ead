"""Sequences that come as folders of numbered pictures -> recordings for `mupots` and `mpi3dhp`.

MuPoTS-3D has `TS1/img_000000.jpg` ..., the test set of MPI-INF-3DHP
`TS1/imageSequence/img_000001.jpg` ...  The pictures in the order of their numbers are the frames of
the labels: the first one is frame 0 of the recording, whatever its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from xnect.errors import BadInput, CannotOpenSource
from xnect.recording import save_recording
from xnect.types import Frame, Result

SUFFIXES = (".jpg", ".jpeg", ".png")
BELOW = "imageSequence"
"""Where MPI-INF-3DHP keeps the pictures within a sequence."""

_NUMBER = re.compile(r"(\d+)$")  # at the end of a stem


class Streams(Protocol):
    """The part of a pipeline that is needed here."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Results, one for each frame."""


def sequences(root: str | Path) -> dict[str, list[Path]]:
    """Name -> pictures by number, of the folders TS1, TS2 ... in `root`, or of `root` itself.

    Raises:
        BadInput: there is none, one holds no pictures, or a number is missing or there twice.
    """
    root = Path(root)
    alone = re.fullmatch(r"TS\d+", root.name)
    folders = [root] if alone else [f for f in root.glob("TS*") if re.fullmatch(r"TS\d+", f.name)]
    folders = sorted((f for f in folders if f.is_dir()), key=lambda f: int(f.name[2:]))
    if not folders:
        raise BadInput(f"{root} holds none of the folders TS1, TS2 ... with pictures")
    return {folder.name: numbered_pictures(folder) for folder in folders}


def numbered_pictures(folder: str | Path) -> list[Path]:
    """The pictures of a sequence by their numbers, such as img_000000.jpg, without gaps.

    Raises:
        BadInput: there are none, or a number is missing or there twice.
    """
    folder = Path(folder)
    folder = folder / BELOW if (folder / BELOW).is_dir() else folder
    numbered = sorted(
        (int(number[1]), path)
        for path in folder.iterdir()
        for number in [_NUMBER.search(path.stem)]
        if number is not None and path.suffix.lower() in SUFFIXES
    )
    if not numbered:
        raise BadInput(f"{folder} holds no numbered pictures such as img_000000.jpg")
    first = numbered[0][0]
    for expected, (number, path) in enumerate(numbered, first):
        if number != expected:
            what = f"lacks picture {expected}" if number > expected else f"has {number} twice"
            raise BadInput(
                f"{folder} {what} (at {path.name}); each frame of the labels needs one picture"
            )
    return [path for _, path in numbered]


def frames(pictures: Sequence[Path], *, fps: float) -> Iterator[Frame]:
    """The pictures as a stream, one by one.

    Raises:
        CannotOpenSource: one cannot be decoded.
    """
    for index, path in enumerate(pictures):
        yield Frame(index, index / fps, read_picture(path))


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        CannotOpenSource: it cannot be decoded.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise CannotOpenSource(f"cannot decode {path}")
    return np.ascontiguousarray(bgr[..., ::-1])


def record(
    pipeline: Streams,
    pictures: Sequence[Path],
    out: str | Path,
    *,
    fps: float,
    progress: Callable[[], object] = lambda: None,
) -> tuple[int, int]:
    """Run the pipeline over a sequence and write the recording; numbers of frames and of people.

    An older recording is replaced by a whole one only: what there is of one that was interrupted
    stays in `<name>_part.npz`.  `progress` is called after every frame; people count once in each
    frame.
    """
    count = [0, 0]

    def seen(results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            count[0] += 1
            count[1] += len(result.people)
            progress()
            yield result

    results = seen(pipeline.stream(frames(pictures, fps=fps)))
    out = Path(out)
    stem = out.name.removesuffix(".npz")
    part = save_recording(
        out.with_name(f"{stem}_part"), results, source=str(pictures[0].parent), fps=fps
    )
    for suffix in (".json", ".npz"):
        part.with_suffix(suffix).replace(out.with_name(stem + suffix))
    return count[0], count[1]
