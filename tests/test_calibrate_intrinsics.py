"""A known camera is recovered from views of a board; what cannot be told is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from boards import CAMERA, CHARUCO, CHESS, camera_from_board, exact_view, poses, render

from xnect.calib.board import find_board
from xnect.calib.errors import CannotCalibrate
from xnect.calib.intrinsics import calibrate, is_new


def views(count: int, **how) -> list:
    return [
        exact_view(CHESS, pose, seed=i, name=f"{i}.png", **how)
        for i, pose in enumerate(poses(CHESS, count, seed=1))
    ]


def test_a_camera_is_recovered_from_rendered_pictures_of_a_chessboard() -> None:
    found = calibrate(
        [find_board(render(CHESS, p, seed=i), CHESS) for i, p in enumerate(poses(CHESS, 7))], CHESS
    )
    camera = found.camera
    assert camera.fx_px == pytest.approx(CAMERA.fx_px, rel=0.005)
    assert camera.fy_px == pytest.approx(CAMERA.fy_px, rel=0.005)
    assert camera.cx_px == pytest.approx(CAMERA.cx_px, abs=2.5)
    assert camera.cy_px == pytest.approx(CAMERA.cy_px, abs=2.5)
    assert camera.dist[0] == pytest.approx(CAMERA.dist[0], abs=0.02)
    assert found.error_px < 0.15
    assert found.used.all()
    # all over the picture a ray goes where the true one goes
    x, y = np.meshgrid(np.linspace(40, 600, 5), np.linspace(40, 440, 5))
    pixels = np.stack([x, y], -1)
    points = np.concatenate([CAMERA.rays(pixels), np.ones((5, 5, 1))], -1)
    assert np.linalg.norm(camera.project(points) - pixels, axis=-1).max() < 4


def test_a_camera_is_recovered_from_partly_hidden_charuco_boards() -> None:
    images = [render(CHARUCO, p, seed=i) for i, p in enumerate(poses(CHARUCO, 6, seed=2))]
    for image in images[::2]:
        image[:, :250] = 128  # a hand before the board
    seen = []
    for image in images:
        try:
            seen.append(find_board(image, CHARUCO))
        except CannotCalibrate:
            continue
    assert any(len(v.number) < len(CHARUCO.corners_m) for v in seen)
    assert len(seen) >= 5
    camera = calibrate(seen, CHARUCO).camera
    assert camera.fx_px == pytest.approx(CAMERA.fx_px, rel=0.02)


def test_the_stated_deviation_of_the_focal_length_holds() -> None:
    many = [calibrate(
        [exact_view(CHESS, p, noise_px=0.3, seed=100 * s + i)
         for i, p in enumerate(poses(CHESS, 8, seed=s))], CHESS,
    ) for s in range(6)]  # fmt: skip
    off = np.array([(f.camera.fx_px - CAMERA.fx_px) / f.fx_sd_px for f in many])
    assert np.abs(off).max() < 4
    assert 0.3 < np.sqrt((off**2).mean()) < 2.5


def test_a_view_that_does_not_fit_is_rejected_by_name() -> None:
    good = views(10)
    bent = good[4].corners_px.copy()
    bent[:, 1] += 6 * np.sin(bent[:, 0] / 40)  # the board was bent
    found = calibrate([*good[:4], replace(good[4], corners_px=bent), *good[5:]], CHESS)
    assert np.flatnonzero(~found.used).tolist() == [4]
    assert "does not fit" in found.reasons[4]
    assert found.view_error_px[4] > 3
    assert found.camera.fx_px == pytest.approx(CAMERA.fx_px, rel=0.005)


def test_equal_views_count_once_also_when_the_board_is_named_from_its_other_end() -> None:
    good = views(6)
    turned = replace(good[0], corners_px=good[0].corners_px[::-1])
    assert not is_new(turned, good[:1])
    found = calibrate([*good, good[2], turned], CHESS)
    assert found.used.tolist() == [True] * 6 + [False] * 2
    assert "the same view" in found.reasons[6] and "the same view" in found.reasons[7]


def test_too_few_views_are_refused() -> None:
    with pytest.raises(CannotCalibrate, match="found in 3 pictures"):
        calibrate(views(3), CHESS)
    with pytest.raises(CannotCalibrate, match="only 1 of 8 pictures differ"):
        calibrate([exact_view(CHESS, poses(CHESS, 1)[0], seed=i) for i in range(8)], CHESS)


def test_a_board_that_is_never_tilted_is_refused() -> None:
    flat = [
        exact_view(
            CHESS, camera_from_board((0, 0, 0.1 * i), (0.02 * i - 0.08, 0, 0.4), CHESS), seed=i
        )
        for i in range(9)
    ]
    with pytest.raises(CannotCalibrate, match="same angle"):
        calibrate(flat, CHESS)


def test_pictures_of_several_sizes_are_refused() -> None:
    good = views(6)
    with pytest.raises(CannotCalibrate, match=r"640x480.*800x600"):
        calibrate([*good, replace(good[0], hw=(600, 800))], CHESS)


def test_what_no_camera_can_see_is_refused() -> None:
    rng = np.random.default_rng(0)
    wild = [replace(v, corners_px=v.corners_px + rng.normal(0, 5, (54, 2))) for v in views(8)]
    with pytest.raises(CannotCalibrate, match=r"no camera fits|uncertain|determine"):
        calibrate(wild, CHESS)


def test_what_was_not_covered_is_named() -> None:
    left = [v for v in views(40) if v.corners_px[:, 0].max() < 400]
    assert len(left) >= 5
    found = calibrate(left, CHESS)
    assert {"top right", "middle right", "bottom right"} <= set(found.missing)
    assert found.coverage < 0.7
