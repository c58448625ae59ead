"""MPI-INF-3DHP, training part (Mehta et al. 2017) -> `Sample`.  Research only.

`S1` ... `S8` with `Seq1`, `Seq2`, each with `annot.mat`: cells of 14 cameras, rows are frames;
`annot2` has 28 x, y and `annot3` 28 x, y, z in millimetres of camera space (spec 7.3).  Pictures
are `imageSequence/video_N.avi`, or frames taken out of it, counted from 1:
`imageFrames/video_N/frame_000001.jpg`.

One actor, and nobody else in the studio.  Which joints are hidden is not said: all in the picture
count as seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from xnect.errors import BadInput, CannotOpenSource, MissingExtra
from xnect.eval.mat_files import cells, read_mat
from xnect.train.datasets.files import read_picture
from xnect.train.datasets.posed import posed_sample
from xnect.train.samples import Sample

__all__ = ["JOINTS28", "moving_frames", "mpi3dhp"]

log = logging.getLogger(__name__)

JOINTS28 = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top",
    "left_clavicle", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_clavicle", "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot", "left_toe",
    "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe",
)  # fmt: skip
"""The order of `annot.mat` (spec 7.3)."""

EXTENDED = np.array(
    [8, 6, 15, 16, 17, 10, 11, 12, 24, 25, 26, 19, 20, 21, 5, 4, 7, 18, 13, 28, 23]
) - 1  # fmt: skip
"""Of the 28, those of `JOINTS3D`; our feet are the toes (spec 7.3)."""

CHEST_CAMERAS = tuple(range(11))
"""All but the three under the ceiling."""

MOVED_MM = 175.0
"""A frame is worth taking when some joint has moved so far since the last one (spec 5.2)."""


def moving_frames(joints_mm: np.ndarray, moved_mm: float = MOVED_MM) -> np.ndarray:
    """(F, J, 3) -> numbers of the frames to take: the first, and each that differs enough."""
    taken = [0] if len(joints_mm) else []
    for frame in range(1, len(joints_mm)):
        away = np.linalg.norm(joints_mm[frame] - joints_mm[taken[-1]], axis=-1)
        if away.max() >= moved_mm:
            taken.append(frame)
    return np.array(taken, int)


def mpi3dhp(
    root: Path,
    *,
    subjects: Sequence[int] = tuple(range(1, 9)),
    cameras: Sequence[int] = CHEST_CAMERAS,
    moved_mm: float = MOVED_MM,
) -> Iterator[Sample]:
    """The frames worth taking of every sequence and camera that is there.

    Sequences and videos that are missing or damaged are left out with a warning.

    Raises:
        BadInput: there is not one sequence in `root`.
    """
    folders = [root / f"S{s}" / f"Seq{q}" for s in subjects for q in (1, 2)]
    there = [folder for folder in folders if folder.is_dir()]
    if not there:
        raise BadInput(f"{root} holds none of the folders S1/Seq1 ... S8/Seq2 of MPI-INF-3DHP")
    for folder in there:
        try:
            pixels, camera_mm = _labels(folder / "annot.mat")
        except (BadInput, MissingExtra) as error:
            log.warning("left out %s: %s", folder, error)
            continue
        for camera in cameras:
            if camera not in camera_mm:
                log.warning("%s has no camera %d", folder / "annot.mat", camera)
                continue
            yield from _view(folder, camera, pixels[camera], camera_mm[camera], moved_mm)


def _view(
    folder: Path, camera: int, pixels: np.ndarray, camera_mm: np.ndarray, moved_mm: float
) -> Iterator[Sample]:
    """One camera of one sequence: (F, 21, 2) px, (F, 21, 3) mm."""
    wanted = moving_frames(camera_mm, moved_mm)
    try:
        for frame, image in _pictures(folder, camera, wanted):
            yield posed_sample(image, pixels[None, frame], camera_mm[None, frame])
    except CannotOpenSource as error:
        log.warning("left out camera %d of %s: %s", camera, folder, error)


def _labels(path: Path) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Camera -> (F, 21, 2) px, camera -> (F, 21, 3) mm."""
    variables = read_mat(path)
    found = []
    for name, size in (("annot2", 2), ("annot3", 3)):
        column = cells(variables, name, path).ravel()
        for camera, cell in enumerate(column):
            if np.ndim(cell) != 2 or np.shape(cell)[1] != len(JOINTS28) * size:
                raise BadInput(
                    f"{path}: {name} of camera {camera} must be (frames, {len(JOINTS28) * size}), "
                    f"got {np.shape(cell)}"
                )
        found.append(
            {
                camera: np.asarray(cell, np.float64).reshape(len(cell), -1, size)[:, EXTENDED]
                for camera, cell in enumerate(column)
            }
        )
    pixels, camera_mm = found
    for camera in pixels.keys() & camera_mm.keys():
        if len(pixels[camera]) != len(camera_mm[camera]):
            raise BadInput(
                f"{path}: camera {camera} has {len(pixels[camera])} rows in annot2 and "
                f"{len(camera_mm[camera])} in annot3"
            )
    return pixels, {c: p for c, p in camera_mm.items() if c in pixels}


def _pictures(folder: Path, camera: int, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Frame number (from 0) and picture of the wanted frames; a video may end before the labels.

    Of frames taken out, those that do not decode are left out with a warning.

    Raises:
        CannotOpenSource: neither a video nor frames are there, or the video does not decode.
    """
    taken_out = folder / "imageFrames" / f"video_{camera}"
    if taken_out.is_dir():
        for frame in wanted:
            path = taken_out / f"frame_{frame + 1:06d}.jpg"
            if path.exists():
                try:
                    image = read_picture(path)
                except CannotOpenSource as error:
                    log.warning("left out a frame: %s", error)
                    continue
                yield int(frame), image
        return
    path = folder / "imageSequence" / f"video_{camera}.avi"
    chosen = set(wanted.tolist())
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in chosen:
                    yield number, frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError, IndexError) as error:
        raise CannotOpenSource(f"cannot read the video {path}: {error}") from error
