"""One person of a recording as BVH, the text format that every animation program opens.

World: y up, centimetres, the camera at the origin looking along -z.  With all channels zero the
figure stands in a T-pose at the origin: x to its left, y up, facing +z.  A joint's channels are
Z, X, Y and its rotation is R = Rz Rx Ry, as the format says.

The joint names are those of Mixamo and HumanIK, so that retargeting finds them.  The rig's one
joint in the trunk is called Spine, because that is the one that they require; the clavicles
(LeftShoulder) do not exist here and are optional there.  Hands, toes and the top of the head are
`End Site`s: they have a place but no rotation that anybody measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from xnect.atomic import replacing
from xnect.describe import WORLD_FROM_CAMERA
from xnect.errors import BadInput
from xnect.recording import Recording
from xnect.skeleton import Skeleton
from xnect.times import usual_step_s

NAMES: dict[str, str] = {
    "pelvis": "Hips", "spine": "Spine", "neck": "Neck", "head": "Head",
    "left_shoulder": "LeftArm", "left_elbow": "LeftForeArm", "left_wrist": "LeftHand",
    "right_shoulder": "RightArm", "right_elbow": "RightForeArm", "right_wrist": "RightHand",
    "left_hip": "LeftUpLeg", "left_knee": "LeftLeg", "left_ankle": "LeftFoot",
    "right_hip": "RightUpLeg", "right_knee": "RightLeg", "right_ankle": "RightFoot",
}  # fmt: skip
"""Our names and the file's, in the file's order of siblings; what is not here is an End Site."""

REGULAR_STEPS = 0.05
"""Frame times that stay this close to a regular grid, in its steps, are taken as on it: containers
round times to milliseconds, and a person moves less than 2 mm meanwhile."""

PAUSED = 0.8
"""Share of the nominal step below which the usual step is another: a mean rate counts pauses in."""

MOST_FRAMES = 100
"""Frames of the file for one of the take, at most: where times are bad, or a pause is very long,
the step becomes longer."""


def bvh(path: str | Path, recording: Recording, track_id: int) -> Path:
    """Write one person of a recording; the path that was written.

    The file goes from the person's first frame to the last (`tracks` of the recording's JSON says
    when that is) and is never split: frames in between without the person are interpolated.  When
    the take has a regular frame rate its frames are kept as they are, otherwise the motion is
    resampled to the nominal rate, or to that between pauses if these make the nominal one lower.
    Offsets are the median of the person's bone lengths.

    Raises:
        BadInput: nobody has that `track_id`, several people of one frame share it, or several of
            its frames share a time.
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    rows = _rows(recording, track_id)
    times_s = recording.time_s[recording.person_frame[rows]]
    at_s, step_s = _grid(recording, times_s)
    root_m, rotations = _sample(recording, rows, times_s, at_s)
    root_m = root_m @ WORLD_FROM_CAMERA.T
    root = recording.skeleton.root
    rotations[:, root] = WORLD_FROM_CAMERA @ rotations[:, root]

    joints = tuple(_depth_first(recording.skeleton, root))
    angles_deg = np.degrees(continuous_zxy_rad(rotations[:, joints]))  # (F, joints, 3)
    offsets_cm = 100 * _offsets_m(recording, rows)
    lines = ["HIERARCHY", *_hierarchy(recording.skeleton, offsets_cm, root, "")]
    lines += ["MOTION", f"Frames: {len(at_s)}", f"Frame Time: {step_s:.9f}"]
    numbers = np.concatenate([100 * root_m, angles_deg.reshape(len(at_s), -1)], axis=1)
    numbers = np.round(numbers, 4) + 0.0  # no -0.0000
    lines += [" ".join(f"{number:.4f}" for number in frame) for frame in numbers.tolist()]
    with replacing(path) as file:
        file.write("\n".join([*lines, ""]).encode("ascii"))
    return Path(path)


def continuous_zxy_rad(rotations: np.ndarray) -> np.ndarray:
    """(F, J, 3, 3) matrices -> (F, J, 3) angles z, x, y of R = Rz Rx Ry, without jumps over time.

    Every rotation has two such triples, and each angle any number of full turns; of all of these
    the one next to the frame before is taken.  Where x is a right angle z is free: it stays.
    """
    angles = np.zeros((*rotations.shape[:2], 3))
    before = np.zeros(angles.shape[1:])
    for frame, matrix in enumerate(rotations):
        free = np.hypot(matrix[:, 0, 1], matrix[:, 1, 1]) < 1e-6
        z = np.where(free, before[:, 0], np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1]))
        both = [_next_to(before, _zxy_of_z(matrix, turned)) for turned in (z, z + np.pi)]
        change = [np.square(angles_rad - before).sum(-1, keepdims=True) for angles_rad in both]
        other = (change[1] < change[0] - 1e-9) & (frame > 0)
        before = angles[frame] = np.where(other, both[1], both[0])
    return angles


def _zxy_of_z(matrix: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(J, 3, 3), (J,) -> (J, 3): x and y that go with an angle z, from Rz(-z) R = Rx Ry."""
    cos, sin = np.cos(z), np.sin(z)
    top = cos[:, None] * matrix[:, 0] + sin[:, None] * matrix[:, 1]  # cos y, 0, sin y
    middle = cos * matrix[:, 1, 1] - sin * matrix[:, 0, 1]  # cos x
    return np.stack([z, np.arctan2(matrix[:, 2, 1], middle), np.arctan2(top[:, 2], top[:, 0])], -1)


def _next_to(before: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """`angles` plus full turns, within half a turn of `before`."""
    return angles - 2 * np.pi * np.round((angles - before) / (2 * np.pi))


def _rows(recording: Recording, track_id: int) -> np.ndarray:
    """Rows of a person with strictly ascending times."""
    rows = np.flatnonzero(recording.track_id == track_id)
    if not len(rows):
        known = ", ".join(map(str, recording.track_ids)) or "none: nobody is in it"
        raise BadInput(f"the recording has no track {track_id}; its tracks: {known}")
    frames = recording.person_frame[rows]
    if len(np.unique(frames)) < len(frames):
        raise BadInput(f"track {track_id} is several people of one picture, not one over time")
    rows = rows[np.argsort(recording.time_s[frames])]
    times_s = recording.time_s[recording.person_frame[rows]]
    if (same := np.flatnonzero(np.diff(times_s) == 0)).size:
        raise BadInput(
            f"track {track_id} is in several frames at {times_s[same[0]]:g} s; "
            "a motion needs another time for each frame, as `Pipeline.stream` gives them"
        )
    return rows


def _grid(recording: Recording, times_s: np.ndarray) -> tuple[np.ndarray, float]:
    """Times of the file's frames from the person's first to the last, and their constant step."""
    nominal_s = 1 / recording.fps
    first_s, last_s = times_s[0], times_s[-1]
    frames_s = np.unique(recording.time_s)
    frames_s = frames_s[(frames_s >= first_s) & (frames_s <= last_s)]
    if len(frames_s) == 1:
        return frames_s, nominal_s
    step_s = float(last_s - first_s) / (len(frames_s) - 1)
    off = np.abs(frames_s - first_s - step_s * np.arange(len(frames_s))).max()
    if off <= REGULAR_STEPS * step_s:
        return frames_s, step_s
    usual_s = usual_step_s(frames_s)
    if not PAUSED * nominal_s <= usual_s <= nominal_s / PAUSED:
        nominal_s = usual_s
    nominal_s = max(nominal_s, float(last_s - first_s) / (MOST_FRAMES * len(frames_s)))
    count = int(np.floor((last_s - first_s) / nominal_s + 1e-6)) + 1
    return first_s + nominal_s * np.arange(count), nominal_s


def _sample(
    recording: Recording, rows: np.ndarray, times_s: np.ndarray, at_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(F, 3) root in m and (F, J, 3, 3) rotations at `at_s`, interpolated where no frame is."""
    root_m = recording.root_m[rows].astype(np.float64)
    quats_wxyz = recording.rotations_quat_wxyz[rows].astype(np.float64)
    norm = np.linalg.norm(quats_wxyz, axis=-1)
    if not (np.isfinite(root_m).all() and np.isfinite(norm).all() and (norm > 0.5).all()):
        raise BadInput(
            f"track {recording.track_id[rows[0]]} holds places or rotations that are no numbers"
        )
    if len(rows) == 1:
        matrices = Rotation.from_quat(quats_wxyz[0][:, [1, 2, 3, 0]]).as_matrix()
        return root_m, matrices[None]
    within_s = np.clip(at_s, times_s[0], times_s[-1])
    root_at_m = np.stack([np.interp(within_s, times_s, axis_m) for axis_m in root_m.T], -1)
    rotations = [
        Slerp(times_s, Rotation.from_quat(quats_wxyz[:, j][:, [1, 2, 3, 0]]))(within_s).as_matrix()
        for j in range(quats_wxyz.shape[1])
    ]
    return root_at_m, np.stack(rotations, 1)


def _offsets_m(recording: Recording, rows: np.ndarray) -> np.ndarray:
    """(J, 3) rest offsets in the person's own bone lengths."""
    rig = recording.skeleton
    lengths_m = np.median(recording.bone_lengths_m[rows].astype(np.float64), axis=0)
    return rig.offsets_m * (lengths_m / np.where(rig.lengths_m > 0, rig.lengths_m, 1))[:, None]


def _children(rig: Skeleton, joint: int) -> list[int]:
    """Children of a joint, in the order of `NAMES`, ends last."""
    order = list(NAMES)
    children = [j for j, parent in enumerate(rig.parents) if parent == joint]
    return sorted(
        children, key=lambda j: order.index(rig.names[j]) if rig.names[j] in NAMES else len(order)
    )


def _depth_first(rig: Skeleton, joint: int) -> Iterator[int]:
    """The joints that have channels, in the file's order."""
    if rig.names[joint] in NAMES:
        yield joint
        for child in _children(rig, joint):
            yield from _depth_first(rig, child)


def _hierarchy(rig: Skeleton, offsets_cm: np.ndarray, joint: int, indent: str) -> Iterator[str]:
    """The lines of a joint and everything below it."""
    name = NAMES.get(rig.names[joint])
    is_root = rig.parents[joint] < 0
    yield indent + ("End Site" if name is None else f"{'ROOT' if is_root else 'JOINT'} {name}")
    yield indent + "{"
    yield indent + "\tOFFSET " + " ".join(f"{value:.6f}" for value in offsets_cm[joint] + 0.0)
    if name is not None:
        turns = "Zrotation Xrotation Yrotation"
        moves = "6 Xposition Yposition Zposition " if is_root else "3 "
        yield f"{indent}\tCHANNELS {moves}{turns}"
    for child in _children(rig, joint):
        yield from _hierarchy(rig, offsets_cm, child, indent + "\t")
    yield indent + "}"
