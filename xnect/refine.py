"""A second look at each person: cut out, seen by the refiner, and put back (top-down refinement).

| step | what |
|---|---|
| 1 | the box of Stage I's joints, not smaller than a body of that scale allows, or its bare box |
| 2 | a square round it, resized to 160 x 160 without aliasing |
| 3 | the refiner, all people in one batch |
| 4 | the best cell of each joint, moved by its offset, and the 3D codes that are there |
| 5 | with `flip_test`: another look, wider, and one at who is tilted, upright; the surer counts |
| 6 | with it, too: the mean of three looks, two of them turned a little to either side |
| 7 | people who turn out to be the same one (`same_person`), or none, are dropped |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import nn

from xnect.associate import person_score
from xnect.calib.camera import Camera
from xnect.follow import Candidates
from xnect.lift import facing_view
from xnect.mirror import mirrored_codes, x_negated
from xnect.peaks import best_cells, read_codes, second_cells, side_margin
from xnect.prepare import normalise
from xnect.refiner import PERSON_PX, SIDE_PX, PersonMaps
from xnect.same_person import Looks, SameOptions, different
from xnect.skeleton import FLIP2D, LIMB_JOINTS
from xnect.squares import (
    Square,
    box_squares,
    cut,
    in_picture,
    joined,
    moved,
    px_per_m,
    squares,
    tilts,
    turns,
)
from xnect.turned import mean_of_turned
from xnect.types import PartialPose, SecondPlaces

CLOSER = PERSON_PX / 126
"""Side of the last square of `flip_test`, whose box is a good one, against the others.

A network knows best what is a little larger than it was trained on (Touvron et al. 2019), and many
of the training's boxes are those of parts.  With the boxes of the labels in LSP-Extended dev, no
mirror, 0.2 torso: 64.3 % at 115 px, 66.7 at 123, 67.3 at 126, 66.8 at 130, 66.1 at 138.  The looks
before, whose boxes are not so good, stay looser: a foot beyond the border is lost.
"""


@dataclass(frozen=True)
class RefineOptions:
    """When the refiner's answer counts."""

    rounds: int = 2  # looks at most; each starts from the box that the one before it found
    flip_rounds: int = 3  # the same with `flip_test`, before the last looks
    wider: float = 1.35  # square of its second look: a foot may lie beyond Stage I's box
    wider_surer: float = 1.1  # sum of the limbs' values there, from which on it counts
    closer: float = CLOSER  # square of the last looks
    again_from: float = 0.1  # of the square's side: smaller moves of the box need no further look
    shrink_at_most: float = 0.6  # of the square's side, from look to look
    joint_at_least: float = 0.1  # heatmap value below which a joint is absent
    person_at_least: float = 0.25  # mean of the joints' values below which there is nobody
    smallest_m: float = 0.6  # side of the box at the least, by the median of the limbs found
    flip_test: bool = False
    turns_rad: tuple[float, ...] = (0.0, -0.44, 0.44)  # of the last looks of `flip_test`
    tilt_rad: float = 0.5  # of a trunk from which on `flip_test` looks at somebody upright as well
    same: SameOptions = field(default_factory=SameOptions)


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

    def of(self, which: np.ndarray) -> _Seen:
        """Some of them."""
        return _Seen(*(getattr(self, part.name)[which] for part in fields(self)))

    def put(self, which: np.ndarray, other: _Seen) -> None:
        """Replace some of them."""
        for part in fields(self):
            getattr(self, part.name)[which] = getattr(other, part.name)


@torch.inference_mode()
def look(
    refiner: nn.Module,
    inputs: np.ndarray,
    *,
    flip_test: bool,
    turns_rad: Sequence[float] = (0.0,),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P, 3, 160, 160) normalised -> probabilities, offsets and codes, shaped as `PersonMaps`.

    With T turns `inputs` are T * P squares, see `mean_of_turned`.
    """
    weight = next(refiner.parameters(), torch.zeros(()))
    images = torch.from_numpy(inputs).to(weight.device, weight.dtype)
    if flip_test:
        images = torch.cat([images, images.flip(-1)])
    images = images.contiguous(memory_format=torch.channels_last)
    heatmaps, offsets, codes = (m.float() for m in refiner(images))
    maps = PersonMaps(torch.sigmoid(heatmaps), offsets, codes)
    if flip_test:
        maps = _with_mirrored(maps)
    if len(turns_rad) > 1:
        maps = mean_of_turned(maps, turns_rad)
    heatmaps, offsets, codes = (m.cpu().numpy() for m in maps)
    return heatmaps, offsets, codes


def _with_mirrored(maps: PersonMaps) -> PersonMaps:
    """Maps of pictures and then of their mirror images -> the mean of both."""
    people, joints = len(maps.heatmaps) // 2, list(FLIP2D)
    there = maps.heatmaps[people:].flip(-1)[:, joints]
    back = x_negated(maps.offsets[people:].flip(-1)[:, joints], 2)
    return PersonMaps(
        (maps.heatmaps[:people] + there) / 2,
        (maps.offsets[:people] + back) / 2,
        (maps.codes[:people] + mirrored_codes(maps.codes[people:])) / 2,
    )


def _in_camera(codes: np.ndarray, view: np.ndarray) -> np.ndarray:
    """(P, J, 63) in the axes of a camera that faces each person -> in those of the camera.

    `view` is (P, 3, 3), camera from view.
    """
    vectors = codes.reshape(*codes.shape[:2], 3, -1)  # planar: (P, J, 3, K)
    return np.einsum("pij,pkjn->pkin", view, vectors).reshape(codes.shape)


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
        where = joined(squares(joints, score, smallest_m=options.smallest_m), where)
    if not len(where.side_px):
        return []
    seen = _look_at(picture, where, refiner, options)
    if options.flip_test:
        everybody = np.arange(len(where.side_px))
        wider = replace(where, side_px=where.side_px * options.wider)
        _keep_surer(
            seen, where, everybody, wider, picture, refiner, options, by=options.wider_surer
        )
    rounds = options.flip_rounds if options.flip_test else options.rounds
    for _ in range(rounds - 1):
        alive, better = _found_in(seen, where, options)
        away = moved(where.of(alive), better) > options.again_from
        if not away.any():
            break
        again, better = alive[away], better.of(away)
        seen.put(again, _look_at(picture, better, refiner, options))
        where.put(again, better)
    if options.flip_test:
        _look_upright(seen, where, picture, refiner, options)
    if options.flip_test and len(options.turns_rad) > 1:
        where.put(*_found_in(seen, where, options))
        closer = replace(where, side_px=where.side_px * options.closer)
        seen = _look_at(picture, closer, refiner, options, turned=options.turns_rad)
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


def _found_in(seen: _Seen, where: Square, options: RefineOptions) -> tuple[np.ndarray, Square]:
    """Numbers of those who are there, and the squares, turned as before, of the joints found."""
    alive = np.flatnonzero(seen.score.any(1))
    was = where.of(alive)
    better = squares(
        seen.joints_px[alive], seen.score[alive], smallest_m=options.smallest_m,
        turn_rad=was.turn_rad,
    )  # fmt: skip
    better.side_px[:] = np.maximum(better.side_px, options.shrink_at_most * was.side_px)
    return alive, better


def _look_upright(
    seen: _Seen, where: Square, picture: np.ndarray, refiner: nn.Module, options: RefineOptions
) -> None:
    """Turn the squares of people who are tilted and look again; what is surer of limbs is kept.

    Upright people are what the refiner knows best; a head below the hips is rare in its data.
    """
    tilt = tilts(seen.joints_px, seen.score)
    tilted = np.flatnonzero(np.abs(np.nan_to_num(tilt)) > options.tilt_rad)
    if len(tilted):
        turned = replace(where.of(tilted), turn_rad=tilt[tilted])
        _keep_surer(seen, where, tilted, turned, picture, refiner, options)


def _keep_surer(
    seen: _Seen,
    where: Square,
    which: np.ndarray,
    other: Square,
    picture: np.ndarray,
    refiner: nn.Module,
    options: RefineOptions,
    *,
    by: float = 1.0,
) -> None:
    """Look at some people in other squares; where that is surer of the limbs, it is kept."""
    again = _look_at(picture, other, refiner, options)
    surer = again.score[:, LIMB_JOINTS].sum(1) > by * seen.score[which][:, LIMB_JOINTS].sum(1)
    seen.put(which[surer], again.of(surer))
    where.put(which[surer], other.of(surer))


def _look_at(
    picture: np.ndarray,
    where: Square,
    refiner: nn.Module,
    options: RefineOptions,
    *,
    turned: Sequence[float] = (0.0,),
) -> _Seen:
    """What the refiner sees in each of the squares; scores are 0 where there is nobody.

    With several `turned`, rad, the mean of what it sees when they are turned so besides.
    """
    inputs = np.stack(
        [
            normalise(cut(picture, centre, side, turn + more))
            for more in turned
            for centre, side, turn in zip(
                where.centre_px, where.side_px, where.turn_rad, strict=True
            )
        ]
    )
    heatmaps, offsets, maps = look(refiner, inputs, flip_test=options.flip_test, turns_rad=turned)
    cells, found = best_cells(heatmaps, offsets)
    other_cells, other = second_cells(heatmaps, offsets)
    there = found >= options.joint_at_least
    there[there.sum(1) < 3] = False
    level = np.tile(np.eye(3), (len(where.side_px), 1, 1))
    level[:, :2, :2] = turns(where.turn_rad)
    codes, other_codes = (_in_camera(read_codes(maps, c), level) for c in (cells, other_cells))
    return _Seen(
        in_picture(cells, where), found * there, side_margin(heatmaps), codes,
        in_picture(other_cells, where), other, other_codes,
    )  # fmt: skip


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
