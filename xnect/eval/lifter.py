"""Errors of the second stage on simulated evidence of held-out motion."""

from __future__ import annotations

from dataclasses import replace

import torch

from xnect.eval.metrics import mpjpe, pa_mpjpe
from xnect.heads.lift import Lifter
from xnect.lift import lift_arrays
from xnect.skeleton import J2D
from xnect.synth.evidence import Evidence, EvidenceOptions, simulate
from xnect.synth.skeletons import Skeletons

_LEGS = [J2D[f"{side}_{p}"] for side in ("left", "right") for p in ("hip", "knee", "ankle")]
_ARMS = [J2D[f"{side}_{p}"] for side in ("left", "right") for p in ("elbow", "wrist")]


def evaluate_lifter(
    lifter: Lifter, people: Skeletons, *, seed: int = 7
) -> dict[str, dict[str, float]]:
    """Kind of evidence -> {"mpjpe", "pa_mpjpe"} in millimetres over all 21 joints."""
    report = {}
    for name, codes in (("2D only", 0.0), ("with codes", 1.0)):
        clean = _simulate(people, EvidenceOptions.clean(codes=codes), seed)
        noisy = _simulate(people, replace(EvidenceOptions(), codes=codes), seed)
        report[f"whole, {name}"] = _errors(lifter, clean)
        report[f"without legs, {name}"] = _errors(lifter, _hide(clean, _LEGS))
        report[f"without arms, {name}"] = _errors(lifter, _hide(clean, _ARMS))
        report[f"as trained, {name}"] = _errors(lifter, noisy)
    return report


def _simulate(people: Skeletons, options: EvidenceOptions, seed: int) -> Evidence:
    joints, shown = torch.from_numpy(people.joints_m), torch.from_numpy(people.shown_m)
    return simulate(joints, shown, options, seed)


def _hide(seen: Evidence, joints: list[int]) -> Evidence:
    score = seen.score.clone()
    score[:, joints] = 0
    return seen._replace(score=score)


@torch.inference_mode()
def _errors(lifter: Lifter, seen: Evidence) -> dict[str, float]:
    device = next(lifter.parameters()).device
    given = (seen.rays, seen.score, seen.codes, seen.known)
    joints, _ = lift_arrays(lifter, *(part.to(device) for part in given))
    keep = seen.usable.numpy()
    pred, true = joints.cpu().numpy()[keep], seen.joints_m.numpy()[keep]
    return {
        "mpjpe": round(1000 * mpjpe(pred, true), 1),
        "pa_mpjpe": round(1000 * pa_mpjpe(pred, true), 1),
    }
