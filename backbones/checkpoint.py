"""Checkpoints of backbones: reading a file, and putting it into a model, strictly.

What is put right on the way (spec 1.3): wrappings (`state_dict`, `state_dict_ema`, `model`) and the
`module.` of DataParallel; missing counters of old batch norms; other names of a family (its
`adapt_to`); another number of input channels or of classes, as timm does it.
"""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .features import Features
from .models import FAMILIES

WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Under which keys training scripts keep the weights; the averaged ones first."""

COUNTER = "num_batches_tracked"
"""Batch norm's counter of steps: absent from old files, and nothing that a forward pass reads."""


class BadCheckpoint(ValueError):
    """A file that is missing, corrupted, or for another model; the text is one sentence."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor of a `.safetensors` file or of one written by `torch.save`.

    Nothing in the file is executed: `torch.load` is called with `weights_only=True`.

    Raises:
        BadCheckpoint: No such file, not a whole one, or one without tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"no weights file at {path}")
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = _read_torch(path)
    for _ in range(2):  # {"state_dict": {"model": ...}} exists
        inner = next((content[k] for k in WRAPPINGS if isinstance(content, Mapping)
                      and isinstance(content.get(k), Mapping)), None)  # fmt: skip
        content = content if inner is None else inner
    if not isinstance(content, Mapping):
        raise BadCheckpoint(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    tensors = {str(k).removeprefix("module."): v for k, v in content.items()
               if isinstance(v, Tensor)}  # fmt: skip
    if not tensors:
        raise BadCheckpoint(f"{path} holds no tensors; expected a state dict")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(
            f"{path} is not a whole safetensors file ({error}); download or copy it again"
        ) from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # on odd versions of pickle: the error below says enough
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise anything
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            raise BadCheckpoint(
                f"{path} holds Python objects beside tensors, which are never loaded; save its "
                "state dict alone"
            ) from error
        raise BadCheckpoint(
            f"{path} was not written by torch.save, or is damaged; download or copy it again"
        ) from error


def load_checkpoint_into(
    model: nn.Module, tensors: Mapping[str, Tensor], *, strict: bool = True
) -> list[str]:
    """Copy a checkpoint into a backbone or into `Features`; names of what it did not fill.

    A classifier with another number of classes is left fresh (unless the model is for 1000, the
    default: then the file is asked for another model), and the first convolution is adapted to the
    number of input channels.  `Features` take of a whole checkpoint what they have kept.

    Args:
        model: What to fill.
        tensors: Of `read_checkpoint`.
        strict: Other names that differ are an error; shapes that differ always are.

    Raises:
        BadCheckpoint: Names or shapes that differ, with the architecture that the file looks like.
    """
    state = dict(tensors)
    network = model.model if isinstance(model, Features) else model
    if adapt_to := getattr(network, "adapt_to", None):
        state = adapt_to(state)
    own = model.state_dict()
    if isinstance(model, Features):
        state = {k: v for k, v in state.items() if k not in model.dropped_keys}
    _adapt_input(model, state)
    fresh = _drop_classifier(network, state, own)
    missing = [k for k in own if k not in state and k not in fresh and not k.endswith(COUNTER)]
    unexpected = [k for k in state if k not in own]
    differing = [k for k in own if k in state and own[k].shape != state[k].shape]
    if differing or (strict and (missing or unexpected)):
        raise BadCheckpoint(_difference(state, own, missing, unexpected, differing))
    fits = {k: v for k, v in state.items() if k in own}
    model.load_state_dict(fits, strict=False)
    return missing + fresh


def _adapt_input(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Weights of the first convolution for another number of input channels.

    One channel: the sum over the colours, so that a grey picture gives what it gave as three equal
    channels.  Otherwise they are repeated (or cut) and scaled to keep the size of the answer.
    """
    convolutions = ((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    first, conv = next(convolutions, ("", None))
    theirs = tensors.get(f"{first}.weight")
    if conv is None or theirs is None or theirs.ndim != 4 or theirs.shape[1] != 3:
        return
    channels = conv.in_channels
    if channels == 3:
        return
    if channels == 1:
        adapted = theirs.float().sum(1, keepdim=True)
    else:
        repeated = theirs.float().repeat(1, math.ceil(channels / 3), 1, 1)
        adapted = repeated[:, :channels] * (3 / channels)
    tensors[f"{first}.weight"] = adapted.to(theirs.dtype)


CLASSIFIERS = ("fc", "classifier", "head.fc")
"""What the families call their last layer."""


def _drop_classifier(
    network: nn.Module, tensors: dict[str, Tensor], own: Mapping[str, Tensor]
) -> list[str]:
    """Take a classifier for other classes out of the checkpoint; names that stay fresh in ours."""
    classes = getattr(network, "num_classes", 0)
    for name in CLASSIFIERS:
        keys = (f"{name}.weight", f"{name}.bias")
        if any(k not in tensors for k in keys) or classes == len(tensors[keys[1]]):
            continue
        if classes == 0 or (classes != 1000 and keys[0] in own):
            for key in keys:
                del tensors[key]
            return [k for k in keys if k in own]
    return []


def _difference(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    differing: list[str],
) -> str:
    """One sentence: what is missing, too much, of another shape, and what the file looks like."""
    parts = []
    if missing:
        parts.append(f"lacks {_some(missing)}")
    if unexpected:
        parts.append(f"has {_some(unexpected)} that the model lacks")
    if differing:
        shapes = [f"{k} {_shape(tensors[k])} instead of {_shape(own[k])}" for k in differing]
        parts.append(f"has {_some(shapes)}")
    text = f"the checkpoint does not fit this model: it {', '.join(parts)}"
    variant = looks_like(tensors)
    return f"{text}; it looks like {variant}" if variant else text


def _some(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def looks_like(tensors: Mapping[str, Tensor]) -> str | None:
    """The architecture that shares most names and shapes with a checkpoint; None if under half.

    The classifier is left out: it depends on the classes.
    """
    found = _fingerprint(tensors)
    parts = {name.partition(".")[0] for name, _ in found}
    best, best_score = None, 0.5
    for family in FAMILIES:
        for architecture, build in family.items():
            with torch.device("meta"):
                ours = _fingerprint(build().state_dict())
            own_parts = {name.partition(".")[0] for name, _ in ours}
            if 2 * len(parts & own_parts) <= len(own_parts):
                break  # another family
            score = len(found & ours) / len(found | ours)
            if score > best_score:
                best, best_score = architecture, score
            if score == 1:
                return best
    return best


def _fingerprint(tensors: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all but the classifier and the counters."""
    return {
        (name, tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.endswith(COUNTER)
        and name.rpartition(".")[0].removesuffix(".0") not in CLASSIFIERS
    }
