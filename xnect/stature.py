"""How tall somebody is over a known floor, by the ankles that stand, and with the population.

One camera sees shape, not size: somebody twice as tall and twice as far looks the same.  The floor
tells: the ray through an ankle that stands meets it (less the sole) at one depth only, and that
over the depth of the ankle of a body of 1.70 m is the stature over 1.70 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.place import place
from xnect.rig import SOLES_M
from xnect.skeleton import J2D, J3D, REFERENCE_STATURE_M, SEEN_AS
from xnect.types import Pose3D


class Statures(NamedTuple):
    """What each ankle, left and right, says if it stands; nan where it says nothing."""

    stature_m: np.ndarray  # (2,)
    sd_m: np.ndarray  # (2,)
    depth_m: np.ndarray  # (2,) of the ankle, of a body of 1.70 m
    root_m: np.ndarray  # (3,) of that body


_SHOWN = np.array([j for j, k in enumerate(SEEN_AS) if k >= 0 and j != J3D["neck"]])
_SHOWN_2D = np.array([SEEN_AS[j] for j in _SHOWN])
_ANKLES = [J3D["left_ankle"], J3D["right_ankle"]]
ANKLES_2D = [J2D["left_ankle"], J2D["right_ankle"]]


def statures_m(pose: Pose3D, camera: Camera, floor: Floor) -> Statures:
    """The stature of somebody who stands on the left, or on the right ankle's foot.

    Seen from the camera, a body that is larger by a factor is farther by it.  The factor that puts
    the sole on the floor is d / (s - n . X), with the ankle at X and s above the sole when the
    stature is 1.70 m, and d the height of the camera.

    Its standard deviation is from that of the lifted ankle's depth, of the body's, and of the
    pixel.
    """
    joints, partial = pose.joints_m, pose.partial
    seen = np.where(np.isfinite(partial.joints_px).all(-1), partial.score, 0.0)
    pixels = np.where(seen[:, None] > 0, partial.joints_px, 0.0)
    rays = camera.rays(pixels)
    placed = place(joints[None, _SHOWN], rays[None, _SHOWN_2D], seen[None, _SHOWN_2D])
    depth = placed.root_m[0, 2] + joints[_ANKLES, 2]
    ankle = np.concatenate([rays[ANKLES_2D], np.ones((2, 1))], 1) * depth[:, None]
    below = SOLES_M["ankle"] - ankle @ np.array(floor.normal)
    good = (seen[ANKLES_2D] > 0) & (depth > 0.3) & (below > 0.05) & placed.sure[0]
    factor = floor.distance_m / np.where(good & np.isfinite(below), below, np.nan)
    stature = REFERENCE_STATURE_M * factor
    share = np.sqrt(0.03**2 + (0.08 / depth) ** 2 + (0.03 / np.where(good, below, 1)) ** 2)
    return Statures(stature, stature * share, depth, placed.root_m[0])


def combined(
    value_m: float, sd_m: float, population: Sequence[tuple[float, float, float]]
) -> tuple[float, float]:
    """A measured stature with the population: mean and standard deviation, m.

    Args:
        value_m: measured.
        sd_m: of the measurement.
        population: (share, mean, standard deviation) of each group, normally distributed.
    """
    share, mean, sd = np.array(population).T
    total = sd**2 + sd_m**2
    log = np.log(share) - 0.5 * np.log(total) - 0.5 * (value_m - mean) ** 2 / total
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    each = (value_m * sd**2 + mean * sd_m**2) / total
    variance = sd**2 * sd_m**2 / total
    middle = float(weight @ each)
    return middle, float(np.sqrt(weight @ (variance + (each - middle) ** 2)))
