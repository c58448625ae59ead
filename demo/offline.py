"""`xnect smooth`, and the second half of `xnect video --smooth offline`: takes that are over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from xnect.contact import lock_feet
from xnect.demo.outputs import SceneBeside, left_out, write_people
from xnect.demo.sinks.mp4 import Mp4Writer
from xnect.demo.sources.video import VideoFile
from xnect.draw import draw_result
from xnect.errors import BadInput, XnectError
from xnect.recording import Recording, load_recording, npz_path, write_recording
from xnect.smooth import SmoothOptions, smooth_take


@dataclass(frozen=True)
class Smoothed:
    """What became of a take."""

    recording: Recording
    filled: int  # rows
    contacts: int  # rows in which a foot stands
    skate_before_mm: float  # per frame while feet stand; nan when none does
    skate_mm: float

    def text(self) -> str:
        """One line for the user."""
        rows = "1 row" if self.filled == 1 else f"{self.filled} rows"
        said = f"smoothed as a whole: {rows} of gaps filled"
        if math.isfinite(self.skate_mm):
            said += (
                f"; feet that stand slide {self.skate_mm:.1f} mm per frame, "
                f"before {self.skate_before_mm:.1f}"
            )
        return said


def smooth_recording(
    recording: Recording, options: SmoothOptions = SmoothOptions(), *, lock: bool = True
) -> Smoothed:
    """The take smoothed, and with its feet locked.

    Raises:
        BadInput: of `smooth_take`.
    """
    smooth = smooth_take(recording, options)
    locked = lock_feet(smooth)
    return Smoothed(
        locked.recording if lock else smooth,
        int(smooth.filled.sum()),
        int(locked.contact.any(1).sum()),
        locked.skate_before_mm,
        locked.skate_mm if lock else locked.skate_before_mm,
    )


def smoothed_path(out: Path, take: Path) -> Path:
    """Where `xnect smooth` writes: `out`, or in it under the take's name if it is a folder.

    Raises:
        BadInput: the take itself is there.
    """
    own = npz_path(take.with_name(take.name.removesuffix(".spool")))
    path = out / own.name if out.is_dir() else npz_path(out)
    if path.resolve() == own.resolve():
        raise BadInput(f"{path} would replace the take itself; give another file, or a folder")
    return path


def save_smoothed(path: Path, take: Recording) -> list[Path]:
    """Write a take as a recording; its `.npz` and `.json`.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    npz = write_recording(path, take)
    return [npz, npz.with_suffix(".json")]


@dataclass(frozen=True)
class Finished:
    """What `finish_offline` made."""

    files: tuple[Path, ...]
    problems: tuple[str, ...]  # a sentence for each file that could not be made
    said: tuple[str, ...]  # for the user


def finish_offline(
    folder: Path,
    name: str,
    video: Path,
    *,
    overlay: bool,
    scene: bool,
    stop: Callable[[], bool],
    tick: Callable[[], object],
) -> Finished:
    """Smooth the recording `name` in `folder` and draw its overlay over the pictures of `video`.

    The recording is replaced when the smoothed one is whole, and the overlay comes last: whatever
    ends this, `stop` or a second Ctrl-C, leaves complete files.  `tick` is called for each picture.
    """
    files: list[Path] = []
    problems: list[str] = []
    path = folder / f"{name}.npz"
    take, said = load_recording(path), ""
    try:
        smoothed = smooth_recording(take)
        files += save_smoothed(path, smoothed.recording)
        take, said = smoothed.recording, smoothed.text()
    except XnectError as error:
        problems.append(f"the take is not smoothed: {error}")
        files += [path, path.with_suffix(".json")]
    target = folder / f"{name}_overlay.mp4"
    for step in (
        lambda: write_people(folder, name, take),
        lambda: _overlay(target, take, video, scene, stop, tick) if overlay else [],
    ):
        try:
            files += step()
        except XnectError as error:
            problems.append(str(error))
    return Finished(tuple(files), tuple(problems), (*([said] if said else []), *left_out(take)))


def _overlay(
    path: Path,
    take: Recording,
    video: Path,
    scene: bool,
    stop: Callable[[], bool],
    tick: Callable[[], object],
) -> list[Path]:
    """The overlay video of a finished take; whole for what was drawn, also when interrupted."""
    beside = SceneBeside() if scene else None
    with Mp4Writer(path, fps=take.fps) as writer:
        for image, result in zip(_images(video, len(take.time_s)), take.results, strict=False):
            drawn = draw_result(image, result)
            if beside is not None:
                drawn = beside.beside(drawn, result)
            writer.append(drawn, result.time_s)
            tick()
            if stop():
                break
    return [path] if path.is_file() else []


def _images(video: Path, count: int) -> Iterator[np.ndarray]:
    """The first `count` pictures of a file, which held them before."""
    with VideoFile(video) as frames:
        for frame in islice(iter(frames), count):
            yield frame.image
