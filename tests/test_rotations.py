import numpy as np
import pytest

from xnect.rotations import (
    aligning,
    between,
    cross_matrix,
    matrix_from_quat,
    matrix_from_rotvec,
    quat_from_matrix,
    quat_from_rotvec,
    right_jacobian_inverse,
    rotvec_from_matrix,
    rotvec_from_quat,
    unit,
)


def _rotvecs(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    axis = unit(rng.normal(size=(5, 40, 3)))
    size = {
        "anywhere": rng.uniform(0, np.pi - 1e-3, (5, 40, 1)),
        "near identity": rng.uniform(0, 1e-7, (5, 40, 1)),
        "near half a turn": np.pi - rng.uniform(0, 1e-5, (5, 40, 1)),
        "identity": np.zeros((5, 40, 1)),
    }[kind]
    return axis * size


KINDS = ["anywhere", "near identity", "near half a turn", "identity"]


@pytest.mark.parametrize("kind", KINDS)
def test_conversions_round_trip(kind: str) -> None:
    rotvec = _rotvecs(kind)
    matrix = matrix_from_rotvec(rotvec)
    assert np.allclose(rotvec_from_matrix(matrix), rotvec, atol=1e-8)
    assert np.allclose(rotvec_from_quat(quat_from_rotvec(rotvec)), rotvec, atol=1e-9)
    assert np.allclose(matrix_from_quat(quat_from_rotvec(rotvec)), matrix, atol=1e-12)
    assert np.allclose(matrix_from_quat(-3 * quat_from_matrix(matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_are_rotations(kind: str) -> None:
    matrix = matrix_from_rotvec(_rotvecs(kind))
    assert np.allclose(matrix @ matrix.swapaxes(-1, -2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(matrix), 1)


def test_the_inverse_is_the_opposite_rotation_vector() -> None:
    rotvec = _rotvecs("anywhere")
    product = matrix_from_rotvec(rotvec) @ matrix_from_rotvec(-rotvec)
    assert np.allclose(product, np.eye(3), atol=1e-12)


def test_rotations_about_one_axis_add() -> None:
    rotvec = _rotvecs("anywhere")
    half = matrix_from_rotvec(rotvec / 2)
    assert np.allclose(half @ half, matrix_from_rotvec(rotvec), atol=1e-12)


def test_x_turns_to_y_about_z() -> None:
    turned = matrix_from_rotvec(np.array((0, 0, np.pi / 2))) @ (1, 0, 0)
    assert np.allclose(turned, (0, 1, 0))
    assert np.allclose(cross_matrix(np.array((0.0, 0, 1))) @ (1, 0, 0), (0, 1, 0))


@pytest.mark.parametrize("kind", ["anywhere", "near identity", "identity"])
def test_the_right_jacobian_is_the_finite_difference(kind: str) -> None:
    rotvec = _rotvecs(kind)
    slope = right_jacobian_inverse(rotvec)
    small = 1e-5
    for i in range(3):
        step = matrix_from_rotvec(np.eye(3)[i] * small)
        ahead = rotvec_from_matrix(matrix_from_rotvec(rotvec) @ step)
        behind = rotvec_from_matrix(matrix_from_rotvec(rotvec) @ step.T)
        near_pi = np.linalg.norm(rotvec, axis=-1) > np.pi - 0.05
        difference = (ahead - behind) / (2 * small)
        assert np.allclose(difference[~near_pi], slope[..., i][~near_pi], atol=1e-6)


def test_between_turns_one_direction_into_the_other_even_when_opposite() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 50, 3))
    b[:5] = -a[:5]
    b[5:10] = 2 * a[5:10]
    rotation = between(a, b)
    assert np.allclose(np.einsum("nab,nb->na", rotation, unit(a)), unit(b), atol=1e-7)
    assert np.allclose(between(np.zeros(3), np.ones(3)), np.eye(3))


def test_aligning_finds_the_rotation_and_never_a_mirror_image() -> None:
    rng = np.random.default_rng(3)
    points, weight = rng.normal(size=(20, 5, 3)), rng.uniform(0.1, 1, (20, 5))
    rotation = matrix_from_rotvec(_rotvecs("anywhere")[0, :20])
    turned = np.einsum("pab,pnb->pna", rotation, points)
    assert np.allclose(aligning(points, turned, weight), rotation, atol=1e-9)
    mirrored = aligning(points, points * (-1, 1, 1), weight)
    assert np.allclose(np.linalg.det(mirrored), 1)
