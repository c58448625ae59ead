"""A quick look at a network during training: real photographs with one labelled person each.

It reads the highest peak of each heatmap inside the labelled person's box: no association is
involved, so it follows Stage I alone.  The reported accuracy comes from `xnect.eval`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from xnect.prepare import Normalisation, image_from_cell, network_hw, normalise, resize
from xnect.train.samples import SEEN, Sample

LIMB_JOINTS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)


@torch.no_grad()
def peak_pck(
    network: nn.Module,
    samples: list[Sample],
    normalisation: Normalisation = Normalisation(),
    *,
    side_px: int = 208,
) -> float:
    """Share of labelled joints whose peak lies within 0.2 torso lengths (shoulder to hip)."""
    network.eval()
    device = next(network.parameters()).device
    right = total = 0
    for sample in samples:
        hw = sample.image.shape[:2]
        size = network_hw(hw, (side_px, side_px))
        picture = resize(sample.image, size)
        tensor = torch.from_numpy(normalise(picture, normalisation))[None].to(device)
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            maps = network(tensor).heatmaps[0].float().cpu().numpy()
        affine = image_from_cell(hw, size)
        x = affine[0, 0] * np.arange(maps.shape[2]) + affine[0, 2]
        y = affine[1, 1] * np.arange(maps.shape[1]) + affine[1, 2]
        box, joints = sample.boxes_xyxy[0], sample.joints_px[0]
        inside = ((y >= box[1]) & (y <= box[3]))[:, None] & ((x >= box[0]) & (x <= box[2]))
        state = sample.state[0]
        pairs = [(a, b) for a, b in ((5, 8), (2, 11)) if state[a] == SEEN and state[b] == SEEN]
        if not pairs or not inside.any():
            continue
        torso = np.linalg.norm(joints[pairs[0][0]] - joints[pairs[0][1]])
        for j in LIMB_JOINTS:
            if state[j] != SEEN:
                continue
            row, column = np.unravel_index(np.where(inside, maps[j], -1e9).argmax(), inside.shape)
            error = np.hypot(x[column] - joints[j, 0], y[row] - joints[j, 1])
            right, total = right + int(error <= 0.2 * torso), total + 1
    network.train()
    return right / max(total, 1)
