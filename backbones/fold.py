"""Folding of batch norm into the convolutions before it: the same network, faster.

W' = W g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + beta (spec 1.3).
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def folded(network: Network) -> Network:
    """A copy in evaluation mode whose convolutions have swallowed the batch norm after them.

    A batch norm belongs to the convolution right before it among its module's children, where a
    `Sequential` stands for its last child.  So a module must list its layers in the order in which
    it runs them (`conv1, bn1, conv2, bn2`), as all backbones and heads here do.  The batch norms
    become identities: names and shapes of the weights stay, biases are new.
    """
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        for (before, _), (name, norm) in pairwise(list(module.named_children())):
            owner, place = _last(module, before)
            layer = getattr(owner, place)
            if (
                isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
                and isinstance(norm, nn.BatchNorm2d)
                and layer.out_channels == norm.num_features
            ):
                setattr(owner, place, _fold(layer, norm))
                setattr(module, name, nn.Identity())
    return network


def _last(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Where the last layer of a child stands: in `module` itself, or deep in a `Sequential`."""
    child = getattr(module, name)
    if isinstance(child, nn.Sequential) and len(child):
        return _last(child, str(len(child) - 1))
    return module, name


def _fold(layer: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        fused = fuse_conv_bn_eval(layer, norm)
        assert fused.bias is not None
        fused.bias.requires_grad_(fused.weight.requires_grad)  # torch leaves new biases frozen
        return fused
    # torch's own fusion of transposed convolutions refuses groups: its weight is
    # (in, out / groups, k, k), and the output channels repeat with every group of inputs.
    out = copy.deepcopy(layer)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    by_group = scale.view(layer.groups, 1, -1, 1, 1)
    weight = layer.weight.view(layer.groups, -1, *layer.weight.shape[1:]) * by_group
    out.weight = nn.Parameter(weight.flatten(0, 1).detach())
    before = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias
    out.bias = nn.Parameter(((before - norm.running_mean) * scale + norm.bias).detach())
    return out
