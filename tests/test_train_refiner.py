"""Training of the refiner: labels move with the pictures, and it learns."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from tests.test_targets import random_sample
from xnect.errors import BadInput, BadWeights
from xnect.lift import look_at
from xnect.network import build_network
from xnect.refiner import SIDE_PX, PersonMaps, Refiner
from xnect.skeleton import FLIP2D, J3D, SEEN_AS
from xnect.train.checkpoint import save_weights
from xnect.train.crops import BOX_PX, CUT_PX, joints_box, read_person_crops, write_crops
from xnect.train.person_augment import RefinerAugment, anonymous, augment_person, cut_off, warp_of
from xnect.train.person_crops import cut_out, facing, write_person_crops
from xnect.train.refiner import People, PersonBatch, refiner_losses, start_from, step_losses
from xnect.train.refiner import main as refiner_command
from xnect.train.samples import ABSENT, SEEN, UNKNOWN, write_shard

SIDE = SIDE_PX // 8


@pytest.fixture
def crops(tmp_path):
    samples = [random_sample(i, 2) for i in range(6)]
    for sample in samples:
        sample.state[:] = SEEN
    write_shard(tmp_path / "a.npz", samples)
    assert write_person_crops([tmp_path / "a.npz"], tmp_path / "people") > 0
    return read_person_crops(tmp_path / "people")


def test_everybody_is_in_the_middle_at_one_size(crops):
    for joints, state in zip(crops.joints_px, crops.state, strict=True):
        box = joints_box(joints, state > 0)
        assert (box[2:] - box[:2]).max() == pytest.approx(BOX_PX, abs=0.1)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, (CUT_PX - 1) / 2, atol=0.1)


def test_a_dot_at_a_joint_is_still_at_the_joint_in_the_cut_out():
    sample = random_sample(3, 1)
    sample.state[:], sample.image[:] = SEEN, 0
    x, y = np.round(sample.joints_px[0, 4]).astype(int)
    sample.joints_px[0, 4] = x, y
    cv2.circle(sample.image, (int(x), int(y)), 3, (255, 255, 255), -1)
    made = cut_out(sample, 0)
    assert made is not None
    image, joints = made
    grey = np.where(image[..., 0] > 120, image[..., 0].astype(float), 0)
    rows, columns = np.mgrid[:CUT_PX, :CUT_PX]
    centre = np.array([(grey * columns).sum(), (grey * rows).sum()]) / grey.sum()
    np.testing.assert_allclose(centre, joints[4], atol=1.0)


def test_a_warp_and_its_mirror_are_similarities(crops):
    rng = np.random.default_rng(0)
    for _ in range(30):
        matrix, flip = warp_of(rng, crops.joints_px[0], crops.state[0], RefinerAugment())
        linear = matrix[:, :2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-9)
        assert (np.linalg.det(linear) < 0) == flip


def test_batches_are_the_same_by_seed(crops):
    one, two = (next(iter(People([crops], [1.0], batch=3, seed=5))) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)
    assert one.images.shape == (3, 3, SIDE_PX, SIDE_PX)


def batch(joints: torch.Tensor, state: int) -> PersonBatch:
    images = torch.zeros(len(joints), 3, SIDE_PX, SIDE_PX, dtype=torch.uint8)
    return PersonBatch(
        images,
        joints,
        torch.full(joints.shape[:2], state, dtype=torch.int8),
        torch.randn(len(joints), 21, 3),
        torch.ones(len(joints), 21),
    )


def test_the_right_maps_cost_less_than_exchanged_sides():
    joints = torch.rand(2, 18, 2) * 100 + 12
    cells = ((joints - 3.5) / 8).round().long().clamp(0, SIDE - 1)

    def maps(order: list[int]) -> PersonMaps:
        heat = torch.full((2, 18, SIDE, SIDE), -6.0)
        for p in range(2):
            for j in range(18):
                heat[p, j, cells[p, order[j], 1], cells[p, order[j], 0]] = 6.0
        return PersonMaps(heat, torch.zeros(2, 18, 2, SIDE, SIDE), torch.zeros(2, 63, SIDE, SIDE))

    right = refiner_losses(maps(list(range(18))), batch(joints, SEEN))
    wrong = refiner_losses(maps(list(FLIP2D)), batch(joints, SEEN))
    assert right["heatmaps"] < wrong["heatmaps"]
    assert right["cells"] < wrong["cells"]


def test_nothing_is_learnt_of_unknown_joints():
    sizes = ((18,), (18, 2), (63,))
    maps = PersonMaps(*(torch.randn(1, *size, SIDE, SIDE) for size in sizes))
    losses = refiner_losses(maps, batch(torch.rand(1, 18, 2) * 100, UNKNOWN))
    assert all(float(value) == 0 for value in losses.values())


def test_a_few_steps_lower_the_losses(crops):
    torch.manual_seed(0)
    network = Refiner().train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    data = next(iter(People([crops], [1.0], batch=4, seed=1)))
    totals = []
    for _ in range(6):
        total = torch.stack(list(step_losses(network, data).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_only_whole_weights_of_stage_1_are_a_start(tmp_path):
    state = build_network("s").state_dict()
    save_weights(tmp_path / "whole.safetensors", state, {})
    start_from(Refiner(), tmp_path / "whole.safetensors", None)
    part = {name: value for name, value in state.items() if not name.startswith("context.")}
    save_weights(tmp_path / "part.safetensors", part, {})
    with pytest.raises(BadWeights, match="tensors lack"):
        start_from(Refiner(), tmp_path / "part.safetensors", None)
    with pytest.raises(BadWeights, match="does not fit"):
        start_from(Refiner(), tmp_path / "none.safetensors", None)


def test_a_refiner_goes_on_from_another_and_stage_1_fills_what_it_lacks(tmp_path):
    stage1, other = build_network("s").state_dict(), Refiner().state_dict()
    save_weights(tmp_path / "stage1.safetensors", stage1, {})
    part = {name: value for name, value in other.items() if not name.startswith("pose3d.")}
    save_weights(tmp_path / "refiner.safetensors", part, {})
    with pytest.raises(BadWeights, match="tensors lack"):
        start_from(Refiner(), None, tmp_path / "refiner.safetensors")
    made = Refiner()
    start_from(made, tmp_path / "stage1.safetensors", tmp_path / "refiner.safetensors")
    state, half = made.state_dict(), torch.float16
    for name, value in (*part.items(), ("pose3d.out.weight", stage1["pose3d.out.weight"])):
        if value.is_floating_point():
            assert torch.equal(state[name].to(half), value.to(half))


def test_what_is_cut_off_is_gone_and_the_rest_stays(crops):
    """Beyond a border joints are absent, behind a thing unknown; the others are where they were."""
    rng = np.random.default_rng(0)
    gone = {ABSENT: 0, UNKNOWN: 0}
    for n in range(60):
        i = n % len(crops.images)
        image, joints, state = crops.images[i], crops.joints_px[i], crops.state[i]
        cut, left = cut_off(rng, image, joints, state)
        changed = left != state
        assert (left > 0).sum() >= 4
        places = np.round(joints).astype(int).clip(0, CUT_PX - 1)
        same = (np.asarray(cut) == image).all(-1)[places[:, 1], places[:, 0]]
        assert same[~changed].mean() > 0.9  # a joint on the very border may lose its pixel
        assert len(set(left[changed].tolist())) <= 1
        for kind in gone:
            gone[kind] += int((left[changed] == kind).any())
        if (left[changed] == ABSENT).any():
            assert (np.asarray(cut)[~(np.asarray(cut) == image).all(-1)] == 114).all()
    assert min(gone.values()) > 5


@pytest.mark.parametrize(
    ("lane", "shares", "said"),
    [
        ("open", "dev=1", "unknown data set in lane open 'dev'"),
        ("open", "coco=0.5,lspet=0.5", "unknown data set in lane open 'lspet'"),
        ("research", "../people/coco=1", "unknown data set"),
        ("research", "coco=0", "must be a positive number"),
        ("research", "coco=nan", "must be a positive number"),
    ],
)
def test_only_the_sets_of_a_lane_are_learnt_from(lane, shares, said, tmp_path, capsys):
    words = ["--people", str(tmp_path), "--out", str(tmp_path / "run"), "--lane", lane]
    assert refiner_command([*words, "--shares", shares]) == 2
    assert said in capsys.readouterr().err


def test_missing_person_crops_are_named(tmp_path):
    with pytest.raises(BadInput, match="person_crops"):
        read_person_crops(tmp_path / "people")


def test_a_facing_camera_sees_its_person_alike_wherever_they_stand():
    """Turning camera and person together changes nothing; labels without a place stay."""
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 0.3, (21, 3))
    pose -= pose[J3D["pelvis"]]
    ahead = pose + np.array([0, 0, 4])
    seen = facing(ahead)
    np.testing.assert_allclose(seen[:, 2], ahead[:, 2], atol=0.2)
    for bearing in ((0.5, 0.1), (-0.4, -0.3)):
        turn = look_at(torch.tensor([bearing], dtype=torch.float64))[0].numpy()
        turned = facing(ahead @ turn.T)  # the same person, elsewhere in the picture
        np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(seen, axis=1))
        np.testing.assert_allclose(turned[:, 2], seen[:, 2], atol=0.05)
    np.testing.assert_array_equal(facing(pose), pose)


def test_bones_turn_and_mirror_with_the_picture(crops):
    """Seen along the view, bones point as the limbs in the changed picture do."""
    rng = np.random.default_rng(3)
    flat = replace(crops, joints3d_m=np.zeros((len(crops.images), 21, 3)))
    for i in range(len(crops.images)):
        for j2 in range(2, 14):
            flat.joints3d_m[i, SEEN_AS.index(j2), :2] = crops.joints_px[i, j2] / 100
        for _ in range(4):
            seen = augment_person(
                rng, flat, i, RefinerAugment(cover_share=0, edge_share=0, cut_share=0)
            )
            for a, b in ((4, 3), (7, 6), (10, 9), (13, 12)):
                limb = seen.joints_px[a] - seen.joints_px[b]
                bone = (seen.joints3d_m[SEEN_AS.index(a)] - seen.joints3d_m[SEEN_AS.index(b)])[:2]
                size = np.linalg.norm(limb) * np.linalg.norm(bone)
                assert limb @ bone == pytest.approx(size, rel=1e-5)


def test_without_people_to_validate_with_smaller_errors_of_bones_are_better(
    crops, tmp_path, monkeypatch
):
    """The first figure is the one of which more is better: by it the best network is kept."""
    from xnect.train import refiner

    folder, validate = tmp_path / "set", []
    folder.mkdir()
    for name in ("renders", "dev-renders"):
        write_crops(folder / name, crops)
    monkeypatch.setattr(refiner, "train", lambda *_, **given: validate.append(given["validate"]))
    monkeypatch.setattr(refiner, "bone_error", lambda *_: {"bone_error_mm": 101.0})
    monkeypatch.setattr(refiner, "crop_pck", lambda *_: {"peak_pck": 0.5})
    words = ["--people", str(folder), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert refiner_command(words) == 0
    assert list(validate[0](None).items()) == [
        ("minus_bone_error_mm", -101.0), ("bone_error_mm", 101.0)
    ]  # fmt: skip
    write_crops(folder / "dev", crops)
    assert refiner_command(words) == 0
    assert next(iter(validate[1](None))) == "peak_pck"


def test_heads_are_made_unrecognisable_and_nothing_else_changes():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    joints, state = np.full((18, 2), 100.0), np.full(18, SEEN, np.int8)
    joints[[0, 14, 15, 16, 17]] = (100, 70)
    for _ in range(30):
        out = anonymous(rng, image, joints, state)
        y, x = np.nonzero((out != image).any(-1))
        assert len(y) > 100
        assert np.abs(x - 100).max() < 36 and np.abs(y - 70).max() < 36
        inner = out[66:75, 96:105].astype(float)
        assert inner.std() < 0.6 * image[66:75, 96:105].std()
    absent = np.where(np.isin(np.arange(18), [0, 14, 15, 16, 17]), ABSENT, state)
    assert anonymous(rng, image, joints, absent) is image
