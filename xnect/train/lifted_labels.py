"""`python -m xnect.train.lifted_labels`: 3D guesses for people who are labelled in 2D only.

From good 2D joints Stage II tells bones better than the 3D codes of a refiner do.  So it completes
what people have labelled, and its guess, weighted by how sure it is of each joint, is a weak label,
as that of the teacher (`datasets.teacher`) is.  Not shown to help: the research refiner has learnt
from it, but no two trainings were compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from xnect.errors import XnectError
from xnect.lift import CARRIED, lift_arrays, load_lifter
from xnect.model import bundled
from xnect.train.crops import read_person_crops, write_labels
from xnect.train.lanes import refuse_research
from xnect.train.samples import HIDDEN, SEEN

LABELLED_AT_LEAST = 9
"""2D joints of those who get a guess."""

GUESS_WEIGHT = 0.5
"""Of a joint that Stage II is sure of; that of a label is 1."""

SURE_M = 0.07
"""Expected error below which a joint counts in full, above in proportion ..."""

UNSURE_M = 0.25
"""... and from here on not at all."""

_SCORES = {SEEN: 0.9, HIDDEN: 0.6}  # as of good detections


def lifted(
    lifter: nn.Module, joints_px: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labelled joints -> complete poses, as a camera that faces each person sees them.

    Args:
        lifter: Stage II.
        joints_px: (N, 18, 2) in any units of a picture.
        state: (N, 18) as in `samples`.

    Returns:
        (N, 21, 3) m of reference size, from the pelvis, and (N, 21) weights from 0 to
        `GUESS_WEIGHT`; all 0 for those of whom too little is labelled.
    """
    score = np.zeros(state.shape)
    for kind, value in _SCORES.items():
        score[state == kind] = value
    none = torch.zeros(len(state), len(CARRIED), 3)
    points = np.where(score[..., None] > 0, joints_px, 0.0)
    with torch.inference_mode():
        joints, error = lift_arrays(
            lifter, torch.as_tensor(points, dtype=torch.float32),
            torch.as_tensor(score, dtype=torch.float32), none, torch.zeros(len(state)),
        )  # fmt: skip
    error_m = error.numpy()
    weight = GUESS_WEIGHT * np.minimum(1, SURE_M / error_m) * (error_m < UNSURE_M)
    enough = (score > 0).sum(1) >= LABELLED_AT_LEAST
    return joints.numpy(), weight * enough[:, None]


def add_guesses(path: Path, lifter: nn.Module) -> int:
    """Give those of the cut-outs at `path` a guess who have no 3D label; returns how many.

    Raises:
        BadInput: files that are missing, or of an older form.
        CannotWrite: the disk is full; the labels stay as they were.
    """
    crops = read_person_crops(path)
    joints, weight = lifted(lifter, crops.joints_px, crops.state)
    labelled = (crops.joints3d_weight > 0).any(1)
    bare = np.asarray(~labelled & weight.any(1))
    guessed = replace(
        crops,
        joints3d_m=np.where(bare[:, None, None], joints, crops.joints3d_m).astype(np.float32),
        joints3d_weight=np.where(bare[:, None], weight, crops.joints3d_weight).astype(np.float32),
    )
    write_labels(path, guessed)
    return int(bare.sum())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("people", type=Path, nargs="+", help="such as PEOPLE/coco")
    parser.add_argument("--lifter", type=Path, default=bundled("lifter", "open"))
    flags = parser.parse_args(arguments)
    try:
        refuse_research("open", flags.lifter)  # both lanes learn from the same cut-outs
        lifter = load_lifter(flags.lifter)
        for path in flags.people:
            print(f"{path}: {add_guesses(path, lifter)} people got a guess", flush=True)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
