"""The optimizer of a training: AdamW, or Muon for the convolutions beside AdamW for the rest.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") makes the step
of each weight matrix orthogonal, and of the size of a step of AdamW at the same rate (Liu et al.
2025, "Muon is scalable for LLM training").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xnect.errors import BadInput, UnknownName
from xnect.train.options import TrainOptions

OPTIMIZERS = ("adamw", "muon")
ADAM_SHARE = 0.15
"""Rate of AdamW beside Muon, of Muon's: outputs, biases and norms learn noise at the full rate."""

COLOURS = 3
"""Input channels of a first layer, which Muon leaves to AdamW."""


class Optimizers:
    """Several optimizers as one; their groups hold rates, and their `share` of the training's.

    Args:
        parts: The optimizers.
        matrices: Weights, and what one of the parts moves in their place: a view of each.
    """

    def __init__(
        self,
        parts: Sequence[torch.optim.Optimizer],
        matrices: Sequence[tuple[Tensor, nn.Parameter]] = (),
    ) -> None:
        self.parts, self.matrices = parts, matrices

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for weight, _ in self.matrices:
            weight.grad = None
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each part."""
        for weight, matrix in self.matrices:
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad, like=weight)
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Of all parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it is of other optimizers.
        """
        states = state.get("parts", [state])
        if len(states) != len(self.parts):
            raise ValueError(f"it has {len(states)} optimizers rather than {len(self.parts)}")
        for part, own in zip(self.parts, states, strict=True):
            part.load_state_dict(own)
            for group in part.param_groups:
                group.setdefault("share", 1.0)  # of a checkpoint from before there were shares


def make_optimizer(network: nn.Module, options: TrainOptions) -> Optimizers:
    """The optimizer that the options name; the network is where it will be trained.

    Weights decay, biases and batch norm do not.

    Raises:
        UnknownName: an optimizer that there is not.
        BadInput: torch is too old for Muon, or the network has nothing for it.
    """
    if options.optimizer not in OPTIMIZERS:
        raise UnknownName("optimizer", options.optimizer, OPTIMIZERS)
    inner = inner_weights(network) if options.optimizer == "muon" else []
    if options.optimizer == "muon" and not inner:
        raise BadInput("--optimizer muon is for convolutions, this network has none: take adamw")
    taken = {id(weight) for weight in inner}
    others = [p for p in network.parameters() if id(p) not in taken]
    rate, decay = options.learning_rate, options.weight_decay
    share = ADAM_SHARE if inner else 1.0
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{**g, "share": share} for g in groups], share * rate, betas=(0.9, options.beta2),
            fused=True,
        )
    ]  # fmt: skip
    matrices = [(weight, nn.Parameter(as_matrix(weight.data, like=weight))) for weight in inner]
    assert all(m.data_ptr() == w.data_ptr() for w, m in matrices), "a copy would not train"
    if inner:
        if not hasattr(torch.optim, "Muon"):
            raise BadInput(
                f"--optimizer muon needs torch 2.9 or newer, this is {torch.__version__}; "
                "take adamw, with a fifth of the learning rate"
            )
        flat = [{"params": [matrix for _, matrix in matrices], "share": 1.0}]
        parts.append(
            torch.optim.Muon(flat, rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        )
    return Optimizers(parts, matrices)


def inner_weights(network: nn.Module) -> list[Tensor]:
    """Weights of the convolutions between the first layer and the outputs.

    These have no bias, because batch norm follows them; outputs have one.
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    layers = [m for m in network.modules() if isinstance(m, kinds) and m.bias is None]
    return [m.weight for m in layers if m.groups == 1 and m.in_channels > COLOURS]


def as_matrix(weight: Tensor, *, like: Tensor) -> Tensor:
    """(O, I, h, w) -> (O, I h w), columns in the order in which `like` lies in memory.

    A view where `weight` lies in memory as `like` does.
    """
    if not like.is_contiguous():  # channels last
        weight = weight.movedim(1, -1)
    return weight.reshape(len(weight), -1)
