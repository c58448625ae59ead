"""Maps of the refiner for turned squares, turned back: as a flip test, with turns for mirrors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from xnect.refiner import PersonMaps
from xnect.squares import turns


def mean_of_turned(maps: PersonMaps, turns_rad: Sequence[float]) -> PersonMaps:
    """The mean of what T looks at the same P people say, each turned about its middle.

    A network is not quite the same to turned pictures; where its looks differ, their mean is nearer
    to the truth.  A level cell that a turned square does not cover counts in the others only.

    Args:
        maps: of T * P people, all of the first turn first; `heatmaps` are probabilities.
        turns_rad: T turns of the squares against the level ones, see `Square`.

    Returns:
        Maps of P people, at the cells and in the axes of the level squares, float32.
    """
    people = len(maps.heatmaps) // len(turns_rad)
    back = torch.from_numpy(turns(np.repeat(turns_rad, people))).to(maps.heatmaps)  # (T * P, 2, 2)
    joints, h, w = maps.heatmaps.shape[1:]
    offsets = torch.einsum("pik,pjkyx->pjiyx", back, maps.offsets.nan_to_num(0, 0, 0))
    across, depth = maps.codes.unflatten(1, (3, -1)).split((2, 1), 1)
    codes = torch.cat([torch.einsum("pik,pkbyx->pibyx", back, across), depth], 1)
    covered = torch.ones_like(maps.heatmaps[:, :1])
    parts = [covered, maps.heatmaps, offsets.flatten(1, 2), codes.flatten(1, 2)]
    y, x = (torch.arange(n).to(back) - (n - 1) / 2 for n in (h, w))  # level cells, from the middle
    way = torch.stack(torch.broadcast_tensors(x, y[:, None]), -1)
    there = torch.einsum("yxk,pki->pyxi", way, back)  # by the inverse of the turn
    grid = there / torch.tensor([w / 2, h / 2]).to(back)
    seen = F.grid_sample(torch.cat(parts, 1), grid, align_corners=False)
    total = seen.unflatten(0, (-1, people)).sum(0)
    mean = total[:, 1:] / total[:, :1].clamp_min(1e-6)
    heatmaps, ways, bones = mean.split((joints, 2 * joints, mean.shape[1] - 3 * joints), 1)
    return PersonMaps(heatmaps, ways.unflatten(1, (-1, 2)), bones)
