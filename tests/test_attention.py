"""Attention between the cells of a map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xnect.errors import BadWeights
from xnect.heads.attention import HEAD, Attention, attend
from xnect.model import bundled, load_refiner
from xnect.refiner import REFINERS, SIDE_PX, Refiner
from xnect.train.checkpoint import save_weights
from xnect.train.refiner import start_from


def trained_like(side: int = 4) -> Attention:
    """Attention whose last convolution is no longer 0."""
    torch.manual_seed(3)
    attention = Attention(8, 2 * HEAD, 2, side).eval()
    nn.init.normal_(attention.join.weight)
    return attention


def test_a_refiner_that_gets_attention_says_what_it_said(tmp_path) -> None:
    without = Refiner(REFINERS["s"]).eval()
    without.load_state_dict(load_refiner(bundled("refiner", "open")).state_dict(), strict=False)
    notes = {"architecture": "xnect refiner", "preset": "s"}
    save_weights(tmp_path / "s.safetensors", without.state_dict(), notes)
    with_attention = Refiner(REFINERS["sa"])
    start_from(with_attention, None, tmp_path / "s.safetensors")
    save_weights(
        tmp_path / "sa.safetensors",
        with_attention.state_dict(),
        {"architecture": "xnect refiner", "preset": "sa"},
    )
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        said = load_refiner(tmp_path / "sa.safetensors")(images)
        for ours, theirs in zip(said, without(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)  # halves in the file


def test_a_refiner_goes_on_with_the_attention_of_its_weights(tmp_path) -> None:
    torch.manual_seed(5)
    first, second = Refiner(REFINERS["sa"]), Refiner(REFINERS["sa"])
    save_weights(tmp_path / "a.safetensors", first.state_dict(), {"architecture": "xnect refiner"})
    start_from(second, None, tmp_path / "a.safetensors")
    assert first.attention is not None
    assert second.attention is not None
    torch.testing.assert_close(
        second.attention.places, first.attention.places, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(BadWeights, match="are too many"):
        start_from(Refiner(REFINERS["s"]), None, tmp_path / "a.safetensors")


def test_every_cell_hears_of_every_other() -> None:
    features = torch.randn(1, 8, 4, 4, requires_grad=True)
    trained_like()(features)[0, :, 0, 0].sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().amax(1) > 0).all()


def test_only_the_table_of_places_tells_the_cells_apart() -> None:
    attention = trained_like()
    features, order = torch.randn(2, 8, 4, 4), torch.randperm(16)

    def moved(maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(2)[..., order].unflatten(2, (4, 4))

    with torch.no_grad():
        assert not torch.allclose(attention(moved(features)), moved(attention(features)), atol=1e-3)
        attention.places.zero_()
        torch.testing.assert_close(attention(moved(features)), moved(attention(features)))


def test_it_begins_as_nothing_and_learns() -> None:
    attention = Attention(8, HEAD, 1, 4)
    features = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(attention(features), features)
    attention(features).square().sum().backward()
    assert attention.join.weight.grad is not None
    assert attention.join.weight.grad.abs().max() > 0


def test_attention_in_halves_is_torchs_own_with_its_gradients() -> None:
    """On a CPU in bfloat16 the products are written out."""
    random = torch.Generator().manual_seed(4)
    halves = [torch.randn(2, 3, 20, HEAD, generator=random).bfloat16() for _ in range(3)]
    weight = torch.randn(2, 3, 20, HEAD, generator=random)
    results = []
    for kind in (torch.bfloat16, torch.float32):
        inputs = [part.to(kind).detach().clone().requires_grad_() for part in halves]
        out = attend(inputs[0], inputs[1], inputs[2])
        (out.float() * weight).sum().backward()
        results.append([out, *(part.grad for part in inputs)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), theirs, rtol=0.03, atol=0.03)
