"""The renderer in torch: batches of scenes on a GPU, or on the CPU to hold it against the kernels.

`TorchRenderer(scene)` gives what `xnect.synth.render.Renderer` gives; `draw(scenes)` leaves the
pictures on the device, for training that renders as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xnect.errors import BadInput
from xnect.synth.assets import Assets
from xnect.synth.labels import label
from xnect.synth.light import shadow_map_from_world
from xnect.synth.materials import ALPHA, TEXTURE
from xnect.synth.mesh import Mesh
from xnect.synth.occlusion import BIAS_M, GAIN, PAIRS, RINGS_M, STRENGTH
from xnect.synth.patterns import wrinkle_map
from xnect.synth.render import FAR_M, FURNITURE, NEAR_M, Picture, eye_table
from xnect.synth.scene import Scene, contact_shadows, shadowed_points
from xnect.synth.torch_raster import shadow_maps, skin, z_buffer
from xnect.synth.torch_shade import (
    Library,
    Lights,
    Surfaces,
    rays,
    shade_photo_floor,
    shade_room,
    shade_surfaces,
)

MOST_MESHES = 400
"""Meshes kept on the device: about 1 MB each."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """B pictures of one size on the device."""

    image: Tensor  # (B, H, W, 3) float32 0..255
    owner: Tensor  # (B, H, W) uint8 person map
    distance_m: Tensor  # (B, H, W) float32 along the ray


@dataclass(frozen=True, slots=True, eq=False)
class _OnDevice:
    mesh: Mesh  # kept so that its id stays its own
    position: Tensor
    normal: Tensor
    uv: Tensor
    bone: Tensor
    weight: Tensor
    triangles: Tensor
    material: Tensor
    materials: Tensor


class TorchRenderer:
    """Draws scenes with torch.  `supersampling` 2 means four samples per pixel."""

    def __init__(
        self,
        assets: Assets,
        *,
        device: str | torch.device = "cpu",
        supersampling: int = 2,
        shadow_px: int = 512,
    ) -> None:
        self.device = torch.device(device)
        self._factor, self._shadow_px = supersampling, shadow_px
        self._library = Library(
            self._to(assets.textures),
            self._to(assets.fabrics),
            self._to(assets.room_tiles),
            self._to((assets.room_tiles.mean((1, 2)) / 255).astype(np.float32)),
            self._to(wrinkle_map()),
        )
        self._meshes: dict[int, _OnDevice] = {}

    def __call__(self, scene: Scene) -> Picture:
        """Draw and label one scene."""
        return self.pictures([scene])[0]

    def pictures(self, scenes: Sequence[Scene]) -> list[Picture]:
        """Draw and label scenes of one size."""
        drawn = self.draw(scenes)
        images = drawn.image.clamp(0, 255).to(torch.uint8).cpu().numpy()
        owners, distances = drawn.owner.cpu().numpy(), drawn.distance_m.cpu().numpy()
        return [
            Picture(i, o, d, label(s.points_m, s.view, owner=o, distance_m=d))
            for s, i, o, d in zip(scenes, images, owners, distances, strict=True)
        ]

    @torch.no_grad()  # not inference mode: training uses these pictures
    def draw(self, scenes: Sequence[Scene]) -> Drawn:
        """Pictures, person maps and distances of scenes of one size.

        Raises:
            BadInput: no scene, or pictures of several sizes.
        """
        sizes = {(s.view.camera.height_px, s.view.camera.width_px) for s in scenes}
        if len(sizes) != 1:
            raise BadInput(f"a batch needs scenes of one size, got {sorted(sizes)}")
        ((height, width),) = sizes
        k = self._factor
        hw = (height * k, width * k)
        eye = self._to(np.stack([eye_table(s.view, k) for s in scenes]))
        surfaces, picture = self._assemble(scenes, eye)
        lights = self._lights(scenes, surfaces, picture, eye)
        rows = surfaces.materials[surfaces.material]
        triangle = z_buffer(
            surfaces.screen, surfaces.triangles, picture, rows[:, ALPHA].contiguous(),
            rows[:, TEXTURE].long(), surfaces.uv, self._library.textures,
            pictures=len(scenes), height=hw[0], width=hw[1],
        )  # fmt: skip
        image, owner, distance = self._shade(scenes, triangle, surfaces, lights)
        focal = lights.eye[:, 4, 0]
        image = image * _ambient_occlusion(distance, focal, k)[..., None]
        if k > 1:
            image = F.avg_pool2d(image.movedim(3, 1), k).movedim(1, 3)
            owner, distance = (x[:, k // 2 :: k, k // 2 :: k] for x in (owner, distance))
        return Drawn(image, owner.contiguous(), distance.contiguous())

    def _to(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _mesh(self, mesh: Mesh) -> _OnDevice:
        key = id(mesh)
        if key not in self._meshes:
            if len(self._meshes) >= MOST_MESHES:
                self._meshes.clear()
            self._meshes[key] = _OnDevice(
                mesh, self._to(mesh.position_m), self._to(mesh.normal), self._to(mesh.uv),
                self._to(mesh.bone).long(), self._to(mesh.weight), self._to(mesh.triangles).long(),
                self._to(mesh.triangle_material).long(), self._to(mesh.materials),
            )  # fmt: skip
        return self._meshes[key]

    def _assemble(self, scenes: Sequence[Scene], eye: Tensor) -> tuple[Surfaces, Tensor]:
        """Everything of all scenes, posed, and (T,) the scene of each triangle."""
        parts: list[_OnDevice] = []
        position, normal, triangles, material, owner, scene_of, corner_scene = (
            [], [], [], [], [], [], []
        )  # fmt: skip
        corner = row = 0
        for b, scene in enumerate(scenes):
            matrices = self._to(scene.matrices.astype(np.float32))
            meshes = [(m.mesh, n, n + 1) for n, m in enumerate(scene.people)]
            meshes += [(mesh, n, FURNITURE) for n, mesh in scene.carried]
            meshes += [(scene.furniture, -1, FURNITURE)] if scene.furniture is not None else []
            for mesh, person, number in meshes:
                part = self._mesh(mesh)
                parts.append(part)
                p, n = part.position, part.normal
                if person >= 0:
                    p, n = skin(p, n, part.bone, part.weight, matrices[person])
                position.append(p)
                normal.append(n)
                triangles.append(part.triangles + corner)
                material.append(part.material + row)
                count = len(part.triangles)
                owner.append(torch.full((count,), number, dtype=torch.uint8, device=self.device))
                scene_of.append(torch.full((count,), b, device=self.device))
                corner_scene.append(torch.full((len(p),), b, device=self.device))
                corner += len(p)
                row += len(part.materials)

        def joined(tensors: Sequence[Tensor], empty: Tensor) -> Tensor:
            return torch.cat([empty, *tensors])

        real, whole = (
            torch.zeros(0, dtype=kind, device=self.device) for kind in (torch.float32, torch.int64)
        )
        place = joined(position, real.reshape(0, 3))
        of = joined(corner_scene, whole)
        seen = (eye[of, :3] @ (place - eye[of, 3])[..., None])[..., 0]
        near = seen[:, 2] > NEAR_M
        inverse = torch.where(near, 1 / seen[:, 2].clamp(min=NEAR_M), 0.0)
        xy = seen[:, :2] * (inverse * eye[of, 4, 0])[:, None] + eye[of, 4, 1:]
        surfaces = Surfaces(
            triangles=joined(triangles, whole.reshape(0, 3)),
            material=joined(material, whole),
            owner=joined(owner, whole.to(torch.uint8)),
            materials=joined([p.materials for p in parts], real.reshape(0, 11)),
            rest=joined([p.position for p in parts], real.reshape(0, 3)),
            rest_normal=joined([p.normal for p in parts], real.reshape(0, 3)),
            uv=joined([p.uv for p in parts], real.reshape(0, 2)),
            position=place,
            normal=joined(normal, real.reshape(0, 3)),
            screen=torch.cat([xy, inverse[:, None]], 1),
        )
        return surfaces, joined(scene_of, whole)

    def _lights(
        self, scenes: Sequence[Scene], surfaces: Surfaces, picture: Tensor, eye: Tensor
    ) -> Lights:
        size = self._shadow_px
        points = [s.points_m for s in scenes]
        matrices = np.stack([
            shadow_map_from_world(s.light.key_direction, shadowed_points(s, p))
            * [[size], [size], [1]]
            for s, p in zip(scenes, points, strict=True)
        ])  # fmt: skip
        matrix = self._to(matrices.astype(np.float32))
        of = torch.zeros(len(surfaces.position), dtype=torch.int64, device=self.device)
        of[surfaces.triangles.reshape(-1)] = picture.repeat_interleave(3)
        m = matrix[of]
        at = (m[..., :3] @ surfaces.position[..., None])[..., 0] + m[..., 3]
        shadow = shadow_maps(at, surfaces.triangles, picture, pictures=len(scenes), size=size)
        spots = [contact_shadows(p) for p in points]
        table = np.zeros((len(scenes), max(1, *(len(s) for s in spots)), 4), np.float32)
        table[..., 2] = 1  # a radius of nothing would divide by zero
        for b, rows in enumerate(spots):
            table[b, : len(rows)] = rows
        lights = [s.light for s in scenes]
        return Lights(
            table=self._to(np.stack([x.table for x in lights])),
            exposure=self._to(np.array([x.exposure for x in lights], np.float32)),
            shadow=shadow,
            matrix=matrix,
            eye=eye,
            contacts=self._to(table),
            floor_shadow=self._to(np.array([x.floor_shadow for x in lights], np.float32)),
        )

    def _shade(
        self, scenes: Sequence[Scene], triangle: Tensor, surfaces: Surfaces, lights: Lights
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = triangle.shape
        image = torch.zeros((*shape, 3), device=self.device)
        owner = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        distance = torch.full(shape, FAR_M, device=self.device)
        empty = triangle < 0
        closed = self._to(np.array([s.room is not None for s in scenes]))
        photos = [b for b, s in enumerate(scenes) if s.photo is not None]
        backdrop = {b: self._photo(scenes[b], shape[1:]) for b in photos}
        on_photo = torch.nonzero(empty & ~closed[:, None, None])
        if len(on_photo):
            for b, photo in backdrop.items():
                if scenes[b].room is None:
                    image[b] = photo
            of, row, column = on_photo.T
            image[of, row, column] *= shade_photo_floor(of, row, column, lights)[:, None]
        in_room = torch.nonzero(empty & closed[:, None, None])
        if len(in_room):
            of, row, column = in_room.T
            rooms = self._rooms(scenes)
            colour, far = shade_room(of, row, column, *rooms, lights, self._library)
            image[of, row, column], distance[of, row, column] = colour, far
            for b, photo in backdrop.items():
                room = scenes[b].room
                if room is not None:
                    _put_before(photo, room.reach_m, image[b], distance[b], lights.eye[b])
        of, row, column = torch.nonzero(~empty).T
        if len(of):
            hit = triangle[of, row, column]
            colour, far = shade_surfaces(of, row, column, hit, surfaces, lights, self._library)
            image[of, row, column], distance[of, row, column] = colour, far
            owner[of, row, column] = surfaces.owner[hit]
        return image, owner, distance

    def _photo(self, scene: Scene, hw: torch.Size) -> Tensor:
        """(H, W, 3) 0..255."""
        assert scene.photo is not None
        photo = self._to(scene.photo).float().movedim(2, 0)[None]
        if photo.shape[2:] != hw:
            photo = F.interpolate(photo, tuple(hw), mode="bilinear", align_corners=False)
        return photo[0].movedim(0, 2)

    def _rooms(self, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3) low and high corners, tiles and their scale; zeros where there is no room."""
        low, high, tiles, scale = (np.zeros((len(scenes), 3), np.float32) for _ in range(4))
        for b, scene in enumerate(scenes):
            if scene.room is not None:
                room = scene.room
                low[b], high[b] = room.low_m, room.high_m
                tiles[b], scale[b] = room.tiles, room.tiles_per_m
        return self._to(low), self._to(high), self._to(tiles).long(), self._to(scale)


def _put_before(
    photo: Tensor, reach_m: float, image: Tensor, distance_m: Tensor, eye: Tensor
) -> None:
    """Fade the floor of one picture (H, W, 3) out into the photo towards `reach_m`, in place."""
    height, width = distance_m.shape
    row, column = torch.meshgrid(
        torch.arange(height, device=image.device), torch.arange(width, device=image.device),
        indexing="ij",
    )  # fmt: skip
    down = -rays(eye[None], column.reshape(-1), row.reshape(-1))[:, 1].reshape(height, width)
    depth_m = torch.where(down > 1e-3, eye[3, 1] / down.clamp(min=1e-3), torch.inf)
    floor = ((reach_m - depth_m) / (0.15 * reach_m)).clamp(0, 1)[..., None]
    image.copy_(image * floor + photo * (1 - floor))
    distance_m.copy_(torch.where(floor[..., 0] > 0.5, distance_m, FAR_M))


def _ambient_occlusion(distance_m: Tensor, focal_px: Tensor, factor: int) -> Tensor:
    """(B, H, W) m and (B,) px -> (B, H, W); as `xnect.synth.occlusion` does it."""
    pictures, height, width = distance_m.shape
    step = 2 * factor
    h, w = max(height // step, 1), max(width // step, 1)
    device = distance_m.device
    rows = torch.arange(h, device=device) * height // h
    columns = torch.arange(w, device=device) * width // w
    small = distance_m[:, rows][:, :, columns]
    typical = [
        float(np.median(x[x < 50])) if (x < 50).any() else 5.0 for x in small.cpu().numpy()
    ]  # torch's median takes the lower of two
    reach = focal_px / step / torch.tensor(typical, device=device)
    b = torch.arange(pictures, device=device)[:, None, None]
    row, column = torch.arange(h, device=device), torch.arange(w, device=device)

    def shifted(dx: Tensor, dy: Tensor) -> Tensor:
        y = (row + dy[:, None]).clamp(0, h - 1)
        x = (column + dx[:, None]).clamp(0, w - 1)
        return small[b, y[:, :, None], x[:, None]]

    taken = torch.zeros_like(small)
    for ring_m in RINGS_M:
        radius = (reach * ring_m).clamp(1, 24)
        limit = 1.5 * ring_m
        for k in range(PAIRS):
            angle = np.pi * (k + 0.5 * (ring_m == RINGS_M[0])) / PAIRS
            dx = torch.round(radius * float(np.cos(angle))).long()
            dy = torch.round(radius * float(np.sin(angle))).long()
            one, two = small - shifted(dx, dy), small - shifted(-dx, -dy)
            both = (one.abs() < limit) & (two.abs() < limit)
            hollow = torch.where(both, (one + two) / 2, 0.0)
            taken += ((hollow - BIAS_M) / ring_m).clamp(0, 1)
    taken = taken / (PAIRS * len(RINGS_M))
    x = torch.arange(-4, 5, device=device, dtype=torch.float32)
    kernel = torch.exp(-(x**2) / 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(taken[:, None], (4, 4, 4, 4), mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernel.reshape(1, 1, 1, 9)), kernel.reshape(1, 1, 9, 1))
    light = 1 - STRENGTH * (GAIN * blurred).clamp(0, 1)
    out = F.interpolate(light, (height, width), mode="bilinear", align_corners=False)[:, 0]
    return torch.where(distance_m < 100, out, 1.0)
