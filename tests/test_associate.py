"""Association: people come back from perfect maps of random skeletons, however they stand."""

import numpy as np
import pytest

from xnect.associate import AssociateOptions, find_people
from xnect.errors import BadInput
from xnect.skeleton import BODY, J3D, JOINTS2D, LIMBS

HW = (40, 64)
CELLS = np.array([[1.0, 0, 0], [0, 1, 0]])  # pictures measured in cells


def person(rng, height=22.0, at=(0.0, 0.0), bend=0.35):
    """(18, 2) cells of a body with bent limbs, its pelvis at `at`."""
    yaw = rng.uniform(-1.2, 1.2)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    place = np.zeros((21, 3))
    for j in BODY.order[1:]:
        bone = BODY.offsets_m[j]
        length = np.linalg.norm(bone)
        bone = bone + rng.normal(0, bend, 3) * length * (BODY.names[j].split("_")[-1] != "spine")
        place[j] = place[BODY.parents[j]] + bone * length / np.linalg.norm(bone)
    face = {
        "nose": (0, -0.02, 0.11), "right_eye": (-0.03, 0.02, 0.09), "left_eye": (0.03, 0.02, 0.09),
        "right_ear": (-0.07, 0, 0), "left_ear": (0.07, 0, 0),
    }  # fmt: skip
    joints = np.array(
        [place[J3D["head"]] + face[n] if n in face else place[J3D[n]] for n in JOINTS2D]
    )
    return (joints @ turn.T)[:, :2] * (1, -1) * height / 1.7 + at


def render(people, hw=HW, sigma=0.875, width=1.0):
    """[(18, 2) cells, NaN = absent] -> heatmaps by maximum, affinities by mean."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    heat = np.zeros((18, *hw), np.float32)
    field = np.zeros((19, 2, *hw), np.float32)
    times = np.zeros((19, *hw), np.float32)
    for body in people:
        for j, (px, py) in enumerate(body):
            if np.isfinite(px):
                bump = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
                heat[j] = np.maximum(heat[j], bump)
        for n, (a, b) in enumerate(LIMBS):
            way = body[b] - body[a]
            length = np.hypot(*way)
            if np.isfinite(length) and length > 0.05:
                ux, uy = way / length
                dx, dy = x - body[a, 0], y - body[a, 1]
                t = dx * ux + dy * uy
                on = (abs(dx * uy - dy * ux) <= width) & (t >= -0.5) & (t <= length + 0.5)
                field[n] += on * np.array([ux, uy], np.float32)[:, None, None]
                times[n] += on
    return heat, field / np.maximum(times, 1)[:, None]


def find(people, **kwargs):
    return find_people(*render(people, **kwargs), None, CELLS)


def matched(found, people, within=1.0):
    """For each true person: (own joints found, joints of others) of the best found one."""
    result = []
    for body in people:
        best = (0, 0)
        for pose in found:
            near = np.hypot(*(pose.joints_px - body).T) < within
            seen = pose.score > 0
            best = max(best, (int((near & seen).sum()), -int((seen & ~near).sum())))
        result.append(best)
    return result


def crowd(rng, count, height=13.0):
    """People on a grid of places, arms of neighbours crossing now and then."""
    columns = max(1, round(count / 2))
    places = [(6 + 10.0 * (k % columns), 10 + 18.0 * (k // columns)) for k in range(count)]
    return [person(rng, height, place, 0.2) for place in places]


def test_empty_maps_hold_nobody():
    assert find([]) == []


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("height", [7.0, 12.0, 25.0])
def test_one_person_comes_back_whole_at_any_size(seed, height):
    body = person(np.random.default_rng(seed), height, (32, 20))
    found = find([body])
    assert len(found) == 1
    assert (found[0].score > 0).sum() >= 17  # an ear may melt into the nose of a small person
    seen = found[0].score > 0
    assert np.hypot(*(found[0].joints_px - body)[seen].T).max() < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_twenty_people_come_back_each_with_his_own_joints(seed):
    people = crowd(np.random.default_rng(seed), 20)
    found = find_people(*render(people, (40, 110)), None, CELLS)
    right = matched(found, people)
    assert len(found) == 20
    assert np.mean([own for own, _ in right]) > 17
    assert np.mean([-others for _, others in right]) < 0.5


@pytest.mark.parametrize("seed", range(6))
def test_people_with_missing_joints_stay_one_person_each(seed):
    rng = np.random.default_rng(seed)
    people = [person(rng, 24, (18, 21), 0.2), person(rng, 24, (46, 21), 0.2)]
    for body in people:
        body[rng.choice([4, 7, 10, 13, 16, 17], 4, replace=False)] = np.nan
    found = find(people)
    assert len(found) == 2
    for pose in found:
        assert np.array_equal(
            pose.joints_px[pose.score == 0], np.zeros(((pose.score == 0).sum(), 2))
        )
    assert [(p.score > 0).sum() for p in found] == [14, 14]


def test_a_person_without_a_neck_is_joined_from_fragments():
    rng = np.random.default_rng(1)
    body = person(rng, 26, (32, 20), 0.1)
    body[1] = np.nan
    found = find([body])
    assert len(found) == 1
    assert (found[0].score > 0).sum() >= 12  # all but the head, whose neck is not there


def test_two_legs_alone_are_one_person():
    body = person(np.random.default_rng(2), 30, (32, 12), 0.1)
    body[[*range(8), 14, 15, 16, 17]] = np.nan
    found = find([body])
    assert [(p.score > 0).sum() for p in found] == [6]


@pytest.mark.parametrize("joint", [2, 3, 4, 9])
def test_a_joint_that_two_people_share_is_given_to_both(joint):
    rng = np.random.default_rng(7)
    one, two = person(rng, 26, (22, 20), 0.1), person(rng, 26, (42, 20), 0.1)
    middle = (one[joint] + two[joint]) / 2  # both limbs are pulled to one place
    one[joint] = two[joint] = middle
    found = find([one, two])
    assert len(found) == 2
    assert all(own == 18 and others == 0 for own, others in matched(found, [one, two], 1.2))


def test_a_double_peak_does_not_make_a_second_person():
    body = person(np.random.default_rng(3), 30, (32, 20), 0.1)
    twin = np.full((18, 2), np.nan)
    twin[1] = body[1] + (2.0, 0.3)
    twin[5] = body[5]
    found = find([body, twin])
    assert len(found) == 1
    assert (found[0].score > 0).all()


def test_the_order_in_which_people_are_drawn_does_not_matter():
    people = crowd(np.random.default_rng(5), 8)
    first, second = (find_people(*render(p, (40, 64)), None, CELLS) for p in (people, people[::-1]))
    key = [p.joints_px.sum() for p in first]
    assert np.allclose(sorted(key), sorted(p.joints_px.sum() for p in second))


def test_moving_the_maps_moves_the_people_and_nothing_else():
    people = crowd(np.random.default_rng(6), 4)
    heat, field = render(people, (60, 90))
    here = find_people(heat, field, None, CELLS)
    there = find_people(
        np.roll(heat, (7, 11), (1, 2)), np.roll(field, (7, 11), (2, 3)), None, CELLS
    )
    assert len(here) == len(there) == 4
    for a, b in zip(here, there, strict=True):
        seen = a.score > 0
        assert np.array_equal(seen, b.score > 0)
        assert np.allclose(a.joints_px[seen] + (11, 7), b.joints_px[seen], atol=1e-4)


def test_joints_are_given_in_pixels_of_the_picture_and_codes_at_their_cells():
    body = person(np.random.default_rng(8), 24, (32, 20))
    heat, field = render([body])
    codes = np.random.default_rng(9).random((63, *HW), np.float32)
    image_from_cell = np.array([[10.0, 0, 4.5], [0, 10.0, -30]])
    (pose,) = find_people(heat, field, codes, image_from_cell)
    (bare,) = find_people(heat, field, None, CELLS)
    seen = pose.score > 0
    assert np.allclose(pose.joints_px[seen], bare.joints_px[seen] * 10 + (4.5, -30), atol=1e-3)
    x, y = np.rint(bare.joints_px[seen]).astype(int).T
    assert np.array_equal(pose.codes[seen], codes[:, y, x].T)
    assert not bare.codes.any()
    assert (pose.joints_px.dtype, pose.codes.dtype) == (np.float32, np.float32)


def test_scores_lie_between_0_and_1_and_complete_people_come_first():
    rng = np.random.default_rng(10)
    half = person(rng, 24, (46, 21), 0.1)
    half[8:14] = np.nan
    found = find([half, person(rng, 24, (18, 21), 0.1)])
    assert 1 >= found[0].person_score > found[1].person_score > 0
    assert (found[0].score > 0).all()


def test_noise_alone_holds_nobody_and_never_breaks():
    rng = np.random.default_rng(11)
    heat = (rng.random((18, *HW)) * 0.3).astype(np.float32)
    field = rng.normal(0, 0.1, (19, 2, *HW)).astype(np.float32)
    assert len(find_people(heat, field, None, CELLS)) <= 2
    for p in find_people(rng.random((18, *HW), np.float32), field * 10, None, CELLS):
        assert np.isfinite(p.joints_px).all()


@pytest.mark.parametrize("hw", [(1, 1), (1, 5), (5, 1)])
def test_maps_of_a_few_cells_are_fine(hw):
    maps = np.random.default_rng(12).random((18, *hw), np.float32)
    find_people(maps, np.ones((19, 2, *hw), np.float32), None, CELLS)


def test_maps_of_a_wrong_shape_are_refused_with_the_right_one():
    with pytest.raises(BadInput, match=r"affinities have the shape .*\(19, 2, 40, 64\)"):
        find_people(np.zeros((18, 40, 64)), np.zeros((38, 40, 64)), None, CELLS)


def test_a_higher_threshold_never_finds_more_joints():
    people = crowd(np.random.default_rng(13), 6)
    heat, field = render(people)
    heat *= np.random.default_rng(14).uniform(0.2, 1, heat.shape).astype(np.float32)
    total = [
        sum(
            int((p.score > 0).sum())
            for p in find_people(heat, field, None, CELLS, AssociateOptions(peak_at_least=t))
        )
        for t in (0.1, 0.5, 0.9)
    ]
    assert total[0] >= total[1] >= total[2]
