"""Maps of a mirrored picture, turned back: the flip test of the pose estimation literature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnect.network import Maps
from xnect.skeleton import FLIP2D, FLIP3D, LIMBS

FLIP_LIMBS = tuple(LIMBS.index((FLIP2D[a], FLIP2D[b])) for a, b in LIMBS)
"""The limb that each limb becomes in the mirror."""


def mirrored(maps: Maps) -> Maps:
    """Maps of a picture -> those of its mirror image: cells, x of vectors, left and right swap.

    Widths of the picture are multiples of the stride, so cell c becomes cell W - 1 - c exactly.
    """
    joints, limbs = list(FLIP2D), list(FLIP_LIMBS)
    return Maps(
        heatmaps=maps.heatmaps.flip(-1)[:, joints],
        affinities=x_negated(maps.affinities.flip(-1)[:, limbs], 2),
        codes=mirrored_codes(maps.codes),
        offsets=x_negated(maps.offsets.flip(-1)[:, joints], 2),
        boxes=maps.boxes.flip(-1)[:, [0, 3, 2, 1, 4]],
    )


def mirrored_codes(codes: Tensor) -> Tensor:
    """(B, 3K, h, w) planar bone vectors of a picture -> those of its mirror image."""
    bones = codes.flip(-1).unflatten(1, (3, -1))[:, :, list(FLIP3D)]  # (B, 3, K, h, w)
    return x_negated(bones, 1).flatten(1, 2)


def flip_tested(network: nn.Module, images: Tensor) -> Maps:
    """Mean of the maps of (B, 3, H, W) images and of their mirror images: twice the work.

    Heatmaps are averaged as probabilities, and given back as logits like the network's.
    """
    both = Maps(*network(torch.cat([images, images.flip(-1)])))
    here, there = (
        Maps(*(m[i] for m in both)) for i in (slice(len(images)), slice(len(images), None))
    )
    back = mirrored(there)
    chance = (torch.sigmoid(here.heatmaps.float()) + torch.sigmoid(back.heatmaps.float())) / 2
    means = ((a + b) / 2 for a, b in zip(here[1:], back[1:], strict=True))
    return Maps(torch.logit(chance, eps=1e-6), *means)


def x_negated(vectors: Tensor, axis: int) -> Tensor:
    """`vectors` with the first entry of `axis` (x) negated."""
    sign = torch.ones(vectors.shape[axis], dtype=vectors.dtype, device=vectors.device)
    sign[0] = -1
    return vectors * sign.view(-1, *[1] * (vectors.ndim - axis - 1))
