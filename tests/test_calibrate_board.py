"""Boards in pictures: corners where they are, and one sentence where they are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from boards import CAMERA, CHARUCO, CHESS, camera_from_board, poses, render

from xnect.calib.board import Board, find_board
from xnect.calib.board_picture import board_picture, save_board
from xnect.calib.errors import CannotCalibrate

FRONT = ((0.2, -0.3, 0.05), (0.01, 0.0, 0.42))


def picture(board: Board, **kind) -> np.ndarray:
    depth = 0.42 if board.kind == "chessboard" else 0.5
    return render(board, camera_from_board(FRONT[0], (0.01, 0.0, depth), board), **kind)


@pytest.mark.parametrize("board", [CHESS, CHARUCO], ids=["chessboard", "charuco"])
def test_corners_are_found_where_the_camera_puts_them(board: Board) -> None:
    for seed, pose in enumerate(poses(board, 2, seed=3)):
        view = find_board(render(board, pose, seed=seed), board)
        places = board.corners_m[view.number]
        true = CAMERA.project(places @ pose[:, :3].T + pose[:, 3])
        if np.linalg.norm(true - view.corners_px, axis=1).mean() > 20:  # found from the other end
            true = true[::-1]
        off = np.linalg.norm(true - view.corners_px, axis=1)
        assert len(off) == len(board.corners_m)
        assert off.mean() < 0.15
        assert off.max() < 0.6
        assert view.edge_px < 3


def test_large_pictures_are_searched_small_and_refined_large(monkeypatch) -> None:
    large = cv2.resize(picture(CHESS), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    small = find_board(picture(CHESS), CHESS).corners_px
    monkeypatch.setattr("xnect.calib.board.DETECT_PX", 640)
    found = find_board(large, CHESS).corners_px
    expected = (small + 0.5) * 1.5 - 0.5
    off = min(np.abs(found - e).max() for e in (expected, expected[::-1]))
    assert off < 0.5


def sentence(image: np.ndarray, board: Board, **how) -> str:
    with pytest.raises(CannotCalibrate) as caught:
        find_board(image, board, **how)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    return text


def test_an_absent_board_is_said_so() -> None:
    grey = np.full((120, 160, 3), 128, np.uint8)
    assert "no chessboard 9x6 is seen" in sentence(grey, CHESS)
    assert "photo.jpg: no charuco 7x5" in sentence(grey, CHARUCO, name="photo.jpg")


@pytest.mark.parametrize("board", [CHESS, CHARUCO], ids=["chessboard", "charuco"])
def test_a_blurred_board_is_said_so(board: Board) -> None:
    assert "blurred" in sentence(picture(board, blur_px=3.5), board)


def test_a_board_blurred_by_motion_is_said_so() -> None:
    smeared = cv2.blur(picture(CHESS), (9, 1))
    assert "blurred" in sentence(smeared, CHESS)


def test_a_mirrored_charuco_board_is_said_so() -> None:
    assert "mirrored" in sentence(np.ascontiguousarray(picture(CHARUCO)[:, ::-1]), CHARUCO)


def test_a_mirrored_chessboard_is_still_a_chessboard() -> None:
    image = picture(CHESS)
    plain = find_board(image, CHESS).corners_px
    mirrored = find_board(np.ascontiguousarray(image[:, ::-1]), CHESS).corners_px
    back = np.array((CAMERA.width_px - 1 - mirrored[:, 0], mirrored[:, 1])).T
    nearest = np.linalg.norm(back[:, None] - plain[None], axis=-1).min(1)
    assert nearest.max() < 0.3


def test_a_chessboard_of_another_size_is_named() -> None:
    text = sentence(picture(CHESS), Board("chessboard", 8, 5, 0.025))
    assert "9x6" in text or "6x9" in text
    assert "not 8x5" in text
    small = Board("chessboard", 7, 5, 0.03)  # its white border looks like one more column
    text = sentence(render(small, poses(small, 1)[0]), CHESS)
    assert "7x5" in text or "5x7" in text


def test_a_charuco_board_of_another_size_is_refused() -> None:
    assert "correct the sizes" in sentence(picture(CHARUCO), Board("charuco", 5, 7, 0.035, 0.026))


def test_markers_of_another_dictionary_are_named() -> None:
    other = Board("charuco", 7, 5, 0.035, 0.026, "DICT_5X5_50")
    assert "markers of DICT_4X4" in sentence(picture(CHARUCO), other)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "circles"}, "chessboard, charuco"),
        ({"columns": 2}, "2x6"),
        ({"square_m": 0.0}, "above 0"),
        ({"square_m": float("nan")}, "above 0"),
        ({"square_m": 2.5}, "0.025"),
        ({"kind": "charuco", "marker_m": 0.03}, "smaller"),
        ({"kind": "charuco", "marker_m": 0.02, "dictionary": "DICT_9X9"}, "unknown dictionary"),
        ({"kind": "charuco", "marker_m": 0.02, "columns": 20, "rows": 20}, "has 50"),
    ],
)
def test_an_impossible_board_is_refused(change: dict, word: str) -> None:
    right = {"kind": "chessboard", "columns": 9, "rows": 6, "square_m": 0.025}
    with pytest.raises(CannotCalibrate, match=word):
        Board(**{**right, **change})


@pytest.mark.parametrize("board", [CHESS, CHARUCO], ids=["chessboard", "charuco"])
def test_a_printed_board_has_true_size_and_is_found(board: Board, tmp_path) -> None:
    from PIL import Image

    width_m, height_m = save_board(tmp_path / "board.png", board)
    columns, rows = (
        n + (1 if board.kind == "chessboard" else 0) for n in (board.columns, board.rows)
    )
    assert width_m == pytest.approx((columns + 2) * board.square_m)
    assert height_m == pytest.approx((rows + 2) * board.square_m)
    with Image.open(tmp_path / "board.png") as picture:
        dpi = picture.info["dpi"][0]
        assert picture.width / dpi * 0.0254 == pytest.approx(width_m, rel=1e-3)
    save_board(tmp_path / "board.pdf", board)
    assert (tmp_path / "board.pdf").read_bytes().startswith(b"%PDF")
    grid = find_board(board_picture(board, square_px=30), board)
    assert len(grid.number) == len(board.corners_m)
    with pytest.raises(CannotCalibrate, match=r"\.png or \.pdf"):
        save_board(tmp_path / "board.svg", board)


def test_a_board_of_any_marker_is_drawn_with_whole_pixels(tmp_path) -> None:
    for marker_m in np.linspace(0.02, 0.034, 8):
        board = Board("charuco", 7, 5, 0.035, float(marker_m))
        width_m, _ = save_board(tmp_path / "board.png", board)
        assert width_m == pytest.approx(9 * 0.035)


@pytest.mark.parametrize("square_m", [0.0001, 0.5])
def test_a_board_that_no_page_holds_is_refused(square_m: float, tmp_path) -> None:
    with pytest.raises(CannotCalibrate, match="cannot be printed"):
        save_board(tmp_path / "board.png", Board("chessboard", 9, 6, square_m))


def test_a_row_of_corners_alone_is_refused() -> None:
    """OpenCV finds no camera in a set with one such picture in it."""
    pose = camera_from_board(FRONT[0], (0.01, 0.0, 0.5), CHARUCO)
    seen = CAMERA.project(CHARUCO.corners_m @ pose[:, :3].T + pose[:, 3])
    first = seen[: CHARUCO.columns - 1]  # of the columns of a row
    image = picture(CHARUCO).copy()
    keep = np.zeros(image.shape[:2], np.uint8)
    step = first[1] - first[0]
    ends = [tuple(int(v) for v in place) for place in (first[0] - step, first[-1] + step)]
    cv2.line(keep, *ends, 255, int(1.9 * np.linalg.norm(step)))
    image[keep == 0] = 128
    with pytest.raises(CannotCalibrate) as error:
        find_board(image, CHARUCO)
    assert "lie on a line; show more" in str(error.value)
