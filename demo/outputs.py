"""What is written for one input: overlay video, recording, and one BVH per person."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from xnect.demo.sinks.mp4 import Mp4Writer
from xnect.draw import View, draw_result, draw_scene, follow
from xnect.errors import CannotWrite, XnectError
from xnect.recording import Recording, RecordingWriter, load_recording, spool_path
from xnect.types import Result

MIN_SEEN_S = 0.5
"""Who was seen for less time is in the recording but gets no BVH file, unless the take is short."""

LONGEST_NAME = 255
"""Bytes of a file's name, in the usual file systems."""

LONGEST_ENDING = 40
"""Bytes of what the outputs add to a name while they are written."""

USUAL_FPS = 30.0
"""Nominal rate of a source that has none, such as a webcam; the true times are kept anyway."""


class Outputs:
    """The files `NAME_overlay.mp4`, `NAME.npz`, `NAME.json`, `NAME_person1.bvh`, ... in `folder`.

    Call `append` for every frame and `finish` at the end, whatever happened between: it completes
    what can be completed and says what could not.

    Args:
        source: what it is made of, for people.
        fps: nominal frame rate of the source; None when it has none.
        scene: put a 3D view beside the overlay.
        people: write the BVH files.

    Raises:
        CannotWrite: the folder cannot be written, or a name would be too long.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        source: str,
        fps: float | None,
        overlay: bool = True,
        scene: bool = False,
        people: bool = True,
        notes: Sequence[str] = (),
    ) -> None:
        check_folder(folder)
        check_name(name)
        self.folder, self.name, self.frames, self._people = folder, name, 0, people
        self._recording = RecordingWriter(
            folder / f"{name}.npz", source=source, fps=fps, notes=tuple(notes)
        )
        self._overlay = (
            Mp4Writer(folder / f"{name}_overlay.mp4", fps=fps or USUAL_FPS) if overlay else None
        )
        self._failed: CannotWrite | None = None  # of the overlay
        self._view = SceneBeside() if scene else None
        self.said: list[str] = []  # about the files, sentences for the user; after `finish`
        self._finished: tuple[list[Path], list[str]] | None = None

    def append(self, image: np.ndarray, result: Result) -> None:
        """Take a frame: the picture (H, W, 3) that `result` belongs to.

        Raises:
            CannotWrite: the disk is full; `finish` still completes what there is.
        """
        self._recording.append(result)
        self.frames += 1
        if self._overlay is None or self._failed is not None:
            return
        try:
            self._overlay.append(self.picture(image, result), result.time_s)
        except CannotWrite as error:  # the recording goes on without it
            self._failed = error

    def picture(self, image: np.ndarray, result: Result) -> np.ndarray:
        """The overlay, with the 3D view to its right when that is wanted."""
        overlay = draw_result(image, result)
        return overlay if self._view is None else self._view.beside(overlay, result)

    def finish(self) -> tuple[list[Path], list[str]]:
        """Complete the files; those that are there, and a sentence for each that is not.

        Calling it twice is harmless.
        """
        if self._finished is None:
            self._finished = self._finish()
        return self._finished

    def _finish(self) -> tuple[list[Path], list[str]]:
        files: list[Path] = []
        problems: list[str] = []
        for step in (self._finish_overlay, self._finish_recording, self._finish_people):
            try:
                files += step()
            except XnectError as error:
                problems.append(str(error))
        return files, problems

    def _finish_overlay(self) -> list[Path]:
        if self._overlay is None:
            return []
        try:
            if self._failed is not None:
                self._overlay.abandon()
                raise self._failed
            path = self._overlay.close()
        except CannotWrite as error:
            part = self._overlay.part
            more = f"; {part.name} is playable so far" if part.is_file() else ""
            raise CannotWrite(f"{error}{more}") from error
        return [path] if path else []

    def _finish_recording(self) -> list[Path]:
        if self.frames == 0:  # what an earlier run made stays
            self._recording.discard()
            return []
        path = self._recording.close()
        return [path, path.with_suffix(".json")]

    def _finish_people(self) -> list[Path]:
        if self.frames == 0 or not self._people:
            return []
        spool = spool_path(self._recording.path)  # there when the recording could not be written
        recording = load_recording(spool if spool.is_file() else self._recording.path)
        self.said += left_out(recording)
        return write_people(self.folder, self.name, recording)


class SceneBeside:
    """The 3D view to the right of the picture; it follows the people calmly."""

    def __init__(self) -> None:
        self._view: View | None = None

    def beside(self, picture: np.ndarray, result: Result) -> np.ndarray:
        """(H, W, 3) -> (H, W + min(H, W), 3)."""
        height, width = picture.shape[:2]
        self._view = follow(result, self._view)
        scene = draw_scene(result, hw=(height, min(height, width)), view=self._view)
        return np.hstack([picture, scene])


def write_people(folder: Path, name: str, recording: Recording) -> list[Path]:
    """One BVH file for everybody who is worth it; those of an earlier run are removed.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    from xnect.export.bvh import bvh

    files = [
        bvh(folder / f"{name}_person{track_id}.bvh", recording, track_id)
        for track_id in people_worth_a_file(recording)
    ]
    old = re.compile(re.escape(name) + r"_person\d+\.bvh")
    for path in folder.iterdir():
        if old.fullmatch(path.name) and path not in files:
            with suppress(OSError):
                path.unlink()
    return files


def left_out(recording: Recording) -> list[str]:
    """A sentence about those who get no BVH file, if there are any."""
    count = len(set(recording.track_ids) - set(people_worth_a_file(recording)))
    who = "1 person was" if count == 1 else f"{count} people were"
    return [f"{who} seen for less than {MIN_SEEN_S:g} s: no BVH file"] if count else []


def people_worth_a_file(recording: Recording) -> list[int]:
    """Identities that were seen for `MIN_SEEN_S`, or for half of a take that is shorter."""
    if not len(recording.time_s):
        return []
    steps_s = np.diff(recording.time_s)
    usual_s = np.median(steps_s) if len(steps_s) and steps_s.any() else 1 / recording.fps
    shown_s = np.minimum(np.append(steps_s, usual_s), MIN_SEEN_S)  # each frame, until the next
    needed_s = min(MIN_SEEN_S, shown_s.sum() / 2) * (1 - 1e-9)
    seen_s = shown_s[recording.person_frame]
    return [i for i in recording.track_ids if seen_s[recording.track_id == i].sum() >= needed_s]


def check_name(name: str) -> None:
    """See that the names of all files can be as long as they will be.

    Raises:
        CannotWrite: with the length that would be right.
    """
    length, most = len(os.fsencode(name)), LONGEST_NAME - LONGEST_ENDING
    if length > most:
        raise CannotWrite(
            f"the name {name!r} has {length} bytes, too many for the names of its outputs; rename "
            f"the input to at most {most}"
        )


def check_folder(folder: Path) -> None:
    """Make the folder and see that files can be made in it, before any work is done.

    Raises:
        CannotWrite: with the reason of the system.
    """
    probe = folder / ".xnect_can_write"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except FileExistsError:
        raise CannotWrite(f"cannot write into {folder}: it is a file, not a folder") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWrite(f"cannot write into {folder}: {reason}") from None
