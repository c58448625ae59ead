"""Which feet stand on the floor: the truth of contact, by height and speed of heel and toes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from xnect.synth.body import Person
from xnect.synth.labels import R

NEAR_M = 0.035
"""A part of the foot is on the floor when it is this little above where it is when it stands."""

STILL_M_S = 0.35
"""And moves slower than this; corrected motion capture still slides by centimetres a second."""

PARTS = ("heel", "big_toe", "small_toe")
SIDES = ("left", "right")


def rest_heights_m(person: Person) -> np.ndarray:
    """(2, 3) m: heel, big and small toe of the left and right foot above the soles at rest."""
    rows = [[R[f"{side}_{part}"] for part in PARTS] for side in SIDES]
    sole = float(person.mesh.position_m[:, 1].min())
    heights: np.ndarray = person.raw_rest_m[rows, 1] - sole
    return heights


def contact(points_m: np.ndarray, people: Sequence[Person], *, rate_hz: float) -> np.ndarray:
    """(F, P, 29, 3) labelled points in the world -> (F, P, 2) bool: left and right foot stand.

    A foot stands where its heel or one of its toes is low and slow; moments of a single frame are
    taken from their neighbours.  The floor is y = 0.
    """
    frames = len(points_m)
    rows = [R[f"{side}_{part}"] for side in SIDES for part in PARTS]
    feet = points_m[:, :, rows].reshape(frames, len(people), 2, 3, 3)
    rest = np.array([rest_heights_m(person) for person in people]).reshape(-1, 2, 3)
    low = feet[..., 1] - rest < NEAR_M
    step = np.zeros(feet.shape[:-1])
    if frames > 1:
        step = np.linalg.norm(np.gradient(feet, axis=0), axis=-1) * rate_hz
    stands = (low & (step < STILL_M_S)).any(-1)
    return np.asarray(median_filter(stands.astype(np.uint8), (3, 1, 1), mode="nearest")) > 0
