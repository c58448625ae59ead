"""All architectures of this folder by name; one line for each family."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache

from .features import Backbone

FAMILIES = ("selecsls", "hrnet", "resnest", "resnet", "vovnet")


@cache
def all_models() -> dict[str, Callable[..., Backbone]]:
    """Architecture -> builder."""
    models: dict[str, Callable[..., Backbone]] = {}
    for family in FAMILIES:
        if importlib.util.find_spec(f"{__package__}.{family}"):
            models |= importlib.import_module(f".{family}", __package__).MODELS
    return models
