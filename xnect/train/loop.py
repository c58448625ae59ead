"""`python -m xnect.train.loop`: train Stage I.  Everything is passed in; nothing is global."""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from xnect.backbones import load_checkpoint_into, read_checkpoint
from xnect.backbones.hub import download
from xnect.errors import BadInput, BadWeights, CannotWrite, UnknownName, XnectError
from xnect.model import pick_device
from xnect.network import PRESETS, Network, build_network, channels_last
from xnect.prepare import Normalisation
from xnect.skeleton import JOINTS2D
from xnect.train.augment import as_small_as
from xnect.train.batches import Batch, Mixture, Source, loader
from xnect.train.checkpoint import Ema, file_metadata
from xnect.train.datasets.lspet import lspet
from xnect.train.descent import LossesOf, NotFinite, optimizer_step, parameter_groups, rate_at
from xnect.train.losses import stage1_losses
from xnect.train.options import TrainOptions, add_flags
from xnect.train.progress import Progress
from xnect.train.state import Training
from xnect.train.targets import make_targets
from xnect.train.validate import peak_pck

log = logging.getLogger(__name__)

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of weights trained on ImageNet, by timm and most others (spec 2.6)."""

MOTION_CAPTURE = ("muco", "mpi3dhp", "h36m")
"""Sets for research that are used where their shards are."""

Validate = Callable[[nn.Module], dict[str, float]]
"""The averaged network -> figures; the first is the one that counts, and more of it is better."""

LICENCES = {
    "open": "Apache-2.0",
    "research": "research only: trained on data sets that are for research as well",
}
"""Of the weights of each lane."""


def mixture_sources(packed: Path, lane: str, shares: Mapping[str, float] = {}) -> list[Source]:
    """The data sets of a lane with their shares.

    `open` has renders and COCO train2017 only; `research` also LSP-Extended, and the sets with
    motion capture that were packed.

    Args:
        packed: Folder of shards.
        lane: `open` or `research`.
        shares: Name -> share; the sets that are not named are not used.  Empty takes all, in the
            shares of the bundled weights.

    Raises:
        BadInput: There are no renders though they are wanted, or a share is not positive.
        UnknownName: A set that this lane does not have.
    """
    rendered = tuple(sorted(packed.glob("renders-*.npz")))
    extra = tuple(sorted(packed.glob("coco-extra*.npz")))
    coco_share = 0.26 if extra else 0.15
    sources = [
        Source("coco-train2017", (packed / "coco.npz", *extra), coco_share, True),
        Source("negatives", (packed / "negatives.npz",), 0.06, True),
        Source("renders", rendered, 0.28, False),
    ]
    if lane == "research":
        sources.append(Source("lspet", (packed / "lspet.npz",), 0.42, True, min_size=0.45))
        for name in MOTION_CAPTURE:
            shards = tuple(sorted(packed.glob(f"{name}-*.npz")))
            if shards:
                sources.append(Source(name, shards, 0.15, True))
    known = [source.name for source in sources]
    for name, share in shares.items():
        if name not in known:
            raise UnknownName(f"data set in lane {lane}", name, known)
        if not 0 < share < math.inf:
            raise BadInput(f"the share of {name} must be a positive number, got {share}")
    if shares:
        sources = [replace(s, share=shares[s.name]) for s in sources if s.name in shares]
    if any(source.name == "renders" and not source.paths for source in sources):
        raise BadInput(f"no renders-*.npz in {packed}; run `python -m xnect.train.pack` first")
    return sources


def read_shares(text: str) -> dict[str, float]:
    """`renders=0.5,coco-train2017=0.5` -> name -> share.

    Raises:
        BadInput: it is not written so.
    """
    shares: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        try:
            shares[name.strip()] = float(number)
        except ValueError as error:
            raise BadInput(
                f"--shares must be like renders=0.5,coco-train2017=0.5, got {part!r}"
            ) from error
    return shares


def start_from(network: Network, init: str) -> Normalisation:
    """Weights of Stage I from a file of this project, or the backbone's from ImageNet training.

    Returns:
        How the pictures were normalised that they were trained on.

    Raises:
        BadWeights: Nothing to be had there, or weights for another network.
    """
    try:
        path = download(init)
        tensors = read_checkpoint(path)
        if any(name.startswith("backbone.") for name in tensors):
            network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
            return Normalisation.of(file_metadata(path))
        load_checkpoint_into(network.backbone, tensors)
        return IMAGENET
    except (ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torch's own sentence has many lines
        raise BadWeights(f"--init {init}: {reason}") from error


class TrainingFailed(XnectError, RuntimeError):
    """Training cannot go on; the text says at which step, why, and what is kept."""


def stage1_step(
    normalisation: Normalisation = Normalisation(), *, hard_joints: int = 0
) -> Callable[[nn.Module, Batch], dict[str, Tensor]]:
    """What `train` needs of Stage I: network and batch -> losses."""

    def losses_of(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        images = stage1_input(batch.images, normalisation)
        with torch.no_grad():
            targets = make_targets(batch)
        with torch.autocast(images.device.type, torch.bfloat16):
            maps = network(images)
        return stage1_losses(maps, targets, hard_joints=hard_joints)

    return losses_of


def stage1_input(images: Tensor, normalisation: Normalisation) -> Tensor:
    """(B, 3, H, W) uint8 -> what Stage I takes."""
    mean, std = (torch.tensor(row, device=images.device).view(-1, 1, 1) for row in normalisation)
    made = images.float().div_(255).sub_(mean).div_(std)
    return made.contiguous(memory_format=torch.channels_last)


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

    Returns:
        Why it ended, as a sentence.

    Ctrl-C (or SIGTERM) ends it after the step, with a checkpoint.  In a process group every process
    trains on batches of its own and gradients are averaged; the first process keeps the time and
    writes.

    Raises:
        TrainingFailed: losses or gradients are not finite; the last checkpoint stays as it was.
        BadInput: the checkpoint in `out` is of other options.
        CannotWrite: the last checkpoint cannot be written; the one before stays valid.
    """
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
            reason, progress = _agreed(own, device)
            if reason:
                break
            for parameters in state.optimizer.param_groups:
                parameters["lr"] = rate_at(progress, state.step, options)
            group = [_moved(b, device) for b in itertools.islice(stream, options.accumulate)]
            try:
                losses = optimizer_step(
                    model, state.optimizer, group, losses_of, max_gradient=options.max_gradient
                )
            except NotFinite as error:
                raise TrainingFailed(_what_is_kept(state.step, error, out)) from error
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
        if not interrupted and self.validated_step != self.state.step:
            self.look()
        self.state.save(self.out, self.metadata)

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


def _state(network: nn.Module, options: TrainOptions, metadata: dict[str, str]) -> Training:
    channels_last(network.train())
    groups = parameter_groups(network, options.weight_decay)
    betas = (0.9, options.beta2)
    optimizer = torch.optim.AdamW(groups, options.learning_rate, betas=betas, fused=True)
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


def _what_is_kept(step: int, error: NotFinite, out: Path) -> str:
    kept = out / "checkpoint.pt"
    what = f"{kept} is from before it" if kept.exists() else "no checkpoint had been written yet"
    return (
        f"training stopped at step {step + 1}, where these were not finite: {error}; {what}; go on "
        "from there with a smaller --learning-rate and another --out, or look at the data"
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


T = TypeVar("T")


def _agreed(value: T, device: torch.device) -> T:
    """The first process's value, in every process, so that all stop at the same step."""
    if not dist.is_initialized():
        return value
    said = [value]
    dist.broadcast_object_list(said, 0, device=device if device.type == "cuda" else None)
    return said[0]


def join_processes(device: str) -> int:
    """Join the process group if `torchrun` started this process; returns its number in it."""
    if "RANK" not in os.environ:
        return 0
    on_gpu = pick_device(device) == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return dist.get_rank()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `train`; returns the exit status, 2 for a mistake in words or files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of packed shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lane", choices=("open", "research"), default="research")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--init", help="file of Stage I; or file, hub id or URL of the backbone's ImageNet weights"
    )
    parser.add_argument(
        "--shares", default="", help="such as renders=0.5,coco-train2017=0.5; only these are used"
    )
    add_flags(parser)
    flags = vars(parser.parse_args(arguments))
    data, out, lane, shared, init, shares = (
        flags.pop(n) for n in ("data", "out", "lane", "shared", "init", "shares")
    )
    options = replace(TrainOptions(), **flags)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    def run(rank: int) -> str:
        sources = mixture_sources(data, lane, read_shares(shares))
        return _train_stage1(options, sources, out, lane, shared, init, rank)

    return as_command(run, options.device)


def as_command(run: Callable[[int], str], device: str) -> int:
    """`run(rank)` in the process group that there may be; prints its reason, 2 on bad input."""
    status = 0
    try:
        rank = join_processes(device)
        reason = run(rank)
        if rank == 0:
            print(reason)
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except BaseException:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise
    if dist.is_initialized():
        leave_processes(status)
    return status


def leave_processes(status: int) -> NoReturn:
    """Leave the process group, and end this process.

    At once: threads that torch 2.13 keeps for gloo abort an ordinary exit of Python now and then,
    after everything is done and written, and `torchrun` then calls the training failed.
    """
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _train_stage1(
    options: TrainOptions,
    sources: list[Source],
    out: Path,
    lane: str,
    shared: Path,
    init: str | None,
    rank: int,
) -> str:
    """Everything behind the command; returns why it ended."""
    if options.preset not in PRESETS:
        raise UnknownName("preset", options.preset, sorted(PRESETS))
    torch.manual_seed(options.seed)
    network = build_network(options.preset, backbone=options.backbone or None)
    normalisation = start_from(network, init) if init is not None else Normalisation()
    augmentation = as_small_as(options.size_at_least, options.crop_px)
    mixture = Mixture(sources, augmentation, batch=options.batch, seed=options.seed + 1000 * rank)
    root = shared / "lspet"
    validation = list(itertools.islice(lspet(root, "dev"), 160)) if root.exists() else []
    metadata = {
        "architecture": f"xnect stage 1 preset {options.preset}",
        "preset": options.preset,
        "backbone": options.backbone,
        "lane": lane,
        "licence": LICENCES[lane],
        "input_hw": "x".join(map(str, PRESETS[options.preset].input_hw)),
        "joints": ", ".join(JOINTS2D),
        "data": ", ".join(
            f"{source.name} {share:.2f}"
            for source, share in zip(mixture.sources, mixture.shares, strict=True)
        ),
        **normalisation.metadata(),
        "options": json.dumps(asdict(options)),
    }
    return train(
        network,
        loader(mixture, workers=options.workers),
        options,
        out=out,
        losses_of=stage1_step(normalisation, hard_joints=options.hard_joints),
        validate=(
            (lambda n: {"peak_pck": peak_pck(n, validation, normalisation)}) if validation else None
        ),
        metadata=metadata,
    )


if __name__ == "__main__":
    raise SystemExit(main())
