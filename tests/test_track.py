import numpy as np
import pytest

from xnect.appearance import torso_histogram, unlikeness
from xnect.errors import BadInput
from xnect.kinematics import RIG
from xnect.skeleton import J2D
from xnect.track import Tracker
from xnect.types import PartialPose, Pose3D

REST = (RIG.above @ RIG.offsets) * (1, -1, -1)
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 180, 30)}


def person(x_px: float, *, size: float = 120, y_px: float = 240, score: float = 0.8) -> Pose3D:
    """Somebody in T-pose around a pixel; `size` pixels per metre."""
    seen = REST[RIG.seen, :2] * size + (x_px, y_px)
    partial = PartialPose(seen, np.full(18, score), np.zeros((18, 63)), score)
    return Pose3D(partial, REST[:21].copy(), np.full(21, score))


def picture(*people: tuple[float, str]) -> np.ndarray:
    """Coloured torsos at x."""
    image = np.full((480, 640, 3), 120, np.uint8)
    for x, colour in people:
        image[180:250, max(0, int(x) - 30) : max(0, int(x) + 30)] = COLOURS[colour]
    return image


def near(tracks: list, x_px: float) -> int:
    """Identity of the track whose neck is nearest to x."""
    return min(tracks, key=lambda t: abs(t.pose.partial.joints_px[J2D["neck"], 0] - x_px)).track_id


def test_nobody_is_no_track() -> None:
    tracker = Tracker()
    assert tracker.match([], None, 0.0) == []
    assert tracker.match([], picture(), 0.1) == []


def test_a_sure_person_of_the_first_frame_is_given_out_at_once() -> None:
    tracks = Tracker().match([person(100), person(400, score=0.5)], None, 0.0)
    assert sorted(t.track_id for t in tracks) == [1, 2]
    assert all(t.missed_s == 0 and t.frames == 1 for t in tracks)


def test_an_unsure_newcomer_waits_and_a_flicker_is_never_given_out() -> None:
    tracker = Tracker()
    tracker.match([person(100)], None, 0.0)
    given = []
    for i in range(1, 8):
        poses = [person(100)] + ([person(300, score=0.3)] if i >= 2 else [])
        poses += [person(500, score=0.3)] if i == 3 else []  # one frame only
        given.append({t.track_id for t in tracker.match(poses, None, i / 30)})
    assert given == [{1}] * 3 + [{1, 2}] * 4


def test_two_people_who_cross_keep_their_identities() -> None:
    tracker, rng = Tracker(), np.random.default_rng(0)
    for i in range(91):
        left, right = 100 + 4.5 * i, 505 - 4.5 * i
        poses = [person(left), person(right)]
        if abs(left - right) < 40:
            poses = poses[:1]  # one hides the other
        rng.shuffle(poses)
        image = picture((right, "blue"), (left, "red"))
        tracks = tracker.match(poses, image, i / 30)
        if i == 0:
            first = near(tracks, left), near(tracks, right)
    assert (near(tracks, left), near(tracks, right)) == first
    assert len(tracks) == 2


def test_two_people_who_cross_keep_their_identities_by_motion_alone() -> None:
    tracker = Tracker()
    for i in range(91):
        left, right = 100 + 4.5 * i, 505 - 4.5 * i
        tracks = tracker.match([person(right), person(left)], None, i / 30)
        if i == 0:
            first = near(tracks, left), near(tracks, right)
    assert (near(tracks, left), near(tracks, right)) == first


@pytest.mark.parametrize("missed_s", [0.1, 0.9, 4.0])
def test_somebody_missed_for_a_while_is_the_same_person_again(missed_s: float) -> None:
    tracker = Tracker()
    image = picture((200, "red"), (400, "blue"))
    for i in range(10):
        tracks = tracker.match([person(200), person(400)], image, i / 30)
    first = near(tracks, 200), near(tracks, 400)
    back_s = 9 / 30 + missed_s
    for time_s in np.arange(10 / 30, back_s - 1e-6, 1 / 30):
        tracks = tracker.match([person(400)], picture((400, "blue")), time_s)
    assert (len(tracks) == 2) == (missed_s < 0.2)  # given out only shortly while missed
    tracks = tracker.match([person(210), person(400)], picture((210, "red"), (400, "blue")), back_s)
    assert (near(tracks, 210), near(tracks, 400)) == first


def test_a_stranger_in_other_clothes_gets_a_new_identity() -> None:
    tracker = Tracker()
    for i in range(10):
        tracker.match([person(200)], picture((200, "red")), i / 30)
    tracks = tracker.match([person(450)], picture((450, "green")), 3.0)
    assert [t.track_id for t in tracks] == [2]


def test_the_order_of_people_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    places = np.linspace(40, 1200, 20)
    one, other = Tracker(), Tracker()
    for i in range(8):
        poses = [person(x + 3 * i, size=40, score=0.7 + 0.01 * k) for k, x in enumerate(places)]
        a = one.match(poses, None, i / 30)
        b = other.match([poses[k] for k in rng.permutation(20)], None, i / 30)
        assert [t.track_id for t in a] == [t.track_id for t in b] == list(range(1, 21))
        for s, t in zip(a, b, strict=True):
            assert np.allclose(s.pose.partial.joints_px, t.pose.partial.joints_px)


def test_a_second_copy_of_a_person_is_no_new_person() -> None:
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.match([person(200), person(203, score=0.7)], None, i / 30)
    assert [t.track_id for t in tracks][:1] == [1]
    assert len(tracks) == 1


def test_time_that_does_not_increase_is_one_clear_sentence() -> None:
    tracker = Tracker()
    tracker.match([person(100)], None, 2.0)
    for time_s in (2.0, 1.0, float("nan")):
        with pytest.raises(BadInput, match="increase"):
            tracker.match([person(100)], None, time_s)
    assert [t.track_id for t in tracker.match([person(100)], None, 2.1)] == [1]


def test_a_jump_in_time_forgets_everybody() -> None:
    tracker = Tracker()
    for i in range(5):
        tracker.match([person(100)], picture((100, "red")), i / 30)
    assert tracker.match([], picture(), 1000.0) == []
    tracks = tracker.match([person(100, score=0.9)], picture((100, "red")), 1000.1)
    assert [t.track_id for t in tracks] == [2]


def test_a_person_of_whom_other_joints_are_seen_is_still_followed() -> None:
    tracker = Tracker()
    upper, lower = person(300), person(305)
    upper.partial.score[9:11] = upper.partial.score[12:14] = 0
    lower.partial.score[:8] = lower.partial.score[14:] = 0
    tracker.match([upper], None, 0.0)
    assert [t.frames for t in tracker.match([lower], None, 1 / 30)] == [2]


def test_filtered_joints_tremble_less_and_hold_no_memory_between_people() -> None:
    rng = np.random.default_rng(4)
    tracker, raw, out = Tracker(), [], []
    for i in range(60):
        pose = person(300)
        pose.partial.joints_px[:] += rng.normal(0, 2, (18, 2))
        raw.append(pose.partial.joints_px.copy())
        tracks = tracker.match([pose], picture(), i / 30)
        out.append(tracks[0].pose.partial.joints_px)
    shake = [np.diff(np.array(a)[20:], axis=0).std() for a in (raw, out)]
    assert shake[1] < 0.6 * shake[0]


def test_looks_tell_colours_apart_and_unseen_torsos_say_nothing() -> None:
    image = picture((100, "red"), (300, "blue"), (500, "red"))
    looks = np.stack([torso_histogram(image, person(x).partial) for x in (100, 300, 500)])
    distance = unlikeness(looks, looks)
    assert distance[0, 2] < 0.3
    assert distance[0, 1] > 0.6
    away = person(-2000)
    assert not torso_histogram(image, away.partial).any()
    hidden = person(100)
    hidden.partial.score[J2D["left_shoulder"]] = 0
    nothing = torso_histogram(image, hidden.partial)
    assert np.allclose(unlikeness(looks, nothing[None]), 0.5)


def test_bone_lengths_can_be_given_to_an_identity_only() -> None:
    tracker = Tracker()
    track = tracker.match([person(100)], None, 0.0)[0]
    tracker.set_lengths(1, track.lengths_m * 1.1)
    later = tracker.match([person(100)], None, 0.1)[0]
    assert np.allclose(later.lengths_m, track.lengths_m * 1.1)
    with pytest.raises(BadInput, match="no identity 7"):
        tracker.set_lengths(7, track.lengths_m)
    with pytest.raises(BadInput, match="positive"):
        tracker.set_lengths(1, np.zeros(21))
