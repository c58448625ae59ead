"""Cut-outs where nobody is: squares by chance, and what the networks take for people.

What looks like people to a network is what it must learn to tell apart (hard negatives,
Felzenszwalb et al. 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from xnect.boxes import BoxOptions, find_boxes
from xnect.errors import BadInput
from xnect.network import Network, channels_last
from xnect.prepare import Normalisation, image_from_cell, network_hw, normalise, resize
from xnect.train.crops import CUT_PX, joints_box, square_cut, write_empty
from xnect.train.samples import Shards
from xnect.types import PartialPose

Suspects = Callable[[np.ndarray], Iterator[np.ndarray]]
"""(H, W, 3) uint8 RGB without people -> (4,) boxes, px, of what is taken for somebody."""


def write_backgrounds(shards: list[Path], out: Path, *, count: int, seed: int = 1) -> int:
    """Random squares of pictures without people; writes cut-outs, returns the count.

    Raises:
        BadInput: the shards cannot be read, or no picture in them is sure to be empty.
        CannotWrite: the disk is full; older files stay as they were.
    """
    data, rng = Shards(shards), np.random.default_rng(seed)
    cuts: list[np.ndarray] = []
    empty = np.flatnonzero(data.sure_to_be_empty())
    if not len(empty):
        raise BadInput(
            f"no picture in {', '.join(path.name for path in shards)} is sure to show nobody "
            "(outside_weight 1): there is nothing to cut squares out of"
        )
    while len(cuts) < count:
        sample = data[int(rng.choice(empty))]
        height, width = sample.image.shape[:2]
        side = max(1.0, min(height, width) * np.exp(rng.uniform(np.log(0.2), 0)))
        x, y = rng.uniform(0, 1, 2) * (width - side, height - side)
        square = sample.image[int(y) : int(y + side), int(x) : int(x + side)]
        kind = cv2.INTER_AREA if side > CUT_PX else cv2.INTER_LINEAR
        cuts.append(cv2.resize(square, (CUT_PX, CUT_PX), interpolation=kind))
    write_empty(out, cuts)
    return count


def write_false_alarms(shards: list[Path], suspects: Sequence[Suspects], out: Path) -> int:
    """What is taken for people in pictures without any; writes cut-outs, returns the count.

    Nothing is written when nothing is.

    Raises:
        BadInput: the shards cannot be read.
        CannotWrite: the disk is full; older files stay as they were.
    """
    data = Shards(shards)
    cuts = [
        square_cut(sample.image, box)[0]
        for sample in map(data.__getitem__, np.flatnonzero(data.sure_to_be_empty()).tolist())
        for find in suspects
        for box in find(sample.image)
    ]
    if cuts:
        write_empty(out, cuts)
    return len(cuts)


ALARM_SIDES = (240, 400)
"""Sides of the squares whose area Stage I's input has when false alarms are looked for."""

ALARM_AT_LEAST = 0.12
"""Of a box in a picture without people."""

SMALLEST_PX = 20.0
"""Longer side of such a box, at the least."""


def of_boxes(network: Network, normalisation: Normalisation) -> Suspects:
    """What the box branch of Stage I sees."""
    network = channels_last(network).eval()

    def find(image: np.ndarray) -> Iterator[np.ndarray]:
        for side_px in ALARM_SIDES:
            for box in _boxes(image, network, side_px, normalisation):
                size = max(float((box[2:] - box[:2]).max()), SMALLEST_PX)
                middle = (box[:2] + box[2:]) / 2
                yield np.concatenate([middle - size / 2, middle + size / 2])

    return find


def _boxes(
    image: np.ndarray, network: Network, side_px: int, normalisation: Normalisation
) -> np.ndarray:
    """(N, 4) px."""
    hw = image.shape[:2]
    size = network_hw(hw, (side_px, side_px))
    tensor = torch.from_numpy(normalise(resize(image, size), normalisation))[None]
    tensor = tensor.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = network.box_maps(tensor)[0].float()
    maps[0].sigmoid_()
    affine = image_from_cell(hw, size)
    boxes, _ = find_boxes(maps.numpy(), affine, BoxOptions(score_at_least=ALARM_AT_LEAST))
    return boxes


MISTAKEN_AT_LEAST = 0.15
"""`person_score` of somebody whom the pipeline finds where nobody is."""


def of_pipeline(find: Callable[[np.ndarray], Sequence[PartialPose]]) -> Suspects:
    """Whom a whole pipeline finds (`Pipeline.find`): what its refiner, too, takes for people."""

    def mistaken(image: np.ndarray) -> Iterator[np.ndarray]:
        for person in find(image):
            if person.person_score >= MISTAKEN_AT_LEAST:
                yield joints_box(person.joints_px, person.score > 0)

    return mistaken
