"""Training of any network: schedule, average, checkpoints, validation.  All is passed in."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xnect.errors import BadInput, CannotWrite, UnknownName, XnectError
from xnect.model import pick_device
from xnect.network import channels_last
from xnect.train.checkpoint import Ema
from xnect.train.descent import LossesOf, NotFinite, optimizer_step, rate_at
from xnect.train.optimizers import make_optimizer
from xnect.train.options import TrainOptions
from xnect.train.processes import agreed
from xnect.train.progress import Progress
from xnect.train.state import Training

log = logging.getLogger(__name__)


Validate = Callable[[nn.Module], dict[str, float]]
"""The averaged network -> figures; the first is the one that counts, and more of it is better."""


class TrainingFailed(XnectError, RuntimeError):
    """Training cannot go on; the text says at which step, why, and what is kept."""


@runtime_checkable
class Positioned(Protocol):
    """Batches that can be entered anywhere; a training that is resumed takes the next one."""

    def from_batch(self, number: int) -> Iterator[Any]:
        """Batches from this number on, counted from 0."""
        ...


def train(
    network: nn.Module,
    batches: Iterable[Any],
    options: TrainOptions,
    *,
    out: Path,
    losses_of: LossesOf,
    validate: Validate | None,
    metadata: dict[str, str],
    start: str = "",
) -> str:
    """Train to the end of the schedule; `out` gets checkpoint, EMA weights and `log.jsonl`.

    Args:
        network: What is trained; it is moved to the device.
        batches: Of whatever `losses_of` takes, a named tuple of tensors of which the first holds
            the pictures; endless, or repeated.  `Positioned` ones go on where they stopped.
        options: Schedule, rates, times.
        out: Folder; a checkpoint in it is gone on from.
        losses_of: Network and batch -> losses, which are added.
        validate: Figures of the averaged network.  By the first of them, where more is better,
            `best.safetensors` is kept and `patience` ends the training.
        metadata: Of the weights.
        start: The command's flag that takes `ema.safetensors` as a start, for the advice after a
            failure; empty if it has none.

    Returns:
        Why it ended, as a sentence.

    Ctrl-C (or SIGTERM) ends it after the step, with a checkpoint.  In a process group every process
    trains on batches of its own and gradients are averaged; the first process keeps the time and
    writes.

    Raises:
        TrainingFailed: losses or gradients are not finite; the last checkpoint stays as it was.
        BadInput: the checkpoint in `out` is of other options, or there is nothing to validate on
            though the options ask for it.
        UnknownName: a backend of torch.compile that there is not.
        CannotWrite: the last checkpoint cannot be written; the one before stays valid.
    """
    _check(options, validate)
    device = torch.device(pick_device(options.device))
    if dist.is_initialized() and device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    state = _state(network.to(device), options, metadata)
    if (out / "checkpoint.pt").exists():
        state.resume(out / "checkpoint.pt")
    model = _prepared(network, options)
    first = not dist.is_initialized() or dist.get_rank() == 0
    keeper = Keeper(state, options, out, metadata, validate) if first else None
    stream = _from_batch(batches, state.step * options.accumulate)
    last = time.monotonic()
    with keeper or nullcontext(), _stop_signals() as stopped:
        while True:
            own = (_reason_to_end(state, options, stopped), _progress(state, options))
            reason, progress = agreed(own, device)
            if reason:
                break
            for parameters in state.optimizer.param_groups:
                parameters["lr"] = parameters["share"] * rate_at(progress, state.step, options)
            group = [_moved(b, device) for b in itertools.islice(stream, options.accumulate)]
            try:
                losses = optimizer_step(
                    model, state.optimizer, group, losses_of, max_gradient=options.max_gradient
                )
            except NotFinite as error:
                raise TrainingFailed(_what_is_kept(state.step, error, out, start)) from error
            now = time.monotonic()
            state.used_s += now - last
            state.step += 1
            state.images += state.run["processes"] * sum(len(batch[0]) for batch in group)
            if keeper is not None:
                keeper.after_step(progress, losses)
                now = time.monotonic()  # validations do not count
            last = now
        if keeper is not None:
            keeper.finish(interrupted=bool(stopped))
    return f"{reason}; {state.step} steps, {state.images} images"


class Keeper:
    """What the first process does beside training: average, log, validate, save."""

    def __init__(
        self,
        state: Training,
        options: TrainOptions,
        out: Path,
        metadata: dict[str, str],
        validate: Validate | None,
    ) -> None:
        self.state, self.options, self.out = state, options, out
        self.metadata, self.validate = metadata, validate
        self.progress = Progress(out, tensorboard=options.tensorboard)
        self.average = copy.deepcopy(state.network)
        self.saved = self.validated = time.monotonic()
        self.validated_step = state.step

    def after_step(self, progress: float, losses: dict[str, float]) -> None:
        """Average, log, and what is due."""
        state, options, now = self.state, self.options, time.monotonic()
        state.ema.update(state.network)
        self.progress.step(progress, state.step, state.images, state.used_s, losses)
        due = now - self.validated > 60 * options.validate_minutes
        if options.validate_steps:
            due = state.step % options.validate_steps == 0
        if due:
            self.look()
        if now - self.saved > 60 * options.save_minutes:
            self._tried(lambda: state.save(self.out, self.metadata))
            self.saved = time.monotonic()

    def look(self) -> None:
        """Validate the average; keep it if it is the best so far."""
        if self.validate is None:
            return
        state = self.state
        self.average.load_state_dict(state.ema.state)
        figures = self.validate(self.average)
        self.progress.figures(state.step, state.images, figures)
        figure = next(iter(figures.values()))
        if figure > state.best:
            state.best, state.worse = figure, 0
            best = self.out / "best.safetensors"
            self._tried(lambda: state.save_average(best, self.metadata))
        else:
            state.worse += 1
        self.validated, self.validated_step = time.monotonic(), state.step

    def finish(self, *, interrupted: bool) -> None:
        """A last look, if there is time, and the last checkpoint.

        Raises:
            CannotWrite: it cannot be written; the one before stays valid.
        """
        self.state.save(self.out, self.metadata)
        if not interrupted and self.validated_step != self.state.step:
            self.look()
            self.state.save(self.out, self.metadata)  # it holds the best figure as well

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.close()

    def _tried(self, write: Callable[[], None]) -> None:
        """Write; a disk that is full now may have room the next time."""
        try:
            write()
        except CannotWrite as error:
            log.warning("%s; training goes on", error)


def _check(options: TrainOptions, validate: Validate | None) -> None:
    """Refuse what would be ignored, or fail, only later."""
    usual = {
        n: getattr(TrainOptions(), n) for n in ("patience", "validate_steps", "validate_minutes")
    }
    asked = [f"{n} {v:g}" for n in usual if (v := getattr(options, n)) != usual[n]]
    if validate is None and asked:
        raise BadInput(f"there is nothing to validate on, but {' and '.join(asked)} asks for it")
    if options.compile:
        from torch._dynamo import list_backends

        known = list_backends(None)
        if options.compile not in known:
            raise UnknownName("backend of torch.compile", options.compile, known)


def _state(network: nn.Module, options: TrainOptions, metadata: dict[str, str]) -> Training:
    channels_last(network.train())
    optimizer = make_optimizer(network, options)
    world = dist.get_world_size() if dist.is_initialized() else 1
    run = {**asdict(options), "processes": world}
    run |= {name: value for name, value in metadata.items() if name != "options"}
    return Training(network, optimizer, Ema(network, options.ema_decay), run)


def _reason_to_end(state: Training, options: TrainOptions, stopped: list[str]) -> str:
    """Empty while there is none."""
    if stopped:
        return f"stopped by {stopped[0]}"
    if 0 < options.patience <= state.worse:
        return f"ended early: {state.worse} validations were not better than the best"
    return "the schedule is done" if _progress(state, options) >= 1 else ""


def _prepared(network: nn.Module, options: TrainOptions) -> nn.Module:
    """The network as it is called: in the process group, and compiled."""
    grouped = dist.is_initialized() and dist.get_world_size() > 1
    model: nn.Module = DistributedDataParallel(network) if grouped else network
    if options.compile:
        model = torch.compile(model, backend=options.compile)  # type: ignore[assignment]
    return model


def _progress(state: Training, options: TrainOptions) -> float:
    """Share of the schedule that is done."""
    if options.steps:
        return state.step / options.steps
    return state.used_s / (options.hours * 3600)


def _what_is_kept(step: int, error: NotFinite, out: Path, start: str) -> str:
    kept = out / "ema.safetensors"
    if start and kept.exists():
        what = f"{kept} is from before it: give it to {start}"
    else:
        what = "begin anew"
    return (
        f"training stopped at step {step + 1}, where these were not finite: {error}; {what}, with "
        "a smaller --learning-rate and another --out, or look at the data"
    )


def _from_batch(batches: Iterable[Any], number: int) -> Iterator[Any]:
    if isinstance(batches, Positioned):
        return batches.from_batch(number)
    if number:
        log.warning("these batches cannot be entered in their middle: they start anew")
    return itertools.chain.from_iterable(itertools.repeat(batches))


def _moved(batch: Any, device: torch.device) -> Any:
    """A named tuple of tensors, on the device."""
    if device.type == "cpu":
        return batch
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """A list that is filled by Ctrl-C or SIGTERM; the second Ctrl-C is Python's own."""
    stopped: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, frame: object) -> None:
        stopped.append(signal.Signals(number).name)
        signal.signal(number, before[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, stop)
        yield stopped
    finally:
        for number in numbers:
            signal.signal(number, before[number])
