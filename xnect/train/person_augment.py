"""Changes by chance of one person's cut-out: moved, turned, mirrored, cut off, covered, recoloured.

What comes out is the refiner's input and its labels, as Stage I's box might have found the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from xnect.refiner import PERSON_PX, SIDE_PX
from xnect.skeleton import FLIP2D, FLIP3D, J2D
from xnect.train.augment import colour
from xnect.train.crops import BOX_PX, CUT_PX, PersonCrops, joints_box
from xnect.train.samples import ABSENT, UNKNOWN


@dataclass(frozen=True)
class RefinerAugment:
    """How far the cut-outs are changed; the box is what Stage I would have found."""

    size_log: float = 0.22  # standard deviation of the logarithm of the size
    shift: float = 0.08  # standard deviation, of the box's longer side
    rotation_deg: float = 20.0
    any_rotation_share: float = 0.08
    part_share: float = 0.25  # boxes of only some of the joints
    cover_share: float = 0.25  # a rectangle hides part of the person
    edge_share: float = 0.06  # the picture ends across the person, who is still in the middle
    cut_share: float = 0.3  # only part of the person shows, and the box is that part's
    anonymous_share: float = 0.12  # the head is pixelated, smeared or behind a bar


SHOWN_PX = 0.3 * BOX_PX
"""Size of the box of a part of somebody at least, in the cut-out."""


class Seen(NamedTuple):
    """One person as the network is to see it."""

    image: np.ndarray  # (160, 160, 3)
    joints_px: np.ndarray  # (18, 2)
    state: np.ndarray  # (18,) int8
    joints3d_m: np.ndarray  # (21, 3)
    joints3d_weight: np.ndarray  # (21,)


def warp_of(
    rng: np.random.Generator, joints: np.ndarray, state: np.ndarray, o: RefinerAugment
) -> tuple[np.ndarray, bool]:
    """A random similarity (2, 3) from the cut-out to the input, and whether it mirrors."""
    there = state > 0
    box = np.array([-0.5, -0.5, 0.5, 0.5]) * BOX_PX + (CUT_PX - 1) / 2
    if there.any():
        shown = joints_box(joints, there)
        middle, size = (shown[:2] + shown[2:]) / 2, max((shown[2:] - shown[:2]).max(), SHOWN_PX)
        box = np.concatenate([middle - size / 2, middle + size / 2])
    if there.sum() >= 6 and rng.random() < o.part_share:
        some = there & (rng.random(len(there)) < rng.uniform(0.4, 0.9))
        if some.sum() >= 4:
            part = joints_box(joints, some)
            middle, size = (part[:2] + part[2:]) / 2, max((part[2:] - part[:2]).max(), 0.5 * BOX_PX)
            box = np.concatenate([middle - size / 2, middle + size / 2])
    size = (box[2:] - box[:2]).max()
    scale = PERSON_PX / size * np.exp(np.clip(rng.normal(0, o.size_log), -0.5, 0.5))
    centre = (box[:2] + box[2:]) / 2 + np.clip(rng.normal(0, o.shift, 2), -0.2, 0.2) * size
    angle = np.deg2rad(rng.normal(0, o.rotation_deg))
    if rng.random() < o.any_rotation_share:
        angle = rng.uniform(-np.pi, np.pi)
    flip = bool(rng.random() < 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    shift = (SIDE_PX - 1) / 2 - linear @ centre
    return np.concatenate([linear, shift[:, None]], 1), flip


def cut_off(
    rng: np.random.Generator, image: np.ndarray, joints: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The picture ends across the person, or something stands before a whole part of them.

    Mostly legs are lost, as below tables and picture borders.  Joints beyond a border are absent,
    those behind a thing unknown.  Four known joints stay, or nothing changes.
    """
    there = state > 0
    side = int(rng.choice(4, p=[0.12, 0.14, 0.6, 0.14]))  # beyond: above, right, below, left
    place = [-joints[:, 1], joints[:, 0], joints[:, 1], -joints[:, 0]][side]
    known = np.sort(place[there])
    if len(known) < 5:
        return image, state
    line = known[0] + rng.uniform(0.2, 0.9) * (known[-1] - known[0])
    beyond = place > line
    if (there & ~beyond).sum() < 4:
        return image, state
    image = np.array(image)
    y, x = np.indices(image.shape[:2])
    where = [-y, x, y, -x][side] > line
    if rng.random() < 0.5:
        image[where] = 114
        return image, np.where(beyond & (state != UNKNOWN), ABSENT, state).astype(np.int8)
    low, high = np.sort(rng.integers(0, 256, (2, 3)), 0)
    size = int(rng.integers(2, 24))  # of the blotches on the thing
    noise = rng.integers(low, high + 1, (size, size, 3)).astype(np.uint8)
    image[where] = cv2.resize(noise, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)[where]
    return image, np.where(beyond & there, UNKNOWN, state).astype(np.int8)


def _covered(
    rng: np.random.Generator, image: np.ndarray, joints: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of noise or of a flipped part of the picture; joints below it are unknown."""
    size = (rng.uniform(0.1, 0.4, 2) * SIDE_PX).astype(int)
    x, y = (rng.uniform(0, 1, 2) * (SIDE_PX - size)).astype(int)
    image = image.copy()
    patch = rng.integers(0, 256, 3) + rng.normal(0, rng.uniform(0, 30), (size[1], size[0], 3))
    image[y : y + size[1], x : x + size[0]] = np.clip(patch, 0, 255).astype(np.uint8)
    below = ((joints >= (x, y)) & (joints < (x + size[0], y + size[1]))).all(-1)
    return image, np.where(below & (state > 0), UNKNOWN, state).astype(np.int8)


_HEAD = [J2D[n] for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_NECK = J2D["neck"]


def anonymous(
    rng: np.random.Generator, image: np.ndarray, joints: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """The picture with the head made unrecognisable, as published footage has it; labels stay.

    A face that cannot be recognised is no sign of a back.  Nothing changes where neck and head are
    not known.
    """
    head = joints[_HEAD][state[_HEAD] > 0]
    if state[_NECK] <= 0 or not len(head):
        return image
    size = max(float(np.linalg.norm(head.mean(0) - joints[_NECK])), 3.0)
    middle = head.mean(0) + rng.normal(0, 0.12, 2) * size
    half = size * rng.uniform(0.35, 0.8, 2)
    x0, y0 = np.maximum(np.rint(middle - half).astype(int), 0)
    x1, y1 = np.minimum(np.rint(middle + half).astype(int) + 1, image.shape[1::-1])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return image
    image = image.copy()
    part = image[y0:y1, x0:x1]
    kind = rng.random()
    if kind < 0.5:
        cells = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        image[y0:y1, x0:x1] = cv2.resize(small, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    elif kind < 0.85:
        image[y0:y1, x0:x1] = cv2.GaussianBlur(part, (0, 0), size * rng.uniform(0.15, 0.5))
    else:
        image[y0:y1, x0:x1] = rng.integers(0, 256) if rng.random() < 0.5 else 0
    return image


def augment_person(
    rng: np.random.Generator, crops: PersonCrops, number: int, o: RefinerAugment
) -> Seen:
    """One of the cut-outs, changed."""
    image, joints, state = crops.images[number], crops.joints_px[number], crops.state[number]
    if rng.random() < o.cut_share:
        image, state = cut_off(rng, image, joints, state)
    matrix, flip = warp_of(rng, joints, state, o)
    edge = rng.random() < o.edge_share
    out = cv2.warpAffine(
        np.asarray(image), matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(114, 114, 114),
    )  # fmt: skip
    joints = joints @ matrix[:, :2].T + matrix[:, 2]
    turn = np.eye(3)  # of the axes of a camera that faces the person
    turn[:2, :2] = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    joints3d, weight = crops.joints3d_m[number] @ turn.T, crops.joints3d_weight[number]
    if flip:
        joints, state = joints[list(FLIP2D)], state[list(FLIP2D)]
        joints3d, weight = joints3d[list(FLIP3D)], weight[list(FLIP3D)]
    inside = ((joints > -0.5) & (joints < SIDE_PX - 0.5)).all(-1)
    if rng.random() < o.anonymous_share:
        out = anonymous(rng, out, joints, np.where(inside, state, ABSENT))
    if rng.random() < o.cover_share:
        out, state = _covered(rng, out, joints, state)
    out = colour(rng, out)
    if edge:
        depth = int(rng.uniform(0.1, 0.45) * SIDE_PX)
        side = int(rng.integers(4))
        view, axis = np.rot90(out, side), joints
        view[:depth] = 114
        place = [axis[:, 1], SIDE_PX - 1 - axis[:, 0], SIDE_PX - 1 - axis[:, 1], axis[:, 0]][side]
        inside &= place >= depth
    state = np.where(~inside & (state != UNKNOWN), ABSENT, state).astype(np.int8)
    return Seen(out, joints, state, joints3d, weight)
