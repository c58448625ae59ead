"""Following people from frame to frame: who is missed is looked for, but not believed for ever."""

from dataclasses import replace

import numpy as np
import pytest

from tests.test_refine import somebody
from xnect.follow import Follow, FollowOptions, matched, same_share
from xnect.types import PartialPose

STEP = 1 / 30
OPTIONS = FollowOptions()


def moved(person: PartialPose, by: float) -> PartialPose:
    return replace(person, joints_px=person.joints_px + np.float32(by))


def test_who_was_found_is_looked_at_where_the_refiner_saw_them():
    follow, seen = Follow(), somebody((100, 100), 80.0)
    part = replace(moved(seen, 3), score=np.where(np.arange(18) < 8, 0.9, 0).astype(np.float32))
    follow.keep([seen], [seen], 0.0)
    where = follow.candidates([part], STEP)
    assert where.people == [part]
    assert where.boxes == [seen]
    assert where.found == 1


def test_a_box_that_lost_most_of_the_person_is_not_used():
    follow, collapsed = Follow(), somebody((100, 100), 40.0)
    follow.keep([collapsed], [collapsed], 0.0)
    whole = somebody((100, 100), 60.0)
    assert follow.candidates([whole], STEP).boxes == [whole]


def test_who_is_missed_is_followed_for_so_long():
    follow, person = Follow(), somebody((100, 100), 80.0)
    follow.keep([person], [person], 0.0)
    last = 0.0
    for n in range(1, 60):
        where = follow.candidates([], n * STEP)
        assert where.found == 0
        kept = follow.keep(where.people, [], n * STEP)
        last = n * STEP if kept else last
    assert last == pytest.approx(OPTIONS.alone_s, abs=STEP + 1e-9)


def test_stage_1_confirms_and_time_starts_anew():
    follow, person = Follow(), somebody((100, 100), 80.0)
    for n in range(90):
        found = [person] if n % 20 == 0 else []
        assert follow.keep(follow.candidates(found, n * STEP).people[:1], found, n * STEP)


def test_the_unsure_are_not_followed():
    follow, person = Follow(), somebody((100, 100), 80.0)
    follow.keep([person], [person], 0.0)
    faint = replace(person, score=np.full(18, OPTIONS.alone_at_least - 0.01, np.float32))
    assert follow.keep([faint], [], STEP) == []
    follow.keep([person], [person], 2 * STEP)
    assert follow.keep([faint], [moved(person, 2)], 3 * STEP) == [faint]


def test_a_pause_or_a_clock_that_runs_backwards_forgets():
    for time_s in (OPTIONS.remembered_s + 0.01, -0.5):
        follow, person = Follow(), somebody((100, 100), 80.0)
        follow.keep([person], [person], 0.0)
        assert follow.candidates([], time_s).people == []


def test_people_are_matched_one_to_one():
    people = [somebody((100 + 60 * i, 100), 80.0) for i in range(3)]
    others = [moved(people[2], 4), moved(people[0], 4)]
    assert matched(people, others, OPTIONS) == {0: 1, 2: 0}
    twice = [people[0], moved(people[0], 1)]
    assert len(matched(twice, [people[0]], OPTIONS)) == 1
    assert matched([], others, OPTIONS) == matched(people, [], OPTIONS) == {}


def test_the_share_is_the_same_both_ways_and_needs_common_joints():
    one, other = somebody((100, 100), 80.0), somebody((110, 104), 70.0)
    assert same_share(one, other, OPTIONS) == same_share(other, one, OPTIONS)
    assert same_share(one, one, OPTIONS) == 1.0
    few = replace(other, score=np.where(np.arange(18) < 2, 0.9, 0).astype(np.float32))
    assert same_share(one, few, OPTIONS) == 0.0


def test_beside_somebody_else_the_place_of_the_last_frame_is_not_believed():
    """There a look may have slipped to the other; a whole person's own box shows where to look."""
    follow, other = Follow(), somebody((134, 100), 80.0)
    slipped = somebody((115, 100), 80.0)
    follow.keep([slipped, other], [slipped, other], 0.0)
    whole = somebody((100, 100), 80.0)
    assert follow.candidates([whole, other], STEP).boxes == [whole, other]
    part = replace(whole, score=np.where(np.arange(18) < 8, 0.9, 0).astype(np.float32))
    assert follow.candidates([part, other], STEP).boxes[0] is slipped
    far = moved(other, 200)
    follow.keep([slipped, far], [slipped, far], STEP)
    assert follow.candidates([whole, far], 2 * STEP).boxes == [slipped, far]


def test_whom_the_refiner_alone_sees_at_the_place_of_a_confirmed_person_is_a_shadow():
    follow, person = Follow(), somebody((100, 100), 80.0)
    follow.keep([person, moved(person, 90)], [person, moved(person, 90)], 0.0)
    part = replace(person, joints_px=(person.joints_px - 100) * np.float32(0.5) + 105)
    for shadow in (moved(person, 6), part):  # a part of the body lies inside
        assert follow.keep([person, shadow], [person], STEP) == [person]
    away = moved(person, 90)
    assert follow.keep([person, away], [person], 2 * STEP) == [person, away]


def test_somebody_new_is_not_charged_for_the_time_before_and_the_clock_may_begin_anywhere():
    person, other = somebody((100, 100), 80.0), somebody((400, 100), 80.0)
    last = []
    for start_s in (0.0, 5.0, 1e6):
        follow = Follow()
        assert follow.keep([person], [], start_s) == [person]
        for n in range(1, 60):
            if not follow.keep(
                follow.candidates([], start_s + n * STEP).people, [], start_s + n * STEP
            ):
                break
        last.append(n)
        later = start_s + 60 * STEP + 10
        assert follow.keep([other], [], later) == [other]
    assert len(set(last)) == 1


@pytest.mark.parametrize("start_s", [0.0, 0.1, 1234.6])
def test_at_five_frames_per_second_the_last_frame_counts_whatever_rounding_does(start_s):
    follow, person = Follow(), somebody((100, 100), 80.0)
    for n in range(4):
        follow.keep([person], [person], start_s + n / 5)
        assert follow.candidates([], start_s + (n + 1) / 5).people == [person]


def test_who_is_missed_in_a_picture_of_another_size_is_looked_for_at_that_place():
    follow, person = Follow(), somebody((100, 100), 80.0)
    follow.keep([person], [person], 0.0)
    follow.resize((480, 640), (240, 320))
    (there,) = follow.candidates([], STEP).boxes
    np.testing.assert_allclose(there.joints_px, (person.joints_px + 0.5) / 2 - 0.5, atol=1e-4)
    (same,) = follow.candidates([somebody((49.75, 49.75), 40.0)], STEP).boxes
    assert same is there


def test_places_in_pictures_of_another_shape_are_forgotten():
    follow, person = Follow(), somebody((100, 100), 80.0)
    follow.keep([person], [person], 0.0)
    assert follow.search(0.0, 1.0)
    follow.resize((480, 640), (640, 480))
    assert follow.candidates([], STEP).people == []
    assert follow.search(STEP, 1.0)  # everybody may be elsewhere
