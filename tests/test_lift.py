"""Laws of the second stage, with an untrained network and with the bundled weights."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from xnect.calib.camera import Camera
from xnect.errors import BadWeights
from xnect.heads.lift import Lifter
from xnect.lift import CARRIED, N_FEATURES, carried, encode, lift, load_lifter, look_at, save_lifter
from xnect.skeleton import CODE_BONES, FLIP2D, FLIP3D, J2D, J3D, ROOT, chain_m
from xnect.types import PartialPose

CAMERA = Camera(600.0, 600.0, 319.5, 239.5, 640, 480)
BUNDLED = Path(__file__).resolve().parents[1] / "xnect" / "weights" / "open" / "lifter.safetensors"


@pytest.fixture(scope="module")
def lifter():
    torch.manual_seed(0)
    return Lifter(N_FEATURES, root=ROOT, width=64, blocks=1).eval()


def standing(rng, *, codes=True):
    """A person who faces the camera, with a little noise."""
    x = [0, 0, -18, -25, -26, 18, 25, 26, -10, -11, -12, 10, 11, 12, -3, 3, -7, 7]
    y = [-70, -48, -48, -22, 2, -48, -22, 2, 0, 40, 82, 0, 40, 82, -73, -73, -71, -71]
    joints = np.stack([x, y], -1) * 1.5 + (320, 240) + rng.normal(0, 2, (18, 2))
    values = rng.normal(0, 0.7, (18, 63)) if codes else np.zeros((18, 63))
    return PartialPose(joints, rng.uniform(0.3, 1, 18), values, 0.8)


def without(partial, names):
    score, codes, joints = partial.score.copy(), partial.codes.copy(), partial.joints_px.copy()
    index = [J2D[n] for n in names]
    score[index], codes[index], joints[index] = 0, 0, 0
    return PartialPose(joints, score, codes, partial.person_score)


def mirrored(partial, width):
    joints = partial.joints_px[list(FLIP2D)] * (-1, 1) + (width - 1, 0)
    codes = partial.codes[list(FLIP2D)].reshape(18, 3, 21)[:, :, list(FLIP3D)]
    codes = codes * np.array([-1, 1, 1])[:, None]
    return PartialPose(joints, partial.score[list(FLIP2D)], codes.reshape(18, 63), 0.8)


def test_nobody_gives_nobody(lifter):
    assert lift([], lifter, camera=CAMERA) == []


def test_shapes_root_and_scores(lifter):
    rng = np.random.default_rng(0)
    people = [standing(rng), standing(rng, codes=False)]
    poses = lift(people, lifter, camera=CAMERA)
    assert [p.partial for p in poses] == people
    for pose in poses:
        assert pose.joints_m.shape == (21, 3)
        assert pose.score.shape == (21,)
        assert np.isfinite(pose.joints_m).all()
        assert ((pose.score > 0) & (pose.score <= 1)).all()
        np.testing.assert_allclose(pose.joints_m[ROOT], 0, atol=1e-6)


def test_one_equals_batched_in_any_order(lifter):
    rng = np.random.default_rng(1)
    people = [standing(rng) for _ in range(5)]
    together = lift(people[::-1], lifter, camera=CAMERA)[::-1]
    for person, pose in zip(people, together, strict=True):
        alone = lift([person], lifter, camera=CAMERA)[0]
        np.testing.assert_allclose(alone.joints_m, pose.joints_m, atol=1e-5)
        np.testing.assert_allclose(alone.score, pose.score, atol=1e-5)


def test_the_mirrored_person_has_the_mirrored_pose(lifter):
    person = standing(np.random.default_rng(2))
    for camera in (CAMERA, None):
        a = lift([person], lifter, camera=camera)[0]
        b = lift([mirrored(person, 640)], lifter, camera=camera)[0]
        np.testing.assert_allclose(b.joints_m[list(FLIP3D)] * (-1, 1, 1), a.joints_m, atol=1e-4)
        np.testing.assert_allclose(b.score[list(FLIP3D)], a.score, atol=1e-4)


def test_without_a_camera_place_and_size_in_the_picture_do_not_matter(lifter):
    person = standing(np.random.default_rng(3))
    moved = PartialPose(person.joints_px * 3 + (500, -90), person.score, person.codes, 0.8)
    a, b = lift([person, moved], lifter)
    np.testing.assert_allclose(a.joints_m, b.joints_m, atol=1e-4)


def test_turning_the_camera_turns_the_pose(lifter):
    """The same distant person in the middle and at the side of the picture, codes turned along."""
    rng = np.random.default_rng(4)
    person = standing(rng)
    rays = torch.as_tensor(CAMERA.rays(person.joints_px), dtype=torch.float32)[None] * 0.05
    score = torch.as_tensor(person.score, dtype=torch.float32)[None]
    codes = torch.as_tensor(carried(person.codes[None]), dtype=torch.float32)
    one = torch.ones(1)
    turn = look_at(torch.tensor([[0.5, -0.2]]))
    turned = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ turn.mT
    a = encode(rays, score, codes, one)
    b = encode(turned[..., :2] / turned[..., 2:], score, codes @ turn.mT, one)
    torch.testing.assert_close(a.features, b.features, atol=0.02, rtol=0)
    out_a = lifter(a.features).joints_m @ a.camera_from_view.mT @ turn.mT
    out_b = lifter(b.features).joints_m @ b.camera_from_view.mT
    torch.testing.assert_close(out_a, out_b, atol=0.02, rtol=0)


def test_look_at_is_a_rotation_that_takes_the_axis_to_the_ray():
    bearing = torch.tensor([[0.0, 0.0], [0.7, -0.3], [-2.0, 1.0]])
    turn = look_at(bearing)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(3, 3, 3), atol=1e-6, rtol=0)
    ray = torch.nn.functional.pad(bearing, (0, 1), value=1.0)
    torch.testing.assert_close(turn[..., 2], ray / ray.norm(dim=-1, keepdim=True))


def test_only_the_supervised_channels_and_seen_joints_are_read(lifter):
    person = without(standing(np.random.default_rng(5)), ["left_wrist"])
    codes, joints = person.codes.reshape(18, 3, 21).copy(), person.joints_px.copy()
    for joint, bones in enumerate(CODE_BONES):
        codes[joint][:, [b for b in range(21) if b not in bones]] = 99
    codes[J2D["left_wrist"]] = 99
    joints[J2D["left_wrist"]] = np.nan
    spoiled = PartialPose(joints, person.score, codes.reshape(18, 63), 0.8)
    a, b = lift([person, spoiled], lifter, camera=CAMERA)
    np.testing.assert_array_equal(a.joints_m, b.joints_m)
    assert len(CARRIED) == 33


def test_the_codes_that_are_read_are_those_of_the_table():
    codes = np.random.default_rng(0).normal(size=(2, 18, 63))
    for k, (joint, bone) in enumerate(CARRIED):
        planar = codes[:, joint].reshape(2, 3, 21)
        np.testing.assert_array_equal(carried(codes)[:, k], planar[:, :, bone])


def test_codes_matter_where_they_are_supervised(lifter):
    person = standing(np.random.default_rng(6))
    a, b = lift([person, standing(np.random.default_rng(6), codes=False)], lifter, camera=CAMERA)
    assert np.abs(a.joints_m - b.joints_m).max() > 1e-3


def test_an_unseen_joint_has_a_lower_score_than_a_seen_one(lifter):
    sure = copy.deepcopy(lifter)  # one expected error for every joint
    torch.nn.init.zeros_(sure.error.weight)
    torch.nn.init.constant_(sure.error.bias, -3)
    person = standing(np.random.default_rng(7))
    person = PartialPose(person.joints_px, np.full(18, 0.8), person.codes, 0.8)
    pose = lift([without(person, ["right_elbow", "right_wrist"])], sure, camera=CAMERA)[0]
    unseen = [J3D["right_elbow"], J3D["right_wrist"]]
    assert (pose.score[unseen] < 0.6 * pose.score[J3D["left_wrist"]]).all()
    assert (pose.score > 0).all()


@pytest.mark.parametrize(
    "seen",
    [
        ["neck", "left_shoulder", "left_elbow", "left_wrist"],
        ["left_hip", "left_knee", "left_ankle", "right_hip"],
        ["nose", "left_eye", "right_ear", "neck"],
        ["left_wrist", "right_ankle"],  # no limb, no torso: the size comes from the spread
    ],
)
def test_few_joints_are_enough_for_a_finite_pose(lifter, seen):
    person = without(standing(np.random.default_rng(8)), set(J2D) - set(seen))
    pose = lift([person], lifter, camera=CAMERA)[0]
    assert np.isfinite(pose.joints_m).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_joint_that_is_no_number_is_an_absent_one(lifter, bad):
    person = standing(np.random.default_rng(0))
    absent = without(person, ["right_elbow"])
    joints, score = person.joints_px.copy(), person.score.copy()
    joints[J2D["right_elbow"], 1] = score[J2D["right_elbow"]] = bad
    for odd in (replace(person, joints_px=joints), replace(person, score=score)):
        (got,), (want,) = (lift([p], lifter, camera=CAMERA) for p in (odd, absent))
        np.testing.assert_allclose(got.joints_m, want.joints_m, atol=1e-5)
        np.testing.assert_allclose(got.score, want.score, atol=1e-6)


def test_weights_survive_the_file(lifter, tmp_path):
    path = save_lifter(tmp_path / "deep" / "l.safetensors", lifter, {"data": "none"})
    again = load_lifter(path)
    assert not again.training
    person = standing(np.random.default_rng(9))
    a, b = (lift([person], net, camera=CAMERA)[0].joints_m for net in (lifter, again))
    np.testing.assert_allclose(a, b, atol=5e-3)  # half precision


def test_bad_weights_say_what_is_wrong(lifter, tmp_path):
    with pytest.raises(BadWeights, match="there is no weights file"):
        load_lifter(tmp_path / "absent.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(BadWeights, match="not a whole safetensors file"):
        load_lifter(tmp_path / "junk.safetensors")
    good = save_lifter(tmp_path / "good.safetensors", lifter, {})
    (tmp_path / "half.safetensors").write_bytes(good.read_bytes()[:-1000])
    with pytest.raises(BadWeights, match="not a whole safetensors file"):
        load_lifter(tmp_path / "half.safetensors")
    state = load_file(good)
    save_file(state, tmp_path / "other.safetensors", metadata={"kind": "xnect network"})
    with pytest.raises(BadWeights, match="'xnect network'"):
        load_lifter(tmp_path / "other.safetensors")
    notes = {"kind": "xnect lifter", "inputs": str(N_FEATURES), "joints": "21", "width": "64"}
    del state["stem.bias"]
    save_file(state, tmp_path / "less.safetensors", metadata={**notes, "blocks": "1"})
    with pytest.raises(BadWeights, match=r"differ: stem\.bias$"):
        load_lifter(tmp_path / "less.safetensors")
    save_file(
        state, tmp_path / "odd.safetensors", metadata={**notes, "inputs": "12", "blocks": "1"}
    )
    with pytest.raises(BadWeights, match="12 inputs"):
        load_lifter(tmp_path / "odd.safetensors")
    save_file(state, tmp_path / "unsaid.safetensors", metadata=notes)
    with pytest.raises(BadWeights, match="does not say its blocks"):
        load_lifter(tmp_path / "unsaid.safetensors")


@pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled weights are not in this checkout")
def test_the_bundled_lifter_makes_a_person_who_stands_out_of_a_person_who_stands():
    net = load_lifter(BUNDLED)
    for codes in (np.zeros((18, 63)),):
        person = standing(np.random.default_rng(10))
        person = PartialPose(person.joints_px, person.score, codes, 0.8)
        upper = without(person, ["left_knee", "right_knee", "left_ankle", "right_ankle"])
        for pose in lift([person, upper], net, camera=CAMERA):
            joints = pose.joints_m
            assert chain_m(joints) == pytest.approx(0.95, abs=0.12)
            assert joints[J3D["head_top"], 1] < -0.6  # y is down
            assert joints[J3D["left_shoulder"], 0] > 0.1  # faces the camera: left is right
            assert joints[J3D["left_hip"], 0] > 0.05
            assert joints[J3D["left_ankle"], 1] > 0.55
