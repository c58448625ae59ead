"""Geometry and colour of training pictures, labels moved along."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from xnect.errors import BadInput
from xnect.skeleton import FLIP2D, FLIP3D
from xnect.train.samples import ABSENT, UNKNOWN, Sample


@dataclass(frozen=True)
class AugmentOptions:
    """How far training pictures are changed."""

    crop_px: int = 256
    size_range: tuple[float, float] = (0.3, 1.0)  # of a person's box in the crop, log-uniform
    rotation_deg: float = 14.0  # standard deviation
    any_rotation_share: float = 0.05
    min_person_px: float = 20.0  # smaller people are masked
    paste_share: float = 0.15  # of real pictures get rendered people pasted in
    cutout_share: float = 0.05
    max_people: int = 8


def as_small_as(share: float, crop_px: int) -> AugmentOptions:
    """Crops in which people are of every size from this share of the side on; smaller are masked.

    Raises:
        BadInput: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise BadInput(f"people of {share} of a training crop's side; give a share between 0 and 1")
    smallest = min(AugmentOptions.min_person_px, 0.75 * share * crop_px)
    return AugmentOptions(crop_px, (share, 1.0), min_person_px=smallest)


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """One similarity from picture to crop, with what it does to 3D vectors."""

    matrix: np.ndarray  # (2, 3) crop_from_image
    turn: np.ndarray  # (2, 2) rotation (and mirror) of x and y
    flip: bool


def random_warp(rng: np.random.Generator, sample: Sample, options: AugmentOptions) -> Warp:
    """A similarity that puts a random person (or any place) into the crop at a random size."""
    height, width = sample.image.shape[:2]
    side = options.crop_px
    if len(sample.boxes_xyxy) and rng.random() < 0.96:
        box = sample.boxes_xyxy[rng.integers(len(sample.boxes_xyxy))]
        size = max(*(box[2:] - box[:2]), 8.0)
        low, high = np.log(options.size_range)
        scale = side * np.exp(rng.uniform(low, high)) / size
        centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.42, 0.42, 2) * side / scale * (
            1 - min(size * scale / side, 1) * 0.6
        )
    else:
        scale = side / (min(height, width) * rng.uniform(0.4, 1.2))
        centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    scale = min(scale, 2.5)
    angle = np.deg2rad(rng.normal(0, options.rotation_deg))
    if rng.random() < options.any_rotation_share:
        angle = rng.uniform(-np.pi, np.pi)
    flip = bool(rng.random() < 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    linear = scale * turn
    shift = np.full(2, (side - 1) / 2) - linear @ centre
    return Warp(np.concatenate([linear, shift[:, None]], 1), turn, flip)


def _warp_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (M, 4, 2)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1)


def warp_sample(sample: Sample, warp: Warp, options: AugmentOptions) -> Sample:
    """The sample in crop pixels; small people are ignored.

    Joints outside the crop are absent, and so are labels outside the picture itself: the rim shows
    nobody.
    """
    side, matrix = options.crop_px, warp.matrix
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = sample.image
    if scale < 0.6:  # plain bilinear would alias
        sigma = 0.35 / scale
        source = cv2.GaussianBlur(source, (0, 0), sigma)
    image = cv2.warpAffine(
        source, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114)
    )
    owner = None
    if sample.owner is not None:
        owner = cv2.warpAffine(sample.owner, matrix, (side, side), flags=cv2.INTER_NEAREST)
    ignored = None
    if sample.ignore_mask is not None:
        ignored = cv2.warpAffine(sample.ignore_mask, matrix, (side, side), flags=cv2.INTER_NEAREST)
    joints = sample.joints_px @ matrix[:, :2].T + matrix[:, 2]
    height, width = sample.image.shape[:2]
    there = np.asarray(((sample.joints_px > -1) & (sample.joints_px < (width, height))).all(-1))
    state, points, weight = sample.state.copy(), sample.joints3d_m.copy(), sample.joints3d_weight
    points[..., :2] = points[..., :2] @ warp.turn.T
    if warp.flip:
        joints, state, there = joints[:, FLIP2D], state[:, FLIP2D], there[:, FLIP2D]
        points, weight = points[:, FLIP3D], weight[:, FLIP3D]
    inside = there & ((joints > -0.5) & (joints < side - 0.5)).all(-1)
    state = np.where(~inside & (state != UNKNOWN), ABSENT, state).astype(np.int8)
    boxes = _warp_boxes(sample.boxes_xyxy, matrix)
    ignore = _warp_boxes(sample.ignore_xyxy, matrix)
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    good = (sizes >= options.min_person_px) & ((state > 0).sum(1) >= 1)
    visible = (boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < side).all(1)
    return replace(
        sample,
        image=image,
        owner=owner,
        ignore_mask=ignored,
        joints_px=joints[good],
        state=state[good],
        boxes_xyxy=boxes[good],
        joints3d_m=points[good],
        joints3d_weight=weight[good],
        depth_m=sample.depth_m[good],
        ignore_xyxy=np.concatenate([ignore, boxes[~good & visible]]),
    )


def paste(base: Sample, people: Sample) -> Sample:
    """Put the rendered people of one crop in front of another crop; covered joints get unknown."""
    assert people.owner is not None
    mask = (people.owner > 0) & (people.owner < 255)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]
    image = (people.image * soft + base.image * (1 - soft)).astype(np.uint8)
    cells = np.clip(np.round(base.joints_px).astype(int), 0, mask.shape[0] - 1)
    covered = mask[cells[..., 1], cells[..., 0]] & (base.state > 0)
    state = np.where(covered, UNKNOWN, base.state).astype(np.int8)
    near = np.full(len(people.depth_m), -1e3) + people.depth_m

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(base, name), getattr(people, name)])

    return replace(
        base,
        image=image,
        joints_px=join("joints_px"),
        state=np.concatenate([state, people.state]),
        boxes_xyxy=join("boxes_xyxy"),
        joints3d_m=join("joints3d_m"),
        joints3d_weight=join("joints3d_weight"),
        depth_m=np.concatenate([base.depth_m, near]),
        ignore_xyxy=join("ignore_xyxy"),
        outside_weight=base.outside_weight,
    )


def cutout(rng: np.random.Generator, sample: Sample) -> Sample:
    """Cover a rectangle with noise or a colour; joints below it become unknown."""
    side = sample.image.shape[0]
    size = (rng.uniform(0.1, 0.35, 2) * side).astype(int)
    x, y = (rng.uniform(0, 1, 2) * (side - size)).astype(int)
    image = sample.image.copy()
    patch = rng.integers(0, 256, 3) + rng.normal(0, rng.uniform(0, 30), (size[1], size[0], 3))
    image[y : y + size[1], x : x + size[0]] = np.clip(patch, 0, 255).astype(np.uint8)
    covered = ((sample.joints_px >= (x, y)) & (sample.joints_px < (x + size[0], y + size[1]))).all(
        -1
    )
    state = np.where(covered & (sample.state > 0), UNKNOWN, sample.state).astype(np.int8)
    return replace(sample, image=image, state=state)


def colour(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Random exposure, contrast, colour balance, saturation, blur and noise of a uint8 picture."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)
    offset = rng.uniform(-15, 15)
    gamma = np.exp(rng.uniform(-0.2, 0.2))
    levels = np.arange(256)[:, None] / 255.0
    table = np.clip(255 * (levels**gamma) * gain + offset, 0, 255).astype(np.uint8)  # (256, 3)
    out = cv2.LUT(image, np.ascontiguousarray(table[:, None, :]))
    saturation = 0.0 if rng.random() < 0.06 else rng.uniform(0.6, 1.4)
    grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    out = cv2.addWeighted(out, saturation, grey, 1 - saturation, 0)
    if rng.random() < 0.15:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.1:
        noise = rng.standard_normal(out.shape, np.float32) * rng.uniform(2, 14)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out


def augment(
    rng: np.random.Generator, sample: Sample, options: AugmentOptions, extra: Sample | None = None
) -> Sample:
    """One training crop; `extra` is a render whose people are pasted in front."""
    crop = warp_sample(sample, random_warp(rng, sample, options), options)
    if extra is not None and extra.owner is not None and len(extra.boxes_xyxy):
        crop = paste(crop, warp_sample(extra, random_warp(rng, extra, options), options))
    if rng.random() < options.cutout_share:
        crop = cutout(rng, crop)
    return replace(crop, image=colour(rng, crop.image))
