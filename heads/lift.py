"""The second stage: what was seen of a person -> the complete pose (spec 3).

A residual fully connected network on a plain vector of features; it knows nothing of joints' names.
As in XNect it predicts a pose without size and one size per person, and their product is the pose:
`joints = scale * unscaled`, so that x and y of `unscaled` are the pose as the picture shows it
(spec 3.2).  Two heads more than in the paper: bones (training only) and the expected error.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Lifted(NamedTuple):
    """Poses of P people, K joints."""

    joints_m: Tensor  # (P, K, 3) root-relative, body of reference size
    unscaled: Tensor  # (P, K, 3) the same in units of the input: metres / scale
    log_scale: Tensor  # (P,) natural logarithm of the size
    bones_m: Tensor  # (P, K, 3) each joint against its parent, an auxiliary task
    log_error: Tensor  # (P, K) natural logarithm of the expected error in metres


class _Block(nn.Module):
    """x + two linear layers, each after a norm and a rectifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.linear1 = nn.LayerNorm(width), nn.Linear(width, width)
        self.norm2, self.linear2 = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear1(torch.relu(self.norm1(x)))
        out: Tensor = x + self.linear2(torch.relu(self.norm2(y)))
        return out


class Lifter(nn.Module):
    """(P, inputs) features -> `Lifted`.

    Args:
        inputs: length of the feature vector.
        joints: number of joints K.
        root: number of the root joint, which is always at the origin.
        width: channels of the hidden layers.
        blocks: residual blocks of two layers.
    """

    def __init__(
        self, inputs: int, *, joints: int = 21, root: int = 14, width: int = 512, blocks: int = 2
    ) -> None:
        super().__init__()
        self.inputs, self.joints, self.root = inputs, joints, root
        self.width, self.n_blocks = width, blocks
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.pose = nn.Linear(width, 3 * joints)
        self.scale = nn.Linear(width, 1)
        self.bones = nn.Linear(width, 3 * joints)
        self.error = nn.Linear(width, joints)

    def forward(self, features: Tensor) -> Lifted:
        """(P, inputs) -> poses of P people; planar order x(K) y(K) z(K) in the pose layers."""
        hidden = torch.relu(self.norm(self.blocks(self.stem(features))))  # (P, width)
        unscaled = self.pose(hidden).unflatten(-1, (3, self.joints)).transpose(-1, -2)  # (P, K, 3)
        unscaled = unscaled - unscaled[:, self.root : self.root + 1]
        log_scale = self.scale(hidden)[:, 0].clamp(-3, 3)
        bones = self.bones(hidden).unflatten(-1, (3, self.joints)).transpose(-1, -2)
        joints = log_scale.exp()[:, None, None] * unscaled
        return Lifted(joints, unscaled, log_scale, bones, self.error(hidden).clamp(-7, 1))
