"""Frames of a video file, a GIF or a single picture, with their exact times.

The times are those in the file, so a variable frame rate stays as it is.  The rotation that phones
write beside the picture is applied; pixels that are not square are made square.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from xnect.errors import CannotOpenSource
from xnect.times import Times
from xnect.types import Frame

SUFFIXES = frozenset(
    ".mp4 .mov .m4v .mkv .avi .webm .gif .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split()
)
"""What counts as a video when a whole folder is given."""

CLOCK_FPS = 240
"""A rate that is only guessed, and higher than this, is the clock of the file (WebM: 1000)."""


@dataclass(frozen=True)
class Orientation:
    """How the stored picture must be turned to be seen upright: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Orientation:
        """From a display matrix (3, 3), row vectors: (x', y', 1) = (x, y, 1) @ matrix."""
        (a, b), (c, d) = matrix[:2, :2]
        if abs(a) >= abs(b):
            return cls(transpose=False, flip_x=bool(a < 0), flip_y=bool(d < 0))
        return cls(transpose=True, flip_x=bool(c < 0), flip_y=bool(b < 0))

    @classmethod
    def of_turn(cls, degrees: float) -> Orientation:
        """From the turn to the left, in quarters, that makes the stored picture upright."""
        quarters = round(degrees / 90) % 4
        return cls(quarters % 2 == 1, flip_x=quarters in (2, 3), flip_y=quarters in (1, 2))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the upright picture, contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


class VideoFile:
    """A video file, open.  Iterate it once for its frames.

    Frame times start at 0.  A file that is broken half-way gives every frame that can be decoded
    and then raises `CannotOpenSource`, so that what was done before is known to be good.

    Attributes:
        hw: height and width of the upright picture.
        fps: mean frame rate, for progress and for players that want one.
        frames: number of frames that the file announces, 0 when unknown.
    """

    def __init__(self, path: str | Path) -> None:
        import av

        self.path = Path(path)
        _check_is_file(self.path)
        try:
            self._container = av.open(os.path.abspath(self.path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CannotOpenSource(
                f"cannot open {self.path}: it is not a video, or it is damaged ({_reason(error)})"
            ) from error
        try:
            if not self._container.streams.video:
                raise CannotOpenSource(f"cannot use {self.path}: it has sound but no pictures")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._first = self._first_frame()
        except BaseException:
            self._container.close()
            raise
        self.orientation = _orientation(self._first)
        self.hw = self._square(self._first).shape[:2]
        said, guessed = self._stream.average_rate, self._stream.guessed_rate
        if not said and guessed and guessed <= CLOCK_FPS:
            said = guessed
        self.fps = float(said) if said and 0 < said <= 1000 else 25.0
        self.frames = int(self._stream.frames or _seconds(self._container) * self.fps)
        self._bad_packets = 0

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        start, last, index = self._first.time or 0.0, 0.0, 0
        increasing = Times(warn=False, doubt=False)  # files have true pauses
        for decoded in self._decoded():
            time_s = index / self.fps if decoded.time is None else decoded.time - start
            last = increasing(time_s)
            yield Frame(index, last, self._square(decoded))
            index += 1
        self._complain(index, last)

    def _first_frame(self) -> Any:
        """The first frame, which has the size and the rotation; the file is wound back."""
        import av

        self._bad_packets = 0
        decoded = next(self._decoded(), None)
        if decoded is None:
            raise CannotOpenSource(f"cannot use {self.path}: no picture in it can be decoded")
        self._container.close()
        self._container = av.open(
            os.path.abspath(self.path)
        )  # winding back is not exact in every format
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        return decoded

    def _decoded(self) -> Iterator[Any]:
        """Every frame that can be decoded; packets that cannot are counted and passed over."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError):
                self._bad_packets += 1
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._bad_packets += 1

    def _complain(self, done: int, last_s: float) -> None:
        """Raise when the file gave less than it announces."""
        promised = self._stream.frames
        missing_frames = promised == 0 or done < 0.95 * promised - 1
        end_s = last_s + (self._first.time or 0.0)  # some formats count from 0, some from the start
        missing_time = end_s < 0.95 * _announced_s(self._container, self._stream) - 0.5
        if self._bad_packets or (missing_frames and missing_time):
            of = f" of {promised}" if promised else ""
            raise CannotOpenSource(
                f"{self.path} is damaged: only {done}{of} frames could be read "
                f"({last_s:.1f} s); what was read is kept"
            )

    def _square(self, decoded: Any) -> np.ndarray:
        """Decoded frame -> (H, W, 3) uint8 RGB, upright, square pixels."""
        ratio = self._stream.sample_aspect_ratio
        image: np.ndarray
        if ratio and ratio > 0 and ratio != 1:
            width = max(1, round(decoded.width * float(ratio)))
            image = decoded.reformat(width=width, format="rgb24").to_ndarray()
        else:
            image = decoded.to_ndarray(format="rgb24")
        return self.orientation.apply(image) if self._has_orientation else image

    @property
    def _has_orientation(self) -> bool:
        return getattr(self, "orientation", Orientation()) != Orientation()


def played_live(video: VideoFile) -> Iterator[Frame]:
    """Frames of a file at the pace at which a camera would give them, stamped with the clock."""
    import time

    start = time.monotonic()
    for frame in video:
        due = start + frame.time_s
        time.sleep(max(0.0, due - time.monotonic()))
        yield Frame(frame.index, due, frame.image)


def _check_is_file(path: Path) -> None:
    """One sentence for what is wrong before a decoder sees it."""
    try:
        if path.is_dir():
            raise CannotOpenSource(f"cannot open {path}: it is a folder; give a video file")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise CannotOpenSource(f"cannot open {path}: there is no such file") from None
    except PermissionError:
        raise CannotOpenSource(f"cannot open {path}: reading it is not permitted") from None
    except CannotOpenSource:
        raise
    except OSError as error:
        raise CannotOpenSource(f"cannot open {path}: {error.strerror}") from None
    if size == 0 and path.is_file():
        raise CannotOpenSource(f"cannot open {path}: the file is empty (0 bytes)")


def _orientation(decoded: Any) -> Orientation:
    from av.sidedata.sidedata import Type

    try:
        beside = list(decoded.side_data)
    except ValueError:  # a kind that this PyAV has no name for, such as EXIF: no matrix to be had
        return Orientation.of_turn(decoded.rotation)
    for data in beside:
        if data.type == Type.DISPLAYMATRIX:
            return Orientation.of_matrix(np.frombuffer(bytes(data), "=i4")[:9].reshape(3, 3))
    return Orientation()


def _seconds(container: Any) -> float:
    """Length that the file announces; 0 when unknown."""
    return float(container.duration or 0) / 1e6


def _announced_s(container: Any, stream: Any) -> float:
    """Length of the pictures that the file announces, 0 when it says nothing of them alone."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if tag := re.match(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):  # Matroska
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    return _seconds(container) if len(container.streams) == 1 else 0.0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
