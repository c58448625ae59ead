"""The box branch: what is drawn is found again, and who is found so is looked at."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from tests.test_refine import Dots, somebody
from tests.test_targets import batch_of, random_sample
from xnect.boxes import BoxOptions, find_boxes, iou
from xnect.errors import BadWeights
from xnect.follow import Candidates, Follow, FollowOptions, joint_boxes, others
from xnect.model import load_network
from xnect.network import build_network, channels_last
from xnect.prepare import Normalisation
from xnect.refine import refine
from xnect.refiner import PERSON_PX, SIDE_PX
from xnect.squares import box_squares
from xnect.train.boxes import OnFrozen, box_step, joined
from xnect.train.boxes import main as boxes_command
from xnect.train.checkpoint import file_metadata, save_weights
from xnect.train.losses import box_losses, side_loss
from xnect.train.samples import ABSENT, SEEN, UNKNOWN, write_shard
from xnect.train.targets import joint_boxes as boxes_of_labels
from xnect.train.targets import make_box_targets

CELLS = np.array([[8.0, 0, 3.5], [0, 8.0, 3.5]])


def one_person(low: tuple[float, float], high: tuple[float, float], seed: int = 0):
    """A sample with one person whose joints fill a box."""
    sample = random_sample(seed, 1)
    rng = np.random.default_rng(seed)
    sample.joints_px[0] = rng.uniform(low, high, (18, 2))
    sample.joints_px[0, 2], sample.joints_px[0, 3] = low, high
    sample.state[:] = SEEN
    return replace(sample, boxes_xyxy=np.array([[*low, *high]]))


def maps_of(sample) -> np.ndarray:
    """(5, h, w) a branch that says exactly what it should."""
    targets = make_box_targets(batch_of(sample))
    return torch.cat([targets.centres[0], targets.sides[0].log()]).numpy()


@pytest.mark.parametrize(
    ("low", "high"), [((20, 12), (52, 80)), ((8, 40), (88, 60)), ((3, 3), (93, 93))]
)
def test_the_box_that_is_drawn_is_found(low, high):
    boxes, score = find_boxes(maps_of(one_person(low, high)), CELLS)
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes[0], [*low, *high], atol=1e-3)
    assert score[0] > 0.6


def test_boxes_of_two_people_are_found_and_copies_are_not():
    one, other = one_person((6, 10), (40, 86)), one_person((54, 10), (90, 86), 1)
    both = np.where(maps_of(one)[:1] > maps_of(other)[:1], maps_of(one), maps_of(other))
    assert len(find_boxes(both, CELLS)[0]) == 2
    assert len(find_boxes(both, CELLS, BoxOptions(most=1))[0]) == 1
    assert len(find_boxes(both, CELLS, BoxOptions(score_at_least=1.1))[0]) == 0
    copy = np.full((5, 12, 12), -3.0, np.float32)
    copy[0], copy[1:] = 0, np.log(6.0)
    copy[0, 5, 4] = copy[0, 5, 6] = 0.9  # a sixth of the box apart
    assert len(find_boxes(copy, CELLS)[0]) == 1


def test_only_joints_that_show_make_a_box():
    sample = one_person((20, 12), (52, 80))
    sample.state[0, 3] = ABSENT
    batch = batch_of(sample)
    boxes, there = boxes_of_labels(batch.joints_px, batch.state)
    shown = sample.joints_px[0, sample.state[0] > 0]
    assert there[0, 0]
    np.testing.assert_allclose(boxes[0, 0], [*shown.min(0), *shown.max(0)], atol=1e-4)
    sample.state[0, 2:] = ABSENT
    batch = batch_of(sample)
    assert not boxes_of_labels(batch.joints_px, batch.state)[1].any()
    targets = make_box_targets(batch)
    assert targets.side_weight.sum() == 0
    assert targets.centre_weight[0, 0, 6, 4] == 0  # who shows too little is no background


def test_sides_of_the_faceless_are_not_learnt():
    sample = one_person((20, 12), (52, 80))
    assert make_box_targets(batch_of(sample)).side_weight.sum() > 0
    sample.state[0, [0, 14, 15, 16, 17]] = UNKNOWN
    targets = make_box_targets(batch_of(sample))
    assert targets.side_weight.sum() == 0
    assert targets.centres.max() > 0.6


def test_the_loss_of_the_right_box_is_nothing_and_grows_with_the_error():
    sides = torch.rand(2, 4, 6, 6) * 4 + 0.5
    weight = torch.ones(2, 6, 6)
    losses = [float(side_loss((sides * k).log(), sides, weight)) for k in (1.0, 1.2, 1.8, 3.0)]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses == sorted(losses)
    raw = torch.zeros(1, 4, 3, 3, requires_grad=True)
    side_loss(raw, torch.full((1, 4, 3, 3), 2.0), torch.ones(1, 3, 3)).backward()
    assert raw.grad is not None
    assert (raw.grad < 0).all()  # all sides are too near


def test_overlap_is_symmetric_and_whole_with_itself():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (6, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 40, (6, 2))], 1)
    shared = iou(boxes, boxes)
    np.testing.assert_allclose(np.diag(shared), 1)
    np.testing.assert_allclose(shared, shared.T)
    np.testing.assert_allclose(iou(3 * boxes + 7, 3 * boxes + 7), shared)
    assert iou(boxes[:0], boxes).shape == (0, 6)


def test_a_person_in_a_box_alone_is_seen_by_the_refiner():
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (150, 110), 8, (255, 255, 255), -1)
    box = np.array([[110.0, 60, 200, 165]])
    (found,) = refine(Candidates([], [], 0, box), picture, Dots())
    assert np.abs(found.joints_px - (150, 110)).max() <= 8 * 105 / PERSON_PX
    assert refine(Candidates([], [], 0), picture, Dots()) == []
    where = box_squares(box)
    np.testing.assert_allclose(where.side_px, 105 * SIDE_PX / PERSON_PX)
    same = somebody((155, 112), 100.0)
    assert len(refine(Candidates([same], [same], 1, box), picture, Dots())) == 1


def test_boxes_of_people_who_are_known_are_not_looked_at_again():
    person = somebody((100, 100), 80.0)
    own = joint_boxes([person])
    assert len(others(own, [person])) == 0
    assert len(others(own + 200, [person])) == 1
    assert len(others(own, [])) == 1


def test_a_box_confirms_whom_the_refiner_sees_there():
    follow, person, step = Follow(), somebody((100, 100), 80.0), 1 / 30
    box = joint_boxes([person])
    for n in range(int(2 * FollowOptions().alone_s / step)):
        where = follow.candidates([], n * step, box)
        assert len(where.people) + len(where.more_xyxy) == 1
        assert follow.keep([person], [], n * step, box) == [person]


def test_the_branch_learns_and_the_rest_stays(tmp_path):
    torch.manual_seed(0)
    network = build_network("s")
    before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith("boxes.")}
    branch = channels_last(OnFrozen(network)).train()
    assert all(name.startswith("boxes.") for name in branch.state_dict())
    batch = batch_of(*(one_person((20, 12), (52, 80), k) for k in range(3)))
    optimizer = torch.optim.AdamW(branch.parameters(), 3e-3)
    totals = []
    for _ in range(8):
        total = torch.stack(list(box_step(Normalisation())(branch, batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]
    for name, value in before.items():
        assert torch.equal(network.state_dict()[name], value), name

    files = [tmp_path / f"{name}.safetensors" for name in ("old", "branch", "new")]
    save_weights(files[0], before, {"preset": "s", "lane": "open"})
    told = {"lane": "research", "images": "24", "data": "lspet 1.00"}
    save_weights(files[1], branch.state_dict(), told)
    joined(*files)
    assert file_metadata(files[2])["lane"] == "research"  # a branch takes its lane along
    old, new = load_network(files[0]), load_network(files[2])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        here, there = old(images), new(images)
    assert torch.equal(here.heatmaps, there.heatmaps)
    assert torch.isneginf(here.boxes).all()  # weights of before the branch find no boxes
    assert torch.isfinite(there.boxes).all()
    with pytest.raises(BadWeights, match="no box branch"):
        joined(files[0], files[0], tmp_path / "x")
    with pytest.raises(BadWeights, match="cannot join"):
        joined(files[0], tmp_path / "none.safetensors", tmp_path / "x")


def test_false_alarms_are_cut_out_of_pictures_without_people(tmp_path):
    """Only where nobody is for sure, and what is cut out is what the branch saw."""
    from xnect.train.crops import read_person_crops
    from xnect.train.empty_crops import of_boxes, write_false_alarms

    class Alarmed(torch.nn.Module):
        """Sees somebody of two cells at the brightest cell."""

        def box_maps(self, images):
            cells = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8)
            chance = torch.where(cells == cells.amax(), 3.0, -9.0)
            return torch.cat([chance, torch.zeros(1, 4, *cells.shape[2:])], 1)

    empty = random_sample(0, 0)
    empty.image[:] = 0
    cv2.circle(empty.image, (60, 40), 6, (255, 255, 255), -1)
    doubtful, peopled = replace(empty, outside_weight=0.5), random_sample(1, 1)
    write_shard(tmp_path / "a.npz", [doubtful, empty, peopled])
    out = tmp_path / "alarms"
    count = write_false_alarms([tmp_path / "a.npz"], [of_boxes(Alarmed(), Normalisation())], out)
    crops = read_person_crops(out)
    assert count == len(crops.images) == 2  # at two sizes
    assert (crops.state == ABSENT).all()
    middle = crops.images.shape[1] // 2
    assert (crops.images[:, middle, middle] > 200).all()


def test_losses_of_a_branch_without_people_are_those_of_empty_maps():
    sample = random_sample(4, 1)
    sample.state[:] = ABSENT
    targets = make_box_targets(batch_of(sample))
    assert targets.centres.max() == 0
    empty = torch.cat([torch.full((1, 1, 12, 12), -9.0), torch.zeros(1, 4, 12, 12)], 1)
    assert float(sum(box_losses(empty, targets).values())) < 1e-3


def test_the_frozen_network_goes_where_its_branch_goes():
    """A training on a GPU moves the branch; what it reads must be there too."""
    branch = OnFrozen(build_network("s"))
    branch.to("meta")
    frozen = branch._frozen[0]
    assert {p.device.type for p in (*frozen.parameters(), *branch.parameters())} == {"meta"}
    assert frozen.boxes is branch.boxes


@pytest.mark.parametrize("kind", ["missing", "torch", "backbone", "none"])
def test_what_the_branch_cannot_join_is_refused_before_it_is_trained(kind, tmp_path, capsys):
    path, state = tmp_path / "start", build_network("s").state_dict()
    (tmp_path / "renders-a.npz").touch()
    if kind == "torch":
        torch.save(state, path)
    elif kind == "backbone":
        state = {n[9:]: v for n, v in state.items() if n.startswith("backbone.")}
        save_weights(path, state, {})
    elif kind == "none":
        path.write_text("nothing")
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--stage1", str(path)]
    assert boxes_command(words) == 2
    said = capsys.readouterr().err
    assert f"--stage1 {path} must be" in said and "--init" not in said
    assert not (tmp_path / "run").exists()


def test_nothing_of_the_branch_is_validated_so_no_flag_asks_for_it(capsys):
    for flag in ("--patience", "--validate-steps", "--validate-minutes"):
        with pytest.raises(SystemExit):
            boxes_command(["--data", ".", "--out", "run", "--stage1", "x", flag, "1"])
        assert f"unrecognized arguments: {flag}" in capsys.readouterr().err
