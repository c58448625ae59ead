"""`xnect classify`: what is in a picture, by one of the ImageNet classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from xnect.backbones.labels import imagenet_labels, imagenet_synsets
from xnect.demo.pictures import open_picture
from xnect.demo.pretrained_model import Opened, errors_for_users
from xnect.errors import XnectError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Guess:
    """One class of one picture."""

    number: int  # of the class, from 0
    label: str
    probability: float

    def values(self) -> dict[str, object]:
        """For JSON; with the synset when the classes are those of ImageNet."""
        named = {"class": self.number, "label": self.label, "probability": self.probability}
        known = self.number < 1000 and imagenet_labels()[self.number] == self.label
        return {**named, "synset": imagenet_synsets()[self.number]} if known else named


@dataclass(frozen=True)
class Classified:
    """The likeliest classes of a picture, best first."""

    path: Path
    guesses: tuple[Guess, ...]

    def text(self) -> str:
        """Several lines for people."""
        lines = [f"{100 * g.probability:6.2f} %  {g.label}" for g in self.guesses]
        return "\n".join([str(self.path), *lines])

    def json(self) -> str:
        """One line for programs."""
        return json.dumps({"file": str(self.path), "top": [g.values() for g in self.guesses]})


def classify(
    paths: Sequence[Path],
    opened: Opened,
    labels: Sequence[str],
    *,
    top: int = 5,
    upright: bool = True,
    batch: int = 16,
    on_problem: Callable[[str], None],
) -> Iterator[Classified]:
    """The likeliest classes of every picture, in order.

    Args:
        paths: Pictures; one that cannot be read is told to `on_problem` and left out.
        opened: A classifier with as many classes as there are labels.
        labels: Names of the classes.
        top: How many classes.
        upright: Turn pictures as their EXIF orientation says.
        batch: How many pictures at once.
        on_problem: Gets one sentence.
    """
    for done, pixels in prepared(paths, opened, upright=upright, batch=batch, tell=on_problem):
        best = opened.run(pixels).softmax(1).topk(min(top, len(labels)))
        for path, shares, numbers in zip(
            done, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            pairs = zip(numbers, shares, strict=True)
            yield Classified(path, tuple(Guess(n, labels[n], share) for n, share in pairs))


def prepared(
    paths: Sequence[Path],
    opened: Opened,
    *,
    upright: bool,
    batch: int,
    tell: Callable[[str], None],
) -> Iterator[tuple[list[Path], Tensor]]:
    """Batches of up to `batch` pictures, (B, 3, H, W), with their paths; unreadable ones are told.

    Raises:
        BadInput: The model's configuration is impossible.
    """
    import torch

    from xnect.backbones.transforms import evaluation_transform

    with errors_for_users():
        transform = evaluation_transform(opened.config)

    def readable() -> Iterator[tuple[Path, Tensor]]:
        for path in paths:
            try:
                with errors_for_users():
                    pixels = transform(open_picture(path, upright=upright))
            except XnectError as error:
                tell(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            yield path, pixels

    pictures = readable()
    while some := list(islice(pictures, batch)):
        yield [path for path, _ in some], torch.stack([pixels for _, pixels in some])
