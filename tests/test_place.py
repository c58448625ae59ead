import numpy as np
import pytest

from xnect.calib.camera import Camera
from xnect.kinematics import RIG
from xnect.place import NEAREST_M, place
from xnect.rotations import matrix_from_rotvec
from xnect.skeleton import BODY

CAMERA = Camera(1000.0, 1000.0, 639.5, 359.5, 1280, 720, dist=(-0.1, 0.02, 0.0, 0.0))


def _people(count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rest = (RIG.above @ RIG.offsets)[:21]
    turn = matrix_from_rotvec(rng.normal(0, 0.4, (count, 3))) @ np.diag((1.0, -1, -1))
    points = np.einsum("pab,nb->pna", turn, rest)
    root = rng.uniform((-1, -0.5, 3), (1, 0.5, 9), (count, 3))
    return points, root


def test_exact_rays_give_the_exact_place_through_a_distorted_lens() -> None:
    points, root = _people()
    rays = CAMERA.rays(CAMERA.project(points + root[:, None]))
    placed = place(points, rays, np.ones(points.shape[:2]))
    assert placed.sure.all()
    assert np.allclose(placed.root_m, root, atol=2e-3)


def test_one_person_alone_is_placed_as_among_others() -> None:
    points, root = _people()
    rays = (points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]
    rays += np.random.default_rng(1).normal(0, 0.01, rays.shape)
    weight = np.random.default_rng(2).uniform(0, 1, points.shape[:2])
    together = place(points, rays, weight).root_m
    alone = [
        place(points[i : i + 1], rays[i : i + 1], weight[i : i + 1]).root_m[0] for i in range(12)
    ]
    assert np.allclose(together, alone)


def test_outliers_do_not_pull() -> None:
    points, root = _people()
    rays = (points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]
    rays[:, :4] += 0.1  # four of 21 joints belong to somebody else
    robust = np.abs(place(points, rays, np.ones(points.shape[:2])).root_m - root).max()
    plain = np.abs(place(points, rays, np.ones(points.shape[:2]), rounds=0).root_m - root).max()
    assert robust < 0.1
    assert robust < plain / 3


def test_joints_that_are_not_seen_may_hold_anything() -> None:
    points, root = _people()
    rays = (points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]
    weight = np.ones(points.shape[:2])
    weight[:, 7:] = 0
    rays[:, 7:] = np.nan
    assert np.allclose(place(points, rays, weight).root_m, root, atol=1e-6)


@pytest.mark.parametrize("seen", [0, 1])
def test_too_few_joints_give_a_guess_on_the_ray(seen: int) -> None:
    points, root = _people(1)
    rays = (points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]
    weight = np.zeros(points.shape[:2])
    weight[:, :seen] = 1
    placed = place(points, rays, weight)
    assert not placed.sure.any()
    assert np.isfinite(placed.root_m).all()
    if seen:
        there = points[0, 0] + placed.root_m[0]
        assert np.allclose(there[:2] / there[2], rays[0, 0])


def test_nobody_stands_behind_or_in_the_camera() -> None:
    points, root = _people()
    rays = -(points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]  # upside down
    placed = place(points, rays, np.ones(points.shape[:2]))
    assert (placed.root_m[:, 2] > NEAREST_M).all()
    same = place(np.zeros((1, 21, 3)), np.zeros((1, 21, 2)), np.ones((1, 21)))
    assert np.isfinite(same.root_m).all()


def test_a_body_twice_as_large_stands_twice_as_far() -> None:
    points, root = _people()
    rays = (points + root[:, None])[..., :2] / (points + root[:, None])[..., 2:]
    double = place(2 * points, rays, np.ones(points.shape[:2])).root_m
    assert np.allclose(double, 2 * root, atol=1e-6)
    assert len(BODY.names) == points.shape[1]


def test_nobody_is_an_empty_array() -> None:
    assert place(np.zeros((0, 18, 3)), np.zeros((0, 18, 2)), np.zeros((0, 18))).root_m.shape == (
        0,
        3,
    )
