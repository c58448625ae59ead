"""Partial poses -> complete root-relative poses: the second stage (spec 3).

The 2D joints are turned into viewing rays, and everything is looked at by a virtual camera that
points at the person, because what a pose looks like depends on where it stands in the picture.
There the joints are centred on the torso and divided by the person's apparent size; the answer is
turned back into camera axes.  The same is done with the mirror image, and the mean is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xnect.atomic import replacing
from xnect.calib.camera import Camera
from xnect.errors import BadWeights
from xnect.heads.lift import Lifter
from xnect.skeleton import CODE_BONES, FLIP2D, FLIP3D, J2D, JOINTS2D, LIMBS, ROOT, SEEN_AS
from xnect.types import PartialPose, Pose3D

CARRIED: tuple[tuple[int, int], ...] = tuple(
    (joint, bone) for joint, bones in enumerate(CODE_BONES) for bone in bones
)
"""(2D joint, bone) of each 3D code that is read: the supervised channels only (spec 2.4)."""

FLIP_CARRIED: tuple[int, ...] = tuple(
    CARRIED.index((FLIP2D[joint], FLIP3D[bone])) for joint, bone in CARRIED
)
"""The code that each becomes in the mirror."""

CARRIERS = torch.tensor([joint for joint, _ in CARRIED])
CARRIED_BONES = torch.tensor([bone for _, bone in CARRIED])

N_FEATURES = 4 * 18 + 3 * len(CARRIED) + 1
"""x, y, score and presence of each joint; the codes; the person's angular size."""

_TORSO = ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")
_RULERS = (*LIMBS, (J2D["right_hip"], J2D["left_hip"]))
_LIMB_M = {
    ("neck", "shoulder"): 0.178, ("shoulder", "elbow"): 0.249, ("elbow", "wrist"): 0.239,
    ("neck", "hip"): 0.470, ("hip", "knee"): 0.392, ("knee", "ankle"): 0.432, ("hip", "hip"): 0.212,
    ("neck", "nose"): 0.249, ("nose", "eye"): 0.065, ("eye", "ear"): 0.104,
    ("shoulder", "ear"): 0.249,
}  # fmt: skip
"""Mean length of the limbs between 2D joints on 1,200 bodies of reference size."""

# Constant tensors: making them from tuples in every call took longer than the network.
_IN_TORSO = torch.tensor([float(name in _TORSO) for name in JOINTS2D])
_FROM, _TO = torch.tensor(_RULERS).T
_RULER_M = torch.tensor(
    [_LIMB_M[JOINTS2D[i].split("_")[-1], JOINTS2D[j].split("_")[-1]] for i, j in _RULERS]
)
_FLIP2D, _FLIP3D = torch.tensor(FLIP2D), torch.tensor(FLIP3D)
_MIRROR = torch.tensor([-1.0, 1.0, 1.0])

_ERROR_SCALE_M = 0.2  # an expected error of this size divides the score by e
_UNSEEN = 0.5  # score of a joint without evidence, of the mean score of those seen


class Encoded(NamedTuple):
    """What the network reads, and how its answer is turned back."""

    features: Tensor  # (P, N_FEATURES)
    camera_from_view: Tensor  # (P, 3, 3) rotation
    size: Tensor  # (P,) apparent size: tangents of one metre of the reference body


def lift(
    partials: Sequence[PartialPose], lifter: nn.Module, *, camera: Camera | None = None
) -> list[Pose3D]:
    """One complete pose for each partial pose, in its order.

    Args:
        partials: what was seen of each person.
        lifter: a `Lifter` in evaluation mode, on any device.
        camera: of the picture.  Without it the poses are those that the person would have in the
            middle of a picture: right but for a rotation by the bearing of the person.
    """
    if not partials:
        return []
    pixels = np.stack([p.joints_px for p in partials]).astype(np.float64)
    score = np.stack([p.evidence() for p in partials]).astype(np.float32)
    codes = np.stack([p.codes for p in partials]).astype(np.float32)
    score = np.where(np.isfinite(pixels).all(-1) & np.isfinite(score), score, 0)
    pixels = np.where(score[..., None] > 0, pixels, 0)  # the coordinates of absent joints are junk
    rays = pixels if camera is None else camera.rays(pixels)
    device = next(lifter.parameters()).device
    with torch.inference_mode():
        joints, error = lift_arrays(
            lifter,
            torch.as_tensor(rays, dtype=torch.float32, device=device),
            torch.as_tensor(score, device=device),
            torch.as_tensor(carried(codes), device=device),
            torch.full((len(rays),), float(camera is not None), device=device),
        )
    joints_m, error_m = joints.cpu().numpy(), error.cpu().numpy()
    scores = _scores(score, error_m)
    return [Pose3D(p, joints_m[i], scores[i]) for i, p in enumerate(partials)]


def lift_arrays(
    lifter: nn.Module, rays: Tensor, score: Tensor, codes: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """(P, 21, 3) m in camera axes, (P, 21) m expected error: means over pose and mirror image.

    The arguments are those of `encode`.
    """
    people = len(rays)
    sign = _MIRROR.to(rays.device)
    both = encode(
        torch.cat([rays, (rays * sign[:2])[:, _FLIP2D]]),
        torch.cat([score, score[:, _FLIP2D]]),
        torch.cat([codes, (codes * sign)[:, FLIP_CARRIED]]),
        torch.cat([known, known]),
    )
    out = lifter(both.features)
    joints = out.joints_m @ both.camera_from_view.mT  # (2 P, 21, 3)
    error = out.log_error.exp()
    joints = (joints[:people] + (joints[people:] * sign)[:, _FLIP3D]) / 2
    return joints, (error[:people] + error[people:][:, _FLIP3D]) / 2


def facing_view(rays: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(P, 18, 2), (P, 18) -> (P, 3, 3) camera axes from those of a camera that faces the person.

    The virtual camera of `encode`, for joints whose rays are known.
    """
    seen = torch.as_tensor(score > 0, dtype=torch.float64)
    turned: np.ndarray = look_at(centre_of(torch.as_tensor(rays), seen)).numpy()
    return turned


def carried(codes: np.ndarray) -> np.ndarray:
    """(P, 18, 63) planar codes of partial poses -> (P, 33, 3) those that are read (`CARRIED`)."""
    joint, bone = zip(*CARRIED, strict=True)
    out: np.ndarray = codes.reshape(-1, 18, 3, 21)[:, joint, :, bone].swapaxes(0, 1)
    return out


def encode(rays: Tensor, score: Tensor, codes: Tensor, known: Tensor) -> Encoded:
    """Evidence -> features of the network, in the axes of a camera that looks at each person.

    Args:
        rays: (P, 18, 2) x/z and y/z of the viewing rays; any picture units where not `known`.
        score: (P, 18) 0..1, 0 where the joint was not seen.
        codes: (P, 33, 3) 3D encoding of the bones `CARRIED`, camera axes; zeros without any.
        known: (P,) 1 where the camera is known, 0 where `rays` are in unknown units.
    """
    seen = (score > 0).to(rays.dtype)  # (P, 18)
    centre = centre_of(rays, seen)
    # The axes of the virtual camera, as columns: camera from view.  Unknown cameras look ahead.
    view = look_at(centre * known[:, None])
    turned = torch.nn.functional.pad(rays, (0, 1), value=1.0) @ view  # (P, 18, 3)
    bent = turned[..., :2] / turned[..., 2:].clamp_min(0.05)
    flat = torch.where(known[:, None, None] > 0, bent, rays)
    flat = flat - centre_of(flat, seen)[:, None]
    size = _apparent_size(flat, seen)
    xy = (flat / size[:, None, None]).clamp(-4, 4) * seen[..., None]  # (P, 18, 2)
    bones = ((codes * seen[:, CARRIERS, None]) @ view).clamp(-4, 4)  # (P, 33, 3)
    angular = known * size.clamp_max(2.0)  # 0 is a person far away: no perspective
    features = [xy.flatten(1), score, seen, bones.flatten(1), angular[:, None]]
    return Encoded(torch.cat(features, -1), view, size)


def centre_of(xy: Tensor, seen: Tensor) -> Tensor:
    """(P, 2) mean of the torso's joints that are seen, else of all that are seen."""
    torso = seen * _IN_TORSO.to(seen.device)
    weight = torch.where(torso.sum(-1, keepdim=True) > 0, torso, seen)
    return (weight[..., None] * xy).sum(1) / weight.sum(-1, keepdim=True).clamp_min(1)


def _apparent_size(xy: Tensor, seen: Tensor) -> Tensor:
    """(P,) length of the limbs that are seen over their length in metres on the reference body."""
    both = seen[:, _FROM] * seen[:, _TO]  # (P, L)
    metres = _RULER_M.to(xy.device)
    length = (xy[:, _FROM] - xy[:, _TO]).norm(dim=-1)
    by_limbs = (both * length).sum(-1) / (both * metres).sum(-1).clamp_min(1e-6)
    spread = (xy.norm(dim=-1) * seen).sum(-1) / seen.sum(-1).clamp_min(1) / 0.5
    return torch.where(both.sum(-1) > 0, by_limbs, spread).clamp_min(1e-6)


def look_at(centre: Tensor) -> Tensor:
    """(P, 2) tangents -> (P, 3, 3) least rotation that takes the z axis to that ray."""
    ray = torch.nn.functional.pad(centre, (0, 1), value=1.0)
    x, y, z = (ray / ray.norm(dim=-1, keepdim=True)).unbind(-1)
    k = 1 / (1 + z)  # Rodrigues' formula; z > 0, so it never divides by zero
    rows = [1 - k * x * x, -k * x * y, x, -k * x * y, 1 - k * y * y, y, -x, -y, z]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _scores(score: np.ndarray, error_m: np.ndarray) -> np.ndarray:
    """(P, 18) seen scores and (P, 21) expected errors -> (P, 21) scores of the joints, 0..1."""
    seen_as = np.array(SEEN_AS)
    count = np.maximum((score > 0).sum(-1, keepdims=True), 1)
    guess = _UNSEEN * score.sum(-1, keepdims=True) / count
    own = np.where(seen_as >= 0, score[:, seen_as], 0)
    evidence = np.where(own > 0, own, guess)
    return np.clip(evidence * np.exp(-error_m / _ERROR_SCALE_M), 0, 1)


def save_lifter(path: str | Path, lifter: Lifter, notes: dict[str, str]) -> Path:
    """Write the weights as fp16 safetensors with `notes` (data, licence ...) as metadata.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    from safetensors.torch import save

    state = {k: v.detach().cpu().half().contiguous() for k, v in lifter.state_dict().items()}
    shape = {
        "kind": "xnect lifter", "inputs": str(lifter.inputs), "joints": str(lifter.joints),
        "width": str(lifter.width), "blocks": str(lifter.n_blocks),
    }  # fmt: skip
    with replacing(path) as file:
        file.write(save(state, metadata={**notes, **shape}))
    return Path(path)


def load_lifter(path: str | Path) -> Lifter:
    """The lifter of a weights file, fp32, on the CPU, in evaluation mode.

    Raises:
        BadWeights: the file is missing, damaged, of another network, or has other keys.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            notes: dict[str, Any] = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}
    except FileNotFoundError as error:
        raise BadWeights(f"there is no weights file {path}") from error
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{path} is not a whole safetensors file: {error}") from error
    if notes.get("kind") != "xnect lifter":
        kind = notes.get("kind", "unknown")
        raise BadWeights(f"{path} holds weights of kind {kind!r}, not of an xnect lifter")
    unsaid = sorted({"inputs", "joints", "width", "blocks"} - notes.keys())
    if unsaid:
        raise BadWeights(f"{path} does not say its {', '.join(unsaid)}; write it with save_lifter")
    if int(notes["inputs"]) != N_FEATURES:
        raise BadWeights(
            f"{path} is a lifter of {notes['inputs']} inputs; this version has {N_FEATURES}"
        )
    lifter = Lifter(
        N_FEATURES,
        joints=int(notes["joints"]),
        root=ROOT,
        width=int(notes["width"]),
        blocks=int(notes["blocks"]),
    )
    _load_strictly(lifter, state, path)
    return lifter.eval()


def _load_strictly(lifter: Lifter, state: dict[str, Tensor], path: str | Path) -> None:
    want = {k: tuple(v.shape) for k, v in lifter.state_dict().items()}
    have = {k: tuple(v.shape) for k, v in state.items()}
    wrong = sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))
    if wrong:
        raise BadWeights(f"{path} does not fit the lifter; keys that differ: {', '.join(wrong)}")
    lifter.load_state_dict(state)
