"""Squares of a picture, each round one person: where the refiner's input lies."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from xnect.associate import LONG_LENGTHS_M, LONG_LIMBS
from xnect.network import STRIDE
from xnect.refiner import PERSON_PX, SIDE_PX
from xnect.skeleton import J2D

_SHOULDERS = [J2D["left_shoulder"], J2D["right_shoulder"]]
_HIPS = [J2D["left_hip"], J2D["right_hip"]]

MARGIN_GREY = 114


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """Where the refiner's input lies in the picture."""

    centre_px: np.ndarray  # (P, 2)
    side_px: np.ndarray  # (P,) of the square that becomes 160 x 160
    turn_rad: np.ndarray  # (P,) by which it is turned: its downward axis is (-sin, cos)

    def of(self, which: np.ndarray) -> Square:
        """Some of them."""
        return Square(self.centre_px[which], self.side_px[which], self.turn_rad[which])

    def put(self, which: np.ndarray, other: Square) -> None:
        """Replace some of them."""
        for part in fields(self):
            getattr(self, part.name)[which] = getattr(other, part.name)


def upright(centre_px: np.ndarray, side_px: np.ndarray) -> Square:
    """Squares (P, 2), (P,) that are not turned."""
    return Square(centre_px, side_px, np.zeros(len(side_px)))


def joined(one: Square, other: Square) -> Square:
    """All of both."""
    return Square(
        *(
            np.concatenate([getattr(one, part.name), getattr(other, part.name)])
            for part in fields(one)
        )
    )


def turns(turn_rad: np.ndarray) -> np.ndarray:
    """(P,) -> (P, 2, 2) that take directions in the input to those in the picture."""
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def squares(
    joints_px: np.ndarray,
    score: np.ndarray,
    *,
    smallest_m: float,
    turn_rad: np.ndarray | None = None,
) -> Square:
    """(P, 18, 2), (P, 18) -> the square of each person; everybody has at least one joint.

    The box is `smallest_m` large at least, by the median of the limbs found.  `turn_rad` (P,) turns
    the squares; None leaves them level.
    """
    turn_rad = np.zeros(len(score)) if turn_rad is None else turn_rad
    turn = turns(turn_rad)
    joints_px, seen = joints_px @ turn, (score > 0)[..., None]  # in the axes of the squares
    low = np.where(seen, joints_px, np.inf).min(1)
    high = np.where(seen, joints_px, -np.inf).max(1)
    size = np.maximum((high - low).max(1), smallest_m * px_per_m(joints_px, score))
    centre = (turn @ (low + high)[..., None])[..., 0] / 2
    return Square(centre, np.maximum(size, 8.0) * SIDE_PX / PERSON_PX, turn_rad)


def box_squares(boxes_xyxy: np.ndarray) -> Square:
    """(M, 4) boxes of joints, px -> their squares."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    size = np.maximum((high - low).max(1), 8.0)
    return upright((low + high) / 2, size * SIDE_PX / PERSON_PX)


def px_per_m(joints_px: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(P, 18, 2), (P, 18) -> (P,) scale of the body, the median over its limbs; 0 without any."""
    a, b = LONG_LIMBS.T
    length = np.linalg.norm(joints_px[:, a] - joints_px[:, b], axis=-1)
    there = (score[:, a] > 0) & (score[:, b] > 0)
    ratio = np.where(there, length / LONG_LENGTHS_M, np.nan)
    some = there.any(1)
    scale = np.zeros(len(ratio))
    scale[some] = np.nanmedian(ratio[some], 1)
    return scale


def cut(
    picture: np.ndarray, centre_px: np.ndarray, side_px: float, turn_rad: float = 0.0
) -> np.ndarray:
    """(H, W, 3) uint8 -> (160, 160, 3): a square of the picture, grey outside, not aliased.

    Args:
        picture: RGB.
        centre_px: (2,) of the square.
        side_px: of the square.
        turn_rad: by which it is turned, see `Square`.
    """
    (turn,) = turns(np.array([turn_rad]))
    reach = side_px * np.abs(turn).sum(1) / 2  # of the square beyond its centre
    edge = centre_px + 0.5  # from here on where pixels begin, not their centres
    first = np.maximum(np.floor(edge - reach).astype(int) - 2, 0)
    last = np.minimum(np.ceil(edge + reach).astype(int) + 2, picture.shape[1::-1])
    if (last - first < 2).any():
        return np.full((SIDE_PX, SIDE_PX, 3), MARGIN_GREY, np.uint8)
    part = picture[first[1] : last[1], first[0] : last[0]]
    scale, middle = SIDE_PX / side_px, edge - first
    while scale < 0.5 and min(part.shape[:2]) >= 4:  # exact halving first
        height, width = part.shape[0] // 2 * 2, part.shape[1] // 2 * 2
        part = cv2.resize(
            part[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        middle, scale = middle / 2, 2 * scale
    linear = scale * turn.T
    shift = (SIDE_PX - 1) / 2 - linear @ (middle - 0.5)
    return cv2.warpAffine(
        part, np.concatenate([linear, shift[:, None]], 1), (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_LINEAR, borderValue=(MARGIN_GREY,) * 3,
    )  # fmt: skip


def in_picture(cells: np.ndarray, where: Square) -> np.ndarray:
    """(P, J, 2) cells x, y -> pixels of the picture."""
    pixels = cells * STRIDE + (STRIDE - 1) / 2  # of the input
    scale = (where.side_px / SIDE_PX)[:, None, None]
    way = (pixels - (SIDE_PX - 1) / 2) @ turns(where.turn_rad).swapaxes(-1, -2)
    there: np.ndarray = way * scale + where.centre_px[:, None]
    return there


def tilts(joints_px: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(P, 18, 2), (P, 18) -> (P,) turn of a square in which the trunk is upright, rad.

    nan for those of whom not both shoulders and both hips are seen.
    """
    shoulders, hips = (joints_px[:, ends].mean(1) for ends in (_SHOULDERS, _HIPS))
    down = hips - shoulders
    seen = (score[:, [*_SHOULDERS, *_HIPS]] > 0).all(1)
    return np.where(seen, np.arctan2(-down[:, 0], down[:, 1]), np.nan)


def moved(old: Square, new: Square) -> np.ndarray:
    """(P,) how far a square moved or changed its size, in sides of the old one."""
    shift = np.abs(new.centre_px - old.centre_px).max(1)
    moved: np.ndarray = np.maximum(shift, np.abs(new.side_px - old.side_px)) / old.side_px
    return moved
