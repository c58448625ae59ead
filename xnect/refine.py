"""A second look at each person: cut out, seen by the refiner, and put back (top-down refinement).

| step | what |
|---|---|
| 1 | the box of Stage I's joints, not smaller than a body of that scale allows, or its bare box |
| 2 | a square round it, resized to 160 x 160 without aliasing |
| 3 | the refiner, all people in one batch |
| 4 | the best cell of each joint, moved by its offset, and the 3D codes that are there |
| 5 | people who turn out to be the same one (`same_person`), or none, are dropped |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
import torch
from torch import nn

from xnect.associate import LONG_LENGTHS_M, LONG_LIMBS, person_score
from xnect.calib.camera import Camera
from xnect.follow import Candidates
from xnect.lift import facing_view
from xnect.mirror import mirrored_codes, x_negated
from xnect.network import STRIDE
from xnect.prepare import normalise
from xnect.refiner import PERSON_PX, SIDE_PX
from xnect.same_person import Looks, SameOptions, different
from xnect.skeleton import FLIP2D
from xnect.types import PartialPose, SecondPlaces

MARGIN_GREY = 114


@dataclass(frozen=True)
class RefineOptions:
    """When the refiner's answer counts."""

    rounds: int = 2  # looks at most; each starts from the box that the one before it found
    again_from: float = 0.1  # of the square's side: smaller moves of the box need no further look
    shrink_at_most: float = 0.6  # of the square's side, from look to look
    joint_at_least: float = 0.1  # heatmap value below which a joint is absent
    person_at_least: float = 0.25  # mean of the joints' values below which there is nobody
    smallest_m: float = 0.6  # side of the box at the least, by the median of the limbs found
    flip_test: bool = False
    same: SameOptions = field(default_factory=SameOptions)


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """Where the refiner's input lies in the picture."""

    centre_px: np.ndarray  # (P, 2)
    side_px: np.ndarray  # (P,) of the square that becomes 160 x 160

    def of(self, which: np.ndarray) -> Square:
        """Some of them."""
        return Square(self.centre_px[which], self.side_px[which])

    def put(self, which: np.ndarray, other: Square) -> None:
        """Replace some of them."""
        self.centre_px[which], self.side_px[which] = other.centre_px, other.side_px


def joined(one: Square, other: Square) -> Square:
    """All of both."""
    return Square(
        np.concatenate([one.centre_px, other.centre_px]),
        np.concatenate([one.side_px, other.side_px]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the refiner says of each person."""

    joints_px: np.ndarray  # (P, 18, 2) pixels of the picture
    score: np.ndarray  # (P, 18) 0 where absent
    margin: np.ndarray  # (P, 18)
    codes: np.ndarray  # (P, 18, 63)
    second_px: np.ndarray  # (P, 18, 2), and so on of each joint's second place
    second_score: np.ndarray
    second_codes: np.ndarray

    def put(self, which: np.ndarray, other: _Seen) -> None:
        """Replace some of them."""
        for part in fields(self):
            getattr(self, part.name)[which] = getattr(other, part.name)


def squares(joints_px: np.ndarray, score: np.ndarray, options: RefineOptions) -> Square:
    """(P, 18, 2), (P, 18) -> the square of each person; everybody has at least one joint."""
    seen = (score > 0)[..., None]
    low = np.where(seen, joints_px, np.inf).min(1)
    high = np.where(seen, joints_px, -np.inf).max(1)
    size = np.maximum((high - low).max(1), options.smallest_m * px_per_m(joints_px, score))
    return Square((low + high) / 2, np.maximum(size, 8.0) * SIDE_PX / PERSON_PX)


def box_squares(boxes_xyxy: np.ndarray) -> Square:
    """(M, 4) boxes of joints, px -> their squares."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    size = np.maximum((high - low).max(1), 8.0)
    return Square((low + high) / 2, size * SIDE_PX / PERSON_PX)


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


def cut(picture: np.ndarray, centre_px: np.ndarray, side_px: float) -> np.ndarray:
    """(H, W, 3) uint8 -> (160, 160, 3): a square of the picture, grey outside, not aliased."""
    low = centre_px - (side_px - 1) / 2
    first = np.maximum(np.floor(low).astype(int) - 2, 0)
    last = np.minimum(np.ceil(low + side_px).astype(int) + 2, picture.shape[1::-1])
    if (last - first < 2).any():
        return np.full((SIDE_PX, SIDE_PX, 3), MARGIN_GREY, np.uint8)
    part = picture[first[1] : last[1], first[0] : last[0]]
    scale, corner = SIDE_PX / side_px, low - first  # corner: first pixel of the square
    while scale < 0.5 and min(part.shape[:2]) >= 4:  # exact halving first
        height, width = part.shape[0] // 2 * 2, part.shape[1] // 2 * 2
        part = cv2.resize(
            part[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        corner, scale = corner / 2, 2 * scale
    shift = 0.5 * scale - 0.5 - scale * corner
    return cv2.warpAffine(
        part, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_LINEAR, borderValue=(MARGIN_GREY,) * 3,
    )  # fmt: skip


@torch.inference_mode()
def look(
    refiner: nn.Module, inputs: np.ndarray, *, flip_test: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P, 3, 160, 160) normalised -> probabilities, offsets and codes, shaped as `PersonMaps`."""
    weight = next(refiner.parameters(), torch.zeros(()))
    images = torch.from_numpy(inputs).to(weight.device, weight.dtype)
    if flip_test:
        images = torch.cat([images, images.flip(-1)])
    images = images.contiguous(memory_format=torch.channels_last)
    maps = refiner(images)
    heatmaps, offsets, codes = (m.float() for m in maps)
    heatmaps = torch.sigmoid(heatmaps)
    if flip_test:
        people, joints = len(inputs), list(FLIP2D)
        there = heatmaps[people:].flip(-1)[:, joints]
        back = x_negated(offsets[people:].flip(-1)[:, joints], 2)
        heatmaps, offsets = (heatmaps[:people] + there) / 2, (offsets[:people] + back) / 2
        codes = (codes[:people] + mirrored_codes(codes[people:])) / 2
    return heatmaps.cpu().numpy(), offsets.cpu().numpy(), codes.cpu().numpy()


def best_cells(heatmaps: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, J, h, w), (P, J, 2, h, w) -> (P, J, 2) cells x, y of each joint, (P, J) its value.

    The place is where the best cell and its eight neighbours say that the joint is, weighted by
    the squares of their values.
    """
    return _read_at(heatmaps, offsets, *_best(heatmaps))


def _read_at(
    heatmaps: np.ndarray, offsets: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `best_cells` gives, of any cells (P, J)."""
    people, joints, h, w = heatmaps.shape
    p, j = np.indices((people, joints))
    score = heatmaps[p, j, row, column]
    steps = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    y, x = row[..., None] + steps[:, 0], column[..., None] + steps[:, 1]  # (P, J, 9)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    y, x = y.clip(0, h - 1), x.clip(0, w - 1)
    p, j = p[..., None], j[..., None]
    way = np.stack([offsets[p, j, 0, y, x] + steps[:, 1], offsets[p, j, 1, y, x] + steps[:, 0]], -1)
    weight = heatmaps[p, j, y, x] ** 2 * inside * (np.abs(way) < 1.5).all(-1)
    shift = (weight[..., None] * way).sum(2) / np.maximum(weight.sum(2), 1e-12)[..., None]
    return np.stack([column, row], -1) + np.clip(shift, -1, 1), score


SECOND_AWAY = 3
"""Cells from a joint's best cell from which on another peak is a second place."""


def second_cells(heatmaps: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `best_cells`, of the surest peak that is not the best one or beside it.

    The value is 0 where there is no other peak.
    """
    h, w = heatmaps.shape[-2:]
    row, column = _best(heatmaps)
    y, x = np.arange(h)[:, None], np.arange(w)
    away = np.maximum(abs(y - row[..., None, None]), abs(x - column[..., None, None]))
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    along = np.maximum(np.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    around = np.maximum(np.maximum(along[..., :-2, :], along[..., 1:-1, :]), along[..., 2:, :])
    peak = (heatmaps >= around) & (away >= SECOND_AWAY)
    cells, score = _read_at(heatmaps, offsets, *_best(heatmaps * peak))
    return cells, score * peak.any((-2, -1))


def read_codes(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(P, 63, h, w), (P, J, 2) cells x, y -> (P, J, 63) codes at the nearest cells."""
    x, y = np.moveaxis(np.rint(cells).astype(np.intp), -1, 0)
    x, y = x.clip(0, maps.shape[-1] - 1), y.clip(0, maps.shape[-2] - 1)
    read: np.ndarray = maps[np.arange(len(maps))[:, None], :, y, x]
    return read


def _in_camera(codes: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(P, J, 63) in the axes of a camera that faces each person -> in those of the camera.

    `view` is (P, 3, 3), camera from view.
    """
    vectors = codes.reshape(*codes.shape[:2], 3, -1)  # planar: (P, J, 3, K)
    return np.einsum("pij,pkjn->pkin", view, vectors).reshape(codes.shape)


def _best(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, J, h, w) -> (P, J) row and column of each joint's surest cell."""
    best = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(-1)
    row, column = np.divmod(best, heatmaps.shape[-1])
    return row, column


def side_margin(heatmaps: np.ndarray) -> np.ndarray:
    """(P, J, h, w) -> (P, J) log-odds of each joint at its best cell against its twin there.

    The twin counts where it is surest in the 3x3 cells round that place.
    """
    people, joints = heatmaps.shape[:2]
    row, column = _best(heatmaps)
    p, j = np.indices((people, joints))
    own = heatmaps[p, j, row, column]
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = [
        padded[p, np.array(FLIP2D)[j], row + dy, column + dx] for dy in range(3) for dx in range(3)
    ]
    twin = np.max(around, 0)
    own, twin = np.clip((own, twin), 1e-4, 1 - 1e-4)
    return np.log(own / (1 - own)) - np.log(twin / (1 - twin))


def refine(
    people: Sequence[PartialPose] | Candidates,
    picture: np.ndarray,
    refiner: nn.Module,
    camera: Camera | None = None,
    options: RefineOptions = RefineOptions(),
) -> list[PartialPose]:
    """Everybody with the joints and 3D codes that the refiner sees, best first.

    Args:
        people: what Stage I and association found, in a video with the people of the last frame.
        picture: (H, W, 3) uint8 RGB.
        refiner: a `Refiner` in evaluation mode, on any device and in any precision.
        camera: of the picture.  Without it codes are those that each person would have in the
            middle of a picture.
        options: thresholds.
    """
    if not isinstance(people, Candidates):
        people = Candidates(list(people), list(people), len(people))
    where = box_squares(people.more_xyxy)
    if people.boxes:
        joints = np.stack([p.joints_px for p in people.boxes]).astype(np.float64)
        score = np.stack([p.score for p in people.boxes]).astype(np.float64)
        where = joined(squares(joints, score, options), where)
    if not len(where.side_px):
        return []
    seen = _look_at(picture, where, refiner, options)
    for _ in range(options.rounds - 1):
        alive = np.flatnonzero(seen.score.any(1))
        better = squares(seen.joints_px[alive], seen.score[alive], options)
        better.side_px[:] = np.maximum(
            better.side_px, options.shrink_at_most * where.side_px[alive]
        )
        moved = _moved(where.of(alive), better) > options.again_from
        if not moved.any():
            break
        again, better = alive[moved], better.of(moved)
        seen.put(again, _look_at(picture, better, refiner, options))
        where.put(again, better)
    alive = np.flatnonzero(seen.score.any(1))
    joints, score, margin = seen.joints_px[alive], seen.score[alive], seen.margin[alive]
    codes, second = seen.codes[alive], seen.second_codes[alive]
    if camera is not None and len(alive):
        view = facing_view(camera.rays(joints), score)
        codes, second = _in_camera(codes, view), _in_camera(second, view)
    total = score.mean(1)
    order = [i for i in np.argsort(-total, kind="stable") if total[i] >= options.person_at_least]
    looks = Looks(
        joints, score, where.side_px[alive] * PERSON_PX / SIDE_PX, px_per_m(joints, score),
        [people.people[i] if i < people.found else None for i in alive],
    )  # fmt: skip
    kept, hidden = different(looks, order, options.same)
    places = zip(seen.second_px[alive], seen.second_score[alive], second, strict=True)
    others = [SecondPlaces(*place) for place in places]
    out = [_pose(joints[i], score[i], margin[i], codes[i], others[i]) for i in kept]
    return sorted([*out, *hidden], key=lambda person: -person.person_score)


def _look_at(
    picture: np.ndarray, where: Square, refiner: nn.Module, options: RefineOptions
) -> _Seen:
    """What the refiner sees in each of the squares; scores are 0 where there is nobody."""
    inputs = np.stack(
        [normalise(cut(picture, c, s)) for c, s in zip(where.centre_px, where.side_px, strict=True)]
    )
    heatmaps, offsets, maps = look(refiner, inputs, flip_test=options.flip_test)
    cells, found = best_cells(heatmaps, offsets)
    other_cells, other = second_cells(heatmaps, offsets)
    there = found >= options.joint_at_least
    there[there.sum(1) < 3] = False
    return _Seen(
        _in_picture(cells, where), found * there, side_margin(heatmaps), read_codes(maps, cells),
        _in_picture(other_cells, where), other, read_codes(maps, other_cells),
    )  # fmt: skip


def _in_picture(cells: np.ndarray, where: Square) -> np.ndarray:
    """(P, J, 2) cells x, y -> pixels of the picture."""
    pixels = cells * STRIDE + (STRIDE - 1) / 2  # of the input
    scale = (where.side_px / SIDE_PX)[:, None, None]
    there: np.ndarray = (pixels - (SIDE_PX - 1) / 2) * scale + where.centre_px[:, None]
    return there


def _moved(old: Square, new: Square) -> np.ndarray:
    """(P,) how far a square moved or changed its size, in sides of the old one."""
    shift = np.abs(new.centre_px - old.centre_px).max(1)
    moved: np.ndarray = np.maximum(shift, np.abs(new.side_px - old.side_px)) / old.side_px
    return moved


def _pose(
    joints: np.ndarray,
    score: np.ndarray,
    margin: np.ndarray,
    codes: np.ndarray,
    second: SecondPlaces,
) -> PartialPose:
    seen = score > 0
    return PartialPose(
        np.where(seen[:, None], joints, 0.0).astype(np.float32),
        score.astype(np.float32),
        np.where(seen[:, None], codes, 0.0).astype(np.float32),
        person_score(score),
        margin.astype(np.float32),
        second=second,
    )
