"""Clothes: fitted garments, and tops, trousers, shorts, skirts cut from the helper meshes."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xnect.synth.assets import N_BODY, Assets, BodySpace, Garment
from xnect.synth.materials import Row, material
from xnect.synth.mesh import Mesh, make_mesh, used_corners, vertex_normals

SIDES = ("Left", "Right")
JEANS = np.array([0.12, 0.16, 0.28])


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) colour of cloth, display values 0..1; a third are nearly grey."""
    hue, saturation, value = rng.random(), rng.beta(1.3, 3.0), rng.beta(1.3, 1.6)
    if rng.random() < 0.35:
        saturation *= 0.2
    return np.array(colorsys.hsv_to_rgb(hue, saturation, 0.06 + 0.94 * value))


def fitted(
    garment: Garment,
    vertices_m: np.ndarray,
    *,
    rows: list[Row],
    row_of_component: np.ndarray | None = None,
) -> Mesh:
    """A garment on a rest shape (V, 3); all of it gets row 0 unless pieces have their own.

    A control vertex is a weighted mean of base vertices plus an offset that is scaled per axis
    by a distance on the body (MakeHuman's fitting).
    """
    scale = np.ones(3)
    for axis, name in enumerate("xyz"):
        if name in garment.scale_refs:
            i, j, reference = garment.scale_refs[name]
            scale[axis] = abs(vertices_m[i, axis] - vertices_m[j, axis]) / reference
    bound = (vertices_m[garment.bind_index] * garment.bind_weight[..., None]).sum(1)
    control = bound + garment.bind_offset.astype(np.float32) * scale
    corner, triangles = garment.corner_control.astype(np.int64), garment.triangles.astype(np.int32)
    which = None
    if row_of_component is not None:
        which = row_of_component[garment.component[corner[triangles[:, 0]]]]
    return make_mesh(
        control[corner],
        triangles,
        rows=rows,
        normal=vertex_normals(control, corner[triangles])[corner],
        uv=garment.corner_uv,
        bone=garment.skin_bone[corner],
        weight=garment.skin_weight[corner] / np.float32(255),
        triangle_material=which,
    )


def outfit(
    assets: Assets, rng: np.random.Generator, garment: Garment, vertices_m: np.ndarray
) -> Mesh:
    """A complete outfit, recoloured piece by piece (shirt, trousers, buttons ...)."""
    texture, ao = assets.texture(garment.texture), assets.texture(garment.ao)
    free_colours = rng.random() < 0.75 or texture < 0
    pieces = int(garment.component.max()) + 1
    rows = []
    for _ in range(pieces):
        if texture < 0 or (free_colours and rng.random() < 0.85):
            fabric = int(rng.integers(len(assets.fabrics))) if rng.random() < 0.5 else -1
            rows.append(
                material(texture=texture, ao=ao, fabric=fabric, tile_per_m=rng.uniform(1.5, 7),
                         tint=random_colour(rng), recolour=1.0, wrinkle=0.5)
            )  # fmt: skip
        else:
            tint = rng.uniform(0.7, 1.15, 3)
            rows.append(material(texture=texture, ao=ao, tint=tint, wrinkle=0.5))
    return fitted(garment, vertices_m, rows=rows, row_of_component=np.arange(pieces))


@dataclass(frozen=True, slots=True, eq=False)
class AlongLimbs:
    """Where some base vertices (n,) lie on the body: the coordinates in which clothes are cut.

    `arm` and `leg` run from 0 (shoulder, hip) over 1 (elbow, knee) to 2 (wrist, ankle); NaN off
    the limb.
    """

    arm: np.ndarray  # (n,)
    leg: np.ndarray  # (n,)
    height_m: np.ndarray  # (n,) of the rest shape

    @property
    def torso(self) -> np.ndarray:
        """(n,) neither on an arm nor on a leg."""
        return np.isnan(self.arm) & np.isnan(self.leg)

    def arm_below(self, limit: float) -> np.ndarray:
        """(n,) on an arm and nearer to the shoulder than `limit`."""
        return np.nan_to_num(self.arm, nan=9) < limit

    def leg_below(self, limit: float) -> np.ndarray:
        """(n,) on a leg and nearer to the hip than `limit`."""
        return np.nan_to_num(self.leg, nan=9) < limit


_LIMBS = {
    "arm": (("Arm", "ForeArm", "Hand"), ("Arm", "ForeArm", "Hand", "FingerBase", "HandFinger1")),
    "leg": (("UpLeg", "Leg", "Foot"), ("UpLeg", "Leg", "Foot", "ToeBase")),
}


def along_limbs(
    body: BodySpace, vertices_m: np.ndarray, heads_m: np.ndarray, *, selection: np.ndarray
) -> AlongLimbs:
    """Coordinates of the base vertices `selection` (n,) of a rest shape (V, 3), heads (31, 3)."""
    points, bone = vertices_m[selection], body.skin_bone[selection]
    weight = body.skin_weight[selection]
    out = {limb: np.full(len(points), np.nan) for limb in _LIMBS}
    for side in SIDES:
        for limb, (chain, members) in _LIMBS.items():
            bones = [body.bone(side + m) for m in members]
            bones += [body.bone(side[0] + "Thumb")] if limb == "arm" else []
            mine = (np.isin(bone, bones) * weight).sum(1) > 0.5
            a, b, c = (heads_m[body.bone(side + name)] for name in chain)
            upper = ((points - a) @ (b - a)) / ((b - a) @ (b - a))
            lower = ((points - b) @ (c - b)) / ((c - b) @ (c - b))
            along = np.where(upper < 1, np.clip(upper, -0.3, 1), 1 + np.clip(lower, 0, 1.6))
            out[limb][mine] = along[mine]
    return AlongLimbs(out["arm"], out["leg"], points[:, 1])


Keep = Callable[[AlongLimbs, np.ndarray], np.ndarray]


def cut(
    assets: Assets,
    rng: np.random.Generator,
    vertices_m: np.ndarray,
    heads_m: np.ndarray,
    *,
    helper: str,
    keep: Keep,
    offset_m: float,
    flare_m: float,
    row: Row,
) -> Mesh:
    """A garment cut out of a helper mesh ("tights", "skirt") and pushed outwards.

    `keep(coordinates, points)` says (n,) which vertices stay; the flare grows towards the ends.
    """
    body, mesh = assets.body, assets.body.surfaces[helper]
    base, inverse = np.unique(mesh.vertex, return_inverse=True)
    triangles, points = inverse[mesh.triangles], vertices_m[base]
    where = along_limbs(body, vertices_m, heads_m, selection=base)
    normal = vertex_normals(points, triangles)
    waves = np.sin(points * rng.uniform(6, 16, 3) + rng.uniform(0, 6, 3)).sum(1) * 0.3
    hip, neck = (heads_m[body.bone(n)][1] for n in ("LeftUpLeg", "Neck"))
    end = np.clip((neck - points[:, 1]) / (neck - hip), 0, 1)
    end = np.where(np.isnan(where.arm), end, where.arm / 2)
    end = np.where(np.isnan(where.leg), end, where.leg / 2)
    loose_m = offset_m * (1 + 0.35 * waves) + flare_m * np.clip(end, 0, 1)
    triangles, used = used_corners(triangles[keep(where, points)[triangles].all(1)])
    position = (points + normal * loose_m[:, None]).astype(np.float32)[used]
    return make_mesh(
        position,
        triangles,
        rows=[row],
        bone=body.skin_bone[base][used],
        weight=body.skin_weight[base][used],
    )


@dataclass(frozen=True, slots=True)
class Cut:
    """The lines along which a random top and bottom are cut (limb coordinates and metres)."""

    sleeve: float
    hem_m: float
    trouser: float
    waist_m: float
    skirt_hem_m: float
    neckline_m: float
    skirt: bool
    bottom_offset_m: float
    top_offset_m: float


def random_cut(
    rng: np.random.Generator, *, hip_m: float, neck_m: float, sole_m: float, male: bool
) -> Cut:
    """Lines for a body whose hip joints, neck and soles have these heights."""
    torso = neck_m - hip_m
    bottom = rng.uniform(0.004, 0.012)
    return Cut(
        sleeve=rng.choice([0.05, 0.35, 0.55, 1.0, 1.85], p=[0.12, 0.2, 0.25, 0.08, 0.35]),
        hem_m=hip_m + torso * rng.uniform(-0.15, 0.2),
        trouser=rng.choice([0.3, 0.55, 0.95, 1.4, 1.9], p=[0.08, 0.12, 0.12, 0.08, 0.6]),
        waist_m=hip_m + torso * rng.uniform(0.18, 0.32),
        skirt_hem_m=hip_m - rng.uniform(0.25, 0.75) * (hip_m - sole_m),
        neckline_m=rng.uniform(0.07, 0.12),
        skirt=(not male) and rng.random() < 0.3,
        bottom_offset_m=bottom,
        top_offset_m=bottom + rng.uniform(0.004, 0.012),
    )


def cut_outfit(
    assets: Assets,
    rng: np.random.Generator,
    vertices_m: np.ndarray,
    heads_m: np.ndarray,
    *,
    male: bool,
) -> tuple[list[Mesh], np.ndarray]:
    """Top and trousers, shorts, skirt or dress -> parts, and (13380,) bool hidden skin."""
    body = assets.body
    hip, neck = heads_m[body.bone("LeftUpLeg")][1], heads_m[body.bone("Neck")]
    line = random_cut(
        rng, hip_m=hip, neck_m=neck[1], sole_m=vertices_m[:N_BODY, 1].min(), male=male
    )
    top_row, bottom_row = _cloth_rows(assets, rng, dress=line.skirt and rng.random() < 0.5)

    def keep_top(c: AlongLimbs, points: np.ndarray) -> np.ndarray:
        trunk = np.isnan(c.arm) & (c.height_m > line.hem_m)
        near_neck = np.linalg.norm(points - neck - (0, 0.02, 0.06), axis=1) < line.neckline_m
        return (trunk | c.arm_below(line.sleeve)) & ~near_neck

    def keep_trousers(c: AlongLimbs, points: np.ndarray) -> np.ndarray:
        return (c.torso | c.leg_below(line.trouser)) & (c.height_m < line.waist_m)

    def keep_skirt(c: AlongLimbs, points: np.ndarray) -> np.ndarray:
        return (c.height_m > line.skirt_hem_m) & (c.height_m < line.waist_m + 0.2)

    def cut_one(helper: str, keep: Keep, offset_m: float, flare_m: float, row: Row) -> Mesh:
        return cut(assets, rng, vertices_m, heads_m, helper=helper, keep=keep,
                   offset_m=offset_m, flare_m=flare_m, row=row)  # fmt: skip

    parts = [cut_one("tights", keep_top, line.top_offset_m, rng.uniform(0, 0.02), top_row)]
    skin = along_limbs(body, vertices_m, heads_m, selection=np.arange(N_BODY))
    hidden = skin.torso & (skin.height_m > line.hem_m + 0.03) & (skin.height_m < neck[1] - 0.06)
    hidden |= skin.arm_below(line.sleeve - 0.12) & ~skin.arm_below(-0.2)
    if line.skirt:
        parts.append(cut_one("skirt", keep_skirt, line.bottom_offset_m, 0.0, bottom_row))
    else:
        flare = rng.uniform(0, 0.025)
        parts.append(cut_one("tights", keep_trousers, line.bottom_offset_m, flare, bottom_row))
        hidden |= skin.torso & (skin.height_m < line.waist_m - 0.03)
        hidden |= skin.leg_below(line.trouser - 0.1)
    return parts, hidden


def _cloth_rows(assets: Assets, rng: np.random.Generator, *, dress: bool) -> tuple[Row, Row]:
    """Materials of top and bottom; of one piece for a dress, often jeans below."""

    def fabric(share: float) -> int:
        return int(rng.integers(len(assets.fabrics))) if rng.random() < share else -1

    top = material(fabric=fabric(0.75), tile_per_m=rng.uniform(1.5, 8), tint=random_colour(rng),
                   recolour=1.0, wrinkle=1.0)  # fmt: skip
    jeans = rng.random() < 0.35
    bottom = material(
        fabric=fabric(0.5),
        tile_per_m=rng.uniform(2, 8),
        tint=JEANS * rng.uniform(0.5, 2.2) if jeans else random_colour(rng),
        recolour=1.0,
        wrinkle=1.0,
    )
    return top, top if dress else bottom
