"""All architectures of this folder by name."""

from __future__ import annotations

from collections.abc import Callable

from . import hrnet, resnest, resnet, selecsls, vovnet
from .features import Backbone

FAMILIES: tuple[dict[str, Callable[..., Backbone]], ...] = (
    selecsls.MODELS,
    hrnet.MODELS,
    resnest.MODELS,
    resnet.MODELS,
    vovnet.MODELS,
)
MODELS = {name: build for family in FAMILIES for name, build in family.items()}
"""Architecture -> builder with the keywords `num_classes`, `in_chans`, `drop_rate` and its own."""
