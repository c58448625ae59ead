"""Samples of several data sets -> batches of equal shape, endlessly and by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from xnect.skeleton import JOINTS2D, JOINTS3D
from xnect.train.augment import AugmentOptions, augment
from xnect.train.samples import Sample, Shards


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


@dataclass(frozen=True)
class Source:
    """One data set in the mixture."""

    name: str
    paths: tuple[Path, ...]
    share: float
    real: bool  # a photograph, into which rendered people may be pasted
    min_size: float = 0.0  # of a person in the crop; pictures cut closely leave an empty rim else


def collate(samples: list[Sample], options: AugmentOptions) -> Batch:
    """Pad to `max_people`; people are sorted far to near, so that near ones overwrite."""
    n, people, ignored = len(samples), options.max_people, 12
    joints = np.zeros((n, people, len(JOINTS2D), 2), np.float32)
    state = np.zeros((n, people, len(JOINTS2D)), np.int8)
    boxes = np.full((n, people, 4), -1e4, np.float32)
    points = np.zeros((n, people, len(JOINTS3D), 3), np.float32)
    weight = np.zeros((n, people, len(JOINTS3D)), np.float32)
    ignore = np.full((n, ignored, 4), -1e4, np.float32)
    for i, s in enumerate(samples):
        order = np.argsort(-s.depth_m)[-people:]
        k = len(order)
        joints[i, :k], state[i, :k] = s.joints_px[order], s.state[order]
        boxes[i, :k], points[i, :k] = s.boxes_xyxy[order], s.joints3d_m[order]
        weight[i, :k] = s.joints3d_weight[order]
        m = min(len(s.ignore_xyxy), ignored)
        ignore[i, :m] = s.ignore_xyxy[:m]
    images = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    outside = np.array([s.outside_weight for s in samples], np.float32)
    arrays = (np.ascontiguousarray(images), joints, state, boxes, points, weight, ignore, outside)
    return Batch(*(torch.from_numpy(a) for a in arrays))


class Mixture(IterableDataset[Batch]):
    """Endless batches; each sample's data set is drawn by its share."""

    def __init__(
        self, sources: list[Source], options: AugmentOptions, *, batch: int, seed: int
    ) -> None:
        self.options, self.batch, self.seed = options, batch, seed
        self.sources = sources
        self.data = [Shards(s.paths) for s in sources]
        shares = np.array([s.share for s in sources])
        self.shares = shares / shares.sum()
        self.rendered = [i for i, s in enumerate(sources) if not s.real]

    def _one(self, rng: np.random.Generator) -> Sample:
        which = int(rng.choice(len(self.data), p=self.shares))
        sample = self.data[which][int(rng.integers(len(self.data[which])))]
        options = self.options
        if self.sources[which].min_size:
            size_range = (self.sources[which].min_size, options.size_range[1])
            options = replace(options, size_range=size_range)
        extra = None
        if self.sources[which].real and self.rendered:
            if rng.random() < self.options.paste_share:
                other = self.data[self.rendered[int(rng.integers(len(self.rendered)))]]
                extra = other.decode(int(rng.integers(len(other))), owner=True)
        return augment(rng, sample, options, extra)

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            yield collate([self._one(rng) for _ in range(self.batch)], self.options)


def loader(mixture: Mixture, *, workers: int) -> DataLoader[Batch]:
    """Batches made in other processes while the network trains."""
    return DataLoader(
        mixture,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )
