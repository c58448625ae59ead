"""Rotations as arrays: `rotvec_rad` (..., 3), `quat_wxyz` (..., 4), `matrix` (..., 3, 3).

Every function takes any leading batch axes and is exact near the identity and near half a turn.
Quaternions are of unit length; q and -q are the same rotation.
"""

from __future__ import annotations

import numpy as np


def cross_matrix(vector: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3): the matrix that multiplies by a cross product, `vector` x y."""
    matrix = np.zeros((*vector.shape, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -z, y, -x
    matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1] = z, -y, x
    return matrix


def matrix_from_rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 3, 3) by Rodrigues' formula."""
    rotvec = np.asarray(rotvec_rad, np.float64)
    angle = length(rotvec)[..., None]
    skew = cross_matrix(rotvec)
    half = np.sinc(angle / (2 * np.pi))  # sin(a/2) / (a/2), exact at 0
    return np.eye(3) + np.sinc(angle / np.pi) * skew + 0.5 * half**2 * (skew @ skew)


def quat_from_rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 4) w x y z."""
    rotvec = np.asarray(rotvec_rad, np.float64)
    angle = length(rotvec)
    vector = 0.5 * np.sinc(angle / (2 * np.pi)) * rotvec
    return np.concatenate([np.cos(angle / 2), vector], -1)


def rotvec_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 4) w x y z -> (..., 3) rad, the short way round: at most half a turn."""
    quat = np.asarray(quat_wxyz, np.float64)
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sine = length(quat[..., 1:])
    small = sine < 1e-9
    factor = 2 * np.arctan2(sine, quat[..., :1]) / np.where(small, 1.0, sine)
    return np.where(small, 2.0, factor) * quat[..., 1:]


def matrix_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 4) w x y z, of any length but 0 -> (..., 3, 3)."""
    quat = np.asarray(quat_wxyz, np.float64)
    quat = quat / length(quat)
    skew = cross_matrix(quat[..., 1:])
    return np.eye(3) + 2 * quat[..., :1, None] * skew + 2 * (skew @ skew)


def _products_of_quat() -> tuple[np.ndarray, np.ndarray]:
    """(9, 16), (16,): the matrix's nine numbers times this plus that are 4 q_i q_k."""
    by_entry, constant = np.zeros((3, 3, 4, 4)), np.diag((1.0, 1.0, 1.0, 1.0))
    for i in range(3):
        k, n = (i + 1) % 3, (i + 2) % 3
        by_entry[i, i, 0, 0] = by_entry[i, i, i + 1, i + 1] = 1
        by_entry[i, i, k + 1, k + 1] = by_entry[i, i, n + 1, n + 1] = -1
        for row, column in ((0, i + 1), (i + 1, 0)):
            by_entry[n, k, row, column], by_entry[k, n, row, column] = 1, -1
        for row, column in ((k + 1, n + 1), (n + 1, k + 1)):
            by_entry[n, k, row, column] = by_entry[k, n, row, column] = 1
    return by_entry.reshape(9, 16), constant.reshape(16)


_BY_ENTRY, _CONSTANT = _products_of_quat()


def quat_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) w x y z with w >= 0.

    All sixteen products q_i q_k are linear in the matrix; the row with the largest square is the
    quaternion times a number that is never small (Shepperd 1978).
    """
    m = np.asarray(matrix, np.float64)
    batch = m.shape[:-2]
    products = m.reshape(*batch, 9) @ _BY_ENTRY + _CONSTANT
    largest = products[..., ::5].argmax(-1)[..., None]
    products = products.reshape(*batch, 4, 4)
    quat = np.take_along_axis(products, largest[..., None], -2)[..., 0, :]
    return quat * (np.where(quat[..., :1] < 0, -1.0, 1.0) / length(quat))


def rotvec_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) rad, at most half a turn."""
    return rotvec_from_quat(quat_from_matrix(matrix))


def right_jacobian_inverse(rotvec_rad: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 3, 3): d log(R exp(d)) / d d at 0, with R = exp(rotvec_rad).

    Sola, Deray & Atchuthan 2018, eq. 144.
    """
    rotvec = np.asarray(rotvec_rad, np.float64)
    angle = length(rotvec)[..., None]
    small = angle < 1e-3
    safe = np.where(small, 1.0, angle)
    exact = 1 / safe**2 - 1 / (2 * safe * np.tan(safe / 2))
    skew = cross_matrix(rotvec)
    return np.eye(3) + 0.5 * skew + np.where(small, 1 / 12, exact) * (skew @ skew)


def between(from_: np.ndarray, to: np.ndarray) -> np.ndarray:
    """(..., 3), (..., 3) -> (..., 3, 3): the smallest rotation of direction `from_` into `to`.

    Opposite directions turn about any axis at right angles; a zero vector gives the identity.
    """
    a, b = unit(from_), unit(to)
    cosine = np.sum(a * b, -1)
    axis = cross(a, b)
    helper = np.where(np.abs(a[..., :1]) < 0.7, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    opposite = (cosine < -1 + 1e-12)[..., None]
    axis = np.where(opposite, cross(a, helper), axis)
    angle = np.arctan2(length(cross(a, b))[..., 0], cosine)
    return matrix_from_rotvec(unit(axis) * angle[..., None])


def length(vector: np.ndarray) -> np.ndarray:
    """(..., C) -> (..., 1): Euclidean length."""
    return np.sqrt((vector * vector).sum(-1, keepdims=True))


_NEXT, _LAST = np.array((1, 2, 0)), np.array((2, 0, 1))


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3), (..., 3) -> (..., 3): `numpy.cross` in a tenth of its time for small arrays."""
    return a[..., _NEXT] * b[..., _LAST] - a[..., _LAST] * b[..., _NEXT]


def unit(vector: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3) of length 1; zero stays zero."""
    vector = np.asarray(vector, np.float64)
    size = length(vector)
    return vector / np.where(size < 1e-12, 1.0, size)


def aligning(from_points: np.ndarray, to_points: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(..., N, 3), (..., N, 3), (..., N) -> (..., 3, 3): the rotation that brings vectors together.

    Weighted least squares about the origin (Kabsch 1976); never a mirror image.
    """
    covariance = np.einsum("...n,...na,...nb->...ab", weight, to_points, from_points)
    left, _, right = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(left @ right))
    left = left.copy()
    left[..., :, 2] *= np.where(sign < 0, -1.0, 1.0)[..., None]
    return left @ right
