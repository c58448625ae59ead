"""Losses of Stage I: plain functions of maps and targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from xnect.network import Maps
from xnect.train.targets import BoxTargets, Targets

PEAK = 0.6
"""Cells whose Gaussian is above this must be 1 in the heatmap."""

OFF_LIMB_WEIGHT = 0.06
"""Of a cell without a limb in the affinity loss: nine of ten cells are such."""


def heatmap_loss(logits: Tensor, target: Tensor, weight: Tensor, *, hard_joints: int = 0) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, Law & Deng 2018, eq. 1; alpha 2, beta 4) per peak.

    Plain L2, and also the quality focal loss, reward empty or faint maps when training starts
    from nothing; this one does not.  Cells with a target above `PEAK` are peaks: every joint has
    one even when it lies on the corner of four cells.  Of each picture only so many
    joints as `hard_joints`, those of the largest losses, count (online hard keypoints, Chen et al.
    2018); 0 takes all.
    """
    logit = logits.clamp(-12, 12)
    log_p, log_q = F.logsigmoid(logit), F.logsigmoid(-logit)
    p, q = log_p.exp(), log_q.exp()
    peak = (target > PEAK).float()
    on_peak = -q.square() * log_p * peak
    elsewhere = -((1 - target) ** 4) * p.square() * log_q * (1 - peak)
    each = ((on_peak + elsewhere) * weight).sum((-2, -1))  # (B, J)
    if hard_joints:
        each = each.topk(hard_joints, dim=1).values * (each.shape[1] / hard_joints)
    return each.sum() / (peak * weight).sum().clamp_min(1.0)


def affinity_loss(predicted: Tensor, targets: Targets) -> Tensor:
    """Smooth L1 on the limbs, and little weight where no limb is."""
    error = F.smooth_l1_loss(predicted, targets.affinities, reduction="none", beta=0.2).sum(2)
    share = targets.limb_mask + OFF_LIMB_WEIGHT * (1 - targets.limb_mask)
    return (error * share * targets.affinity_weight).sum() / targets.limb_mask.sum().clamp_min(1.0)


def code_loss(predicted: Tensor, codes: Tensor, weight: Tensor) -> Tensor:
    """L1 of the bone vectors next to the joints that carry them (channel-sparse, spec 2.4).

    The arguments are (B, 63, h, w) twice and (B, 21, h, w).
    """
    error = (predicted - codes).abs().unflatten(1, (3, -1)).sum(1)  # (B, 21, h, w)
    return (error * weight).sum() / weight.sum().clamp_min(1.0)


def offset_loss(predicted: Tensor, targets: Targets) -> Tensor:
    """L1 of the way to the joint, in cells, in the cells round each joint."""
    error = (predicted - targets.offsets).abs().sum(2)  # (B, J, h, w)
    return (error * targets.offset_weight).sum() / targets.offset_weight.sum().clamp_min(1.0)


def side_loss(predicted: Tensor, sides: Tensor, weight: Tensor) -> Tensor:
    """1 - generalized IoU of the boxes that cells near the centres say (Rezatofighi et al. 2019).

    (B, 4, h, w) log distances, (B, 4, h, w) distances in cells, (B, h, w).
    """
    said = predicted.exp()
    both, hull = torch.minimum(said, sides), torch.maximum(said, sides)

    def area(reach: Tensor) -> Tensor:
        left, top, right, bottom = reach.unbind(1)
        return (left + right) * (top + bottom)

    shared = area(both)
    union = (area(said) + area(sides) - shared).clamp_min(1e-6)
    whole = area(hull).clamp_min(1e-6)
    error = 1 - shared / union + (whole - union) / whole
    return (error * weight).sum() / weight.sum().clamp_min(1.0)


BOX_SHARE = 1.0
"""Of the loss of the boxes, on which all depends that the refiner does."""


def box_losses(boxes: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
    """Of the (B, 5, h, w) maps of the box branch: centres and sides."""
    maps = boxes.float()
    return {
        "centres": BOX_SHARE * heatmap_loss(maps[:, :1], targets.centres, targets.centre_weight),
        "sides": BOX_SHARE * side_loss(maps[:, 1:], targets.sides, targets.side_weight),
    }


def stage1_losses(maps: Maps, targets: Targets, *, hard_joints: int = 0) -> dict[str, Tensor]:
    """All terms, in the weights in which they are added."""
    return {
        "heatmaps": heatmap_loss(
            maps.heatmaps.float(), targets.heatmaps, targets.heatmap_weight, hard_joints=hard_joints
        ),
        "affinities": 0.7 * affinity_loss(maps.affinities.float(), targets),
        "codes": 0.25 * code_loss(maps.codes.float(), targets.codes, targets.code_weight),
        "offsets": 0.3 * offset_loss(maps.offsets.float(), targets),
        **box_losses(maps.boxes, targets.boxes),
    }
