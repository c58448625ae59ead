"""Pictures of calibration boards as a known camera takes them: distorted, blurred, noisy."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from xnect.calib.board import Board, View
from xnect.calib.board_picture import board_picture
from xnect.calib.camera import Camera

CAMERA = Camera(560.0, 556.0, 322.0, 236.0, 640, 480, (-0.12, 0.05, 0.001, -0.0008))
CHESS = Board("chessboard", 9, 6, 0.025)
CHARUCO = Board("charuco", 7, 5, 0.035, 0.026)

_SQUARE_PX = 40
_FINE = 2  # rendered this many times larger, then reduced


@cache
def _fine_rays() -> np.ndarray:
    """(2 H, 2 W, 2) ray of each sample of `CAMERA`'s picture."""
    y, x = np.mgrid[: CAMERA.height_px * _FINE, : CAMERA.width_px * _FINE]
    pixels = (np.stack([x, y], -1) + 0.5) / _FINE - 0.5
    return CAMERA.rays(pixels)


def camera_from_board(rotvec: np.ndarray, shift_m: np.ndarray, board: Board) -> np.ndarray:
    """(3, 4) pose that puts the middle of the board at `shift_m`."""
    turn = cv2.Rodrigues(np.asarray(rotvec, float))[0]
    middle = board.corners_m.mean(0)
    return np.column_stack([turn, np.asarray(shift_m, float) - turn @ middle])


def render(board: Board, pose: np.ndarray, *, blur_px=0.6, noise=2.0, seed=0) -> np.ndarray:
    """(480, 640, 3) uint8: the board on grey, seen by `CAMERA` in that pose."""
    rays = _fine_rays()
    turn, shift = pose[:, :3], pose[:, 3]
    # the board's plane z = 0: solve turn @ (x, y, 0) + shift = depth * (ray, 1)
    to_board = np.linalg.inv(np.column_stack([turn[:, :2], shift]))
    flat = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1) @ to_board.T
    x, y = flat[..., 0] / flat[..., 2], flat[..., 1] / flat[..., 2]
    start = 2 if board.kind == "chessboard" else 1  # squares before the board's own origin
    texture = board_picture(board, square_px=_SQUARE_PX)
    place = [(v / board.square_m + start) * _SQUARE_PX - 0.5 for v in (x, y)]
    shade = cv2.remap(
        texture, place[0].astype(np.float32), place[1].astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=128,
    )  # fmt: skip
    small = cv2.resize(shade, (CAMERA.width_px, CAMERA.height_px), interpolation=cv2.INTER_AREA)
    if blur_px:
        small = cv2.GaussianBlur(small, (0, 0), blur_px)
    grain = np.random.default_rng(seed).normal(0, noise, small.shape)
    grey = np.clip(30 + 0.8 * small + grain, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def poses(board: Board, count: int, *, seed=0, tilt=0.6) -> list[np.ndarray]:
    """Poses in which `CAMERA` sees the whole board, at many places and angles."""
    rng = np.random.default_rng(seed)
    out: list[np.ndarray] = []
    while len(out) < count:
        turn = rng.uniform(-tilt, tilt, 3) * (1, 1, 0.4)
        depth = rng.uniform(0.28, 0.5) * (board.square_m / 0.025) * (board.grid[0] / 9)
        shift = np.array((*rng.uniform(-0.45, 0.45, 2) * (depth, 0.7 * depth), depth))
        pose = camera_from_board(turn, shift, board)
        border = np.array([(-1.5, -1.5), (1.5, -1.5), (-1.5, 1.5), (1.5, 1.5)]) * board.square_m
        corners = board.corners_m
        outer = corners[[0, board.grid[0] - 1, -board.grid[0], -1], :2] + border
        seen = CAMERA.project(np.column_stack([outer, np.zeros(4)]) @ pose[:, :3].T + pose[:, 3])
        if (seen > 2).all() and (seen < (CAMERA.width_px - 3, CAMERA.height_px - 3)).all():
            out.append(pose)
    return out


def exact_view(board: Board, pose: np.ndarray, *, noise_px=0.1, seed=0, name="", camera=CAMERA):
    """The view that a perfect detector with that noise would give, without a picture."""
    seen = camera.project(board.corners_m @ pose[:, :3].T + pose[:, 3])
    seen = seen + np.random.default_rng(seed).normal(0, noise_px, seen.shape)
    hw = (camera.height_px, camera.width_px)
    return View(name, hw, seen, np.arange(len(seen)), 2.0)
