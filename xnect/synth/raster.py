"""Kernels: skinning, shadow map, z-buffer.  Screen x right, y down, pixel centres at +0.5."""

from __future__ import annotations

import numpy as np

from xnect.synth.compile import kernel
from xnect.synth.materials import ALPHA, TEXTURE


@kernel
def skin(
    position: np.ndarray, normal: np.ndarray, bone: np.ndarray, weight: np.ndarray,
    matrices: np.ndarray, out_position: np.ndarray, out_normal: np.ndarray,
) -> None:  # fmt: skip
    """Linear blend skinning of (C, 3) by bones (C, 4), weights (C, 4), matrices (31, 3, 4)."""
    for i in range(len(position)):
        for r in range(3):
            p = 0.0
            q = 0.0
            for k in range(4):
                w = weight[i, k]
                if w > 0.0:
                    m = matrices[bone[i, k], r]
                    x, y, z = position[i, 0], position[i, 1], position[i, 2]
                    p += w * (m[0] * x + m[1] * y + m[2] * z + m[3])
                    q += w * (m[0] * normal[i, 0] + m[1] * normal[i, 1] + m[2] * normal[i, 2])
            out_position[i, r] = p
            out_normal[i, r] = q


@kernel
def pixel_range(a: float, b: float, c: float, limit: int) -> tuple[int, int]:
    """First and last pixel whose centre lies between three coordinates, inside 0..limit-1."""
    low = max(int(np.ceil(min(a, b, c) - 0.5)), 0)
    high = min(int(np.floor(max(a, b, c) - 0.5)), limit - 1)
    return low, high


@kernel
def shadow_map(points: np.ndarray, triangles: np.ndarray, depth: np.ndarray) -> None:
    """Keep the nearest depth per texel of `depth` (s, s).

    points (C, 3): column, row, depth in m (larger = farther from the light).
    """
    size = depth.shape[0]
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        x0, x1 = pixel_range(a[0], b[0], c[0], size)
        y0, y1 = pixel_range(a[1], b[1], c[1], size)
        inverse = 1 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                dx, dy = x + 0.5 - a[0], y + 0.5 - a[1]
                wb = ((c[1] - a[1]) * dx - (c[0] - a[0]) * dy) * inverse
                wc = ((b[0] - a[0]) * dy - (b[1] - a[1]) * dx) * inverse
                if wb >= 0 and wc >= 0 and wb + wc <= 1:
                    z = a[2] * (1 - wb - wc) + b[2] * wb + c[2] * wc
                    depth[y, x] = min(depth[y, x], z)


@kernel
def texel_alpha(texture: np.ndarray, u: float, v: float) -> int:
    """Alpha of the texel (s, s, 4) that contains (u, v)."""
    size = texture.shape[0]
    return texture[int(v * size) % size, int(u * size) % size, 3]


@kernel
def z_buffer(
    screen: np.ndarray, triangles: np.ndarray, triangle_material: np.ndarray,
    materials: np.ndarray, uv: np.ndarray, textures: np.ndarray,
    inverse_depth: np.ndarray, triangle_id: np.ndarray,
) -> None:  # fmt: skip
    """The visible triangle of every pixel.

    screen (C, 3): x px, y px, 1 / depth (0 = behind the camera).  inverse_depth (H, W) starts at
    0, triangle_id (H, W) int32 at -1.
    """
    height, width = triangle_id.shape
    for t in range(len(triangles)):
        ia, ib, ic = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        a, b, c = screen[ia], screen[ib], screen[ic]
        if a[2] <= 0 or b[2] <= 0 or c[2] <= 0:
            continue
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        x0, x1 = pixel_range(a[0], b[0], c[0], width)
        y0, y1 = pixel_range(a[1], b[1], c[1], height)
        inverse = 1 / area
        row = triangle_material[t]
        alpha = materials[row, ALPHA] * 255
        layer = int(materials[row, TEXTURE])
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                dx, dy = x + 0.5 - a[0], y + 0.5 - a[1]
                wb = ((c[1] - a[1]) * dx - (c[0] - a[0]) * dy) * inverse
                wc = ((b[0] - a[0]) * dy - (b[1] - a[1]) * dx) * inverse
                wa = 1 - wb - wc
                z = a[2] * wa + b[2] * wb + c[2] * wc
                if wa < 0 or wb < 0 or wc < 0 or z <= inverse_depth[y, x]:
                    continue
                if alpha > 0 and layer >= 0:
                    u = wa * uv[ia, 0] + wb * uv[ib, 0] + wc * uv[ic, 0]
                    v = wa * uv[ia, 1] + wb * uv[ib, 1] + wc * uv[ic, 1]
                    if texel_alpha(textures[layer], u, v) < alpha:
                        continue
                inverse_depth[y, x] = z
                triangle_id[y, x] = t
