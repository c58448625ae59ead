"""Human3.6M (Ionescu et al. 2014) in the JSON form of Moon et al. 2019 -> `Sample`.  Research only.

Beside the pictures `s_01_act_02_subact_01_ca_01/..._000001.jpg` a folder of annotations, three
files per subject: `Human36M_subject1_data.json` (pictures in COCO's layout, each with `action_idx`,
`subaction_idx`, `cam_idx` and `frame_idx`), `..._joint_3d.json` (action -> subaction -> frame ->
17 joints in mm of the world) and `..._camera.json` (camera -> R, t in mm, f, c in px; camera = R
world + t).

One actor, and nobody else.  Hands, feet and the face are not among the 17 joints.  Their "torso" is
lower than our spine and their "neck" is between the shoulders: our spine and neck are placed on the
line from the hips to the shoulders as on our body, and count half, as does the top of the head.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xnect.errors import BadInput, CannotOpenSource
from xnect.skeleton import J3D, JOINTS3D
from xnect.train.datasets.files import numbers, read_json, read_picture, records
from xnect.train.datasets.posed import posed_sample
from xnect.train.samples import Sample

__all__ = ["JOINTS17", "h36m", "joints21_from_h36m"]

log = logging.getLogger(__name__)

JOINTS17 = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "torso", "thorax", "nose", "head_top", "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
TRAINING_SUBJECTS = (1, 5, 6, 7, 8)
_SAME = tuple(name for name in JOINTS17 if name in J3D)
_I = {name: i for i, name in enumerate(JOINTS17)}


def joints21_from_h36m(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 17, 3) -> (..., 21, 3) same unit, nan where not known; (21,) weight."""
    out = np.full((*joints.shape[:-2], len(JOINTS3D), 3), np.nan)
    weight = np.zeros(len(JOINTS3D))
    for name in _SAME:
        out[..., J3D[name], :], weight[J3D[name]] = joints[..., _I[name], :], 1
    shoulders = joints[..., [_I["left_shoulder"], _I["right_shoulder"]], :].mean(-2)
    hips = joints[..., [_I["left_hip"], _I["right_hip"]], :].mean(-2)
    out[..., J3D["spine"], :] = hips + 0.80 * (shoulders - hips)
    out[..., J3D["neck"], :] = hips + 1.18 * (shoulders - hips)
    for name in ("spine", "neck", "head_top"):
        weight[J3D[name]] = 0.5
    return out, weight


def h36m(
    annotations: Path,
    images: Path,
    *,
    subjects: Sequence[int] = TRAINING_SUBJECTS,
    every: int = 5,
) -> Iterator[Sample]:
    """Every fifth frame of each subject that is there; what is damaged is left out with a warning.

    Raises:
        BadInput: there is no subject in `annotations`.
    """
    there = [s for s in subjects if (annotations / f"Human36M_subject{s}_data.json").exists()]
    if not there:
        raise BadInput(f"{annotations} holds no Human36M_subject*_data.json of {list(subjects)}")
    for subject in there:
        start = annotations / f"Human36M_subject{subject}"
        try:
            file = Path(f"{start}_data.json")
            pictures = records(read_json(file, "images"), "images", file)
            poses = read_json(Path(f"{start}_joint_3d.json"))
            cameras = read_json(Path(f"{start}_camera.json"))
        except BadInput as error:
            log.warning("left out subject %d: %s", subject, error)
            continue
        for record in pictures:
            try:
                if _frame(record, file) % every:
                    continue
                pixels, camera_mm, weight = _labels(record, poses, cameras, str(start))
                image = read_picture(images / str(record.get("file_name")))
            except (BadInput, CannotOpenSource) as error:
                log.warning("left out %s: %s", record.get("file_name"), error)
                continue
            yield posed_sample(image, pixels[None], camera_mm[None], weight=weight)


def _frame(record: dict[str, Any], file: Path) -> int:
    """Number of a picture in its take.

    Raises:
        BadInput: it has none.
    """
    frame = record.get("frame_idx")
    try:
        return int(frame)  # type: ignore[arg-type]  # None is a TypeError
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{file}: frame_idx must be a whole number, got {frame!r:.80}") from error


def _within(values: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object of this name; empty if there is none.

    Raises:
        BadInput: it is something else.
    """
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise BadInput(f"{where} must be an object, got {found!r:.80}")
    return found


def _labels(
    record: dict[str, Any], poses: dict[str, Any], cameras: dict[str, Any], start: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(21, 2) px, (21, 3) mm in camera axes, (21,) weight of one picture."""
    keys = [str(record.get(f"{name}_idx")) for name in ("action", "subaction", "frame")]
    where = f"{start}_joint_3d.json, action {keys[0]}, subaction {keys[1]}"
    frames = _within(_within(poses, keys[0], where), keys[1], where)
    world_mm = numbers(frames, keys[2], (len(JOINTS17), 3), where)
    name = str(record.get("cam_idx"))
    where = f"{start}_camera.json, camera {name}"
    camera = _within(cameras, name, where)
    rotation, shift = numbers(camera, "R", (3, 3), where), numbers(camera, "t", (3,), where)
    focal, centre = numbers(camera, "f", (2,), where), numbers(camera, "c", (2,), where)
    camera_mm, weight = joints21_from_h36m(world_mm @ rotation.T + shift)
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = camera_mm[:, :2] / camera_mm[:, 2:] * focal + centre
    return pixels, camera_mm, weight
