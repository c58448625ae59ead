"""Checkpoints of backbones: every published wrapping loads, everything else says what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision_stub import import_timm

from xnect.backbones import (
    BadCheckpoint,
    Features,
    create_backbone,
    load_checkpoint_into,
    read_checkpoint,
)
from xnect.backbones.checkpoint import looks_like
from xnect.backbones.selecsls import Block, HeadConv, Plan, SelecSLS

TINY = Plan(
    (
        Block(32, 0, 8, 8, True, 2), Block(8, 8, 8, 16, False, 1),
        Block(16, 0, 8, 8, True, 2), Block(8, 0, 8, 8, True, 2),
    ),
    (HeadConv(8, 8, 3, 2), HeadConv(8, 8, 3, 1), HeadConv(8, 8, 3, 2), HeadConv(8, 12, 1, 1)),
)  # fmt: skip
TINY_3X3 = TINY._replace(head=(*TINY.head[:3], HeadConv(8, 12, 3, 1)))


def tiny(num_classes: int = 10, in_chans: int = 3, plan: Plan = TINY) -> SelecSLS:
    return SelecSLS(plan, num_classes=num_classes, in_chans=in_chans)


def meta_state(name: str, **options: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return create_backbone(name, **options).state_dict()


def same(model: nn.Module, state: dict[str, Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[k], state[k]) for k in own if not k.endswith("tracked"))


def authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.replace("fc.", "classifier.0."): v for k, v in state.items()}


WRAPPINGS = {
    "plain": lambda state: state,
    "authors": authors,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "averaged": lambda state: {
        "state_dict": {k: torch.zeros_like(v) for k, v in state.items()}, "state_dict_ema": state
    },
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "all at once": lambda state: {
        "state_dict": {"model": {f"module.{k}": v for k, v in authors(state).items()}}
    },
    "old": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
}  # fmt: skip


@pytest.mark.parametrize("wrapping", sorted(WRAPPINGS))
def test_every_wrapping_loads_strictly(wrapping, tmp_path):
    source, model = tiny(), tiny()
    path = tmp_path / "weights.pth"
    torch.save(WRAPPINGS[wrapping](source.state_dict()), path)
    assert load_checkpoint_into(model, read_checkpoint(path)) == []
    assert same(model, source.state_dict())


def test_safetensors_in_half_precision_load(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in tiny().state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    model = tiny()
    load_checkpoint_into(model, read_checkpoint(tmp_path / "model.safetensors"))
    assert model.fc.weight.dtype == torch.float32
    assert torch.equal(model.fc.weight.half(), state["fc.weight"])


@pytest.mark.parametrize(("in_chans", "classes"), [(1, 10), (2, 7), (4, 10), (7, 0), (3, 7)])
def test_channels_and_classes_are_adapted_as_timm_does(in_chans, classes, tmp_path):
    import_timm()
    from timm.models._builder import load_pretrained
    from timm.models.selecsls import SelecSls, SelecSlsBlock

    source = tiny()
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    theirs = SelecSls(
        {
            "block": SelecSlsBlock,
            "features": [tuple(row)[:6] for row in TINY.blocks],
            "head": [tuple(row) for row in TINY.head],
            "num_features": 12,
            "feature_info": [{"module": tap.module} for tap in source.taps],
        },
        num_classes=classes,
        in_chans=in_chans,
    )
    pretrained_cfg = {
        "file": str(path), "input_size": (3, 224, 224), "num_classes": 10,
        "first_conv": "stem.0", "classifier": "fc",
    }  # fmt: skip
    load_pretrained(theirs, pretrained_cfg, num_classes=classes, in_chans=in_chans)
    ours = tiny(classes, in_chans)
    before = ours.state_dict()["fc.bias"].clone() if classes else None
    fresh = load_checkpoint_into(ours, read_checkpoint(path))
    assert fresh == ([] if classes in (0, 10) else ["fc.weight", "fc.bias"])
    if classes == 7:  # a classifier for other classes stays as it was made
        assert torch.equal(ours.fc.bias, before)
        theirs.fc.load_state_dict(ours.fc.state_dict())
    assert same(ours, theirs.state_dict())
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize(("made", "found"), [(TINY, TINY_3X3), (TINY_3X3, TINY)])
def test_both_layouts_of_the_last_head_convolution_load(made, found):
    source, model = tiny(plan=found).eval(), tiny(plan=made).eval()
    load_checkpoint_into(model, source.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(images), source(images))


def test_features_take_what_they_keep_of_a_whole_checkpoint_or_of_a_core():
    source = tiny()
    core = {k: v for k, v in source.state_dict().items() if k.startswith(("stem", "features"))}
    for state in (source.state_dict(), authors(source.state_dict()), core):
        features = Features(tiny(), (2, 3))
        assert load_checkpoint_into(features, state) == []
        assert same(features, core)
    with pytest.raises(BadCheckpoint, match=r"has extra\.weight that the model lacks"):
        load_checkpoint_into(Features(tiny()), core | {"extra.weight": torch.zeros(1)})


def test_the_factory_loads_from_a_file_and_from_a_folder(tmp_path):
    source = create_backbone("selecsls42", width=0.125, num_classes=5)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    for place in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        model = create_backbone("selecsls42", width=0.125, num_classes=5, pretrained=place)
        assert same(model, source.state_dict())
    with pytest.raises(
        BadCheckpoint, match=r"model\.safetensors.*fc\.weight 5x160 instead of 1000x160"
    ):
        create_backbone("selecsls42", width=0.125, pretrained=tmp_path / "model.safetensors")


def test_a_checkpoint_of_another_model_is_named():
    with torch.device("meta"):
        model = create_backbone("selecsls42b")
    with pytest.raises(BadCheckpoint) as caught:
        load_checkpoint_into(model, authors(meta_state("selecsls60b")))
    text = str(caught.value)
    assert "has features.6.conv1.0.weight, " in text and "that the model lacks" in text
    assert "features.2.conv1.0.weight 128x128x3x3 instead of 144x128x3x3" in text
    assert text.endswith("it looks like selecsls60b") and "\n" not in text and len(text) < 800
    with torch.device("meta"):
        model = create_backbone("selecsls60")
    with pytest.raises(BadCheckpoint, match=r"lacks features\.6\.conv1\.0\.weight"):
        load_checkpoint_into(model, meta_state("selecsls42"))


@pytest.mark.parametrize("name", ["selecsls42", "selecsls42b", "selecsls102", "hrnet_w18"])
def test_an_architecture_is_recognised_by_its_shapes(name):
    assert looks_like(authors(meta_state(name, num_classes=3))) == name


def test_what_is_like_no_architecture_is_said_to_be_none():
    assert looks_like({"weight": torch.zeros(2, 2)}) is None


def test_without_strict_only_shapes_must_fit():
    source = tiny()
    state = source.state_dict()
    del state["stem.0.weight"]
    model = tiny()
    left = load_checkpoint_into(model, {**state, "extra": torch.zeros(1)}, strict=False)
    assert left == ["stem.0.weight"]
    assert torch.equal(model.fc.weight, source.fc.weight)
    state["fc.weight"] = torch.zeros(3, 3)
    with pytest.raises(BadCheckpoint, match="3x3 instead of 10x12"):
        load_checkpoint_into(tiny(), state, strict=False)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path):
    trace = tmp_path / "executed"
    torch.save({"state_dict": Bomb(trace)}, tmp_path / "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(BadCheckpoint, match=r"zip\.pth holds Python objects"):
        read_checkpoint(tmp_path / "zip.pth")
    with pytest.raises(BadCheckpoint, match=r"old\.pth"):
        read_checkpoint(tmp_path / "old.pth")
    assert not trace.exists()


def test_what_is_no_checkpoint_is_answered_with_one_sentence(tmp_path):
    state = tiny().state_dict()
    torch.save(state, tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    for suffix in ("pth", "safetensors"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"half.{suffix}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        (tmp_path / f"text.{suffix}").write_text("<html>not found</html>")
        for name in ("half", "empty", "text"):
            with pytest.raises(BadCheckpoint, match=rf"{name}\.{suffix}.* copy it again$") as error:
                read_checkpoint(tmp_path / f"{name}.{suffix}")
            assert "\n" not in str(error.value)
    with pytest.raises(BadCheckpoint, match="no weights file at"):
        read_checkpoint(tmp_path / "absent.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadCheckpoint, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "none.pth")
    with pytest.raises(BadCheckpoint, match="holds no tensors"):
        read_checkpoint(tmp_path / "none.pth")
