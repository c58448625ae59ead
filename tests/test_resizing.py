"""Pictures that change their size: where remembered pixels are in the new ones."""

import numpy as np
import pytest

from tests.fakes import person
from xnect.calib.camera import Camera
from xnect.resizing import same_shape, scale_between, scaled_person, scaled_points

HW = (480, 640)


@pytest.mark.parametrize("hw", [(240, 320), (320, 427), (960, 1280), (481, 640), (352, 480)])
def test_points_go_where_the_scaled_camera_sees_them(hw: tuple[int, int]) -> None:
    camera, other = Camera.guess(*HW), Camera.guess(*HW).resized(*hw)
    scale = scale_between(HW, hw)
    assert scale is not None
    points = np.random.default_rng(0).uniform(3, 5, (5, 3))
    np.testing.assert_allclose(scaled_points(camera.project(points), scale), other.project(points))
    one, same = (person(1, 0.3, 4.0, c) for c in (camera, other))
    seen = one.joints2d_score > 0
    got = scaled_person(one, scale).joints2d_px
    np.testing.assert_allclose(got[seen], same.joints2d_px[seen])


def test_there_and_back_nothing_has_changed_and_the_kind_of_number_stays() -> None:
    points = np.random.default_rng(0).uniform(0, 640, (5, 2)).astype(np.float32)
    there, back = scale_between(HW, (320, 427)), scale_between((320, 427), HW)
    again = scaled_points(scaled_points(points, there), back)
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, points, atol=1e-3)


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ((360, 640), (180, 320), True),
        ((360, 640), (176, 320), True),  # rounded to 16 pixels
        ((360, 640), (640, 360), False),
        ((480, 640), (360, 640), False),
        ((1, 1), (2, 2), True),
    ],
)
def test_another_shape_is_no_scale(before, now, same: bool) -> None:
    assert (
        (scale_between(before, now) is not None) == same == (scale_between(now, before) is not None)
    )
    assert same_shape(np.array([before, now]), np.array([now, now])).tolist() == [same, True]
