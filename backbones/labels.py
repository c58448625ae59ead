"""Names of the 1000 classes of ImageNet-1k, in the order of every model's outputs.

`imagenet_labels.txt` holds one class per line, `n01440764 tench`: the WordNet 3.0 synset and the
first of its names.  The order is that of the synset numbers.  Two names that WordNet gives twice
are told apart: `crane (bird)`, `crane (machine)`; `maillot`, `tank suit`.

The names are words of WordNet: "WordNet 3.0 Copyright 2006 by Princeton University. All rights
reserved.  THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO
REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED."  Its licence allows use, copying, modification
and distribution for any purpose, without fee, with this notice: https://wordnet.princeton.edu.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("imagenet_labels.txt")


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """1000 names like `n01440764`; the position is the class."""
    return tuple(line.partition(" ")[0] for line in _lines())


@cache
def imagenet_labels() -> tuple[str, ...]:
    """1000 names like `tench`, each once; the position is the class."""
    return tuple(line.partition(" ")[2] for line in _lines())


def class_names(num_classes: int) -> tuple[str, ...]:
    """The names of ImageNet for 1000 classes, `class 0`, `class 1`, ... for any other number."""
    if num_classes == len(imagenet_labels()):
        return imagenet_labels()
    return tuple(f"class {index}" for index in range(num_classes))


def _lines() -> list[str]:
    return FILE.read_text(encoding="utf-8").splitlines()
