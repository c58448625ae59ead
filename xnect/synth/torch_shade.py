"""Colours of surfaces, floors and rooms for a batch of scenes, in torch.

The same light as the kernels of `xnect.synth.shade`, one row per pixel instead of one loop.  Scenes
of the batch have a row each in `Lights`; `of` (N,) says to which a pixel belongs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xnect.synth.materials import (
    AO_TEXTURE,
    BLUE,
    FABRIC,
    RECOLOUR,
    RED,
    ROOM_TILE,
    TEXTURE,
    TILE_PER_M,
    WRINKLE,
)


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Pictures on surfaces, on the device."""

    textures: Tensor  # (L, s, s, 4) uint8
    fabrics: Tensor  # (F, s, s, 3) uint8
    tiles: Tensor  # (R, s, s, 3) uint8
    tile_means: Tensor  # (R, 3)
    wrinkles: Tensor  # (s, s, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Lights:
    """Light, shadow and camera of B scenes."""

    table: Tensor  # (B, 6, 3)
    exposure: Tensor  # (B,)
    shadow: Tensor  # (B, s, s)
    matrix: Tensor  # (B, 3, 4)
    eye: Tensor  # (B, 5, 3)
    contacts: Tensor  # (B, K, 4), strength 0 where there are fewer
    floor_shadow: Tensor  # (B,)


@dataclass(frozen=True, slots=True, eq=False)
class Surfaces:
    """What can be hit: corners, triangles and materials of all scenes."""

    triangles: Tensor  # (T, 3)
    material: Tensor  # (T,)
    owner: Tensor  # (T,) uint8
    materials: Tensor  # (M, 11)
    rest: Tensor  # (C, 3)
    rest_normal: Tensor  # (C, 3)
    uv: Tensor  # (C, 2)
    position: Tensor  # (C, 3)
    normal: Tensor  # (C, 3)
    screen: Tensor  # (C, 3)


def lit(lights: Lights, of: Tensor, point: Tensor, radius: float, bias_m: float) -> Tensor:
    """(N,) share of the key light that reaches the points (N, 3), from four taps."""
    m, size = lights.matrix[of], lights.shadow.shape[-1]
    at = (m[..., :3] @ point[..., None])[..., 0] + m[..., 3]
    out = torch.zeros_like(at[:, 0])
    for k in range(4):
        i = torch.floor(at[:, 0] + (k % 2 - 0.5) * 2 * radius).long()
        j = torch.floor(at[:, 1] + (k // 2 - 0.5) * 2 * radius).long()
        beyond = (i < 0) | (j < 0) | (i >= size) | (j >= size)
        depth = lights.shadow[of, j.clamp(0, size - 1), i.clamp(0, size - 1)]
        out += 0.25 * (beyond | (depth > at[:, 2] - bias_m))
    return out


def bilinear(images: Tensor, layer: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(N, 3) display values 0..1 of `images` (L, s, s, 3 or 4) at texels u, v, repeated."""
    size = images.shape[1]
    i, j = torch.floor(u - 0.5), torch.floor(v - 0.5)
    fu, fv = (u - 0.5 - i)[:, None], (v - 0.5 - j)[:, None]
    i, j = i.long(), j.long()
    out = torch.zeros((len(u), 3), device=u.device)
    for k in range(4):
        weight = (fu if k % 2 else 1 - fu) * (fv if k // 2 else 1 - fv)
        texel = images[layer, (j + k // 2) % size, (i + k % 2) % size, :3]
        out += weight * texel.float()
    return out / 255


def tile_colour(library: Library, tile: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """(N, 3) linear colour of tiles at u, v; fades to the mean where a pixel covers much."""
    size = library.tiles.shape[1]
    colour = bilinear(library.tiles, tile, u * size, v * size)
    fade = ((footprint * size - 1) / 5).clamp(0, 1)[:, None]
    return (colour * (1 - fade) + library.tile_means[tile] * fade) ** 2


def display(value: Tensor, exposure: Tensor) -> Tensor:
    """Linear light (N, 3) -> display value 0..255."""
    value = value * exposure[:, None]
    value = value / (1 + 0.35 * value) * 1.35
    return value.clamp(min=0).sqrt().clamp(max=1) * 255


def contact(lights: Lights, of: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """(N,) darkening of the floor below low joints."""
    out = torch.ones_like(x)
    for k in range(lights.contacts.shape[1]):
        spot = lights.contacts[of, k]
        d = ((x - spot[:, 0]) ** 2 + (z - spot[:, 1]) ** 2) / spot[:, 2] ** 2
        out *= torch.where(d < 4, 1 - spot[:, 3] * torch.exp(-2 * d), 1.0)
    return out


def base_colour(
    m: Tensor, uv: Tensor, across_up: Tensor, pixel_m: Tensor, library: Library
) -> Tensor:
    """(N, 3) linear colour of material rows (N, 11) at uv, or at the cloth's own coordinates."""
    layer, tile, fabric = (m[:, c].long() for c in (TEXTURE, ROOM_TILE, FABRIC))
    colour = torch.ones((len(m), 3), device=m.device)
    textured = torch.nonzero((layer >= 0) & (tile < 0))[:, 0]
    size = library.textures.shape[1]
    texel = bilinear(library.textures, layer[textured], *(uv[textured] * size).T)
    colour[textured] = texel**2
    tiled = torch.nonzero(tile >= 0)[:, 0]
    footprint = pixel_m[tiled] * m[tiled, TILE_PER_M]
    u, v = uv[tiled].unbind(1)
    colour[tiled] = tile_colour(library, tile[tiled], u, v, footprint)
    grey = torch.ones(len(m), device=m.device)
    recolour = m[:, RECOLOUR] > 0.5
    shade = (colour @ torch.tensor([0.3, 0.59, 0.11], device=m.device)) / 0.35
    grey = torch.where(recolour & (layer >= 0), shade.clamp(0.25, 1.6), grey)
    colour = torch.where(recolour[:, None], grey[:, None], colour)
    out = colour * m[:, RED : BLUE + 1] ** 2
    woven = torch.nonzero(fabric >= 0)[:, 0]
    size = library.fabrics.shape[1]
    at = torch.trunc(across_up[woven] * (m[woven, TILE_PER_M] * size)[:, None]).long() % size
    thread = library.fabrics[fabric[woven], at[:, 1], at[:, 0]].float()
    out[woven] = (grey[woven].clamp(0.4, 1.3) * 1.1 / 65025.0)[:, None] * thread**2
    return out


def wrinkled(normal: Tensor, m: Tensor, across_up: Tensor, library: Library) -> Tensor:
    """(N, 3) unit normals, tilted by the wrinkles of the cloth."""
    size = library.wrinkles.shape[0]
    column = torch.trunc(across_up[:, 0] * 280.0 + 37 * m[:, TILE_PER_M]).long() % size
    row = torch.trunc(across_up[:, 1] * 230.0).long() % size
    e = library.wrinkles[row, column] * m[:, WRINKLE, None]
    tilted = torch.stack([
        normal[:, 0] + e[:, 0] * normal[:, 2],
        normal[:, 1] + e[:, 1],
        normal[:, 2] - e[:, 0] * normal[:, 0],
    ], 1)  # fmt: skip
    tilted = tilted / torch.sqrt((tilted**2).sum(1, keepdim=True) + 1e-12)
    return torch.where(m[:, WRINKLE, None] > 0, tilted, normal)


def shade_surfaces(
    of: Tensor, row: Tensor, column: Tensor, triangle: Tensor,
    surfaces: Surfaces, lights: Lights, library: Library,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """People and things: (N, 3) display values and (N,) distances in m of N pixels."""
    s = surfaces
    corners = s.triangles[triangle]  # (N, 3)
    weights = _corner_weights(s.screen[corners], column + 0.5, row + 0.5)

    def mix(values: Tensor) -> Tensor:
        return (values[corners] * weights[..., None]).sum(1)

    normal, point = mix(s.normal), mix(s.position)
    view = lights.eye[of, 3] - point
    far = view.norm(dim=1)
    normal = normal / torch.sqrt((normal**2).sum(1, keepdim=True) + 1e-12)
    facing = (normal * view).sum(1) / far
    normal = torch.where(facing[:, None] < 0, -normal, normal)  # cloth is seen from both sides
    m, uv = s.materials[s.material[triangle]], mix(s.uv)
    side, at = mix(s.rest_normal), mix(s.rest)
    across = torch.where(side[:, 2].abs() > side[:, 0].abs(), at[:, 0], at[:, 2])
    across_up = torch.stack([across, at[:, 1]], 1)
    colour = base_colour(m, uv, across_up, far / lights.eye[of, 4, 0], library)
    occlusion = 0.75 + 0.25 * (facing.abs() * 1.3).clamp(max=1)
    ao_layer = m[:, AO_TEXTURE].long()
    size = library.textures.shape[1]
    ao = bilinear(library.textures, ao_layer.clamp(min=0), *(uv * size).T)[:, 0]
    ao = torch.where(ao_layer >= 0, ao, 1.0)
    dark = torch.where(ao_layer >= 0, 0.5 + 0.5 * ao, 1.0)
    normal = wrinkled(normal, m, across_up, library)
    light = lights.table[of]
    key = (normal * light[:, 0]).sum(1).clamp(min=0) * lit(lights, of, point, 0.6, 0.06)
    fill = (normal * light[:, 4]).sum(1).clamp(min=0)
    half = (normal[:, 1] * 0.5 + 0.5)[:, None]
    value = (light[:, 3] * (1 - half) + light[:, 2] * half) * (occlusion * ao)[:, None]
    value = value + light[:, 1] * key[:, None] + light[:, 5] * fill[:, None]
    return display(colour * dark[:, None] * value, lights.exposure[of]), far


def rays(eye: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """(N, 3) world directions of the rays through pixels, 1 m of depth long; eye (N, 5, 3)."""
    dx = (column + 0.5 - eye[:, 4, 1]) / eye[:, 4, 0]
    dy = (row + 0.5 - eye[:, 4, 2]) / eye[:, 4, 0]
    return eye[:, 0] * dx[:, None] + eye[:, 1] * dy[:, None] + eye[:, 2]


def shade_photo_floor(of: Tensor, row: Tensor, column: Tensor, lights: Lights) -> Tensor:
    """(N,) factor on the photo: shadows of people on an invisible floor at y = 0."""
    eye = lights.eye[of]
    d = rays(eye, column, row)
    hits = (d[:, 1] <= -0.02) & (-eye[:, 3, 1] / d[:, 1].clamp(max=-1e-6) <= 25)
    t = -eye[:, 3, 1] / torch.where(hits, d[:, 1], -1.0)
    p = eye[:, 3] + t[:, None] * d
    p = p * torch.tensor([1.0, 0.0, 1.0], device=p.device)
    shaded = 1 + (lit(lights, of, p, 1.2, 0.025) - 1) * lights.floor_shadow[of]
    return torch.where(hits, shaded * contact(lights, of, p[:, 0], p[:, 2]), 1.0)


def shade_room(
    of: Tensor, row: Tensor, column: Tensor, low: Tensor, high: Tensor, tiles: Tensor,
    tiles_per_m: Tensor, lights: Lights, library: Library,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The inside of box rooms: (N, 3) display values and (N,) distances in m.

    low, high, tiles and tiles_per_m are (B, 3) of the scenes.
    """
    eye, light = lights.eye[of], lights.table[of]
    d = rays(eye, column, row)
    reach = (torch.where(d > 0, high[of], low[of]) - eye[:, 3]) / torch.where(
        d.abs() > 1e-9, d, 1e-9
    )
    t, axis = torch.where(d.abs() > 1e-9, reach, 1e9).min(1)
    p = eye[:, 3] + t[:, None] * d
    along = d.gather(1, axis[:, None])[:, 0]
    sign = torch.where(along > 0, -1.0, 1.0)
    n = torch.zeros_like(d).scatter_(1, axis[:, None], sign[:, None])
    slot = torch.where(axis != 1, 1, torch.where(sign > 0, 0, 2))
    u = torch.where(axis == 0, p[:, 2], p[:, 0])
    v = torch.where(axis == 1, p[:, 2], -p[:, 1])
    far = d.norm(dim=1)
    scale, tile = (x[of].gather(1, slot[:, None])[:, 0] for x in (tiles_per_m, tiles))
    footprint = t / eye[:, 4, 0] * scale / (along.abs() / far).clamp(min=0.05)
    colour = tile_colour(library, tile, u * scale, v * scale, footprint)
    near = torch.minimum(p - low[of], high[of] - p)
    e = ((near + 0.2) / 0.8).clamp(0, 1)
    dark = 0.55 + 0.45 * e * e * (3 - 2 * e)
    edge = dark.scatter(1, axis[:, None], 1.0).prod(1)
    edge = torch.where(slot == 0, edge * contact(lights, of, p[:, 0], p[:, 2]), edge)
    key = (n * light[:, 0]).sum(1).clamp(min=0) * lit(lights, of, p, 1.2, 0.03)
    fill = (n * light[:, 4]).sum(1).clamp(min=0)
    half = (n[:, 1] * 0.5 + 0.5)[:, None]
    value = light[:, 3] * (1 - half) + light[:, 2] * half + 0.05
    value = value + light[:, 1] * key[:, None] * 0.8 + light[:, 5] * fill[:, None]
    return display(colour * value * edge[:, None], lights.exposure[of]), t * far


def _corner_weights(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, 3, 3) screen corners, pixel centres -> (N, 3) perspective-correct weights."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    dx, dy = x - a[:, 0], y - a[:, 1]
    wb = (ac[:, 1] * dx - ac[:, 0] * dy) / area
    wc = (ab[:, 0] * dy - ab[:, 1] * dx) / area
    weights = torch.stack([(1 - wb - wc) * a[:, 2], wb * b[:, 2], wc * c[:, 2]], 1)
    return weights / weights.sum(1, keepdim=True)
