"""A backbone by name, with or without the weights that others have published."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .checkpoint import BadCheckpoint, load_checkpoint_into, read_checkpoint
from .features import Features
from .models import MODELS
from .pretrained import PRETRAINED, PretrainedConfig, default_config


class UnknownBackbone(KeyError):
    """A name that does not exist; the text is one sentence with the nearest ones."""

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        super().__init__(f"unknown backbone {name!r}; the nearest that exist: {', '.join(nearest)}")
        self.nearest = tuple(nearest)

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


def list_backbones(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names that match a shell pattern, sorted; with `pretrained` full ones (`selecsls60.in1k`)."""
    names = PRETRAINED if pretrained else MODELS
    return sorted(fnmatch.filter(names, pattern))


def pretrained_config(name: str) -> PretrainedConfig | None:
    """Configuration of a name with or without tag; None where no weights were published.

    Raises:
        UnknownBackbone: An architecture or tag that does not exist.
    """
    architecture, _, tag = name.partition(".")
    if architecture not in MODELS or (tag and name not in PRETRAINED):
        known = [*MODELS, *PRETRAINED]
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.0)
        raise UnknownBackbone(name, near)
    return PRETRAINED[name] if tag else default_config(architecture)


def create_backbone(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    num_classes: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    **table_options: Any,
) -> nn.Module:
    """A classifier, an embedder (`num_classes=0`) or, with `features_only`, `Features`.

    Args:
        name: With or without the tag of its weights: `selecsls42b`, `selecsls42b.in1k`.
        pretrained: True for the published weights of the name, or where others are: a hub id
            (`timm/selecsls42b.in1k`), a file, a folder or a URL.
        num_classes: None for 1000; 0 for pooled features without a classifier.
        features_only: Give the list of feature maps in place of logits.
        out_indices: Which taps, finest first; None for the five that timm gives.
        in_chans: Channels of the images; published weights are adapted.
        drop_rate: Dropout before the classifier.
        table_options: What the family's builder takes besides, such as `width` of SelecSLS.

    Raises:
        UnknownBackbone: A name or tag that does not exist.
        BadCheckpoint: No weights, or some that are corrupted or for another model.
        DownloadError: Weights that cannot be had.
        ValueError: An option that is impossible or that this family does not have.
    """
    config = pretrained_config(name)
    architecture = name.partition(".")[0]
    if out_indices is not None and not features_only:
        raise ValueError("out_indices are for features_only=True")
    if in_chans < 1 or (num_classes or 0) < 0 or not 0 <= drop_rate < 1:
        raise ValueError(
            "in_chans must be 1 or more, num_classes 0 or more and drop_rate from 0 to below 1, "
            f"got {in_chans}, {num_classes} and {drop_rate}"
        )
    source = "" if pretrained is False else _source(pretrained, name, config)
    classes = 0 if features_only else 1000 if num_classes is None else num_classes
    build = MODELS[architecture]
    _check_options(architecture, table_options)
    model = build(num_classes=classes, in_chans=in_chans, drop_rate=drop_rate, **table_options)
    network: nn.Module = Features(model, out_indices) if features_only else model
    if pretrained is not False:
        load_pretrained(network, source)
    return network


def _check_options(architecture: str, options: Mapping[str, object]) -> None:
    """Raise `ValueError` for an option that the family does not have."""
    parameters = inspect.signature(MODELS[architecture]).parameters.values()
    own = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    own -= {"num_classes", "in_chans", "drop_rate"}
    if unknown := sorted(options.keys() - own):
        has = ", ".join(sorted(own)) or "no options of its own"
        raise ValueError(f"{architecture} has no option {', '.join(unknown)}; it has {has}")


def load_pretrained(model: nn.Module, source: str) -> None:
    """Fill a backbone or `Features` from a hub id, a file, a folder or a URL.

    Raises:
        DownloadError: Weights that cannot be had.
        BadCheckpoint: Weights that are corrupted or for another model.
    """
    from .hub import download

    path = download(source)
    try:
        load_checkpoint_into(model, read_checkpoint(path))
    except BadCheckpoint as error:
        where = "" if str(path) in str(error) else f"{source}: "
        raise BadCheckpoint(f"{where}{error}") from error


def _source(pretrained: bool | str | Path, name: str, config: PretrainedConfig | None) -> str:
    """What `download` is to fetch."""
    if pretrained is not True:
        if not str(pretrained):
            raise BadCheckpoint("pretrained is empty; give a hub id, a file or a URL, or True")
        return str(pretrained)
    if config is None:
        near = difflib.get_close_matches(name, PRETRAINED, n=4, cutoff=0.0)
        raise BadCheckpoint(
            f"nobody has published weights of {name}; nearest that have some: {', '.join(near)}"
        )
    return config.hub_id
