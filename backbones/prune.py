"""Pruning of SelecSLS by the scales of its batch norms (authors' rule, spec 1.3).

A channel whose scale |gamma| is below a threshold hardly depends on the picture: behind the batch
norm it is about beta everywhere, and behind the ReLU c = max(beta, 0).  It is dropped, and what it
gave to the layers that read it is kept:

* a 1x1 convolution or the classifier gets W c more bias;
* a padded 3x3 convolution sees c inside the picture but 0 in its padding, which no bias can tell.
  All dropped channels with c > 0 that it would read are gathered into *one* channel that is 1
  everywhere, and its weight there is the sum of W c.

So with gamma = 0 the outputs are the same up to rounding, whatever beta is, also at the border;
with small gammas the error is of their size.  The three parts and the long skip that conv6 puts
side by side have a mask each.  Never narrowed: maps that a `Features` gives away, embeddings of a
network without classifier, and both sides of grouped convolutions.

The result is the same class with fewer channels and no masks, its batch norms folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .features import Features, Tap
from .fold import folded
from .selecsls import SelecSLS, SelecSLSBlock

Model = TypeVar("Model", SelecSLS, Features)

THRESHOLD = 1e-4
"""The default of the authors' script; their examples go up to 1e-3."""


class Channels(NamedTuple):
    """What is left of the C channels of a map."""

    kept: Tensor  # (C,) bool
    constant: Tensor  # (C,) value of a dropped channel
    gathered: bool  # whether a last channel, 1 everywhere, stands for the dropped ones


@torch.no_grad()
def pruned(model: Model, threshold: float = THRESHOLD) -> Model:
    """A folded copy without the channels whose batch-norm scale is below `threshold`.

    Of a layer that would lose every channel the one with the largest scale stays.

    Raises:
        ValueError: No SelecSLS, one that is folded already, or a threshold below 0.
    """
    core = _core(model)
    if not threshold >= 0:
        raise ValueError(f"the threshold of pruning must be 0 or more, got {threshold}")
    if not any(isinstance(module, nn.BatchNorm2d) for module in core.modules()):
        raise ValueError("this network has no batch norm to prune by; prune before folding")
    thin = folded(model)
    _Pruner(core, _core(thin), threshold, model.taps if isinstance(model, Features) else ()).run()
    return thin


@torch.no_grad()
def load_pruned(model: Model, tensors: Mapping[str, Tensor]) -> Model:
    """A folded copy of `model` with the widths and weights of a pruned one's state dict.

    Raises:
        ValueError: No SelecSLS.
        RuntimeError: Weights of another network; names the keys and shapes.
    """
    _core(model)
    thin = folded(model)
    for name, layer in list(thin.named_modules()):
        weight = tensors.get(f"{name}.weight")
        if weight is not None and isinstance(layer, (nn.Conv2d, nn.Linear)):
            own = weight.to(layer.weight)  # on the device and of the type of the model
            _resize(layer, own, own.new_zeros(len(own)))
    thin.load_state_dict(dict(tensors), strict=True)
    _count(_core(thin))
    return thin


class _Pruner:
    """Walks through a network in the order of its layers; `thin` is the folded copy."""

    def __init__(
        self, model: SelecSLS, thin: SelecSLS, threshold: float, taps: Sequence[Tap]
    ) -> None:
        self.model, self.thin, self.threshold = model, thin, threshold
        self.whole = {_layer_of(tap) for tap in taps}  # layers that must keep all channels

    def run(self) -> None:
        thin = self.thin
        head = [f"head.{i}" for i in range(len(thin.head))]
        starts = [f"features.{i}.conv1" for i in range(len(thin.features))]
        image = _conv(thin, "stem").in_channels
        x = Channels(torch.ones(image, dtype=torch.bool), torch.zeros(image), False)
        x = skip = self.layer("stem", [x], [*starts, *head][:1])
        for number, block in enumerate(thin.features):
            assert isinstance(block, SelecSLSBlock)
            at = f"features.{number}"
            d1 = self.layer(f"{at}.conv1", [x], [f"{at}.conv2", f"{at}.conv6"])
            d2 = self.layer(f"{at}.conv2", [d1], [f"{at}.conv3"])
            d2 = self.layer(f"{at}.conv3", [d2], [f"{at}.conv4", f"{at}.conv6"])
            d3 = self.layer(f"{at}.conv4", [d2], [f"{at}.conv5"])
            d3 = self.layer(f"{at}.conv5", [d3], [f"{at}.conv6"])
            parts = [d1, d2, d3] if block.is_first else [d1, d2, d3, skip]
            readers = [*starts[number + 1 :], *head][:1]
            x = self.layer(f"{at}.conv6", parts, readers)
            skip = x if block.is_first else skip
        for number, name in enumerate(head):
            x = self.layer(name, [x], head[number + 1 :][:1])
        if isinstance(thin.fc, nn.Linear):
            columns, more = _read(thin.fc.weight[:, :, None, None], [x])
            _resize(thin.fc, columns.flatten(1), thin.fc.bias + more)
        _count(thin)

    def layer(self, name: str, inputs: Sequence[Channels], readers: Sequence[str]) -> Channels:
        """Narrow one convolution in place; what is left of the channels it gives."""
        conv, norm = _conv(self.thin, name), _norm(self.model, name)
        read_by = [_conv(self.thin, reader) for reader in readers]
        ends = not read_by and not isinstance(self.thin.fc, nn.Linear)
        whole = ends or name in self.whole
        if whole or any(c.groups > 1 for c in (conv, *read_by)):
            kept = torch.ones(conv.out_channels, dtype=torch.bool)
        else:
            scale = norm.weight.abs().cpu()
            kept = scale >= min(self.threshold, float(scale.max()))
        constant = norm.bias.clamp(min=0).cpu() * ~kept
        gathered = bool(constant.any()) and any(c.padding != (0, 0) for c in read_by)
        weight, bias = conv.weight, conv.bias
        assert bias is not None  # it is folded
        if conv.groups == 1:
            weight, more = _read(weight, inputs)
            bias = bias + more
        weight, bias = weight[kept], bias[kept]
        if gathered:
            weight = torch.cat([weight, torch.zeros_like(weight[:1])])
            bias = torch.cat([bias, torch.ones_like(bias[:1])])
        _resize(conv, weight, bias)
        return Channels(kept, constant, gathered)


def _conv(core: SelecSLS, layer: str) -> nn.Conv2d:
    conv = core.get_submodule(f"{layer}.0")
    assert isinstance(conv, nn.Conv2d)
    return conv


def _norm(core: SelecSLS, layer: str) -> nn.BatchNorm2d:
    norm = core.get_submodule(f"{layer}.1")
    assert isinstance(norm, nn.BatchNorm2d)
    return norm


def _read(weight: Tensor, inputs: Sequence[Channels]) -> tuple[Tensor, Tensor]:
    """(O, I, k, k) -> weights for what is left of the inputs, (O, I', k, k), and more bias (O,)."""
    columns, bias = [], weight.new_zeros(len(weight))
    parts = torch.split(weight, [len(part.kept) for part in inputs], 1)
    for part, (kept, constant, gathered) in zip(parts, inputs, strict=True):
        lost = (part * constant.to(weight)[:, None, None]).sum(1, keepdim=True)  # (O, 1, k, k)
        columns += [part[:, kept], lost] if gathered else [part[:, kept]]
        bias += 0 if gathered else lost.sum((1, 2, 3))
    return torch.cat(columns, 1), bias


def _resize(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight = nn.Parameter(weight.contiguous())
    layer.bias = nn.Parameter(bias.contiguous())
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    else:
        layer.out_features, layer.in_features = weight.shape[0], weight.shape[1]


def _count(core: SelecSLS) -> None:
    """Set `taps` and `num_features` to the widths that the layers now have."""
    there = dict(core.named_modules())
    taps = [
        tap._replace(channels=there[f"{_layer_of(tap)}.0"].out_channels)
        for tap in core.taps
        if f"{_layer_of(tap)}.0" in there
    ]
    core.taps = (*taps, *core.taps[len(taps) :])  # the deepest may be cut off
    if isinstance(core.fc, nn.Linear):
        core.num_features = core.fc.in_features


def _layer_of(tap: Tap) -> str:
    """Name of the convolution whose output a tap is."""
    if tap.module.startswith("features."):
        return f"{tap.module}.conv6"
    return "stem" if tap.module == "stem.2" else tap.module


def _core(model: nn.Module) -> SelecSLS:
    core = model.model if isinstance(model, Features) else model
    if not isinstance(core, SelecSLS):
        raise ValueError(f"only SelecSLS can be pruned, got {type(core).__name__}")
    return core
