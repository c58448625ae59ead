"""Options of a training run, and their flags."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from xnect.errors import BadInput
from xnect.network import STRIDE
from xnect.skeleton import JOINTS2D


@dataclass(frozen=True)
class TrainOptions:
    """One training run."""

    preset: str = "s"
    backbone: str = ""  # any other than the preset's, at full width
    hours: float = 1.0  # wall clock for the whole schedule, over all resumed parts
    steps: int = 0  # a schedule of so many steps instead, which gives the same weights every time
    batch: int = 16  # small: from scratch, the number of steps counts most
    accumulate: int = 1  # batches whose gradients make one step
    crop_px: int = 192
    size_at_least: float = 0.3  # of people's boxes in a crop, of its side
    optimizer: str = "adamw"  # or "muon", see `optimizers`
    learning_rate: float = 2e-3
    final_rate_share: float = 0.02
    weight_decay: float = 1e-2
    beta2: float = 0.999  # of AdamW
    max_gradient: float = 5.0  # norm to which gradients are cut
    warm_up_steps: int = 200
    ema_decay: float = 0.999
    hard_joints: int = (
        0  # of each picture, only so many with the largest heatmap loss count; 0: all
    )
    seed: int = 1
    save_minutes: float = 5.0
    validate_minutes: float = 10.0
    validate_steps: int = 0  # validate every so many steps rather than by the clock
    patience: int = 0  # end after so many validations without a better one; 0: never
    workers: int = 1
    device: str = "auto"  # auto, cpu, cuda or mps
    compile: str = ""  # backend of torch.compile; "inductor" is the one for GPUs
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Refuse what no training can do.

        Raises:
            BadInput: with the option's name and what it may be.
        """
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise BadInput(f"{name} must be {least:g} or more, got {getattr(self, name)}")
        for name in ("learning_rate", "max_gradient"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInput(f"{name} must be more than 0, got {getattr(self, name)}")
        for name in ("final_rate_share", "ema_decay", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if not (self.steps or self.hours > 0):
            raise BadInput(f"give hours above 0 or steps, got {self.hours} and {self.steps}")
        if self.crop_px % (4 * STRIDE):
            raise BadInput(f"crop_px must be a multiple of {4 * STRIDE}, got {self.crop_px}")
        if self.crop_px == 4 * STRIDE and self.batch == 1:
            raise BadInput(
                f"crop_px {self.crop_px} makes maps of one cell, of which a batch of 1 has no "
                "statistics; give a larger crop_px or batch"
            )
        if self.hard_joints > len(JOINTS2D):
            raise BadInput(f"hard_joints must be 0 to {len(JOINTS2D)}, got {self.hard_joints}")


_LEAST = {
    "hours": 0, "steps": 0, "batch": 1, "accumulate": 1, "crop_px": 32, "weight_decay": 0,
    "warm_up_steps": 0, "hard_joints": 0, "seed": 0, "validate_steps": 0, "patience": 0,
    "workers": 0, "save_minutes": 0, "validate_minutes": 0,
}  # fmt: skip
"""Of each option."""


FROM_SCRATCH = TrainOptions(optimizer="muon", learning_rate=0.01)
"""What the networks learn with best (README, "Training")."""

FREE_OPTIONS = frozenset(
    "hours steps save_minutes validate_minutes validate_steps patience workers device compile "
    "tensorboard".split()
)
"""What may be another when a training is resumed: neither data nor what is learnt from them."""


def add_flags(
    parser: argparse.ArgumentParser,
    defaults: TrainOptions = TrainOptions(),
    *,
    without: Collection[str] = (),
) -> None:
    """A flag for each of `TrainOptions` but those that this training knows nothing of.

    Those of `_CLOCKS` are in the namespace only if they are told; `told` makes options of it.
    """
    for name, value in asdict(defaults).items():
        if name in without:
            continue
        flag = f"--{name.replace('_', '-')}"
        default = argparse.SUPPRESS if name in _BY_CLOCK_OR_STEP else value
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, type=type(value), default=default)


_CLOCKS = {"hours": "steps", "validate_minutes": "validate_steps"}
"""Options of the clock -> those of steps that would go before them."""

_BY_CLOCK_OR_STEP = {*_CLOCKS, *_CLOCKS.values()}


def told(flags: Mapping[str, Any], defaults: TrainOptions) -> TrainOptions:
    """Options of a command line; a clock that is told takes the place of steps that are not.

    Args:
        flags: What was parsed; names that are no option's are passed over.
        defaults: Those that `add_flags` was given.

    Raises:
        BadInput: options that no training can have.
    """
    chosen = {f.name: flags[f.name] for f in fields(TrainOptions) if f.name in flags}
    for clock, steps in _CLOCKS.items():
        if clock in chosen:
            chosen.setdefault(steps, 0)
    return replace(defaults, **chosen)
