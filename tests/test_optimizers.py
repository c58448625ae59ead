"""AdamW and Muon."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from xnect.errors import BadInput, UnknownName
from xnect.network import channels_last
from xnect.refiner import Refiner
from xnect.train.optimizers import ADAM_SHARE, Optimizers, as_matrix, inner_weights, make_optimizer
from xnect.train.options import TrainOptions

MUON = TrainOptions(optimizer="muon", learning_rate=0.01)
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9")


def small() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16),
        nn.ConvTranspose2d(16, 8, 4, bias=False), nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
    )  # fmt: skip


def stepped(network: nn.Module, optimizer: Optimizers, steps: int = 3) -> None:
    for seed in range(steps):
        images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()


@needs_muon
@pytest.mark.parametrize("last", [False, True])
def test_each_step_of_an_inner_weight_is_orthogonal_and_of_the_rate_of_adam(last: bool):
    """Rows of the first step are at right angles; its root mean square is 0.2 of the rate."""
    network = channels_last(small()) if last else small()
    weights = inner_weights(network)
    assert len(weights) == 2
    before = [w.detach().clone() for w in weights]
    options = TrainOptions(optimizer="muon", learning_rate=0.01, weight_decay=0.0)
    stepped(network, make_optimizer(network, options), 1)
    for weight, old in zip(weights, before, strict=True):
        step = as_matrix(weight.detach() - old, like=weight)
        sides = torch.linalg.svdvals(step) / 0.01 / (0.2 * max(step.shape) ** 0.5)
        assert sides.min() > 0.4  # Newton-Schulz brings them to about 0.7 .. 1.2
        assert sides.max() < 1.4


@needs_muon
def test_the_layout_in_memory_does_not_change_what_is_learnt():
    plain, last = small(), channels_last(small())
    for network in (plain, last):
        stepped(network, make_optimizer(network, MUON), 1)
    for one, other in zip(inner_weights(plain), inner_weights(last), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)  # of steps of 0.01; bf16 inside


@needs_muon
def test_every_parameter_has_one_optimizer():
    network = channels_last(Refiner())
    optimizer = make_optimizer(network, MUON)
    inner = {id(w) for w, _ in optimizer.matrices}
    outer = [id(p) for group in optimizer.parts[0].param_groups for p in group["params"]]
    assert sorted([*inner, *outer]) == sorted(id(p) for p in network.parameters())
    names = [n for n, p in network.named_parameters() if id(p) not in inner and p.ndim > 1]
    assert {n.split(".")[0] for n in names} >= {"heatmaps", "offsets"}
    assert "backbone.stem.0.weight" in names
    assert "backbone.features.0.conv1.0.weight" not in names


@needs_muon
def test_a_checkpoint_goes_on_exactly():
    network = small()
    optimizer = make_optimizer(network, MUON)
    stepped(network, optimizer)
    again = small()
    again.load_state_dict(network.state_dict())
    resumed = make_optimizer(again, MUON)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    stepped(network, optimizer)
    stepped(again, resumed)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    with pytest.raises(ValueError, match="2 optimizers"):
        make_optimizer(again, TrainOptions()).load_state_dict(optimizer.state_dict())


def test_biases_and_norms_do_not_decay():
    network = small()
    for group in make_optimizer(network, TrainOptions()).param_groups:
        assert (group["weight_decay"] > 0) == all(p.ndim > 1 for p in group["params"])


@needs_muon
def test_beside_muon_the_outputs_learn_at_a_smaller_rate():
    adam, muon = make_optimizer(small(), MUON).parts
    assert {g["share"] for g in adam.param_groups} == {ADAM_SHARE}
    assert {g["share"] for g in muon.param_groups} == {1.0}
    assert {g["share"] for g in make_optimizer(small(), TrainOptions()).param_groups} == {1.0}


def test_an_unknown_optimizer_is_named():
    with pytest.raises(UnknownName, match="sgd"):
        make_optimizer(small(), TrainOptions(optimizer="sgd"))


def test_muon_is_refused_where_it_would_train_nothing():
    with pytest.raises(BadInput, match="this network has none"):
        make_optimizer(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), MUON)
