"""Samples of several data sets -> batches of equal shape, endlessly and by seed."""

from __future__ import annotations

import copy
import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from xnect.errors import BadInput
from xnect.skeleton import JOINTS2D, JOINTS3D
from xnect.train.augment import AugmentOptions, augment
from xnect.train.samples import Sample, Shards

log = logging.getLogger(__name__)

CELL_PX = 8
"""Of the masks of crowds in a batch: the stride of the network's maps."""


class Batch(NamedTuple):
    """P is padded; a person who is not there has only ABSENT joints and an empty box."""

    images: Tensor  # (B, 3, H, W) uint8
    joints_px: Tensor  # (B, P, 18, 2)
    state: Tensor  # (B, P, 18) int8
    boxes_xyxy: Tensor  # (B, P, 4)
    joints3d_m: Tensor  # (B, P, 21, 3)
    joints3d_weight: Tensor  # (B, P, 21)
    ignore_xyxy: Tensor  # (B, M, 4)
    outside_weight: Tensor  # (B,)
    ignore_mask: Tensor  # (B, H / 8, W / 8) uint8, 1 on crowds without labels


@dataclass(frozen=True)
class Source:
    """One data set in the mixture."""

    name: str
    paths: tuple[Path, ...]
    share: float
    real: bool  # a photograph, into which rendered people may be pasted
    min_size: float = 0.0  # of a person in the crop; pictures cut closely leave an empty rim else


def _mask_cells(mask: np.ndarray | None, hw: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 -> (H / 8, W / 8) uint8: 1 where any pixel of the cell or next to it is set."""
    h, w = hw[0] // CELL_PX, hw[1] // CELL_PX
    if mask is None:
        return np.zeros((h, w), np.uint8)
    blocks = mask[: h * CELL_PX, : w * CELL_PX].reshape(h, CELL_PX, w, CELL_PX)
    return cv2.dilate(blocks.max((1, 3)), np.ones((3, 3), np.uint8))


def collate(samples: list[Sample], options: AugmentOptions) -> Batch:
    """Pad to `max_people`; people are sorted far to near, so that near ones overwrite.

    The farthest of more people than that are masked.
    """
    n, people = len(samples), options.max_people
    orders = [np.argsort(-s.depth_m) for s in samples]
    ignores = [
        np.concatenate([s.ignore_xyxy, s.boxes_xyxy[order[:-people]]])
        for s, order in zip(samples, orders, strict=True)
    ]
    joints = np.zeros((n, people, len(JOINTS2D), 2), np.float32)
    state = np.zeros((n, people, len(JOINTS2D)), np.int8)
    boxes = np.full((n, people, 4), -1e4, np.float32)
    points = np.zeros((n, people, len(JOINTS3D), 3), np.float32)
    weight = np.zeros((n, people, len(JOINTS3D)), np.float32)
    ignore = np.full((n, max(1, *map(len, ignores)), 4), -1e4, np.float32)
    for i, (s, boxes_out) in enumerate(zip(samples, ignores, strict=True)):
        order = orders[i][-people:]
        k = len(order)
        joints[i, :k], state[i, :k] = s.joints_px[order], s.state[order]
        boxes[i, :k], points[i, :k] = s.boxes_xyxy[order], s.joints3d_m[order]
        weight[i, :k] = s.joints3d_weight[order]
        ignore[i, : len(boxes_out)] = boxes_out
    images = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    outside = np.array([s.outside_weight for s in samples], np.float32)
    crowds = np.stack([_mask_cells(s.ignore_mask, s.image.shape[:2]) for s in samples])
    images = np.ascontiguousarray(images)
    arrays = (images, joints, state, boxes, points, weight, ignore, outside, crowds)
    return Batch(*(torch.from_numpy(a) for a in arrays))


class Mixture(IterableDataset[Batch]):
    """Endless batches; each sample's data set is drawn by its share.

    A batch depends on the seed and on its number alone, so that the stream can be entered at any
    place, and is the same with any number of workers.
    """

    def __init__(
        self,
        sources: list[Source],
        options: AugmentOptions,
        *,
        batch: int,
        seed: int,
        first: int = 0,
    ) -> None:
        """Read the shards; a source of which nothing is usable is left out with a warning.

        Args:
            sources: data sets with their shares.
            options: how pictures are changed.
            batch: pictures in each.
            seed: of everything that is drawn.
            first: number of the batch with which iteration starts.

        Raises:
            BadInput: no source is usable.
        """
        self.options, self.batch, self.seed, self.first = options, batch, seed, first
        self.sources: list[Source] = []
        self.data: list[Shards] = []
        for source in sources:
            try:
                data = Shards(source.paths)
            except BadInput as error:
                log.warning("training goes on without %s: %s", source.name, error)
                continue
            self.sources.append(source)
            self.data.append(data)
        if not self.data:
            raise BadInput(
                f"none of {', '.join(s.name for s in sources) or 'no sources'} is usable; "
                "write shards with `python -m xnect.train.pack`"
            )
        shares = np.array([s.share for s in self.sources])
        self.shares = shares / shares.sum()
        self.rendered = [i for i, s in enumerate(self.sources) if not s.real]

    def _one(self, rng: np.random.Generator) -> Sample:
        which = int(rng.choice(len(self.data), p=self.shares))
        sample = self.data[which][int(rng.integers(len(self.data[which])))]
        options = self.options
        if self.sources[which].min_size:
            low, high = options.size_range
            size_range = (max(self.sources[which].min_size, low), high)
            options = replace(options, size_range=size_range)
        extra = None
        if self.sources[which].real and self.rendered:
            if rng.random() < self.options.paste_share:
                other = self.data[self.rendered[int(rng.integers(len(self.rendered)))]]
                extra = other.decode(int(rng.integers(len(other))), owner=True)
        return augment(rng, sample, options, extra)

    def _usable(self, rng: np.random.Generator) -> Sample:
        """One sample; pictures that do not decode are passed over."""
        for _ in range(_TRIES):
            try:
                return self._one(rng)
            except BadInput as error:
                log.warning("passed over: %s", error)
        raise BadInput(f"{_TRIES} pictures one after another do not decode; pack the data again")

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        info = get_worker_info()
        if info:
            # These are for the process that trains, though the whole group gets them (torchrun,
            # a terminal, a scheduler); this one ends when that one does.
            for stop in (signal.SIGINT, signal.SIGTERM):
                signal.signal(stop, signal.SIG_IGN)
        number, step = (self.first + info.id, info.num_workers) if info else (self.first, 1)
        while True:
            rng = np.random.default_rng([self.seed, number])
            yield collate([self._usable(rng) for _ in range(self.batch)], self.options)
            number += step


_TRIES = 50


@dataclass(frozen=True, eq=False)
class Stream:
    """The batches of a mixture, made in other processes while the network trains."""

    mixture: Mixture
    workers: int

    def __iter__(self) -> Iterator[Batch]:
        """From the first batch."""
        return self.from_batch(0)

    def from_batch(self, number: int) -> Iterator[Batch]:
        """From any batch on: what comes is what would have come."""
        mixture = copy.copy(self.mixture)
        mixture.first = number
        made: DataLoader[Batch] = DataLoader(
            mixture,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            persistent_workers=self.workers > 0,
        )
        return iter(made)


def loader(mixture: Mixture, *, workers: int) -> Stream:
    """Batches made by so many other processes; 0 makes them in this one."""
    return Stream(mixture, workers)
