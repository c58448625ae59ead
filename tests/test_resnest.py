"""ResNeSt: the published numbers, parity with timm, the law of split attention."""

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
from xnect.backbones.resnest import MODELS, SplitAttention


@pytest.mark.parametrize(
    ("name", "count", "entries"),
    [
        ("resnest14d", 10_611_688, 152),
        ("resnest26d", 17_069_448, 260),
        ("resnest50d", 27_483_240, 476),
        ("resnest50d_1s4x24d", 25_677_000, 476),
        ("resnest50d_4s2x40d", 30_417_592, 476),
        ("resnest101e", 48_275_016, 935),
        ("resnest200e", 70_201_544, 1826),
        ("resnest269e", 110_929_480, 2447),
    ],
)
def test_variants_have_the_published_number_of_parameters(name, count, entries):
    with torch.device("meta"):
        model = MODELS[name]()
    assert parameters(model) == count
    assert len(model.state_dict()) == entries


def test_features_have_the_shapes_of_the_model_card():
    with torch.device("meta"):
        maps = Features(MODELS["resnest101e"]()).eval()(torch.empty(1, 3, 256, 256))
    assert shapes(maps) == [
        (128, 128, 128), (256, 64, 64), (512, 32, 32), (1024, 16, 16), (2048, 8, 8)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["resnest14d", "resnest50d", "resnest101e"])
def test_timm_and_we_compute_the_same(name):
    mine, theirs, state = pair(MODELS[name], name)
    assert_same_classifier(mine, theirs, (64, 64), (49, 71))
    mine, theirs = feature_pair(MODELS[name], name, state)
    assert_same_features(mine, theirs, (64, 45))


@pytest.mark.parametrize("name", ["resnest50d_1s4x24d", "resnest50d_4s2x40d"])
def test_splits_and_groups_are_those_of_timm(name):
    mine, theirs, _ = pair(MODELS[name], name)
    assert_same_classifier(mine, theirs, (49, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnest200e", "resnest269e"])
def test_the_deepest_ones_agree_too(name):
    mine, theirs, _ = pair(MODELS[name], name)
    assert_same_classifier(mine, theirs, (32, 32))


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (4, 2)])
def test_split_attention_takes_shares_of_the_splits(radix, cardinality):
    """Against loops over splits and groups of channels, written from the paper."""
    torch.manual_seed(0)
    module = SplitAttention(16, radix=radix, cardinality=cardinality).eval()
    x = torch.randn(2, 16, 5, 4)
    with torch.no_grad():
        found = module(x)
        u = module.bn0(module.conv(x)).relu()
        mean = sum(u[:, 16 * r : 16 * (r + 1)] for r in range(radix)).mean((2, 3), keepdim=True)
        a = module.fc2(module.bn1(module.fc1(mean)).relu())[..., 0, 0]  # (B, R C)
        per_group = 16 // cardinality
        for group in range(cardinality):
            for c in range(per_group):
                channel = group * per_group + c
                logits = [a[:, (group * radix + r) * per_group + c] for r in range(radix)]
                share = torch.stack(logits, 1).softmax(1)  # (B, R)
                if radix == 1:
                    share = logits[0].sigmoid()[:, None]
                want = sum(share[:, r, None, None] * u[:, 16 * r + channel] for r in range(radix))
                torch.testing.assert_close(found[:, channel], want)


def test_every_parameter_gets_a_gradient():
    model = MODELS["resnest14d"](num_classes=5)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    # batch norm takes away what the bias of fc1 adds
    silent = {n for n, _ in model.named_parameters() if n.endswith("fc1.bias")}
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= silent


def test_folding_leaves_no_batch_norm_and_the_same_numbers():
    model = MODELS["resnest14d"](num_classes=5)
    model(torch.randn(2, 3, 64, 64))  # running statistics other than 0 and 1
    plain = folded(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model.eval()(images), rtol=1e-3, atol=1e-4)
