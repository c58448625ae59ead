"""What the skeleton fit makes of the poses that the networks see: rendered clips with truth.

    python -m xnect.synth clip --data ../shared/data/synth --seed 11 --out CLIPS/11.mp4  # ...
    python benchmarks/fit_on_network.py CLIPS/*.mp4

Without clips the bundled one is taken.  The truth of `x.mp4` is `x_truth.npz` beside it, and its
camera is used.  Rows:

* before: the pose of Stage II, in a stream, filtered by the tracker, its pelvis where the fit put
  it.  Bones are of any length: a mean over what may be is near in MPJPE, and too short;
* the same on the bones of the identity, which never change, pointing as they did;
* after: what is given out.

With `--pose2sim FOLDER` also the man of Pose2Sim, real footage with triangulated joints, by the
rules of `xnect.eval pose2sim`.  The same people of the same frames are compared with the same true
ones.  The result goes to `benchmarks/results/fit_on_network.json`, tables to the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from xnect.calib.camera import Camera
from xnect.demo.machine import machine
from xnect.errors import BadInput, XnectError
from xnect.eval.pose2sim import pose2sim_report
from xnect.eval.synth_clip import evaluate_synth_clip, read_truth
from xnect.eval.tables import rows_of_table
from xnect.model import load_pipeline
from xnect.rig import CARRIED_BY, JOINTS, RIG
from xnect.skeleton import ROOT
from xnect.track import Track, Tracker
from xnect.types import Frame, Person, Result

HERE = Path(__file__).resolve().parent
ROWS = ("before", "before, bones of one length", "after")
BUNDLED = HERE.parent / "demo" / "demo.mp4"


class Watched(Tracker):
    """A tracker that keeps the tracks of the last frame."""

    last: list[Track]

    def match(self, *given: object) -> list[Track]:
        """As `Tracker.match`."""
        self.last = super().match(*given)  # type: ignore[arg-type]
        return self.last


def truth_of(clip: Path) -> tuple[Path, Camera]:
    """Where the truth of a clip lies, and the camera that it names.

    Raises:
        BadInput: there is none, or it names no camera.
    """
    path = clip.with_name(f"{clip.stem}_truth.npz")
    if not path.exists():
        raise BadInput(f"{clip} has no truth: there is no {path}")
    with np.load(path) as file:
        try:
            width, height = int(file["width_px"]), int(file["height_px"])
            focal, x, y = (float(file[n]) for n in ("focal_px", "cx_px", "cy_px"))
        except KeyError as error:
            raise BadInput(f"{path} names no camera: it lacks {error}") from error
    return path, Camera(
        fx_px=focal, fy_px=focal, cx_px=x, cy_px=y, width_px=width, height_px=height
    )


def frames_of(clip: Path) -> list[Frame]:
    """All frames of a short video.

    Raises:
        BadInput: it cannot be read.
    """
    video = cv2.VideoCapture(str(clip))
    rate, frames = video.get(cv2.CAP_PROP_FPS), []
    while (read := video.read())[0]:
        frames.append(Frame(len(frames), len(frames) / rate, read[1][..., ::-1].copy()))
    if not frames:
        raise BadInput(f"{clip} cannot be read as a video")
    return frames


def streamed(frames: Iterable[Frame], camera: Camera) -> Iterator[dict[str, Result]]:
    """Results with the poses of Stage II, with these on constant bones, and as given out."""
    import xnect.pipeline as module

    made: list[Watched] = []

    def tracker(*given: object) -> Watched:
        made.append(Watched(*given))  # type: ignore[arg-type]
        return made[-1]

    own, module.Tracker = module.Tracker, tracker  # type: ignore[assignment, misc]
    try:
        for result in load_pipeline(camera=camera).stream(frames):
            lifted = {t.track_id: t.pose.joints_m for t in made[-1].last}
            before = tuple(unfitted(p, lifted[p.track_id]) for p in result.people)
            whole = tuple(on_own_bones(p) for p in before)
            each = zip(ROWS, (before, whole, result.people), strict=True)
            yield {name: replace(result, people=people) for name, people in each}
    finally:
        module.Tracker = own  # type: ignore[misc]


@dataclass(frozen=True)
class OneRow:
    """A pipeline that gives out one of the rows."""

    name: str
    camera: Camera

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Results, one for each frame."""
        for rows in streamed(frames, self.camera):
            yield rows[self.name]


def unfitted(person: Person, lifted_m: np.ndarray) -> Person:
    """Somebody with the lifted pose (21, 3) m in place of the fitted one."""
    return replace(person, joints3d_m=lifted_m - lifted_m[ROOT] + person.root_m)


def on_own_bones(person: Person) -> Person:
    """Somebody whose bones have the identity's lengths and point as they do."""
    bones = person.joints3d_m - person.joints3d_m[CARRIED_BY[:JOINTS]]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    bones = bones * (person.bone_lengths_m[:, None] / np.maximum(length, 1e-3))
    bones[ROOT] = person.root_m
    return replace(person, joints3d_m=RIG.above[:JOINTS, :JOINTS] @ bones)


def figures(clips: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Row -> figure -> mean over all poses of all clips."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS}
    for clip in clips:
        path, camera = truth_of(clip)
        truth = read_truth(path)
        results = list(streamed(frames_of(clip), camera))
        for name in ROWS:
            report = evaluate_synth_clip([result[name] for result in results], truth)
            p, m = report.poses, report.motion
            rows[name].append({
                "poses": p.poses, "mpjpe_mm": p.mpjpe_mm, "n_mpjpe_mm": p.n_mpjpe_mm,
                "pa_mpjpe_mm": p.pa_mpjpe_mm, "knee_deg": p.knee_deg, "elbow_deg": p.elbow_deg,
                "acceleration_error_mm": m.pose_acceleration_error_mm,
                "bone_variation": report.bone_variation_mean,
            })  # fmt: skip
    return {name: _mean(found) for name, found in rows.items()}


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    weights = [row["poses"] for row in rows]
    mean = {n: float(np.average([r[n] for r in rows], weights=weights)) for n in rows[0]}
    return {**{n: round(v, 4) for n, v in mean.items()}, "poses": sum(weights)}


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("clips", type=Path, nargs="*", default=[BUNDLED])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fit_on_network.json")
    parser.add_argument("--pose2sim", type=Path, help="folder of that clip")
    options = parser.parse_args()
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder {options.out.parent} to write to")
    real: dict[str, dict[str, float]] = {}
    try:
        rows = figures(options.clips)
        for name in ROWS if options.pose2sim else ():
            found = pose2sim_report(partial(OneRow, name), options.pose2sim)
            real[name] = asdict(found["all"])
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = [clip.name for clip in options.clips]
    options.out.write_text(
        json.dumps({"clips": names, "rows": rows, "pose2sim": real, "machine": machine()}, indent=2)
        + "\n"
    )
    for table in filter(None, (rows, real)):
        heads = list(table[ROWS[0]])
        lines = [[n, *(f"{r[h]:.4g}" for h in heads)] for n, r in table.items()]
        print(rows_of_table(["", *heads], lines), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
