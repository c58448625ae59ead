"""Skinning, shadow maps and the z-buffer for a batch of scenes, in torch: on a GPU, or on the CPU.

The same rules as the kernels of `xnect.synth.raster`.  A triangle's bounding box is taken apart
into candidates, one per pixel; those inside the triangle compete with one `scatter_reduce`.  The
key of a candidate is its inverse depth with the triangle's number behind it, so that of two at the
same depth the earlier triangle wins, as in the kernels, and nothing depends on the order of
threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_CANDIDATES = 1 << 24
"""Pixels of bounding boxes that are looked at together: 1.5 GB."""

NO_TRIANGLE = -1
_LAST = (1 << 31) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N pairs of a triangle and a pixel centre inside it."""

    triangle: Tensor  # (N,) int64
    cell: Tensor  # (N,) int64: picture * height * width + row * width + column
    weight_b: Tensor  # (N,) of the second corner, on the screen
    weight_c: Tensor  # (N,)


def skin(
    position: Tensor, normal: Tensor, bone: Tensor, weight: Tensor, matrices: Tensor
) -> tuple[Tensor, Tensor]:
    """Corners (C, 3) by rows (C, 4) of matrices (M, 3, 4), weights (C, 4) -> (C, 3) twice."""
    mixed = (matrices[bone] * weight[..., None, None]).sum(1)  # (C, 3, 4)
    turn = mixed[..., :3]
    moved = (turn @ position[..., None])[..., 0] + mixed[..., 3]
    return moved, (turn @ normal[..., None])[..., 0]


def candidates(
    xy: Tensor, triangles: Tensor, picture: Tensor, usable: Tensor, *, height: int, width: int
) -> Iterator[Candidates]:
    """All pixels whose centres (at +0.5) lie in a triangle, some millions at a time.

    Args:
        xy: (C, 2) column and row of the corners.
        triangles: (T, 3) int64.
        picture: (T,) int64, of the batch.
        usable: (T,) bool, the others are left out.
        height: of each picture.
        width: of each picture.
    """
    a, b, c = (xy[triangles[:, k]] for k in range(3))
    low, high = torch.minimum(a, torch.minimum(b, c)), torch.maximum(a, torch.maximum(b, c))
    limit = torch.tensor([width, height], device=xy.device)
    first = torch.ceil(low - 0.5).clamp(min=0).clamp(max=1e6).long()
    last = torch.minimum(torch.floor(high - 0.5).clamp(-9, 1e6).long(), limit - 1)
    size = (last - first + 1).clamp(min=0)  # (T, 2)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    count = torch.where(usable & (area.abs() >= 1e-9), size[:, 0] * size[:, 1], 0)
    kept = torch.nonzero(count)[:, 0]
    if not len(kept):
        return
    group = (torch.cumsum(count[kept], 0) - 1) // MOST_CANDIDATES
    for part in range(int(group[-1]) + 1):
        chosen = kept[group == part]
        if not len(chosen):
            continue
        repeats = count[chosen]
        triangle = torch.repeat_interleave(chosen, repeats)
        start = torch.cumsum(repeats, 0) - repeats
        local = torch.arange(len(triangle), device=xy.device)
        local = local - torch.repeat_interleave(start, repeats)
        across = size[triangle, 0]
        x = first[triangle, 0] + local % across
        y = first[triangle, 1] + torch.div(local, across, rounding_mode="floor")
        corner, ab, ac = a[triangle], (b - a)[triangle], (c - a)[triangle]
        dx, dy = x + 0.5 - corner[:, 0], y + 0.5 - corner[:, 1]
        over = 1 / area[triangle]
        wb = (ac[:, 1] * dx - ac[:, 0] * dy) * over
        wc = (ab[:, 0] * dy - ab[:, 1] * dx) * over
        inside = (wb >= 0) & (wc >= 0) & (wb + wc <= 1)
        cell = (picture[triangle] * height + y) * width + x
        yield Candidates(triangle[inside], cell[inside], wb[inside], wc[inside])


def interpolated(values: Tensor, triangles: Tensor, at: Candidates) -> Tensor:
    """(C,) or (C, k) at the candidates, linear on the screen."""
    a, b, c = (values[triangles[at.triangle, k]] for k in range(3))
    wb, wc = at.weight_b, at.weight_c
    if values.ndim > 1:
        wb, wc = wb[:, None], wc[:, None]
    return a * (1 - wb - wc) + b * wb + c * wc


def shadow_maps(
    points: Tensor, triangles: Tensor, picture: Tensor, *, pictures: int, size: int
) -> Tensor:
    """Points (C, 3), column, row and depth m -> (B, s, s) nearest depth, 1e6 where nothing is."""
    depth = torch.full((pictures * size * size,), 1e6, device=points.device)
    usable = torch.ones(len(triangles), dtype=torch.bool, device=points.device)
    flat = points[:, :2]
    for at in candidates(flat, triangles, picture, usable, height=size, width=size):
        z = interpolated(points[:, 2], triangles, at)
        depth.scatter_reduce_(0, at.cell, z, "amin")
    return depth.reshape(pictures, size, size)


def z_buffer(
    screen: Tensor, triangles: Tensor, picture: Tensor, alpha: Tensor, layer: Tensor, uv: Tensor,
    textures: Tensor, *, pictures: int, height: int, width: int,
) -> Tensor:  # fmt: skip
    """The visible triangle of every pixel: (B, H, W) int64, -1 where there is none.

    Args:
        screen: (C, 3) x px, y px, 1 / depth (0 = behind the camera).
        triangles: (T, 3).
        picture: (T,) of the batch.
        alpha: (T,) texels below it (0..1) are holes; 0 = opaque.
        layer: (T,) texture, -1 none.
        uv: (C, 2).
        textures: (L, s, s, 4) uint8.
        pictures: B.
        height: H.
        width: W.
    """
    best = torch.full((pictures * height * width,), -1, dtype=torch.int64, device=screen.device)
    inverse = screen[:, 2].contiguous()
    usable = (inverse[triangles] > 0).all(1)
    for found in candidates(screen[:, :2], triangles, picture, usable, height=height, width=width):
        at, solid = found, _solid(found, triangles, alpha, layer, uv, textures)
        if not bool(solid.all()):
            at = Candidates(
                found.triangle[solid], found.cell[solid], found.weight_b[solid],
                found.weight_c[solid],
            )  # fmt: skip
        z = interpolated(inverse, triangles, at).contiguous()
        bits = z.view(torch.int32).long()  # positive floats are in the order of their bits
        best.scatter_reduce_(0, at.cell, (bits << 32) | (_LAST - at.triangle), "amax")
    triangle = torch.where(best >= 0, _LAST - (best & _LAST), NO_TRIANGLE)
    return triangle.reshape(pictures, height, width)


def _solid(
    at: Candidates, triangles: Tensor, alpha: Tensor, layer: Tensor, uv: Tensor, textures: Tensor
) -> Tensor:
    """(N,) bool: whether the texel at a candidate is no hole."""
    limit, which = alpha[at.triangle] * 255, layer[at.triangle]
    out = torch.ones(len(limit), dtype=torch.bool, device=limit.device)
    rows = torch.nonzero((limit > 0) & (which >= 0))[:, 0]
    if len(rows):
        some = Candidates(at.triangle[rows], at.cell[rows], at.weight_b[rows], at.weight_c[rows])
        size = textures.shape[1]
        texel = torch.trunc(interpolated(uv, triangles, some) * size).long() % size
        out[rows] = textures[which[rows], texel[:, 1], texel[:, 0], 3] >= limit[rows]
    return out
