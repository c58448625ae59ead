"""Laws of the 3D metrics."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from xnect.eval.metrics import (
    auc3d,
    mpjpe,
    n_mpjpe,
    pa_mpjpe,
    pck3d,
    pose_figures,
    procrustes,
)
from xnect.skeleton import J3D


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.4, (6, 21, 3)), rng


def test_procrustes_undoes_any_similarity(poses):
    true, rng = poses
    turn = Rotation.random(6, rng=rng).as_matrix()
    moved = rng.uniform(0.5, 2, (6, 1, 1)) * true @ turn + rng.normal(0, 3, (6, 1, 3))
    np.testing.assert_allclose(procrustes(moved, true), true, atol=1e-9)
    assert mpjpe(moved, true) > 0.1


def test_a_mirrored_pose_is_not_aligned_by_a_reflection(poses):
    true, _ = poses
    assert pa_mpjpe(true * (-1, 1, 1), true) > 0.1


def test_no_small_similarity_is_better_than_the_one_that_procrustes_found(poses):
    true, rng = poses
    pred = true + rng.normal(0, 0.1, true.shape)
    best = ((procrustes(pred, true) - true) ** 2).sum()
    for _ in range(50):
        turn = Rotation.from_rotvec(rng.normal(0, 0.02, 3)).as_matrix()
        other = procrustes(pred, true) @ turn.T * rng.normal(1, 0.01) + rng.normal(0, 0.01, 3)
        assert ((other - true) ** 2).sum() >= best - 1e-9


def test_invalid_joints_change_nothing_even_when_they_are_nan(poses):
    true, rng = poses
    pred = true + rng.normal(0, 0.1, true.shape)
    valid = np.ones((6, 21), bool)
    valid[:, 3] = False
    spoiled = true.copy()
    spoiled[:, 3] = 99
    for metric in (mpjpe, n_mpjpe, pa_mpjpe, pck3d, auc3d):
        assert metric(pred, spoiled, valid) == pytest.approx(
            metric(np.delete(pred, 3, 1), np.delete(true, 3, 1))
        )
    spoiled[:, 3] = np.nan
    for metric in (mpjpe, n_mpjpe, pa_mpjpe, pck3d, auc3d):
        assert np.isfinite(metric(pred, spoiled, valid))


@pytest.mark.parametrize("metric", [mpjpe, n_mpjpe, pa_mpjpe, pck3d, auc3d])
@pytest.mark.parametrize("spoiled", [np.nan, np.inf, 1e6])
def test_predictions_that_do_not_count_change_nothing_whatever_they_are(poses, metric, spoiled):
    true, rng = poses
    pred = true + rng.normal(0, 0.1, true.shape)
    valid = np.ones((6, 21), bool)
    valid[:, 3] = False
    right = metric(np.delete(pred, 3, 1), np.delete(true, 3, 1))
    pred[:, 3] = spoiled
    assert metric(pred, true, valid) == pytest.approx(right)


def test_procrustes_moves_joints_that_do_not_count_along(poses):
    true, _ = poses
    valid = np.ones((6, 21), bool)
    valid[:, 3] = False
    moved = procrustes(2 * true + 1, true, valid)
    np.testing.assert_allclose(moved, true, atol=1e-9)


def test_n_mpjpe_forgives_size_and_mpjpe_does_not(poses):
    true, _ = poses
    assert n_mpjpe(1.3 * true, true) == pytest.approx(0, abs=1e-12)
    assert mpjpe(1.3 * true, true) == pytest.approx(
        0.3 * np.linalg.norm(true, axis=-1).mean(), rel=1e-9
    )


def test_pck_and_auc_of_a_known_error():
    true = np.zeros((2, 21, 3))
    pred = true.copy()
    pred[0, :, 0] = 0.0749  # passes at 75, 80 ... 150: 16 of 31 thresholds
    pred[1, :, 0] = 0.2
    assert pck3d(pred, true) == 0.5
    assert auc3d(pred, true) == pytest.approx(0.5 * 16 / 31)


def test_nothing_valid_is_nan():
    poses = np.zeros((1, 21, 3))
    assert np.isnan(mpjpe(poses, poses, np.zeros((1, 21), bool)))


def test_joints_that_do_not_count_bend_nothing_and_nan_is_no_crash():
    true = np.random.default_rng(1).normal(size=(3, 21, 3))
    pred, valid = true.copy(), np.ones((3, 21), bool)
    for side in ("left", "right"):
        valid[:, J3D[f"{side}_ankle"]] = False
        true[:, J3D[f"{side}_ankle"]] = 9.0
    figures = pose_figures(pred, true, valid)
    assert np.isnan(figures.knee_deg)
    assert figures.elbow_deg == pytest.approx(0, abs=1e-9)
    pred[1, 4] = np.nan
    assert np.isnan(pa_mpjpe(pred, true, valid))
    np.testing.assert_allclose(procrustes(pred, true, valid)[2], pred[2], atol=1e-9)
