"""Options of a training run, and their flags."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass


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


FROM_SCRATCH = TrainOptions(optimizer="muon", learning_rate=0.01)
"""What the networks learn with best (README, "Training")."""

FREE_OPTIONS = frozenset(
    "hours steps save_minutes validate_minutes validate_steps patience workers device compile "
    "tensorboard".split()
)
"""What may be another when a training is resumed: neither data nor what is learnt from them."""


def add_flags(parser: argparse.ArgumentParser, defaults: TrainOptions = TrainOptions()) -> None:
    """A flag for each of `TrainOptions`."""
    for name, value in asdict(defaults).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
