"""Meshes: parts of a person or of a room, their normals, and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnect.synth.materials import Row


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Render corners of a region of the base mesh: a base vertex with a texture coordinate each."""

    vertex: np.ndarray  # (C,) number of the base vertex
    uv: np.ndarray  # (C, 2)
    triangles: np.ndarray  # (T, 3) corners


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Corners and triangles; skinned to the rig where `bone` is not empty."""

    position_m: np.ndarray  # (C, 3) float32: rest shape of a person, or world
    normal: np.ndarray  # (C, 3) float32
    uv: np.ndarray  # (C, 2) float32
    bone: np.ndarray  # (C, 4) int32, or (0, 4) for furniture
    weight: np.ndarray  # (C, 4) float32, or (0, 4)
    triangles: np.ndarray  # (T, 3) int32
    triangle_material: np.ndarray  # (T,) int32, row of `materials`
    materials: np.ndarray  # (M, 11) float32


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3) of length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def yaw_matrix(angle_rad: float) -> np.ndarray:
    """(3, 3) rotation about the vertical axis."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(C, 3), (T, 3) -> (C, 3) unit normals, weighted by area."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            out[:, axis] += np.bincount(triangles[:, corner], face[:, axis], len(vertices))
    return unit(out)


def surface(quads: np.ndarray, quads_uv: np.ndarray, uv: np.ndarray) -> Surface:
    """(Q, 4) vertices, (Q, 4) uv numbers, (U, 2) uv -> a corner per pair, 2 triangles per quad."""
    pairs = np.stack([quads.ravel(), quads_uv.ravel()], 1).astype(np.int64)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    corners = inverse.reshape(quads.shape)
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).astype(np.int32)
    return Surface(unique[:, 0], uv[unique[:, 1]], triangles)


def used_corners(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) -> (T, 3) renumbered, and (U,) the corners that are used."""
    used, inverse = np.unique(triangles, return_inverse=True)
    return inverse.reshape(triangles.shape).astype(np.int32), used


def make_mesh(
    position_m: np.ndarray,
    triangles: np.ndarray,
    *,
    rows: Sequence[Row],
    normal: np.ndarray | None = None,
    uv: np.ndarray | None = None,
    bone: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    triangle_material: np.ndarray | None = None,
) -> Mesh:
    """A mesh with the right types; left-out arrays are computed (normal), zero (uv) or empty."""
    return Mesh(
        np.ascontiguousarray(position_m, np.float32),
        np.ascontiguousarray(
            vertex_normals(position_m, triangles) if normal is None else normal, np.float32
        ),
        np.zeros((len(position_m), 2), np.float32)
        if uv is None
        else np.ascontiguousarray(uv, np.float32),
        np.zeros((0, 4), np.int32) if bone is None else np.ascontiguousarray(bone, np.int32),
        np.zeros((0, 4), np.float32)
        if weight is None
        else np.ascontiguousarray(weight, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        np.zeros(len(triangles), np.int32)
        if triangle_material is None
        else np.ascontiguousarray(triangle_material, np.int32),
        np.array(rows, np.float32),
    )


def join(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all corners, triangles and materials, renumbered; unused corners stay."""
    corner = np.cumsum([0] + [len(m.position_m) for m in meshes])
    row = np.cumsum([0] + [len(m.materials) for m in meshes])
    return Mesh(
        np.concatenate([m.position_m for m in meshes]),
        np.concatenate([m.normal for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.bone for m in meshes]),
        np.concatenate([m.weight for m in meshes]),
        np.concatenate(
            [m.triangles + np.int32(o) for m, o in zip(meshes, corner[:-1], strict=True)]
        ),
        np.concatenate(
            [m.triangle_material + np.int32(o) for m, o in zip(meshes, row[:-1], strict=True)]
        ),
        np.concatenate([m.materials for m in meshes]),
    )


def without_unused(mesh: Mesh) -> Mesh:
    """The same picture with the corners dropped that no triangle uses."""
    triangles, used = used_corners(mesh.triangles)
    return Mesh(
        mesh.position_m[used], mesh.normal[used], mesh.uv[used], mesh.bone[used],
        mesh.weight[used], triangles, mesh.triangle_material, mesh.materials,
    )  # fmt: skip
