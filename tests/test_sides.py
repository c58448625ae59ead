"""Left and right over time: exchanges are undone, and what was right stays as it is."""

from dataclasses import replace

import numpy as np
import pytest

from xnect.resizing import scaled_points, scaled_pose
from xnect.sides import ARMS, LEGS, SideOptions, Sides, exchanged
from xnect.skeleton import FLIP2D, FLIP3D, J2D
from xnect.types import PartialPose, SecondPlaces

FPS = 30.0


def walker(time_s: float, *, turn: float = 0.6) -> np.ndarray:
    """(18, 2) px of somebody 200 px tall who walks across, seen at an angle."""
    swing = 0.5 * np.sin(2 * np.pi * 1.0 * time_s)
    wide = np.cos(turn)
    joints = np.zeros((18, 2))
    places = {"nose": (0.02, 1.65), "neck": (0, 1.45)}
    for side, sign in (("left", 1), ("right", -1)):
        leg, arm = sign * swing, -sign * swing
        places[f"{side}_shoulder"] = (0.18 * sign * wide, 1.42)
        places[f"{side}_elbow"] = (0.2 * sign * wide + 0.2 * np.sin(arm), 1.15)
        places[f"{side}_wrist"] = (0.2 * sign * wide + 0.42 * np.sin(arm), 0.92)
        places[f"{side}_hip"] = (0.11 * sign * wide, 0.92)
        places[f"{side}_knee"] = (0.11 * sign * wide + 0.42 * np.sin(leg), 0.5)
        places[f"{side}_ankle"] = (0.11 * sign * wide + 0.8 * np.sin(leg), 0.1)
        places[f"{side}_eye"] = (0.03 * sign, 1.68)
        places[f"{side}_ear"] = (0.07 * sign, 1.66)
    for name, (x, y) in places.items():
        joints[J2D[name]] = x, -y
    return joints * 120 + (100 + 60 * time_s, 300)


def pose(joints: np.ndarray, margin: float = 1.0) -> PartialPose:
    codes = np.zeros((18, 63), np.float32)
    full = np.full(18, margin, np.float32)
    return PartialPose(joints.astype(np.float32), np.full(18, 0.8, np.float32), codes, 0.8, full)


def wrong(given: PartialPose, true: np.ndarray, part: tuple[int, ...]) -> bool:
    own = [*part, *(FLIP2D[j] for j in part)]
    other = [FLIP2D[j] for j in own]
    away = np.abs(given.joints_px[own] - true[own]).sum()
    return bool(away > np.abs(given.joints_px[own] - true[other]).sum())


@pytest.mark.parametrize("seed", range(4))
def test_exchanges_of_some_frames_are_undone(seed):
    """Bursts of frames with arms or legs exchanged, with small margins, as networks make them."""
    rng = np.random.default_rng(seed)
    sides, raw, left_over, count = Sides(), 0, 0, 0
    state = [False, False]
    for frame in range(150):
        true = walker(frame / FPS)
        if frame > 15:
            state = [s ^ (rng.random() < (0.3 if s else 0.06)) for s in state]
        seen = pose(true + rng.normal(0, 1.5, true.shape), 0.4 if any(state) else 1.5)
        seen = exchanged(seen, *state)
        given = sides.update([seen], frame / FPS)[0]
        for part, is_wrong in zip((ARMS, LEGS), state, strict=True):
            raw, count = raw + is_wrong, count + 1
            left_over += wrong(given, true, part)
    assert raw > 0.1 * count
    assert left_over < 0.3 * raw


def test_what_is_right_stays_as_it_is():
    sides = Sides()
    for frame in range(90):
        seen = pose(walker(frame / FPS))
        given = sides.update([seen], frame / FPS)[0]
        np.testing.assert_array_equal(given.joints_px, seen.joints_px)


def test_somebody_who_turns_round_is_followed():
    """From front to back in two seconds: left and right change places in the picture."""
    sides = Sides()
    for frame in range(90):
        seen = pose(walker(frame / FPS, turn=np.pi * min(frame / 60, 1)))
        given = sides.update([seen], frame / FPS)[0]
        np.testing.assert_array_equal(given.joints_px, seen.joints_px)


def test_a_wrong_start_is_mended_when_the_network_is_sure():
    sides = Sides()
    for frame in range(10):
        sides.update([exchanged(pose(walker(frame / FPS), 0.3), True, True)], frame / FPS)
    for frame in range(10, 70):
        true = walker(frame / FPS)
        given = sides.update([pose(true, 2.0)], frame / FPS)[0]
    assert not wrong(given, true, ARMS)
    assert not wrong(given, true, LEGS)


def test_a_fragment_on_somebody_does_not_take_their_past():
    """Stage I now and then sees a part of somebody as another person; the whole one goes on."""
    arms = np.isin(np.arange(18), [*ARMS[:3], *(FLIP2D[j] for j in ARMS[:3])])
    wrongs = 0
    for seed in range(6):
        rng, sides = np.random.default_rng(seed), Sides()
        for frame in range(40):
            true = walker(frame / FPS)
            seen = pose(true + rng.normal(0, 1.5, true.shape), 0.5 if frame > 20 else 1.5)
            seen = exchanged(seen, frame > 20, frame > 20)  # from there on the network is wrong
            people = [seen]
            if frame == 21:
                part = pose(true + rng.normal(0, 0.5, true.shape))
                people.append(replace(part, score=part.score * arms, margin=None))
            given = sides.update(people, frame / FPS)[0]
            wrongs += any(wrong(given, true, part) for part in (ARMS, LEGS))
    assert wrongs <= 6


def test_more_frames_in_a_second_are_no_more_evidence():
    """How long the network must insist on other sides before they are believed."""
    took_s = []
    for fps in (30.0, 60.0, 120.0):
        rng, sides = np.random.default_rng(0), Sides()
        for frame in range(int(8 * fps)):
            true = walker(0.0) + rng.normal(0, 0.5, (18, 2))
            late = frame >= 2 * fps
            given = sides.update([exchanged(pose(true), late, late)], frame / fps)[0]
            if late and wrong(given, true, LEGS):
                took_s.append(frame / fps - 2)
                break
    assert len(took_s) == 3
    assert max(took_s) < 1.15 * min(took_s)


def test_people_are_not_mixed_up_and_keep_their_order():
    sides, shift = Sides(), np.array([150.0, 0])
    for frame in range(40):
        one, two = walker(frame / FPS), walker(frame / FPS) + shift
        swap = frame in (20, 21, 30)
        seen = [pose(two), exchanged(pose(one, 0.3 if swap else 1.0), swap, swap)]
        given = sides.update(seen, frame / FPS)
        np.testing.assert_array_equal(given[0].joints_px, seen[0].joints_px)
        assert not wrong(given[1], one, LEGS)


def test_exchanging_twice_changes_nothing_and_codes_go_with_their_joints():
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(18, 63)).astype(np.float32)
    one = PartialPose(rng.normal(size=(18, 2)), rng.random(18), codes, 0.5, rng.random(18))
    twice = exchanged(exchanged(one, True, True), True, True)
    np.testing.assert_array_equal(twice.joints_px, one.joints_px)
    np.testing.assert_array_equal(twice.codes, one.codes)
    once = exchanged(one, False, True)
    left, right = J2D["left_knee"], J2D["right_knee"]
    np.testing.assert_array_equal(once.joints_px[left], one.joints_px[right])
    bones = codes.reshape(18, 3, 21)
    np.testing.assert_array_equal(
        once.codes.reshape(18, 3, 21)[left], bones[right][:, list(FLIP3D)]
    )
    wrist = J2D["left_wrist"]
    np.testing.assert_array_equal(once.codes[wrist], one.codes[wrist])


def test_nobody_and_one_joint_are_taken():
    sides = Sides()
    assert sides.update([], 0.0) == []
    alone = PartialPose(np.zeros((18, 2)), np.eye(18)[4] * 0.5, np.zeros((18, 63)), 0.1)
    for frame in range(3):
        assert len(sides.update([alone], frame / FPS)) == 1


@pytest.mark.parametrize("facing", [SideOptions().facing, 0.0])
def test_legs_on_the_wrong_side_come_right_by_the_shoulders(facing):
    """Exchanged for good by a network that is surer of the arms; else they stay exchanged."""
    sides = Sides(SideOptions(facing=facing))
    margin = np.full(18, 0.3, np.float32)
    margin[[*ARMS, *(FLIP2D[j] for j in ARMS)]] = 1.5
    for frame in range(90):
        true = walker(frame / FPS, turn=0.3)
        seen = replace(exchanged(pose(true), False, True), margin=margin)
        given = sides.update([seen], frame / FPS)[0]
        assert not wrong(given, true, ARMS)
    assert wrong(given, true, LEGS) == (facing == 0)


@pytest.mark.parametrize("fps", [30, 60])
def test_a_network_that_is_mistaken_for_a_while_is_not_believed(fps):
    """Right for a second, then sure of the other sides for half of one: one event, not many."""
    sides, sure = Sides(), np.full(18, 2.0, np.float32)
    for frame in range(int(1.5 * fps)):
        true = walker(frame / fps, turn=0.3)
        seen = pose(true) if frame < fps else exchanged(pose(true), True, True)
        given = sides.update([replace(seen, margin=sure)], frame / fps)[0]
        assert not wrong(given, true, ARMS)
        assert not wrong(given, true, LEGS)


def test_who_was_seen_wrongly_first_comes_right():
    """Sure of the other sides for half a second; two seconds later the labels have changed."""
    sides, sure = Sides(), np.full(18, 2.0, np.float32)
    for frame in range(int(2.5 * FPS)):
        true = walker(frame / FPS, turn=0.3)
        seen = exchanged(pose(true), True, True) if frame < FPS / 2 else pose(true)
        given = sides.update([replace(seen, margin=sure)], frame / FPS)[0]
    assert not wrong(given, true, ARMS)
    assert not wrong(given, true, LEGS)


@pytest.mark.parametrize("fps", [2, 5, 8, 10, 15, 30, 60])
def test_right_labels_stay_whatever_the_frame_rate(fps):
    """A limb's way from frame to frame grows with the time between them."""
    wrongs = 0
    for seed in range(4):
        rng, sides = np.random.default_rng(seed), Sides()
        for frame in range(8 * fps):
            true = walker(frame / fps)
            seen = pose(true + rng.normal(0, 1.5, true.shape), 0.5)
            given = sides.update([seen], frame / fps)[0]
            wrongs += any(wrong(given, true, part) for part in (ARMS, LEGS))
    assert wrongs <= 0.02 * 4 * 8 * fps


def test_a_joint_that_is_no_number_is_absent():
    sides = Sides()
    for frame in range(3):
        seen = pose(walker(frame / FPS))
        seen.joints_px[J2D["left_knee"]] = np.nan
        given = sides.update([seen], frame / FPS)[0]
        assert given.score[J2D["left_knee"]] == 0
        assert np.isfinite(given.joints_px).all()
        assert (given.score > 0).sum() == 17


@pytest.mark.parametrize("hw", [(240, 320), (320, 427), (960, 1280)])
def test_pictures_that_change_their_size_change_no_side_and_no_place(hw):
    rng, scale = np.random.default_rng(5), np.array([hw[1] / 640, hw[0] / 480])
    plain, changed = Sides(), Sides()
    for frame in range(60):
        joints = walker(frame / FPS)
        seen = exchanged(pose(joints + rng.normal(0, 1.5, joints.shape), 0.4), *rng.random(2) < 0.3)
        places = SecondPlaces(seen.joints_px[list(FLIP2D)], 0.9 * seen.score, seen.codes)
        seen = replace(seen, second=places)
        (want,) = plain.update([seen], frame / FPS)
        if frame == 30:
            changed.resize((480, 640), hw)
        (got,) = changed.update([seen if frame < 30 else scaled_pose(seen, scale)], frame / FPS)
        want = want.joints_px if frame < 30 else scaled_points(want.joints_px, scale)
        np.testing.assert_allclose(got.joints_px, want, atol=1e-3)


def test_in_pictures_of_another_shape_sides_begin_anew():
    sides, true = Sides(), walker(0.2)
    for frame in range(30):
        sides.update([pose(true)], frame / FPS)
    turned = exchanged(pose(true), arms=True, legs=True)
    assert wrong(turned, true, LEGS)
    assert not wrong(sides.update([turned], 1.0)[0], true, LEGS)  # as long as places are known
    sides.resize((480, 640), (640, 480))
    assert wrong(sides.update([turned], 1.0 + 1 / FPS)[0], true, LEGS)
