"""A network of twice the width begins as the narrow one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xnect.errors import BadWeights
from xnect.model import bundled, load_refiner
from xnect.refiner import REFINERS, SIDE_PX, Refiner
from xnect.train.checkpoint import save_weights
from xnect.train.refiner import start_from
from xnect.train.widen import widened


@pytest.fixture(scope="module")
def narrow() -> Refiner:
    return load_refiner(bundled("refiner", "open"))


def test_the_wide_refiner_says_what_the_narrow_one_says(narrow: Refiner) -> None:
    wide = Refiner(REFINERS["m"])
    start_from(wide, None, bundled("refiner", "open"))
    wide.eval()
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(wide(images), narrow(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_wide_refiner_begins_as_one_without_attention_too(narrow: Refiner, tmp_path) -> None:
    plain = Refiner(REFINERS["s"])
    plain.load_state_dict(narrow.state_dict(), strict=False)
    save_weights(tmp_path / "s.safetensors", plain.state_dict(), {"architecture": "xnect refiner"})
    wide = Refiner(REFINERS["m"])
    start_from(wide, None, tmp_path / "s.safetensors")
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(wide.eval()(images), plain.eval()(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)  # halves in the file


def test_copies_of_a_channel_learn_differently(narrow: Refiner) -> None:
    wide = Refiner(REFINERS["m"])
    wide.load_state_dict(widened(narrow.state_dict(), wide), strict=False)
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    sum(m.square().mean() for m in wide(images)).backward()
    apart = 0
    layers = [m for m in wide.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3]
    for layer in layers:
        gradient = layer.weight.grad
        assert gradient is not None
        pairs = gradient.unflatten(0, (-1, 2)) if len(gradient) % 2 == 0 else gradient[:, None]
        apart += not torch.allclose(pairs[:, 0], pairs[:, -1])
    assert apart > 0.9 * len(layers)


def test_transposed_and_grouped_convolutions_keep_what_they_do() -> None:
    def network(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
            nn.ConvTranspose2d(width, 2 * width, 4, 2, 1, groups=2), nn.ReLU(),
            nn.Conv2d(2 * width, 5, 1, groups=1),
        )  # fmt: skip

    torch.manual_seed(0)
    one, two = network(4), network(8)
    one[1].running_mean.normal_()
    two.load_state_dict(widened(one.state_dict(), two), strict=False)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(two.eval()(images), one.eval()(images))


def test_a_network_of_another_width_is_refused(narrow: Refiner) -> None:
    wide = Refiner(REFINERS["m"])
    with pytest.raises(BadWeights, match="not twice as wide"):
        widened(wide.state_dict(), narrow)
    with pytest.raises(BadWeights, match="has no"):
        widened({}, wide)
