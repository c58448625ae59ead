"""Real motion on the rig's body, for tests: joints of `motion.npz` with the bones of BODY."""

from pathlib import Path

import numpy as np
import pytest

from xnect.rotations import matrix_from_quat, unit
from xnect.skeleton import BODY, J3D

SHARED = Path(__file__).resolve().parents[2] / "shared"
_CARRIED_BY = {
    # joint: (motion bone that turns the bone to it, rig bones whose heads give its rest direction)
    "spine": ("LowerBack", "Hips", "Spine1"), "neck": ("Spine1", "Spine1", "Neck"),
    "head": ("Neck", "Neck", "Head"), "head_top": ("Head", None, None),
    "shoulder": ("Spine1", "Spine1", "LeftArm"), "elbow": ("LeftArm", "LeftArm", "LeftForeArm"),
    "wrist": ("LeftForeArm", "LeftForeArm", "LeftHand"), "hand": ("LeftHand", None, None),
    "hip": ("Hips", "Hips", "LeftUpLeg"), "knee": ("LeftUpLeg", "LeftUpLeg", "LeftLeg"),
    "ankle": ("LeftLeg", "LeftLeg", "LeftFoot"), "foot": ("LeftFoot", None, None),
}  # fmt: skip


def mocap_joints(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the pack -> (count, 21, 3) m about the pelvis, (count, 3) m pelvis; y up, 30 Hz."""
    folder = SHARED / "data" / "synth"
    if not (folder / "motion.npz").is_file():
        pytest.skip(f"no motion capture at {folder}")
    with np.load(folder / "motion.npz", allow_pickle=False) as motion:
        names = [str(n) for n in motion["bone_names"]]
        quat_xyzw = motion["rotation"][start : start + count].astype(float)
        root = motion["root"][start : start + count].astype(float)
    with np.load(folder / "body.npz", allow_pickle=False) as body:
        mean, bones = body["mean"], [str(n) for n in body["bone_names"]]
        heads = {
            n: mean[v[v >= 0]].mean(0)
            for n, v in zip(bones, body["bone_head_vertices"], strict=True)
        }
    hips = (heads["LeftUpLeg"] + heads["RightUpLeg"]) / 2
    heads["Hips"] = hips
    turned = matrix_from_quat(quat_xyzw[..., [3, 0, 1, 2]])
    joints = np.zeros((count, 21, 3))
    for j in BODY.order:
        if j == BODY.root:
            continue
        name = next(n for n, k in J3D.items() if k == j)
        side, _, part = name.partition("_") if name != "head_top" else ("", "", name)
        bone, from_, to = _CARRIED_BY[part if side in ("left", "right") else name]
        rest = BODY.offsets_m[j]
        if from_ is not None:
            rest = unit(heads[to] - heads[from_]) * BODY.lengths_m[j]
        elif part == "hand":  # the pack's rest pose has its arms half down: go on along the forearm
            rest = unit(heads["LeftHand"] - heads["LeftForeArm"]) * BODY.lengths_m[j]
        if side == "right":
            bone = bone.replace("Left", "Right")
            rest = np.abs(rest[0]) * np.array((-1, 0, 0)) + rest * (0, 1, 1)
        joints[:, j] = joints[:, BODY.parents[j]] + turned[:, names.index(bone)] @ rest
    return joints, root
