import numpy as np
import pytest

from xnect.calib.camera import Camera

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


def test_points_behind_the_camera_stay_finite() -> None:
    assert np.isfinite(PLAIN.project(np.array((1.0, 1.0, -2.0)))).all()
