"""Drawings: what is drawn, where, and that nothing a result may hold breaks them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakePipeline
from hypothesis import given
from hypothesis import strategies as st

from xnect.draw import COLOURS, colour_of, draw_result, draw_scene, follow
from xnect.skeleton import J3D
from xnect.types import Frame, Result


def result_of(people: int, hw: tuple[int, int] = (120, 160), index: int = 0) -> Result:
    frame = Frame(index, 0.0, np.zeros((*hw, 3), np.uint8))
    (result,) = FakePipeline(people).stream([frame])
    return result


def changed(result: Result, image: np.ndarray) -> np.ndarray:
    return np.flatnonzero((draw_result(image, result) != image).any(-1))


def test_the_given_picture_is_not_changed() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    drawn = draw_result(image, result_of(3))
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


def test_nobody_means_the_picture_itself() -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    np.testing.assert_array_equal(draw_result(image, result_of(0, (30, 40))), image)


def test_every_joint_that_was_seen_is_marked_and_no_other() -> None:
    result = result_of(1, (240, 320))
    (person,) = result.people
    seen = person.joints2d_px[person.joints2d_score > 0]
    inside = seen[((seen >= 0) & (seen < (320, 240))).all(1)]
    drawn = draw_result(np.zeros((240, 320, 3), np.uint8), result)
    for x, y in np.rint(inside).astype(int):
        assert (drawn[y, x] > 200).all()
    hidden = replace(person, joints2d_score=np.zeros(18))
    nobody = replace(result, people=(hidden,))
    assert not changed(nobody, np.zeros((240, 320, 3), np.uint8)).size


def test_distances_of_a_guessed_camera_are_marked_and_those_of_a_known_one_are_not() -> None:
    guessed = result_of(1, (240, 320))
    known = replace(guessed, camera=replace(guessed.camera, calibrated=True))
    assert not guessed.camera.calibrated
    black = np.zeros((240, 320, 3), np.uint8)
    corner = (slice(225, None), slice(0, 100))
    far = replace(guessed.people[0], joints2d_px=guessed.people[0].joints2d_px * 0 + (280, 60))
    marked, plain = (
        draw_result(black, replace(r, people=(far,)))[corner].any() for r in (guessed, known)
    )
    assert marked and not plain


def test_neighbouring_identities_have_different_colours() -> None:
    assert len({colour_of(i) for i in range(1, len(COLOURS) + 1)}) == len(COLOURS)
    assert colour_of(0) in COLOURS
    assert colour_of(len(COLOURS) + 1) == colour_of(1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e6])
def test_absurd_numbers_do_not_break_a_drawing(value: float) -> None:
    result = result_of(2)
    first, second = result.people
    for broken in (
        replace(first, joints2d_px=np.full((18, 2), value)),
        replace(first, joints3d_m=np.full((21, 3), value), root_m=np.full(3, value)),
    ):
        absurd = replace(result, people=(broken, second))
        image = np.zeros((120, 160, 3), np.uint8)
        assert changed(absurd, image).size  # the other person is still there
        assert draw_scene(absurd, hw=(90, 90)).shape == (90, 90, 3)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4))
def test_every_size_of_picture_can_be_drawn_on(height: int, width: int, people: int) -> None:
    result = result_of(people, (height, width))
    image = np.zeros((height, width, 3), np.uint8)
    assert draw_result(image, result).shape == image.shape
    assert draw_scene(result, hw=(height, width)).shape == image.shape


def test_the_scene_shows_each_person_in_its_colour() -> None:
    scene = draw_scene(result_of(3), hw=(300, 300)).reshape(-1, 3)
    for track_id in (1, 2, 3):
        assert (scene == colour_of(track_id)).all(1).sum() > 20
    empty = draw_scene(result_of(0), hw=(300, 300)).reshape(-1, 3)
    assert not (empty == colour_of(1)).all(1).any()


def test_in_the_scene_up_is_up_and_the_left_of_a_person_who_faces_us_is_right() -> None:
    from xnect.draw import _Lens

    result = result_of(1)
    view = replace(follow(result, None), azimuth_rad=0.0, elevation_rad=0.0)
    lens = _Lens(view, (300, 300))
    pixels = lens.pixels(lens.local_m(result.people[0].joints3d_m))
    assert pixels[J3D["head_top"], 1] < pixels[J3D["pelvis"], 1] < pixels[J3D["left_foot"], 1]
    assert pixels[J3D["left_hand"], 0] > pixels[J3D["pelvis"], 0] > pixels[J3D["right_hand"], 0]


@given(st.floats(-np.pi, np.pi), st.floats(-1.4, 1.4))
def test_the_view_is_a_rotation_that_looks_at_its_centre(around: float, up: float) -> None:
    from xnect.draw import _Lens

    view = replace(follow(result_of(2), None), azimuth_rad=around, elevation_rad=up)
    lens = _Lens(view, (200, 300))
    rotation = lens.view_from_camera
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    local = lens.local_m(view.centre_m)
    np.testing.assert_allclose(local, (0, 0, view.distance_m), atol=1e-9)
    np.testing.assert_allclose(lens.pixels(local), (149.5, 99.5), atol=1e-6)


def test_everybody_is_inside_the_view_that_is_chosen() -> None:
    from xnect.draw import _Lens

    result = result_of(4)
    lens = _Lens(follow(result, None), (300, 300))
    for person in result.people:
        pixels = lens.pixels(lens.local_m(person.joints3d_m))
        assert (pixels > 0).all()
        assert (pixels < 300).all()


def test_who_leaves_the_view_is_soon_in_it_again() -> None:
    from xnect.draw import _shows

    here = result_of(2)
    view, away = follow(here, None), np.array([4.0, -2.5, 1.0])  # onto a wall
    one = here.people[0]
    there = replace(one, joints3d_m=one.joints3d_m + away, root_m=one.root_m + away)
    moved = replace(here, people=(there, *here.people[1:]))
    assert not _shows(view, there.joints3d_m, beyond=1.15)
    frames = 0
    while not _shows(view, there.joints3d_m, beyond=1.15):
        view, frames = follow(moved, view), frames + 1
    assert frames <= 15  # half a second


def test_the_view_moves_calmly_and_arrives() -> None:
    here, there = result_of(2, index=0), result_of(2, index=10)
    view, goal = follow(here, None), follow(there, None)
    way = float(np.linalg.norm(goal.centre_m - view.centre_m))
    step = follow(there, view)
    assert 0 < np.linalg.norm(step.centre_m - view.centre_m) < 0.1 * way
    for _ in range(200):
        step = follow(there, step)
    np.testing.assert_allclose(step.centre_m, goal.centre_m, atol=1e-3)
    assert follow(result_of(0), step) is step  # when everybody has left it stays
