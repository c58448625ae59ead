"""The second thought: corrections of maps from what was said of all joints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from xnect.errors import BadWeights
from xnect.heads.attention import HEAD
from xnect.heads.revision import FINER, Revision
from xnect.model import bundled, load_refiner
from xnect.refiner import REFINERS, SIDE_PX, Refiner
from xnect.train.checkpoint import save_weights
from xnect.train.refiner import start_from

CHANNELS, JOINTS, SIDE = 8, 3, 4


def revision(*, trained: bool) -> Revision:
    """One that corrects logits and offsets; a trained one's last layer is no longer 0."""
    torch.manual_seed(3)
    made = Revision(CHANNELS, JOINTS, (JOINTS, 2 * JOINTS), HEAD, 2, SIDE).eval()
    if trained:
        nn.init.normal_(made.correct.weight)
    return made


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    features = torch.randn(2, CHANNELS, SIDE, SIDE, generator=random)
    heatmaps = torch.randn(2, JOINTS, FINER * SIDE, FINER * SIDE, generator=random)
    return features, heatmaps


@pytest.mark.parametrize("before", ["s", "sa"])
def test_a_refiner_that_gets_a_second_thought_says_what_it_said(
    tmp_path: Path, before: str
) -> None:
    torch.manual_seed(0)
    first = Refiner(REFINERS[before])
    path = _kept(tmp_path / "before.safetensors", before)
    start_from(first, None, path)
    second = Refiner(REFINERS["sr"])
    start_from(second, None, path)
    save_weights(
        tmp_path / "sr.safetensors",
        second.state_dict(),
        {"architecture": "xnect refiner", "preset": "sr"},
    )
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        said = load_refiner(tmp_path / "sr.safetensors")(images)
        for ours, theirs in zip(said, first.eval()(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)  # halves in the file


def _kept(path: Path, preset: str) -> Path:
    """The bundled weights, as far as this preset has them, in a file of their own."""
    network = Refiner(REFINERS[preset])
    bundled_state = load_refiner(bundled("refiner", "open")).state_dict()
    network.load_state_dict(
        {n: v for n, v in bundled_state.items() if n in network.state_dict()}, strict=False
    )
    notes = {"architecture": "xnect refiner", "preset": preset}
    save_weights(path, network.state_dict(), notes)
    return path


def test_weights_with_a_second_thought_do_not_fit_a_network_without(tmp_path: Path) -> None:
    state = Refiner(REFINERS["sr"]).state_dict()
    save_weights(tmp_path / "sr.safetensors", state, {"architecture": "xnect refiner"})
    with pytest.raises(BadWeights, match="are too many"):
        start_from(Refiner(REFINERS["sa"]), None, tmp_path / "sr.safetensors")


def test_each_correction_hears_of_every_joint_everywhere() -> None:
    features, heatmaps = inputs()
    heatmaps.requires_grad_()
    of_heatmaps, _ = revision(trained=True)(features, heatmaps)
    of_heatmaps[0, 0, 0, 0].backward()
    assert heatmaps.grad is not None
    assert (heatmaps.grad[0] != 0).all()
    assert (heatmaps.grad[1] == 0).all()  # of another person


def test_corrections_have_the_shapes_of_the_maps() -> None:
    features, heatmaps = inputs()
    of_heatmaps, of_offsets = revision(trained=True)(features, heatmaps)
    assert of_heatmaps.shape == heatmaps.shape
    assert of_offsets.shape == (2, 2 * JOINTS, *heatmaps.shape[-2:])


def test_it_begins_as_nothing_and_learns() -> None:
    fresh = revision(trained=False)
    features, heatmaps = inputs()
    added = fresh(features, heatmaps)
    assert all((part == 0).all() for part in added)
    sum((part - 1).square().sum() for part in added).backward()
    assert fresh.correct.weight.grad is not None
    assert fresh.correct.weight.grad.abs().max() > 0


def test_it_can_learn_that_two_joints_are_not_in_one_place() -> None:
    """No map knows by itself that another claims its cell: then the weaker one is elsewhere."""
    torch.manual_seed(0)
    side = 2
    network = Revision(1, 2, (2,), HEAD, 1, side)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    random = torch.Generator().manual_seed(2)
    cells = (FINER * side) ** 2

    def drawn(people: int) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.randint(cells, (people,), generator=random)
        other = (first + torch.randint(1, cells, (people,), generator=random)) % cells
        logits = torch.zeros(people, 2, cells)
        rows = torch.arange(people)
        logits[rows, 0, first] = 8.0
        logits[rows, 1, first] = 6.0  # claimed where the first one is
        logits[rows, 1, other] = 5.0  # where it is
        return logits.unflatten(2, (FINER * side, FINER * side)), other

    def chosen(logits: torch.Tensor) -> torch.Tensor:
        (added,) = network(torch.zeros(len(logits), 1, side, side), logits)
        return (logits + added)[:, 1].flatten(1)

    for _ in range(150):
        logits, other = drawn(64)
        loss = nn.functional.cross_entropy(chosen(logits), other)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits, other = drawn(200)
    with torch.no_grad():
        assert (logits[:, 1].flatten(1).argmax(1) == other).float().mean() == 0
        assert (chosen(logits).argmax(1) == other).float().mean() > 0.9
