"""How right a refiner is on cut-outs of people, whose boxes are those of their labels."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import nn

from xnect.lift import CARRIED_BONES, CARRIERS
from xnect.network import STRIDE
from xnect.prepare import MEAN, STD
from xnect.refiner import PERSON_PX, SIDE_PX, PersonMaps
from xnect.skeleton import BONE_PARENTS, CODE_UNIT_M
from xnect.train.crops import BOX_PX, CUT_PX, PersonCrops
from xnect.train.samples import SEEN

_TO_INPUT = PERSON_PX / BOX_PX
_MIDDLE = (SIDE_PX - 1) / 2 - _TO_INPUT * (CUT_PX - 1) / 2
CUT_TO_INPUT = np.array([[_TO_INPUT, 0, _MIDDLE], [0, _TO_INPUT, _MIDDLE]])
"""(2, 3) from pixels of a cut-out to those of the refiner's input."""


def in_input(joints_px: np.ndarray) -> np.ndarray:
    """(..., 2) pixels of a cut-out -> of the refiner's input."""
    return _TO_INPUT * joints_px + _MIDDLE


@torch.no_grad()
def seen_as_cut(
    network: nn.Module, crops: PersonCrops, most: int
) -> Iterator[tuple[int, PersonMaps]]:
    """Number and maps of the first people, whose boxes are those of their labels."""
    network.eval()
    device = next(network.parameters()).device
    for i in range(min(most, len(crops.images))):
        image = cv2.warpAffine(np.asarray(crops.images[i]), CUT_TO_INPUT, (SIDE_PX, SIDE_PX))
        tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
        tensor = tensor.div_(255).sub_(MEAN).div_(STD).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            yield i, PersonMaps(*(m.float().cpu() for m in network(tensor.to(device))))
    network.train()


def crop_pck(network: nn.Module, crops: PersonCrops, most: int = 384) -> dict[str, float]:
    """Share of limb joints whose highest cell is within 0.2 torso lengths, boxes given."""
    right = total = 0
    for i, maps in seen_as_cut(network, crops, most):
        logits = maps.heatmaps[0]
        best = logits.flatten(1).argmax(-1).numpy()
        place = np.stack([best % logits.shape[-1], best // logits.shape[-1]], 1)
        found = place * STRIDE + (STRIDE - 1) / 2
        joints, state = in_input(crops.joints_px[i]), crops.state[i]
        pairs = [(a, b) for a, b in ((5, 8), (2, 11)) if state[a] > 0 and state[b] > 0]
        if not pairs:
            continue
        torso = np.linalg.norm(joints[pairs[0][0]] - joints[pairs[0][1]])
        limbs = np.arange(18)[2:14][state[2:14] > 0]
        off = np.linalg.norm(found[limbs] - joints[limbs], axis=1)
        right, total = right + int((off <= 0.2 * torso).sum()), total + len(limbs)
    return {"peak_pck": right / max(total, 1)}


def bone_error(network: nn.Module, crops: PersonCrops, most: int = 384) -> dict[str, float]:
    """Mean error of the bones read at the labelled joints that are seen, mm of reference size."""
    errors = []
    for i, maps in seen_as_cut(network, crops, most):
        seen = crops.state[i][CARRIERS] == SEEN
        cells = (in_input(crops.joints_px[i]) - (STRIDE - 1) / 2) / STRIDE
        x, y = np.rint(cells).astype(int).clip(0, maps.codes.shape[-1] - 1).T
        codes = maps.codes[0].unflatten(0, (3, -1)).numpy()  # (3, 21, h, w)
        told = codes[:, CARRIED_BONES, y[CARRIERS], x[CARRIERS]].T  # (33, 3)
        joints = crops.joints3d_m[i]
        bones = (joints - joints[list(BONE_PARENTS)])[CARRIED_BONES]
        errors.append(np.linalg.norm(told * CODE_UNIT_M - bones, axis=-1)[seen])
    return {"bone_error_mm": 1e3 * float(np.concatenate(errors).mean())}
