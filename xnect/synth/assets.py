"""The asset pack in memory: bodies, clothes, textures, tiles, photos and motion.

The pack is a folder with its own README (formats, sources, licences: CC0 but for the CMU and
DeepMimic motion and the CC BY photos).  Nothing else in `xnect.synth` reads it.
World axes: x to the person's left, y up, z to the front; metres.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from xnect.errors import BadInput
from xnect.synth.mesh import Surface, surface
from xnect.synth.patterns import fabric_library

N_BODY = 13380  # vertices of the skin; the later ones belong to helper meshes
CLOTHES_FIELDS = ("bind_index", "bind_weight", "bind_offset", "skin_bone", "skin_weight",
                  "component", "corner_control", "corner_uv", "triangles")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class BodySpace:
    """The shape space of bodies and the rig that moves them (V = 19158 vertices, 31 bones)."""

    mean_m: np.ndarray  # (V, 3)
    components_m: np.ndarray  # (64, V, 3) per unit of coefficient
    coefficients: np.ndarray  # (1200, 64) of the sampled bodies
    meta: tuple[Mapping[str, float], ...]  # how each sampled body was drawn
    skin_bone: np.ndarray  # (V, 4) int32
    skin_weight: np.ndarray  # (V, 4) float32, sums to 1
    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]  # parents come first; -1 = root
    head_vertices: tuple[np.ndarray, ...]  # a bone's head is the mean of these vertices
    tail_vertices: tuple[np.ndarray, ...]
    landmarks: Mapping[str, np.ndarray]  # name -> vertices whose mean it is
    surfaces: Mapping[str, Surface]  # body, tights, skirt

    def bone(self, name: str) -> int:
        """Number of a bone of the rig."""
        return self.bone_names.index(name)


@dataclass(frozen=True, slots=True, eq=False)
class Garment:
    """A fitted item: outfit, hat, shoes, hair, brow or eyes (N control vertices)."""

    name: str
    kind: str
    gender: str
    texture: str | None
    ao: str | None
    alternative_textures: tuple[str, ...]
    scale_refs: Mapping[str, tuple[int, int, float]]
    hidden: np.ndarray  # body vertices under it
    bind_index: np.ndarray  # (N, 3) base vertices
    bind_weight: np.ndarray  # (N, 3)
    bind_offset: np.ndarray  # (N, 3), times the scale
    skin_bone: np.ndarray  # (N, 4)
    skin_weight: np.ndarray  # (N, 4) uint8, sums to 255
    component: np.ndarray  # (N,) connected piece
    corner_control: np.ndarray  # (C,)
    corner_uv: np.ndarray  # (C, 2)
    triangles: np.ndarray  # (T, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Continuous clips at 30 Hz (N frames, 21 moving bones)."""

    rotation: np.ndarray  # (N, 21, 4) int16: 32767 times xyzw, of each bone in the world
    bone_names: tuple[str, ...]
    rig_source: np.ndarray  # (31,) moving bone that each rig bone follows
    root_m: np.ndarray  # (N, 3) middle of the hip joints of the reference body
    lift_m: np.ndarray  # (N,) height of the lowest point above the floor
    start: np.ndarray  # (clips,) first frame
    length: np.ndarray  # (clips,)
    name: np.ndarray  # (clips,) str
    source: np.ndarray
    action: np.ndarray
    group: np.ndarray  # for hold-out splits
    leg_length_m: float  # thigh + shin of the reference body


@dataclass(frozen=True, slots=True, eq=False)
class Assets:
    """Everything but the photos in memory, about 120 MB at 256 px textures."""

    folder: Path
    body: BodySpace
    garments: tuple[Garment, ...]
    motion: Motion
    texture_names: tuple[str, ...]
    texture_info: Mapping[str, Mapping[str, Any]]
    textures: np.ndarray  # (T, s, s, 4) uint8 RGBA, row 0 is v = 0
    fabrics: np.ndarray  # (F, 128, 128, 3) uint8
    room_tiles: np.ndarray  # (R, 128, 128, 3) uint8
    room_kinds: tuple[str, ...]  # of each room tile
    photos: tuple[Mapping[str, Any], ...]  # entries of backgrounds.json

    def garments_of(self, kind: str, *, textured: bool = True) -> list[Garment]:
        """All garments of a kind; those without a texture only on request."""
        return [g for g in self.garments if g.kind == kind and (g.texture or not textured)]

    def texture(self, name: str | None) -> int:
        """Number of a texture, -1 for none."""
        return -1 if name is None else self.texture_names.index(name)

    def tiles_of(self, kinds: Sequence[str]) -> np.ndarray:
        """(n,) numbers of the room tiles of these kinds."""
        return np.array([i for i, kind in enumerate(self.room_kinds) if kind in kinds])

    def photo(self, entry: Mapping[str, Any]) -> np.ndarray:
        """(H, W, 3) uint8 RGB picture without people."""
        return _read_rgb(self.folder / "backgrounds" / entry["file"])


def load_assets(folder: str | Path, *, texture_px: int = 256) -> Assets:
    """Read the pack.

    Raises:
        BadInput: the folder is not an asset pack.
    """
    folder = Path(folder)
    for name in ("body.npz", "clothes.npz", "clothes.json", "motion.npz", "textures.json"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder} is no asset pack: {name} is missing; give the folder "
                           "that holds body.npz, clothes.npz and motion.npz")  # fmt: skip
    try:
        return _load(folder, texture_px)
    except (KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"the asset pack in {folder} is damaged or incomplete: {error}") from error


def _load(folder: Path, texture_px: int) -> Assets:
    info = _json(folder / "textures.json")
    names = tuple(sorted(info))
    room_files = sorted((folder / "rooms").glob("*.jpg"))
    fabrics = np.stack([_read_rgb(f) for f in sorted((folder / "fabrics").glob("*.jpg"))])
    return Assets(
        folder=folder,
        body=_body(folder / "body.npz"),
        garments=_garments(folder),
        motion=_motion(folder / "motion.npz"),
        texture_names=names,
        texture_info=info,
        textures=np.stack([_texture(folder / "textures" / n, texture_px) for n in names]),
        fabrics=fabric_library(fabrics),
        room_tiles=np.stack([_read_rgb(f) for f in room_files]),
        room_kinds=tuple(f.name.rsplit("_", 1)[0] for f in room_files),
        photos=tuple(_json(folder / "backgrounds.json")),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_rgb(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadInput(f"{path} is not a readable picture; the asset pack is incomplete")
    return np.ascontiguousarray(image[..., ::-1])


def _texture(path: Path, size_px: int) -> np.ndarray:
    """(s, s, 4) uint8 RGBA, flipped so that row 0 is v = 0."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadInput(f"{path} is not a readable picture; the asset pack is incomplete")
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    elif image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[::-1, :, [2, 1, 0, 3]])


def _body(path: Path) -> BodySpace:
    with np.load(path, allow_pickle=False) as z:
        rows = {k: tuple(r[r >= 0] for r in z[k]) for k in
                ("bone_head_vertices", "bone_tail_vertices", "landmark_vertices")}  # fmt: skip
        meta_names = [str(n) for n in z["meta_names"]]
        landmark_names = [str(n) for n in z["landmark_names"]]
        uv = z["uv"]
        return BodySpace(
            mean_m=z["mean"],
            components_m=z["components"].astype(np.float32) * z["component_scale"][:, None, None],
            coefficients=z["coefficients"],
            meta=tuple(dict(zip(meta_names, map(float, r), strict=True)) for r in z["meta"]),
            skin_bone=z["skin_bone"].astype(np.int32),
            skin_weight=z["skin_weight"].astype(np.float32) / 255,
            bone_names=tuple(str(n) for n in z["bone_names"]),
            bone_parents=tuple(int(p) for p in z["bone_parents"]),
            head_vertices=rows["bone_head_vertices"],
            tail_vertices=rows["bone_tail_vertices"],
            landmarks=dict(zip(landmark_names, rows["landmark_vertices"], strict=True)),
            surfaces={
                part: surface(z[f"{part}_quads"], z[f"{part}_quads_uv"], uv)
                for part in ("body", "tights", "skirt")
            },
        )


def _garments(folder: Path) -> tuple[Garment, ...]:
    with np.load(folder / "clothes.npz", allow_pickle=False) as z:
        return tuple(
            Garment(
                name=item["name"],
                kind=item["kind"],
                gender=item.get("gender") or "",
                texture=item["texture"],
                ao=item.get("ao"),
                alternative_textures=tuple(item.get("alternative_textures") or ()),
                scale_refs={k: tuple(v) for k, v in item["scale_refs"].items()},
                hidden=z[f"{item['name']}.deleted_body_vertices"],
                **{f: z[f"{item['name']}.{f}"] for f in CLOTHES_FIELDS},
            )
            for item in _json(folder / "clothes.json")
        )


def _motion(path: Path) -> Motion:
    with np.load(path, allow_pickle=False) as z:
        return Motion(
            rotation=z["rotation"],
            bone_names=tuple(str(n) for n in z["bone_names"]),
            rig_source=z["rig_bone_source"].astype(int),
            root_m=z["root"],
            lift_m=z["lift"].astype(np.float32),
            start=z["clip_start"],
            length=z["clip_length"],
            name=z["clip_name"],
            source=z["clip_source"],
            action=z["clip_action"],
            group=z["clip_group"],
            leg_length_m=float(z["reference_leg_length"]),
        )
