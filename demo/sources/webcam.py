"""A webcam, or a camera in the network (RTSP, MJPEG or video over HTTP), read by OpenCV.

The frames carry the time of their arrival.  A camera that stops is opened again for a while, then
given up with one sentence.  Nothing is buffered here: wrap it in `newest(...)`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any

from xnect.errors import CannotOpenSource
from xnect.types import Frame

LOW_DELAY = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
"""Options of FFmpeg without which a network camera lags by seconds."""

OPEN_TIMEOUT_MS = 8000
READ_TIMEOUT_MS = 5000
RETRY_S = 0.5


class LiveCamera:
    """An open camera: `source` is a device number, or a URL.  Iterate it for frames.

    Args:
        hw: size asked from a webcam; it may give another one.
        patience_s: how long a camera that stopped is tried again before that is an error.
    """

    def __init__(
        self,
        source: int | str,
        *,
        hw: tuple[int, int] | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.source, self.asked_hw, self.patience_s = source, hw, patience_s
        self._closed = False
        self._reading = Lock()
        self._capture = self._open()
        if not self._capture.isOpened():
            raise CannotOpenSource(f"cannot open {_name(source)}: {_advice(source)}")

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the camera; closing twice is harmless.

        A read that hangs in another thread is not disturbed (OpenCV would crash); the reader then
        releases the camera when it returns.
        """
        self._closed = True
        if self._reading.acquire(timeout=0.5):
            self._capture.release()
            self._reading.release()

    def __iter__(self) -> Iterator[Frame]:
        import cv2

        index, last_s = 0, time.monotonic()
        while True:
            with self._reading:
                if self._closed:
                    self._capture.release()
                    return
                good, image_bgr = self._capture.read()
            now = time.monotonic()
            if good and image_bgr is not None:
                yield Frame(index, now, cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
                index, last_s = index + 1, now
            elif self._closed or self._is_finite():
                return
            elif now - last_s > self.patience_s:
                raise CannotOpenSource(
                    f"{_name(self.source)} stopped after {index} frames and did not come back "
                    f"within {self.patience_s:g} s"
                )
            else:
                time.sleep(RETRY_S)
                with self._reading:
                    self._capture.release()
                    self._capture = self._open()

    def _open(self) -> Any:
        """A capture, which may have failed to open; OpenCV's own complaints are switched off."""
        os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")  # opencv#17687
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        _hush(cv2)
        with _ffmpeg_options(LOW_DELAY if str(self.source).startswith("rtsp") else None):
            return self._capture_of_source()

    def _capture_of_source(self) -> Any:
        import cv2

        if isinstance(self.source, str):
            timeouts = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS,
            ]  # fmt: skip
            return cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, timeouts)
        capture = cv2.VideoCapture(self.source)
        if self.asked_hw and capture.isOpened():
            # uncompressed pictures of this size do not fit through USB 2 at full rate
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.asked_hw[0])
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.asked_hw[1])
        return capture

    def _is_finite(self) -> bool:
        """Whether this is a video file behind a URL, which ends, and not a camera."""
        import cv2

        return self._capture.isOpened() and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0


def _hush(cv2: Any) -> None:
    """Keep OpenCV from printing warnings beside our sentence; its versions differ in the name."""
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    elif hasattr(getattr(cv2, "utils", None), "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def _ffmpeg_options(options: str | None) -> Iterator[None]:
    """OpenCV reads FFmpeg's options from the environment, and only there, when it opens."""
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    if options is None or name in os.environ:  # the user's own options count
        yield
        return
    os.environ[name] = options
    try:
        yield
    finally:
        del os.environ[name]


def _name(source: int | str) -> str:
    return f"camera {source}" if isinstance(source, int) else str(source)


def _advice(source: int | str) -> str:
    if isinstance(source, int):
        return "no such camera, or another program uses it; connected ones are 0, 1, ..."
    return "nothing answers there, or it sends no video; check the address, user and password"
