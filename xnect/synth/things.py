"""Things: furniture on the floor, and what people carry in a hand or on the back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xnect.synth.assets import Assets
from xnect.synth.body import Person
from xnect.synth.labels import HAND_REACH, R
from xnect.synth.materials import TILE_PER_M, Row, material
from xnect.synth.mesh import Mesh, join, make_mesh, yaw_matrix

SIDES = 12
"""Of a round thing."""


_FACES = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
_AROUND = ((-1, -1), (1, -1), (1, 1), (-1, 1))
_CORNERS = np.array([
    np.insert(np.array(pair, float), axis, sign) for axis, sign in _FACES for pair in _AROUND
])  # (24, 3), four for each face  # fmt: skip
_NORMALS = np.repeat([np.eye(3)[axis] * sign for axis, sign in _FACES], 4, axis=0)
_ACROSS_UP = np.repeat([((2, 1), (0, 2), (0, 1))[axis] for axis, _ in _FACES], 4, axis=0)
_TRIANGLES = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * f for f in range(6)])


def box(half_m: np.ndarray, centre_m: np.ndarray, *, turn: np.ndarray, row: Row) -> Mesh:
    """A box of half sizes (3,), its six faces with texture coordinates of their own."""
    corners = _CORNERS * half_m
    uv = np.take_along_axis(corners, _ACROSS_UP, 1) * row[TILE_PER_M]
    return make_mesh(corners @ turn.T + centre_m, _TRIANGLES, rows=[row],
                     normal=_NORMALS @ turn.T, uv=uv)  # fmt: skip


def turned(
    profile_m: Sequence[tuple[float, float]], centre_m: np.ndarray, *, turn: np.ndarray, row: Row
) -> Mesh:
    """A body of revolution about y: (radius, height) from below to above, open at its ends."""
    angle = np.linspace(0, 2 * np.pi, SIDES + 1)
    round_ = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], 1)
    radius, height = np.array(profile_m).T
    position = round_[None] * radius[:, None, None]
    position[..., 1] = height[:, None]
    u = np.broadcast_to(angle[None] * radius.max(), position.shape[:2])
    uv = np.stack([u, position[..., 1]], -1).reshape(-1, 2) * row[TILE_PER_M]
    lower = np.arange((len(radius) - 1) * (SIDES + 1)).reshape(-1, SIDES + 1)[:, :-1].ravel()
    upper = lower + SIDES + 1
    triangles = np.concatenate([
        np.stack([lower, upper, upper + 1], 1), np.stack([lower, upper + 1, lower + 1], 1)
    ])  # fmt: skip
    return make_mesh(position.reshape(-1, 3) @ turn.T + centre_m, triangles, rows=[row], uv=uv)


def furniture(
    rng: np.random.Generator, size_m: np.ndarray, spot_m: np.ndarray, row: Row, other: Row
) -> Mesh:
    """A table, chair, bench, shelf, column, plant pot, sofa or crate on the floor.

    Args:
        rng: draws the kind and the turn.
        size_m: (3,) full width, height and depth that it may have.
        spot_m: (3,) of the floor below its middle.
        row: its material.
        other: material of a second part.
    """
    width, height, depth = size_m
    turn = yaw_matrix(rng.uniform(0, 2 * np.pi))

    def block(low: Sequence[float], high: Sequence[float], of: Row = row) -> Mesh:
        """A box between two corners in shares of width, height and depth."""
        a, b = np.array(low) * size_m, np.array(high) * size_m
        centre = spot_m + turn @ ((a + b) / 2)
        return box((b - a) / 2, centre, turn=turn, row=of)

    def legs(top: float) -> list[Mesh]:
        w, d = 0.035 / width, 0.035 / depth
        return [
            block((x * (0.5 - w) - w, 0, z * (0.5 - d) - d), (x * (0.5 - w) + w, top,
                  z * (0.5 - d) + d))
            for x in (-1, 1) for z in (-1, 1)
        ]  # fmt: skip

    kind = rng.choice(["crate", "table", "chair", "shelf", "column", "pot", "sofa"])
    if kind == "table":
        parts = [*legs(0.93), block((-0.5, 0.93, -0.5), (0.5, 1, 0.5))]
    elif kind == "chair":
        parts = [*legs(0.48), block((-0.5, 0.48, -0.5), (0.5, 0.54, 0.5), other)]
        parts.append(block((-0.5, 0.54, -0.5), (0.5, 1, -0.42), other))
    elif kind == "shelf":
        parts = [block((x - 0.02, 0, -0.5), (x + 0.02, 1, 0.5)) for x in (-0.48, 0.48)]
        parts += [block((-0.5, y, -0.5), (0.5, y + 0.02, 0.5)) for y in (0.05, 0.35, 0.65, 0.98)]
        parts.append(block((-0.4, 0.37, -0.4), (rng.uniform(-0.2, 0.4), 0.6, 0.3), other))
    elif kind == "column":
        radius = 0.25 * min(width, depth)
        parts = [turned([(radius, 0), (radius, 2 * height)], spot_m, turn=turn, row=row)]
    elif kind == "pot":
        parts = [
            turned([(0.2 * width, 0), (0.3 * width, 0.4 * height)], spot_m, turn=turn, row=row)
        ]
        for _ in range(10):  # leaves
            lean = yaw_matrix(rng.uniform(0, 6.3)) @ _tilt(rng.uniform(-0.7, 0.7))
            at = spot_m + lean @ np.array([0, 0.3 * height, 0]) + (0, 0.4 * height, 0)
            parts.append(box(np.array([0.035, 0.3 * height, 0.004]), at, turn=lean, row=other))
    elif kind == "sofa":
        parts = [block((-0.5, 0, -0.5), (0.5, 0.5, 0.5)), block((-0.5, 0.5, -0.5), (0.5, 1, -0.25))]
        parts += [block((x, 0.5, -0.25), (x + 0.1, 0.72, 0.5)) for x in (-0.5, 0.4)]
    else:
        parts = [block((-0.5, 0, -0.5), (0.5, 1, 0.5))]
    return join(parts)


def carried(assets: Assets, rng: np.random.Generator, person: Person) -> Mesh:
    """Something in a hand or on the back, in the rest pose, moving with one bone."""
    side = str(rng.choice(["left", "right"]))
    wrist, tip = (person.raw_rest_m[R[f"{side}_{part}"]] for part in ("wrist", "hand"))
    hand = wrist + HAND_REACH * (tip - wrist)
    row = _row(assets, rng)
    turn = yaw_matrix(rng.uniform(0, 6.3)) @ _tilt(rng.uniform(-0.6, 0.6))

    def block(half: Sequence[float]) -> Mesh:
        return box(np.array(half), hand, turn=turn, row=row)

    def round_(profile: Sequence[tuple[float, float]]) -> Mesh:
        return turned(profile, hand, turn=turn, row=row)

    ball = [(0.11 * np.sin(a), -0.11 * np.cos(a)) for a in np.linspace(0.05, 3.09, 8)]
    makers: dict[str, Callable[[], Mesh]] = {
        "phone": lambda: block((0.04, 0.08, 0.006)),
        "book": lambda: block((0.1, 0.14, 0.015)),
        "parcel": lambda: block((0.16, 0.12, 0.12)),
        "board": lambda: block((0.3, 0.22, 0.01)),
        "bottle": lambda: round_([(0.035, -0.1), (0.035, 0.08), (0.012, 0.13), (0.012, 0.16)]),
        "cup": lambda: round_([(0.03, -0.05), (0.042, 0.05)]),
        "stick": lambda: round_([(0.015, -0.5), (0.015, 0.5)]),
        "ball": lambda: round_(ball),
        "bag": lambda: box(np.array([0.06, 0.17, 0.15]), hand - (0, 0.26, 0), turn=np.eye(3),
                           row=row),
    }  # fmt: skip
    kind = str(rng.choice([*makers, "bag", "phone", "backpack", "backpack"]))
    bone_name = f"{side.capitalize()}Hand"
    if kind == "backpack":
        spine = person.raw_rest_m[R["spine"]]
        back = float(person.mesh.position_m[:, 2].min())
        size = person.stature_m / 1.7
        half = np.array([0.15, 0.22, 0.08]) * size * rng.uniform(0.7, 1.1)
        at = np.array([spine[0], spine[1] + 0.02, max(back, spine[2] - 0.22) + 0.02])
        mesh, bone_name = box(half, at, turn=np.eye(3), row=row), "Spine1"
    else:
        mesh = makers[kind]()
    count = len(mesh.position_m)
    bone = np.zeros((count, 4), np.int32)
    bone[:, 0] = assets.body.bone(bone_name)
    weight = np.zeros((count, 4), np.float32)
    weight[:, 0] = 1
    return Mesh(mesh.position_m, mesh.normal, mesh.uv, bone, weight, mesh.triangles,
                mesh.triangle_material, mesh.materials)  # fmt: skip


def _tilt(angle_rad: float) -> np.ndarray:
    """(3, 3) rotation about x."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _row(assets: Assets, rng: np.random.Generator) -> Row:
    """Mostly a plain colour, else a tile of wood, stone, metal."""
    if rng.random() < 0.6:
        return material(tint=rng.uniform(0.05, 1, 3) ** 1.5)
    tile = int(rng.integers(len(assets.room_tiles)))
    return material(room_tile=tile, tile_per_m=rng.uniform(1, 4), tint=rng.uniform(0.5, 1.1, 3))
