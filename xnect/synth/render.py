"""A scene -> picture, person map and distances.

`renderer` chooses the back end.  `Renderer`, of compiled kernels, runs in one thread of the CPU and
gives the same bytes every time; `xnect.synth.torch_render` draws batches, on a GPU if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from xnect.errors import UnknownName
from xnect.synth.assets import Assets
from xnect.synth.camera import View
from xnect.synth.labels import Labels, label
from xnect.synth.light import shadow_map_from_world
from xnect.synth.mesh import Mesh, join
from xnect.synth.occlusion import ambient_occlusion
from xnect.synth.patterns import wrinkle_map
from xnect.synth.raster import shadow_map, skin, z_buffer
from xnect.synth.scene import Scene, contact_shadows, shadowed_points
from xnect.synth.shade import shade_photo_floor, shade_room, shade_surfaces

NEAR_M = 0.15
FURNITURE = 255  # in the person map; people are 1, 2, ...; 0 is the background
FAR_M = 1000.0  # distance of a photo
BACKENDS = ("cpu", "torch")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One rendered picture with everything that is known about it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    owner: np.ndarray  # (H, W) uint8 person map
    distance_m: np.ndarray  # (H, W) float32 along the ray
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """Everything in the scene as one mesh in world space."""

    rest: Mesh  # positions and normals of the rest shape, for cloth coordinates
    position: np.ndarray  # (C, 3) float32
    normal: np.ndarray  # (C, 3) float32
    triangle_owner: np.ndarray  # (T,) uint8


class Draw(Protocol):
    """What every back end does."""

    def __call__(self, scene: Scene) -> Picture:
        """Draw and label one scene."""

    def pictures(self, scenes: Sequence[Scene]) -> list[Picture]:
        """Draw and label scenes of one size."""


def renderer(
    assets: Assets,
    *,
    backend: str = "cpu",
    device: str = "auto",
    supersampling: int = 2,
    shadow_px: int = 512,
) -> Draw:
    """The renderer of a back end: "cpu" (compiled kernels) or "torch" (batches, any device).

    Raises:
        UnknownName: another back end.
        MissingExtra: the kernels need numba, which is not installed.
    """
    if backend not in BACKENDS:
        raise UnknownName("back end", backend, list(BACKENDS))
    if backend == "cpu":
        return Renderer(assets, supersampling=supersampling, shadow_px=shadow_px)
    import torch

    from xnect.synth.torch_render import TorchRenderer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return TorchRenderer(assets, device=device, supersampling=supersampling, shadow_px=shadow_px)


class Renderer:
    """Draws scenes.  `supersampling` 2 means four samples per pixel."""

    def __init__(self, assets: Assets, *, supersampling: int = 2, shadow_px: int = 512) -> None:
        self._factor, self._shadow_px = supersampling, shadow_px
        self._textures = np.ascontiguousarray(assets.textures)
        self._fabrics = assets.fabrics
        self._tiles = np.ascontiguousarray(assets.room_tiles)
        self._tile_means = (assets.room_tiles.mean((1, 2)) / 255).astype(np.float32)
        self._wrinkles = wrinkle_map()

    def __call__(self, scene: Scene) -> Picture:
        """Draw and label one scene."""
        k, camera = self._factor, scene.view.camera
        world, points = _assemble(scene), scene.points_m
        eye = eye_table(scene.view, k)
        focal, cx, cy = (float(x) for x in eye[4])
        shape = (camera.height_px * k, camera.width_px * k)
        seen = scene.view.to_camera(world.position)
        inverse = np.where(seen[:, 2] > NEAR_M, 1 / np.maximum(seen[:, 2], NEAR_M), 0)
        xy = seen[:, :2] * inverse[:, None] * focal + (cx, cy)
        screen = np.concatenate([xy, inverse[:, None]], 1).astype(np.float32)
        inverse_depth, triangle_id = np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
        mesh = world.rest
        z_buffer(screen, mesh.triangles, mesh.triangle_material, mesh.materials, mesh.uv,
                 self._textures, inverse_depth, triangle_id)  # fmt: skip
        image, owner, distance = self._shade(scene, world, points, screen, triangle_id, eye)
        if k > 1:
            size = (camera.width_px, camera.height_px)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        owner, distance = owner[k // 2 :: k, k // 2 :: k], distance[k // 2 :: k, k // 2 :: k]
        labels = label(points, scene.view, owner=owner, distance_m=distance)
        return Picture(image.astype(np.uint8), owner.copy(), distance.copy(), labels)

    def pictures(self, scenes: Sequence[Scene]) -> list[Picture]:
        """Draw and label scenes, one after the other."""
        return [self(scene) for scene in scenes]

    def _shade(
        self,
        scene: Scene,
        world: _World,
        points: np.ndarray,
        screen: np.ndarray,
        triangle_id: np.ndarray,
        eye: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (h, w, 3) float32, owner and distance (h, w) at the size of the samples."""
        mesh, light, exposure = world.rest, scene.light.table, scene.light.exposure
        shadow, light_matrix = self._shadow(scene, world, points)
        contacts, shape = contact_shadows(points), triangle_id.shape
        owner, distance = np.zeros(shape, np.uint8), np.full(shape, FAR_M, np.float32)
        image = np.zeros((*shape, 3), np.float32)
        if scene.photo is not None and scene.room is None:
            image = cv2.resize(scene.photo, shape[::-1]).astype(np.float32)
            strength = scene.light.floor_shadow
            shade_photo_floor(triangle_id, image, shadow, light_matrix, eye, contacts, strength)
        if scene.room is not None:
            room, empty = scene.room, triangle_id
            if scene.photo is not None:
                floor = floor_share(room.reach_m, shape, eye)
                empty = np.where(floor > 0, triangle_id, 0)  # no ray where the photo will be
            shade_room(empty, image, distance, room.low_m.astype(np.float32),
                       room.high_m.astype(np.float32), room.tiles.astype(np.int64),
                       room.tiles_per_m.astype(np.float32), self._tiles, self._tile_means,
                       shadow, light_matrix, light, eye, contacts, exposure)  # fmt: skip
            if scene.photo is not None:
                backdrop = cv2.resize(scene.photo, shape[::-1]).astype(np.float32)
                image = backdrop + floor[..., None] * (image - backdrop)
                distance[floor <= 0.5] = FAR_M
        shade_surfaces(triangle_id, image, owner, distance, mesh.triangles,
                       mesh.triangle_material, world.triangle_owner, mesh.materials,
                       mesh.position_m, mesh.normal, mesh.uv, world.position, world.normal,
                       screen, self._textures, self._fabrics, self._wrinkles, self._tiles,
                       self._tile_means, shadow, light_matrix, light, eye, exposure)  # fmt: skip
        light = ambient_occlusion(distance, focal_px=float(eye[4, 0]), factor=self._factor)
        image *= light[..., None]
        return image, owner, distance

    def _shadow(
        self, scene: Scene, world: _World, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depth map (s, s) of the key light and the (3, 4) matrix into it."""
        size = self._shadow_px
        shadow = np.full((size, size), 1e6, np.float32)
        matrix = shadow_map_from_world(scene.light.key_direction, shadowed_points(scene, points))
        matrix = (matrix * [[size], [size], [1]]).astype(np.float32)
        at = np.ascontiguousarray(world.position @ matrix[:, :3].T + matrix[:, 3])
        shadow_map(at, world.rest.triangles, shadow)
        return shadow, matrix


def eye_table(view: View, factor: int) -> np.ndarray:
    """(5, 3) float32 rows for the kernels, of a picture `factor` times as large; see `shade`."""
    camera, k = view.camera, factor
    inner = np.array([k * camera.fx_px, k * (camera.cx_px + 0.5), k * (camera.cy_px + 0.5)])
    return np.vstack([view.camera_from_world, view.position_m, inner]).astype(np.float32)


def floor_share(reach_m: float, shape: tuple[int, ...], eye: np.ndarray) -> np.ndarray:
    """(h, w) float32: 1 on the floor, 0 above it, fading out towards `reach_m` of depth."""
    height, width = shape
    x = (np.arange(width, dtype=np.float32) + 0.5 - eye[4, 1]) / eye[4, 0]
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - eye[4, 2]) / eye[4, 0]
    down = -(eye[0, 1] * x + eye[1, 1] * y + eye[2, 1])
    depth_m = np.where(down > 1e-3, eye[3, 1] / np.maximum(down, 1e-3), np.inf)
    return np.clip((reach_m - depth_m) / (0.15 * reach_m), 0, 1).astype(np.float32)


def _assemble(scene: Scene) -> _World:
    """Skin everybody and what they carry, and add the furniture."""
    meshes = [p.mesh for p in scene.people] + [mesh for _, mesh in scene.carried]
    who = [*range(len(scene.people)), *(person for person, _ in scene.carried)]
    meshes += [scene.furniture] if scene.furniture is not None else []
    if not meshes:
        meshes = [_nothing()]
    rest = join(meshes)
    position, normal = rest.position_m.copy(), rest.normal.copy()
    start, owner = 0, []
    for number, mesh in enumerate(meshes):
        stop = start + len(mesh.position_m)
        if number < len(who):
            skin(mesh.position_m, mesh.normal, mesh.bone, mesh.weight,
                 scene.matrices[who[number]].astype(np.float32),
                 position[start:stop], normal[start:stop])  # fmt: skip
        own = number + 1 if number < len(scene.people) else FURNITURE
        owner.append(np.full(len(mesh.triangles), own, np.uint8))
        start = stop
    return _World(rest, position, normal, np.concatenate(owner))


def _nothing() -> Mesh:
    """A mesh of the right types without triangles."""
    return Mesh(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 2), np.float32),
        np.zeros((0, 4), np.int32), np.zeros((0, 4), np.float32), np.zeros((0, 3), np.int32),
        np.zeros(0, np.int32), np.zeros((1, 11), np.float32),
    )  # fmt: skip
