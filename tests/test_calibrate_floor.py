"""The floor: from marks whose places are known, and from people's feet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from boards import CAMERA, CHESS, render
from gait import feet_of_walkers, floor_camera, to_camera
from hypothesis import given
from hypothesis import strategies as st

from xnect.calib.board import find_board
from xnect.calib.errors import CannotCalibrate
from xnect.calib.feet import floor_from_feet
from xnect.calib.floor import Floor, floor_of, floor_of_marks

FIELDS = ("time_s", "person", "ankles_m", "toes_m", "necks_m")


def degrees_between(a: Floor, b: Floor) -> float:
    return math.degrees(math.acos(min(1.0, float(np.dot(a.normal, b.normal)))))


@given(st.floats(-0.5, 1.3), st.floats(-0.6, 0.6), st.floats(0.2, 9))
def test_a_floor_knows_tilt_roll_and_heights(tilt: float, roll: float, high: float) -> None:
    camera = floor_camera(tilt_deg=math.degrees(tilt), roll_deg=math.degrees(roll), height_m=high)
    floor = camera.floor
    assert floor.tilt_rad == pytest.approx(tilt, abs=1e-6)
    assert floor.roll_rad == pytest.approx(roll, abs=1e-6)
    world = np.array([(0.0, 0, 4), (1, 1.8, 5), (0, high, 0)])
    assert np.allclose(floor.heights_m(to_camera(world, floor)), [0, 1.8, high])
    assert np.allclose(to_camera(np.array((0, high, 0.0)), floor), 0, atol=1e-9)


def test_rays_meet_the_floor_below_the_horizon_only() -> None:
    camera = floor_camera()
    marks = to_camera(np.array([(0.0, 0, 4), (1, 0, 6)]), camera.floor)
    assert np.allclose(camera.floor.meet(camera.rays(camera.project(marks))), marks)
    assert np.isnan(camera.floor.meet(np.array((0.0, -2.0)))).all()


def test_a_normal_of_any_length_and_sign_gives_the_same_floor() -> None:
    one, two = floor_of(np.array((0, -2.0, -1)), 3.0), floor_of(np.array((0, 4.0, 2)), -6.0)
    assert one == two
    assert one.distance_m == pytest.approx(3 / math.sqrt(5))


@pytest.mark.parametrize("bad", [((0, -0.5, 0), 1.0), ((0, -1, 0), -1.0), ((0, -1, 0), math.nan)])
def test_an_impossible_floor_is_refused(bad: tuple) -> None:
    with pytest.raises(CannotCalibrate):
        Floor(*bad)


PLACES = np.array([(-1.0, 3.0), (1.2, 3.2), (1.0, 6.0), (-1.1, 5.5), (0.2, 4.0)])


def marks_of(camera, places, noise_px=0.0):
    world = np.stack([places[:, 0], 0 * places[:, 0], places[:, 1]], 1)
    seen = camera.project(to_camera(world, camera.floor))
    return seen + np.random.default_rng(0).normal(0, noise_px, seen.shape)


@pytest.mark.parametrize("dist", [(), (-0.2, 0.05, 0.001, -0.002)], ids=["plain", "distorted"])
def test_marks_on_the_floor_give_it_back(dist: tuple) -> None:
    camera = replace(floor_camera(roll_deg=5), dist=dist)
    turned = PLACES @ np.array(((0.8, -0.6), (0.6, 0.8))) + (7, -3)  # any axes of the floor
    fit = floor_of_marks(camera, marks_of(camera, PLACES), turned)
    assert degrees_between(fit.floor, camera.floor) < 0.05
    assert fit.floor.distance_m == pytest.approx(camera.floor.distance_m, rel=1e-3)
    noisy = floor_of_marks(camera, marks_of(camera, PLACES, 2.0), turned)
    off = math.radians(degrees_between(noisy.floor, camera.floor))
    assert off < 4 * noisy.tilt_sd_rad
    assert abs(noisy.floor.distance_m - camera.floor.distance_m) < 4 * noisy.height_sd_m
    assert fit.tilt_sd_rad < noisy.tilt_sd_rad < math.radians(3)


def test_three_marks_are_enough_or_said_to_be_ambiguous() -> None:
    camera, right, said = floor_camera(tilt_deg=30), 0, []
    for turn in np.linspace(0, 3, 7):
        rotation = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
        places = (PLACES[:3] - (0, 4)) @ rotation + (0, 4)
        try:
            fit = floor_of_marks(camera, marks_of(camera, places), places)
        except CannotCalibrate as error:
            said.append(str(error))
        else:
            right += degrees_between(fit.floor, camera.floor) < 0.5
    assert right + len(said) == 7 and right >= 2
    assert all("fourth mark" in text for text in said)


def test_three_marks_that_clicks_make_another_floor_of_are_refused() -> None:
    camera = floor_camera(tilt_deg=50, height_m=2.5)  # the marks are clicked a pixel off
    marks_px = [[1167.2, 235.1], [460.2, 320.2], [311.3, 606.9]]
    with pytest.raises(CannotCalibrate, match="fourth mark"):
        floor_of_marks(camera, marks_px, [[0, 0], [2.568, 0], [3.005, 0.987]])


@pytest.mark.parametrize("tilt", [30, 60])
def test_three_marks_clicked_a_pixel_off_give_the_floor_or_none(tilt: float) -> None:
    rng, camera, given, wrong = np.random.default_rng(1), floor_camera(tilt_deg=tilt), 0, 0
    for _ in range(60):
        ahead_m = camera.floor.distance_m / math.tan(math.radians(tilt))
        places = rng.uniform(-1.5, 1.5, (3, 2)) + np.array((0, ahead_m))
        marks_px = marks_of(camera, places) + rng.normal(0, 1, (3, 2))
        try:
            fit = floor_of_marks(camera, marks_px, places)
        except CannotCalibrate:
            continue
        given, wrong = given + 1, wrong + (degrees_between(fit.floor, camera.floor) > 15)
    assert given >= 10 and wrong == 0


@pytest.mark.parametrize(
    ("places", "word"),
    [(PLACES[:2], "at least 3"), (np.array([(0, 3), (0, 4), (0, 5), (0, 6.0)]), "on a line")],
)
def test_marks_that_give_no_floor_are_refused(places: np.ndarray, word: str) -> None:
    camera = floor_camera()
    with pytest.raises(CannotCalibrate, match=word):
        floor_of_marks(camera, marks_of(camera, places), places)


def test_marks_above_the_camera_are_refused() -> None:
    camera = floor_camera()
    seen = marks_of(camera, PLACES)
    upside_down = (camera.width_px - 1, camera.height_px - 1) - seen
    with pytest.raises(CannotCalibrate, match=r"upright|uncertain"):
        floor_of_marks(camera, upside_down, PLACES)


@pytest.mark.parametrize("turn", np.linspace(0, 6, 9))
def test_a_floor_is_found_in_the_upright_picture_only(turn: float) -> None:
    camera = floor_camera(tilt_deg=25, height_m=1.4)
    rotation = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
    marks = np.array([(x, y) for x in (-0.3, 0.3) for y in (-0.18, 0.18)]) @ rotation
    seen = marks_of(camera, marks + np.array((0.1, 4.0)), 0.3)
    assert degrees_between(floor_of_marks(camera, seen, marks).floor, camera.floor) < 5
    with pytest.raises(CannotCalibrate):
        floor_of_marks(camera, (camera.width_px - 1, camera.height_px - 1) - seen, marks)


def test_marks_at_one_place_are_refused() -> None:
    with pytest.raises(CannotCalibrate, match="on a line"):
        floor_of_marks(floor_camera(), marks_of(floor_camera(), PLACES[:4]), np.zeros((4, 2)))


def test_a_board_on_the_floor_gives_the_floor() -> None:
    import cv2

    turn = cv2.Rodrigues(np.array((math.radians(-55), 0.0, 0.0)))[0]  # seen from above, 35 degrees
    shift = np.array((0.0, 0.03, 0.40)) - turn @ CHESS.corners_m.mean(0)
    true = floor_of(turn[:, 2], -float(turn[:, 2] @ shift))
    view = find_board(render(CHESS, np.column_stack([turn, shift])), CHESS)
    fit = floor_of_marks(CAMERA, view.corners_px, CHESS.corners_m[view.number])
    assert degrees_between(fit.floor, true) < 0.5
    assert fit.floor.distance_m == pytest.approx(true.distance_m, abs=0.003)


@pytest.mark.parametrize("tilt", [5.0, 25.0])
@pytest.mark.parametrize(("depth", "high_m"), [(0.0, 0.02), (0.01, 0.05)])
def test_the_floor_from_feet_is_within_a_degree_and_some_centimetres(
    tilt: float, depth: float, high_m: float
) -> None:
    """Joints are off by 1 cm; 2 cm of height, or 5 cm where depth trembles by one percent too."""
    floor = floor_camera(tilt_deg=tilt).floor
    for seed in range(3):
        fit = floor_from_feet(feet_of_walkers(np.random.default_rng(seed), floor, depth=depth))
        assert degrees_between(fit.floor, floor) < 1
        assert fit.floor.distance_m == pytest.approx(floor.distance_m, abs=high_m)
        assert math.radians(degrees_between(fit.floor, floor)) < 4 * fit.tilt_sd_rad


def test_children_do_not_lower_the_floor() -> None:
    """Taken for grown-ups they seem farther away, and their feet below the floor."""
    floor = floor_camera().floor
    for statures in ((1.7, 1.7, 1.1, 1.25), (1.7, 1.1)):
        feet = feet_of_walkers(np.random.default_rng(1), floor, statures=statures)
        fit = floor_from_feet(feet)
        assert degrees_between(fit.floor, floor) < 1.5
        assert fit.floor.distance_m == pytest.approx(floor.distance_m, abs=0.06)


def test_feet_in_the_air_do_not_lift_the_floor() -> None:
    floor = floor_camera().floor
    feet = feet_of_walkers(np.random.default_rng(2), floor)
    jumping = np.zeros(len(feet.person), bool)
    jumping[::5] = True
    up = 0.3 * np.array(floor.normal) * jumping[:, None, None]
    wild = replace(feet, ankles_m=feet.ankles_m + up, toes_m=feet.toes_m + up)
    fit = floor_from_feet(wild)
    assert degrees_between(fit.floor, floor) < 1
    assert fit.floor.distance_m == pytest.approx(floor.distance_m, abs=0.03)


def test_somebody_above_the_camera_does_not_matter() -> None:
    floor = floor_camera().floor
    feet = feet_of_walkers(np.random.default_rng(2), floor, statures=(1.7,) * 4)
    alone = floor_from_feet(type(feet)(*(getattr(feet, f)[feet.person < 3] for f in FIELDS)))
    up = 3.0 * np.array(floor.normal) * (feet.person == 3)[:, None]  # on a balcony
    among = replace(
        feet, ankles_m=feet.ankles_m + up[:, None], toes_m=feet.toes_m + up[:, None],
        necks_m=feet.necks_m + up,
    )  # fmt: skip
    fit = floor_from_feet(among)
    assert degrees_between(fit.floor, alone.floor) < 0.2
    assert fit.floor.distance_m == pytest.approx(alone.floor.distance_m, abs=0.01)
    most = replace(among, person=np.where(feet.person == 3, feet.time_s // 1.5 + 3, feet.person))
    with pytest.raises(CannotCalibrate, match="upside-down"):
        floor_from_feet(most)


def test_errors_of_depth_do_not_bend_the_floor_towards_the_camera() -> None:
    floor = floor_camera().floor
    off = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        fit = floor_from_feet(feet_of_walkers(rng, floor, statures=(1.7,) * 4, depth=0.05))
        off.append(fit.floor.tilt_rad - floor.tilt_rad)
    assert abs(math.degrees(np.mean(off))) < 0.8


def test_the_order_of_rows_and_rows_without_numbers_do_not_matter() -> None:
    feet = feet_of_walkers(np.random.default_rng(0), floor_camera().floor)
    order = np.random.default_rng(1).permutation(len(feet.person))
    mixed = type(feet)(*(getattr(feet, f)[order] for f in FIELDS))
    lost = np.full((3, 2, 3), np.nan)
    more = type(feet)(
        np.append(mixed.time_s, (1, 2, 3)),
        np.append(mixed.person, (7, 8, 9)), np.concatenate([mixed.ankles_m, lost]),
        np.concatenate([mixed.toes_m, lost]), np.concatenate([mixed.necks_m, lost[:, 0]]),
    )  # fmt: skip
    assert np.allclose(
        floor_from_feet(feet).floor.normal, floor_from_feet(more).floor.normal, atol=1e-6
    )


def test_a_taller_stature_makes_the_camera_higher_in_proportion() -> None:
    feet = feet_of_walkers(np.random.default_rng(0), floor_camera().floor)
    larger = replace(
        feet, ankles_m=1.1 * feet.ankles_m, toes_m=1.1 * feet.toes_m, necks_m=1.1 * feet.necks_m
    )
    one, two = floor_from_feet(feet), floor_from_feet(larger, stature_m=1.1 * 1.7)
    assert two.floor.distance_m == pytest.approx(1.1 * one.floor.distance_m, rel=0.03)


def test_too_few_feet_are_refused() -> None:
    feet = feet_of_walkers(np.random.default_rng(0), floor_camera().floor)
    few = type(feet)(*(getattr(feet, f)[:9] for f in FIELDS))
    with pytest.raises(CannotCalibrate, match="9 person-frames"):
        floor_from_feet(few)
    nobody = type(feet)(*(getattr(feet, f)[:0] for f in FIELDS))
    with pytest.raises(CannotCalibrate, match="0 person-frames"):
        floor_from_feet(nobody)
    turned = type(feet)(feet.time_s, feet.person, -feet.ankles_m, -feet.toes_m, -feet.necks_m)
    with pytest.raises(CannotCalibrate, match="upside-down"):
        floor_from_feet(replace(turned, necks_m=turned.ankles_m[:, 0] + (0, -1.5, 0)))
