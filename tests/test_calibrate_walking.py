"""Focal length and floor from people who walk; refused where they cannot tell it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gait import floor_camera, to_camera, walker

from xnect.calib.errors import CannotCalibrate
from xnect.calib.walking import Walkers, camera_from_walking

SIZE = {"height_px": 720, "width_px": 1280}


def walkers(camera, *, statures=(1.75, 1.65, 1.8, 1.7), seconds=8.0, noise_px=2.0, seed=0, **path):
    """Crowns and feet as `camera` sees them, with noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, stature in enumerate(statures):
        ends = {k: np.array(v(rng), float) for k, v in path.items()}
        time_s, ankles, _, _, crowns = walker(rng, seconds, stature=stature, **ends)
        ankles = ankles.mean(1)
        both = np.stack([crowns, ankles], 1)
        seen = camera.project(to_camera(both, camera.floor)) + rng.normal(
            0, noise_px, (len(both), 2, 2)
        )
        parts.append((time_s, np.full(len(seen), number), seen[:, 0], seen[:, 1]))
    return Walkers(*(np.concatenate(c) for c in zip(*parts, strict=True)), top=1.0, foot=0.06)


@pytest.mark.parametrize(
    ("focal", "tilt", "high"), [(1000.0, 18.0, 2.4), (700.0, 25.0, 3.0), (1700.0, 15.0, 3.0)]
)
def test_the_focal_length_is_within_ten_percent(focal: float, tilt: float, high: float) -> None:
    camera = floor_camera(focal=focal, tilt_deg=tilt, roll_deg=2, height_m=high)
    found = camera_from_walking(walkers(camera), **SIZE)
    assert found.camera.fx_px == pytest.approx(focal, rel=0.10)
    assert found.focal_sd_px < 0.1 * focal
    assert math.degrees(found.floor.floor.tilt_rad) == pytest.approx(tilt, abs=2.0)
    assert math.degrees(found.floor.floor.roll_rad) == pytest.approx(2, abs=1.5)
    assert found.floor.floor.distance_m == pytest.approx(high, rel=0.08)
    assert found.camera.floor == found.floor.floor
    assert found.camera.calibrated


def test_the_stated_deviation_holds() -> None:
    camera = floor_camera(tilt_deg=15)
    off = []
    for seed in range(5):
        found = camera_from_walking(walkers(camera, seed=seed), **SIZE)
        off.append((found.camera.fx_px - 1000) / found.focal_sd_px)
    assert np.sqrt(np.mean(np.square(off))) < 3


def test_a_child_among_them_does_not_matter_and_is_seen_to_be_one() -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    found = camera_from_walking(walkers(camera, statures=(1.75, 1.65, 1.1, 1.7)), **SIZE)
    assert found.camera.fx_px == pytest.approx(1000, rel=0.10)
    assert found.statures_m[2] == pytest.approx(1.1, abs=0.12)
    assert found.floor.floor.distance_m == pytest.approx(2.4, rel=0.08)


@pytest.mark.parametrize(
    "statures",
    [(1.7, 1.1), (1.75, 1.65, 1.1, 1.25), (1.7, 1.1, 1.2, 1.3), (1.3, 1.1, 1.7, 1.2, 1.0)],
)
def test_grown_ups_give_the_scale_also_where_children_are_many(statures: tuple) -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    found = camera_from_walking(walkers(camera, statures=statures), **SIZE)
    off_m = found.floor.floor.distance_m - 2.4
    assert abs(off_m) < 0.08 * 2.4 and abs(off_m) < 3 * found.floor.height_sd_m < 0.6
    np.testing.assert_allclose(found.statures_m, statures, rtol=0.1)


def test_some_heads_at_wrong_places_do_not_matter() -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    seen = walkers(camera)
    top = seen.top_px.copy()
    top[::9] += 60
    found = camera_from_walking(
        Walkers(seen.time_s, seen.person, top, seen.foot_px, 1.0, 0.06), **SIZE
    )
    assert found.camera.fx_px == pytest.approx(1000, rel=0.12)


def test_the_assumed_stature_scales_distances_and_not_the_focal_length() -> None:
    seen = walkers(floor_camera(tilt_deg=18, height_m=2.4))
    one = camera_from_walking(seen, **SIZE)
    two = camera_from_walking(seen, **SIZE, stature_m=1.2 * 1.7)
    assert two.camera.fx_px == pytest.approx(one.camera.fx_px)
    assert two.floor.floor.distance_m == pytest.approx(1.2 * one.floor.floor.distance_m)
    assert two.depths[1] == pytest.approx(1.2 * one.depths[1])


def test_people_at_one_depth_are_refused() -> None:
    camera = floor_camera(tilt_deg=15)
    seen = walkers(camera, start=lambda r: (-2, 0, 5), end=lambda r: (2, 0, 5.2))
    with pytest.raises(CannotCalibrate, match="about the same distance"):
        camera_from_walking(seen, **SIZE)


def test_a_person_on_a_treadmill_is_refused() -> None:
    camera = floor_camera(tilt_deg=15)
    seen = walkers(camera, statures=(1.7,), start=lambda r: (0, 0, 5), end=lambda r: (0.01, 0, 5))
    with pytest.raises(CannotCalibrate, match="about the same distance"):
        camera_from_walking(seen, **SIZE)


def test_a_level_camera_is_refused_or_says_how_uncertain_it_is() -> None:
    camera, said = floor_camera(tilt_deg=0, roll_deg=0, height_m=1.5), []
    for seed in range(3):
        try:
            found = camera_from_walking(walkers(camera, seed=seed, noise_px=4), **SIZE)
        except CannotCalibrate as error:
            said.append(str(error))
        else:
            assert abs(found.camera.fx_px - 1000) < 4 * found.focal_sd_px
    assert all("level" in text or "uncertain" in text for text in said)


def test_too_few_people_are_refused() -> None:
    seen = walkers(floor_camera(), statures=(1.7,), seconds=1.0)
    with pytest.raises(CannotCalibrate, match="at least 12"):
        camera_from_walking(seen, **SIZE)
    lost = Walkers(seen.time_s, seen.person, seen.top_px * np.nan, seen.foot_px)
    with pytest.raises(CannotCalibrate, match="in 0 moments"):
        camera_from_walking(lost, **SIZE)
