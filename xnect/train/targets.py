"""Labels -> what the maps should be, batched in torch on any device (spec 2.4, 2.5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xnect.network import STRIDE
from xnect.skeleton import BONE_PARENTS, CODE_BONES, CODE_UNIT_M, FACE, LIMBS, ROOT
from xnect.train.batches import Batch
from xnect.train.samples import UNKNOWN

LIMB_HALF_WIDTH = 1.0
"""Cells on each side of a limb that carry its direction (spec 2.5)."""

CODE_RADIUS = 1.6
"""Cells round a joint at which its code is supervised; Gaussian weight of sigma 1 (spec 2.4)."""


class BoxTargets(NamedTuple):
    """What the box branch should say, and how much each cell counts."""

    centres: Tensor  # (B, 1, h, w) 0..1
    centre_weight: Tensor  # (B, 1, h, w)
    sides: Tensor  # (B, 4, h, w) cells from each cell to left, top, right, bottom of the box
    side_weight: Tensor  # (B, h, w)


class Targets(NamedTuple):
    """What the maps should be, and how much each cell counts."""

    heatmaps: Tensor  # (B, J, h, w) 0..1
    heatmap_weight: Tensor  # (B, J, h, w)
    affinities: Tensor  # (B, L, 2, h, w)
    affinity_weight: Tensor  # (B, L, h, w)
    limb_mask: Tensor  # (B, L, h, w) 1 on a limb
    codes: Tensor  # (B, 63, h, w)
    code_weight: Tensor  # (B, 21, h, w)
    offsets: Tensor  # (B, J, 2, h, w) cells
    offset_weight: Tensor  # (B, J, h, w)
    boxes: BoxTargets


def _cells(pixels: Tensor) -> Tensor:
    return (pixels - (STRIDE - 1) / 2) / STRIDE


def _grid(h: int, w: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.arange(w, device=device).float(), torch.arange(h, device=device).float()


def _inside(boxes_px: Tensor, h: int, w: int) -> Tensor:
    """(B, M, 4) px -> (B, M, h, w) 1 where a cell's centre lies in the box."""
    x, y = _grid(h, w, boxes_px.device)
    b = _cells(boxes_px)[..., None]
    in_x = ((x >= b[..., 0, :]) & (x <= b[..., 2, :])).float()
    in_y = ((y >= b[..., 1, :]) & (y <= b[..., 3, :])).float()
    return in_y[..., :, None] * in_x[..., None, :]


def _sigma(boxes_px: Tensor) -> Tensor:
    """(B, P, 4) -> (B, P) cells: 0.75 for small people to 1.25 for those who fill the picture."""
    size = (boxes_px[..., 2:] - boxes_px[..., :2]).amax(-1) / STRIDE
    return (0.7 + 0.018 * size).clamp(0.75, 1.25)


def joint_heatmaps(batch: Batch, h: int, w: int) -> Tensor:
    """(B, J, h, w): the largest of everybody's Gaussians of peak 1."""
    x, y = _grid(h, w, batch.joints_px.device)
    cells = _cells(batch.joints_px)
    present = (batch.state > 0).float()
    sigma = _sigma(batch.boxes_xyxy)[..., None, None]
    gx = torch.exp(-0.5 * ((x - cells[..., :1]) / sigma) ** 2)  # (B, P, J, w)
    gy = torch.exp(-0.5 * ((y - cells[..., 1:]) / sigma) ** 2) * present[..., None]
    maps = gy[:, 0, :, :, None] * gx[:, 0, :, None, :]
    for p in range(1, gx.shape[1]):
        maps = torch.maximum(maps, gy[:, p, :, :, None] * gx[:, p, :, None, :])
    return maps


def limb_affinities(batch: Batch, h: int, w: int) -> tuple[Tensor, Tensor]:
    """(B, L, 2, h, w) mean unit vector of the limbs through each cell, (B, L, h, w) mask."""
    x, y = _grid(h, w, batch.joints_px.device)
    cells = _cells(batch.joints_px)
    a, b = (torch.tensor([limb[k] for limb in LIMBS]) for k in (0, 1))
    start, end = cells[:, :, a], cells[:, :, b]  # (B, P, L, 2)
    there = (batch.state[:, :, a] > 0) & (batch.state[:, :, b] > 0)
    length = (end - start).norm(dim=-1)
    unit = (end - start) / length.clamp_min(1e-6)[..., None]
    there &= length > 0.2
    total = cells.new_zeros(cells.shape[0], len(LIMBS), 2, h, w)
    count = cells.new_zeros(cells.shape[0], len(LIMBS), h, w)
    for p in range(cells.shape[1]):
        ux, uy = unit[:, p, :, 0, None, None], unit[:, p, :, 1, None, None]
        dx = x[None, None, None, :] - start[:, p, :, 0, None, None]
        dy = y[None, None, :, None] - start[:, p, :, 1, None, None]
        along, across = dx * ux + dy * uy, (dx * uy - dy * ux).abs()
        on = (along > -0.5) & (along < length[:, p, :, None, None] + 0.5)
        on &= (across <= LIMB_HALF_WIDTH) & there[:, p, :, None, None]
        on_f = on.float()
        total += torch.stack([on_f * ux, on_f * uy], 2)
        count += on_f
    return total / count.clamp_min(1)[:, :, None], (count > 0).float()


def joint_offsets(batch: Batch, h: int, w: int) -> tuple[Tensor, Tensor]:
    """(B, J, 2, h, w) way from a cell to the joint next to it, (B, J, h, w) 1 near a joint.

    Supervised in the cells that touch the joint's own cell; near people win.
    """
    cells = _cells(batch.joints_px)
    count, people, joints = cells.shape[:3]
    offset = torch.tensor([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    place = cells.round()[:, :, :, None] + offset.flip(-1)  # (B, P, J, O, 2) x, y
    inside = ((place >= 0) & (place < torch.tensor([w, h]))).all(-1)
    on = inside & (batch.state > 0)[..., None]
    joint = torch.arange(joints)[:, None]
    index = (joint * h + place[..., 1].long()) * w + place[..., 0].long()
    index = torch.where(on, index, joints * h * w)  # the last element is a bin
    way = cells[:, :, :, None] - place
    offsets = cells.new_zeros(count, 2, joints * h * w + 1)
    weight = cells.new_zeros(count, joints * h * w + 1)
    for p in range(people):
        flat = index[:, p].flatten(1)
        weight.scatter_(1, flat, 1.0)
        vectors = way[:, p].flatten(1, 2).transpose(1, 2)  # (B, 2, J O)
        offsets.scatter_(2, flat[:, None].expand(-1, 2, -1), vectors)
    shape = (joints, h, w)
    return (
        offsets[..., :-1].unflatten(2, shape).transpose(1, 2),
        weight[:, :-1].unflatten(1, shape),
    )


_CARRIED = [(joint, bone) for joint, carried in enumerate(CODE_BONES) for bone in carried]
_OFFSETS = [(dy, dx) for dy in range(-1, 3) for dx in range(-1, 3)]


def bone_codes(
    joints_px: Tensor, state: Tensor, joints3d_m: Tensor, joints3d_weight: Tensor, h: int, w: int
) -> tuple[Tensor, Tensor]:
    """(B, 63, h, w) planar bone vectors in code units, (B, 21, h, w) weight; near people win.

    Only the few cells round each joint are touched: written by index, person after person.  The
    arguments are those of a `Batch`.
    """
    cells = _cells(joints_px)
    count, people = cells.shape[:2]
    parents = torch.tensor(BONE_PARENTS)
    bones = (joints3d_m - joints3d_m[:, :, parents]) / CODE_UNIT_M  # (B, P, 21, 3)
    known = torch.minimum(joints3d_weight, joints3d_weight[:, :, parents])
    known = torch.where(torch.arange(21) == ROOT, torch.zeros(()), known)
    joint, bone = (torch.tensor([pair[k] for pair in _CARRIED]) for k in (0, 1))
    offset = torch.tensor(_OFFSETS)
    place = cells.floor()[:, :, joint, None] + offset.flip(-1)  # (B, P, N, O, 2) x, y
    square = (place - cells[:, :, joint, None]).square().sum(-1)
    inside = ((place >= 0) & (place < torch.tensor([w, h]))).all(-1)
    there = (state[:, :, joint] > 0) & (known[:, :, bone] > 0)
    on = inside & there[..., None] & (square <= CODE_RADIUS**2)
    value = torch.exp(-0.5 * square) * known[:, :, bone, None]  # (B, P, N, O)
    index = (bone[:, None] * h + place[..., 1].long()) * w + place[..., 0].long()
    index = torch.where(on, index, 21 * h * w)  # the last element is a bin
    codes = cells.new_zeros(count, 3, 21 * h * w + 1)
    weight = cells.new_zeros(count, 21 * h * w + 1)
    for p in range(people):
        flat = index[:, p].flatten(1)
        weight.scatter_(1, flat, value[:, p].flatten(1))
        vectors = bones[:, p, bone, None].expand(-1, -1, len(_OFFSETS), -1)  # (B, N, O, 3)
        vectors = vectors.reshape(count, -1, 3).transpose(1, 2)
        codes.scatter_(2, flat[:, None].expand(-1, 3, -1), vectors)
    shape = (21, h, w)
    return codes[..., :-1].reshape(count, 63, h, w), weight[:, :-1].unflatten(1, shape)


BOX_JOINTS = 3
"""Joints that are seen or located of somebody who has a box; of others nothing is learnt."""


def joint_boxes(joints_px: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """(B, P, 18, 2), (B, P, 18) -> (B, P, 4) xyxy box of the joints there, (B, P) bool: enough."""
    there = (state > 0)[..., None]
    low = torch.where(there, joints_px, torch.inf).amin(2)
    high = torch.where(there, joints_px, -torch.inf).amax(2)
    enough = (state > 0).sum(-1) >= BOX_JOINTS
    boxes = torch.cat([low, high], -1)
    return torch.where(enough[..., None], boxes, torch.full_like(boxes, -1e4)), enough


def person_boxes(batch: Batch, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, h, w) peaks at the centres, (B, 4, h, w) cells to the sides, (B, h, w) their weight.

    Peaks are Gaussians as wide as a tenth of the box; sides are supervised where the peak is above
    0.5; near people win.  Of somebody whose whole face is unlabelled no sides are learnt.
    """
    x, y = _grid(h, w, batch.joints_px.device)
    boxes, there = joint_boxes(batch.joints_px, batch.state)
    cells = _cells(boxes)
    centre, size = (cells[..., :2] + cells[..., 2:]) / 2, cells[..., 2:] - cells[..., :2]
    sigma = (0.1 * size).clamp(0.8, 2.5)
    gx = torch.exp(-0.5 * ((x - centre[..., :1]) / sigma[..., :1]) ** 2)  # (B, P, w)
    gy = torch.exp(-0.5 * ((y - centre[..., 1:]) / sigma[..., 1:]) ** 2)
    peaks = gy[..., None] * gx[..., None, :] * there[..., None, None]  # (B, P, h, w)
    whole = (batch.state[..., FACE] != UNKNOWN).any(-1)
    sides = cells.new_ones(len(cells), 4, h, w)
    weight = cells.new_zeros(len(cells), h, w)
    for p in range(cells.shape[1]):
        here = (peaks[:, p] > 0.5) & whole[:, p, None, None]
        left, top, right, bottom = cells[:, p, :, None].unbind(1)
        reach = torch.stack(
            [
                (x - left)[:, None].expand(-1, h, -1), (y - top)[..., None].expand(-1, -1, w),
                (right - x)[:, None].expand(-1, h, -1), (bottom - y)[..., None].expand(-1, -1, w),
            ], 1,
        )  # fmt: skip
        sides = torch.where(here[:, None], reach, sides)
        weight = torch.where(here, peaks[:, p], weight)
    inside = (sides > 0.05).all(1)  # flat boxes: a cell beside the centre lies outside
    return peaks.amax(1, keepdim=True), sides.clamp_min(0.05), weight * inside


def without_padding(batch: Batch) -> Batch:
    """The same batch with as few places for people as it needs (at least one)."""
    used = (batch.state != 0).any(-1).any(0)
    most = max(int(used.nonzero().max()) + 1 if used.any() else 1, 1)
    people = ("joints_px", "state", "boxes_xyxy", "joints3d_m", "joints3d_weight")
    return batch._replace(**{name: getattr(batch, name)[:, :most] for name in people})


def _places(batch: Batch, h: int, w: int) -> tuple[Tensor, Tensor]:
    """(B, P, h, w) 1 in each person's box, (B, h, w) how sure it is that nobody else is there.

    Not where somebody is who is not labelled, also in the box of somebody who is: only what is
    labelled counts there.
    """
    own = _inside(batch.boxes_xyxy, h, w)
    ignored = _inside(batch.ignore_xyxy, h, w).amax(1)
    place = torch.where(own.amax(1) > 0, torch.ones(()), batch.outside_weight[:, None, None])
    return own, place * (1 - ignored) * (1 - batch.ignore_mask.float())


def _box_targets(batch: Batch, own: Tensor, place: Tensor) -> BoxTargets:
    centres, sides, side_weight = person_boxes(batch, *place.shape[-2:])
    some = (batch.state > 0).sum(-1)
    doubtful = ((some < BOX_JOINTS) & (some > 0)).float()  # (B, P)
    doubt = (doubtful[..., None, None] * own).amax(1)
    weight = torch.maximum((place * (1 - doubt))[:, None], (centres > 0.3).float())
    return BoxTargets(centres, weight, sides, side_weight)


def make_box_targets(batch: Batch) -> BoxTargets:
    """What `box_losses` needs, at stride 8."""
    with batch.images.device:
        part = without_padding(batch)
        h, w = part.images.shape[-2] // STRIDE, part.images.shape[-1] // STRIDE
        return _box_targets(part, *_places(part, h, w))


def make_targets(batch: Batch) -> Targets:
    """Everything the losses need, at stride 8."""
    with batch.images.device:  # where the small tables of indices are made as well
        return _targets(without_padding(batch))


def _targets(batch: Batch) -> Targets:
    h, w = batch.images.shape[-2] // STRIDE, batch.images.shape[-1] // STRIDE
    heatmaps = joint_heatmaps(batch, h, w)
    affinities, limb_mask = limb_affinities(batch, h, w)
    people = (batch.joints_px, batch.state, batch.joints3d_m, batch.joints3d_weight)
    codes, code_weight = bone_codes(*people, h, w)
    offsets, offset_weight = joint_offsets(batch, h, w)
    own, place = _places(batch, h, w)
    unknown = (batch.state < 0).float()  # (B, P, J)
    hidden = (unknown[..., None, None] * own[:, :, None]).amax(1)  # (B, J, h, w)
    heatmap_weight = torch.maximum(place[:, None] * (1 - hidden), (heatmaps > 0.3).float())
    a, b = (torch.tensor([limb[k] for limb in LIMBS]) for k in (0, 1))
    hidden_limb = torch.maximum(hidden[:, a], hidden[:, b])
    affinity_weight = torch.maximum(place[:, None] * (1 - hidden_limb), limb_mask)
    return Targets(
        heatmaps,
        heatmap_weight,
        affinities,
        affinity_weight,
        limb_mask,
        codes,
        code_weight,
        offsets,
        offset_weight,
        _box_targets(batch, own, place),
    )
