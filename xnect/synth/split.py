"""What training never sees: bodies, motion, clothes, cloth, room tiles and photos of the tests.

This is the one place that says so.  `training` and `held_out` take an asset pack apart; what a
picture needs of both (skins, hair, brows, eyes, the rig) stays in both.  Renders made before
2026-11-20 17:00, among them those of the first bundled weights, used the whole pack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from xnect.synth.assets import Assets, Motion
from xnect.synth.skeletons import HELD_OUT as HELD_OUT_GROUPS

EVERY_BODY = 10
"""Every tenth of the sampled bodies is held out."""

EVERY_CLOTH = 8
"""Every eighth fabric and pattern."""

EVERY_TILE = 8
"""Every eighth tile of its kind (floor boards, plaster ...)."""

EVERY_PHOTO = 6

HELD_OUT_CLOTHES = frozenset(
    {"female_casualsuit02", "male_casualsuit04", "male_worksuit01", "shoes05"}
)
"""Outfits and shoes."""


def training(assets: Assets) -> Assets:
    """The part of the pack that may be trained on."""
    return _part(assets, held_out=False)


def held_out(assets: Assets) -> Assets:
    """The part of the pack that only tests may show."""
    return _part(assets, held_out=True)


def every(count: int, step: int, *, held_out: bool) -> np.ndarray:
    """Numbers (n,) of one side when every `step`-th of `count` things is held out, the first too.

    A kind of which there is only one is on both sides.
    """
    numbers = np.arange(count)
    chosen = numbers[(numbers % step == 0) == held_out]
    return chosen if len(chosen) else numbers


def motion_of(motion: Motion, clips: Iterable[int]) -> Motion:
    """The motion with these clips only, frames numbered anew."""
    clips = np.array(list(clips), int)
    length = motion.length[clips]
    frames = np.concatenate(
        [np.arange(s, s + n) for s, n in zip(motion.start[clips], length, strict=True)]
    )
    return replace(
        motion,
        rotation=motion.rotation[frames],
        root_m=motion.root_m[frames],
        lift_m=motion.lift_m[frames],
        start=np.concatenate([[0], np.cumsum(length)[:-1]]).astype(motion.start.dtype),
        length=length,
        name=motion.name[clips],
        source=motion.source[clips],
        action=motion.action[clips],
        group=motion.group[clips],
    )


def _part(assets: Assets, *, held_out: bool) -> Assets:
    body, motion = assets.body, assets.motion
    bodies = every(len(body.coefficients), EVERY_BODY, held_out=held_out)
    secret = np.array([str(group) in HELD_OUT_GROUPS for group in motion.group])
    kinds = np.array(assets.room_kinds)
    tiles = np.sort(np.concatenate([
        np.flatnonzero(kinds == kind)[every((kinds == kind).sum(), EVERY_TILE, held_out=held_out)]
        for kind in sorted(set(assets.room_kinds))
    ]))  # fmt: skip
    photos = [
        entries[n]
        for use in sorted({str(p["use"]) for p in assets.photos})
        for entries in [[p for p in assets.photos if p["use"] == use]]
        for n in every(len(entries), EVERY_PHOTO, held_out=held_out)
    ]
    worn = ("outfit", "shoes")
    garments = tuple(
        g for g in assets.garments
        if g.kind not in worn or (g.name in HELD_OUT_CLOTHES) == held_out
    )  # fmt: skip
    return replace(
        assets,
        body=replace(
            body,
            coefficients=body.coefficients[bodies],
            meta=tuple(body.meta[n] for n in bodies),
        ),
        motion=motion_of(motion, np.flatnonzero(secret == held_out)),
        garments=garments,
        fabrics=assets.fabrics[every(len(assets.fabrics), EVERY_CLOTH, held_out=held_out)],
        room_tiles=assets.room_tiles[tiles],
        room_kinds=tuple(kinds[tiles].tolist()),
        photos=tuple(photos),
    )
