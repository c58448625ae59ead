"""Kernels: colours of surfaces, of the floor of a photo, and of the inside of a room.

Colours are linear (square of the display value) until the final square root.
`light` (6, 3) float32: see `Light.table`.  `shadow` (s, s) float32 is the depth map, `light_matrix`
(3, 4) takes the world to its column, row and depth in m.  `eye` (5, 3) float32: rows 0..2 are
camera from world, row 3 the position, row 4 focal px, cx, cy with pixel centres at +0.5.
"""

from __future__ import annotations

import numpy as np

from xnect.synth.compile import kernel
from xnect.synth.materials import (
    AO_TEXTURE,
    BLUE,
    FABRIC,
    GREEN,
    RECOLOUR,
    RED,
    ROOM_TILE,
    TEXTURE,
    TILE_PER_M,
    WRINKLE,
)

Colour = tuple[float, float, float]


@kernel
def lit(
    shadow: np.ndarray, matrix: np.ndarray, point: Colour, radius: float, bias_m: float
) -> float:
    """Share of the key light that reaches a point, 0..1, from four taps."""
    size = shadow.shape[0]
    x, y, z = point
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    d = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3] - bias_m
    out = 0.0
    for k in range(4):
        i = int(np.floor(u + (k % 2 - 0.5) * 2 * radius))
        j = int(np.floor(v + (k // 2 - 0.5) * 2 * radius))
        if i < 0 or j < 0 or i >= size or j >= size or shadow[j, i] > d:
            out += 0.25
    return out


@kernel
def bilinear(image: np.ndarray, u: float, v: float) -> Colour:
    """(s, s, 3 or 4) uint8 at u, v in texels, repeated -> display values 0..1."""
    size = image.shape[0]
    i, j = int(np.floor(u - 0.5)), int(np.floor(v - 0.5))
    fu, fv = u - 0.5 - i, v - 0.5 - j
    r = g = b = 0.0
    for k in range(4):
        w = (fu if k % 2 else 1 - fu) * (fv if k // 2 else 1 - fv)
        texel = image[(j + k // 2) % size, (i + k % 2) % size]
        r += w * texel[0]
        g += w * texel[1]
        b += w * texel[2]
    return r / 255, g / 255, b / 255


@kernel
def tile_colour(tile: np.ndarray, mean: np.ndarray, u: float, v: float, footprint: float) -> Colour:
    """Linear colour of a tile at u, v in tiles; fades to its mean where a pixel covers much."""
    size = tile.shape[0]
    r, g, b = bilinear(tile, u * size, v * size)
    fade = min(max((footprint * size - 1) / 5, 0.0), 1.0)
    r = r * (1 - fade) + mean[0] * fade
    g = g * (1 - fade) + mean[1] * fade
    b = b * (1 - fade) + mean[2] * fade
    return r * r, g * g, b * b


@kernel
def display(value: float, exposure: float) -> float:
    """Linear light -> display value 0..255."""
    value *= exposure
    value = value / (1 + 0.35 * value) * 1.35
    return min(np.sqrt(max(value, 0.0)), 1.0) * 255


@kernel
def contact(contacts: np.ndarray, x: float, z: float) -> float:
    """Darkening of the floor below low joints; contacts (k, 4): x, z, radius m, strength."""
    out = 1.0
    for k in range(len(contacts)):
        dx, dz = x - contacts[k, 0], z - contacts[k, 1]
        d = (dx * dx + dz * dz) / (contacts[k, 2] * contacts[k, 2])
        if d < 4.0:
            out *= 1 - contacts[k, 3] * np.exp(-2.0 * d)
    return out


@kernel
def mix(values: np.ndarray, corners: np.ndarray, weights: Colour) -> Colour:
    """(C, 3) at three corners (3,), weighted."""
    a, b, c = corners[0], corners[1], corners[2]
    wa, wb, wc = weights
    return (
        wa * values[a, 0] + wb * values[b, 0] + wc * values[c, 0],
        wa * values[a, 1] + wb * values[b, 1] + wc * values[c, 1],
        wa * values[a, 2] + wb * values[b, 2] + wc * values[c, 2],
    )


@kernel
def dot(a: Colour, b: np.ndarray) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def corner_weights(screen: np.ndarray, corners: np.ndarray, x: float, y: float) -> Colour:
    """Perspective-correct weights of a triangle's corners at a point of the screen."""
    a, b, c = screen[corners[0]], screen[corners[1]], screen[corners[2]]
    abx, aby, acx, acy = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    area = abx * acy - aby * acx
    dx, dy = x - a[0], y - a[1]
    wb, wc = (acy * dx - acx * dy) / area, (abx * dy - aby * dx) / area
    wa = (1 - wb - wc) * a[2]
    wb *= b[2]
    wc *= c[2]
    z = 1 / (wa + wb + wc)
    return wa * z, wb * z, wc * z


@kernel
def base_colour(
    m: np.ndarray, u: float, v: float, across_up: tuple[float, float], pixel_m: float,
    textures: np.ndarray, fabrics: np.ndarray, room_tiles: np.ndarray, tile_means: np.ndarray,
) -> Colour:  # fmt: skip
    """Linear colour of a material row at uv, or at the cloth's own coordinates."""
    layer, tile = int(m[TEXTURE]), int(m[ROOM_TILE])
    red = green = blue = 1.0
    if tile >= 0:
        footprint = pixel_m * m[TILE_PER_M]
        red, green, blue = tile_colour(room_tiles[tile], tile_means[tile], u, v, footprint)
    elif layer >= 0:
        size = textures.shape[1]
        red, green, blue = bilinear(textures[layer], u * size, v * size)
        red, green, blue = red * red, green * green, blue * blue
    grey = 1.0
    if m[RECOLOUR] > 0.5:
        if layer >= 0:
            grey = min(max((0.3 * red + 0.59 * green + 0.11 * blue) / 0.35, 0.25), 1.6)
        red = green = blue = grey
    if m[FABRIC] >= 0:
        fabric = fabrics[int(m[FABRIC])]
        size = fabric.shape[0]
        scale = m[TILE_PER_M] * size
        texel = fabric[int(across_up[1] * scale) % size, int(across_up[0] * scale) % size]
        q = min(max(grey, 0.4), 1.3) * 1.1 / 65025.0
        return q * texel[0] * texel[0], q * texel[1] * texel[1], q * texel[2] * texel[2]
    return red * m[RED] * m[RED], green * m[GREEN] * m[GREEN], blue * m[BLUE] * m[BLUE]


@kernel
def wrinkled(
    normal: Colour, wrinkles: np.ndarray, m: np.ndarray, across_up: tuple[float, float]
) -> Colour:
    """The unit normal, tilted by the wrinkles of the cloth."""
    size = wrinkles.shape[0]
    column = int(across_up[0] * 280.0 + 37 * m[TILE_PER_M]) % size
    e = wrinkles[int(across_up[1] * 230.0) % size, column]
    e0, e1 = e[0] * m[WRINKLE], e[1] * m[WRINKLE]
    nx, ny, nz = normal[0] + e0 * normal[2], normal[1] + e1, normal[2] - e0 * normal[0]
    length = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    return nx * length, ny * length, nz * length


@kernel
def shade_surfaces(
    triangle_id: np.ndarray, image: np.ndarray, owner_image: np.ndarray, distance: np.ndarray,
    triangles: np.ndarray, triangle_material: np.ndarray, triangle_owner: np.ndarray,
    materials: np.ndarray, rest: np.ndarray, rest_normal: np.ndarray, uv: np.ndarray,
    position: np.ndarray, normal: np.ndarray, screen: np.ndarray, textures: np.ndarray,
    fabrics: np.ndarray, wrinkles: np.ndarray, room_tiles: np.ndarray, tile_means: np.ndarray,
    shadow: np.ndarray, light_matrix: np.ndarray, light: np.ndarray, eye: np.ndarray,
    exposure: float,
) -> None:  # fmt: skip
    """People and furniture: writes image (H, W, 3), owner_image (H, W), distance (H, W) m."""
    height, width = triangle_id.shape
    size = textures.shape[1]
    for y in range(height):
        for x in range(width):
            t = triangle_id[y, x]
            if t < 0:
                continue
            corners = triangles[t]
            weights = corner_weights(screen, corners, x + 0.5, y + 0.5)
            n = mix(normal, corners, weights)
            length = 1 / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2] + 1e-12)
            p = mix(position, corners, weights)
            vx, vy, vz = eye[3, 0] - p[0], eye[3, 1] - p[1], eye[3, 2] - p[2]
            far = np.sqrt(vx * vx + vy * vy + vz * vz)
            facing = (n[0] * vx + n[1] * vy + n[2] * vz) * length / far
            length = -length if facing < 0 else length  # cloth is seen from both sides
            n = (n[0] * length, n[1] * length, n[2] * length)
            m = materials[triangle_material[t]]
            u = v = 0.0
            for k in range(3):
                u += weights[k] * uv[corners[k], 0]
                v += weights[k] * uv[corners[k], 1]
            side = mix(rest_normal, corners, weights)
            at = mix(rest, corners, weights)
            across_up = (at[0] if abs(side[2]) > abs(side[0]) else at[2], at[1])
            colour = base_colour(m, u, v, across_up, far / eye[4, 0],
                                 textures, fabrics, room_tiles, tile_means)  # fmt: skip
            occlusion = 0.75 + 0.25 * min(abs(facing) * 1.3, 1.0)
            dark = 1.0
            if m[AO_TEXTURE] >= 0:
                ao, _, _ = bilinear(textures[int(m[AO_TEXTURE])], u * size, v * size)
                occlusion *= ao
                dark = 0.5 + 0.5 * ao
            if m[WRINKLE] > 0:
                n = wrinkled(n, wrinkles, m, across_up)
            key = max(dot(n, light[0]), 0.0) * lit(shadow, light_matrix, p, 0.6, 0.06)
            fill = max(dot(n, light[4]), 0.0)
            half = n[1] * 0.5 + 0.5
            for k in range(3):
                ambient = (light[3, k] * (1 - half) + light[2, k] * half) * occlusion
                value = ambient + light[1, k] * key + light[5, k] * fill
                image[y, x, k] = display(colour[k] * dark * value, exposure)
            owner_image[y, x] = triangle_owner[t]
            distance[y, x] = far


@kernel
def ray(eye: np.ndarray, x: float, y: float) -> Colour:
    """World direction of the ray through a pixel's centre, 1 m of depth long."""
    dx, dy = (x + 0.5 - eye[4, 1]) / eye[4, 0], (y + 0.5 - eye[4, 2]) / eye[4, 0]
    return (
        eye[0, 0] * dx + eye[1, 0] * dy + eye[2, 0],
        eye[0, 1] * dx + eye[1, 1] * dy + eye[2, 1],
        eye[0, 2] * dx + eye[1, 2] * dy + eye[2, 2],
    )


@kernel
def shade_photo_floor(
    triangle_id: np.ndarray, image: np.ndarray, shadow: np.ndarray, light_matrix: np.ndarray,
    eye: np.ndarray, contacts: np.ndarray, strength: float,
) -> None:  # fmt: skip
    """Darken the photo where people shade an invisible floor at y = 0."""
    height, width = triangle_id.shape
    for y in range(height):
        for x in range(width):
            if triangle_id[y, x] >= 0:
                continue
            d = ray(eye, x, y)
            if d[1] > -0.02 or -eye[3, 1] / d[1] > 25:
                continue
            t = -eye[3, 1] / d[1]
            p = (eye[3, 0] + t * d[0], 0.0, eye[3, 2] + t * d[2])
            shaded = 1 + (lit(shadow, light_matrix, p, 1.2, 0.025) - 1) * strength
            shaded *= contact(contacts, p[0], p[2])
            for k in range(3):
                image[y, x, k] *= shaded


@kernel
def corner_darkness(p: Colour, axis: int, low: np.ndarray, high: np.ndarray) -> float:
    """Darkening of a wall near the edges of the room."""
    out = 1.0
    for k in range(3):
        if k != axis:
            e = min(p[k] - low[k], high[k] - p[k])
            e = min(max((e + 0.2) / 0.8, 0.0), 1.0)
            out *= 0.55 + 0.45 * e * e * (3 - 2 * e)
    return out


@kernel
def shade_room(
    triangle_id: np.ndarray, image: np.ndarray, distance: np.ndarray, low: np.ndarray,
    high: np.ndarray, wall_tiles: np.ndarray, tile_scale: np.ndarray, room_tiles: np.ndarray,
    tile_means: np.ndarray, shadow: np.ndarray, light_matrix: np.ndarray, light: np.ndarray,
    eye: np.ndarray, contacts: np.ndarray, exposure: float,
) -> None:  # fmt: skip
    """Ray-trace the inside of a box room: low, high (3,) m; (3,) tiles of floor, wall, ceiling."""
    height, width = triangle_id.shape
    for y in range(height):
        for x in range(width):
            if triangle_id[y, x] >= 0:
                continue
            d = ray(eye, x, y)
            t, axis = 1e9, 0
            for k in range(3):
                if abs(d[k]) > 1e-9:
                    hit = ((high[k] if d[k] > 0 else low[k]) - eye[3, k]) / d[k]
                    if hit < t:
                        t, axis = hit, k
            p = (eye[3, 0] + t * d[0], eye[3, 1] + t * d[1], eye[3, 2] + t * d[2])
            sign = -1.0 if d[axis] > 0 else 1.0
            n = (sign * (axis == 0), sign * (axis == 1), sign * (axis == 2))
            slot = 1 if axis != 1 else (0 if sign > 0 else 2)
            u = p[2] if axis == 0 else p[0]
            v = p[2] if axis == 1 else -p[1]
            far = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            scale, k = tile_scale[slot], wall_tiles[slot]
            footprint = t / eye[4, 0] * scale / max(abs(d[axis]) / far, 0.05)
            colour = tile_colour(room_tiles[k], tile_means[k], u * scale, v * scale, footprint)
            edge = corner_darkness(p, axis, low, high)
            if slot == 0:
                edge *= contact(contacts, p[0], p[2])
            key = max(dot(n, light[0]), 0.0) * lit(shadow, light_matrix, p, 1.2, 0.03)
            fill = max(dot(n, light[4]), 0.0)
            half = n[1] * 0.5 + 0.5
            for k in range(3):
                value = light[3, k] * (1 - half) + light[2, k] * half + 0.05
                value += light[1, k] * key * 0.8 + light[5, k] * fill
                image[y, x, k] = display(colour[k] * value * edge, exposure)
            distance[y, x] = t * far
