"""The pictures of training shards: random scenes, drawn, with the noise of a camera on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from xnect.synth.assets import Assets
from xnect.synth.body import random_person
from xnect.synth.render import Picture, renderer
from xnect.synth.scene import Scene, SceneOptions, random_scene
from xnect.synth.sensor import camera_noise

PHOTO_WIDTH_PX = 1000  # photos are kept in memory at about this width


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """How many pictures, and how they are drawn."""

    pictures: int = 400  # per shard
    pool: int = 40  # people who are built per shard and drawn again and again
    smooth_share: float = 0.2  # of pictures with four samples per pixel instead of one
    scene: SceneOptions = field(default_factory=SceneOptions)
    backend: str = "cpu"  # or torch: the same scenes, nearly the same pictures
    device: str = "auto"  # of torch
    batch: int = 1  # pictures that are drawn together; it changes nothing in them


class PictureSource:
    """Draws the pictures of any shard; the same seed and shard give the same pictures."""

    def __init__(self, assets: Assets, options: DatasetOptions) -> None:
        self._assets, self._options = assets, options
        self._fast, self._smooth = (
            renderer(assets, backend=options.backend, device=options.device, supersampling=n)
            for n in (1, 2)
        )
        self._photos: dict[str, np.ndarray] = {}

    def pictures(self, *, seed: int, shard: int) -> Iterator[tuple[Picture, Scene]]:
        """All pictures of a shard, with the noise of a camera on them."""
        options, rng = self._options, np.random.default_rng([seed, shard])
        noise = np.random.default_rng([seed, shard, 1])  # of its own: back ends draw in batches
        pool = [random_person(self._assets, rng) for _ in range(options.pool)]
        batch = max(1, options.batch)
        for first in range(0, options.pictures, batch):
            scenes, smooth = [], []
            for _ in range(min(batch, options.pictures - first)):
                scenes.append(
                    random_scene(
                        self._assets, rng, pool, photo_of=self.photo, options=options.scene
                    )
                )
                smooth.append(bool(rng.random() < options.smooth_share))
            drawn: dict[int, Picture] = {}
            for kind, draw in ((True, self._smooth), (False, self._fast)):
                numbers = [n for n, chosen in enumerate(smooth) if chosen is kind]
                if numbers:
                    pictures = draw.pictures([scenes[n] for n in numbers])
                    drawn.update(zip(numbers, pictures, strict=True))
            for n, scene in enumerate(scenes):
                picture = drawn[n]
                noisy = camera_noise(noise, picture.image, owner=picture.owner)
                yield replace(picture, image=noisy), scene

    def photo(self, entry: Mapping[str, Any]) -> np.ndarray:
        """A photo, read from the disk at its first use only."""
        name = entry["file"]
        if name not in self._photos:
            photo = self._assets.photo(entry)
            scale = min(1.0, PHOTO_WIDTH_PX / photo.shape[1])
            small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self._photos[name] = np.asarray(small)
        return self._photos[name]
