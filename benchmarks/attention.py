"""Attention of the refiner in bfloat16 on a CPU: written out against torch's own.

    python benchmarks/attention.py

Forward alone, and forward with gradients, of one block's attention: 100 tokens, 4 heads of 48
channels.  Both take turns within each round; the time is that of the process, so that other work on
the machine does not count.  Ratios are of each round, torch's own over ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xnect.demo.machine import machine
from xnect.heads.attention import HEAD, attend

HERE = Path(__file__).resolve().parent
TOKENS, HEADS = 100, 4
CONTENDERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": attend,
    "torch": F.scaled_dot_product_attention,
}


def measure(batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds (median, p95) and ratios (median, p95) of both kinds of pass."""
    random = torch.Generator().manual_seed(0)
    packed = torch.randn(batch, TOKENS, 3 * HEADS * HEAD, generator=random).bfloat16()
    packed.requires_grad_()

    def attended(run: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        seen = packed.unflatten(2, (3, HEADS, HEAD)).permute(2, 0, 3, 1, 4)
        return run(seen[0], seen[1], seen[2])

    def forward(run: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        with torch.no_grad():
            attended(run)

    def learning(run: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        attended(run).sum().backward()

    found = {}
    for name, one in (("forward", forward), ("with gradients", learning)):
        ms: dict[str, list[float]] = {who: [] for who in CONTENDERS}
        for n in range(rounds + 2):
            for who, run in CONTENDERS.items():
                start = time.process_time()
                one(run)
                if n >= 2:
                    ms[who].append(1e3 * (time.process_time() - start))
        ratio = np.array(ms["torch"]) / np.array(ms["ours"])
        found[name] = {
            **{who: _median_p95(values) for who, values in ms.items()},
            "ratio": _median_p95(ratio),
        }
    return found


def _median_p95(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
    }


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "attention.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.batch, options.rounds)
    for name, row in found.items():
        print(f"{name}: {row}")
    report = {
        "batch": options.batch, "rounds": options.rounds, "passes": found, "machine": machine(),
    }  # fmt: skip
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
