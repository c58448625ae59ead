"""`python -m xnect.eval coco|lspet|clip|...`: figures as Markdown tables, as JSON, as a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from xnect.atomic import replacing
from xnect.calib.camera import Camera
from xnect.errors import BadInput, XnectError
from xnect.eval.predictions import Predict
from xnect.eval.report import Report, figures_json, write_report
from xnect.types import Result

if TYPE_CHECKING:
    from xnect.pipeline import Pipeline

EXAMPLES = """examples:
  python -m xnect.eval coco ../shared/data/coco/dev.json --report out/coco
  python -m xnect.eval lspet ../shared/data/lspet --split dev
  python -m xnect.eval pose2sim ../shared/data/pose2sim
  python -m xnect.eval clip OUT/take.npz --people 6
  python -m xnect.eval clip OUT/*.npz                   a row for each
  python -m xnect.eval empty photos_of_rooms/ --report out/empty
  python -m xnect.eval synth ../shared/data/synth --report out/synth
  python -m xnect.eval synth-clip OUT/demo.npz demo/demo_truth.npz
  python -m xnect.eval record MultiPersonTestSet RECORDINGS
  python -m xnect.eval mupots MultiPersonTestSet RECORDINGS
  python -m xnect.eval record mpi_inf_3dhp_test_set RECORDINGS_3DHP --mpi3dhp
  python -m xnect.eval mpi3dhp mpi_inf_3dhp_test_set RECORDINGS_3DHP
"""


def _pipeline(options: argparse.Namespace, camera: Camera | None = None) -> Pipeline:
    """The pipeline that the flags ask for."""
    from xnect.model import load_pipeline

    return load_pipeline(
        options.preset,
        device=options.device,
        weights=options.weights,
        lane=options.lane,
        camera=camera,
        flip_test=options.flip_test,
        refine=not options.no_refine,
        refiner=options.refiner,
    )


def load_predict(options: argparse.Namespace) -> Predict:
    """People in 2D, or the whole pipeline, with a progress bar over the pictures."""
    pipeline = _pipeline(options)
    run: Predict = pipeline if options.whole else pipeline.find
    bar = tqdm(unit=" pictures", file=sys.stderr)

    def predict(image: np.ndarray) -> Any:
        bar.update()
        return run(image)

    return predict


def coco(options: argparse.Namespace) -> Report:
    """COCO keypoint AP, with pictures in the report."""
    from xnect.eval.cases import coco_sheets
    from xnect.eval.coco import check_pictures, predict_all, read_coco, score_detections

    images = options.images or options.labels.with_suffix("")
    check_pictures(read_coco(options.labels), images)
    found = predict_all(load_predict(options), options.labels, images)
    result = score_detections(options.labels, found)
    sheets = coco_sheets(options.labels, images, found) if options.report else {}
    title = f"COCO keypoints, {options.labels.name}"
    return Report("coco", title, result.table(), asdict(result), sheets)


def lspet(options: argparse.Namespace) -> Report:
    """PCK with and without the labels that are suspect, with pictures in the report."""
    from xnect.eval.cases import lspet_sheets
    from xnect.eval.pck import lspet_reports, predict_lspet, read_lspet

    read_lspet(options.folder, options.split)
    labelled = predict_lspet(load_predict(options), options.folder, options.split)
    reports = lspet_reports(labelled)
    text = "\n".join(f"\n{name}\n\n{r.table()}" for name, r in reports.items())
    sheets = lspet_sheets(labelled, options.folder, options.split) if options.report else {}
    return Report(
        "lspet",
        f"Leeds Sports Pose Extended, {options.split}",
        f"PCK@0.2 torso, %\n{text}",
        {name: asdict(r) for name, r in reports.items()},
        sheets,
    )


def empty(options: argparse.Namespace) -> Report:
    """Who is found in pictures that show nobody, with the surest of them in the report."""
    from xnect.eval.cases import empty_sheets
    from xnect.eval.empty import find_in_all, listed, score_empty

    pictures = listed(options.folder, options.only)
    found = find_in_all(load_predict(options), pictures)
    result = score_empty(found)
    sheets = empty_sheets(found) if options.report else {}
    title = f"Pictures that show nobody, {options.folder.name}"
    return Report("empty", title, result.table(), asdict(result), sheets)


def pose2sim(options: argparse.Namespace) -> Report:
    """Errors of one man in four calibrated cameras."""
    from xnect.eval.pose2sim import pose2sim_report, pose2sim_table

    rows = pose2sim_report(
        lambda camera: _pipeline(options, camera), options.folder, floor=options.floor
    )
    figures = {name: asdict(row) for name, row in rows.items()}
    return Report("pose2sim", "Pose2Sim, one man in four cameras", pose2sim_table(rows), figures)


def synth(options: argparse.Namespace) -> Report:
    """The whole pipeline on the held-out rendered pictures, with pictures in the report."""
    from xnect.eval.synth_pictures import held_out_set, judge_all, synth_report, synth_sheets

    if options.pictures < 1:
        raise BadInput(f"--pictures must be at least 1, got {options.pictures}")
    shown = held_out_set(options.pack, pictures=options.pictures)
    pipeline = _pipeline(options)

    def run(image: np.ndarray, camera: Camera) -> Result:
        pipeline.camera = None if options.guess else camera
        return pipeline(image)

    pictures = tqdm(shown, total=options.pictures, unit=" pictures", file=sys.stderr)
    judged = judge_all(run, pictures)
    result = synth_report(judged)
    sheets = synth_sheets(judged) if options.report else {}
    title = f"Held-out synthetic people, {result.pictures} pictures"
    return Report("synth", title, result.table(), asdict(result), sheets)


def clip(options: argparse.Namespace) -> Report:
    """What recordings show without labels: the table of one, or a row for each of several."""
    from xnect.eval.clip import evaluate_clip, table_of_clips
    from xnect.recording import load_recording

    if options.people < 1:
        raise BadInput(f"--people must be at least 1, got {options.people}")
    stems = [path.stem for path in options.recording]
    found = {
        stem if stems.count(stem) == 1 else str(path): evaluate_clip(
            load_recording(path).results, people=options.people
        )
        for stem, path in zip(stems, options.recording, strict=True)
    }
    if len(stems) == 1:
        result = found[stems[0]]
        return Report("clip", f"Clip {options.recording[0].name}", result.table(), asdict(result))
    figures = {name: asdict(result) for name, result in found.items()}
    return Report("clip", f"{len(found)} clips", table_of_clips(found), figures)


def synth_clip(options: argparse.Namespace) -> Report:
    """A recording against the ground truth of a rendered clip."""
    from xnect.eval.synth_clip import evaluate_synth_clip, read_truth
    from xnect.recording import load_recording

    result = evaluate_synth_clip(
        load_recording(options.recording).results,
        read_truth(options.truth),
        match_by=options.match,
        gate=options.gate,
    )
    title = f"{options.recording.name} against {options.truth.name}"
    return Report("synth-clip", title, result.table(), asdict(result))


def record(options: argparse.Namespace) -> Report:
    """Recordings of sequences that come as folders of pictures, for `mupots` and `mpi3dhp`."""
    from xnect.eval import picture_folders
    from xnect.eval.mpi3dhp import sequence_camera
    from xnect.eval.tables import rows_of_table

    if not 1 <= options.fps <= 1000:
        raise BadInput(f"--fps must be 1 to 1000, got {options.fps}")
    sequences = picture_folders.sequences(options.folder)
    cameras = {n: sequence_camera(n) if options.mpi3dhp else None for n in sequences}
    pipeline = _pipeline(options)
    rows = []
    with tqdm(total=sum(map(len, sequences.values())), unit=" pictures", file=sys.stderr) as bar:
        for name, pictures in sequences.items():
            pipeline.camera = cameras[name]
            out = options.recordings / f"{name}.npz"
            frames, people = picture_folders.record(
                pipeline, pictures, out, fps=options.fps, progress=bar.update
            )
            rows.append([name, str(frames), f"{people / frames:.2f}", str(out)])
    text = rows_of_table(["sequence", "pictures", "people, mean", "recording"], rows)
    figures = {name: {"pictures": len(pictures)} for name, pictures in sequences.items()}
    return Report("record", f"Recordings of {options.folder}", text, figures)


def mupots(options: argparse.Namespace) -> Report:
    """MuPoTS-3D."""
    from xnect.eval.mupots import evaluate_mupots, read_all_labels

    labels = read_all_labels(options.folder)
    needed = {name: range(len(frames)) for name, frames in labels.items()}
    result = evaluate_mupots(labels, _recordings(options.recordings, needed))
    return Report("mupots", "MuPoTS-3D", result.table(), asdict(result))


def mpi3dhp(options: argparse.Namespace) -> Report:
    """The test set of MPI-INF-3DHP."""
    from xnect.eval.mpi3dhp import evaluate_mpi3dhp, read_test_set

    truth = read_test_set(options.folder)
    needed = {name: np.flatnonzero(one.valid).tolist() for name, one in truth.items()}
    found = _recordings(options.recordings, needed)
    result = evaluate_mpi3dhp(truth, found, universal=not options.metric)
    return Report("mpi3dhp", "MPI-INF-3DHP test set", result.table(), asdict(result))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        "python -m xnect.eval",
        description="Figures of a model on labelled pictures, or of a recording.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)

    def command(
        run: Callable[[argparse.Namespace], Report], text: str, *, model: bool
    ) -> argparse.ArgumentParser:
        name = run.__name__.replace("_", "-")
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", type=Path, help="write the figures here as well")
        sub.add_argument("--report", type=Path, help="folder for report.md, report.json, pictures")
        if model:
            sub.add_argument("--preset", help="s or m; default: that of the weights")
            sub.add_argument("--weights", type=Path, help="safetensors; default: the bundled ones")
            sub.add_argument(
                "--lane", choices=("open", "research"), default="research",
                help="of the bundled weights (research)",
            )  # fmt: skip
            sub.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
            sub.add_argument(
                "--flip-test", action=argparse.BooleanOptionalAction, default=None,
                help="mirrored and turned too (default: for single pictures only)",
            )  # fmt: skip
            sub.add_argument(
                "--no-refine", action="store_true", help="Stage I's joints as they are"
            )
            sub.add_argument("--refiner", default="sa", help="sa, m or a file (sa)")
        return sub

    def of_pictures(sub: argparse.ArgumentParser) -> None:
        text = "people after the skeleton fit, not before"
        sub.add_argument("--whole", action="store_true", help=text)

    sub = command(coco, "Keypoint AP and AR by pycocotools.", model=True)
    sub.add_argument("labels", type=Path, help="a COCO keypoints file")
    sub.add_argument("--images", type=Path, help="folder; default: named like the labels")
    of_pictures(sub)
    sub = command(lspet, "PCK@0.2 torso on Leeds Sports Pose Extended.", model=True)
    sub.add_argument("folder", type=Path, help="with dev.json and dev-000.tar")
    sub.add_argument("--split", default="dev", choices=["dev", "train"])
    of_pictures(sub)
    sub = command(empty, "Who is found in pictures that show nobody.", model=True)
    sub.add_argument("folder", type=Path, help="of pictures without people")
    sub.add_argument("--only", type=Path, help="text file of the names to take, one in each line")
    of_pictures(sub)
    sub = command(pose2sim, "3D errors of one man in four calibrated cameras.", model=True)
    sub.add_argument("folder", type=Path, help="with labels.npz and four videos")
    sub.add_argument("--floor", action="store_true", help="tell the cameras what he stands on")
    sub = command(synth, "The whole pipeline on held-out synthetic people, in 3D.", model=True)
    sub.add_argument("pack", type=Path, help="the asset pack, or a shard of held-out pictures")
    sub.add_argument("--pictures", type=int, default=100, help="of the fixed set (100)")
    sub.add_argument("--guess", action="store_true", help="without the true intrinsics")
    sub = command(clip, "Presence, identities and steadiness in recordings.", model=False)
    sub.add_argument(
        "recording", type=Path, nargs="+", help="the .npz that `xnect video` writes, one or more"
    )
    sub.add_argument("--people", type=int, default=6, help="shares for 1..N people (default 6)")
    sub = command(synth_clip, "A recording against the truth of a rendered clip.", model=False)
    sub.add_argument("recording", type=Path, help="the .npz that `xnect video` writes")
    sub.add_argument("truth", type=Path, help="the .npz that `python -m xnect.synth clip` writes")
    sub.add_argument("--match", default="2d", choices=["2d", "3d"], help="by joints or pelvis")
    sub.add_argument("--gate", type=float, help="heights (2d, 0.3) or metres (3d, 0.5)")
    _commands_of_sequences(command)
    return top


def _commands_of_sequences(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands of the sets that come as folders of pictures."""
    sub = command(record, "Recordings of folders TSn of numbered pictures.", model=True)
    sub.add_argument("folder", type=Path, help="with TS1/img_000000.jpg ..., or one folder TSn")
    sub.add_argument("recordings", type=Path, help="folder for TS1.npz ...; existing are replaced")
    sub.add_argument("--fps", type=float, default=30.0, help="pictures per second (30)")
    sub.add_argument(
        "--mpi3dhp", action="store_true", help="the true cameras of MPI-INF-3DHP's test set"
    )
    made = "folder with TS1.npz ... of `python -m xnect.eval record FOLDER RECORDINGS{}`"
    sub = command(mupots, "MuPoTS-3D by the rules of its kit.", model=False)
    sub.add_argument("folder", type=Path, help="with TS1 ... TS20")
    sub.add_argument("recordings", type=Path, help=made.format(""))
    sub = command(mpi3dhp, "Test set of MPI-INF-3DHP.", model=False)
    sub.add_argument("folder", type=Path, help="with TS1 ... TS6")
    sub.add_argument("recordings", type=Path, help=made.format(" --mpi3dhp"))
    sub.add_argument("--metric", action="store_true", help="keep the size that was predicted")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 2 after one sentence about what the user can mend."""
    options = parser().parse_args(arguments)
    try:
        report: Report = options.run(options)
        print(report.text)
        if options.json:
            with replacing(options.json) as file:
                file.write(figures_json(report).encode())
        if options.report:
            print(f"\n{write_report(options.report, report)}")
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _recordings(folder: Path, needed: Mapping[str, Iterable[int]]) -> dict[str, Any]:
    """Sequence -> frame number -> people, of the recordings that are there.

    Raises:
        BadInput: one of them lacks frames that are needed, which would count as people missed.
    """
    from xnect.eval.mupots import found_in
    from xnect.recording import load_recording

    found = {}
    for name, numbers in needed.items():
        path = folder / f"{name}.npz"
        if not path.is_file():
            continue
        found[name] = found_in(load_recording(path))
        missing = [n for n in numbers if n not in found[name]]
        if missing:
            raise BadInput(
                f"{path} lacks {len(missing)} labelled frames, the first is {missing[0]}; it was "
                "interrupted, or is of other pictures: record the sequence again"
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
