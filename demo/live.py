"""A camera, live: the newest frame is processed, shown, and recorded on demand."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from xnect.calib.camera import Camera
from xnect.demo.newest import newest
from xnect.demo.outputs import Outputs, SceneBeside
from xnect.demo.sources.video import VideoFile, played_live
from xnect.demo.sources.webcam import LiveCamera
from xnect.demo.video import Stream, never, remember, with_cameras
from xnect.draw import draw_result
from xnect.errors import CannotOpenSource, CannotWrite, XnectError
from xnect.types import Frame, Result

KEEP = 36_000
"""Latencies that are kept for the summary: 20 minutes at 30 frames/s."""

RATE_WINDOW = 30
"""Frames over which the shown rate is measured."""


class Screen(Protocol):
    """Something that shows a picture and tells which key was pressed."""

    def show(self, image: np.ndarray) -> str:
        """Show (H, W, 3) RGB; the key, or an empty string."""
        ...


class Clock:
    """Frame rate, latency and dropped frames of a live run."""

    def __init__(self) -> None:
        self.frames = self.dropped = 0
        self.latency_ms: deque[float] = deque(maxlen=KEEP)
        self._done_s: deque[float] = deque(maxlen=RATE_WINDOW)
        self._last_index = -1

    def tick(self, result: Result) -> None:
        """Call when a result has been shown; its time is that of `time.monotonic` at capture."""
        now = time.monotonic()
        self.frames += 1
        self.dropped += result.index - self._last_index - 1
        self._last_index = result.index
        self.latency_ms.append(1e3 * (now - result.time_s))
        self._done_s.append(now)

    @property
    def fps(self) -> float:
        """Rate over the last frames; 0 at first."""
        span = self._done_s[-1] - self._done_s[0] if self._done_s else 0.0
        return (len(self._done_s) - 1) / span if span > 0 else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Latency from capture to shown; 0 without frames."""
        return float(np.percentile(self.latency_ms, percent)) if self.latency_ms else 0.0


@dataclass
class Recorder:
    """Recording that can be switched on and off; each take gets its own files."""

    folder: Path
    source: str
    overlay: bool = True
    scene: bool = False
    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _take: Outputs | None = None
    _start_s: float = 0.0

    @property
    def running(self) -> bool:
        """Whether frames are being recorded."""
        return self._take is not None

    def start(self, time_s: float) -> None:
        """Begin a take whose time 0 is `time_s`."""
        stem = time.strftime("live_%Y%m%d_%H%M%S")
        name, number = stem, 2
        while any(self.folder.glob(f"{name}[._]*")):
            name, number = f"{stem}_{number}", number + 1
        self._take = Outputs(
            self.folder, name, source=self.source, fps=None, overlay=self.overlay, scene=self.scene
        )
        self._start_s = time_s

    def append(self, image: np.ndarray, result: Result) -> None:
        """Record a frame, if a take is running; a full disk ends the take, not the program."""
        if self._take is None:
            return
        try:
            self._take.append(image, replace(result, time_s=result.time_s - self._start_s))
        except CannotWrite as error:
            self.problems.append(str(error))
            self.close()

    def toggle(self, time_s: float) -> None:
        """Start when stopped, stop when running; a folder that fails is a problem, not the end."""
        if self.running:
            self.close()
            return
        try:
            self.start(time_s)
        except CannotWrite as error:
            self.problems.append(str(error))

    def close(self) -> None:
        """Complete the take, if one is running; twice is harmless."""
        if self._take is not None:
            files, problems = self._take.finish()
            self.files += files
            said = [p for p in self.problems if not any(p in more for more in problems)]
            self.problems = said + problems
            self._take = None


@dataclass(frozen=True)
class LiveReport:
    """What a live run did."""

    source: str
    frames: int
    dropped: int
    wall_s: float
    p50_ms: float
    p95_ms: float
    files: tuple[Path, ...]
    problems: tuple[str, ...]
    stopped: bool  # by Ctrl-C

    def text(self) -> str:
        """The summary for the user."""
        fps = self.frames / self.wall_s if self.wall_s > 0 else 0.0
        lines = [
            f"{self.source}: {self.frames} frames, {fps:.1f} frames/s, {self.dropped} older ones "
            "dropped",
            f"  latency from capture to result: median {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f}"
            " ms",
        ]
        return "\n".join([*lines, *(f"  {path}" for path in self.files)])


def run_live(
    frames: Iterable[Frame],
    *,
    pipeline: Stream,
    recorder: Recorder,
    camera_for: Callable[[int, int], Camera | None] = lambda height, width: None,
    screen: Screen | None = None,
    viewer: Callable[[Result], bool] = lambda result: True,
    record: bool = False,
    seconds: float | None = None,
    max_frames: int | None = None,
    stop: Callable[[], bool] = never,
    on_frame: Callable[[Clock], object] = lambda clock: None,
) -> LiveReport:
    """Process the newest frames until the source ends, or `stop`, or the user ends it.

    Keys on the screen: `q` or Escape ends, `r` starts and stops a recording.  A source that fails
    after its first frame ends the run with its sentence in `problems`; recordings are complete.

    Args:
        frames: a live source, stamped with `time.monotonic()` at capture.
        camera_for: the camera of pictures of a height and width; None for a guess.  Asked once for
            each size that the pictures have.
        viewer: gets every result; False ends the run.
        record: begin recording with the first frame.
        on_frame: called after every frame, for progress.

    Raises:
        CannotOpenSource: the source gives no frame at all.
        CannotWrite: the folder for the recording cannot be written.
    """
    clock, scene = Clock(), SceneBeside()
    images: deque[np.ndarray] = deque()  # of frames that the pipeline has not answered yet
    begin = time.monotonic()

    def over() -> bool:
        return stop() or (seconds is not None and time.monotonic() - begin >= seconds)

    with closing(newest(frames, over)) as stream, closing(recorder):
        try:
            first = next(stream, None)
            if first is None and not over():
                raise CannotOpenSource(f"{recorder.source} gave no picture")
            started = [] if first is None else [first]
            taken = with_cameras(chain(started, stream), pipeline, cache(camera_for))
            for result in pipeline.stream(remember(taken, images)):
                image = images.popleft()
                if record and clock.frames == 0:
                    recorder.start(result.time_s)
                recorder.append(image, result)
                key = ""
                if screen is not None:
                    picture = scene.beside(draw_result(image, result), result)
                    key = screen.show(_with_status(picture, clock, recorder.running))
                clock.tick(result)
                on_frame(clock)
                if key == "r":
                    recorder.toggle(result.time_s)
                if key == "q" or not viewer(result) or over() or clock.frames == max_frames:
                    break
        except XnectError as error:
            if clock.frames == 0:
                raise
            recorder.problems.append(str(error))
    return LiveReport(
        recorder.source, clock.frames, clock.dropped, time.monotonic() - begin,
        clock.percentile_ms(50), clock.percentile_ms(95),
        tuple(recorder.files), tuple(recorder.problems), stop(),
    )  # fmt: skip


@contextmanager
def open_live(source: str, *, hw: tuple[int, int] | None = None) -> Iterator[Iterator[Frame]]:
    """Frames of a webcam number, a URL, or a file that is played as if it were live.

    Raises:
        CannotOpenSource: with what the user can do.
    """
    device = re.fullmatch(r"(?:/dev/video)?(\d+)", source)
    if device or "://" in source:
        with LiveCamera(int(device[1]) if device else source, hw=hw) as camera:
            yield iter(camera)
    else:
        with VideoFile(source) as video:
            yield played_live(video)


def _with_status(picture: np.ndarray, clock: Clock, recording: bool) -> np.ndarray:
    """The picture with frame rate, latency and the keys; changes it."""
    latency_ms = clock.latency_ms[-1] if clock.latency_ms else 0.0
    text = f"{clock.fps:.1f} fps  {latency_ms:.0f} ms   r record  q end"
    x, y, font = 10, picture.shape[0] - 12, cv2.FONT_HERSHEY_SIMPLEX
    for shift, colour in ((1, (16, 16, 16)), (0, (240, 240, 240))):  # a shadow, then the text
        cv2.putText(picture, text, (x + shift, y + shift), font, 0.5, colour, 1, cv2.LINE_AA)
    if recording:
        cv2.circle(picture, (18, 18), 8, (235, 40, 40), cv2.FILLED, cv2.LINE_AA)
    return picture
