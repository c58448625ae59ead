"""Camera files with a floor, OpenCV's YAML both ways, other resolutions, EXIF."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from takes import take

from xnect.calib.camera import Camera
from xnect.calib.errors import CannotCalibrate
from xnect.calib.exif import camera_of_exif, focal_px
from xnect.calib.file import Origin, load_camera, load_origin, save_camera
from xnect.calib.floor import Floor, floor_of
from xnect.calib.resolution import camera_for_size, scaling
from xnect.recording import load_recording, save_recording

FLOOR = floor_of(np.array((0.02, -0.95, -0.3)), 1.6)
CAMERA = Camera(
    1234.5, 1230.25, 640.125, 355.5, 1280, 720, (0.1, -0.2, 0.001, 0.002, 0.03), True, FLOOR
)
ORIGIN = Origin("chessboard 9x6, 14 of 16 views", 0.21, 1.5, 1.4, "3 marks", 0.01, 0.02)


def same(a: Camera, b: Camera) -> bool:
    return vars(a) == vars(b)


@pytest.mark.parametrize("name", ["camera.json", "camera.yml", "camera.YAML"])
@pytest.mark.parametrize("camera", [CAMERA, replace(CAMERA, floor=None), replace(CAMERA, dist=())])
def test_a_camera_survives_either_file(tmp_path: Path, name: str, camera: Camera) -> None:
    save_camera(tmp_path / name, camera, ORIGIN)
    assert same(load_camera(tmp_path / name), camera)


def test_the_yaml_is_read_by_opencv(tmp_path: Path) -> None:
    save_camera(tmp_path / "camera.yml", CAMERA, ORIGIN)
    storage = cv2.FileStorage(str(tmp_path / "camera.yml"), cv2.FILE_STORAGE_READ)
    assert np.array_equal(storage.getNode("camera_matrix").mat(), CAMERA.matrix)
    assert storage.getNode("distortion_coefficients").mat().ravel().tolist() == list(CAMERA.dist)
    assert storage.getNode("image_width").real() == 1280
    assert storage.getNode("avg_reprojection_error").real() == 0.21


def test_the_origin_is_kept_in_json(tmp_path: Path) -> None:
    save_camera(tmp_path / "camera.json", CAMERA, ORIGIN)
    assert load_origin(tmp_path / "camera.json") == ORIGIN
    save_camera(tmp_path / "camera.yml", CAMERA, ORIGIN)
    assert load_origin(tmp_path / "camera.yml") == Origin()


def test_a_file_of_before_has_no_floor_and_no_origin(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"fx": 9, "fy": 9, "cx": 4, "cy": 3, "width": 8, "height": 6}))
    assert load_camera(path).floor is None
    assert load_camera(path).calibrated
    assert load_origin(path) == Origin()


@pytest.mark.parametrize(
    ("floor", "word"),
    [
        ({"normal": [0, -1]}, "3 numbers"),
        ({"normal": [0, -1, 0]}, "distance_m"),
        ({"normal": [0, -2, 0], "distance_m": 1}, "length 1"),
        ({"normal": [0, -1, 0], "distance_m": -1}, "positive"),
        ("flat", "3 numbers"),
    ],
)
def test_a_floor_that_cannot_be_is_refused(tmp_path: Path, floor: object, word: str) -> None:
    path = tmp_path / "camera.json"
    values = {"fx": 9, "fy": 9, "cx": 4, "cy": 3, "width": 8, "height": 6, "floor": floor}
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=word):
        load_camera(path)


def test_a_recording_keeps_the_floor_of_its_camera(tmp_path: Path) -> None:
    results = take([0.0, 0.1], {1: {0, 1}}, camera=CAMERA)
    loaded = load_recording(save_recording(tmp_path / "take.npz", results))
    assert same(loaded.cameras[0], CAMERA)
    assert isinstance(loaded.cameras[0].floor, Floor)


@given(
    st.sampled_from([0.25, 0.5, 1.5, 3.0]), st.floats(-1, 1), st.floats(-0.5, 0.5), st.floats(2, 9)
)
def test_the_scaled_camera_projects_to_the_scaled_pixels(
    scale: float, x: float, y: float, z: float
) -> None:
    scaled = camera_for_size(CAMERA, height_px=round(720 * scale), width_px=round(1280 * scale))
    point = np.array((x, y, z))
    expected = (CAMERA.project(point) + 0.5) * scale - 0.5
    assert np.allclose(scaled.project(point), expected, atol=1e-6)
    assert scaled.floor == CAMERA.floor
    assert scaled.dist == CAMERA.dist


def test_scaling_is_said_and_another_shape_refused() -> None:
    assert camera_for_size(CAMERA, height_px=720, width_px=1280) is CAMERA
    assert scaling(CAMERA, height_px=720, width_px=1280) == ""
    assert "1280x720 and is scaled to 640x360" in scaling(CAMERA, height_px=360, width_px=640)
    with pytest.raises(CannotCalibrate, match="cannot be scaled to 640x480"):
        camera_for_size(CAMERA, height_px=480, width_px=640)
    with pytest.raises(CannotCalibrate, match="turned"):
        camera_for_size(CAMERA, height_px=1280, width_px=720)


def photo(path: Path, tags: dict, *, inside: dict | None = None, size=(400, 300)) -> Path:
    from PIL import Image

    image = Image.new("RGB", size)
    exif = image.getexif()
    exif.update(tags)
    exif.get_ifd(0x8769).update(inside or {})
    image.save(path, exif=exif)
    return path


def test_the_focal_length_for_film_is_read(tmp_path: Path) -> None:
    camera = camera_of_exif(photo(tmp_path / "a.jpg", {}, inside={0xA405: 26}))
    assert camera.fx_px == pytest.approx(26 * 500 / math.hypot(36, 24))
    assert (camera.width_px, camera.height_px) == (400, 300)
    assert (camera.cx_px, camera.cy_px) == (199.5, 149.5)


def test_a_turned_photo_gives_the_camera_of_the_upright_one(tmp_path: Path) -> None:
    flat = camera_of_exif(photo(tmp_path / "a.jpg", {}, inside={0xA405: 26}))
    turned = camera_of_exif(photo(tmp_path / "b.jpg", {0x0112: 6}, inside={0xA405: 26}))
    assert (turned.width_px, turned.height_px) == (300, 400)
    assert turned.fx_px == pytest.approx(flat.fx_px)


def test_the_focal_length_in_millimetres_counts_with_the_sensors_resolution() -> None:
    tags = {0x920A: 5.0, 0xA20E: 250.0, 0xA210: 4, 0xA002: 4000}
    assert focal_px(tags, width_px=4000, height_px=3000, name="x") == pytest.approx(1250)
    assert focal_px(tags, width_px=1000, height_px=750, name="x") == pytest.approx(312.5)
    inches = {**tags, 0xA20E: 250 * 25.4, 0xA210: 2}
    assert focal_px(inches, width_px=4000, height_px=3000, name="x") == pytest.approx(1250)


def test_a_photo_that_a_program_has_turned_keeps_its_focal_length() -> None:
    """Its pixels are upright then and the orientation is gone, but the stored size is left."""
    tags = {0x920A: 5.0, 0xA20E: 250.0, 0xA210: 4, 0xA002: 4000, 0xA003: 3000}
    upright = {**tags, 0xA002: 3000, 0xA003: 4000}
    for said in (tags, upright):
        for width, height in ((4000, 3000), (3000, 4000)):
            assert focal_px(said, width_px=width, height_px=height, name="x") == 1250
        assert focal_px(said, width_px=750, height_px=1000, name="x") == 312.5


def test_photos_that_do_not_say_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotCalibrate, match="does not say its focal length"):
        camera_of_exif(photo(tmp_path / "a.jpg", {}))
    with pytest.raises(CannotCalibrate, match="5 mm, but not for which sensor"):
        camera_of_exif(photo(tmp_path / "b.jpg", {}, inside={0x920A: 5.0}))
    zoomed = {0x920A: 5.0, 0xA20E: 250.0, 0xA210: 4, 0xA404: 2.0}
    with pytest.raises(CannotCalibrate, match="zoomed digitally by 2"):
        focal_px(zoomed, width_px=400, height_px=300, name="x")
    (tmp_path / "c.jpg").write_bytes(b"hello")
    with pytest.raises(CannotCalibrate, match="not a picture"):
        camera_of_exif(tmp_path / "c.jpg")
