"""Leeds Sports Pose Extended (Johnson & Everingham 2011) -> `Sample`.  Research lane only.

One labelled person per picture; bystanders are not labelled, so what lies outside the person's box
counts little as background and the boxes of a person detector not at all.
"""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xnect.boxes import iou
from xnect.errors import BadInput, CannotOpenSource
from xnect.skeleton import J2D, LSP14
from xnect.train.datasets.files import (
    box_xyxy,
    decode_picture,
    is_id,
    numbers,
    read_json,
    records,
)
from xnect.train.datasets.outside import outside
from xnect.train.datasets.teacher import (
    Teacher,
    read_boxes,
    read_limbs,
    read_teacher,
    sides_exchanged,
)
from xnect.train.samples import ABSENT, SEEN, UNKNOWN, Sample

__all__ = ["lspet"]

log = logging.getLogger(__name__)

OUTSIDE_WEIGHT = 0.3


def _joints(
    keypoints: np.ndarray, away: np.ndarray, teacher: Teacher | None
) -> tuple[np.ndarray, np.ndarray]:
    """(14, 3), (14,) bool outside the picture -> (18, 2) px, (18,) state.

    What is outside is absent.  The face is the teacher's.
    """
    joints, state = np.zeros((18, 2)), np.full(18, UNKNOWN, np.int8)
    for number, name in enumerate(LSP14[:12]):
        if away[number]:
            state[J2D[name]] = ABSENT
        elif keypoints[number, 2] > 0:
            joints[J2D[name]], state[J2D[name]] = keypoints[number, :2], SEEN
    left, right = J2D["left_shoulder"], J2D["right_shoulder"]
    if state[left] == SEEN and state[right] == SEEN:
        joints[J2D["neck"]], state[J2D["neck"]] = joints[[left, right]].mean(0), SEEN
    if teacher is not None and _at_head(keypoints, teacher):
        for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear"):
            if teacher.face_seen[J2D[name]]:
                joints[J2D[name]], state[J2D[name]] = teacher.face_px[J2D[name]], SEEN
    return joints, state


def _at_head(keypoints: np.ndarray, teacher: Teacher) -> bool:
    """Whether the teacher's face lies at the labelled head, between crown and neck."""
    neck, crown = keypoints[LSP14.index("neck")], keypoints[LSP14.index("head_top")]
    if teacher.joints3d_weight.any():
        return True  # it agrees on the whole body
    if min(neck[2], crown[2]) <= 0 or not teacher.face_seen.any():
        return False
    length = np.linalg.norm(neck[:2] - crown[:2])
    away = teacher.face_px[teacher.face_seen] - (neck[:2] + crown[:2]) / 2
    return bool((np.linalg.norm(away, axis=1) < 0.6 * length).all())


def _bystanders(boxes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Boxes (M, 4) other than the person's own (4,): intersection over union < 0.3."""
    if not len(boxes):
        return np.zeros((0, 4))
    others: np.ndarray = boxes[iou(boxes, own[None])[:, 0] < 0.3]
    return others


def lspet(root: Path, split: str = "train", teacher_file: Path | None = None) -> Iterator[Sample]:
    """Every picture of a split without those whose labels are suspect.

    Suspect is also who has left and right exchanged as a whole, as the teacher sees it.

    Pictures that do not decode and damaged annotations are left out with a warning, and a teacher's
    file that is damaged.

    Raises:
        BadInput: the annotation file is missing or damaged.
    """
    file = root / f"{split}.json"
    data = read_json(file, "images", "annotations")
    pictures = _with_ids(records(data, "images", file), file)
    taught, exchanged = _taught(teacher_file), 0
    with ExitStack() as stack:
        tars = {path.name: _Tar(path, stack) for path in sorted(root.glob(f"{split}-*.tar"))}
        for annotation in records(data, "annotations", file):
            if annotation.get("suspect"):
                continue
            where = f"{file}, annotation {annotation.get('id')}"
            try:
                sample = _sample(annotation, pictures, tars, taught, where)
            except (BadInput, CannotOpenSource) as error:
                log.warning("left out: %s", error)
                continue
            if _other_sides(annotation, sample, taught):
                exchanged += 1
                continue
            yield sample
    if exchanged:
        log.info("left out %d people of %s: the teacher sees left and right exchanged", exchanged,
                 file)  # fmt: skip


def _other_sides(annotation: dict[str, Any], sample: Sample, taught: _Taught) -> bool:
    """Whether the teacher sees somebody's left and right exchanged."""
    number = annotation.get("id")
    limbs = taught.limbs.get(number) if isinstance(number, int) else None
    return limbs is not None and sides_exchanged(sample.joints_px[0], sample.state[0], limbs)


def _sample(
    annotation: dict[str, Any],
    pictures: dict[Any, dict[str, Any]],
    tars: dict[str, _Tar],
    taught: _Taught,
    where: str,
) -> Sample:
    """One person and their picture.

    Raises:
        BadInput: the annotation is damaged.
        CannotOpenSource: the picture is missing or damaged.
    """
    keypoints, own = _keypoints(annotation, where), box_xyxy(annotation, where)
    of = annotation.get("image_id")
    if not is_id(of) or of not in pictures:
        raise BadInput(f"{where}: there is no picture with the id {of!r:.80}")
    image = _picture(tars, pictures[of], where)
    hw = (image.shape[0], image.shape[1])
    away = outside(keypoints[:, :2], hw) & (keypoints[:, 2] > 0)
    if away.any():
        log.warning("%s: %d joints outside the picture are taken as absent", where, away.sum())
        keypoints[away, 2] = 0
    number = annotation.get("id")
    teacher = taught.people.get(number) if isinstance(number, int) else None
    joints, state = _joints(keypoints, away, teacher)
    state[outside(joints, hw) & (state == SEEN)] = UNKNOWN  # of the face, which is guessed
    no3d = np.zeros((1, 21))
    return Sample(
        image=image,
        joints_px=joints[None],
        state=state[None],
        boxes_xyxy=own[None],
        joints3d_m=teacher.joints3d_m[None] if teacher else np.zeros((1, 21, 3)),
        joints3d_weight=0.5 * teacher.joints3d_weight[None] if teacher else no3d,
        depth_m=np.zeros(1),
        ignore_xyxy=_bystanders(taught.boxes.get(pictures[of]["id"], np.zeros((0, 4))), own),
        outside_weight=OUTSIDE_WEIGHT,
    )


def _with_ids(images: list[dict[str, Any]], file: Path) -> dict[Any, dict[str, Any]]:
    """Id -> record of a picture; those without one are left out with a warning."""
    found = {}
    for record in images:
        if is_id(record.get("id")):
            found[record["id"]] = record
        else:
            log.warning("left out %s: %s gives it no id", record.get("file_name"), file)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Taught:
    """What the teacher's file says of all pictures."""

    people: dict[int, Teacher]  # by the id of the annotation
    boxes: dict[int, np.ndarray]  # by the id of the picture, (M, 4) xyxy
    limbs: dict[int, np.ndarray]  # by the id of the annotation, (18, 2) px


def _taught(file: Path | None) -> _Taught:
    """What is in a teacher's file; nothing, with a warning, if it is damaged."""
    if file is None:
        return _Taught({}, {}, {})
    try:
        return _Taught(read_teacher(file), read_boxes(file), read_limbs(file))
    except BadInput as error:
        log.warning("going on without the teacher: %s", error)
        return _Taught({}, {}, {})


def _keypoints(annotation: dict[str, Any], where: str) -> np.ndarray:
    """(14, 3) x, y, labelled or not.

    Raises:
        BadInput: they are damaged.
    """
    keypoints = numbers(annotation, "keypoints", (14, 3), where)
    if not np.isfinite(keypoints[keypoints[:, 2] > 0]).all():
        raise BadInput(f"{where}: keypoints must be finite numbers")
    return keypoints


_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error)


class _Tar:
    """The pictures of a tar, also of one whose end is missing."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.members: dict[str, tarfile.TarInfo] = {}
        try:
            self.tar = stack.enter_context(tarfile.open(path))
            for member in self.tar:
                self.members[member.name] = member
        except _DAMAGED as error:
            log.warning(
                "%s is damaged: %s; %d pictures begin before that", path, error, len(self.members)
            )

    def read(self, name: str) -> bytes | None:
        """The bytes of a picture; None if it is not there.

        Raises:
            CannotOpenSource: its bytes are not all there.
        """
        if name not in self.members:
            return None
        try:
            member = self.tar.extractfile(self.members[name])
            return None if member is None else member.read()
        except (KeyError, *_DAMAGED) as error:
            raise CannotOpenSource(f"{name} in {self.path}: {error}") from error


def _picture(tars: dict[str, _Tar], record: dict[str, Any], where: str) -> np.ndarray:
    """The picture of one record out of its tar.

    Raises:
        CannotOpenSource: the tar is missing or damaged, or the picture in it is.
    """
    shard, name = str(record.get("tar")), str(record.get("file_name"))
    if shard not in tars:
        raise CannotOpenSource(f"{where}: there is no tar {shard!r}")
    return decode_picture(tars[shard].read(name), f"{name} in {shard}")
