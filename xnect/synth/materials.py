"""Rows of the material table: one float32 row per material, read by the kernels by column."""

from __future__ import annotations

from collections.abc import Iterable

TEXTURE = 0  # index into the textures, -1 none
AO_TEXTURE = 1  # ambient-occlusion texture with the same uv, -1 none
FABRIC = 2  # index into the fabrics, -1 none
TILE_PER_M = 3  # repeats of the fabric or tile per metre of rest shape
RED, GREEN, BLUE = 4, 5, 6  # tint as display value; multiplied after squaring
RECOLOUR = 7  # 1: only the brightness of the texture counts, the colour is the tint
ALPHA = 8  # discard texels with alpha below this (0..1); 0 = opaque
WRINKLE = 9  # strength of the wrinkles
ROOM_TILE = 10  # index into the room tiles, for furniture; -1 none

Row = tuple[float, ...]


def material(
    *,
    texture: int = -1,
    ao: int = -1,
    fabric: int = -1,
    tile_per_m: float = 1.0,
    tint: Iterable[float] = (1.0, 1.0, 1.0),
    recolour: float = 0.0,
    alpha: float = 0.0,
    wrinkle: float = 0.0,
    room_tile: int = -1,
) -> Row:
    """One row of the table, its columns in the order above."""
    red, green, blue = (float(c) for c in tint)
    return (
        texture, ao, fabric, tile_per_m, red, green, blue, recolour, alpha, wrinkle, room_tile
    )  # fmt: skip
