from dataclasses import replace

import numpy as np
import pytest

from xnect.calib.camera import Camera
from xnect.calib.errors import BadCamera

PLAIN = Camera(900.0, 880.0, 639.5, 359.5, 1280, 720)
BENT = Camera(900.0, 880.0, 630.0, 365.0, 1280, 720, dist=(-0.2, 0.05, 0.001, -0.002))


def _points(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform((-1, -0.7, 3), (1, 0.7, 8), (*shape, 3))


@pytest.mark.parametrize("camera", [PLAIN, BENT], ids=["plain", "distorted"])
@pytest.mark.parametrize("shape", [(), (7,), (2, 5), (0,)])
def test_rays_undo_project(camera: Camera, shape: tuple[int, ...]) -> None:
    points = _points(shape)
    rays = camera.rays(camera.project(points))
    assert rays.shape == (*shape, 2)
    assert np.allclose(rays, points[..., :2] / points[..., 2:], atol=1e-4)


def test_the_optical_axis_hits_the_principal_point() -> None:
    assert np.allclose(BENT.project(np.array((0.0, 0, 2))), (BENT.cx_px, BENT.cy_px))


def test_x_is_right_and_y_is_down() -> None:
    x, y = PLAIN.project(np.array((1.0, 1.0, 5.0)))
    assert x > PLAIN.cx_px
    assert y > PLAIN.cy_px


def test_resizing_keeps_rays_through_the_same_place() -> None:
    half = PLAIN.resized(360, 640)
    pixel = np.array((100.0, 50.0))
    assert np.allclose(half.rays((pixel + 0.5) / 2 - 0.5), PLAIN.rays(pixel))
    assert (half.width_px, half.height_px) == (640, 360)


def test_a_guessed_camera_says_so() -> None:
    camera = Camera.guess(720, 1280)
    assert not camera.calibrated
    assert camera.fx_px == pytest.approx(0.85 * 1280)
    assert PLAIN.calibrated


@pytest.mark.parametrize("dist", [np.zeros((1, 5)), np.zeros((5, 1)), np.zeros(5), [0.0] * 5])
def test_distortion_is_taken_as_opencv_gives_it(dist: np.ndarray) -> None:
    camera = Camera(900.0, 880.0, 639.5, 359.5, 1280, 720, dist)
    assert camera.dist == (0.0,) * 5
    points = _points((3,))
    np.testing.assert_allclose(camera.project(points), PLAIN.project(points))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fx_px": 0.0}, "positive"),
        ({"fy_px": -400.0}, "-400"),
        ({"fx_px": np.nan}, "nan"),
        ({"width_px": 0}, "positive"),
        ({"cx_px": np.inf}, "finite"),
        ({"dist": (0.1, np.nan, 0, 0)}, "finite"),
        ({"dist": (0.1, 0.2, 0.3)}, "got 3"),
    ],
)
def test_what_no_camera_can_be_is_refused_in_one_sentence(change: dict, word: str) -> None:
    with pytest.raises(BadCamera, match=word):
        replace(PLAIN, **change)


def test_points_behind_the_camera_stay_finite() -> None:
    assert np.isfinite(PLAIN.project(np.array((1.0, 1.0, -2.0)))).all()


@pytest.mark.parametrize(
    ("focal", "hw", "dist"),
    [
        (984.2, (512, 1392), (-0.3728755, 0.2037299, 0.002219, 0.001384, -0.0723372)),
        (580.0, (720, 1280), (-0.25, 0.07, 0.0, 0.0)),
        (458.7, (480, 752), (-0.2834, 0.07396, 0.000194, 0.0000176)),
    ],
)
def test_rays_undo_project_up_to_the_corners_of_wide_lenses(focal, hw, dist) -> None:
    height, width = hw
    camera = Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height, dist)
    pixels = np.array([(0, 0), (width - 1, 0), (width - 1, height / 2), (width / 2, height - 1.0)])
    rays = camera.rays(pixels)
    back = camera.project(np.concatenate([rays, np.ones((4, 1))], 1))
    np.testing.assert_allclose(back, pixels, atol=1e-3)
