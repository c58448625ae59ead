"""Poses and continuous animation from the motion clips; kinematics of the rig; grounding."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from xnect.synth.assets import Assets, BodySpace, Motion
from xnect.synth.body import Person

SIDES = ("Left", "Right")
_MIRROR = np.diag([-1.0, 1.0, 1.0])
_ARM = ("Shoulder", "Arm", "ForeArm", "Hand")


def rotations(motion: Motion, frames: np.ndarray) -> np.ndarray:
    """Frame numbers (F,) -> (F, 21, 3, 3) rotations of the moving bones in the world."""
    quaternions = motion.rotation[frames].astype(np.float64)
    flat = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix()
    return flat.reshape(*quaternions.shape[:-1], 3, 3)


def to_rig(motion: Motion, moving: np.ndarray, *, mirror: bool = False) -> np.ndarray:
    """(F, 21, 3, 3) moving bones -> (F, 31, 3, 3) bones of the rig, mirrored or not."""
    if mirror:
        names = motion.bone_names
        other = [
            n.replace("Left", "#").replace("Right", "Left").replace("#", "Right") for n in names
        ]
        moving = _MIRROR @ moving[:, [names.index(n) for n in other]] @ _MIRROR
    return moving[:, motion.rig_source]


def curl_fingers(body: BodySpace, rig: np.ndarray, angles_rad: np.ndarray) -> np.ndarray:
    """(F, 31, 3, 3) with the fingers of the left and right hand bent by (2,) radians."""
    out = rig.copy()
    for side, sign, angle in zip(SIDES, (1, -1), angles_rad, strict=True):
        bend = Rotation.from_rotvec([0, 0, -sign * angle]).as_matrix()
        out[:, body.bone(side + "HandFinger1")] = out[:, body.bone(side + "Hand")] @ bend
    return out


def random_pose(assets: Assets, rng: np.random.Generator) -> np.ndarray:
    """(31, 3, 3): a frame with limbs of other frames, sometimes sitting, and some noise."""
    motion = assets.motion
    index = {name: i for i, name in enumerate(motion.bone_names)}

    def draw() -> np.ndarray:
        return rotations(motion, rng.integers(len(motion.rotation), size=1))[0]

    pose = draw()
    if rng.random() < 0.35:  # legs of another frame, as seen from the pelvis
        legs = [n for n in index if "Leg" in n or "Foot" in n]
        _graft(pose, draw(), base=index["Hips"], bones=[index[n] for n in legs])
    for side in SIDES:
        if rng.random() < 0.35:
            arm = [index[side + part] for part in _ARM]
            _graft(pose, draw(), base=index["Spine1"], bones=arm)
    if rng.random() < 0.12 and pose[index["Hips"]][1, 1] > 0.7:
        _sit(pose, index, rng)
    noise = Rotation.from_rotvec(rng.normal(0, 0.05, (len(index), 3))).as_matrix()
    for name, i in index.items():
        if name != "Hips" and "Foot" not in name:
            pose[i] = pose[i] @ noise[i]
    rig = to_rig(motion, pose[None], mirror=bool(rng.random() < 0.5))
    return curl_fingers(assets.body, rig, rng.uniform(0, 1.2, 2))[0]


def _graft(pose: np.ndarray, other: np.ndarray, *, base: int, bones: list[int]) -> None:
    """Give `pose` (21, 3, 3) some bones of `other`, turned along with the bone `base`."""
    turn = pose[base] @ other[base].T
    for i in bones:
        pose[i] = turn @ other[i]


def _sit(pose: np.ndarray, index: dict[str, int], rng: np.random.Generator) -> None:
    hips = pose[index["Hips"]]
    for side, sign in zip(SIDES, (1, -1), strict=True):
        spread, thigh = np.deg2rad([sign * rng.uniform(-8, 32), rng.uniform(-105, -65)])
        knee = np.deg2rad(rng.uniform(50, 115))
        for part, bend in (("UpLeg", thigh), ("Leg", thigh + knee), ("Foot", (thigh + knee) * 0.3)):
            pose[index[side + part]] = hips @ Rotation.from_euler("YX", [spread, bend]).as_matrix()


def posed_heads(body: BodySpace, heads_m: np.ndarray, rig: np.ndarray) -> np.ndarray:
    """Rest heads (31, 3) and rotations (F, 31, 3, 3) -> (F, 31, 3) m, mid-hip at the origin."""
    out = np.zeros((*rig.shape[:2], 3))
    for bone, parent in enumerate(body.bone_parents):
        if parent >= 0:
            offset = heads_m[bone] - heads_m[parent]
            out[:, bone] = out[:, parent] + rig[:, parent] @ offset
    hips = out[:, [body.bone("LeftUpLeg"), body.bone("RightUpLeg")]]
    return out - hips.mean(1, keepdims=True)


def bone_matrices(body: BodySpace, person: Person, rig: np.ndarray) -> np.ndarray:
    """(F, 31, 3, 3) -> (F, 31, 3, 4) that take rest points to the world, mid-hip at the origin."""
    shift = posed_heads(body, person.heads_m, rig)
    shift = shift - np.einsum("fbij,bj->fbi", rig, person.heads_m)
    return np.concatenate([rig, shift[..., None]], -1)


def lowest_m(person: Person, matrices: np.ndarray, *, step: int = 5) -> np.ndarray:
    """Height (F,) of the lowest of every `step`-th vertex under (F, 31, 3, 4)."""
    mesh = person.mesh
    position, bone, weight = (a[::step] for a in (mesh.position_m, mesh.bone, mesh.weight))
    out = np.empty(len(matrices))
    for f, row in enumerate(matrices[:, :, 1]):  # (31, 4)
        height = np.einsum("vkc,vc->vk", row[bone][..., :3], position) + row[bone][..., 3]
        out[f] = (height * weight).sum(1).min()
    return out


def stand_on_floor(
    body: BodySpace, person: Person, pose: np.ndarray, *, place_m: np.ndarray, lift_m: float = 0.0
) -> np.ndarray:
    """(31, 3, 3) pose -> (31, 3, 4): mid-hip above `place_m` (3,), lowest point `lift_m` up."""
    matrices = bone_matrices(body, person, pose[None])
    matrices[0, :, :, 3] += place_m + np.array([0, lift_m - lowest_m(person, matrices)[0], 0])
    return matrices[0]


def root_path(motion: Motion, person: Person, frames: np.ndarray, *, mirror: bool) -> np.ndarray:
    """Path (F, 3) m of the mid-hip for this person's legs; x and z start at 0."""
    root = motion.root_m[frames].astype(np.float64) * (person.leg_length_m / motion.leg_length_m)
    if mirror:
        root = root * (-1, 1, 1)
    return root - root[0] * (1, 0, 1)


def animate(
    assets: Assets,
    person: Person,
    frames: np.ndarray,
    *,
    turn: np.ndarray,
    place_m: np.ndarray,
    mirror: bool = False,
) -> np.ndarray:
    """Frames (F,) of one clip -> (F, 31, 3, 4).

    Args:
        assets: The pack.
        person: Who moves.
        frames: Numbers of consecutive frames of the motion.
        turn: (3, 3) rotation about the vertical axis.
        place_m: (3,) point of the floor under the mid-hip in the first frame.
        mirror: Swap left and right.
    """
    motion = assets.motion
    rig = to_rig(motion, rotations(motion, frames), mirror=mirror)
    rig = turn @ curl_fingers(assets.body, rig, np.array([0.3, 0.3]))
    root = root_path(motion, person, frames, mirror=mirror) @ turn.T
    matrices = bone_matrices(assets.body, person, rig)
    scale = person.leg_length_m / motion.leg_length_m
    height = motion.lift_m[frames].astype(np.float64) * scale - lowest_m(person, matrices)
    root[:, 1] = gaussian_filter1d(height, 1.0, mode="nearest")
    matrices[..., 3] += (root + place_m)[:, None]
    return matrices
