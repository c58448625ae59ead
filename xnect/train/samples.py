"""One training picture with its people, and the shards that hold many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xnect.errors import BadInput

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


_RAGGED = ("joints_px", "state", "boxes_xyxy", "joints3d_m", "joints3d_weight", "depth_m")


def write_shard(path: Path, samples: Iterable[Sample], *, quality: int = 95) -> int:
    """Write samples as one `.npz` of JPEG bytes and label arrays; returns how many."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (*_RAGGED, "ignore_xyxy")}
    jpegs, masks, people, ignored, outside = [], [], [], [], []
    for sample in samples:
        bgr = np.ascontiguousarray(sample.image[..., ::-1])
        jpegs.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel())
        empty = np.zeros(0, np.uint8)
        owner = sample.owner
        masks.append(empty if owner is None else cv2.imencode(".png", owner)[1].ravel())
        people.append(len(sample.joints_px))
        ignored.append(len(sample.ignore_xyxy))
        outside.append(sample.outside_weight)
        for name, column in columns.items():
            column.append(getattr(sample, name))
    arrays = {name: _small(np.concatenate(column)) for name, column in columns.items()}
    partial = path.with_suffix(".part.npz")
    arrays |= {
        "jpeg": np.concatenate(jpegs),
        "jpeg_length": np.array([len(j) for j in jpegs]),
        "mask": np.concatenate(masks),
        "mask_length": np.array([len(m) for m in masks]),
        "people": np.array(people),
        "ignored": np.array(ignored),
        "outside_weight": np.array(outside, np.float32),
    }
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)
    return len(jpegs)


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


class Shards:
    """The samples of several shard files, held in memory as encoded pictures."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise BadInput("no shard files given; write some with `python -m xnect.train.pack`")
        self._shards: list[dict[str, np.ndarray]] = []
        index: list[tuple[int, int]] = []
        for number, path in enumerate(paths):
            with np.load(path, allow_pickle=False) as file:
                shard = {name: file[name] for name in file.files}
            for name in ("jpeg_length", "mask_length", "people", "ignored"):
                shard[name + "_start"] = np.concatenate([[0], np.cumsum(shard[name])])
            self._shards.append(shard)
            index += [(number, i) for i in range(len(shard["people"]))]
        self._index = np.array(index)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> Sample:
        """Decode one sample, without its map of owners."""
        return self.decode(number, owner=False)

    def decode(self, number: int, *, owner: bool) -> Sample:
        """Decode one sample; the map of owners takes as long as the picture."""
        which, i = self._index[number]
        shard = self._shards[which]

        def part(name: str, counts: str) -> np.ndarray:
            start = shard[counts + "_start"]
            return shard[name][start[i] : start[i + 1]]

        bgr = cv2.imdecode(part("jpeg", "jpeg_length"), cv2.IMREAD_COLOR)
        assert bgr is not None
        mask = part("mask", "mask_length")
        return Sample(
            image=bgr[..., ::-1],
            **{name: part(name, "people") for name in _RAGGED},
            ignore_xyxy=part("ignore_xyxy", "ignored"),
            outside_weight=float(shard["outside_weight"][i]),
            owner=cv2.imdecode(mask, cv2.IMREAD_UNCHANGED) if owner and len(mask) else None,
        )
