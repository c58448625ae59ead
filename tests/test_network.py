"""Stage I: shapes, gradients, the paper's size, folding."""

import pytest
import torch
from torch import nn

from xnect.backbones import selecsls42, selecsls60
from xnect.backbones.fold import folded
from xnect.errors import UnknownName
from xnect.network import PRESETS, build_network, count_parameters


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_maps_lie_at_stride_8(preset):
    network = build_network(preset).eval()
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, 48, 80))
    assert maps.heatmaps.shape == (2, 18, 6, 10)
    assert maps.affinities.shape == (2, 19, 2, 6, 10)
    assert maps.codes.shape == (2, 63, 6, 10)


def test_every_parameter_gets_a_gradient():
    network = build_network("s")
    maps = network(torch.randn(2, 3, 64, 64))
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_the_cores_have_the_published_number_of_weights():
    # spec 1.3 counts biases in place of batch norm: one number per channel instead of two
    core = selecsls60()
    norms = sum(m.weight.numel() for m in core.modules() if isinstance(m, nn.BatchNorm2d))
    assert count_parameters(core) - norms == 8_827_232
    grouped = selecsls60(paper_groups=True)
    assert count_parameters(grouped) - norms == 4_762_976


def test_backbones_say_their_channels_and_strides():
    for core in (selecsls42(), selecsls60(), selecsls42(0.5)):
        levels = core.eval()(torch.zeros(1, 3, 64, 64))
        assert tuple(f.shape[1] for f in levels) == core.channels
        assert tuple(64 // f.shape[2] for f in levels) == core.strides


def test_folding_batch_norm_changes_nothing():
    torch.manual_seed(0)
    network = build_network("s")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    network.eval()
    fused = folded(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(network(images), fused(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_picture_equals_a_batch_of_it():
    network = build_network("s").eval()
    images = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        together = network(images)
        for i in range(3):
            alone = network(images[i : i + 1])
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(a[0], b[i], rtol=1e-4, atol=1e-5)


def test_an_unknown_preset_names_those_that_exist():
    with pytest.raises(UnknownName, match="known: m, s"):
        build_network("xl")
