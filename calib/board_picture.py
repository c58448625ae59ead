"""A board to print: PNG or PDF that comes out in true size when printed at 100 %."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .board import Board, charuco
from .errors import CannotCalibrate

DPI = 300
SUFFIXES = (".png", ".pdf")


def board_picture(board: Board, *, square_px: int) -> np.ndarray:
    """(H, W) uint8 of the board with a white border of one square all around."""
    if board.kind == "charuco":
        size = ((board.columns + 2) * square_px, (board.rows + 2) * square_px)
        made = charuco(board).generateImage(size, marginSize=square_px, borderBits=1)
        return np.asarray(made, np.uint8)
    y, x = np.mgrid[: board.rows + 3, : board.columns + 3]
    inside = (x > 0) & (y > 0) & (x < board.columns + 2) & (y < board.rows + 2)
    squares = np.where(inside & ((x + y) % 2 == 0), 0, 255).astype(np.uint8)
    return np.kron(squares, np.ones((square_px, square_px), np.uint8))


def save_board(path: str | Path, board: Board) -> tuple[float, float]:
    """Write the board to a `.png` or `.pdf`; width and height of the page in metres.

    Raises:
        CannotCalibrate: another ending.
        OSError: the file cannot be written.
    """
    import cv2
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CannotCalibrate(f"a board is written as .png or .pdf, got {path.name!r}")
    square_px = max(1, round(board.square_m / 0.0254 * DPI))
    dpi = square_px * 0.0254 / board.square_m  # squares are whole pixels: their size is exact
    picture = board_picture(board, square_px=square_px)
    text = f"{board.text}, squares {1000 * board.square_m:g} mm"
    if board.kind == "charuco":
        text += f", markers {1000 * board.marker_m:g} mm {board.dictionary}"
    scale = picture.shape[1] / 1600
    where = (square_px, picture.shape[0] - square_px // 3)
    cv2.putText(
        picture, f"{text}; print at 100 %", where, cv2.FONT_HERSHEY_SIMPLEX, scale, 0,
        max(1, round(scale)), cv2.LINE_AA,
    )  # fmt: skip
    image = Image.fromarray(np.where(picture < 128, 0, 255).astype(np.uint8)).convert("1")
    if path.suffix.lower() == ".pdf":
        image.save(path, resolution=dpi)
    else:
        image.save(path, dpi=(dpi, dpi))
    height, width = picture.shape
    return width / dpi * 0.0254, height / dpi * 0.0254
