"""Stage I: shapes, gradients, the paper's size, folding."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from xnect.backbones import Features, create_backbone
from xnect.backbones.fold import folded
from xnect.backbones.selecsls import selecsls
from xnect.errors import BadWeights, UnknownName
from xnect.heads.context import Context
from xnect.model import bundled_weights, load_network
from xnect.network import PRESETS, build_network, count_parameters
from xnect.train.checkpoint import save_weights
from xnect.train.stage1 import start_from


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_maps_lie_at_stride_8(preset):
    network = build_network(preset).eval()
    with torch.no_grad():
        maps = network(torch.zeros(2, 3, 48, 80))
    assert maps.heatmaps.shape == (2, 18, 6, 10)
    assert maps.affinities.shape == (2, 19, 2, 6, 10)
    assert maps.codes.shape == (2, 63, 6, 10)


def awake(network):
    """The network with a context that has begun to learn: it starts behind a 1x1 of zeros."""
    torch.nn.init.normal_(network.context.join.weight, std=0.1)
    return network


def test_every_parameter_gets_a_gradient():
    network = awake(build_network("s"))
    maps = network(torch.randn(2, 3, 64, 64))
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize(
    "backbone", ["selecsls42b", "hrnet_w18_small", "resnest14d", "resnet18", "vovnet39a"]
)
def test_any_backbone_carries_stage_1(backbone):
    network = awake(build_network("s", backbone=backbone))
    assert network.backbone.strides == (8, 16)
    maps = network(torch.randn(2, 3, 48, 64))
    assert maps.heatmaps.shape == (2, 18, 6, 8) and maps.codes.shape == (2, 63, 6, 8)
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_weights_of_a_backbone_are_loaded_into_stage_1(tmp_path, monkeypatch):
    trained = create_backbone("selecsls42", width=0.25)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    preset = replace(PRESETS["s"], width=0.25)
    monkeypatch.setitem(PRESETS, "test", preset)
    network = build_network("test", pretrained=tmp_path / "model.safetensors")
    other = build_network("test")
    with pytest.raises(BadWeights, match="does not fit this model"):
        build_network("s", pretrained=tmp_path / "model.safetensors")
    start_from(other, str(tmp_path))  # the same as the flag --init of the training
    for name, tensor in trained.state_dict().items():
        if name.startswith(("stem", "features")):
            assert torch.equal(network.backbone.state_dict()[name], tensor)
            assert torch.equal(other.backbone.state_dict()[name], tensor)


def test_stage_1_with_another_backbone_comes_back_from_its_file(tmp_path):
    network = build_network("s", backbone="resnet18")
    path = tmp_path / "stage1.safetensors"
    save_weights(path, network.state_dict(), {"preset": "s", "backbone": "resnet18"})
    again = load_network(path)
    assert again.backbone.channels == (128, 256)
    assert torch.equal(again.backbone.conv1.weight, network.backbone.conv1.weight.half().float())
    with pytest.raises(BadWeights, match=r"--init .*size mismatch"):
        start_from(build_network("s"), str(path))


def test_the_bundled_weights_still_fit():
    path = bundled_weights("s")
    if not path.is_file():
        pytest.skip("no bundled weights of preset s in this checkout")
    with safe_open(path, framework="pt") as file:
        stored = {name for name in file.keys() if name.startswith("backbone.")}
    own = build_network("s").state_dict()
    assert stored == {
        n for n in own if n.startswith("backbone.") and not n.endswith("num_batches_tracked")
    }
    load_network(path)  # raises where a name or a shape differs


def test_the_cores_have_the_published_number_of_weights():
    # spec 1.3 counts biases in place of batch norm: one number per channel instead of two
    for grouped, published in ((False, 8_827_232), (True, 4_762_976)):
        with torch.device("meta"):
            core = Features(selecsls("selecsls60", paper_groups=grouped), (2, 3))
        norms = sum(m.weight.numel() for m in core.modules() if isinstance(m, nn.BatchNorm2d))
        assert count_parameters(core) - norms == published


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


def test_an_unknown_backbone_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown backbone 'selecsls43'; known: .*selecsls42"):
        build_network("s", backbone="selecsls43")


def test_a_context_begins_as_if_it_were_not_there_and_then_learns():
    torch.manual_seed(2)
    features = torch.randn(2, 24, 5, 7)
    context = Context(24, 8)
    assert torch.equal(context(features), features)
    torch.nn.init.normal_(context.join.weight)
    out = context(features)
    assert out.shape == features.shape
    (out - features).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in context.down.parameters())


def test_a_context_carries_what_is_seen_far_away():
    """160 pixels away at stride 16: ten cells."""
    torch.manual_seed(2)
    context = Context(4, 8).eval()
    torch.nn.init.normal_(context.join.weight)
    features = torch.randn(1, 4, 12, 24, requires_grad=True)
    context(features)[0, :, 6, 3].sum().backward()
    assert features.grad[0, :, 6, 12].abs().sum() > 0
