"""A board to print: PNG or PDF that comes out in true size when printed at 100 %."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .board import Board, charuco
from .errors import CannotCalibrate

DPI = 300
SUFFIXES = (".png", ".pdf")
LARGEST_PAGE_M = 2.0
SMALLEST_PX = 20
"""Of a square: the cells of a smaller one's marker would be blots."""


def board_picture(board: Board, *, square_px: int) -> np.ndarray:
    """(H, W) uint8 of the board with a white border of one square all around.

    Raises:
        CannotCalibrate: OpenCV cannot draw this board with so many pixels.
    """
    import cv2

    if board.kind == "charuco":
        size = ((board.columns + 2) * square_px, (board.rows + 2) * square_px)
        try:
            made = charuco(board).generateImage(size, marginSize=square_px, borderBits=1)
        except cv2.error:  # OpenCV's own rounding does not allow every size
            raise CannotCalibrate(
                f"the {board.text} cannot be drawn with squares of {square_px} pixels"
            ) from None
        return np.asarray(made, np.uint8)
    y, x = np.mgrid[: board.rows + 3, : board.columns + 3]
    inside = (x > 0) & (y > 0) & (x < board.columns + 2) & (y < board.rows + 2)
    squares = np.where(inside & ((x + y) % 2 == 0), 0, 255).astype(np.uint8)
    return np.kron(squares, np.ones((square_px, square_px), np.uint8))


def save_board(path: str | Path, board: Board) -> tuple[float, float]:
    """Write the board to a `.png` or `.pdf`; width and height of the page in metres.

    Raises:
        CannotCalibrate: another ending, or a size that cannot be printed.
        OSError: the file cannot be written.
    """
    import cv2
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CannotCalibrate(f"a board is written as .png or .pdf, got {path.name!r}")
    across_m = (max(board.columns, board.rows) + 3) * board.square_m
    square_px = round(board.square_m / 0.0254 * DPI)
    if across_m > LARGEST_PAGE_M or square_px < SMALLEST_PX:
        raise CannotCalibrate(
            f"a {board.text} with squares of {1000 * board.square_m:g} mm cannot be printed: the "
            f"page would be {across_m:.2g} m long; squares are given in metres"
        )
    picture, square_px = _drawn(board, square_px)
    dpi = square_px * 0.0254 / board.square_m  # squares are whole pixels: their size is exact
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


def _drawn(board: Board, square_px: int) -> tuple[np.ndarray, int]:
    """The picture with squares of about so many pixels, and of how many."""
    for more in range(20):
        try:
            return board_picture(board, square_px=square_px + more), square_px + more
        except CannotCalibrate:
            continue
    return board_picture(board, square_px=square_px), square_px
