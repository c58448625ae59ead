"""Training of the lifter on simulated evidence of posed skeletons (spec 3.2 and 3.4).

    python -m xnect.train.second_stage --data ../shared/data/synth -o lifter.safetensors

Nothing is rendered: motion capture on random bodies gives poses, `xnect.synth.evidence` gives what
a detector would report of them.  Every batch has new cameras and new mistakes.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xnect.eval.lifter import evaluate_lifter
from xnect.heads.lift import Lifted, Lifter
from xnect.lift import N_FEATURES, encode, load_lifter, save_lifter
from xnect.skeleton import BONE_PARENTS, JOINTS3D, ROOT
from xnect.synth.evidence import Evidence, EvidenceOptions, simulate
from xnect.synth.skeletons import Bodies, Motion, Skeletons, draw, load_bodies, load_motion

log = logging.getLogger(__name__)

NOTES = {
    "licence": "Apache-2.0",
    "data": "CMU mocap (free for all uses), DeepMimic motion (MIT), MakeHuman bodies (CC0); "
    "simulated detections, no pictures",
    "joints3d": " ".join(JOINTS3D),
    "input": "18 joints x (x, y, score, presence), 33 bone codes, angular size; see xnect/lift.py",
    "output": "root-relative metres, body of reference size, camera axes",
}


@dataclass(frozen=True)
class SecondStageOptions:
    """How the lifter is trained; the flags of the command line are made from it."""

    steps: int = 20_000
    minutes: float = 30.0  # the run ends, and the rate reaches its end, when either is spent
    batch: int = 256
    pool: int = 150_000  # poses in memory, drawn again and again under new cameras
    renewed: int = 10_000  # of them replaced by new ones ...
    renew_every: int = 200  # ... every so many steps
    rate: float = 1.5e-3  # peak of AdamW's rate, after a warm-up, then cosine to 1 %
    decay: float = 1e-4
    ema: float = 0.999
    width: int = 256
    blocks: int = 2
    seed: int = 0
    report_every: int = 2000
    people: int = 8192  # of held-out clips, for the report


def train(
    bodies: Bodies,
    motion: Motion,
    validation: Skeletons,
    options: SecondStageOptions,
    *,
    start: Lifter | None = None,
    keep: Callable[[Lifter], object] = lambda lifter: None,
) -> Lifter:
    """A trained lifter (the moving average), in evaluation mode; logs errors on the way.

    Args:
        bodies: shapes to train on.
        motion: poses to train on.
        validation: people for the reports.
        options: how long, how fast.
        start: weights to go on from, else random ones.
        keep: is given the lifter at every report, to save it.
    """
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    lifter = Lifter(N_FEATURES, root=ROOT, width=options.width, blocks=options.blocks)
    lifter = copy.deepcopy(start).train() if start else lifter
    average = copy.deepcopy(lifter).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        lifter.parameters(),
        lr=options.rate,
        weight_decay=options.decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    joints, shown = _tensors(draw(rng, bodies, motion, options.pool))
    losses: list[float] = []
    begin, step, spent = time.monotonic(), 0, 0.0
    while spent < 1:
        if step and step % options.renew_every == 0:
            chosen = torch.from_numpy(rng.permutation(options.pool)[: options.renewed])
            joints[chosen], shown[chosen] = _tensors(draw(rng, bodies, motion, len(chosen)))
        for group in optimiser.param_groups:
            group["lr"] = options.rate * _schedule(step, spent)
        chosen = torch.from_numpy(rng.integers(options.pool, size=options.batch))
        seen = simulate(joints[chosen], shown[chosen], EvidenceOptions(), int(rng.integers(2**40)))
        loss = lifter_loss(lifter, seen)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lifter.parameters(), 1.0)
        optimiser.step()
        _follow(average, lifter, min(options.ema, (1 + step) / (10 + step)))
        losses.append(loss.item())
        step += 1
        spent = max(step / options.steps, (time.monotonic() - begin) / 60 / options.minutes)
        if step % options.report_every == 0:
            log.info("step %d loss %.4f", step, np.mean(losses[-options.report_every :]))
            _log_report(evaluate_lifter(average, validation))
            keep(average)
    return average


def lifter_loss(lifter: Lifter, seen: Evidence) -> Tensor:
    """Mean over usable people: pose, its flat form and size, bones, and the expected error."""
    encoded = encode(seen.rays, seen.score, seen.codes, seen.known)
    with torch.autocast("cpu", torch.bfloat16):  # twice as fast; the noise is far below the task's
        half = lifter(encoded.features)
    out = Lifted(*(x.float() for x in half))
    joints = seen.joints_m @ encoded.camera_from_view  # truth in the axes of the view
    size = (encoded.size * seen.metres).clamp(0.05, 20)  # metres in one unit of the input
    bones = joints - joints[:, BONE_PARENTS]
    error = (out.joints_m - joints).norm(dim=-1)  # (B, 21)
    flat = (out.unscaled - joints / size[:, None, None]).norm(dim=-1).clamp_max(5)
    surprise = error.detach() * torch.exp(-out.log_error) + out.log_error  # Laplace
    person = (
        error.mean(1)
        + 0.3 * flat.mean(1)
        + 0.1 * (out.log_scale - size.log()).abs()
        + 0.5 * (out.bones_m - bones).norm(dim=-1).mean(1)
        + 0.02 * surprise.mean(1)
    )
    usable = seen.usable.to(person.dtype)
    return (person * usable).sum() / usable.sum().clamp_min(1)


def _schedule(step: int, spent: float) -> float:
    warm = min(1.0, (step + 1) / 300)
    return warm * (0.01 + 0.99 * (1 + math.cos(math.pi * spent)) / 2)


def _log_report(report: dict[str, dict[str, float]]) -> None:
    for name, row in report.items():
        log.info("  %-24s mpjpe %.1f  pa_mpjpe %.1f mm", name, row["mpjpe"], row["pa_mpjpe"])


@torch.no_grad()
def _follow(average: Lifter, lifter: Lifter, keep: float) -> None:
    """`average` <- keep * average + (1 - keep) * lifter."""
    torch._foreach_lerp_(list(average.parameters()), list(lifter.parameters()), 1 - keep)


def _tensors(people: Skeletons) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(people.joints_m), torch.from_numpy(people.shown_m)


def _commit() -> str:
    """The commit of this source tree, or "unknown" outside of git."""
    folder = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return run.stdout.strip() or "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, report on clips that were held out, and write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of body.npz, motion.npz")
    parser.add_argument("-o", "--out", type=Path, required=True, help="weights to write")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    for field in fields(SecondStageOptions):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)
    chosen = vars(parser.parse_args(arguments))
    options = SecondStageOptions(**{f.name: chosen[f.name] for f in fields(SecondStageOptions)})
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    bodies = load_bodies(chosen["data"])
    held_out = load_motion(chosen["data"], held_out=True)
    validation = draw(np.random.default_rng(1), bodies, held_out, options.people, mix=False)
    start = load_lifter(chosen["start"]) if chosen["start"] else None
    notes = {**NOTES, "options": repr(options), "started_from": str(chosen["start"])}
    notes["commit"] = _commit()
    lifter = train(
        bodies, load_motion(chosen["data"]), validation, options,
        start=start, keep=lambda lifter: save_lifter(chosen["out"], lifter, notes),
    )  # fmt: skip
    report = evaluate_lifter(lifter, validation)
    _log_report(report)
    save_lifter(chosen["out"], lifter, {**notes, "validation_mm": repr(report)})
    log.info("wrote %s", chosen["out"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
