"""Folding, pruning, ONNX, export and compilation of the backbones."""

from __future__ import annotations

import shutil
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xnect.backbones import Features, create_backbone
from xnect.backbones.fold import folded
from xnect.backbones.onnx import export_onnx, relative_difference
from xnect.backbones.prune import load_pruned, pruned
from xnect.network import build_network, count_parameters

FAMILIES = {
    "selecsls60": {"width": 0.25},
    "resnet18": {},
    "resnest14d": {},
    "hrnet_w18_small": {},
    "vovnet39a": {},
}
"""The smallest of every family."""


def with_history(network: nn.Module) -> nn.Module:
    """The network with batch norms as after some training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


@cache
def trained(name: str) -> nn.Module:
    """One per family, for tests that do not change it."""
    torch.manual_seed(0)
    return with_history(create_backbone(name, **FAMILIES[name], num_classes=7))


def selecsls(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return with_history(create_backbone("selecsls60", width=0.25, **options))


@torch.no_grad()
def difference(a: nn.Module, b: nn.Module, images: Tensor) -> float:
    """Largest difference of two networks relative to the largest output, over all outputs."""
    outputs = a(images), b(images)
    pairs = zip(*(out if isinstance(out, list) else [out] for out in outputs), strict=True)
    return max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)


def images(batch: int = 2, height: int = 64, width: int = 80) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------------- folding


@pytest.mark.parametrize("name", FAMILIES)
def test_folding_takes_every_batch_norm_and_changes_nothing(name: str) -> None:
    network = trained(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    fused = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert difference(network, fused, images()) < 1e-4
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_folded_weights_keep_their_names_and_shapes() -> None:
    network = selecsls()
    fused, ours = folded(network).state_dict(), network.state_dict()
    weights = {key: t.shape for key, t in fused.items() if key.endswith("weight")}
    assert weights == {key: t.shape for key, t in ours.items() if key in weights}
    assert "stem.0.bias" in fused and "stem.1.weight" not in fused


def test_features_and_grouped_convolutions_fold_too() -> None:
    for network in (selecsls(features_only=True), selecsls(paper_groups=True)):
        fused = folded(network)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
        assert difference(network, fused, images()) < 1e-4


def test_a_batch_norm_that_does_not_follow_a_convolution_stays() -> None:
    torch.manual_seed(0)
    network = with_history(
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3), nn.ReLU(), nn.BatchNorm2d(5))
    )
    fused = folded(network)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules()) == 2
    assert difference(network, fused, images()) == 0


# ------------------------------------------------------------------------------------- pruning


def silence(network: nn.Module, share: float, scale: float = 0.0) -> None:
    """Set the scale of a share of all batch-norm channels; betas stay."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            chosen = torch.rand(module.num_features, generator=generator) < share
            module.weight.data[chosen] = scale


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="classifier"),
        pytest.param({"num_classes": 0}, id="embedding"),
        pytest.param({"features_only": True, "out_indices": (0, 2, 3)}, id="some features"),
        pytest.param({"features_only": True, "out_indices": (5,)}, id="the deepest features"),
        pytest.param({"paper_groups": True}, id="grouped convolutions"),
    ],
)
def test_channels_without_scale_can_go_whatever_their_beta_also_at_the_border(options) -> None:
    network = selecsls(**options)
    silence(network, 0.4)
    thin = pruned(network)
    assert type(thin) is type(network)
    assert count_parameters(thin) < 0.6 * count_parameters(network)
    assert difference(network, thin, images(2, 61, 72)) < 1e-5
    if isinstance(network, Features):
        shapes = [tuple(out.shape) for out in thin(images())]
        assert shapes == [tuple(out.shape) for out in network(images())]
        assert thin.channels == network.channels


def test_negative_betas_leave_nothing_behind_the_relu_and_no_gathered_channel() -> None:
    network = selecsls()
    norm = network.stem[1]
    norm.weight.data[:3], norm.bias.data[:3] = 0, -1
    thin = pruned(network)
    assert thin.stem[0].out_channels == norm.num_features - 3
    norm.bias.data[:2] = 0.5  # two are seen as constants now: one channel stands for both
    thicker = pruned(network)
    assert thicker.stem[0].out_channels == norm.num_features - 2
    for made in (thin, thicker):
        assert made.taps[0].channels == made.stem[0].out_channels
    assert difference(network, thicker, images()) < 1e-5


def test_small_scales_make_small_differences() -> None:
    network = selecsls()
    silence(network, 0.3, scale=5e-5)
    assert 0 < difference(folded(network), pruned(network, 1e-4), images()) < 2e-3
    same = pruned(network, 1e-5)
    assert count_parameters(same) == count_parameters(folded(network))


def test_the_parts_side_by_side_and_the_long_skip_have_a_mask_each() -> None:
    network = selecsls()
    first, second = network.features[0], network.features[1]
    wide = {name: second.get_submodule(name)[0].out_channels for name in ("conv1", "conv3")}
    second.conv3[1].weight.data[:2], second.conv3[1].bias.data[:2] = 0, 0
    first.conv6[1].weight.data[5], first.conv6[1].bias.data[5] = 0, 0
    thin = pruned(network)
    block = thin.features[1]
    assert block.conv3[0].out_channels == block.conv4[0].in_channels == wide["conv3"] - 2
    assert block.conv1[0].out_channels == wide["conv1"]
    assert block.conv1[0].in_channels == second.conv1[0].in_channels - 1  # the input
    assert block.conv6[0].in_channels == second.conv6[0].in_channels - 2 - 1  # d2, long skip
    assert difference(network, thin, images()) < 1e-5


def test_of_a_layer_without_any_scale_the_largest_channel_stays() -> None:
    network = selecsls()
    norm = network.features[1].conv1[1]
    norm.weight.data[:] = 0
    norm.weight.data[4] = 1e-6
    thin = pruned(network)
    assert thin.features[1].conv1[0].out_channels == 1
    assert difference(network, thin, images()) < 1e-4


def test_a_pruned_network_is_saved_and_loaded_again() -> None:
    network = selecsls()
    silence(network, 0.4)
    thin = pruned(network)
    again = load_pruned(selecsls(), thin.state_dict())
    assert again.taps == thin.taps and again.num_features == thin.num_features
    assert difference(thin, again, images()) == 0
    double = load_pruned(selecsls().double(), thin.state_dict())
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    with warnings.catch_warnings():  # meta tensors hold nothing
        warnings.simplefilter("ignore")
        elsewhere = load_pruned(selecsls().to("meta"), thin.state_dict())
    assert {p.device.type for p in elsewhere.parameters()} == {"meta"}
    with pytest.raises(RuntimeError, match=r"features\.8\.conv6"):
        load_pruned(create_backbone("selecsls42", width=0.25), thin.state_dict())


def test_pruned_features_fit_into_the_pose_network() -> None:
    torch.manual_seed(0)
    network = with_history(build_network("s"))
    silence(network.backbone, 0.3)
    before = count_parameters(network)
    with torch.no_grad():
        expected = network(images(1, 64, 96))
        network.backbone = pruned(network.backbone)
        found = network(images(1, 64, 96))
    assert count_parameters(network) < before
    for a, b in zip(expected, found, strict=True):
        assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())


def test_what_cannot_be_pruned_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="only SelecSLS can be pruned, got ResNet"):
        pruned(trained("resnet18"))
    with pytest.raises(ValueError, match="prune before folding"):
        pruned(folded(selecsls()))
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        pruned(selecsls(), -1.0)


# ---------------------------------------------------------------------------------------- ONNX


def small(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return with_history(create_backbone("selecsls42", width=0.25, **options))


def test_an_onnx_file_gives_the_numbers_of_the_model_at_any_batch(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = folded(small(features_only=True, out_indices=(2, 3)))
    path = tmp_path / "features.onnx"
    assert export_onnx(network, path, (48, 64)) < 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["features.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["features_0", "features_1"]
    # another network is another network: the check can fail
    assert relative_difference(network, path, [images(5, 48, 64)]) < 1e-4
    other = folded(small(features_only=True, out_indices=(2, 3)))
    other.stem[0].bias.data += 1
    assert relative_difference(other, path, [images(1, 48, 64)]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_goes_to_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export_onnx(folded(trained(name)), tmp_path / "a.onnx", (64, 64)) < 1e-3


def test_a_file_with_other_numbers_is_refused_and_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    module = sys.modules["xnect.backbones.onnx"]
    monkeypatch.setattr(module, "_export", lambda *args: None)
    for wrong in (0.1, float("nan")):
        monkeypatch.setattr(module, "relative_difference", lambda *args, wrong=wrong: wrong)
        with pytest.raises(ValueError, match=r"differs from the model by .*was not written"):
            export_onnx(small(), tmp_path / "a.onnx", (64, 64))
    assert not list(tmp_path.iterdir())


def test_onnx_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match=r"height and a width in pixels, got \(0, 64\)"):
        export_onnx(small(), tmp_path / "a.onnx", (0, 64))
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        export_onnx(small(), tmp_path / "none" / "a.onnx", (64, 64))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'xnect\[onnx\]'"):
        export_onnx(small(), tmp_path / "a.onnx", (64, 64))


# ------------------------------------------------------------------------ torch's own compilers


@pytest.mark.parametrize("name", FAMILIES)
def test_torch_export_takes_every_family_at_any_batch(name: str) -> None:
    network = trained(name)
    program = torch.export.export(
        network, (images(2, 64, 64),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    assert difference(network, program.module(), images(3, 64, 64)) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_torch_compile_sees_one_graph_without_breaks(name: str) -> None:
    network = trained(name)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert difference(network, compiled, images(1, 64, 64)) < 1e-5


def test_features_export_and_compile() -> None:
    network = small(features_only=True)
    program = torch.export.export(network, (images(1, 64, 64),))
    assert difference(network, program.module(), images(1, 64, 64)) < 1e-5
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert difference(network, compiled, images(1, 64, 64)) < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("cl")), reason="no C++ compiler")
def test_the_default_compiler_gives_the_same_numbers() -> None:
    network = folded(small())
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True)
    assert difference(network, compiled, images(1, 64, 64)) < 1e-4
