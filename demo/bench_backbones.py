"""`xnect bench backbones`: how long a picture takes, and why.

The authors' table (spec 1.5) is measured again: one forward pass of the whole classifier at 512,
400 and 224 pixels, batch 1 and 16.  Contenders take turns, one pass each per round, so that a
machine that slows down slows all of them; the speed-up over ResNet-50 is the median over rounds of
the quotient of two passes of the same round.  Weights are random: times do not depend on them.

Four variants, each on top of the one before::

    plain           float32, as trained
    folded          batch norm folded into the convolutions
    channels_last   and the channels of a pixel side by side in memory
    bf16            and bfloat16 in the convolutions (autocast)

A model's multiply-accumulates (MACs) are counted at the layers themselves.  Its speed-up is then
the product of two numbers: how many fewer MACs it has, and how many more it does per second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnect.demo.options import positive_float, positive_int
from xnect.errors import BadInput, CannotWrite, XnectError

if TYPE_CHECKING:
    from torch import Tensor, nn

MODELS = (
    "selecsls42b", "selecsls60", "selecsls60b", "selecsls84",
    "resnet50", "vovnet39a", "hrnet_w18", "resnest101e",
)  # fmt: skip
RIVAL = "resnet50"
SIZES_PX = (512, 400, 224)
BATCHES = (1, 16)
VARIANTS = ("plain", "folded", "channels_last", "bf16")
SMALLEST_PX = 64
"""Some contenders halve their picture six times."""

AUTHORS_MS: dict[tuple[int, int], dict[str, float]] = {
    (512, 1): {"resnet50": 15.0, "vovnet39a": 13.0, "selecsls60": 11.0, "selecsls84": 16.1},
    (512, 16): {"resnet50": 175, "vovnet39a": 197, "selecsls60": 115, "selecsls84": 175},
    (400, 1): {"resnet50": 11.0, "vovnet39a": 10.8, "selecsls60": 9.5, "selecsls84": 13.7},
    (400, 16): {"resnet50": 114, "vovnet39a": 130, "selecsls60": 85, "selecsls84": 124},
    (224, 1): {"resnet50": 7.2, "vovnet39a": 6.0, "selecsls60": 7.3, "selecsls84": 9.9},
    (224, 16): {"resnet50": 39.0, "vovnet39a": 41.0, "selecsls60": 29.0, "selecsls84": 42.3},
}
"""(pixels, batch) -> ms on a TITAN X, plain (spec 1.5)."""

EXAMPLES = """\
examples:
  xnect bench backbones                                   everything, 6 minutes at most
  xnect bench backbones --sizes 512 --models selecsls60,resnet50
  xnect bench backbones --sizes 64 --batches 1 --repeats 3 -o /tmp/try.json

Let the machine do nothing else meanwhile.  What does not fit into --minutes is left out and listed.
"""


@dataclass(frozen=True)
class Cost:
    """What one picture costs a network, counted."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions and linear layers
    activations: int  # numbers that these layers write


@dataclass(frozen=True)
class Cell:
    """One place of the table."""

    device: str
    variant: str
    size_px: int
    batch: int

    def text(self) -> str:
        """For progress."""
        size = f"{self.size_px}x{self.size_px}"
        return f"{self.device} {self.variant}, {size}, batch {self.batch}"


def count(network: nn.Module, size_px: int) -> Cost:
    """Cost of one picture of `size_px` x `size_px`; nothing is computed when it is on `meta`."""
    import torch
    from torch import nn

    macs = activations = 0

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs, activations
        if isinstance(layer, nn.Conv2d):
            per_number = layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            per_number = layer.in_features
        else:
            return
        macs += output.numel() * per_number
        activations += output.numel()

    hooks = [layer.register_forward_hook(add) for layer in network.modules()]
    weight = next(network.parameters())
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, 3, size_px, size_px, device=weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(sum(p.numel() for p in network.parameters()), macs, activations)


def costs(models: Sequence[str], sizes_px: Sequence[int]) -> dict[str, dict[int, Cost]]:
    """Model -> pixels -> cost, of networks without memory for their weights."""
    import torch

    from xnect.backbones import create_backbone

    found = {}
    for name in models:
        with torch.device("meta"):
            network = create_backbone(name)
        found[name] = {size: count(network, size) for size in sizes_px}
    return found


def prepared(network: nn.Module, variant: str, device: str) -> nn.Module:
    """The network as the variant wants it; a copy unless the variant is `plain`."""
    from xnect.backbones.fold import folded
    from xnect.network import channels_last

    network = network.eval() if variant == "plain" else folded(network)
    if variant in {"channels_last", "bf16"}:
        network = channels_last(network)
    return network.to(device)


def rounds_ms(
    networks: dict[str, nn.Module],
    cell: Cell,
    *,
    rounds: int,
    warm_up: int,
    deadline_s: float,
) -> dict[str, list[float]]:
    """Model -> ms of one pass in every round; the contenders take turns.

    Args:
        networks: Prepared for the cell's variant and device.
        cell: What is measured.
        rounds: How many, at least one of them whatever the time.
        warm_up: Rounds before them that do not count.
        deadline_s: By `time.monotonic`; no round begins after it.
    """
    import torch

    shape = (cell.batch, 3, cell.size_px, cell.size_px)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(cell.device)
    if cell.variant in {"channels_last", "bf16"}:
        images = images.contiguous(memory_format=torch.channels_last)
    sync: Callable[[], None] = torch.cuda.synchronize if cell.device == "cuda" else lambda: None
    half = cell.variant == "bf16"
    names = list(networks)
    taken: dict[str, list[float]] = {name: [] for name in names}
    with (
        torch.inference_mode(),
        torch.autocast(cell.device, torch.bfloat16) if half else nullcontext(),
    ):
        for number in range(-warm_up, rounds):
            if number > 0 and time.monotonic() > deadline_s:
                break
            turn = number % len(names)  # so that nobody always runs after the same one
            for name in [*names[turn:], *names[:turn]]:
                sync()
                start = time.perf_counter()
                networks[name](images)
                sync()
                if number >= 0:
                    taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


def summary(
    cell: Cell, taken: dict[str, list[float]], cost: dict[str, dict[int, Cost]]
) -> dict[str, Any]:
    """One cell for the JSON; per model ms, speed-up over ResNet-50, and work per second."""
    import numpy as np

    rows = {}
    for name, ms in taken.items():
        median = float(np.median(ms))
        work = cost[name][cell.size_px].macs * cell.batch
        row = {
            "median_ms": median,
            "p95_ms": float(np.percentile(ms, 95)),
            "best_ms": min(ms),
            "gmac_per_s": work / median / 1e6,
        }
        if RIVAL in taken:
            rival = cost[RIVAL][cell.size_px].macs * cell.batch
            row["speedup"] = float(np.median(np.divide(taken[RIVAL], ms)))
            row["speedup_by_fewer_macs"] = rival / work
            row["speedup_by_more_macs_per_s"] = row["speedup"] * work / rival
            authors = AUTHORS_MS.get((cell.size_px, cell.batch), {})
            if cell.variant == "plain" and name in authors:
                row["speedup_of_authors"] = authors[RIVAL] / authors[name]
        rows[name] = row
    return {**asdict(cell), "rounds": len(next(iter(taken.values()))), "models": rows}


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Cells as they are done; those that there is no time for are marked `left_out`.

    Each device has `minutes`; the plain networks may take the first half of them, and every other
    variant an equal part of what is then left.
    """
    import torch

    from xnect.backbones import create_backbone

    for device in options.devices:
        end_s = time.monotonic() + 60 * options.minutes
        say(f"{device}: building {len(options.models)} networks")
        torch.manual_seed(0)
        plain = {name: create_backbone(name) for name in options.models}
        for number, variant in enumerate(options.variants):
            left = len(options.variants) - number
            share = 0.55 if variant == "plain" and left > 1 else 1 / left
            now_s = time.monotonic()
            networks = {name: prepared(plain[name], variant, device) for name in plain}
            cells = [Cell(device, variant, s, b) for b in options.batches for s in options.sizes]
            deadline_s = now_s + share * max(0.0, end_s - now_s)
            yield from _cells(cells, networks, options.repeats, deadline_s, say)


def _cells(
    cells: Sequence[Cell],
    networks: dict[str, nn.Module],
    repeats: int,
    deadline_s: float,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """The cells of one variant on one device, as far as the time goes."""
    cost = costs(list(networks), sorted({cell.size_px for cell in cells}))
    s_per_mac = 0.0  # as fast as the cell before
    for cell in cells:
        work = cell.batch * sum(by_size[cell.size_px].macs for by_size in cost.values())
        if s_per_mac and time.monotonic() + work * s_per_mac > deadline_s:
            say(f"{cell.text()}: left out, no time")
            yield {**asdict(cell), "left_out": True}
            continue
        taken = rounds_ms(
            networks, cell, deadline_s=deadline_s,
            rounds=repeats if cell.batch == 1 else max(2, repeats // 4),
            warm_up=1 if cell.batch == 1 or cell.device == "cuda" else 0,
        )  # fmt: skip
        found = summary(cell, taken, cost)
        s_per_mac = sum(map(sum, taken.values())) / 1e3 / found["rounds"] / work
        medians = [f"{name} {row['median_ms']:.1f}" for name, row in found["models"].items()]
        say(f"{cell.text()}, ms: {', '.join(medians)}")
        yield found


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: for every device and variant a row per model; ms and speed-up over ResNet-50."""
    blocks = []
    for device, variant in dict.fromkeys((c["device"], c["variant"]) for c in cells):
        done = [c for c in cells if (c["device"], c["variant"]) == (device, variant)]
        heads = [f"{c['size_px']}² b{c['batch']}" for c in done]
        lines = [f"| {device}, {variant} | {' | '.join(heads)} |", "|---" * (len(done) + 1) + "|"]
        for name in done[0]["models"]:
            texts = [_cell_text(c["models"][name]) for c in done]
            lines.append(f"| {name} | {' | '.join(texts)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell_text(row: dict[str, float]) -> str:
    text = f"{row['median_ms']:.1f} / {row['p95_ms']:.1f} ms"
    if "speedup" in row:
        text += f", ×{row['speedup']:.2f}"
    if "speedup_of_authors" in row:
        text += f" (authors ×{row['speedup_of_authors']:.2f})"
    return f"{text}, {row['gmac_per_s']:.0f} GMAC/s"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    top = argparse.ArgumentParser(
        "xnect bench backbones",
        description="Milliseconds per forward pass of the backbones, against ResNet-50.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--models", type=_words, default=MODELS, help=f"default: {','.join(MODELS)}")
    top.add_argument(
        "--sizes", metavar="PX,...", type=_numbers, default=SIZES_PX,
        help="sides of the square pictures in pixels (default: 512,400,224)",
    )  # fmt: skip
    top.add_argument("--batches", metavar="B,...", type=_numbers, default=BATCHES, help="1,16")
    top.add_argument("--variants", type=_words, help=f"of {','.join(VARIANTS)} (default: all)")
    top.add_argument(
        "--devices", type=_words, help="cpu, cuda (default: both where there is a GPU)"
    )
    top.add_argument(
        "--repeats", metavar="N", type=positive_int, default=8,
        help="rounds at batch 1; a quarter of them, at least 2, at larger ones (default: 8)",
    )  # fmt: skip
    top.add_argument(
        "--minutes", metavar="M", type=positive_float, default=6.0,
        help="what does not fit into them is left out, for each device (default: 6)",
    )  # fmt: skip
    top.add_argument("--threads", metavar="N", type=positive_int, help="of torch, on the CPU")
    top.add_argument(
        "-o", "--out", metavar="FILE", type=Path,
        help="JSON (default: benchmarks/results/backbones.json, or backbones.json here)",
    )  # fmt: skip
    top.add_argument("--quiet", action="store_true", help="no progress and no table")
    return top


def run(words: Sequence[str] | None = None) -> int:
    """Measure, write, print; 0.  Ctrl-C keeps what is done.

    Raises:
        XnectError: A flag that is impossible here, or a file that cannot be written.
    """
    import torch

    from xnect.demo.machine import machine

    options = parser().parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    checked(options)
    out = options.out or _default_out()
    if not out.parent.is_dir():
        raise CannotWrite(f"cannot write {out}: there is no folder {out.parent}")
    torch.backends.cudnn.benchmark = True  # as the authors: the fastest algorithm for each size
    figures: dict[str, Any] = {
        "machine": machine(),  # before: the load average is that of others
        "rounds_at_batch_1": options.repeats,
        "minutes": options.minutes,
        "costs": {
            name: {size: asdict(cost) for size, cost in by_size.items()}
            for name, by_size in costs(options.models, options.sizes).items()
        },
        "cells": [],
        "left_out": [],
        "interrupted": True,
    }
    say: Callable[[str], None] = lambda text: None  # noqa: E731
    if not options.quiet:
        begun_s = time.monotonic()
        say = lambda text: print(  # noqa: E731
            f"[{time.monotonic() - begun_s:4.0f} s] {text}", file=sys.stderr, flush=True
        )
    try:
        for found in measure(options, say):
            figures["left_out" if found.pop("left_out", False) else "cells"].append(found)
        figures["interrupted"] = False
    finally:
        try:
            out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(f"cannot write {out}: {error.strerror}") from error
    if not options.quiet:
        print(table(figures["cells"]))
        print(f"\nwritten to {out}")
    return 0


def checked(options: argparse.Namespace) -> None:
    """Fill in the defaults that depend on the machine, and see that everything exists.

    Raises:
        BadInput: An unknown name, a device that is not there, or a size that is too small.
    """
    import torch

    from xnect.backbones import list_backbones
    from xnect.pipeline import fast_bf16

    gpu = torch.cuda.is_available()
    fast = gpu or fast_bf16(torch.device("cpu"))
    options.devices = options.devices or (("cpu", "cuda") if gpu else ("cpu",))
    # without instructions for it bf16 takes several times longer: measured on demand only
    options.variants = options.variants or (VARIANTS if fast else VARIANTS[:-1])
    existing = {"models": list_backbones(), "variants": VARIANTS, "devices": ("cpu", "cuda")}
    for kind, known in existing.items():
        for name in getattr(options, kind):
            if name not in known:
                raise BadInput(f"--{kind}: unknown {name!r}; known: {', '.join(known)}")
    if "cuda" in options.devices and not gpu:
        raise BadInput("--devices cuda: torch finds no CUDA GPU on this machine")
    if min(options.sizes) < SMALLEST_PX:
        raise BadInput(f"--sizes must be {SMALLEST_PX} or more, got {min(options.sizes)}")


def _default_out() -> Path:
    results = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
    return (results if results.is_dir() else Path()) / "backbones.json"


def _words(text: str) -> tuple[str, ...]:
    """`a,b` -> ("a", "b"), each once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise argparse.ArgumentTypeError("needs at least one name")
    return words


def _numbers(text: str) -> tuple[int, ...]:
    """`512,224` -> (512, 224), each once."""
    return tuple(positive_int(word) for word in _words(text))


def main() -> int:
    """The benchmark as a program of its own; the exit status."""
    try:
        return run()
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
