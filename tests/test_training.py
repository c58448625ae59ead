"""Training data and the loop: round trips, labels that move with the picture, exact resume."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.test_targets import random_sample
from xnect.network import build_network
from xnect.skeleton import FLIP2D, FLIP3D
from xnect.train.augment import AugmentOptions, Warp, colour, random_warp, warp_sample
from xnect.train.batches import Mixture, Source, collate
from xnect.train.checkpoint import Ema, load_checkpoint, save_checkpoint
from xnect.train.datasets.coco import joints18_from_coco17
from xnect.train.loop import TrainOptions, rate_at, train_step
from xnect.train.samples import SEEN, UNKNOWN, Shards, write_shard

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
    first = sum(train_step(network, optimizer, batch).values())
    for _ in range(25):
        last = sum(train_step(network, optimizer, batch).values())
    assert last < 0.6 * first


def test_training_goes_on_exactly_where_it_stopped(tmp_path):
    batch = collate([random_sample(i, 2) for i in range(2)], AugmentOptions(crop_px=64))

    def steps(network, optimizer, n):
        for _ in range(n):
            train_step(network, optimizer, batch)

    def fresh():
        torch.manual_seed(1)
        network = build_network("s").train()
        return network, torch.optim.AdamW(network.parameters(), 1e-3)

    whole, optimizer = fresh()
    steps(whole, optimizer, 4)
    half, optimizer = fresh()
    steps(half, optimizer, 2)
    save_checkpoint(tmp_path / "c.pt", network=half.state_dict(), optimizer=optimizer.state_dict())
    again, optimizer = fresh()
    state = load_checkpoint(tmp_path / "c.pt")
    again.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    steps(again, optimizer, 2)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-4, atol=1e-5)


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
    np.testing.assert_allclose(joints[0, 1], (19.5, 29.5))
    assert state[0, 1] == 1
    keypoints[0, 6, 2] = 0
    assert joints18_from_coco17(keypoints)[1][0, 1] == UNKNOWN


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data packs are not here")
def test_real_packs_are_read_with_joints_inside_their_pictures():
    from itertools import islice

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
