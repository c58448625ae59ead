"""Skeletons, simulated evidence and the training of the lifter."""

import json
import signal
from dataclasses import asdict, replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnect.errors import BadInput
from xnect.eval.lifter import evaluate_lifter
from xnect.heads.lift import Lifter
from xnect.lift import CARRIED_BONES, CARRIERS, N_FEATURES, encode, load_lifter, save_lifter
from xnect.skeleton import (
    BODY,
    BONE_PARENTS,
    CODE_UNIT_M,
    FLIP3D,
    J3D,
    REFERENCE_CHAIN_M,
    ROOT,
    SEEN_AS,
    chain_m,
)
from xnect.synth.evidence import EvidenceOptions, simulate
from xnect.synth.skeletons import (
    HELD_OUT,
    Skeletons,
    draw,
    draw_rotations,
    load_bodies,
    load_motion,
    pose,
)
from xnect.synth.split import EVERY_BODY
from xnect.train.checkpoint import file_metadata
from xnect.train.second_stage import (
    EvidenceStream,
    LifterOptions,
    _part,
    lifter_loss,
    lifter_losses,
    main,
)

SHARED = Path(__file__).resolve().parents[2] / "shared"
PACK = SHARED / "data" / "synth"
needs_pack = pytest.mark.skipif(
    not (PACK / "motion.npz").is_file(), reason=f"the synthetic people pack is not at {PACK}"
)
EXACT = replace(EvidenceOptions.clean(codes=1.0), noise_m=0.0, code_sigma=(1e-9, 1e-9))


def rest_people(count=64):
    """People in the rest pose, a little disturbed, without any file."""
    rng = np.random.default_rng(0)
    joints = np.zeros((21, 3))
    for j in BODY.order:
        if j != ROOT:
            joints[j] = joints[BODY.parents[j]] + BODY.offsets_m[j]
    joints = joints + rng.normal(0, 0.05, (count, 21, 3))
    joints -= joints[:, [ROOT]]
    shown = joints[
        :, [max(SEEN_AS.index(j), 0) if j in SEEN_AS else J3D["head"] for j in range(18)]
    ]
    shown = shown + rng.normal(0, 0.03, shown.shape)
    return Skeletons(joints.astype(np.float32), shown.astype(np.float32))


def tensors(people):
    return torch.from_numpy(people.joints_m), torch.from_numpy(people.shown_m)


@pytest.fixture(scope="module")
def pack():
    return load_bodies(PACK), load_motion(PACK)


@needs_pack
def test_the_mean_body_at_rest_is_the_reference_body(pack):
    bodies, _ = pack
    rest = np.broadcast_to(np.eye(3), (len(bodies.heads_m), 31, 3, 3))
    joints = pose(bodies, np.arange(len(bodies.heads_m)), rest).joints_m.mean(0)
    for a, b in (("left_hip", "pelvis"), ("left_knee", "left_hip"), ("left_elbow", "left_shoulder"),
                 ("left_wrist", "left_elbow"), ("left_hand", "left_wrist"), ("spine", "pelvis"),
                 ("head_top", "head"), ("left_foot", "left_ankle")):  # fmt: skip
        length = np.linalg.norm(joints[J3D[a]] - joints[J3D[b]])
        assert length == pytest.approx(BODY.lengths_m[J3D[a]], abs=0.012), a


@needs_pack
def test_posed_bodies_keep_limb_lengths_and_have_reference_size(pack):
    bodies, motion = pack
    rng = np.random.default_rng(0)
    rotations = draw_rotations(rng, motion, bodies, 200)
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, -1, -2),
        np.broadcast_to(np.eye(3), rotations.shape),
        atol=1e-4,
    )
    people = pose(bodies, np.full(200, 3), rotations)
    np.testing.assert_allclose(chain_m(people.joints_m), REFERENCE_CHAIN_M, rtol=1e-4)
    np.testing.assert_allclose(people.joints_m[:, ROOT], 0, atol=1e-5)
    shin = np.linalg.norm(
        people.joints_m[:, J3D["left_knee"]] - people.joints_m[:, J3D["left_ankle"]], axis=-1
    )
    thigh = np.linalg.norm(
        people.joints_m[:, J3D["left_knee"]] - people.joints_m[:, J3D["left_hip"]], axis=-1
    )
    np.testing.assert_allclose(shin / thigh, (shin / thigh)[0], rtol=1e-3)  # one body, any scale


@needs_pack
def test_posing_equals_walking_down_the_chain_bone_by_bone(pack):
    bodies, motion = pack
    rotations = draw_rotations(np.random.default_rng(1), motion, bodies, 1)
    with np.load(PACK / "body.npz", allow_pickle=False) as file:
        bones = [str(n) for n in file["bone_names"]]
    place = {}
    for name, bone in (("left_wrist", "LeftHand"), ("left_knee", "LeftLeg")):
        chain = [bones.index(bone)]
        while bodies.bone_parents[chain[-1]] >= 0:
            chain.append(bodies.bone_parents[chain[-1]])
        at = np.zeros(3)
        for child, parent in pairwise(chain):
            at = at + rotations[0, parent] @ (bodies.heads_m[7, child] - bodies.heads_m[7, parent])
        place[name] = at
    people = pose(bodies, np.array([7]), rotations)
    apart = people.joints_m[0, J3D["left_wrist"]] - people.joints_m[0, J3D["left_knee"]]
    slow = place["left_wrist"] - place["left_knee"]
    scale = np.linalg.norm(apart) / np.linalg.norm(slow)
    np.testing.assert_allclose(apart, scale * slow, atol=1e-4)
    assert 0.6 < scale < 1.8


@needs_pack
def test_held_out_clips_are_not_trained_on():
    train, test = load_motion(PACK), load_motion(PACK, held_out=True)
    with np.load(PACK / "motion.npz", allow_pickle=False) as file:
        total, groups = len(file["clip"]), set(file["clip_group"].tolist())
    assert HELD_OUT < groups
    assert len(train.weight) + len(test.weight) == total
    assert len(test.weight) > 1000


def test_held_out_bodies_are_not_trained_on(pack):
    seen, unseen = (_part(pack[0], held_out=secret) for secret in (False, True))
    assert len(seen.heads_m) + len(unseen.heads_m) == len(pack[0].heads_m)
    assert len(unseen.heads_m) == len(pack[0].heads_m) // EVERY_BODY
    assert not {body.tobytes() for body in seen.heads_m} & {b.tobytes() for b in unseen.heads_m}


def test_a_missing_pack_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"motion\.npz does not exist"):
        load_motion(tmp_path)


def test_exact_evidence_is_the_projection_and_the_bones_of_the_truth():
    joints, shown = tensors(rest_people())
    seen = simulate(joints, shown, EXACT, seed=0)
    # The limbs' joints are seen where the truth is: pelvis + joint lies on the ray.
    pairs = [(k, j) for k, j in enumerate(SEEN_AS) if j > 1]
    truth = seen.joints_m[:, [k for k, _ in pairs]]
    rays = seen.rays[:, [j for _, j in pairs]]
    weight = (seen.score[:, [j for _, j in pairs]] > 0).float()
    assert weight.mean() > 0.95
    # distance of each true joint to its ray is explained by the 3 cm of `rest_people` and a pixel
    depth = seen.metres[:, None]
    hips = [i for i, (k, _) in enumerate(pairs) if k in (J3D["left_hip"], J3D["right_hip"])]
    root = rays[:, hips].mean(1, keepdim=True)
    flat = (rays - root) * depth[..., None]
    away = (flat - (truth[..., :2] - truth[..., 2:] * root)).norm(dim=-1)
    far = seen.metres > 5  # where the perspective inside the body is small
    assert far.sum() > 5
    assert away[far].mean() < 0.12
    bones = (seen.joints_m - seen.joints_m[:, BONE_PARENTS]) / CODE_UNIT_M
    read = (seen.score > 0)[:, CARRIERS]
    torch.testing.assert_close(seen.codes[read], bones[:, CARRIED_BONES][read], atol=1e-5, rtol=0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_evidence_is_finite_and_rotates_the_truth_rigidly(seed):
    joints, shown = tensors(rest_people(32))
    seen = simulate(joints, shown, EvidenceOptions(), seed)
    for value in seen:
        assert torch.isfinite(value.float()).all()
    assert ((seen.score >= 0) & (seen.score <= 1)).all()
    assert (seen.codes[(seen.score == 0)[:, CARRIERS]] == 0).all()
    same = torch.cdist(seen.joints_m, seen.joints_m)
    plain = torch.cdist(joints, joints)
    mirror = plain[:, FLIP3D][:, :, FLIP3D]
    off = torch.minimum((same - plain).abs().amax((1, 2)), (same - mirror).abs().amax((1, 2)))
    assert off.max() < 2e-3
    torso = (seen.score[:, [1, 2, 5, 8, 11]] > 0).any(1)
    assert (torso[seen.usable]).all()
    assert ((seen.score > 0).sum(1)[seen.usable] >= 4).all()


def test_a_mirror_image_is_a_possible_person():
    """Mirroring swaps the sides, so that the left hand stays on the left."""
    joints, shown = tensors(rest_people(256))
    seen = simulate(joints, shown, EXACT, seed=3)
    across = seen.joints_m[:, J3D["left_shoulder"]] - seen.joints_m[:, J3D["right_shoulder"]]
    up = seen.joints_m[:, J3D["neck"]]
    ahead = seen.joints_m[:, [J3D["left_foot"], J3D["right_foot"]]].mean(1)
    ahead = ahead - seen.joints_m[:, [J3D["left_ankle"], J3D["right_ankle"]]].mean(1)
    handed = (torch.linalg.cross(across, up) * ahead).sum(-1)  # left x up = front
    assert (handed > 0).float().mean() > 0.97


def test_the_same_seed_gives_the_same_evidence():
    joints, shown = tensors(rest_people(8))
    a, b, c = (simulate(joints, shown, EvidenceOptions(), s) for s in (5, 5, 6))
    torch.testing.assert_close(a.rays, b.rays, rtol=0, atol=0)
    assert not torch.equal(a.rays, c.rays)


def test_training_steps_lower_the_loss():
    torch.manual_seed(0)
    lifter = Lifter(N_FEATURES, root=ROOT, width=64, blocks=1)
    joints, shown = tensors(rest_people(64))
    optimiser = torch.optim.Adam(lifter.parameters(), 3e-3)
    losses = []
    for step in range(40):
        loss = lifter_loss(lifter, simulate(joints, shown, EvidenceOptions(), step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    report = evaluate_lifter(lifter.eval(), rest_people(32))
    assert all(0 < row["pa_mpjpe"] <= row["mpjpe"] for row in report.values())


SMALL = LifterOptions(width=32, blocks=1, pool=60, renewed=20, renew_every=2, people=50)


@needs_pack
def test_the_command_trains_and_goes_on_exactly(tmp_path, monkeypatch, capsys):
    def command(out, *more):
        small = [word for field, value in asdict(SMALL).items()
                 for word in (f"--{field.replace('_', '-')}", str(value))]  # fmt: skip
        flags = ["--steps", "5", "--batch", "32", "--device", "cpu", *small, *more]
        return main(["--data", str(PACK), "-o", str(tmp_path / out), *flags])

    assert command("whole.safetensors") == 0
    assert load_lifter(tmp_path / "whole.safetensors").width == 32
    calls = []

    def stopping(lifter, seen):
        calls.append(seen)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return lifter_losses(lifter, seen)

    with monkeypatch.context() as patched:
        patched.setattr("xnect.train.second_stage.lifter_losses", stopping)
        assert command("half.safetensors") == 0
    assert len(calls) == 3
    assert command("half.safetensors") == 0
    a, b = (load_lifter(tmp_path / f"{n}.safetensors").state_dict() for n in ("whole", "half"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert command("half.safetensors", "--batch", "64") == 2
    assert "batch 32 -> 64" in capsys.readouterr().err


@needs_pack
def test_evidence_depends_on_its_number_alone(pack):
    stream = EvidenceStream(*pack, SMALL, batch=4, seed=3, detector=EvidenceOptions())
    whole = list(islice(stream, 6))
    for number in (1, 2, 5):
        again = next(stream.from_batch(number))
        assert all(torch.equal(a, b) for a, b in zip(again, whole[number], strict=True))
    assert not torch.equal(whole[0].rays, whole[1].rays)


@needs_pack
def test_part_of_each_batch_is_what_the_refiner_saw(pack):
    """So many as asked for, the same by number, and the simulated ones stay."""
    joints, shown = tensors(draw(np.random.default_rng(0), *pack, 16))
    seen = simulate(joints, shown, EvidenceOptions(), 7)._replace(metres=torch.full((16,), 77.0))
    options = replace(SMALL, seen_share=0.25)
    stream = EvidenceStream(*pack, options, 8, 3, EvidenceOptions(), seen)
    one, two = next(stream.from_batch(1)), next(stream.from_batch(1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(one.rays) == 8
    wide = ((one.metres > 30) & (one.metres < 150)).tolist()  # metres are divided by a zoom
    assert wide == [False] * 6 + [True] * 2
    blind = EvidenceStream(*pack, replace(options, codes=0), 8, 3, EvidenceOptions(), seen)
    assert not next(blind.from_batch(1)).codes.any()
    torch.testing.assert_close(next(blind.from_batch(1)).rays, one.rays)


@needs_pack
def test_unusable_people_do_not_change_the_loss(pack):
    bodies, motion = pack
    joints, shown = tensors(draw(np.random.default_rng(0), bodies, motion, 64))
    torch.manual_seed(0)
    lifter = Lifter(N_FEATURES, root=ROOT, width=32, blocks=1)
    seen = simulate(joints, shown, EvidenceOptions(), 0)
    assert 0 < (~seen.usable).sum() < 40
    spoiled = seen._replace(joints_m=torch.where(seen.usable[:, None, None], seen.joints_m, 99.0))
    torch.testing.assert_close(lifter_loss(lifter, seen), lifter_loss(lifter, spoiled))


def test_the_size_target_is_that_of_the_view_that_the_network_sees():
    """Also of people at the rim of the picture, who are looked at from the side."""
    people = rest_people(512)
    seen = simulate(*tensors(people), replace(EXACT, truncate=True), 3)
    encoded = encode(seen.rays, seen.score, seen.codes, seen.known)
    torso = [i for i, j in enumerate(SEEN_AS) if j in (2, 5, 8, 11)]
    joints = (seen.joints_m @ encoded.camera_from_view)[:, torso, :2]
    flat = encoded.features[:, :36].reshape(-1, 18, 2)[:, [SEEN_AS[i] for i in torso]]
    joints, flat = (x - x.mean(1, keepdim=True) for x in (joints, flat))
    true = (joints * flat).sum((1, 2)) / (flat * flat).sum((1, 2))
    ahead = encoded.camera_from_view[:, 2, 2]
    rim = seen.usable & (ahead < 0.9) & (seen.score > 0).all(1)
    assert rim.sum() > 5
    ratio = encoded.size * seen.metres / true
    assert (ratio / ahead)[rim].median() == pytest.approx(1, abs=0.06)  # as `lifter_loss` has it
    assert ratio[rim].median() < 0.93


def test_people_of_unknown_cameras_are_labelled_as_seen_from_in_front():
    """As they would be in the middle of a picture: all that can be known of them."""
    people = tensors(rest_people(256))
    options = replace(EXACT, truncate=True)
    known = simulate(*people, options, 3)
    unknown = simulate(*people, replace(options, unknown_camera=1.0), 3)
    assert not unknown.known.any()
    usable = known.usable & unknown.usable
    encoded = encode(known.rays, known.score, known.codes, known.known)
    facing = known.joints_m @ encoded.camera_from_view
    np.testing.assert_allclose(unknown.joints_m[usable], facing[usable], atol=1e-4)
    assert (unknown.joints_m - known.joints_m)[usable].abs().max() > 0.1
    seen = (unknown.score > 0)[:, CARRIERS] & usable[:, None]
    joints = unknown.joints_m
    bones = (joints - joints[:, BONE_PARENTS])[:, CARRIED_BONES] / CODE_UNIT_M
    np.testing.assert_allclose(unknown.codes[seen], bones[seen], atol=0.02)


@needs_pack
def test_weights_to_go_on_from_settle_the_size(tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    save_lifter(start, Lifter(N_FEATURES, root=ROOT, width=16, blocks=1), {"lane": "open"})
    words = ["--data", str(PACK), "--start", str(start), "--steps", "1", "--batch", "8"]
    words += ["--device", "cpu", "--pool", "50", "--renewed", "50", "--people", "20"]
    assert main([*words, "-o", str(tmp_path / "a.safetensors")]) == 0
    assert json.loads(file_metadata(tmp_path / "a.safetensors")["poses"])["width"] == 16
    assert main([*words, "-o", str(tmp_path / "b.safetensors"), "--blocks", "3"]) == 2
    assert f"{start} has blocks 1, got blocks 3" in capsys.readouterr().err
