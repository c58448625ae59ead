"""Training of the lifter on simulated evidence of posed skeletons (spec 3.2 and 3.4).

    python -m xnect.train.second_stage --data ../shared/data/synth -o lifter.safetensors

Nothing is rendered: motion capture on random bodies gives poses, `xnect.synth.evidence` gives what
a detector would report of them.  Every batch has new cameras and new mistakes.  The loop is that of
Stage I: checkpoint, log and averages lie in `lifter.run` beside the weights, and the same command
goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xnect.errors import BadInput
from xnect.eval.lifter import evaluate_lifter
from xnect.heads.lift import Lifted, Lifter
from xnect.lift import N_FEATURES, encode, load_lifter, save_lifter
from xnect.skeleton import BONE_PARENTS, JOINTS3D, ROOT
from xnect.synth.evidence import Evidence, EvidenceOptions, simulate
from xnect.synth.skeletons import Bodies, Motion, Skeletons, draw, load_bodies, load_motion
from xnect.synth.split import EVERY_BODY, every
from xnect.train.checkpoint import load_checkpoint
from xnect.train.detector_noise import read_evidence
from xnect.train.lanes import LICENCES, lane_of, lane_of_all
from xnect.train.loop import train
from xnect.train.options import TrainOptions, add_flags, told
from xnect.train.processes import as_command
from xnect.train.seen_people import draw_seen, load_seen, seen_error_mm

log = logging.getLogger(__name__)

NOTES = {
    "data": "CMU mocap (free for all uses), DeepMimic motion (MIT), MakeHuman bodies (CC0); "
    "simulated detections",
    "joints3d": " ".join(JOINTS3D),
    "input": "18 joints x (x, y, score, presence), 33 bone codes, angular size; see xnect/lift.py",
    "output": "root-relative metres, body of reference size, camera axes",
}

RECIPE = TrainOptions(
    preset="lifter", hours=0.5, steps=20_000, batch=256, learning_rate=1.5e-3,
    final_rate_share=0.01, weight_decay=1e-4, warm_up_steps=300, max_gradient=1.0, beta2=0.99,
    seed=0, validate_steps=2000,
)  # fmt: skip
"""Of the bundled lifter."""


_NOT_HERE = ("preset", "backbone", "crop_px", "size_at_least", "hard_joints", "workers")
"""Options of the other trainings."""


@dataclass(frozen=True)
class LifterOptions:
    """The network, and the poses that it learns from."""

    width: int = 256
    blocks: int = 2
    pool: int = 150_000  # poses in memory, drawn again and again under new cameras
    renewed: int = 10_000  # of them replaced by new ones ...
    renew_every: int = 200  # ... every so many batches
    people: int = 8192  # of held-out clips, for validation
    seen_share: float = 0.5  # of each batch, where there is a file of `--seen`
    codes: int = 1  # 0 learns without the 3D encoding, for ablations

    def __post_init__(self) -> None:
        """Refuse what no training can do.

        Raises:
            BadInput: a count below 1, or a share that is none.
        """
        for name in ("width", "blocks", "pool", "renewed", "renew_every", "people"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 <= self.seen_share <= 1:
            raise BadInput(f"seen_share must be from 0 to 1, got {self.seen_share}")


_SIZES = ("width", "blocks")
"""Options that weights to go on from settle."""


@dataclass(frozen=True, eq=False)
class EvidenceStream:
    """Endless batches of evidence; each depends on the seed and its number alone.

    The pool is a ring of blocks of poses.  After every `renew_every` batches the oldest block gives
    way to a new one, so that what the pool holds at any batch is known without those before it.
    """

    bodies: Bodies
    motion: Motion
    options: LifterOptions
    batch: int
    seed: int
    detector: EvidenceOptions
    seen: Evidence | None = None

    def __iter__(self) -> Iterator[Evidence]:
        """From the first batch."""
        return self.from_batch(0)

    def from_batch(self, number: int) -> Iterator[Evidence]:
        """From any batch on: what comes is what would have come."""
        o = self.options
        blocks = max(1, round(o.pool / max(1, o.renewed)))
        block = lru_cache(maxsize=blocks)(self._block)
        while True:
            newest = number // o.renew_every
            pool = [block(n) for n in range(newest, newest + blocks)]
            joints, shown = (torch.cat(parts) for parts in zip(*pool, strict=True))
            for n in range(number, (newest + 1) * o.renew_every):
                rng = np.random.default_rng([self.seed, 0, n])
                real = 0 if self.seen is None else round(o.seen_share * self.batch)
                chosen = torch.from_numpy(rng.integers(len(joints), size=self.batch - real))
                seed = int(rng.integers(2**40))
                batch = simulate(joints[chosen], shown[chosen], self.detector, seed)
                if self.seen is not None:
                    parts = zip(batch, draw_seen(self.seen, real, rng), strict=True)
                    batch = Evidence(*(torch.cat(both) for both in parts))
                yield batch if o.codes else batch._replace(codes=torch.zeros_like(batch.codes))
            number = (newest + 1) * o.renew_every

    def _block(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, 1, number])
        count = min(self.options.renewed, self.options.pool)
        return _tensors(draw(rng, self.bodies, self.motion, count))


def lifter_losses(lifter: nn.Module, seen: Evidence) -> dict[str, Tensor]:
    """What `train` needs of Stage II: network and batch -> losses."""
    return {"lifter": lifter_loss(lifter, seen)}


def lifter_loss(lifter: nn.Module, seen: Evidence) -> Tensor:
    """Mean over usable people: pose, its flat form and size, bones, and the expected error."""
    encoded = encode(seen.rays, seen.score, seen.codes, seen.known)
    with torch.autocast(
        seen.rays.device.type, torch.bfloat16
    ):  # twice as fast; the noise is far below the task's
        half = lifter(encoded.features)
    out = Lifted(*(x.float() for x in half))
    joints = seen.joints_m @ encoded.camera_from_view  # truth in the axes of the view
    ahead = encoded.camera_from_view[:, 2, 2]  # `metres` are along the camera's own axis
    size = (encoded.size * seen.metres / ahead).clamp(0.05, 20)  # metres in one unit of the input
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


def validation_figures(
    lifter: nn.Module, people: Skeletons, seen: Evidence | None = None
) -> dict[str, float]:
    """Mean error with its sign turned (more is better), and every error of the report, mm."""
    assert isinstance(lifter, Lifter)
    report = evaluate_lifter(lifter.eval(), people)
    errors = {f"{name} mpjpe_mm": row["mpjpe"] for name, row in report.items()}
    if seen is not None:
        errors["seen by the refiner mpjpe_mm"] = seen_error_mm(lifter, seen)
    lifter.train()
    return {"minus_mpjpe_mm": -float(np.mean(list(errors.values()))), **errors}


def _tensors(people: Skeletons) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(people.joints_m), torch.from_numpy(people.shown_m)


def _part(bodies: Bodies, *, held_out: bool) -> Bodies:
    """The bodies that training may see, or those that only tests may."""
    index = every(len(bodies.heads_m), EVERY_BODY, held_out=held_out)
    return replace(bodies, heads_m=bodies.heads_m[index], points_m=bodies.points_m[index])


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
    """Train, report on clips that were held out, and write the weights; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of body.npz, motion.npz")
    parser.add_argument("-o", "--out", type=Path, required=True, help="weights to write")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--seen", type=Path, help="as `xnect.train.seen_people` writes")
    parser.add_argument("--seen-held-out", type=Path, help="the same, of people to validate with")
    parser.add_argument(
        "--evidence", type=Path, help="errors of Stage I, as `xnect.train.detector_noise` writes"
    )
    add_flags(parser, RECIPE, without=_NOT_HERE)
    for field in fields(LifterOptions):
        flag = "--" + field.name.replace("_", "-")
        default = argparse.SUPPRESS if field.name in _SIZES else field.default
        parser.add_argument(flag, type=type(field.default), default=default)
    flags = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    def run(rank: int) -> str:
        options = told(flags, RECIPE)
        chosen = {f.name: flags[f.name] for f in fields(LifterOptions) if f.name in flags}
        poses = LifterOptions(**_sizes_of(flags["start"]) | chosen)
        detector = read_evidence(flags["evidence"]) if flags["evidence"] else EvidenceOptions()
        paths = ("data", "out", "start", "seen", "seen_held_out")
        files = Files(*(flags[name] for name in paths))
        return _train_lifter(options, poses, detector, files, rank)

    return as_command(run, flags["device"])


def _sizes_of(start: Path | None) -> dict[str, int]:
    """`_SIZES` of the network in a weights file; empty without one."""
    if start is None:
        return {}
    lifter = load_lifter(start)
    return {"width": lifter.width, "blocks": lifter.n_blocks}


@dataclass(frozen=True)
class Files:
    """Where things lie."""

    data: Path
    out: Path
    start: Path | None
    seen: Path | None
    seen_held_out: Path | None


def _train_lifter(
    options: TrainOptions, poses: LifterOptions, detector: EvidenceOptions, files: Files, rank: int
) -> str:
    """Everything behind the command; returns why it ended."""
    torch.manual_seed(options.seed)
    everybody = load_bodies(files.data)
    bodies, unseen = (_part(everybody, held_out=secret) for secret in (False, True))
    held_out = load_motion(files.data, held_out=True)
    validation = draw(np.random.default_rng(1), unseen, held_out, poses.people, mix=False)
    lifter = Lifter(N_FEATURES, root=ROOT, width=poses.width, blocks=poses.blocks)
    if files.start is not None:
        lifter = load_lifter(files.start).train()
        for name, there in _sizes_of(files.start).items():
            if getattr(poses, name) != there:
                raise BadInput(
                    f"{files.start} has {name} {there}, got {name} {getattr(poses, name)}; leave "
                    "that out, or train without --start"
                )
    notes = {**NOTES, "poses": json.dumps(asdict(poses)), "started_from": str(files.start)}
    notes["evidence"] = json.dumps(asdict(detector))
    notes["seen"] = str(files.seen)
    seen, lane = load_seen(files.seen) if files.seen else (None, "open")
    if files.start is not None:
        lane = lane_of_all(lane, lane_of(files.start))
    if seen is not None:
        notes["data"] += f"; and {len(seen.rays)} people as the refiner sees them"
    notes |= {"lane": lane, "licence": LICENCES[lane]}
    seen_held_out = load_seen(files.seen_held_out)[0] if files.seen_held_out else None
    motion, seed = load_motion(files.data), options.seed + 1000 * rank
    stream = EvidenceStream(bodies, motion, poses, options.batch, seed, detector, seen)
    run = files.out.with_suffix(".run")
    reason = train(
        lifter,
        stream,
        options,
        out=run,
        losses_of=lifter_losses,
        validate=lambda network: validation_figures(network, validation, seen_held_out),
        metadata=notes,
    )
    if rank:
        return reason
    average = copy.deepcopy(lifter).cpu().eval()
    average.load_state_dict(load_checkpoint(run / "checkpoint.pt")["ema"])
    report = evaluate_lifter(average, validation)
    for name, row in report.items():
        log.info("  %-24s mpjpe %.1f  pa_mpjpe %.1f mm", name, row["mpjpe"], row["pa_mpjpe"])
    notes |= {"options": json.dumps(asdict(options)), "commit": _commit()}
    save_lifter(files.out, average, {**notes, "validation_mm": repr(report)})
    return f"{reason}; wrote {files.out}"


if __name__ == "__main__":
    raise SystemExit(main())
