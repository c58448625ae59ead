"""Folding of batch norm into the convolutions before it: the same network, faster."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose convolutions have swallowed the batch norm after them.

    W' = W g / sqrt(v + e), b' = b - m g / sqrt(v + e) (spec 1.3).
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            layer, norm = module[i], module[i + 1]
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(
                norm, nn.BatchNorm2d
            ):
                module[i] = _fold(layer, norm)
                module[i + 1] = nn.Identity()
    return network


def _fold(layer: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
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
