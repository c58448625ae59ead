"""Labels of the pose2sim clip: one man in four calibrated cameras, triangulated from detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.errors import CannotCalibrate
from xnect.calib.floor import Floor
from xnect.errors import BadInput
from xnect.eval.metrics import KNEE
from xnect.npz import read_npz
from xnect.rig import SOLES_M
from xnect.skeleton import J3D

FIELDS: Mapping[str, tuple[str, tuple[int | str, ...]]] = {
    "joint_names": ("U", ("K",)),
    "video_files": ("U", ("C",)),
    "image_size_wh": ("iu", ("C", 2)),
    "K": ("fiu", ("C", 3, 3)),
    "dist": ("fiu", ("C", "D")),
    "joint_valid": ("b", ("F", "K")),
    "joints3d_cam_mm": ("fiu", ("C", "F", "K", 3)),
    "joints3d_world_mm": ("fiu", ("F", "K", 3)),
    "R_world2cam": ("fiu", ("C", 3, 3)),
    "t_world2cam_mm": ("fiu", ("C", 3)),
    "joints2d_px": ("fiu", ("C", "F", "K", 2)),
    "detections2d_px_conf": ("fiu", ("C", "F", "K", 3)),
}
"""Arrays of `labels.npz`: kinds of numpy, and the shape (C cameras, F frames, K joints)."""

_SAID = {"U": "texts", "iu": "whole numbers", "fiu": "numbers", "b": "true and false"}
NEEDED = frozenset(f"{side}_{joint}" for side in ("left", "right") for joint in KNEE)
"""Joints without which nothing can be measured."""


@dataclass(frozen=True)
class Labels:
    """The man in C cameras and F frames; joints that XNect has, without the nose (it is wrong)."""

    joint: np.ndarray  # (K,) number in JOINTS3D of each label
    joints_m: np.ndarray  # (C, F, K, 3) camera axes
    joints_px: np.ndarray  # (C, F, K, 2)
    detections: np.ndarray  # (C, F, K, 3) OpenPose: x, y, confidence
    valid: np.ndarray  # (F, K) bool
    cameras: tuple[Camera, ...]
    floors: tuple[Floor, ...]  # what the man stands on, in each camera's axes; see `_floors`
    videos: tuple[str, ...]


def load_pose2sim(root: str | Path) -> Labels:
    """Labels of the folder `root`.

    Raises:
        BadInput: there is no `labels.npz` in it, or it is damaged or lacks a field.
    """
    path = Path(root) / "labels.npz"
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give the folder of the pose2sim clip")
    z = _arrays(path)
    names = ["head_top" if n == "head" else str(n) for n in z["joint_names"]]
    keep = [i for i, n in enumerate(names) if n in J3D]
    cameras = tuple(
        Camera(
            fx_px=float(k[0, 0]),
            fy_px=float(k[1, 1]),
            cx_px=float(k[0, 2]),
            cy_px=float(k[1, 2]),
            width_px=int(w),
            height_px=int(h),
            dist=tuple(map(float, d)),
        )
        for k, d, (w, h) in zip(z["K"], z["dist"], z["image_size_wh"], strict=True)
    )
    return Labels(
        joint=np.array([J3D[names[i]] for i in keep]),
        joints_m=z["joints3d_cam_mm"][:, :, keep] / 1000,
        joints_px=z["joints2d_px"][:, :, keep],
        detections=z["detections2d_px_conf"][:, :, keep],
        valid=z["joint_valid"][:, keep],
        cameras=cameras,
        floors=_floors(z, path),
        videos=tuple(str(v) for v in z["video_files"]),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `labels.npz`, of the shapes that `FIELDS` says."""
    z = read_npz(path, "the label file")
    sizes: dict[str, int] = {}
    for name, (kinds, shape) in FIELDS.items():
        right = f"({', '.join(map(str, shape))})"
        if name not in z:
            raise BadInput(f"{path} has no field {name!r}, an array {right}")
        array = z[name]
        if array.dtype.kind not in kinds or not _fits(array.shape, shape, sizes):
            raise BadInput(
                f"{path}: {name!r} must be an array {right} of {_SAID[kinds]}, "
                f"got {array.shape} of {array.dtype}; {_counts(sizes)}"
            )
    missing = sorted(NEEDED - set(z["joint_names"].tolist()))
    if missing:
        raise BadInput(f"{path}: 'joint_names' must hold {', '.join(missing)} as well")
    return z


def _fits(shape: tuple[int, ...], right: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    """Whether a shape is the right one; letters stand for sizes, which the first array sets."""
    return len(shape) == len(right) and all(
        size == (sizes.setdefault(name, size) if isinstance(name, str) else name)
        for size, name in zip(shape, right, strict=True)
    )


def _counts(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} is {size}" for name, size in sizes.items())


LOWEST_SHARE = 5
"""Percentile of the heights of his ankles at which one of them stands."""


def _floors(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[Floor, ...]:
    """The floor before each camera: level, so far below his ankles as those of `rig.SOLES_M` are.

    Nobody measured it: he walks on a treadmill, and its belt is where he stands.
    """
    world_m = arrays["joints3d_world_mm"] / 1000
    ankles = np.isin(arrays["joint_names"], ("left_ankle", "right_ankle"))
    height_m = np.percentile(world_m[:, ankles, 2], LOWEST_SHARE) - SOLES_M["ankle"]
    floors = []
    places = zip(arrays["R_world2cam"], arrays["t_world2cam_mm"] / 1000, strict=True)
    for number, (turn, shift) in enumerate(places):
        x, y, z = map(float, turn[:, 2])
        try:
            floors.append(Floor((x, y, z), float((-turn.T @ shift)[2] - height_m)))
        except CannotCalibrate as error:
            raise BadInput(
                f"{path}: R_world2cam and t_world2cam_mm put no camera {number} above the floor: "
                f"{error}"
            ) from error
    return tuple(floors)
