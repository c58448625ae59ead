"""Our networks against timm's: the same random weights, the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision_stub import import_timm

from xnect.backbones import Backbone, Features

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest value."""


def random_state(names: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors for a state dict, running statistics too.

    All values are cut from one block of noise: drawing 10^8 numbers would take longer than running
    the networks.
    """
    generator = torch.Generator().manual_seed(seed)
    largest = max(t.numel() for t in names.values())
    noise = torch.randn(largest + 4096, generator=generator)
    state = {}
    for name, like in names.items():
        start = int(torch.randint(4096, (), generator=generator))
        values = noise[start : start + like.numel()].view(like.shape).clone()
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + values.abs()
        elif like.ndim > 1:
            state[name] = values * (2 / like[0].numel()) ** 0.5
        elif name.endswith("weight"):
            state[name] = 1.1 + 0.1 * values
        else:
            state[name] = 0.1 * values
    return state


def filled(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A network from the meta device, in evaluation mode; shares its tensors with `state`."""
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Move running statistics half-way to those of some noise.

    So values stay near 1 over a hundred layers, and everything counts: weights, biases, pictures.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.5
    network.train()(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    network.eval()


def pair(
    ours: Callable[..., Backbone], timm_name: str, **options: Any
) -> tuple[Backbone, nn.Module, dict[str, Tensor]]:
    """Ours and timm's with the same weights, and these; strictly loaded in both directions."""
    timm = import_timm()
    with torch.device("meta"):
        mine, theirs = ours(**options), timm.create_model(timm_name, **options)
    settle(filled(theirs, random_state(theirs.state_dict())))
    state = theirs.state_dict()
    filled(mine, state)
    filled(theirs, mine.state_dict())
    return mine, theirs, state


def feature_pair(
    ours: Callable[..., Backbone], timm_name: str, state: dict[str, Tensor], **timm_options: Any
) -> tuple[Features, nn.Module]:
    """The same for feature maps in place of logits, from the weights of the whole network."""
    timm = import_timm()
    with torch.device("meta"):
        mine = Features(ours())
        theirs = timm.create_model(timm_name, features_only=True, **timm_options)
    filled(mine, {name: state[name] for name in mine.state_dict()})
    # timm writes the dots of modules that it has taken out of a Sequential as underscores
    by_timm = {name.replace(".", "_"): tensor for name, tensor in state.items()}
    filled(theirs, {name: by_timm[name.replace(".", "_")] for name in theirs.state_dict()})
    return mine, theirs


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference as a share of the largest value; shapes must be equal."""
    assert ours.shape == theirs.shape
    assert theirs.isfinite().all() and theirs.abs().max() > 0
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def assert_same_classifier(mine: Backbone, theirs: nn.Module, *sizes_hw: tuple[int, int]) -> None:
    """Features, embeddings and logits agree on pairs of pictures of the given sizes."""
    for number, hw in enumerate(sizes_hw):
        images = torch.randn(2, 3, *hw, generator=torch.Generator().manual_seed(number))
        maps, their_maps = mine.forward_features(images), theirs.forward_features(images)
        assert relative_error(maps, their_maps) <= TOLERANCE
        for pre_logits in (False, True):
            head = mine.forward_head(maps, pre_logits=pre_logits)
            their_head = theirs.forward_head(their_maps, pre_logits=pre_logits)
            assert relative_error(head, their_head) <= TOLERANCE
            assert relative_error(their_head[0], their_head[1]) > 100 * TOLERANCE  # can fail
    assert relative_error(mine(images), theirs(images)) <= TOLERANCE


@torch.no_grad()
def assert_same_features(mine: Features, theirs: nn.Module, *sizes_hw: tuple[int, int]) -> None:
    """Every tap agrees: its values, channels, stride and name."""
    info = theirs.feature_info
    assert [tap.channels for tap in mine.taps] == info.channels()
    assert [tap.reduction for tap in mine.taps] == info.reduction()
    assert [tap.module for tap in mine.taps] == info.module_name()
    for hw in sizes_hw:
        images = torch.randn(1, 3, *hw, generator=torch.Generator().manual_seed(3))
        for a, b in zip(mine(images), theirs(images), strict=True):
            assert relative_error(a, b) <= TOLERANCE


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def shapes(maps: list[Tensor]) -> list[tuple[int, ...]]:
    """(channels, height, width) of each."""
    return [tuple(m.shape[1:]) for m in maps]
