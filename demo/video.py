"""Video files -> overlay video, recording and BVH files; no frame is dropped."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from xnect.calib.camera import Camera
from xnect.demo.inputs import find_inputs
from xnect.demo.outputs import Outputs
from xnect.demo.sources.video import SUFFIXES, VideoFile
from xnect.errors import XnectError
from xnect.types import Frame, Result


class Stream(Protocol):
    """What the programs need of a pipeline."""

    camera: Camera | None

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """One result per frame, in order."""
        ...


@dataclass(frozen=True)
class Report:
    """What became of one input."""

    source: str
    files: tuple[Path, ...]
    frames: int
    people: int  # identities
    wall_s: float
    stages_ms: dict[str, float]  # median per frame
    calibrated: bool  # whether the intrinsics were given
    problems: tuple[str, ...] = ()  # sentences
    stopped: bool = False  # by Ctrl-C
    said: tuple[str, ...] = ()  # more about it, sentences

    def text(self) -> str:
        """The summary for the user, several lines."""
        fps = self.frames / self.wall_s if self.wall_s > 0 else 0.0
        count = "1 person" if self.people == 1 else f"{self.people} people"
        cut = " (stopped early)" if self.stopped else ""
        lines = [f"{self.source}: {self.frames} frames, {count}, {fps:.1f} frames/s{cut}"]
        if self.stages_ms:
            stages = ", ".join(f"{name} {ms:.1f}" for name, ms in self.stages_ms.items())
            lines.append(f"  ms per frame: {stages}")
        if self.people and not self.calibrated:
            lines.append(
                "  uncalibrated: distances rest on a guess; --camera or --fov makes them true"
            )
        lines += [f"  {sentence}" for sentence in self.said]
        return "\n".join([*lines, *(f"  {path}" for path in self.files)])


def never() -> bool:
    """The `stop` of something that is not to be stopped."""
    return False


def process_video(
    path: str | Path,
    out: str | Path,
    *,
    pipeline: Stream,
    camera_for: Callable[[int, int], Camera | None] = lambda height, width: None,
    name: str | None = None,
    overlay: bool = True,
    scene: bool = False,
    offline: bool = False,
    max_frames: int | None = None,
    stop: Callable[[], bool] = never,
    show_progress: bool = False,
) -> Report:
    """Run one video through `pipeline` and write everything about it into the folder `out`.

    A file that breaks half-way, a disk that fills up and `stop` leave complete outputs of what was
    done; the first two are named in `Report.problems`.

    Args:
        camera_for: the camera of pictures of a height and width; None for a guess.  Asked once for
            each size that the pictures have.
        name: of the outputs; that of the file when not given.
        scene: put a 3D view beside the overlay.
        offline: smooth the finished take without delay, and draw the overlay after that; the
            pipeline should not filter over time (`load_pipeline(live=False)`).

    Raises:
        CannotOpenSource: the file gives no picture at all.
        CannotWrite: the folder cannot be written at all.
    """
    name, camera_for = name or Path(path).stem, cache(camera_for)
    with VideoFile(path) as video:
        pipeline.camera = camera_for(*video.hw)
        outputs = Outputs(
            Path(out), name, source=str(path), fps=video.fps,
            overlay=overlay and not offline, scene=scene, people=not offline,
        )  # fmt: skip
        total = min(video.frames, max_frames or video.frames) or None
        frames = with_cameras(islice(iter(video), max_frames), pipeline, camera_for)
        try:
            report = _run(
                frames, outputs, pipeline, source=str(path), stop=stop,
                total=total if show_progress else -1,
            )  # fmt: skip
        finally:
            outputs.finish()
    if not offline or not report.files:
        return report
    return _finished_offline(
        report, Path(path), Path(out), name, overlay=overlay, scene=scene, stop=stop,
        show_progress=show_progress,
    )  # fmt: skip


def _finished_offline(
    report: Report,
    path: Path,
    folder: Path,
    name: str,
    *,
    overlay: bool,
    scene: bool,
    stop: Callable[[], bool],
    show_progress: bool,
) -> Report:
    """The report when the take that it is about has been smoothed and drawn.

    Stopped before, the overlay is still drawn of what was done; a second Ctrl-C ends that.
    """
    from tqdm import tqdm

    from xnect.demo.offline import finish_offline

    start = time.perf_counter()
    drawn = report.frames if overlay and show_progress else -1
    bar = tqdm(total=drawn, unit="frame", desc=f"{name} overlay", disable=drawn == -1 or None)
    with bar:
        done = finish_offline(
            folder, name, path, overlay=overlay, scene=scene,
            stop=never if report.stopped else stop, tick=bar.update,
        )  # fmt: skip
    return replace(
        report,
        files=done.files,
        problems=(*report.problems, *done.problems),
        wall_s=report.wall_s + time.perf_counter() - start,
        stopped=report.stopped or stop(),
        said=done.said,
    )


def _run(
    frames: Iterator[Frame],
    outputs: Outputs,
    pipeline: Stream,
    *,
    source: str,
    stop: Callable[[], bool],
    total: int | None,
) -> Report:
    """The loop over frames.  `total` is for the progress bar, -1 for none."""
    from tqdm import tqdm

    images: deque[np.ndarray] = deque()  # of the frames that the pipeline has not answered yet
    people: set[int] = set()
    timings: dict[str, list[float]] = {}
    problems: list[str] = []
    stopped, calibrated = False, True
    bar = tqdm(total=total, unit="frame", desc=Path(source).name, disable=total == -1 or None)
    start = time.perf_counter()
    with bar:
        try:
            for result in pipeline.stream(remember(frames, images)):
                outputs.append(images.popleft(), result)
                people.update(person.track_id for person in result.people)
                for stage, ms in result.timings_ms.items():
                    timings.setdefault(stage, []).append(ms)
                calibrated = calibrated and result.camera.calibrated
                bar.update()
                if stopped := stop():
                    break
        except XnectError as error:
            problems.append(str(error))
    wall_s = time.perf_counter() - start
    files, unfinished = outputs.finish()
    # what stopped the work is often said again, and in more words, at the end
    problems = [*(p for p in problems if not any(p in more for more in unfinished)), *unfinished]
    stages_ms = {stage: median(values) for stage, values in timings.items()}
    return Report(
        source, tuple(files), outputs.frames, len(people), wall_s, stages_ms, calibrated,
        tuple(problems), stopped, tuple(outputs.said),
    )  # fmt: skip


def with_cameras(
    frames: Iterable[Frame], pipeline: Stream, camera_for: Callable[[int, int], Camera | None]
) -> Iterator[Frame]:
    """The frames themselves; before each of another size the pipeline gets the camera of its size.

    Raises:
        BadInput: there is no camera for pictures of that shape.
    """
    hw: tuple[int, ...] = ()
    for frame in frames:
        if frame.image.shape[:2] != hw:
            hw = frame.image.shape[:2]
            pipeline.camera = camera_for(hw[0], hw[1])
        yield frame


def remember(frames: Iterable[Frame], images: deque[np.ndarray]) -> Iterator[Frame]:
    """The frames themselves; their pictures are put into `images` in passing."""
    for frame in frames:
        images.append(frame.image)
        yield frame


def find_videos(words: Sequence[str], on_problem: Callable[[str], None]) -> list[Path]:
    """Files, folders and patterns -> files, each once, in order.

    Of a folder the videos directly in it are taken, without hidden files and overlays that this
    program wrote.  `on_problem` is told of each pattern or folder that gives nothing.

    Raises:
        CannotOpenSource: nothing is left.
    """
    return find_inputs(words, _is_input, "video", on_problem)


def _is_input(path: Path) -> bool:
    ours = path.stem.endswith(("_overlay", "_overlay.part"))
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and path.is_file() and not (ours or hidden)


def output_names(paths: Sequence[Path]) -> list[str]:
    """A name for the outputs of each input: its stem, with a number where stems are equal.

    The stem of one input is never the numbered name of another.
    """
    stems = {path.stem.lower() for path in paths}  # Windows and macOS ignore case
    given: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 2
        if name.lower() in given:
            while name.lower() in stems or name.lower() in given:
                name, number = f"{path.stem}_{number}", number + 1
        given.add(name.lower())
        names.append(name)
    return names
