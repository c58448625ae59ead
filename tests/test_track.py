from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.fakes import person as fake_person
from xnect.appearance import learned, torso_histogram, unlikeness, unlikeness_of_people
from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.kinematics import RIG
from xnect.resizing import scaled_points, scaled_pose
from xnect.skeleton import FACE, J2D
from xnect.track import Tracker, TrackOptions, _of_their_own
from xnect.track_extent import made_of
from xnect.track_match import assigned, in_turn
from xnect.track_return import shares
from xnect.types import PartialPose, Pose3D

REST = (RIG.above @ RIG.offsets) * (1, -1, -1)
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 180, 30)}


def person(
    x_px: float,
    *,
    size: float = 120,
    y_px: float = 240,
    score: float = 0.8,
    person_score: float | None = None,
) -> Pose3D:
    """Somebody in T-pose around a pixel; `size` pixels per metre."""
    seen = REST[RIG.seen, :2] * size + (x_px, y_px)
    whole = score if person_score is None else person_score
    partial = PartialPose(seen, np.full(18, score), np.zeros((18, 63)), whole)
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
    tracks = Tracker().match([person(100), person(400, score=0.65)], None, 0.0)
    assert sorted(t.track_id for t in tracks) == [1, 2]
    assert all(t.missed_s == 0 and t.frames == 1 for t in tracks)


def test_an_unsure_newcomer_waits_and_a_flicker_is_never_given_out() -> None:
    tracker = Tracker()
    tracker.match([person(100)], None, 0.0)
    given = []
    for i in range(1, 8):
        poses = [person(100)] + ([person(300, score=0.65, person_score=0.5)] if i >= 2 else [])
        poses += [person(500, score=0.65, person_score=0.5)] if i == 3 else []  # one frame only
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


def walked(
    drop: tuple[int, ...] = (), *, order: int = 0, shift_px: float = 0.0, scale: float = 1.0
) -> list[dict[int, int]]:
    """Identities by number of the walker, frame for frame: three people, two of whom cross."""
    tracker, rng, out = Tracker(), np.random.default_rng(order), []
    for i in range(60):
        places = [60 + 6 * i, 420 - 6 * i, 560.0]
        colours = ("red", "blue", "green")
        poses = [person(scale * x + shift_px, size=120 * scale, y_px=240 * scale) for x in places]
        order_now = rng.permutation(3) if order else np.arange(3)
        shown = [] if i in drop else [poses[k] for k in order_now]
        image = np.full((int(480 * scale), int(640 * scale) + 200, 3), 120, np.uint8)
        for x, colour in zip(places, colours, strict=True):
            low = max(0, int((x - 30) * scale + shift_px))
            high = max(0, int((x + 30) * scale + shift_px))
            image[int(180 * scale) : int(250 * scale), low:high] = COLOURS[colour]
        tracks = tracker.match(shown, image, i / 30)
        necks = {t.track_id: t.pose.partial.joints_px[J2D["neck"], 0] for t in tracks}
        if i not in drop:
            wanted = [scale * x + shift_px for x in places]
            out.append(
                {k: min(necks, key=lambda n: abs(necks[n] - x)) for k, x in enumerate(wanted)}
                if min(abs(wanted[0] - wanted[1]), 1e9) > 60 * scale
                else {}
            )
    return [frame for frame in out if frame]


@pytest.mark.parametrize("seed", range(6))
def test_missed_frames_never_split_a_take(seed: int) -> None:
    """Any frames may be missing, up to half a second at a time."""
    rng = np.random.default_rng(seed)
    drop = set(rng.choice(np.arange(3, 60), 8, replace=False).tolist())
    start = int(rng.integers(3, 45))
    drop |= set(range(start, start + int(rng.integers(2, 10))))
    frames = walked(tuple(drop))
    assert all(frame == frames[0] for frame in frames)
    assert sorted(frames[0].values()) == [1, 2, 3]


def test_order_place_and_size_of_the_picture_do_not_matter() -> None:
    reference = walked()
    assert len({tuple(sorted(f.items())) for f in reference}) == 1
    names = reference[0]
    for other in (walked(order=5), walked(shift_px=90), walked(scale=0.5)):
        assert all(set(f.values()) == set(names.values()) and f == other[0] for f in other)
        assert len(other) == len(reference)


def test_two_people_merged_into_one_come_apart_as_they_were() -> None:
    tracker = Tracker()
    for i in range(50):
        left, right = 150 + 4 * i, 346 - 4 * i
        poses = [person(left), person(right)]
        if 18 <= i < 30:  # the upper body of one on the legs of the other
            poses[0].partial.joints_px[8:14] = poses[1].partial.joints_px[8:14]
            poses = poses[:1]
        tracks = tracker.match(poses, picture((right, "blue"), (left, "red")), i / 30)
        if i == 0:
            first = near(tracks, left), near(tracks, right)
    assert (near(tracks, left), near(tracks, right)) == first
    assert len(tracks) == 2


def test_a_pose_that_jumps_away_and_back_takes_nobody_with_it() -> None:
    tracker = Tracker()
    for i in range(20):
        x = 1800 if i == 10 else 200
        tracks = tracker.match([person(x), person(500)], picture((x, "red"), (500, "blue")), i / 30)
        if i == 0:
            first = near(tracks, 200), near(tracks, 500)
    assert (near(tracks, 200), near(tracks, 500)) == first


def test_a_single_visible_joint_is_followed_and_breaks_nothing() -> None:
    tracker, one = Tracker(), person(300)
    tracker.match([person(300)], picture((300, "red")), 0.0)
    for i in range(1, 10):
        one = person(300)
        one.partial.score[:] = 0
        one.partial.score[J2D["left_wrist"]] = 0.9
        tracks = tracker.match([one], picture((300, "red")), i / 30)
        assert [t.track_id for t in tracks] == [1]
        assert np.isfinite(tracks[0].pose.partial.joints_px).all()
    nothing = person(300)
    nothing.partial.score[:] = 0
    assert len(tracker.match([nothing], picture((300, "red")), 1 / 3)) == 1


def test_who_is_there_keeps_the_pose_when_a_hidden_one_would_take_it() -> None:
    """Nobody is pushed to a poor pose so that one more person has one."""
    tracker = Tracker()
    for i in range(10):
        first = tracker.match([person(200), person(260)], None, i / 30)
    ids = near(first, 200), near(first, 260)
    for i in range(10, 16):  # the left one hides; somebody else comes from the right
        tracks = tracker.match([person(260), person(330)], None, i / 30)
        seen = [t for t in tracks if t.missed_s == 0]
        assert near(seen, 260) == ids[1]
    assert near(seen, 330) not in ids


def test_a_doubtful_return_is_a_new_person_and_no_theft() -> None:
    """Two in the same clothes leave; who comes back midway between them may be either."""
    tracker = Tracker()
    for i in range(10):
        tracker.match([person(200), person(400)], picture((200, "red"), (400, "red")), i / 30)
    given = []
    for i in range(15):
        tracks = tracker.match([person(300)], picture((300, "red")), 3 + i / 30)
        given.append([t.track_id for t in tracks])
    assert given[0] == []  # waits while in doubt
    assert given[-1] == [3]


def test_who_returns_to_one_of_two_places_is_who_was_there() -> None:
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.match(
            [person(60), person(580)], picture((60, "red"), (580, "red")), i / 30
        )
    ids = near(tracks, 60), near(tracks, 580)
    tracks = tracker.match([person(580)], picture((580, "red")), 1.6)
    assert [t.track_id for t in tracks] == [ids[1]]


def test_looks_behind_somebody_are_not_taken_for_ones_own() -> None:
    """The colours at a covered torso are those of who stands before it."""
    tracker = Tracker()
    for i in range(10):
        tracker.match([person(200)], picture((200, "red")), i / 30)
    for i in range(10, 20):  # a nearer one in blue before her
        tracker.match([person(200), person(210, size=200)], picture((210, "blue")), i / 30)
    for i in range(20, 40):
        tracker.match([], picture(), i / 30)
    tracks = tracker.match([person(200)], picture((200, "red")), 2.5)
    assert [t.track_id for t in tracks] == [1]


def test_views_of_a_person_are_few_and_the_same_view_is_one() -> None:
    views = np.zeros((7, 30, 30))
    for k in range(7):
        views[k, 4 * k, 5] = 1.0
    gallery = views[:0]
    for k in (0, 0, 1, 1, 0):
        gallery = learned(gallery, views[k], rate=0.1, most=4)
    assert len(gallery) == 2
    for view in views:
        gallery = learned(gallery, view, rate=0.1, most=4)
    assert len(gallery) == 4
    assert unlikeness(gallery, views[-1:]).min() < 1e-6
    assert learned(gallery, np.zeros((30, 30)), rate=0.1, most=4) is gallery
    both = unlikeness_of_people([gallery, views[:0]], views[-1:])
    assert np.allclose(both[:, 0], [0, 0.5], atol=1e-6)


def test_a_limb_that_comes_loose_is_no_new_person() -> None:
    tracker = Tracker()
    for i in range(20):
        limb = person(500)
        limb.partial.score[:] = 0
        limb.partial.score[2:5] = 0.9
        poses = [person(100), limb] if i >= 3 else [person(100)]
        assert [t.track_id for t in tracker.match(poses, None, i / 30)] == [1]
    tracks = tracker.match([person(100), person(500)], None, 21 / 30)
    assert [t.track_id for t in tracks] == [1, 2]  # the rest of the body comes into sight


def test_hidden_legs_make_nobody_doubtful() -> None:
    """Guesses of what a table hides are doubtful joints of a person who is there."""
    tracker = Tracker()
    for i in range(30):
        half = person(500)
        half.partial.score[8:14] = 0.11  # hips, knees, ankles
        tracks = tracker.match([person(100), half], None, i / 30)
    assert [t.track_id for t in tracks] == [1, 2]


def test_a_mixture_of_two_people_for_one_frame_is_no_new_person() -> None:
    """However sure it is: between people who overlap only what lasts is somebody."""
    tracker = Tracker()
    for i in range(20):
        poses = [person(200), person(300)] + ([person(250, score=0.9)] if i == 10 else [])
        assert [t.track_id for t in tracker.match(poses, None, i / 30)] == [1, 2]


def test_people_who_turn_back_where_they_meet_keep_their_identities() -> None:
    """Unseen colours; motion alone takes them for crossing."""
    tracker, given = Tracker(), []
    for i in range(70):
        near_px = 150 + 4 * i if i < 36 else 150 + 4 * (72 - i)
        left, right = near_px, 600 - near_px
        poses = [person(left), person(right)]
        if 30 <= i < 42:
            poses = poses[:1]  # one hides the other
        image = None if 28 <= i < 46 else picture((right, "blue"), (left, "red"))
        tracks = tracker.match(poses, image, i / 30)
        given.append((near(tracks, left), near(tracks, right)))
    assert given[0] == given[-1]
    assert {t.track_id for t in tracks} == set(given[0])
    wrong = [i for i, pair in enumerate(given) if i >= 46 and pair != given[0]]
    assert not wrong or max(wrong) < 46 + 2 * TrackOptions().lately_frames


def test_putting_right_takes_the_fitted_people_along() -> None:
    tracker = Tracker(TrackOptions(weight_looks=0.0, weight_size=0.0))
    for i in range(20):
        tracks = tracker.match(
            [person(200), person(300)], picture((200, "red"), (300, "blue")), i / 30
        )
    ids = near(tracks, 200), near(tracks, 300)
    for i in range(20, 40):  # they stand in each other's way, then the colours are exchanged
        places = (240, 260) if i < 26 else (200, 300)
        image = None if i < 26 else picture((200, "blue"), (300, "red"))
        tracks = tracker.match([person(x) for x in places], image, i / 30)
    assert (near(tracks, 300), near(tracks, 200)) == ids


def test_what_is_known_of_a_stature_goes_with_the_identity_and_comes_back_with_it() -> None:
    tracker = Tracker()
    for i in range(10):
        (track,) = tracker.match([person(200)], picture((200, "red")), i / 30)
    assert track.stature_sd_m is None
    tracker.set_lengths(track.track_id, 0.9 * track.lengths_m, stature_sd_m=0.04)
    tracker.set_lengths(track.track_id, 0.8 * track.lengths_m)
    for time_s in 1.5 + np.arange(10) / 30:  # away for longer than people are matched by place
        back = tracker.match([person(200)], picture((200, "red")), time_s)
    assert [t.track_id for t in back] == [track.track_id]
    assert back[0].stature_sd_m == 0.04
    np.testing.assert_allclose(back[0].lengths_m, 0.8 * track.lengths_m)


def test_foliage_is_nobody_and_a_person_who_gets_doubtful_comes_back_as_the_same() -> None:
    tracker = Tracker()
    for i in range(60):
        tracks = tracker.match([person(100), person(500, score=0.33)], None, i / 30)
        assert [t.track_id for t in tracks] == [1]
    for i in range(60, 160):
        tracks = tracker.match([person(100, score=0.25)], None, i / 30)
    assert tracks == []
    for i in range(160, 220):
        tracks = tracker.match([person(100)], None, i / 30)
    assert [t.track_id for t in tracks] == [1]


def test_a_cut_that_teleports_everybody_breaks_nothing() -> None:
    rng, tracker = np.random.default_rng(1), Tracker()
    for cut in range(6):
        places = rng.permutation(np.linspace(60, 1800, 8))[:4]
        for i in range(10):
            time_s = (10 * cut + i) / 30
            tracks = tracker.match([person(x, size=60) for x in places], None, time_s)
            ids = [t.track_id for t in tracks]
            assert len(set(ids)) == len(ids)
            assert all(np.isfinite(t.pose.partial.joints_px).all() for t in tracks)
        seen = [t for t in tracks if t.missed_s == 0]
        assert sorted(round(t.pose.partial.joints_px[J2D["neck"], 0]) for t in seen) == sorted(
            round(x) for x in places
        )


def test_probabilities_of_returns_leave_room_for_somebody_new() -> None:
    unlikely = np.array([[0.1, 3.0, np.inf], [0.1, 0.2, np.inf]])
    share = shares(unlikely, 2.5)
    assert (share.sum(0) < 1).all() and (share.sum(1) < 1).all()
    assert share[1, 1] < 0.6 < shares(unlikely[:1, :1], 2.5)[0, 0]
    assert not share[:, 2].any()


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("seen_colours", [True, False])
def test_a_person_found_elsewhere_for_a_moment_is_nobody_new(
    frames: int, seen_colours: bool
) -> None:
    tracker = Tracker()
    for i in range(40):
        x = 1100 if 20 <= i < 20 + frames else 200 + i
        image = picture((200 + i, "red")) if seen_colours else None
        tracks = tracker.match([person(x)], image, i / 30)
        assert [t.track_id for t in tracks] == [1]
    assert tracks[0].missed_s == 0


@pytest.mark.parametrize("merged", [3, 8, 15])
@pytest.mark.parametrize("seen_colours", [True, False])
def test_crossing_people_found_as_one_body_between_them_keep_their_identities(
    merged: int, seen_colours: bool
) -> None:
    """The one body jumps to the middle of the two: whoever takes it is not where it was going."""
    tracker = Tracker()
    for i in range(60):
        left, right = 132 + 6 * i, 492 - 6 * i
        poses = [person(left, size=118), person(right, size=122)]
        if abs(i - 30) <= merged // 2:
            x = 0.3 * left + 0.7 * right  # mostly of the one in front
            poses = [person(x, size=122, score=0.9)]
        image = picture((left, "red"), (right, "blue")) if seen_colours else None
        tracks = tracker.match(poses, image, i / 30)
        if i == 0:
            first = near(tracks, left), near(tracks, right)
    assert (near(tracks, left), near(tracks, right)) == first
    assert [t.track_id for t in tracks] == [1, 2]


@pytest.mark.parametrize(("colour", "known"), [("red", True), ("green", False)])
def test_who_is_back_at_the_place_after_five_seconds_is_known_by_the_clothes(
    colour: str, known: bool
) -> None:
    tracker = Tracker()
    for i in range(30):
        poses = [person(200, score=0.6), person(450)]
        tracks = tracker.match(poses, picture((200, "red"), (450, "blue")), i / 30)
    gone = near(tracks, 200)
    for i in range(30, 180):
        tracks = tracker.match([person(450)], picture((450, "blue")), i / 30)
    assert len(tracks) == 1
    for i in range(180, 210):
        poses = [person(208, size=114, score=0.6), person(450)]
        tracks = tracker.match(poses, picture((208, colour), (450, "blue")), i / 30)
    assert len(tracks) == 2
    assert (near(tracks, 208) == gone) == known


def test_a_doubtful_body_beside_somebody_gets_a_number_only_when_it_stays() -> None:
    """Parts of two people make a third one for some frames."""
    for lasts, wanted in ((8, {1}), (60, {1, 2})):
        tracker, given = Tracker(), set()
        for i in range(60):
            poses = [person(100)] + ([person(150, score=0.6)] if 5 <= i < 5 + lasts else [])
            given |= {t.track_id for t in tracker.match(poses, None, i / 30)}
        assert given == wanted


def test_an_exchange_takes_sizes_along_and_changes_nothing_that_is_seen() -> None:
    """An adult and a child: what was given out of each last is as large as its identity is."""
    from dataclasses import replace

    from tests.fakes import person as fake_person
    from xnect.calib.camera import Camera
    from xnect.skeleton import BODY
    from xnect.track_meet import _exchange
    from xnect.track_memory import newborn, resized

    camera, bodies = Camera.guess(480, 640), []
    for track_id, size in ((1, 1.1), (2, 0.7)):
        fitted = fake_person(track_id, 0.0, 4.0 * size, camera)
        fitted = resized(fitted, size, fitted.root_m)
        body = newborn(person(100.0 * track_id), np.zeros((30, 30)), 0.0, 0.0, 1.0, TrackOptions())
        body.track_id, body.lengths_m = track_id, size * BODY.lengths_m
        body.previous = replace(fitted, track_id=track_id)
        body.root_velocity_m_s = np.array([0.1, 0.0, 0.4])
        bodies.append(body)
    before = [body.previous for body in bodies]
    _exchange(*bodies)
    for body, was, ratio in zip(bodies, before, (0.7 / 1.1, 1.1 / 0.7), strict=True):
        assert body.previous.track_id == body.track_id != was.track_id
        np.testing.assert_allclose(body.previous.bone_lengths_m, was.bone_lengths_m * ratio)
        np.testing.assert_allclose(
            camera.project(body.previous.joints3d_m), camera.project(was.joints3d_m), atol=1e-6
        )
        np.testing.assert_allclose(body.root_velocity_m_s, np.array([0.1, 0, 0.4]) * ratio)


@pytest.mark.parametrize("step_s", [0.04, 0.2, 0.5, 1.2, 3.0])
def test_people_stay_who_they_are_however_slowly_frames_come(step_s: float) -> None:
    tracker = Tracker()
    for i in range(8):
        poses = [person(100 + 4 * i), person(320), person(540 - 4 * i)]
        tracks = tracker.match(poses, None, 0.1 + i * step_s)
        assert [t.track_id for t in tracks] == [1, 2, 3]
        assert [near(tracks, x) for x in (100, 320, 540)] == [1, 2, 3]


@pytest.mark.parametrize(("least_s", "most_s"), [(0.6, 1.4), (0.8, 1.3), (1.5, 2.6), (3.0, 5.0)])
def test_nobody_who_stays_is_lost_where_slow_frames_come_unevenly(least_s, most_s) -> None:
    tracker = Tracker()
    steps = np.random.default_rng(1).uniform(least_s, most_s, 60)
    steps[30] = 2 * np.median(steps[25:30])  # a frame is missed
    for time_s in np.cumsum(steps):
        poses = [person(x, person_score=0.5) for x in (150, 450)]
        tracks = tracker.match(poses, None, time_s)
        assert [t.track_id for t in tracks] == [1, 2]


@pytest.mark.parametrize("step_s", [1 / 30, 0.5, 1.0])
def test_over_a_pause_nobody_is_matched_by_place(step_s) -> None:
    tracker = Tracker()
    for i in range(10):
        tracker.match([person(300)], picture((300, "red")), i * step_s)
    for i in range(4):
        image = picture((300, "green"))
        tracks = tracker.match([person(300)], image, 9 * step_s + 5.0 + i * step_s)
    assert [t.track_id for t in tracks] == [2]


@pytest.mark.parametrize("start_s", [0.0, 0.1, 7.7, 1234.6])
def test_who_is_missed_for_one_of_five_frames_in_a_second_is_given_out(start_s: float) -> None:
    tracker = Tracker()
    given = [
        len(tracker.match([] if i == 4 else [person(100)], None, start_s + i / 5)) for i in range(8)
    ]
    assert given == [1] * 8


def test_lengths_that_are_no_numbers_are_one_sentence() -> None:
    tracker = Tracker()
    track = tracker.match([person(100)], None, 0.0)[0]
    for bad in (np.inf, np.nan):
        lengths = track.lengths_m.copy()
        lengths[3] = bad
        with pytest.raises(BadInput, match="positive numbers"):
            tracker.set_lengths(1, lengths)


@pytest.mark.parametrize("fps", [15, 30, 60, 240])
def test_what_was_given_before_is_a_frame_of_thirty_older_whatever_the_frame_rate(fps) -> None:
    """Speeds of feet and turns are told from it: of nearer frames they would tell noise only."""
    tracker = Tracker()
    for i in range(fps):
        track = tracker.match([person(100)], None, i / fps)[0]
        if i / fps > 0.1:
            between_s = track.previous_time_s - track.before_time_s
            assert between_s == pytest.approx(max(1 / 30, 1 / fps), abs=1e-6)
            assert track.before.root_m[0] == pytest.approx(track.before_time_s)
        fitted = fake_person(track.track_id, 0.0, 4.0, Camera.guess(480, 640))
        tracker.remember([replace(fitted, root_m=np.array([i / fps, 0, 4.0]))])


def test_those_who_wait_take_nothing_from_the_others() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost = rng.uniform(0, 1.2, (5, 4))
        waits = rng.random(5) < 0.5
        pairs = in_turn(cost, waits.tolist(), 0.8)
        first = np.flatnonzero(~waits)
        named = [(int(first[r]), c) for r, c in assigned(cost[first], 0.8)]
        assert [pair for pair in pairs if not waits[pair[0]]] == named
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        assert all(cost[pair] < 0.8 for pair in pairs)
    assert in_turn(cost, [False] * 5, 0.8) == assigned(cost, 0.8)
    assert in_turn(np.zeros((2, 0)), [True, False], 0.8) == []


def test_a_slip_beside_somebody_does_not_take_over_the_number() -> None:
    """Once the networks see two where one is; then the slip is as near to him as his own past."""
    tracker, given = Tracker(), []
    for i in range(40):
        away = 12 if i % 8 < 4 else -12  # he sways; the slip is where he is next
        poses = [person(200 + away)]
        if i in (10, 11):
            poses.append(person(240, score=0.65, person_score=0.5))
        elif i > 11:
            poses = [person(240 + away)]
        given.append({t.track_id for t in tracker.match(poses, None, i / 30)})
    assert given == [{1}] * 40


def half(pose: Pose3D, other: Pose3D) -> Pose3D:
    """The face of one on the body of the other."""
    joints = other.partial.joints_px.copy()
    joints[FACE] = pose.partial.joints_px[FACE]
    return replace(other, partial=replace(other.partial, joints_px=joints))


def test_the_face_of_one_on_the_body_of_another_is_nobody() -> None:
    one, other = person(200), person(420)
    mixed = half(one, other)
    mixed = replace(mixed, partial=replace(mixed.partial, person_score=0.5))
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.match([one, other, mixed], None, i / 30)
        assert [t.track_id for t in tracks] == [1, 2]


def test_how_much_of_somebody_is_made_of_others() -> None:
    one, other, apart = (person(x).partial for x in (200, 420, 310))
    mixed = half(person(200), person(420)).partial
    assert made_of(mixed, [one, other], 0.25) == pytest.approx(1)
    assert made_of(mixed, [other], 0.25) == pytest.approx(13 / 18)
    assert made_of(apart, [one, other], 0.25) == 0
    assert made_of(one, [], 0.25) == 0
    absent = replace(other, score=np.zeros(18))
    assert made_of(other, [absent], 0.25) == 0
    assert made_of(absent, [other], 0.25) == 0
    doubled = [replace(p, joints_px=2 * p.joints_px) for p in (mixed, one, other)]
    assert made_of(doubled[0], doubled[1:], 0.25) == pytest.approx(1)  # by size, not by pixels


def in_picture(pose: Pose3D, hw: tuple[int, int]) -> Pose3D:
    """Somebody of a picture of 480 x 640 in one of another size."""
    scale = np.array([hw[1] / 640, hw[0] / 480])
    return replace(pose, partial=scaled_pose(pose.partial, scale))


def resized(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, (hw[1], hw[0]), interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("hw", [(240, 320), (322, 429), (960, 1280), (60, 80)])
def test_pictures_that_change_their_size_change_nothing_else(hw: tuple[int, int]) -> None:
    """Who walks, stands, is missed for some frames, or is new goes on as in unchanged pictures."""
    plain, changed = Tracker(), Tracker()
    scale = np.array([hw[1] / 640, hw[0] / 480])
    for i in range(40):
        poses = [person(100 + 8 * i, score=0.7 + 0.01 * (i % 5)), person(560)]
        poses = poses[1:] if 13 <= i <= 17 else poses
        poses += [person(330, size=80, score=0.65, person_score=0.5)] if i >= 14 else []
        image = picture((560, "blue"), (330, "green"), (100 + 8 * i, "red"))
        small = i >= 15
        want = plain.match(poses, image, i / 30)
        got = changed.match(
            [in_picture(p, hw) for p in poses] if small else poses,
            resized(image, hw) if small else image, i / 30,
        )  # fmt: skip
        assert [t.track_id for t in got] == [t.track_id for t in want]
        assert [t.missed_s for t in got] == [t.missed_s for t in want]
        for a, b in zip(got, want, strict=True):
            joints = b.pose.partial.joints_px
            joints = scaled_points(joints, scale) if small else joints
            np.testing.assert_allclose(a.pose.partial.joints_px, joints, atol=1e-6)
            assert (a.previous is None) == (b.previous is None)
            if a.previous is not None:
                joints = b.previous.joints2d_px
                joints = scaled_points(joints, scale) if small else joints
                there = b.previous.joints2d_score > 0
                np.testing.assert_allclose(a.previous.joints2d_px[there], joints[there])
        for tracker, tracks, now_hw in ((plain, want, (480, 640)), (changed, got, hw)):
            camera = Camera.guess(480, 640).resized(*(now_hw if small else (480, 640)))
            tracker.remember([fake_person(t.track_id, 0.0, 4.0, camera) for t in tracks])
    assert [t.track_id for t in got] == [1, 2, 3]


def turned(places: list[tuple[float, str]]) -> tuple[list[Pose3D], np.ndarray]:
    """People and picture after the phone was turned: upright, of another shape."""
    image = np.full((640, 480, 3), 120, np.uint8)
    for x, colour in places:
        image[180:250, int(x) - 30 : int(x) + 30] = COLOURS[colour]
    return [person(x) for x, _ in places], image


def test_in_pictures_of_another_shape_people_come_back_by_their_looks() -> None:
    tracker = Tracker()
    for i in range(15):
        tracks = tracker.match(
            [person(150), person(450)], picture((150, "red"), (450, "blue")), i / 30
        )
        tracker.remember(
            [fake_person(t.track_id, 0.0, 4.0, Camera.guess(480, 640)) for t in tracks]
        )
    poses, image = turned([(120, "blue"), (360, "red")])
    for i in range(15, 30):
        tracks = tracker.match(poses, image, i / 30)
        assert (near(tracks, 360), near(tracks, 120)) == (1, 2)
        assert len(tracks) == 2
        assert all(t.previous is None for t in tracks)  # the camera is another one


def test_in_pictures_of_another_shape_people_alike_are_new_and_nobody_is_there_twice() -> None:
    tracker, given = Tracker(), []
    for i in range(15):
        tracker.match([person(150), person(450)], picture((150, "red"), (450, "red")), i / 30)
    poses, image = turned([(120, "red"), (360, "red")])
    for i in range(15, 40):
        given.append([t.track_id for t in tracker.match(poses, image, i / 30)])
    assert max(len(ids) for ids in given) == 2
    assert given[-1] == given[-10]
    assert len(given[-1]) == 2


def test_a_second_look_at_the_nearer_one_draws_no_number_over() -> None:
    tracker, near_px, far_px = Tracker(), 200.0, 300.0
    for i in range(30):
        hidden = 10 <= i < 20
        sway = 1.0 * (i - 19) if hidden else 0.0  # the copy is where the nearer one will be
        one, other = person(near_px + sway), person(far_px)
        if hidden:
            other = half(other, person(near_px))
            partial = replace(other.partial, person_score=0.5, score=np.full(18, 0.6))
            partial.score[FACE] = 0.1
            other = replace(other, partial=partial)
        tracks = tracker.match([one, other], None, i / 30)
        if i == 0:
            first = near(tracks, near_px), near(tracks, far_px)
    assert (near(tracks, near_px), near(tracks, far_px)) == first


def test_poses_of_their_own_are_kept_in_their_order() -> None:
    poses = [person(x) for x in (420, 120, 270)]
    assert _of_their_own(poses, TrackOptions()) == poses
    copies = [replace(p, partial=replace(p.partial, person_score=0.3)) for p in poses]
    assert _of_their_own([*copies, *poses], TrackOptions()) == poses
