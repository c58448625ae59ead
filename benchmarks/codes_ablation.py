"""What the 3D encoding buys: the bundled weights with and without it as input of Stage II.

    python benchmarks/codes_ablation.py --shared ../shared/data

The same pictures, joints and lifter (which was trained on people with and without codes); `without`
gives Stage II zeros in their place, `stage 1` the codes and joints of Stage I, without the second
look.  Held-out rendered pictures with their true cameras, and Pose2Sim.  The result goes to
`benchmarks/results/codes_ablation.json`, a Markdown table to the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xnect.calib.camera import Camera
from xnect.demo.machine import machine
from xnect.errors import XnectError
from xnect.eval.pose2sim import pose2sim_report
from xnect.eval.synth_pictures import held_out_set, judge_all, synth_report
from xnect.eval.tables import rows_of_table
from xnect.lift import CARRIED, N_FEATURES
from xnect.model import load_pipeline
from xnect.pipeline import Pipeline
from xnect.types import Result

CODES = slice(N_FEATURES - 1 - 3 * len(CARRIED), N_FEATURES - 1)
"""Where they stand among the lifter's inputs."""


class Blind(nn.Module):
    """A lifter that is given no codes."""

    def __init__(self, lifter: nn.Module) -> None:
        super().__init__()
        self.lifter = lifter

    def forward(self, features: Tensor) -> Tensor:
        """As the lifter's."""
        features = features.clone()
        features[:, CODES] = 0
        return self.lifter(features)


def make(kind: str, camera: Camera | None = None) -> Pipeline:
    """One of the contenders."""
    pipeline = load_pipeline(camera=camera, refine=kind != "stage 1")
    if kind == "without":
        pipeline.lifter = Blind(pipeline.lifter).eval()
    return pipeline


def figures(kind: str, shared: Path, pictures: int) -> dict[str, float]:
    """Errors of one contender, mm."""
    pipeline = make(kind)

    def run(image: np.ndarray, camera: Camera) -> Result:
        pipeline.camera = camera
        return pipeline(image)

    synth = synth_report(judge_all(run, held_out_set(shared / "synth", pictures=pictures)))
    rows = pose2sim_report(lambda camera: make(kind, camera), shared / "pose2sim")
    man, poses = rows["all"], asdict(synth)["poses"]
    return {
        "held-out MPJPE": poses["mpjpe_mm"],
        "held-out PA-MPJPE": poses["pa_mpjpe_mm"],
        "Pose2Sim MPJPE": man.mpjpe_mm,
        "Pose2Sim PA-MPJPE": man.pa_mpjpe_mm,
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pictures", type=int, default=100)
    folder = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=folder / "codes_ablation.json")
    flags = parser.parse_args()
    if flags.out and not flags.out.parent.is_dir():
        parser.error(f"no folder {flags.out.parent} to write to")
    try:
        with torch.inference_mode():
            found = {
                kind: figures(kind, flags.shared, flags.pictures)
                for kind in ("with codes", "without", "stage 1")
            }
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    flags.out.write_text(json.dumps({"mm": found, "machine": machine()}, indent=2) + "\n")
    columns = next(iter(found.values()))
    rows = [[kind, *(f"{value:.0f}" for value in row.values())] for kind, row in found.items()]
    print(rows_of_table(["mm", *columns], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
