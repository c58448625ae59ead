from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnect.calib.camera import Camera
from xnect.calib.file import Origin, camera_of_fov, load_camera, load_origin, save_camera
from xnect.calib.floor import Floor

CAMERA = Camera(1234.5, 1230.25, 640.125, 355.5, 1280, 720, (0.1, -0.2, 0.001, 0.002, 0.03))


def same(a: Camera, b: Camera) -> bool:
    return vars(a) == vars(b)


@given(
    st.floats(1, 1e5), st.floats(-1e4, 1e4), st.integers(1, 10_000),
    st.lists(st.floats(-1, 1), min_size=5, max_size=5), st.booleans(),
)  # fmt: skip
def test_a_saved_camera_is_loaded_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    focal: float, centre: float, size: int, dist: list[float], calibrated: bool,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("camera") / "camera.json"
    camera = Camera(focal, focal * 1.1, centre, -centre, size, size + 1, tuple(dist), calibrated)
    save_camera(path, camera)
    assert same(load_camera(path), camera)


def test_an_origin_written_by_hand_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    save_camera(path, CAMERA)
    text = path.read_text().rstrip().rstrip("}") + ', "origin": "by hand"}'
    path.write_text(text)
    assert load_origin(path) == Origin()
    assert same(load_camera(path), CAMERA)


def write_opencv(path: Path, dist: np.ndarray, names: tuple[str, str]) -> None:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 1280)
    storage.write("image_height", 720)
    storage.write(names[0], CAMERA.matrix)
    storage.write(names[1], dist)
    storage.release()


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
@pytest.mark.parametrize("names", [("camera_matrix", "distortion_coefficients"), ("K", "D")])
def test_the_yaml_of_opencv_is_read(
    tmp_path: Path, shape: tuple[int, int], names: tuple[str, str]
) -> None:
    path = tmp_path / "camera.yml"
    write_opencv(path, np.array(CAMERA.dist).reshape(shape), names)
    assert same(load_camera(path), CAMERA)


@pytest.mark.parametrize("start", ["", "---\n"])
def test_the_yaml_of_ros_is_read(tmp_path: Path, start: str) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(
        start + "image_width: 1280\nimage_height: 720\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
        "  data: [1234.5, 0, 640.125, 0, 1230.25, 355.5, 0, 0, 1]\n"
        "distortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [0.1, -0.2, 0.001, 0.002, 0.03]\n"
    )
    assert same(load_camera(path), CAMERA)


@pytest.mark.parametrize("said", ["fisheye_model: 1", "distortion_model: equidistant"])
def test_the_distortion_of_another_lens_model_is_refused(tmp_path: Path, said: str) -> None:
    path = tmp_path / "camera.yml"
    write_opencv(path, np.array([[0.1, -0.02, 0.01, -0.002]]), ("K", "D"))
    ordinary = "distortion_model: plumb_bob"
    path.write_text(path.read_text() + ordinary + "\n")
    assert load_camera(path).dist == (0.1, -0.02, 0.01, -0.002)
    path.write_text(path.read_text().replace(ordinary, said))
    with pytest.raises(ValueError, match="distortion model"):
        load_camera(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "neither"),
        ("hello", "neither"),
        ("\x00\x01\x02", "neither"),
        ("{", "not valid JSON"),
        ('{"fx": 1}', "lacks fy"),
        (json.dumps({"fx": -1, "fy": 1, "cx": 0, "cy": 0, "width": 2, "height": 2}), "positive"),
        (json.dumps({"fx": "a", "fy": 1, "cx": 0, "cy": 0, "width": 2, "height": 2}), "number"),
        ('{"fx": NaN, "fy": 1, "cx": 0, "cy": 0, "width": 2, "height": 2}', "finite"),
        (
            json.dumps({"fx": 1, "fy": 1, "cx": 0, "cy": 0, "width": 2, "height": 2, "dist": [1]}),
            "got 1",
        ),
    ],
)
def test_what_is_no_camera_is_refused_in_one_sentence(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=word) as caught:
        load_camera(path)
    assert "\n" not in str(caught.value)


@given(st.floats(0.1, 3.0), st.integers(1, 4000), st.integers(1, 4000))
def test_the_longer_side_is_seen_under_the_given_angle(fov: float, height: int, width: int) -> None:
    camera = camera_of_fov(fov, height_px=height, width_px=width)
    assert 2 * math.atan(max(height, width) / 2 / camera.fx_px) == pytest.approx(fov)
    assert camera.calibrated


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """Of editors and shells on Windows."""
    save_camera(tmp_path / "a.json", CAMERA)
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "b.json").write_text(text, encoding="utf-8-sig")
    assert same(load_camera(tmp_path / "b.json"), CAMERA)


PLAIN = (
    "image_width: 1280\nimage_height: 720\n"
    "camera_matrix: [1234.5, 0, 640.125, 0, 1230.25, 355.5, 0, 0, 1]\n"
)


def test_a_yaml_with_plain_lists_is_read(tmp_path: Path) -> None:
    path = tmp_path / "camera.yml"
    dist = "distortion_coefficients: [ 0.1, -0.2, 0.001, 0.002, 0.03 ]\n"
    path.write_text(PLAIN + dist + "floor_normal: [ 0., -1., 0. ]\nfloor_distance_m: 1.5\n")
    camera = load_camera(path)
    assert camera.dist == (0.1, -0.2, 0.001, 0.002, 0.03)
    assert camera.floor == Floor((0.0, -1.0, 0.0), 1.5)
    path.write_text(PLAIN + "distortion_coefficients: []\n")
    assert load_camera(path).dist == ()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("distortion_coefficients: hello", "distortion_coefficients"),
        ("distortion_coefficients: [ [ 0.1, 0.2, 0, 0 ] ]", "distortion_coefficients"),
        ("floor_normal: up\nfloor_distance_m: 1.5", "floor_normal"),
    ],
)
def test_a_yaml_that_says_what_is_no_number_is_refused(
    tmp_path: Path, line: str, name: str
) -> None:
    path = tmp_path / "camera.yml"
    path.write_text(PLAIN + line + "\n")
    with pytest.raises(ValueError, match=f"{name} must be numbers"):
        load_camera(path)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("dist", "12345", "not a number"), ("calibrated", "false", "true or false"),
     ("fx", 10**400, "not a number")],
)  # fmt: skip
def test_a_json_of_wrong_kinds_is_refused(
    tmp_path: Path, key: str, value: object, word: str
) -> None:
    path = tmp_path / "camera.json"
    good = {"fx": 900, "fy": 900, "cx": 640, "cy": 360, "width": 1280, "height": 720}
    path.write_text(json.dumps({**good, key: value}))
    with pytest.raises(ValueError, match=word):
        load_camera(path)


def test_of_an_origin_only_values_of_the_right_kind_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    said = {"source": 5, "reprojection_error_px": "0.3", "fx_sd_px": 2, "floor_source": "board"}
    good = {"fx": 900, "fy": 900, "cx": 640, "cy": 360, "width": 1280, "height": 720}
    path.write_text(json.dumps({**good, "origin": said}))
    assert load_origin(path) == Origin(fx_sd_px=2, floor_source="board")


@pytest.mark.parametrize("name", ["camera.json", "camera.yml"])
def test_numbers_of_numpy_are_saved(tmp_path: Path, name: str) -> None:
    floor = Floor(tuple(np.float32([0, -1, 0])), np.float32(1.5))
    camera = Camera(
        np.float32(900), np.float64(900), np.int64(640), 360.0, np.int64(1280), np.int32(720),
        floor=floor,
    )  # fmt: skip
    assert same(load_camera(save_camera(tmp_path / name, camera)), camera)
