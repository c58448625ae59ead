"""Targets against slow loops written from the definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xnect.skeleton import BONE_PARENTS, CODE_BONES, CODE_UNIT_M, LIMBS, ROOT
from xnect.train.augment import AugmentOptions
from xnect.train.batches import Batch, collate
from xnect.train.samples import SEEN, UNKNOWN, Sample
from xnect.train.targets import CODE_RADIUS, make_targets

SIDE = 96


def random_sample(seed: int, people: int) -> Sample:
    rng = np.random.default_rng(seed)
    joints = rng.uniform(4, SIDE - 4, (people, 18, 2))
    return Sample(
        image=rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
        joints_px=joints,
        state=rng.choice([SEEN, SEEN, 0], (people, 18)).astype(np.int8),
        boxes_xyxy=np.concatenate([joints.min(1), joints.max(1)], 1).reshape(-1, 4),
        joints3d_m=rng.normal(0, 0.5, (people, 21, 3)),
        joints3d_weight=np.ones((people, 21)),
        depth_m=rng.uniform(2, 6, people),
        ignore_xyxy=np.zeros((0, 4)),
        outside_weight=1.0,
    )


def batch_of(*samples: Sample) -> Batch:
    return collate(list(samples), AugmentOptions(crop_px=SIDE))


def cells(pixels: np.ndarray) -> np.ndarray:
    return (pixels - 3.5) / 8


def test_a_heatmap_peaks_at_every_present_joint_and_nowhere_else():
    sample = random_sample(1, 3)
    maps = make_targets(batch_of(sample)).heatmaps[0].numpy()
    y, x = np.mgrid[:12, :12]
    for j in range(18):
        distance = np.full((12, 12), np.inf)
        for p in range(3):
            if sample.state[p, j] > 0:
                cx, cy = cells(sample.joints_px[p, j])
                distance = np.minimum(distance, np.hypot(x - cx, y - cy))
        assert (maps[j][distance > 5] < 1e-3).all()
        near = distance < 0.3
        assert (maps[j][near] > 0.85).all()


def test_affinities_point_along_the_limb():
    sample = random_sample(2, 1)
    sample.state[:] = SEEN
    targets = make_targets(batch_of(sample))
    for number, (a, b) in enumerate(LIMBS):
        start, end = cells(sample.joints_px[0, a]), cells(sample.joints_px[0, b])
        unit = (end - start) / np.linalg.norm(end - start)
        mask = targets.limb_mask[0, number].numpy() > 0
        found = targets.affinities[0, number].numpy()[:, mask]
        np.testing.assert_allclose(found, np.repeat(unit[:, None], mask.sum(), 1), atol=1e-5)
        rows, columns = np.nonzero(mask)
        across = np.abs((columns - start[0]) * unit[1] - (rows - start[1]) * unit[0])
        assert (across <= 1 + 1e-5).all()


def test_codes_equal_the_slow_loop_with_the_near_person_on_top():
    sample = random_sample(3, 3)
    targets = make_targets(batch_of(sample))
    codes = targets.codes[0].numpy().reshape(3, 21, 12, 12)
    weight = targets.code_weight[0].numpy()
    expected, expected_weight = np.zeros_like(codes), np.zeros_like(weight)
    for p in np.argsort(-sample.depth_m):
        for j in range(18):
            if sample.state[p, j] <= 0:
                continue
            cx, cy = cells(sample.joints_px[p, j])
            for bone in CODE_BONES[j]:
                if bone == ROOT:
                    continue
                vector = sample.joints3d_m[p, bone] - sample.joints3d_m[p, BONE_PARENTS[bone]]
                for row in range(12):
                    for column in range(12):
                        square = (row - cy) ** 2 + (column - cx) ** 2
                        if square <= CODE_RADIUS**2:
                            expected[:, bone, row, column] = vector / CODE_UNIT_M
                            expected_weight[bone, row, column] = np.exp(-square / 2)
    np.testing.assert_allclose(codes, expected, atol=1e-4)
    # two joints of one person that carry the same bone may overlap: either weight is right
    assert ((weight > 0) == (expected_weight > 0)).all()


def test_unknown_joints_teach_nothing_in_their_box():
    sample = random_sample(4, 1)
    sample.state[:] = SEEN
    sample.state[0, 4] = UNKNOWN
    targets = make_targets(batch_of(sample))
    low, high = cells(sample.boxes_xyxy[0, :2]), cells(sample.boxes_xyxy[0, 2:])
    y, x = np.mgrid[:12, :12]
    inside = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    weight = targets.heatmap_weight[0].numpy()
    assert (weight[4][inside] == 0).all()
    assert (weight[3][inside] == 1).all()


def test_nobody_gives_empty_maps_with_full_weight():
    nobody = random_sample(5, 0)
    targets = make_targets(batch_of(nobody))
    assert not targets.heatmaps.any() and not targets.limb_mask.any()
    assert (targets.heatmap_weight == 1).all()
    assert not torch.isnan(targets.codes).any()


def test_offsets_lead_from_every_cell_round_a_joint_to_the_joint():
    sample = random_sample(6, 1)
    sample.state[:] = SEEN
    targets = make_targets(batch_of(sample))
    y, x = np.mgrid[:12, :12]
    for j in range(18):
        cx, cy = cells(sample.joints_px[0, j])
        near = targets.offset_weight[0, j].numpy() > 0
        dx, dy = targets.offsets[0, j].numpy()
        np.testing.assert_allclose((x + dx)[near], cx, atol=1e-4)
        np.testing.assert_allclose((y + dy)[near], cy, atol=1e-4)
        assert near[np.abs(y - cy).argmin(0)[0], np.abs(x - cx).argmin(1)[0]]


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_an_unlabelled_person_is_no_background_in_the_box_of_a_labelled_one_either(kind):
    """What is labelled still counts there."""
    sample = random_sample(0, 1)
    sample.state[:] = SEEN
    sample = replace(sample, boxes_xyxy=np.array([[0.0, 0, SIDE, SIDE]]))
    if kind == "box":
        sample = replace(sample, ignore_xyxy=np.array([[0.0, 0, SIDE, SIDE]]))
    else:
        sample = replace(sample, ignore_mask=np.ones((SIDE, SIDE), np.uint8))
    targets = make_targets(batch_of(sample))
    near = targets.heatmaps > 0.3
    assert near.any() and (targets.heatmap_weight[near] == 1).all()
    assert targets.heatmap_weight[~near].max() == 0
    assert (targets.affinity_weight == targets.limb_mask).all()
    assert (targets.boxes.centre_weight == (targets.boxes.centres > 0.3)).all()
