"""`python -m xnect.train.person_crops`: packed shards -> one small picture per person.

The refiner trains on single people.  Decoding a whole photograph for each would take longer than
the training step, so everybody is cut out once, at one size, with room for moves and turns.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from xnect.errors import BadInput, XnectError
from xnect.lift import look_at
from xnect.model import load_pipeline
from xnect.network import build_network
from xnect.skeleton import J3D
from xnect.train.crops import PersonCrops, joints_box, square_cut, write_crops
from xnect.train.datasets.lspet import lspet
from xnect.train.empty_crops import (
    Suspects,
    of_boxes,
    of_pipeline,
    write_backgrounds,
    write_false_alarms,
)
from xnect.train.lanes import LICENCES, lane_of, lane_of_all
from xnect.train.samples import Sample, Shards, write_shard
from xnect.train.stage1 import start_from

log = logging.getLogger(__name__)

JOINTS_AT_LEAST = 5
SMALLEST_PX = 20.0
"""Longer side of a box in the source below which a person shows too little."""


def cut_out(sample: Sample, person: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Picture (240, 240, 3) of one person and (18, 2) joints in it; None if too little shows."""
    there = sample.state[person] > 0
    if there.sum() < JOINTS_AT_LEAST:
        return None
    box = joints_box(sample.joints_px[person], there)
    size = float((box[2:] - box[:2]).max())
    if size < SMALLEST_PX:
        return None
    cut, matrix = square_cut(sample.image, box)
    return cut, sample.joints_px[person] * matrix[0, 0] + matrix[:, 2]


_TORSO = [J3D[n] for n in ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")]


def facing(joints3d_m: np.ndarray) -> np.ndarray:
    """(21, 3) camera axes -> the same, of a camera at the same place that faces the torso.

    What somebody looks like who stands at the rim of a picture.  Labels that lie round the origin
    rather than before the camera are taken as seen so already.
    """
    ray = joints3d_m[_TORSO].mean(0)
    if not in_front(joints3d_m):
        return joints3d_m
    view = look_at(torch.as_tensor(ray[None, :2] / ray[2]))[0].numpy()
    turned: np.ndarray = joints3d_m @ view
    return turned


def in_front(joints3d_m: np.ndarray) -> bool:
    """Whether (21, 3) labels lie before the camera, rather than round their own pelvis."""
    return bool(joints3d_m[_TORSO, 2].mean() >= 0.3 and np.abs(joints3d_m[J3D["pelvis"]]).max() > 0)


def write_person_crops(shards: list[Path], out: Path) -> int:
    """Cut everybody out of packed shards; writes `out`.npy and `out`.npz, returns the count.

    Raises:
        BadInput: the shards cannot be read, or show nobody well enough.
        CannotWrite: the disk is full; older files stay as they were.
    """
    data = Shards(shards)
    cuts: list[np.ndarray] = []
    joints, states, joints3d, weights = [], [], [], []
    for number in range(len(data)):
        sample = data[number]
        for person in range(len(sample.joints_px)):
            made = cut_out(sample, person)
            if made is not None:
                cuts.append(made[0])
                joints.append(made[1])
                states.append(sample.state[person])
                joints3d.append(facing(sample.joints3d_m[person]))
                weights.append(sample.joints3d_weight[person])
    if not cuts:
        raise BadInput(
            f"there is nobody to cut out of {', '.join(path.name for path in shards)}: nobody has "
            f"{JOINTS_AT_LEAST} joints and {SMALLEST_PX:g} px"
        )
    write_crops(
        out,
        PersonCrops(
            images=np.stack(cuts),
            joints_px=np.stack(joints).astype(np.float32),
            state=np.stack(states).astype(np.int8),
            joints3d_m=np.stack(joints3d).astype(np.float32),
            joints3d_weight=np.stack(weights).astype(np.float32),
        ),
    )
    return len(cuts)


GROUPS = {
    "coco": "coco*.npz", "lspet": "lspet.npz", "renders": "renders-*.npz",
    "dev-renders": "held-out-*.npz",
}  # fmt: skip
"""Name of the cut-outs -> the packed shards from which they come."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `person_crops`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="LSPET dev, to validate with"
    )
    parser.add_argument(
        "--stage1", type=Path, help="weights of preset s with boxes, to look for false alarms with"
    )
    parser.add_argument(
        "--mistaken", choices=tuple(LICENCES), metavar="LANE",
        help="false alarms too: whom the bundled pipeline of this lane finds where nobody is",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        by = [lane_of(options.stage1)] if options.stage1 else []
        lane = lane_of_all(*by, *([options.mistaken] if options.mistaken else []))
        alarms = Alarms(lane, _suspects(options.stage1, options.mistaken))
        _make_all(options.data, options.out, options.shared, alarms)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


@dataclass(frozen=True)
class Alarms:
    """Where false alarms come from, and the lane of the weights that find them."""

    lane: str
    suspects: Sequence[Suspects]

    @property
    def name(self) -> str:
        """Of the cut-outs: those that research weights found are not for the open lane."""
        return "alarms" if self.lane == "open" else f"alarms-{self.lane}"


def _suspects(stage1: Path | None, mistaken: str | None) -> list[Suspects]:
    """Where false alarms come from: the boxes of a Stage I, a bundled pipeline.

    Raises:
        BadWeights: no Stage I in `stage1`.
    """
    suspects = []
    if stage1 is not None:
        network = build_network("s")
        suspects.append(of_boxes(network, start_from(network, str(stage1), flag="--stage1")))
    if mistaken is not None:
        suspects.append(of_pipeline(load_pipeline(lane=mistaken, flip_test=False).find))
    return suspects


BACKGROUNDS = 4000
"""Random squares of pictures without people."""


def _make_all(data: Path, out: Path, shared: Path, alarms: Alarms) -> None:
    """All cut-outs of a folder of shards; what cannot be made is left out with a warning.

    Raises:
        BadInput: there is no shard in the folder, or nothing can be made of those in it.
        CannotWrite: the disk is full.
    """
    if not data.is_dir():
        raise BadInput(f"there is no folder {data}; make one with `python -m xnect.train.pack`")
    groups = {name: sorted(data.glob(pattern)) for name, pattern in GROUPS.items()}
    empty = [*data.glob("negatives.npz"), *sorted(data.glob("empty-*.npz"))]
    if not empty and not any(groups.values()):
        patterns = ", ".join(("negatives.npz", "empty-*.npz", *GROUPS.values()))
        raise BadInput(
            f"{data} holds none of {patterns}; make them with `python -m xnect.train.pack`"
        )
    made: list[int] = []

    def make(name: str, what: str, write: Callable[[], int]) -> None:
        try:
            count = write()
        except BadInput as error:
            log.warning("left out %s: %s", name, error)
            return
        print(f"{name}: {count}{what}", flush=True)
        if name != "dev":
            made.append(count)

    if (shared / "lspet").exists():
        make("dev", " people, never trained on", lambda: _write_dev(shared / "lspet", out / "dev"))
    if empty:
        negatives = partial(write_backgrounds, empty, out / "negatives", count=BACKGROUNDS)
        make("negatives", "", negatives)
    if empty and alarms.suspects:
        found = partial(write_false_alarms, empty, alarms.suspects, out / alarms.name)
        make(alarms.name, "", found)
    for name, shards in groups.items():
        if shards:
            people = partial(write_person_crops, shards, out / name)
            make(name, " people", people)
    if not made:
        raise BadInput(f"nothing in {data} can be cut out; the warnings above say why")


def _write_dev(lspet_root: Path, out: Path) -> int:
    """Cut out the people whom no training sees."""
    with TemporaryDirectory() as folder:
        shard = Path(folder) / "dev.npz"
        write_shard(shard, lspet(lspet_root, "dev"))
        return write_person_crops([shard], out)


if __name__ == "__main__":
    raise SystemExit(main())
