"""Which of two places a joint is at, over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.test_sides import FPS, pose, walker, wrong
from xnect.sides import LEGS, Sides, exchanged
from xnect.skeleton import FLIP2D, J2D
from xnect.two_places import PlaceOptions, followed
from xnect.types import SecondPlaces

RIGHT, LEFT = J2D["right_ankle"], J2D["left_ankle"]
SIZE_PX = 200.0


def seen(true, *, at_twin=(), first=0.6, second=0.4):
    """Somebody whose joints `at_twin` have their best peak at the twin, the second at home."""
    person = pose(true)
    joints, score = person.joints_px.copy(), person.score.copy()
    places, value, codes = np.zeros((18, 2)), np.zeros(18), np.zeros((18, 63))
    for j in at_twin:
        joints[j], score[j] = true[FLIP2D[j]], first
        places[j], value[j], codes[j] = true[j], second, j + 1
    return replace(person, joints_px=joints, score=score, second=SecondPlaces(places, value, codes))


def follow(frames):
    """The people given out, of one person's frames."""
    paths, out = None, []
    for number, person in enumerate(frames):
        given, paths = followed(person, SIZE_PX, paths, number / FPS)
        out.append(given)
    return out


def test_an_ankle_that_jumps_to_the_other_foot_for_some_frames_stays_at_its_own():
    true = [walker(n / FPS) for n in range(40)]
    given = follow([seen(t, at_twin=(RIGHT,) if 19 <= n < 25 else ()) for n, t in enumerate(true)])
    for person, joints in zip(given, true, strict=True):
        np.testing.assert_allclose(person.joints_px, joints, atol=0.01)
    moved = given[22]
    assert moved.score[RIGHT] == pytest.approx(0.4)
    assert (moved.codes[RIGHT] == RIGHT + 1).all()  # read where the joint is
    np.testing.assert_allclose(moved.second.joints_px[RIGHT], true[22][LEFT], atol=0.01)


def test_a_place_that_stays_the_surer_one_wins_in_the_end():
    """It was wrong so far: no path is held for ever."""
    standing = walker(0.2)
    start = [seen(standing, at_twin=(RIGHT,), second=0.05)] * 5  # no other place to go to
    later = [
        replace(person, second=replace(person.second, joints_px=standing[FLIP2D,]))
        for person in [seen(standing)] * 60
    ]
    for person in later:
        person.second.score[RIGHT] = 0.5  # now the twin's foot is the second place, at 0.8
    given = follow(start + later)
    assert np.allclose(given[4].joints_px[RIGHT], standing[LEFT])
    assert np.allclose(given[-1].joints_px[RIGHT], standing[RIGHT])


def test_two_joints_on_one_foot_part_where_the_other_foot_looks_much_the_same():
    true = walker(0.2)
    for second, parts in ((0.58, True), (0.25, False)):
        (given,) = follow([seen(true, at_twin=(RIGHT,), second=second)])
        assert np.allclose(given.joints_px[RIGHT], true[RIGHT]) == parts


def test_left_and_right_are_treated_alike():
    frames = [seen(walker(n / FPS), at_twin=(RIGHT,) if n % 3 == 2 else ()) for n in range(20)]
    mirrored = [exchanged(person, True, True) for person in frames]
    for one, other in zip(follow(frames), follow(mirrored), strict=True):
        np.testing.assert_array_equal(
            exchanged(other, True, True).joints_px[2:14], one.joints_px[2:14]
        )


def test_absent_joints_stay_absent_and_people_without_second_places_as_they_are():
    true = walker(0.0)
    person = seen(true)
    person.score[RIGHT] = 0
    given = follow([person] * 3)[-1]
    assert given.score[RIGHT] == 0 and np.isfinite(given.joints_px).all()
    plain = pose(true)
    assert followed(plain, SIZE_PX, None, 0.0) == (plain, None)


def test_times_that_do_not_increase_begin_anew():
    true = walker(0.2)
    _, paths = followed(seen(true), SIZE_PX, None, 1.0)
    far = seen(true + 100, at_twin=(RIGHT,))
    given, _ = followed(far, SIZE_PX, paths, 1.0)
    alone, _ = followed(far, SIZE_PX, None, 1.0)
    np.testing.assert_array_equal(given.joints_px, alone.joints_px)


def test_in_a_stream_it_works_beside_exchanges_of_whole_legs():
    """Bursts in which one ankle lies on the other foot, and bursts of exchanged legs."""
    sides, doubled, exchanges = Sides(), 0, 0
    for n in range(90):
        true = walker(n / FPS)
        person = seen(true, at_twin=(RIGHT,) if n % 20 in (12, 13, 14) else ())
        if n % 20 in (5, 6):
            person = exchanged(replace(person, margin=np.full(18, 0.3)), False, True)
        given = sides.update([person], n / FPS)[0]
        apart = np.abs(true[RIGHT] - true[LEFT]).max()
        doubled += apart > 20 and not np.allclose(given.joints_px[RIGHT], true[RIGHT], atol=5)
        exchanges += wrong(given, true, LEGS)
    assert doubled <= 2 and exchanges <= 2


def test_without_second_places_it_does_nothing():
    true = walker(0.2)
    person = seen(true, at_twin=(RIGHT,), second=0.59)
    given, _ = followed(person, SIZE_PX, None, 0.0, PlaceOptions(second_at_least=9.0))
    np.testing.assert_array_equal(given.joints_px, person.joints_px)


def test_what_frames_say_counts_by_time_not_by_their_number():
    """So that a wrong peak needs as long to win at 240 frames in a second as at 30."""
    true = walker(0.2)
    away = true.copy()
    away[RIGHT] += (60, 0)
    value = np.zeros(18)
    value[RIGHT] = 0.45

    def somebody(first, second):
        places = SecondPlaces(second, value, np.zeros((18, 63)))
        score = np.full(18, 0.6, np.float32)
        return replace(pose(true), joints_px=first, score=score, second=places)

    at_home, elsewhere = somebody(true, away), somebody(away, true)

    def overruled_after_s(fps):
        paths = None
        for n in range(4 * fps):
            wrong_one = n >= 2 * fps
            person = elsewhere if wrong_one else at_home
            given, paths = followed(person, SIZE_PX, paths, n / fps)
            if wrong_one and np.abs(given.joints_px[RIGHT] - true[RIGHT]).max() > 1:
                return (n - 2 * fps) / fps
        return np.inf

    slow = overruled_after_s(30)
    assert 0.05 < slow < 1
    for fps in (60, 120, 240):
        assert overruled_after_s(fps) == pytest.approx(slow, abs=0.07)


@pytest.mark.parametrize("fps", [3, 5, 10, 30])
def test_a_surer_place_that_moves_is_followed_whatever_the_frame_rate(fps):
    """A walker's ankle goes farther between fewer frames; a spot that stands still does not win."""
    away, spot = [], walker(0.0)[RIGHT] + (0.3 * SIZE_PX, 0)
    paths = None
    for number in range(4 * fps):
        true = walker(number / fps)
        person = pose(true)
        places, value = np.zeros((18, 2)), np.zeros(18)
        places[RIGHT], value[RIGHT] = spot, 0.5
        person = replace(person, second=SecondPlaces(places, value, np.zeros((18, 63))))
        given, paths = followed(person, SIZE_PX, paths, number / fps)
        away.append(np.linalg.norm(given.joints_px[RIGHT] - true[RIGHT]) > 1)
    assert np.mean(away) < 0.02
