"""SelecSLS and the factory: parity with timm, published sizes, taps, names."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision_stub import import_timm

from xnect.backbones import (
    PRETRAINED,
    BadCheckpoint,
    Features,
    UnknownBackbone,
    create_backbone,
    list_backbones,
    pretrained_config,
)
from xnect.backbones.models import MODELS
from xnect.backbones.selecsls import PLANS

PARAMETERS = {  # spec 1.2
    "selecsls42": (30_354_952, 248),
    "selecsls42b": (32_458_248, 248),
    "selecsls60": (30_670_768, 356),
    "selecsls60b": (32_774_064, 356),
    "selecsls84": (40_468_840, 500),
    "selecsls102": (40_456_200, 608),
}
CARD42B = ((32, 112), (128, 56), (288, 28), (480, 14), (1024, 7))
"""Channels and size of the taps of selecsls42b at 224, from its model card."""
ONE_OF_EACH_FAMILY = ("selecsls42", "hrnet_w18_small", "resnest14d", "resnet18", "vovnet39a")


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return create_backbone(name, **options).eval()


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A model of the meta device with weights, running statistics and scales that all matter."""
    generator = torch.Generator().manual_seed(seed)
    model.to_empty(device="cpu")
    for name, tensor in model.state_dict().items():
        if tensor.ndim > 1:
            limit = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-limit, limit, generator=generator)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0, 0.1, generator=generator)
    return model.eval()


def filled(name: str, state: dict[str, torch.Tensor], **options: object) -> nn.Module:
    """Our model with exactly the given weights, nothing missing and nothing left."""
    model = on_meta(name, **options)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def narrow(name: str) -> dict[str, float]:
    """Options that make a model small, where there are some."""
    return {"width": 0.25} if name.startswith("selecsls") else {}


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", ["selecsls42", "selecsls42b", "selecsls60", "selecsls60b", "84"])
@torch.no_grad()
def test_selecsls_gives_what_timm_gives(name):
    timm = import_timm()
    options = {"timm_head": True} if name == "84" else {}
    name = "selecsls84" if name == "84" else name
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=50)
    randomised(theirs)
    ours = filled(name, theirs.state_dict(), num_classes=50, **options)
    for hw in ((64, 64), (45, 67)):
        x = images(1, 3, *hw)
        final, levels = theirs.forward_intermediates(x)
        for ours_map, theirs_map in zip(ours.forward_taps(x, range(6)), levels, strict=True):
            assert relative(ours_map, theirs_map) <= 1e-4
        assert relative(ours.forward_features(x), final) <= 1e-4
        assert relative(ours(x), theirs(x)) <= 1e-4
        for pre_logits in (False, True):
            expected = theirs.forward_head(final, pre_logits=pre_logits)
            assert relative(ours.forward_head(final, pre_logits=pre_logits), expected) <= 1e-4
    theirs.load_state_dict(ours.state_dict(), strict=True)


@torch.no_grad()
def test_features_only_gives_what_timm_gives():
    timm = import_timm()
    with torch.device("meta"):
        theirs = timm.create_model("selecsls42b", features_only=True)
    randomised(theirs)
    # timm joins the first two parts of a name, `features_0.conv1`; ours is the whole model's
    state = {k.replace("_", ".", 1): v for k, v in theirs.state_dict().items()}
    ours = filled("selecsls42b", state, features_only=True)
    x = images(1, 3, 64, 43)
    for ours_map, theirs_map in zip(ours(x), theirs(x), strict=True):
        assert relative(ours_map, theirs_map) <= 1e-4
    assert list(ours.channels) == theirs.feature_info.channels()
    assert list(ours.strides) == theirs.feature_info.reduction()
    assert [t.module for t in ours.taps] == theirs.feature_info.module_name()


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_selecsls_has_the_published_size(name):
    model = on_meta(name)
    assert (sum(p.numel() for p in model.parameters()), len(model.state_dict())) == PARAMETERS[name]


def test_selecsls84_has_timms_size_with_timms_head():
    model = on_meta("selecsls84", timm_head=True)
    assert sum(p.numel() for p in model.parameters()) == 50_954_600


@torch.no_grad()
def test_shapes_are_those_of_the_model_card():
    x = torch.empty(1, 3, 224, 224, device="meta")
    maps = on_meta("selecsls42b", features_only=True)(x)
    assert tuple((m.shape[1], m.shape[2]) for m in maps) == CARD42B
    assert all(m.shape[2] == m.shape[3] for m in maps)
    model = on_meta("selecsls42b")
    assert model.forward_features(x).shape == (1, 1024, 4, 4)
    assert on_meta("selecsls60").forward_features(x).shape == (1, 1280, 4, 4)
    assert model(x).shape == (1, 1000)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (1, 1024)
    assert on_meta("selecsls42b", num_classes=0)(x).shape == (1, 1024)


@pytest.mark.parametrize("name", [*ONE_OF_EACH_FAMILY, "selecsls102"])
@torch.no_grad()
def test_taps_say_what_the_maps_are(name):
    model = on_meta(name)
    x = torch.empty(1, 3, 128, 192, device="meta")
    maps = model.forward_taps(x, range(len(model.taps)))
    for tap, features in zip(model.taps, maps, strict=True):
        size = (128 // tap.reduction, 192 // tap.reduction)
        assert features.shape == (1, tap.channels, *size), tap
    modules = dict(model.named_modules())
    if name.startswith("selecsls"):  # timm's names of HRNet's taps are stages, not modules
        assert all(tap.module in modules for tap in model.taps)
    assert model(x).shape == (1, 1000)
    assert model.forward_features(x).shape[1] == model.num_features


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
@torch.no_grad()
def test_features_are_the_taps_of_the_whole_model(name):
    whole = randomised(on_meta(name, **narrow(name)))
    keys = on_meta(name, features_only=True, out_indices=(1, -2), **narrow(name)).state_dict()
    state = {k: v for k, v in whole.state_dict().items() if k in keys}
    features = filled(name, state, features_only=True, out_indices=(1, -2), **narrow(name))
    x = images(1, 3, 32, 48)
    deep = len(whole.taps) - 2
    for cut, full in zip(features(x), whole.forward_taps(x, (1, deep)), strict=True):
        assert torch.equal(cut, full)
    assert features.channels == (whole.taps[1].channels, whole.taps[deep].channels)
    others = whole.state_dict().keys() - state.keys() - features.dropped_keys
    assert {key.rpartition(".")[2] for key in others} == {"weight", "bias"}  # of the classifier
    assert len(others) == 2 and not features.dropped_keys & state.keys()


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_features_keep_no_parameter_that_no_tap_needs(name):
    features = create_backbone(name, features_only=True, out_indices=(2, 3), **narrow(name))
    sum(m.square().mean() for m in features(images(2, 3, 32, 32))).backward()
    without = [n for n, p in features.named_parameters() if p.grad is None]
    assert not without


def test_features_are_one_module_with_the_model_inside():
    features = create_backbone("selecsls42", features_only=True, width=0.25)
    features.eval()
    assert not features.model.training
    x = images(1, 3, 64, 64)
    before = features(x)[-1]
    assert torch.equal(features.double()(x.double())[-1].float(), features(x.double())[-1].float())
    features.float().stem = nn.Sequential(features.stem, nn.ReLU())  # who replaces a child ...
    assert features.model.stem is features.stem  # ... replaces what runs
    torch.testing.assert_close(features(x)[-1], before)


@torch.no_grad()
def test_width_scales_the_channels():
    model = on_meta("selecsls60", width=0.5, features_only=True, out_indices=range(6))
    assert model.channels == (16, 64, 144, 208, 512, 640)
    x = torch.empty(1, 3, 64, 64, device="meta")
    assert [m.shape[1] for m in model(x)] == list(model.channels)


def test_dropout_acts_in_training_only():
    model = create_backbone("selecsls42", width=0.25, drop_rate=0.5)
    features = torch.ones(1, model.num_features, 2, 2)
    dropped = model.train().forward_head(features, pre_logits=True)
    assert 0 < int((dropped == 0).sum()) < dropped.numel()
    assert torch.equal(
        model.eval().forward_head(features, pre_logits=True), torch.ones(1, model.num_features)
    )


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_configurations_are_timms(name):
    import_timm()
    from timm.models import get_pretrained_cfg

    ours, theirs = PRETRAINED[name], get_pretrained_cfg(name)
    assert (3, *ours.input_hw) == theirs.input_size
    assert ours.pool_hw == theirs.pool_size
    assert (ours.mean, ours.std) == (theirs.mean, theirs.std)
    assert (ours.interpolation, ours.crop_pct) == (theirs.interpolation, theirs.crop_pct)
    assert (ours.first_conv, ours.classifier) == (theirs.first_conv, theirs.classifier)
    assert (ours.licence, ours.hub_id) == (theirs.license, theirs.hf_hub_id)
    assert ours.architecture in MODELS


@pytest.mark.parametrize("name", ["selecsls42b", "hrnet_w18_small", "resnest14d", "resnet18"])
def test_configurations_name_the_first_and_the_last_layer(name):
    config, model = pretrained_config(name), on_meta(name)
    assert isinstance(model.get_submodule(config.first_conv), nn.Conv2d)
    assert isinstance(model.get_submodule(config.classifier), nn.Linear)


def test_names_with_a_pattern():
    assert list_backbones("selecsls*") == sorted(PLANS)
    assert list_backbones("selecsls*", pretrained=True) == [
        "selecsls42b.in1k", "selecsls60.in1k", "selecsls60b.in1k"
    ]  # fmt: skip
    assert pretrained_config("hrnet_w18").name == "hrnet_w18.ms_aug_in1k"
    assert pretrained_config("selecsls102") is None


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("selecsls60c", "selecsls60b"),
        ("hrnet18", "hrnet_w18"),
        ("selecsls60.in21k", "selecsls60.in1k"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(UnknownBackbone, match=f"unknown backbone '{wrong}'.*{near}"):
        create_backbone(wrong)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"out_indices": (1, 2)}, "out_indices are for features_only"),
        ({"features_only": True, "out_indices": (6,)}, "from -6 to 5, got \\(6,\\)"),
        ({"features_only": True, "out_indices": (5, -1)}, "different"),
        ({"features_only": True, "out_indices": ()}, "different"),
        ({"in_chans": 0}, "in_chans must be 1 or more"),
        ({"drop_rate": 1.0}, "below 1"),
        ({"size": 2}, "has no option size; it has paper_groups, timm_head, width"),
        ({"timm_head": True}, "selecsls84 only"),
        ({"paper_groups": True}, "selecsls60 and 60b"),
        ({"width": 0.0}, "width must be positive"),
        ({"pretrained": True}, "nobody has published weights of selecsls42; .*selecsls42b.in1k"),
    ],
)
def test_an_impossible_wish_is_answered_with_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_backbone("selecsls42", **options)


def test_features_are_what_the_factory_promises():
    assert isinstance(on_meta("selecsls42", features_only=True), Features)


def test_an_empty_name_of_weights_is_refused() -> None:
    """As an environment variable that is not set gives it."""
    with pytest.raises(BadCheckpoint, match="pretrained is empty"):
        create_backbone("selecsls42", pretrained="", width=0.25)
