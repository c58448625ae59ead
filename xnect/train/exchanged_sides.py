"""`python -m xnect.train.exchanged_sides`: labels whose left and right are exchanged as a whole.

Who labelled LSP-Extended took the front of a person for the back now and then; `datasets.lspet`
leaves out those of whom the teacher says so.  A refiner that has learnt from many right labels is
sure of the other side where a label is wrong: where it is (`SURE`), the label's are exchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from xnect.backbones.fold import folded
from xnect.errors import XnectError
from xnect.model import bundled, load_refiner
from xnect.network import STRIDE, channels_last
from xnect.pipeline import fast_bf16
from xnect.prepare import normalise
from xnect.refine import look
from xnect.refiner import SIDE_PX
from xnect.skeleton import FLIP2D, LIMB_JOINTS
from xnect.train.crops import PersonCrops, read_person_crops, write_labels
from xnect.train.lanes import RESEARCH_CROPS, refuse_research
from xnect.train.refiner_figures import CUT_TO_INPUT, in_input

SURE = 0.5
"""Mean of log probability: how much likelier the other sides must be than those of the label."""

PAIRS_AT_LEAST = 2
"""Of labelled joints, left and right, without which nothing is said."""

_BATCH = 32
_TWIN = np.array([FLIP2D[j] if j in LIMB_JOINTS else j for j in range(len(FLIP2D))])
"""Faces stay: their labels are not those of the limbs."""


def other_sides(network: nn.Module, crops: PersonCrops) -> np.ndarray:
    """(N,) how much likelier left and right are exchanged than as labelled; nan without pairs.

    The mean over the joints of labelled pairs of log p(there) of the twin against the joint's own,
    each at the labelled place, mean of the picture and its mirror image.
    """
    values = np.full(len(crops.images), np.nan)
    for first in range(0, len(values), _BATCH):
        people = range(first, min(first + _BATCH, len(values)))
        pictures = (np.asarray(crops.images[i]) for i in people)
        inputs = np.stack(
            [normalise(cv2.warpAffine(p, CUT_TO_INPUT, (SIDE_PX, SIDE_PX))) for p in pictures]
        )
        heatmaps, _, _ = look(network, inputs, flip_test=True)
        chance = np.log(heatmaps.clip(1e-3))
        for row, i in enumerate(people):
            there = crops.state[i] > 0
            pairs = [j for j in LIMB_JOINTS if there[j] and there[_TWIN[j]]]
            if len(pairs) < 2 * PAIRS_AT_LEAST:
                continue
            cells = np.rint((in_input(crops.joints_px[i][pairs]) - (STRIDE - 1) / 2) / STRIDE)
            x, y = cells.astype(int).clip(0, chance.shape[-1] - 1).T
            values[i] = (chance[row, _TWIN[pairs], y, x] - chance[row, pairs, y, x]).mean()
    return values


def exchange(path: Path, network: nn.Module) -> int:
    """Exchange the sides of those of the cut-outs at `path` of whom it is sure; returns how many.

    A 3D label that came with them is a guess from wrong sides, and counts no more.

    Raises:
        BadInput: files that are missing, or of an older form.
        CannotWrite: the disk is full; the labels stay as they were.
    """
    crops = read_person_crops(path)
    wrong = other_sides(network, crops) > SURE
    write_labels(
        path,
        replace(
            crops,
            joints_px=np.where(wrong[:, None, None], crops.joints_px[:, _TWIN], crops.joints_px),
            state=np.where(wrong[:, None], crops.state[:, _TWIN], crops.state),
            joints3d_weight=np.where(wrong[:, None], 0, crops.joints3d_weight).astype(np.float32),
        ),
    )
    return int(wrong.sum())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("people", type=Path, nargs="+", help="such as PEOPLE/lspet")
    parser.add_argument("--refiner", type=Path, default=bundled("refiner"))
    flags = parser.parse_args(arguments)
    try:
        for path in flags.people:
            if path.name not in RESEARCH_CROPS:  # both lanes learn from the same cut-outs
                refuse_research("open", flags.refiner)
        kind = torch.bfloat16 if fast_bf16(torch.device("cpu")) else torch.float32
        network = channels_last(folded(load_refiner(flags.refiner)).to(kind))
        for path in flags.people:
            print(f"{path}: sides of {exchange(path, network)} people exchanged", flush=True)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
