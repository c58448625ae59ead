"""Random people: body shape, skin, clothes and hair, merged into one skinned mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from xnect.synth.assets import N_BODY, Assets, BodySpace, Garment
from xnect.synth.garments import cut_outfit, fitted, outfit, random_colour
from xnect.synth.labels import RAW
from xnect.synth.materials import Row, material
from xnect.synth.mesh import Mesh, join, make_mesh, vertex_normals, without_unused

HAIR_COLOURS = np.array([
    [0.05, 0.04, 0.035], [0.11, 0.07, 0.045], [0.22, 0.14, 0.08], [0.45, 0.33, 0.18],
    [0.6, 0.5, 0.32], [0.4, 0.16, 0.07], [0.45, 0.45, 0.45], [0.75, 0.74, 0.72],
])  # fmt: skip
HAIR_SHARES = (0.28, 0.22, 0.16, 0.1, 0.07, 0.05, 0.07, 0.05)
HAT_SHARE = 0.12  # of people with short hair
ADULT_AGE = 0.42  # of MakeHuman's age scale: 0.19 is about 10 years, 0.5 is 25

_BONE_OF = {
    "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot",
}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A clothed body in its rest shape."""

    mesh: Mesh
    heads_m: np.ndarray  # (31, 3) heads of the bones
    raw_bone: np.ndarray  # (29,) bone that each labelled point moves with
    raw_rest_m: np.ndarray  # (29, 3) labelled points of the rest shape
    leg_length_m: float  # thigh + shin
    stature_m: float
    outfit: str
    meta: Mapping[str, float]  # gender 0 female .. 1 male, age, ...


def world_points(person: Person, matrices: np.ndarray) -> np.ndarray:
    """(..., 31, 3, 4) -> (..., 29, 3) m: the labelled points in the world."""
    m = matrices[..., person.raw_bone, :, :]
    return np.einsum("...jab,jb->...ja", m[..., :3], person.raw_rest_m) + m[..., 3]


def random_shape(
    body: BodySpace, rng: np.random.Generator
) -> tuple[np.ndarray, float, Mapping[str, float]]:
    """Rest vertices (19158, 3) m, stature and how the body was drawn.

    The stature is drawn anew, because MakeHuman's range is wider than people are.
    """
    number = rng.integers(len(body.coefficients))
    shape = body.mean_m + np.tensordot(body.coefficients[number], body.components_m, 1)
    meta = body.meta[number]
    if meta["age"] < ADULT_AGE:
        stature = np.clip(rng.normal(1.35, 0.15), 1.0, 1.65)
    else:
        mean = 1.76 if meta["gender"] > 0.5 else 1.63
        stature = np.clip(rng.normal(mean, 0.075), 1.45, 2.02)
    scale = stature / np.ptp(shape[:N_BODY, 1])
    return (shape * scale).astype(np.float32), float(stature), meta


def random_person(assets: Assets, rng: np.random.Generator) -> Person:
    """Draw one person."""
    body = assets.body
    vertices, stature, meta = random_shape(body, rng)
    heads, tails = (
        np.stack([vertices[rows].mean(0) for rows in table])
        for table in (body.head_vertices, body.tail_vertices)
    )
    male = meta["gender"] > 0.5
    parts, hidden, name = _clothes(assets, rng, vertices, heads, male=male)
    if rng.random() < 0.92:
        parts.append(_shoes(assets, rng, vertices, hidden))
    parts.append(_skin(assets, rng, vertices, hidden, meta=meta))
    parts += _face_and_hair(assets, rng, vertices, male=male)
    raw_bone, raw_rest = _raw_points(body, vertices, heads, tails)
    leg = np.mean([
        np.linalg.norm(heads[body.bone(s + a)] - heads[body.bone(s + b)])
        for s in ("Left", "Right") for a, b in (("UpLeg", "Leg"), ("Leg", "Foot"))
    ])  # fmt: skip
    mesh = without_unused(join(parts))
    return Person(mesh, heads, raw_bone, raw_rest, 2 * float(leg), stature, name, meta)


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _clothes(
    assets: Assets, rng: np.random.Generator, vertices: np.ndarray, heads: np.ndarray, *, male: bool
) -> tuple[list[Mesh], np.ndarray, str]:
    """Parts, (19158,) bool skin under them, and the name of the outfit."""
    hidden = np.zeros(len(vertices), bool)
    if rng.random() < 0.5:
        choice = assets.garments_of("outfit", textured=False)
        if rng.random() < 0.9:
            choice = [g for g in choice if (g.gender == "male") == male]
        garment = _pick(rng, choice)
        hidden[garment.hidden] = True
        return [outfit(assets, rng, garment, vertices)], hidden, garment.name
    parts, cover = cut_outfit(assets, rng, vertices, heads, male=male)
    hidden[:N_BODY] |= cover
    return parts, hidden, "cut"


def _shoes(
    assets: Assets, rng: np.random.Generator, vertices: np.ndarray, hidden: np.ndarray
) -> Mesh:
    """Shoes; marks the skin that they hide."""
    shoes = _pick(rng, assets.garments_of("shoes"))
    tint = random_colour(rng) * 1.2 if rng.random() < 0.5 else np.ones(3)
    recolour = float(rng.random() < 0.4)
    hidden[shoes.hidden] = True
    return _dressed(assets, shoes, vertices, tint=tint, recolour=recolour)


def _dressed(
    assets: Assets,
    garment: Garment,
    vertices: np.ndarray,
    *,
    tint: np.ndarray,
    recolour: float = 1.0,
    alpha: float = 0.0,
) -> Mesh:
    """A garment of one material with its own texture."""
    row = material(
        texture=assets.texture(garment.texture), tint=tint, recolour=recolour, alpha=alpha
    )
    return fitted(garment, vertices, rows=[row])


def _skin(
    assets: Assets,
    rng: np.random.Generator,
    vertices: np.ndarray,
    hidden: np.ndarray,
    *,
    meta: Mapping[str, float],
) -> Mesh:
    """The body without the triangles whose three corners are under clothes."""
    body, mesh = assets.body, assets.body.surfaces["body"]
    normal = vertex_normals(vertices[:N_BODY], mesh.vertex[mesh.triangles])
    bare = ~hidden[mesh.vertex][mesh.triangles].all(1)
    return make_mesh(
        vertices[mesh.vertex],
        mesh.triangles[bare],
        rows=[_skin_material(assets, rng, meta)],
        normal=normal[mesh.vertex],
        uv=mesh.uv,
        bone=body.skin_bone[mesh.vertex],
        weight=body.skin_weight[mesh.vertex],
    )


def _skin_material(assets: Assets, rng: np.random.Generator, meta: Mapping[str, float]) -> Row:
    """Skin by gender, tone by ancestry, and a random tint."""
    skins = {n: i for n, i in assets.texture_info.items() if i["kind"] == "skin"}
    if rng.random() < 0.9:
        gender = "male" if meta["gender"] > 0.5 else "female"
        skins = {n: i for n, i in skins.items() if i["gender"] == gender}
    dark = rng.random() < np.clip(meta["race_african"] * 1.1, 0.05, 0.95)
    choice = sorted(n for n, i in skins.items() if i["tone"] == ("dark" if dark else "light"))
    tint = rng.uniform(0.8, 1.12) * rng.uniform(0.95, 1.05, 3)
    return material(texture=assets.texture(_pick(rng, choice)), tint=tint)


def _face_and_hair(
    assets: Assets, rng: np.random.Generator, vertices: np.ndarray, *, male: bool
) -> list[Mesh]:
    """Eyes, brows, and mostly hair."""
    eyes = assets.garments_of("eye")[0]
    texture = _pick(rng, [eyes.texture] * 8 + list(eyes.alternative_textures))
    row = material(texture=assets.texture(texture), alpha=0.4)
    colour = HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=HAIR_SHARES)] * rng.uniform(0.7, 1.3)
    brows = _pick(rng, assets.garments_of("brow"))
    parts = [
        fitted(eyes, vertices, rows=[row]),
        _dressed(assets, brows, vertices, tint=colour * 0.8, alpha=0.4),
    ]
    if rng.random() > (0.12 if male else 0.02):
        styles = assets.garments_of("hair", textured=False)
        if male and rng.random() < 0.9:
            styles = [g for g in styles if g.name.startswith("short")]
        style = _pick(rng, styles)
        parts.append(_dressed(assets, style, vertices, tint=colour, alpha=0.5))
        if style.name.startswith("short") and rng.random() < HAT_SHARE:
            hat = _pick(rng, assets.garments_of("hat", textured=False))
            parts.append(_dressed(assets, hat, vertices, tint=random_colour(rng)))
    return parts


def _raw_points(
    body: BodySpace, vertices: np.ndarray, heads: np.ndarray, tails: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bones (29,) and rest positions (29, 3) of the labelled points, in the order of `RAW`."""
    landmarks = {name: vertices[rows].mean(0) for name, rows in body.landmarks.items()}
    skin = vertices[:N_BODY]
    landmarks |= {"nose": landmarks["nose_tip"], "head_top": skin[skin[:, 1].argmax()]}
    middle = {"pelvis": "Hips", "spine": "Spine1", "neck": "Neck"}
    bones, points = [], []
    for name in RAW:
        side, _, part = name.partition("_")
        if name in middle or part in _BONE_OF:
            bone = body.bone(middle.get(name) or side.capitalize() + _BONE_OF[part])
            point = heads[bone]
        elif part == "hand":
            bone = body.bone(side.capitalize() + "Hand")
            point = tails[bone]
        else:
            foot = {"heel": "Foot", "big_toe": "ToeBase", "small_toe": "ToeBase"}.get(part)
            bone = body.bone(side.capitalize() + foot if foot else "Head")
            point = landmarks[name]
        bones.append(bone)
        points.append(point)
    return np.array(bones), np.array(points, np.float64)
