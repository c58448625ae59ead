"""Error on the pose2sim clip: one man, four calibrated cameras, 100 frames with 3D labels.

    python -m xnect.eval.pose2sim --data ../shared/data/pose2sim              (whole pipeline)
    python -m xnect.eval.pose2sim --data ../shared/data/pose2sim --lifter     (given 2D joints)

Labels are triangulated from 2D detections: differences below 20 mm say nothing.  A woman in the
background has no label; the person nearest to the labelled 2D joints is the man.  For evaluation
only: nothing may be tuned on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from xnect.calib.camera import Camera
from xnect.errors import BadInput, XnectError
from xnect.eval.metrics import ELBOW, KNEE, bend_error_deg, mpjpe, pa_mpjpe, pck3d
from xnect.eval.pose2sim_labels import Labels, load_pose2sim
from xnect.eval.tables import rows_of_table
from xnect.heads.lift import Lifter
from xnect.lift import lift, load_lifter
from xnect.skeleton import BODY, J2D, J3D, REFERENCE_STATURE_M
from xnect.types import Frame, PartialPose, Person, Result

NEAR = 0.2
"""A person is the man when their joints lie nearer than this share of his height, in the mean."""


class Streams(Protocol):
    """The part of a pipeline that is needed here."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Results, one for each frame."""


@dataclass(frozen=True)
class Pose2simRow:
    """Figures of one camera, over the frames in which the man was found."""

    found: float  # share of the frames
    pa_mpjpe_mm: float  # after Procrustes alignment
    mpjpe_mm: float  # hips' middle at the origin, size as labelled; camera axes
    pck_150mm: float  # of the same
    knee_deg: float  # mean absolute error of the flexion of both knees
    elbow_deg: float  # and of both elbows
    pelvis_m: float  # middle of the hips in camera space, median distance; nan of a lifter alone
    stature_m: float  # to which his bones belong at the end, median over the cameras; as above


def check_videos(labels: Labels, root: Path) -> None:
    """Check that each camera's video opens, shows something, and is as long as the labels.

    Raises:
        BadInput: one is missing, damaged, or of another length.
    """
    for name in labels.videos:
        path = root / name
        if not path.is_file():
            raise BadInput(f"there is no video {path}; the clip has {', '.join(labels.videos)}")
        if next(_frames(path), None) is None:
            raise BadInput(f"the video {path} shows no picture")
        said, right = _length(path), labels.joints_m.shape[1]
        if said not in (0, right):
            raise BadInput(f"the video {path} has {said} pictures, the labels {right}")


def pose2sim_report(
    tested: Lifter | Callable[[Camera], Streams], root: str | Path, *, floor: bool = False
) -> dict[str, Pose2simRow]:
    """Camera -> figures, and "all".

    Args:
        tested: a lifter, which is given the 2D detections that come with the clip, or a function
            that makes a pipeline for a camera, which is given the four videos.
        root: folder of the clip.
        floor: tell the cameras of the pipeline what he stands on.

    Raises:
        BadInput: the labels or a video are missing or damaged.
    """
    labels = load_pose2sim(root)
    if floor:
        pairs = zip(labels.cameras, labels.floors, strict=True)
        labels = replace(labels, cameras=tuple(replace(c, floor=below) for c, below in pairs))
    cameras, placed = range(len(labels.cameras)), not isinstance(tested, Lifter)
    if isinstance(tested, Lifter):
        poses = np.stack([_lifted(tested, labels, c) for c in cameras])
    else:
        check_videos(labels, Path(root))
        poses = np.stack([_streamed(tested, labels, c, Path(root)) for c in cameras])
    report = {
        Path(video).stem: _row(poses[[c]], labels.joints_m[[c]], labels, placed=placed)
        for c, video in enumerate(labels.videos)
    }
    return {**report, "all": _row(poses, labels.joints_m, labels, placed=placed)}


def pose2sim_table(rows: Mapping[str, Pose2simRow]) -> str:
    """Markdown."""
    columns = [
        "camera", "found %", "PA-MPJPE mm", "MPJPE mm", "3DPCK@150 %", "knees deg", "elbows deg",
        "pelvis m", "stature m",
    ]  # fmt: skip
    cells = [
        [name, f"{100 * r.found:.0f}", f"{r.pa_mpjpe_mm:.0f}", f"{r.mpjpe_mm:.0f}",
         f"{100 * r.pck_150mm:.0f}", f"{r.knee_deg:.0f}", f"{r.elbow_deg:.0f}",
         f"{r.pelvis_m:.2f}", f"{r.stature_m:.2f}"]
        for name, r in rows.items()
    ]  # fmt: skip
    return rows_of_table(columns, cells)


def the_man(people: Sequence[Person], labels: Labels, camera: int, frame: int) -> Person | None:
    """The person nearest to the labelled 2D joints, if anybody is near enough (`NEAR`)."""
    valid = labels.valid[frame]
    true_px = labels.joints_px[camera, frame]
    height_px = np.ptp(true_px[valid, 1])
    names = {number: name for name, number in J3D.items()}
    pairs = [(k, J2D[names[j]]) for k, j in enumerate(labels.joint) if names[j] in J2D and valid[k]]
    best, nearest = None, NEAR
    for person in people:
        seen = [(k, j) for k, j in pairs if person.joints2d_score[j] > 0]
        if len(seen) < 3:
            continue
        k, j = (list(index) for index in zip(*seen, strict=True))
        away = np.linalg.norm(person.joints2d_px[j] - true_px[k], axis=-1).mean() / height_px
        if away < nearest:
            best, nearest = person, away
    return best


def _row(
    poses_m: np.ndarray, true_m: np.ndarray, labels: Labels, *, placed: bool = True
) -> Pose2simRow:
    """(C, F, 21, 3) predictions, nan where the man was not found, against (C, F, K, 3).

    `placed` ones are in camera space, others have their own pelvis at the origin.
    """
    hips = [J3D["left_hip"], J3D["right_hip"]]
    hip_labels = [int(np.flatnonzero(labels.joint == h)[0]) for h in hips]
    found = np.isfinite(poses_m).all((-1, -2))  # (C, F)
    pred = poses_m[found] - poses_m[found][:, hips].mean(1, keepdims=True)
    pred = pred[:, labels.joint]
    true = true_m[found] - true_m[found][:, hip_labels].mean(1, keepdims=True)
    away = np.linalg.norm(
        poses_m[found][:, hips].mean(1) - true_m[found][:, hip_labels].mean(1), axis=-1
    )
    valid = np.broadcast_to(labels.valid, (*found.shape, len(labels.joint)))[found]
    size = _bone_sum(true, labels) / np.maximum(_bone_sum(pred, labels), 1e-9)
    scaled = pred * np.median(size) if len(size) else pred
    placed = placed and bool(found.any())
    whole = np.full((2, len(true), len(J3D), 3), np.nan)
    whole[:, :, labels.joint] = (pred, np.where(valid[..., None], true, np.nan))
    return Pose2simRow(
        found=round(float(found.mean()), 3),
        pa_mpjpe_mm=round(1000 * pa_mpjpe(pred, true, valid), 1),
        mpjpe_mm=round(1000 * mpjpe(scaled, true, valid), 1),
        pck_150mm=round(pck3d(scaled, true, valid), 3),
        knee_deg=round(bend_error_deg(whole[0], whole[1], KNEE), 1),
        elbow_deg=round(bend_error_deg(whole[0], whole[1], ELBOW), 1),
        pelvis_m=round(float(np.median(away)), 3) if placed else float("nan"),
        stature_m=round(_stature(poses_m, labels), 3) if placed else float("nan"),
    )


def _stature(poses_m: np.ndarray, labels: Labels) -> float:
    """Of a reference body with the legs that (C, F, 21, 3) have when they are found last."""
    last = [camera[np.isfinite(camera).all((-1, -2))][-1:] for camera in poses_m]
    legs = _bone_sum(np.concatenate(last)[:, labels.joint], labels)
    whole = 2 * (BODY.lengths_m[[J3D["left_knee"], J3D["left_ankle"]]].sum())
    return float(np.median(legs) / whole * REFERENCE_STATURE_M)


def _bone_sum(joints_m: np.ndarray, labels: Labels) -> np.ndarray:
    """(N, K, 3) -> (N,) length of both thighs and shins, the measure of a person's size here."""
    at = {int(j): joints_m[:, k] for k, j in enumerate(labels.joint)}
    bones = [
        (J3D[f"{side}_{a}"], J3D[f"{side}_{b}"])
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return np.sum([np.linalg.norm(at[a] - at[b], axis=-1) for a, b in bones], axis=0)


def _lifted(lifter: Lifter, labels: Labels, camera: int) -> np.ndarray:
    """(F, 21, 3) from the given 2D detections; the head top is no input of ours."""
    names = {number: name for name, number in J3D.items()}
    shown = [(k, J2D[names[j]]) for k, j in enumerate(labels.joint) if names[j] in J2D]
    partials = []
    for detections in labels.detections[camera]:
        joints_px, score = np.zeros((18, 2)), np.zeros(18)
        for k, j in shown:
            joints_px[j], score[j] = detections[k, :2], detections[k, 2]
        partials.append(PartialPose(joints_px, score, np.zeros((18, 63)), float(score.mean())))
    poses = lift(partials, lifter, camera=labels.cameras[camera])
    return np.stack([p.joints_m for p in poses])


def _streamed(
    pipeline_for: Callable[[Camera], Streams], labels: Labels, camera: int, root: Path
) -> np.ndarray:
    """(F, 21, 3) of the whole pipeline on a video; nan where the man was not found."""
    poses = np.full((labels.joints_m.shape[1], 21, 3), np.nan)
    pipeline = pipeline_for(labels.cameras[camera])
    path = root / labels.videos[camera]
    for frame, result in enumerate(pipeline.stream(_frames(path))):
        if frame == len(poses):
            raise BadInput(f"the video {path} has more pictures than the labels, {len(poses)}")
        man = the_man(result.people, labels, camera, frame)
        if man is not None:
            poses[frame] = man.joints3d_m
    return poses


def _frames(path: Path) -> Iterator[Frame]:
    """Frames of a video, with their presentation times."""
    import av

    index = 0
    try:
        with av.open(str(path)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                yield Frame(index, float(picture.time or 0.0), picture.to_ndarray(format="rgb24"))
    except (av.error.FFmpegError, IndexError) as error:  # IndexError: it has no pictures at all
        raise BadInput(
            f"the video {path} cannot be read after picture {index} ({error}); "
            "it must be a whole video file"
        ) from error


def _length(path: Path) -> int:
    """Pictures of a video as its header says; 0 where it does not."""
    import av

    with av.open(str(path)) as container:
        return int(container.streams.video[0].frames)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report as JSON; the exit status, 2 after one sentence about bad data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the clip")
    parser.add_argument("--preset", default="s", help="network of the pipeline")
    parser.add_argument(
        "--lifter", nargs="?", type=Path, const=WEIGHTS, help="test this lifter only, on given 2D"
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.lifter is not None:
            report = pose2sim_report(load_lifter(chosen.lifter), chosen.data)
        else:
            from xnect.model import load_pipeline

            report = pose2sim_report(
                lambda camera: load_pipeline(chosen.preset, camera=camera), chosen.data
            )
    except XnectError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(
        json.dumps({name: asdict(row) for name, row in report.items()}, indent=1) + "\n"
    )
    return 0


WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "open" / "lifter.safetensors"

if __name__ == "__main__":
    raise SystemExit(main())
