"""Pictures -> network input, and the way back to picture pixels.

Every resize is half-pixel exact: pixel (0, 0) is the centre of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from xnect.errors import BadWeights
from xnect.network import MULTIPLE, STRIDE

MEAN, STD = 0.45, 0.25
"""Unless its weights say otherwise, the network sees (picture / 255 - MEAN) / STD."""


class Normalisation(NamedTuple):
    """What the network's input is: (picture / 255 - mean) / std; it goes with the weights."""

    mean: tuple[float, float, float] = (MEAN,) * 3  # of RGB in 0..1
    std: tuple[float, float, float] = (STD,) * 3

    def metadata(self) -> dict[str, str]:
        """As a weights file says it."""
        mean, std = (" ".join(f"{value:g}" for value in row) for row in self)
        return {"input_mean": mean, "input_std": std}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Normalisation:
        """What the metadata of a weights file says; files that say nothing have the default.

        Raises:
            BadWeights: it is not three numbers, or the deviation is not positive.
        """
        rows = []
        for name, default in zip(("input_mean", "input_std"), cls(), strict=True):
            text = metadata.get(name)
            try:
                row = default if text is None else tuple(float(x) for x in text.split())
            except ValueError:
                row = ()
            if len(row) != 3 or (name == "input_std" and not all(0 < x < 1e3 for x in row)):
                raise BadWeights(f"{name} of a weights file must be three numbers, got {text!r}")
            rows.append(row)
        return cls(*rows)


def network_hw(image_hw: tuple[int, int], nominal_hw: tuple[int, int]) -> tuple[int, int]:
    """Network size for a picture: its aspect ratio, about the nominal area, multiples of 16."""
    height, width = image_hw
    area = nominal_hw[0] * nominal_hw[1]
    aspect = float(np.clip(width / height, 1 / 4, 4))
    ideal = np.sqrt(area / aspect)
    h = max(MULTIPLE, round(ideal / MULTIPLE) * MULTIPLE)
    w = max(MULTIPLE, round(ideal * aspect / MULTIPLE) * MULTIPLE)
    return int(h), int(w)


def letterbox(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> tuple[float, float, float]:
    """Scale and (x, y) shift of network_from_image that fit the whole picture, centred."""
    scale = min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])
    x = (input_hw[1] - 1) / 2 - scale * (image_hw[1] - 1) / 2
    y = (input_hw[0] - 1) / 2 - scale * (image_hw[0] - 1) / 2
    return scale, x, y


def resize(image: np.ndarray, input_hw: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) uint8, letterboxed, without aliasing."""
    scale, x, y = letterbox(image.shape[:2], input_hw)
    while scale < 0.5:  # exact halving first: bilinear alone would alias
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        if height < 2 or width < 2:
            break
        image = cv2.resize(
            image[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        x, y, scale = x + 0.5 * scale, y + 0.5 * scale, 2 * scale
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    return cv2.warpAffine(
        image,
        matrix,
        (input_hw[1], input_hw[0]),
        flags=cv2.INTER_LINEAR,
        borderValue=(114, 114, 114),
    )


def normalise(image: np.ndarray, normalisation: Normalisation = Normalisation()) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, h, w) float32 as the network takes it."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, (mean, std) in enumerate(zip(*normalisation, strict=True)):
        np.multiply(image[..., channel], np.float32(1 / (255 * std)), out=planes[channel])
        planes[channel] -= np.float32(mean / std)
    return planes


def image_from_cell(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine from map cells to picture pixels."""
    scale, x, y = letterbox(image_hw, input_hw)
    centre = (STRIDE - 1) / 2
    return np.array(
        [[STRIDE / scale, 0, (centre - x) / scale], [0, STRIDE / scale, (centre - y) / scale]]
    )
