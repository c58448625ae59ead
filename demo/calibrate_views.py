"""Views of a calibration board, from pictures, a video or a live camera."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xnect.calib.board import Board, View, find_board
from xnect.calib.coverage import covered, missing_parts
from xnect.calib.errors import CannotCalibrate
from xnect.calib.intrinsics import is_new, view_distance
from xnect.errors import BadInput, CannotOpenSource
from xnect.types import Frame

PICTURES = frozenset(".jpg .jpeg .png .bmp .tif .tiff .webp".split())
STEP_S = 0.2
"""Between two frames of a video, or of a live camera, that are looked at."""

THOROUGH = 10
"""Every so many frames, while no board is found, one is looked at for the reason."""

STILL = 0.01
"""A board that moved less than this share of the diagonal between two looks is held still."""

ENOUGH_VIEWS = 15
ENOUGH_COVERED = 0.8


@dataclass
class Collected:
    """Views so far, and a sentence for each picture without one."""

    views: list[View] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether a calibration from these will be good."""
        if len(self.views) < ENOUGH_VIEWS:
            return False
        mask = covered(self.views)
        return bool(mask.mean() >= ENOUGH_COVERED) and not missing_parts(mask)

    @property
    def text(self) -> str:
        """How far it is, for people."""
        if not self.views:
            return "0 views"
        mask = covered(self.views)
        missing = missing_parts(mask)
        said = f"{len(self.views)} views, {100 * mask.mean():.0f} % covered"
        return said + (f"; now the {missing[0]}" if missing else "")


def is_live(source: str) -> bool:
    """Whether this names a webcam or a URL."""
    return bool(re.fullmatch(r"\d+|\w+://.*", source)) and not Path(source).exists()


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Files of paths, folders (their pictures) and patterns, in order.

    Raises:
        CannotOpenSource: one of them is not there, or a folder holds no picture.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
            if not inside:
                raise CannotOpenSource(f"there are no pictures in the folder {path}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            matches = sorted(Path(name) for name in glob.glob(text))
            if not matches:
                raise CannotOpenSource(f"cannot open {text}: there is no such file")
            found += matches
    return found


def read_picture(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned upright as its EXIF data say.

    Raises:
        CannotOpenSource: it is not a picture, or cannot be read.
    """
    import cv2

    try:
        data = np.fromfile(path, np.uint8)  # cv2.imread fails on non-ASCII paths on Windows
    except OSError as error:
        raise CannotOpenSource(f"cannot open {path}: {(error.strerror or '').lower()}") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise CannotOpenSource(f"cannot open {path}: it is not a picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def views_of_pictures(
    paths: Sequence[Path], board: Board, *, progress: Callable[[str], None]
) -> Collected:
    """A view, or a problem, for each picture."""
    out = Collected()
    for path in paths:
        try:
            out.views.append(find_board(read_picture(path), board, name=path.name))
        except (CannotCalibrate, CannotOpenSource) as error:
            out.problems.append(str(error))
        progress(out.text)
    return out


def views_of_frames(
    frames: Iterable[Frame],
    board: Board,
    *,
    wait_still: bool = False,
    until_complete: bool = False,
    seconds: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[np.ndarray, Collected], bool] = lambda image, collected: True,
    progress: Callable[[str], None] = lambda text: None,
) -> Collected:
    """Views that differ, of the frames of a video or a live camera.

    Args:
        frames: of a file in its own time, or of a camera as they come.
        board: what is shown.
        wait_still: take a view only while the board is held still.
        until_complete: end as soon as a calibration from the views will be good.
        seconds: end after that time.
        stop: asked at every frame.
        show: given every frame looked at; False ends.
        progress: told after every frame looked at.

    A source that breaks after it showed the board is a problem among others; before, it raises.
    """
    out = Collected()
    looked_s, before, looks = -np.inf, None, 0
    start = time.monotonic()
    reasons: dict[str, int] = {}
    whole: dict[str, str] = {}  # the sentence of each, with its advice
    known: set[str] = set()  # those that a thorough look gave
    for frame in _until_broken(frames, out):
        if stop() or (seconds is not None and time.monotonic() - start > seconds):
            break
        if frame.time_s - looked_s < STEP_S - 1e-6:
            continue
        looked_s, looks = frame.time_s, looks + 1
        try:
            at = f"frame {frame.index} ({frame.time_s:.1f} s)"
            name = f"view {len(out.views) + 1}" if wait_still else at
            thorough = not out.views and looks % THOROUGH == 1
            view = find_board(frame.image, board, name=name, thorough=thorough)
        except CannotCalibrate as error:
            said = str(error).removeprefix(f"{name}: ")
            reason = re.split("[:;]", said)[0]
            reasons[reason] = reasons.get(reason, 0) + 1
            whole[reason] = said
            known |= {reason} if thorough else set()
            before = None
        else:
            still = before is not None and view_distance(view, before) < STILL
            before = view
            if (still or not wait_still) and is_new(view, out.views):
                out.views.append(view)
        progress(out.text)
        if not show(frame.image, out) or (until_complete and out.complete):
            break
    if not looks:
        raise BadInput("the source gave no pictures")
    usual = max(reasons, key=lambda reason: reasons[reason], default="")
    first = known - {usual}  # what only the thorough looks can tell, such as a mirrored board
    for reason in sorted(reasons, key=lambda r: (r not in first, -reasons[r]))[:3]:
        out.problems.append(f"{reasons[reason]} of {looks} frames: {whole[reason]}")
    return out


def _until_broken(frames: Iterable[Frame], collected: Collected) -> Iterator[Frame]:
    """The frames; the sentence of a source that breaks is kept, once there are views."""
    try:
        yield from frames
    except CannotOpenSource as error:
        if not collected.views:
            raise
        collected.problems.append(str(error))


def guide(image: np.ndarray, collected: Collected) -> np.ndarray:
    """(H, W, 3) copy of the picture: what is covered in green, and what to do next."""
    import cv2

    out = image.copy()
    height, width = out.shape[:2]
    if collected.views:
        mask = covered(collected.views).astype(np.uint8)
        green = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
        out[green, 1] = np.minimum(255, out[green, 1].astype(int) + 60)
        for x, y in collected.views[-1].corners_px.round().astype(int):
            cv2.circle(out, (int(x), int(y)), max(2, width // 300), (255, 200, 0), -1)
    scale = width / 1000
    for colour, thick in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.putText(
            out, f"{collected.text}   q: done", (round(15 * scale), round(height - 20 * scale)),
            cv2.FONT_HERSHEY_SIMPLEX, scale, colour, max(1, round(thick * scale)), cv2.LINE_AA,
        )  # fmt: skip
    return out
