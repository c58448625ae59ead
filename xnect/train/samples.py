"""One training picture with its people, and the shards that hold many of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xnect.atomic import replacing
from xnect.errors import BadInput
from xnect.npz import read_npz

log = logging.getLogger(__name__)

SEEN, HIDDEN, ABSENT, UNKNOWN = 2, 1, 0, -1
"""State of a 2D joint: seen; hidden but located; not in the picture; not labelled.

An UNKNOWN joint may be anywhere in its person's box: nothing is learnt from its maps there.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture and everything that is known of the people in it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    joints_px: np.ndarray  # (P, 18, 2)
    state: np.ndarray  # (P, 18) int8, see above
    boxes_xyxy: np.ndarray  # (P, 4) px
    joints3d_m: np.ndarray  # (P, 21, 3) camera axes, reference size, any origin
    joints3d_weight: np.ndarray  # (P, 21) 0 where there is no 3D label
    depth_m: np.ndarray  # (P,) order of the people, near first is smaller
    ignore_xyxy: np.ndarray  # (M, 4) boxes with people who are not labelled
    outside_weight: float  # how sure it is that there is nobody outside the boxes
    owner: np.ndarray | None = None  # (H, W) uint8, people 1, 2, ... in renders
    ignore_mask: np.ndarray | None = None  # (H, W) uint8, 1 on crowds without labels


_RAGGED = ("joints_px", "state", "boxes_xyxy", "joints3d_m", "joints3d_weight", "depth_m")


_COUNTS = {
    "jpeg": "jpeg_length",
    "mask": "mask_length",
    "ignore_mask": "ignore_mask_length",
    "ignore_xyxy": "ignored",
    **{name: "people" for name in _RAGGED},
}
"""Field of a shard -> the field that says how much of it belongs to each picture."""

_SHAPES = {
    "joints_px": (18, 2), "state": (18,), "boxes_xyxy": (4,), "joints3d_m": (21, 3),
    "joints3d_weight": (21,), "depth_m": (), "ignore_xyxy": (4,),
}  # fmt: skip
_LATER = ("ignore_mask", "ignore_mask_length")  # older shards are without them


def write_shard(path: Path, samples: Iterable[Sample], *, quality: int = 95) -> int:
    """Write samples as one `.npz` of JPEG bytes and label arrays; returns how many.

    Raises:
        BadInput: there is not one sample.
        CannotWrite: the disk is full; an older file stays as it was.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (*_RAGGED, "ignore_xyxy")}
    blobs: dict[str, list[np.ndarray]] = {name: [] for name in ("jpeg", "mask", "ignore_mask")}
    people, ignored, outside = [], [], []
    for sample in samples:
        bgr = np.ascontiguousarray(sample.image[..., ::-1])
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel()
        blobs["jpeg"].append(jpeg)
        blobs["mask"].append(_png(sample.owner))
        blobs["ignore_mask"].append(_png(sample.ignore_mask))
        people.append(len(sample.joints_px))
        ignored.append(len(sample.ignore_xyxy))
        outside.append(sample.outside_weight)
        for name, column in columns.items():
            column.append(getattr(sample, name))
    if not people:
        raise BadInput(f"there is not one picture for {path}")
    arrays = {name: _small(np.concatenate(column)) for name, column in columns.items()}
    for name, blob in blobs.items():
        arrays[name] = np.concatenate(blob)
        arrays[f"{name}_length"] = np.array([len(b) for b in blob])
    arrays |= {
        "people": np.array(people),
        "ignored": np.array(ignored),
        "outside_weight": np.array(outside, np.float32),
    }
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(people)


def _png(mask: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, np.uint8) if mask is None else cv2.imencode(".png", mask)[1].ravel()


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def read_arrays(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, which must have these.

    Raises:
        BadInput: the file is missing or damaged, or lacks a field; it is named.
    """
    arrays = read_npz(path, "the shard")
    missing = sorted({name for name in needed if name not in arrays})
    if missing:
        raise BadInput(f"the shard {path} has no field {', '.join(missing)}; make it again")
    return arrays


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """The fields of one shard, with `<counts>_start` beside each field of counts.

    Raises:
        BadInput: the file is missing or damaged; the field is named.
    """
    needed = {*_COUNTS, *_COUNTS.values(), "outside_weight"} - {*_LATER}
    shard = read_arrays(path, sorted(needed))
    for counts in sorted({*_COUNTS.values()} & shard.keys()):
        if shard[counts].ndim != 1 or shard[counts].dtype.kind not in "iu":
            raise BadInput(f"the shard {path} is damaged: {counts} must be a row of counts")
        if (shard[counts] < 0).any():
            raise BadInput(f"the shard {path} is damaged: {counts} has a negative count")
    pictures = len(shard["people"])
    for name, counts in _COUNTS.items():
        if name not in shard or counts not in shard:
            continue
        whole = (int(shard[counts].sum()), *_SHAPES.get(name, ()))
        if len(shard[counts]) != pictures or shard[name].shape != whole:
            raise BadInput(
                f"the shard {path} is damaged: {name} has the shape {shard[name].shape}, "
                f"{counts} says {whole} for {pictures} pictures; pack it again"
            )
        shard[f"{counts}_start"] = np.concatenate([[0], np.cumsum(shard[counts])])
    if shard["outside_weight"].shape != (pictures,):
        raise BadInput(f"the shard {path} is damaged: outside_weight is not one for each picture")
    return shard


class Shards:
    """The samples of several shard files, held in memory as encoded pictures."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read them; files that are missing or damaged are left out with a warning.

        Raises:
            BadInput: none is left.
        """
        if not paths:
            raise BadInput("no shard files given; write some with `python -m xnect.train.pack`")
        self._shards: list[dict[str, np.ndarray]] = []
        self._paths: list[Path] = []
        problems: list[str] = []
        index: list[tuple[int, int]] = []
        for path in paths:
            try:
                shard = read_shard(path)
            except BadInput as error:
                problems.append(str(error))
                log.warning("left out: %s", error)
                continue
            index += [(len(self._shards), i) for i in range(len(shard["people"]))]
            self._shards.append(shard)
            self._paths.append(path)
        if not index:
            raise BadInput(problems[0] if problems else f"there is not one picture in {paths[0]}")
        self._index = np.array(index)

    def __len__(self) -> int:
        return len(self._index)

    def sure_to_be_empty(self) -> np.ndarray:
        """(N,) bool: nobody is in the picture, neither labelled nor to be ignored, for sure."""
        parts = []
        for shard in self._shards:
            crowd = shard.get("ignore_mask_length", np.zeros(len(shard["people"]), int))
            nobody = (shard["people"] == 0) & (shard["ignored"] == 0) & (crowd == 0)
            parts.append(nobody & (shard["outside_weight"] == 1))
        return np.concatenate(parts)

    def __getitem__(self, number: int) -> Sample:
        """Decode one sample, without its map of owners."""
        return self.decode(number, owner=False)

    def decode(self, number: int, *, owner: bool) -> Sample:
        """Decode one sample; the map of owners takes as long as the picture.

        Raises:
            BadInput: the picture does not decode.
        """
        which, i = self._index[number]
        shard = self._shards[which]

        def part(name: str) -> np.ndarray:
            if name not in shard:
                return np.zeros(0, np.uint8)
            start = shard[f"{_COUNTS[name]}_start"]
            values: np.ndarray = shard[name][start[i] : start[i + 1]]
            return values

        def unpacked(name: str, flag: int) -> np.ndarray | None:
            data = part(name)
            if not len(data):
                return None
            picture = cv2.imdecode(data, flag)
            if picture is None:
                raise BadInput(f"the shard {self._paths[which]} is damaged: {name} {i}")
            return picture

        bgr = unpacked("jpeg", cv2.IMREAD_COLOR)
        if bgr is None:
            raise BadInput(f"the shard {self._paths[which]} is damaged: jpeg {i} is empty")
        return Sample(
            image=bgr[..., ::-1],
            **{name: part(name) for name in _RAGGED},
            ignore_xyxy=part("ignore_xyxy"),
            outside_weight=float(shard["outside_weight"][i]),
            owner=unpacked("mask", cv2.IMREAD_UNCHANGED) if owner else None,
            ignore_mask=unpacked("ignore_mask", cv2.IMREAD_UNCHANGED),
        )
