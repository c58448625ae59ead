"""HRNet: the published numbers, parity with timm, taps, any size."""

from __future__ import annotations

import pytest
import torch
from parity import (
    assert_same_classifier,
    assert_same_features,
    feature_pair,
    pair,
    parameters,
    shapes,
)

from xnect.backbones import Features
from xnect.backbones.fold import folded
from xnect.backbones.hrnet import MODELS, PLANS, HRNet, Plan

TINY = Plan(6, 1, 8, (1, 2, 1), 1)
"""Everything that the published variants have, once or twice."""


@pytest.mark.parametrize(
    ("name", "count", "entries"),
    [
        ("hrnet_w18", 21_299_004, 1956),
        ("hrnet_w18_ssld", 21_295_164, 1952),
        ("hrnet_w18_small", 13_187_464, 552),
        ("hrnet_w18_small_v2", 15_597_464, 990),
        ("hrnet_w32", 41_232_680, 1956),
        ("hrnet_w48", 77_469_864, 1956),
    ],
)
def test_variants_have_the_published_number_of_parameters(name, count, entries):
    with torch.device("meta"):
        model = MODELS[name]()
    assert parameters(model) == count
    assert len(model.state_dict()) == entries


def test_features_have_the_shapes_and_parameters_of_the_model_card():
    with torch.device("meta"):
        features = Features(MODELS["hrnet_w18"]())
        maps = features(torch.empty(1, 3, 224, 224))
        pooled = MODELS["hrnet_w18"]().forward_features(torch.empty(1, 3, 224, 224))
    assert parameters(features) == 10_948_180
    assert shapes(maps) == [
        (64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)
    ]  # fmt: skip
    assert pooled.shape == (1, 2048, 7, 7)


@pytest.mark.parametrize("name", ["hrnet_w18", "hrnet_w32", "hrnet_w18_small"])
def test_timm_and_we_compute_the_same(name):
    mine, theirs, state = pair(MODELS[name], name)
    assert_same_classifier(mine, theirs, (64, 96))
    mine, theirs = feature_pair(MODELS[name], name, state)
    assert_same_features(mine, theirs, (64, 32))


def test_bare_branches_are_those_of_timm():
    name = "hrnet_w18_small"
    _, _, state = pair(MODELS[name], name)

    def bare(**options):
        return MODELS[name](widen_taps=False, **options)

    mine, theirs = feature_pair(bare, name, state, feature_location="")
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 64)
        for a, b in zip(mine(images), theirs(images), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    assert mine.channels == (64, 16, 32, 64, 128)
    assert not any(name.startswith("incre") for name in mine.state_dict())


@pytest.mark.parametrize("hw", [(33, 70), (100, 47), (1, 1)])
def test_any_size_is_taken_and_strides_round_up(hw):
    features = Features(HRNet(TINY)).eval()
    with torch.no_grad():
        maps = features(torch.randn(1, 3, *hw))
    for found, stride in zip(maps, features.strides, strict=True):
        assert found.shape[-2:] == tuple(-(-side // stride) for side in hw)
        assert found.isfinite().all()


def test_every_parameter_gets_a_gradient():
    model = HRNet(TINY, num_classes=5)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    # batch norm takes away what the biases of the head's convolutions add
    silent = {f"{name}.0.bias" for name in ("downsamp_modules.0", "downsamp_modules.1",
              "downsamp_modules.2", "final_layer")}  # fmt: skip
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= silent


@pytest.mark.parametrize("indices", [(0,), (1,), (2, 4), (0, 1, 2, 3, 4)])
def test_taps_that_are_left_give_what_they_gave(indices):
    model = HRNet(TINY).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        whole = model.forward_taps(images, range(5))
        before = parameters(model)
        kept = Features(model, indices)
        for found, index in zip(kept(images), indices, strict=True):
            assert torch.equal(found, whole[index])
    assert parameters(kept) < before
    kept(images)[-1].square().mean().backward()
    if indices == (0,):
        assert {n.split(".")[0] for n in kept.state_dict()} == {"conv1", "bn1"}


def test_folding_leaves_no_batch_norm_and_the_same_numbers():
    model = HRNet(TINY, num_classes=5)
    for _ in range(3):
        model(torch.randn(2, 3, 32, 32))  # running statistics other than 0 and 1
    plain = folded(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain(images), model.eval()(images), rtol=1e-3, atol=1e-4)


def test_embeddings_are_what_the_classifier_reads():
    torch.manual_seed(0)
    model = HRNet(TINY, num_classes=5, in_chans=1).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        embedding = model.forward_head(model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.classifier(embedding), model(images))
    bare = HRNet(TINY, num_classes=0, in_chans=1).eval()
    bare.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
    )
    with torch.no_grad():
        torch.testing.assert_close(bare(images), embedding)


def test_each_variant_has_a_builder():
    assert set(MODELS) == set(PLANS)
