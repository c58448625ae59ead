"""ResNet and VoVNet, which SelecSLS is compared with: parity with timm, taps."""

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
from xnect.backbones.models import MODELS


@pytest.mark.parametrize(
    ("name", "count", "entries"),
    [
        ("resnet18", 11_689_512, 122),
        ("resnet34", 21_797_672, 218),
        ("resnet50", 25_557_032, 320),
        ("resnet101", 44_549_160, 626),
        ("resnet152", 60_192_808, 932),
        ("vovnet39a", 22_600_296, 236),
        ("vovnet57a", 36_640_296, 344),
    ],
)
def test_variants_have_the_published_number_of_parameters(name, count, entries):
    with torch.device("meta"):
        model = MODELS[name]()
    assert parameters(model) == count
    assert len(model.state_dict()) == entries


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet50", (64, 256, 512, 1024, 2048)), ("vovnet39a", (64, 256, 512, 768, 1024))],
)
def test_features_halve_at_each_tap(name, channels):
    with torch.device("meta"):
        maps = Features(MODELS[name]())(torch.empty(1, 3, 224, 224))
    assert shapes(maps) == [(c, 112 >> i, 112 >> i) for i, c in enumerate(channels)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vovnet39a"])
def test_timm_and_we_compute_the_same(name):
    mine, theirs, state = pair(MODELS[name], name)
    assert_same_classifier(mine, theirs, (64, 64), (49, 71))
    mine, theirs = feature_pair(MODELS[name], name, state)
    assert_same_features(mine, theirs, (64, 45))


@pytest.mark.parametrize("name", ["resnet18", "vovnet39a"])
def test_every_parameter_gets_a_gradient(name):
    model = MODELS[name](num_classes=5)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "vovnet39a"])
def test_taps_that_are_left_give_what_they_gave(name):
    whole = MODELS[name]().eval()
    state, images = whole.state_dict(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = whole.forward_taps(images, range(5))
    previous = 0
    for indices in [(0,), (1,), (0, 2), (3,), (1, 4)]:
        with torch.device("meta"):
            kept = Features(MODELS[name](), indices)
        kept.load_state_dict({k: state[k] for k in kept.state_dict()}, assign=True)
        with torch.no_grad():
            for found, index in zip(kept.eval()(images), indices, strict=True):
                assert torch.equal(found, maps[index])
        assert parameters(kept) > previous  # no more than the deepest tap needs
        previous = parameters(kept)
    assert previous < parameters(whole)


@pytest.mark.parametrize("name", ["resnet18", "vovnet39a"])
def test_folding_leaves_no_batch_norm_and_the_same_numbers(name):
    model = MODELS[name](num_classes=5)
    model(torch.randn(2, 3, 64, 64))  # running statistics other than 0 and 1
    plain = folded(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), model.eval()(images), rtol=1e-3, atol=1e-4)
