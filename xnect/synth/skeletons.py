"""Motion capture and body shapes -> joints of posed people, without rendering.

Reads `motion.npz` and `body.npz` of the synthetic people pack.  Axes as there: x to the person's
left, y up, z to the front, metres; the pelvis is at the origin and the body has reference size.
The recordings are mostly people who walk, so poses are mixed: limbs of other frames, people who
sit and squat, bent backs, free arms and legs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnect.errors import BadInput
from xnect.npz import read_npz
from xnect.skeleton import J3D, JOINTS2D, JOINTS3D, REFERENCE_CHAIN_M, chain_m

HELD_OUT = frozenset({"cmu_subject_05", "cmu_expmap_soccer", "cmu_expmap_washwindow"})
"""Groups of clips (a person, an action) that are never trained on."""

_POINTS = (*JOINTS3D, "nose", "right_eye", "left_eye", "right_ear", "left_ear")
_RIG_PARTS = {"shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand",
              "hip": "UpLeg", "knee": "Leg", "ankle": "Foot"}  # fmt: skip
_HAND_REACH = 2.6  # knuckles lie this many times the rig's short hand bone behind the wrist
_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class Bodies:
    """Rest poses of N body shapes; 31 rig bones, 26 points that move with a bone each."""

    heads_m: np.ndarray  # (N, 31, 3) joint centres
    points_m: np.ndarray  # (N, 26, 3) the 21 joints; nose, eyes, ears
    point_bone: np.ndarray  # (26,) rig bone that carries each point
    bone_parents: np.ndarray  # (31,)


@dataclass(frozen=True, eq=False)
class Motion:
    """Frames of motion capture: global rotations of 21 bones."""

    quat_xyzw: np.ndarray  # (F, 21, 4) int16, divide by 32767
    weight: np.ndarray  # (F,) how often to draw each frame; sums to 1
    bone_names: tuple[str, ...]
    rig_source: np.ndarray  # (31,) motion bone that each rig bone follows
    swap: np.ndarray  # (21,) bone on the other side


@dataclass(frozen=True, eq=False)
class Skeletons:
    """N posed people: pelvis at the origin, reference size, y up."""

    joints_m: np.ndarray  # (N, 21, 3) float32
    shown_m: np.ndarray  # (N, 18, 3) float32, the 2D joints in space


def load_bodies(root: str | Path) -> Bodies:
    """The 1,200 body shapes of `root/body.npz`.

    Raises:
        BadInput: the file is not there.
    """
    body = _load(root, "body.npz")
    names = [str(n) for n in body["bone_names"]]
    groups = [*body["bone_head_vertices"], *body["bone_tail_vertices"], *body["landmark_vertices"]]
    groups = [row[row >= 0] for row in groups]
    top = np.flatnonzero(
        body["mean"][: int(body["n_body_vertices"]), 1] > body["mean"][:13380, 1].max() - 0.06
    )
    used, index = np.unique(np.concatenate([*groups, top]), return_inverse=True)
    parts = body["components"][:, used].astype(np.float32) * body["component_scale"][:, None, None]
    vertices = body["mean"][used] + np.tensordot(body["coefficients"], parts, 1)  # (N, V, 3)
    ends = np.cumsum([len(g) for g in groups])
    means = [vertices[:, index[e - len(g) : e]].mean(1) for g, e in zip(groups, ends, strict=True)]
    crown = vertices[:, index[ends[-1] :]]  # (N, T, 3)
    crown = crown[np.arange(len(crown)), crown[..., 1].argmax(1)]
    heads, tails, marks = means[:31], means[31:62], means[62:]
    landmarks = {str(n): m for n, m in zip(body["landmark_names"], marks, strict=True)}
    placed = _place_points(names, heads, tails, landmarks, crown)
    points = np.stack([placed[n][1] for n in _POINTS], 1)
    bones = np.array([names.index(placed[n][0]) for n in _POINTS])
    heads_m = np.stack(heads, 1)
    return Bodies(heads_m, points, bones, body["bone_parents"].astype(int))


def _place_points(
    names: list[str],
    heads: list[np.ndarray],
    tails: list[np.ndarray],
    marks: dict[str, np.ndarray],
    crown: np.ndarray,
) -> dict[str, tuple[str, np.ndarray]]:
    """Name of each point -> the bone that carries it and its rest position (N, 3)."""
    at = dict(zip(names, heads, strict=True))
    tip = dict(zip(names, tails, strict=True))
    ears = (marks["left_ear"] + marks["right_ear"]) / 2
    hips = (at["LeftUpLeg"] + at["RightUpLeg"]) / 2
    out = {
        "head_top": ("Head", crown), "head": ("Head", ears), "neck": ("Neck", at["Neck"]),
        "spine": ("Spine1", at["Spine1"]), "pelvis": ("Hips", hips),
        "nose": ("Head", marks["nose_tip"]),
    }  # fmt: skip
    for side in ("left", "right"):
        rig = side.capitalize()
        for part, bone in _RIG_PARTS.items():
            out[f"{side}_{part}"] = (rig + bone, at[rig + bone])
        wrist = at[rig + "Hand"]
        out[f"{side}_hand"] = (rig + "Hand", wrist + _HAND_REACH * (tip[rig + "Hand"] - wrist))
        out[f"{side}_foot"] = (rig + "ToeBase", marks[f"{side}_big_toe"])
        for part in ("eye", "ear"):
            out[f"{side}_{part}"] = ("Head", marks[f"{side}_{part}"])
    return out


def load_motion(
    root: str | Path, *, held_out: bool = False, groups: Collection[str] = HELD_OUT
) -> Motion:
    """The frames of `root/motion.npz` whose clip group is not in `groups` (or, held out, is).

    Frames of clips that are named walking are drawn a third as often as others.

    Raises:
        BadInput: the file is not there.
    """
    motion = _load(root, "motion.npz")
    names = tuple(str(n) for n in motion["bone_names"])
    chosen_clip = np.isin(motion["clip_group"], list(groups)) == held_out
    chosen = chosen_clip[motion["clip"]]
    clips = zip(motion["clip_action"], motion["clip_group"], strict=True)
    walks = np.array(["walk" in f"{a} {g}".lower() or g == "cmu_subject_07" for a, g in clips])
    weight = np.where(walks, 1 / 3, 1.0)[motion["clip"]][chosen]
    swap = np.array([names.index(_other_side(n)) for n in names])
    source = motion["rig_bone_source"].astype(int)
    return Motion(motion["rotation"][chosen], weight / weight.sum(), names, source, swap)


def draw(
    rng: np.random.Generator, bodies: Bodies, motion: Motion, count: int, *, mix: bool = True
) -> Skeletons:
    """`count` random people; `mix=False` gives unchanged frames of the recordings."""
    parts = []
    for first in range(0, count, _CHUNK):
        n = min(_CHUNK, count - first)
        rotations = draw_rotations(rng, motion, bodies, n, mix=mix)
        parts.append(pose(bodies, rng.integers(len(bodies.heads_m), size=n), rotations))
    return Skeletons(
        np.concatenate([p.joints_m for p in parts]), np.concatenate([p.shown_m for p in parts])
    )


def pose(bodies: Bodies, index: np.ndarray, rotations: np.ndarray) -> Skeletons:
    """Bodies number `index` (n,) in the pose `rotations` (n, 31, 3, 3), global, against rest."""
    heads = bodies.heads_m[index]  # (n, 31, 3)
    posed = np.zeros_like(heads)
    for bone, parent in enumerate(bodies.bone_parents):
        if parent >= 0:
            offset = heads[:, bone] - heads[:, parent]
            posed[:, bone] = posed[:, parent] + _turn(rotations[:, parent], offset)
    carrier = bodies.point_bone
    local = bodies.points_m[index] - heads[:, carrier]
    points = posed[:, carrier] + _turn(rotations[:, carrier], local)  # (n, 26, 3)
    pelvis = (points[:, J3D["left_hip"]] + points[:, J3D["right_hip"]]) / 2
    points[:, J3D["pelvis"]] = pelvis
    points = points - pelvis[:, None]
    points *= (REFERENCE_CHAIN_M / chain_m(points[:, :21]))[:, None, None]
    shown = np.stack([_shown(points, name) for name in JOINTS2D], 1)
    return Skeletons(points[:, :21].astype(np.float32), shown.astype(np.float32))


def _shown(points: np.ndarray, name: str) -> np.ndarray:
    """(n, 3) place of a 2D joint; COCO has no neck: it is the middle of the shoulders."""
    if name == "neck":
        return (points[:, J3D["left_shoulder"]] + points[:, J3D["right_shoulder"]]) / 2
    return points[:, _POINTS.index(name)]


def draw_rotations(
    rng: np.random.Generator, motion: Motion, bodies: Bodies, count: int, *, mix: bool = True
) -> np.ndarray:
    """(count, 31, 3, 3) global rotations of the rig's bones: frames, mixed and disturbed."""
    pose = _frames(rng, motion, count)
    if mix:
        _swap_limbs(rng, motion, pose)
        _free_legs(rng, motion, pose)
        _free_arms(rng, motion, pose, bodies)
        _bend(rng, motion, pose)
        for i, name in enumerate(motion.bone_names):
            if name != "Hips":
                sigma = 0.15 if "Hand" in name or "Head" in name else 0.06
                pose[:, i] = pose[:, i] @ _rotvec(rng.normal(0, sigma, (count, 3)))
    mirrored = pose[:, motion.swap] * np.outer((-1, 1, 1), (-1, 1, 1)).astype(np.float32)
    pose = np.where(rng.random((count, 1, 1, 1)) < 0.5, mirrored, pose)
    return pose[:, motion.rig_source]


def _frames(rng: np.random.Generator, motion: Motion, count: int) -> np.ndarray:
    chosen = rng.choice(len(motion.weight), count, p=motion.weight)
    return _matrices(motion.quat_xyzw[chosen])


def _swap_limbs(rng: np.random.Generator, motion: Motion, pose: np.ndarray) -> None:
    """Give some people the legs of another frame, or one arm, relative to pelvis or chest."""
    names = motion.bone_names
    legs = [i for i, n in enumerate(names) if "Leg" in n or "Foot" in n]
    arms = [[i for i, n in enumerate(names) if n.startswith(side) and i not in legs]
            for side in ("Left", "Right")]  # fmt: skip
    for bones, base in ((legs, "Hips"), (arms[0], "Spine1"), (arms[1], "Spine1")):
        people = np.flatnonzero(rng.random(len(pose)) < 0.35)
        other, b = _frames(rng, motion, len(people)), names.index(base)
        turn = pose[people, b] @ np.swapaxes(other[:, b], -1, -2)
        pose[people[:, None], bones] = turn[:, None] @ other[:, bones]


def _free_legs(rng: np.random.Generator, motion: Motion, pose: np.ndarray) -> None:
    """Sit some people down, and give others legs at random within what joints allow."""
    names, kind = motion.bone_names, rng.random(len(pose))
    for side, sign in (("Left", 1), ("Right", -1)):
        for low, high, sitting in ((0.0, 0.12, True), (0.12, 0.27, False)):
            people = np.flatnonzero((kind >= low) & (kind < high))
            if not sitting:
                people = people[rng.random(len(people)) < 0.8]
            n = len(people)
            spread = np.deg2rad(rng.uniform(-10, 30, n) if sitting else rng.normal(8, 18, n))
            flexed = np.deg2rad(rng.uniform(60, 110, n) if sitting else rng.uniform(-30, 125, n))
            knee = np.deg2rad(rng.uniform(50, 125, n) if sitting else np.abs(rng.normal(20, 55, n)))
            twist = np.deg2rad(rng.normal(0, 15, n))
            out = _axis(1, sign * spread) if sitting else _axis(2, sign * spread)
            thigh = pose[people, names.index("Hips")] @ out @ _axis(0, -flexed) @ _axis(1, twist)
            shin = thigh @ _axis(0, np.minimum(knee, np.deg2rad(150)))
            foot = shin @ _axis(0, np.deg2rad(rng.normal(5, 15, n)))
            for part, turn in (("UpLeg", thigh), ("Leg", shin), ("Foot", foot)):
                pose[people, names.index(side + part)] = turn


def _free_arms(rng: np.random.Generator, motion: Motion, pose: np.ndarray, bodies: Bodies) -> None:
    """Give some people arms at random: any direction but through the body."""
    names = motion.bone_names
    rest = bodies.points_m.mean(0)
    for side, sign in (("left", 1), ("right", -1)):
        people = np.flatnonzero(rng.random(len(pose)) < 0.2)
        chest = pose[people, names.index("Spine1")]
        upper = _reach(rng, len(people), sign)
        fore = _unit(upper + rng.uniform(0.3, 1.9, (len(people), 1)) * _reach(rng, len(people), 0))
        joint = [rest[J3D[f"{side}_{p}"]] for p in ("shoulder", "elbow", "wrist")]
        arm = chest @ _between(_unit(joint[1] - joint[0]), upper)
        forearm = chest @ _between(_unit(joint[2] - joint[1]), fore)
        rig = side.capitalize()
        pose[people, names.index(rig + "Arm")] = arm
        pose[people, names.index(rig + "ForeArm")] = forearm
        pose[people, names.index(rig + "Hand")] = forearm @ _rotvec(
            rng.normal(0, 0.25, (len(people), 3))
        )


def _reach(rng: np.random.Generator, count: int, sign: int) -> np.ndarray:
    """(count, 3) unit directions: not far across the body (x against `sign`) nor far back."""
    v = _unit(rng.normal(size=(4 * count + 64, 3)))
    v = v[(sign * v[:, 0] > -0.5 * abs(sign)) & (v[:, 2] > -0.6)]
    return v[:count] if len(v) >= count else np.resize(v, (count, 3))


def _bend(rng: np.random.Generator, motion: Motion, pose: np.ndarray) -> None:
    """Bend and twist the backs of some people, with everything that hangs from them."""
    names = motion.bone_names
    people = np.flatnonzero(rng.random(len(pose)) < 0.2)
    n = len(people)
    angles = np.deg2rad(
        np.stack([rng.uniform(-25, 80, n), rng.normal(0, 25, n), rng.normal(0, 15, n)], 1)
    )
    hips = pose[people, names.index("Hips")]
    for i, name in enumerate(names):
        if name == "Hips" or "Leg" in name or "Foot" in name:
            continue
        share = {"LowerBack": 1 / 3, "Spine": 2 / 3}.get(name, 1.0)
        turn = hips @ _rotvec(share * angles) @ np.swapaxes(hips, -1, -2)
        pose[people, i] = turn @ pose[people, i]


def _matrices(quat_xyzw: np.ndarray) -> np.ndarray:
    """(..., 4) of any length -> (..., 3, 3) float32."""
    x, y, z, w = np.moveaxis(_unit(quat_xyzw.astype(np.float32)), -1, 0)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]  # fmt: skip
    return np.stack(rows, -1).reshape(*x.shape, 3, 3)


def _rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """(n, 3) axis times angle -> (n, 3, 3)."""
    half = np.linalg.norm(rotvec_rad, axis=-1, keepdims=True) / 2
    vector = rotvec_rad / 2 * np.sinc(half / np.pi)
    return _matrices(np.concatenate([vector, np.cos(half)], -1))


def _axis(axis: int, angle_rad: np.ndarray) -> np.ndarray:
    """(n,) angles about x, y or z -> (n, 3, 3)."""
    return _rotvec(np.eye(3)[axis] * angle_rad[:, None])


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3,) and (n, 3) unit vectors -> (n, 3, 3) least rotations from the one to the other."""
    w = 1 + end @ start
    cross = np.cross(np.broadcast_to(start, end.shape), end)
    return _matrices(np.concatenate([cross, np.maximum(w, 1e-3)[:, None]], -1))


def _turn(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(..., 3, 3), (..., 3) -> (..., 3)."""
    out: np.ndarray = (rotation @ vector[..., None])[..., 0]
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _other_side(name: str) -> str:
    return name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")


def _load(root: str | Path, name: str) -> dict[str, np.ndarray]:
    path = Path(root) / name
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give the folder of the synthetic people pack")
    return read_npz(path, "the part of the pack")
