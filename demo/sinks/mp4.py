"""H.264 video that browsers play, playable at every moment while it is written.

The file is `NAME.part.mp4` until it is closed.  It is written in fragments, so that a killed
process or a full disk costs the last two seconds at most; closing it makes a plain MP4 of it
(FFmpeg's `hybrid_fragmented`) and gives it its name.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from xnect.errors import CannotWrite

TICKS_PER_S = 90_000
"""Time base of the file: exact for all usual frame rates, and fine enough for variable ones."""

BT709 = 1
"""Colour standard in H.264's tables; without it players guess, and shift the colours."""


class Mp4Writer:
    """Writes pictures with their times; a context manager.

    The size is that of the first picture, cut to even numbers (H.264 with 4:2:0 needs them; one
    row or column is repeated where there is only one).  Pictures of another size are scaled to fit
    and get black margins.

    Args:
        path: the `.mp4` to make; an existing one is replaced when this one is complete.
        fps: nominal frame rate, for the rate control and the length of the last frame.
    """

    def __init__(self, path: str | Path, *, fps: float) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.stem + ".part.mp4")
        self.fps = fps
        self._container: Any = None
        self._stream: Any = None
        self._start_s = 0.0
        self._last_tick = -1
        self._hw = (0, 0)

    def append(self, image: np.ndarray, time_s: float) -> None:
        """Add a picture (H, W, 3) uint8 RGB, shown from `time_s` until the next one's time.

        Raises:
            CannotWrite: the folder cannot be written, or the disk is full.
        """
        import av

        image = _even(image)
        if self._container is None:
            self._open(image.shape[0], image.shape[1], time_s)
        if image.shape[:2] != self._hw:
            image = _fitted(image, self._hw)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        tick = max(round((time_s - self._start_s) * TICKS_PER_S), self._last_tick + 1)
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_PER_S)
        self._last_tick = tick
        self._mux(frame)

    def close(self) -> Path | None:
        """Complete the file; its path, or None when there was no picture.  Twice is harmless.

        Raises:
            CannotWrite: the disk is full; `NAME.part.mp4` then stays, playable as far as it goes.
        """
        import av

        if self._container is None:
            return self.path if self._last_tick >= 0 else None
        container, self._container = self._container, None
        try:
            for packet in self._stream.encode(None):
                self._mux_packet(container, packet)
            container.close()
            os.replace(self.part, self.path)
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot_write(error) from error
        finally:
            _close_quietly(container)
        return self.path

    def abandon(self) -> None:
        """End it as it is: `NAME.part.mp4` stays, playable as far as it goes, under that name."""
        if self._container is not None:
            container, self._container = self._container, None
            _close_quietly(container)

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except CannotWrite:
            if error is None:  # what went wrong first is what the user must see
                raise

    def _open(self, height: int, width: int, start_s: float) -> None:
        import av

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(
                os.path.abspath(self.part), "w",  # a name may hold what looks like a protocol
                options={"movflags": "+hybrid_fragmented", "flush_packets": "1"},
            )  # fmt: skip
            rate = Fraction(self.fps).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=rate)
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot_write(error) from error
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = self._stream.time_base = Fraction(1, TICKS_PER_S)
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = 1  # 16..235
        keyframes = max(1, round(2 * self.fps))
        # without B-frames a fragmented file starts at 0 and needs no edit list
        context.options = {"preset": "veryfast", "crf": "20", "bf": "0", "g": str(keyframes)}
        self._hw, self._start_s = (height, width), start_s

    def _mux(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._mux_packet(self._container, packet)
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot_write(error) from error

    def _mux_packet(self, container: Any, packet: Any) -> None:
        if packet.pts == self._last_tick:  # nothing follows that would say how long it is shown
            packet.duration = round(TICKS_PER_S / self.fps)
        container.mux(packet)

    def _cannot_write(self, error: Exception) -> CannotWrite:
        reason = getattr(error, "strerror", None) or error
        return CannotWrite(f"cannot write {self.path}: {reason}")


def _even(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) with even H and W: the odd last row or column is left out, a single one doubled."""
    height, width = image.shape[:2]
    if height == 1:
        image = np.repeat(image, 2, axis=0)
    if width == 1:
        image = np.repeat(image, 2, axis=1)
    height, width = image.shape[:2]
    return image[: height - height % 2, : width - width % 2]


def _fitted(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) -> (H, W, 3): scaled to fit, in the middle, black where nothing is."""
    import cv2

    scale = min(hw[0] / image.shape[0], hw[1] / image.shape[1])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    out = np.zeros((*hw, 3), np.uint8)
    top, left = (hw[0] - height) // 2, (hw[1] - width) // 2
    out[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return out


def _close_quietly(container: Any) -> None:
    """Free the file handle after an error; a second error of the same disk says nothing new."""
    import av

    try:
        container.close()
    except (av.error.FFmpegError, OSError):
        return
