"""Training data: round trips, labels that move with the picture, streams, damaged shards."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.test_targets import random_sample
from xnect.errors import BadInput
from xnect.network import build_network
from xnect.skeleton import FLIP2D, FLIP3D
from xnect.train.augment import (
    AugmentOptions,
    Warp,
    as_small_as,
    augment,
    colour,
    random_warp,
    warp_sample,
)
from xnect.train.batches import Mixture, Source, collate, loader
from xnect.train.checkpoint import Ema
from xnect.train.datasets.coco import joints18_from_coco17
from xnect.train.descent import optimizer_step, rate_at
from xnect.train.losses import heatmap_loss
from xnect.train.options import TrainOptions
from xnect.train.samples import ABSENT, SEEN, UNKNOWN, Shards, write_shard
from xnect.train.stage1 import stage1_step
from xnect.train.targets import make_targets

SHARED = Path(__file__).resolve().parents[2] / "shared"


def test_a_shard_gives_back_its_labels_exactly(tmp_path):
    samples = [random_sample(i, i) for i in range(4)]
    assert write_shard(tmp_path / "a.npz", samples) == 4
    shards = Shards([tmp_path / "a.npz"])
    for i, sample in enumerate(samples):
        again = shards[i]
        np.testing.assert_allclose(again.joints_px, sample.joints_px, atol=1e-4)
        assert (again.state == sample.state).all()
        assert again.image.shape == sample.image.shape


def test_labels_move_with_the_picture():
    """A bright dot at a joint is still at that joint after any warp."""
    rng = np.random.default_rng(3)
    options = AugmentOptions(crop_px=128)
    for seed in range(20):
        sample = random_sample(seed, 1)
        sample.state[:] = SEEN
        sample.image[:] = 0
        x, y = np.round(sample.joints_px[0, 6]).astype(int)
        sample.joints_px[0, 6] = x, y
        cv2.circle(sample.image, (int(x), int(y)), 3, (255, 255, 255), -1)
        warp = random_warp(rng, sample, options)
        moved = warp_sample(sample, warp, options)
        if not len(moved.state):
            continue
        joint = FLIP2D[6] if warp.flip else 6
        if moved.state[0, joint] != SEEN:
            continue
        grey = moved.image[..., 0].astype(float)
        grey[grey < 120] = 0  # the rim is 114
        rows, columns = np.mgrid[:128, :128]
        mass = grey.sum()
        if mass < 500 or (moved.joints_px[0, joint] < 12).any():
            continue
        if (moved.joints_px[0, joint] > 115).any():
            continue
        centre = np.array([(grey * columns).sum(), (grey * rows).sum()]) / mass
        assert np.abs(centre - moved.joints_px[0, joint]).max() < 1.5


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_people_fill_every_share_of_the_crop_from_the_smallest_on(share):
    rng, options = np.random.default_rng(2), as_small_as(share, 192)
    one = random_sample(2, 1)
    size = (one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2]).max()
    scales = [np.hypot(*random_warp(rng, one, options).matrix[:, 0]) for _ in range(300)]
    sizes = np.array(scales) * size / 192
    assert np.quantile(sizes, 0.1) < 1.4 * share
    assert (sizes > 0.98 * share).mean() > 0.9  # the rest are places chosen at random
    assert options.min_person_px <= share * 192


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(BadInput, match="between 0 and 1"):
        as_small_as(share, 192)


def test_flipping_twice_is_the_identity():
    sample = random_sample(7, 2)
    sample.state[:] = SEEN
    options = AugmentOptions(crop_px=96, min_person_px=0)
    mirror = Warp(np.array([[-1.0, 0, 95], [0, 1, 0]]), np.diag([-1.0, 1.0]), True)
    twice = warp_sample(warp_sample(sample, mirror, options), mirror, options)
    np.testing.assert_allclose(twice.joints_px, sample.joints_px, atol=1e-9)
    np.testing.assert_allclose(twice.joints3d_m, sample.joints3d_m, atol=1e-12)
    assert (twice.image == sample.image).all()
    once = warp_sample(sample, mirror, options)
    np.testing.assert_allclose(once.joints3d_m[:, FLIP3D, 0], -sample.joints3d_m[..., 0])


def test_colour_keeps_the_shape_and_the_kind():
    image = random_sample(1, 0).image
    for seed in range(10):
        out = colour(np.random.default_rng(seed), image)
        assert out.shape == image.shape and out.dtype == np.uint8


def test_batches_depend_on_the_seed_alone(tmp_path):
    write_shard(tmp_path / "renders-a.npz", [random_sample(i, 2) for i in range(5)])
    source = Source("renders", (tmp_path / "renders-a.npz",), 1.0, False)

    def first(seed):
        return next(iter(Mixture([source], AugmentOptions(crop_px=64), batch=3, seed=seed)))

    assert torch.equal(first(1).images, first(1).images)
    assert not torch.equal(first(1).images, first(2).images)


def test_training_lowers_the_loss_on_one_batch():
    torch.manual_seed(0)
    network = build_network("s").train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    samples = [random_sample(i, 2) for i in range(4)]
    batch = collate(samples, AugmentOptions(crop_px=96))
    losses_of = stage1_step()
    first = sum(optimizer_step(network, optimizer, [batch], losses_of).values())
    for _ in range(25):
        last = sum(optimizer_step(network, optimizer, [batch], losses_of).values())
    assert last < 0.6 * first


def test_labels_outside_the_picture_are_absent_even_where_the_crop_has_a_rim():
    sample = random_sample(2, 1)
    sample.state[:] = SEEN
    sample.joints_px[0, 3] = (-9.0, 40.0)
    sample.joints_px[0, 4] = (50.0, 400.0)
    small = Warp(np.array([[0.1, 0, 40], [0, 0.1, 40]]), np.eye(2), False)
    moved = warp_sample(sample, small, AugmentOptions(crop_px=96, min_person_px=0))
    assert (np.flatnonzero(moved.state[0] != SEEN) == [3, 4]).all()
    assert (moved.state[0, 3:5] == ABSENT).all()


def test_a_person_without_joints_is_masked():
    sample = random_sample(3, 2)
    sample.state[:] = SEEN
    sample.state[1] = UNKNOWN
    same = Warp(np.array([[1.0, 0, 0], [0, 1, 0]]), np.eye(2), False)
    moved = warp_sample(sample, same, AugmentOptions(crop_px=96))
    assert len(moved.state) == 1
    np.testing.assert_allclose(moved.ignore_xyxy, sample.boxes_xyxy[1:])


def test_crowds_move_with_the_picture_and_through_shards(tmp_path):
    mask = np.zeros((96, 96), np.uint8)
    mask[:, :32] = 1
    sample = replace(random_sample(1, 0), ignore_mask=mask)
    write_shard(tmp_path / "a.npz", [sample, random_sample(2, 1)])
    shards = Shards([tmp_path / "a.npz"])
    assert (shards[0].ignore_mask == mask).all() and shards[1].ignore_mask is None
    mirror = Warp(np.array([[-1.0, 0, 95], [0, 1, 0]]), np.diag([-1.0, 1.0]), True)
    options = AugmentOptions(crop_px=96)
    moved = warp_sample(shards[0], mirror, options)
    assert (moved.ignore_mask == mask[:, ::-1]).all()
    weight = make_targets(collate([moved], options)).heatmap_weight[0, 0]
    assert (weight[:, 8:] == 0).all() and (weight[:, :7] == 1).all()


def test_hard_joints_are_those_of_the_largest_losses():
    torch.manual_seed(0)
    logits, target, weight = torch.randn(2, 18, 6, 6), torch.zeros(2, 18, 6, 6), torch.ones(1)
    target[:, :, 2, 2] = 1
    weight = weight.expand_as(target)
    every = heatmap_loss(logits, target, weight)
    torch.testing.assert_close(heatmap_loss(logits, target, weight, hard_joints=18), every)
    assert heatmap_loss(logits, target, weight, hard_joints=4) > every
    logits = 8 * (2 * target - 1)
    logits[:, :4] *= -1  # the joints that are not found
    hard = logits.clone().requires_grad_()
    heatmap_loss(hard, target, weight, hard_joints=4).backward()
    assert hard.grad[:, 4:].abs().max() == 0 and hard.grad[:, :4].abs().max() > 0


# batches


def three_sources(folder):
    owner = np.zeros((96, 96), np.uint8)
    owner[30:60, 30:60] = 1
    rendered = [replace(random_sample(i, 2), owner=owner) for i in range(5)]
    write_shard(folder / "renders-a.npz", rendered)
    write_shard(folder / "coco.npz", [random_sample(i, 1) for i in range(5)])
    return [
        Source("renders", (folder / "renders-a.npz",), 0.5, False),
        Source("coco", (folder / "coco.npz",), 0.5, True),
        Source("lspet", (folder / "lspet.npz",), 0.5, True),
    ]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_entered_in_its_middle_goes_on_as_it_would_have(tmp_path, workers):
    sources = three_sources(tmp_path)[:2]
    mixture = Mixture(sources, AugmentOptions(crop_px=64), batch=2, seed=3)
    whole = list(islice(loader(mixture, workers=0), 5))
    part = list(islice(loader(mixture, workers=workers).from_batch(2), 3))
    assert all(equal(a, b) for a, b in zip(whole[2:], part, strict=True))
    assert not equal(whole[0], whole[1])


def test_missing_and_damaged_shards_are_named_and_the_rest_is_used(tmp_path, caplog):
    sources = three_sources(tmp_path)
    whole = (tmp_path / "coco.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with np.load(tmp_path / "coco.npz") as file:
        fields = dict(file)
    np.savez(tmp_path / "short.npz", **{**fields, "state": fields["state"][:-1]})
    np.savez(tmp_path / "lacks.npz", **{k: v for k, v in fields.items() if k != "depth_m"})
    names = ("cut", "short", "lacks", "coco")
    sources[1] = replace(sources[1], paths=tuple(tmp_path / f"{n}.npz" for n in names))
    mixture = Mixture(sources, AugmentOptions(crop_px=64), batch=2, seed=1)
    assert [len(data) for data in mixture.data] == [5, 5]
    assert next(iter(mixture)).images.shape == (2, 3, 64, 64)
    for words in (
        "cut.npz", "short.npz is damaged: state has the shape (4, 18)",
        "lacks.npz has no field depth_m", "lspet.npz: there is no such file",
        "training goes on without lspet",
    ):  # fmt: skip
        assert words in caplog.text
    with pytest.raises(BadInput, match=r"none of lspet is usable"):
        Mixture(sources[2:], AugmentOptions(), batch=1, seed=1)


def test_pictures_that_do_not_decode_are_passed_over(tmp_path, caplog):
    sources = three_sources(tmp_path)[1:2]
    with np.load(tmp_path / "coco.npz") as file:
        fields = dict(file)
    fields["jpeg"][: fields["jpeg_length"][0]] = 0
    np.savez(tmp_path / "coco.npz", **fields)
    mixture = Mixture(sources, AugmentOptions(crop_px=64), batch=12, seed=1)
    assert len(next(iter(mixture)).images) == 12
    assert "coco.npz is damaged: jpeg 0" in caplog.text


def test_the_average_of_a_constant_is_the_constant():
    network = build_network("s")
    ema = Ema(network)
    for _ in range(3):
        ema.update(network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(ema.state[name], value)


def test_the_rate_warms_up_and_falls():
    options = TrainOptions()
    assert rate_at(0.0, 0, options) < 0.02 * options.learning_rate
    rates = [rate_at(p, 10_000, options) for p in np.linspace(0, 1, 11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(options.final_rate_share * options.learning_rate)


def test_the_neck_is_between_the_shoulders():
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 5], keypoints[0, 6] = (10, 20, 2), (30, 40, 1)
    joints, state = joints18_from_coco17(keypoints)
    np.testing.assert_allclose(joints[0, 1], (20, 30))
    assert state[0, 1] == 1
    keypoints[0, 6, 2] = 0
    assert joints18_from_coco17(keypoints)[1][0, 1] == UNKNOWN


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data packs are not here")
def test_real_packs_are_read_with_joints_inside_their_pictures():
    from xnect.train.datasets.coco import coco
    from xnect.train.datasets.lspet import lspet

    data = SHARED / "data"
    readers = (
        coco(data / "coco/train.json", data / "coco/train"),
        lspet(data / "lspet", "train", data / "teacher3d/lspet_train.npz"),
    )
    for reader in readers:
        for sample in islice(reader, 12):
            height, width = sample.image.shape[:2]
            seen = sample.joints_px[sample.state > 0]
            assert ((seen >= -1) & (seen <= (width + 1, height + 1))).all()


@pytest.mark.parametrize("asked", [0.1, 0.3, 0.7])
def test_people_are_as_large_as_was_asked_for_in_every_set(asked, tmp_path, monkeypatch):
    """A set whose pictures are cut closely may raise that, never lower it."""
    seen = []

    def watched(rng, sample, options, extra):
        seen.append(options.size_range)
        return augment(rng, sample, options, extra)

    monkeypatch.setattr("xnect.train.batches.augment", watched)
    write_shard(tmp_path / "lspet.npz", [random_sample(i, 1) for i in range(3)])
    source = Source("lspet", (tmp_path / "lspet.npz",), 1.0, True, min_size=0.45)
    next(iter(Mixture([source], as_small_as(asked, 64), batch=2, seed=1)))
    assert set(seen) == {(max(asked, 0.45), 1.0)}
