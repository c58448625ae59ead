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
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    skew = cross_matrix(rotvec)
    half = np.sinc(angle / (2 * np.pi))  # sin(a/2) / (a/2), exact at 0
    return np.eye(3) + np.sinc(angle / np.pi) * skew + 0.5 * half**2 * (skew @ skew)


def quat_from_rotvec(rotvec_rad: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 4) w x y z."""
    rotvec = np.asarray(rotvec_rad, np.float64)
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    vector = 0.5 * np.sinc(angle / (2 * np.pi)) * rotvec
    return np.concatenate([np.cos(angle / 2), vector], -1)


def rotvec_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 4) w x y z -> (..., 3) rad, the short way round: at most half a turn."""
    quat = np.asarray(quat_wxyz, np.float64)
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sine = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    small = sine < 1e-9
    factor = 2 * np.arctan2(sine, quat[..., :1]) / np.where(small, 1.0, sine)
    return np.where(small, 2.0, factor) * quat[..., 1:]


def matrix_from_quat(quat_wxyz: np.ndarray) -> np.ndarray:
    """(..., 4) w x y z, of any length but 0 -> (..., 3, 3)."""
    quat = np.asarray(quat_wxyz, np.float64)
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    skew = cross_matrix(quat[..., 1:])
    return np.eye(3) + 2 * quat[..., :1, None] * skew + 2 * (skew @ skew)


def quat_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) w x y z with w >= 0.

    All sixteen products q_i q_k are linear in the matrix; the row with the largest square is the
    quaternion times a number that is never small (Shepperd 1978).
    """
    m = np.asarray(matrix, np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    products = np.empty((*m.shape[:-2], 4, 4))
    products[..., 0, 0] = 1 + trace
    for i in range(3):
        k, n = (i + 1) % 3, (i + 2) % 3
        products[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
        products[..., 0, i + 1] = products[..., i + 1, 0] = m[..., n, k] - m[..., k, n]
        products[..., k + 1, n + 1] = products[..., n + 1, k + 1] = m[..., n, k] + m[..., k, n]
    largest = np.argmax(np.diagonal(products, axis1=-2, axis2=-1), -1)
    quat = np.take_along_axis(products, largest[..., None, None], -2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def rotvec_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) rad, at most half a turn."""
    return rotvec_from_quat(quat_from_matrix(matrix))


def right_jacobian_inverse(rotvec_rad: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 3, 3): d log(R exp(d)) / d d at 0, with R = exp(rotvec_rad).

    Sola, Deray & Atchuthan 2018, eq. 144.
    """
    rotvec = np.asarray(rotvec_rad, np.float64)
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
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
    axis = np.cross(a, b)
    helper = np.where(np.abs(a[..., :1]) < 0.7, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    opposite = (cosine < -1 + 1e-12)[..., None]
    axis = np.where(opposite, np.cross(a, helper), axis)
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), cosine)
    return matrix_from_rotvec(unit(axis) * angle[..., None])


def unit(vector: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3) of length 1; zero stays zero."""
    vector = np.asarray(vector, np.float64)
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.where(length < 1e-12, 1.0, length)


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
