"""Video in and video out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from movies import number_of, picture, read_back, steady, write_movie, write_sound
from PIL import Image, ImageOps

from xnect.demo.sinks.mp4 import Mp4Writer
from xnect.demo.sources.video import Orientation, VideoFile
from xnect.errors import CannotOpenSource, CannotWrite

UNEVEN = [0.0, 0.04, 0.05, 0.3, 0.34, 0.5, 0.9, 1.0]


def frames_of(path: Path) -> list[tuple[int, float, int]]:
    with VideoFile(path) as video:
        return [(f.index, f.time_s, number_of(f.image)) for f in video]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_comes_once_with_its_exact_time(tmp_path: Path, suffix: str) -> None:
    found = frames_of(write_movie(tmp_path / f"clip{suffix}", UNEVEN))
    assert [(index, number) for index, _, number in found] == [(i, i) for i in range(8)]
    np.testing.assert_allclose([time for _, time, _ in found], UNEVEN, atol=1e-9)


def test_times_start_at_zero_when_the_file_starts_later(tmp_path: Path) -> None:
    late = frames_of(write_movie(tmp_path / "late.mkv", [7.0 + t for t in UNEVEN]))
    np.testing.assert_allclose([time for _, time, _ in late], UNEVEN, atol=1e-9)


def test_a_gif_is_a_video(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "clip.gif", steady(6, 10.0), codec="gif")
    with VideoFile(path) as video:
        assert [round(f.time_s, 2) for f in video] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_single_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    for name, image in (
        ("grey16.png", np.full((9, 7), 30000, np.uint16)),
        ("rgba.png", np.zeros((9, 7, 4), np.uint8)),
        ("one.png", np.zeros((1, 1, 3), np.uint8)),
    ):
        assert cv2.imwrite(str(tmp_path / name), image)
        with VideoFile(tmp_path / name) as video:
            (frame,) = list(video)
        assert frame.image.shape == (*image.shape[:2], 3)
        assert frame.image.dtype == np.uint8


@pytest.mark.parametrize("degrees", [90, 180, 270, -90])
def test_the_rotation_of_a_phone_is_applied_as_opencv_applies_it(
    tmp_path: Path, degrees: int
) -> None:
    path = write_movie(tmp_path / "phone.mp4", steady(3), rotation_deg=degrees)
    with VideoFile(path) as video:
        ours = next(iter(video)).image
        assert ours.shape[:2] == video.hw
    _, theirs_bgr = cv2.VideoCapture(str(path)).read()
    theirs = cv2.cvtColor(theirs_bgr, cv2.COLOR_BGR2RGB)
    assert ours.shape == theirs.shape
    assert ours.shape[:2] == ((64, 48) if degrees % 180 else (48, 64))
    assert np.abs(ours.astype(int) - theirs).mean() < 4


@pytest.mark.parametrize("exif", [1, 3, 6, 8])
def test_a_photo_with_exif_is_opened_and_upright(tmp_path: Path, exif: int) -> None:
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:16, :24], stored[-16:, :24] = (255, 0, 0), (0, 255, 0)
    said = Image.Exif()
    said[0x0112] = exif
    Image.fromarray(stored).save(tmp_path / "photo.jpg", exif=said, quality=95)
    with VideoFile(tmp_path / "photo.jpg") as video:
        ours = next(iter(video)).image
    theirs = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg")), int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 4


@given(st.booleans(), st.booleans(), st.booleans())
def test_every_orientation_moves_the_pixels_where_its_matrix_says(
    transpose: bool, flip_x: bool, flip_y: bool
) -> None:
    sx, sy = (-1 if flip_x else 1), (-1 if flip_y else 1)
    linear = np.array([[0, sy], [sx, 0]] if transpose else [[sx, 0], [0, sy]])
    matrix = np.zeros((3, 3), np.int32)
    matrix[:2, :2] = linear * 65536
    stored = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    shown = Orientation.of_matrix(matrix).apply(stored)
    corners = np.array([(x, y) for y in range(2) for x in range(3)]) @ linear
    for (x, y), (new_x, new_y) in zip(
        [(x, y) for y in range(2) for x in range(3)], corners - corners.min(0), strict=True
    ):
        np.testing.assert_array_equal(shown[new_y, new_x], stored[y, x])


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "wide.mp4", steady(3), aspect=Fraction(2, 1))
    with VideoFile(path) as video:
        assert video.hw == (48, 128)
        assert next(iter(video)).image.shape == (48, 128, 3)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.mkdir(), "folder"),
        (lambda p: p.write_bytes(os.urandom(5000)), "not a video"),
        (lambda p: p.write_text("hello " * 500), "not a video"),
        (write_sound, "no pictures"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path, make, word: str) -> None:
    path = tmp_path / "input.wav"
    make(path)
    with pytest.raises(CannotOpenSource, match=word) as caught:
        VideoFile(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def _moov_first(path: Path) -> Path:
    first = path.with_name("first.mp4")
    with (
        av.open(str(path)) as source,
        av.open(str(first), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return first


@pytest.mark.parametrize("kind", ["cut", "noise"])
def test_a_file_broken_half_way_gives_its_frames_and_then_says_so(
    tmp_path: Path, kind: str
) -> None:
    path = _moov_first(write_movie(tmp_path / "whole.mp4", steady(50), hw=(96, 128)))
    data = bytearray(path.read_bytes())
    if kind == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    path.write_bytes(data)
    indices: list[int] = []
    with VideoFile(path) as video, pytest.raises(CannotOpenSource, match="damaged"):
        indices.extend(frame.index for frame in video)  # takes them one by one, so keeps them
    assert indices == list(range(len(indices)))
    assert 3 <= len(indices) < 50


def test_what_is_written_is_read_back_at_the_same_times(tmp_path: Path) -> None:
    path = tmp_path / "out" / "clip.mp4"
    with Mp4Writer(path, fps=25) as writer:
        for number, time_s in enumerate(UNEVEN):
            writer.append(picture(number), time_s + 3)
    images, times = read_back(path)
    assert [number_of(image) for image in images] == list(range(8))
    np.testing.assert_allclose(times, UNEVEN, atol=1e-4)
    assert not list(path.parent.glob("*.part*"))


def test_browsers_can_play_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with Mp4Writer(path, fps=25) as writer:
        for number in range(10):
            writer.append(picture(number, (47, 65)), number / 25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.format.name == "yuv420p"
        assert (stream.height, stream.width) == (46, 64)
        assert container.duration / 1e6 == pytest.approx(0.4, abs=0.002)
        assert stream.start_time == 0
    assert b"mvex" not in path.read_bytes().split(b"mdat")[-1]  # a plain file, not fragments


def test_colours_survive(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with Mp4Writer(path, fps=25) as writer:
        writer.append(np.full((64, 64, 3), (200, 40, 90), np.uint8), 0.0)
    (image,), _ = read_back(path)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 40, 90), atol=4)


def test_a_picture_of_one_pixel_can_be_written(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "one.mp4", fps=25) as writer:
        writer.append(np.zeros((1, 1, 3), np.uint8), 0.0)
    assert read_back(tmp_path / "one.mp4")[0][0].shape == (2, 2, 3)


def test_without_pictures_no_file_is_made(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "none.mp4", fps=25) as writer:
        pass
    assert writer.close() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hw", [(24, 32), (100, 64), (48, 96)])
def test_a_picture_of_another_size_is_scaled_to_fit(tmp_path: Path, hw: tuple[int, int]) -> None:
    with Mp4Writer(tmp_path / "clip.mp4", fps=25) as writer:
        writer.append(picture(0), 0.0)
        writer.append(np.full((*hw, 3), 200, np.uint8), 0.1)
    image = read_back(tmp_path / "clip.mp4")[0][1]
    scale = min(48 / hw[0], 64 / hw[1])
    inside = scale**2 * hw[0] * hw[1] / (48 * 64)
    assert image.shape == (48, 64, 3)
    assert (image > 100).mean() == pytest.approx(inside, abs=0.05)
    assert image[24, 32].min() > 190


def test_names_that_look_like_protocols_are_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Mp4Writer("12:30.mp4", fps=25) as writer:
        writer.append(picture(3), 0.0)
    with VideoFile("12:30.mp4") as video:
        assert [number_of(frame.image) for frame in video] == [3]


def test_an_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    writer = Mp4Writer(path, fps=25)
    writer.append(picture(0), 0.0)
    assert path.read_bytes() == b"old"
    assert writer.close() == path
    assert writer.close() == path
    assert len(read_back(path)[0]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_what_a_killed_process_wrote_can_be_played(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, numpy as np\n"
        "from xnect.demo.sinks.mp4 import Mp4Writer\n"
        "writer = Mp4Writer(sys.argv[1], fps=25)\n"
        "for i in range(260):\n"  # so plain that all of it would fit into one buffer
        "    writer.append(np.full((64, 64, 3), i % 250, np.uint8), i / 25)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "clip.mp4"
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    frames = 0
    with VideoFile(tmp_path / "clip.part.mp4") as video, suppress(CannotOpenSource):
        for _ in video:  # the last fragment may be cut off, which is said at the end
            frames += 1
    assert frames >= 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "clip.part.mp4").symlink_to("/dev/full")
    writer = Mp4Writer(tmp_path / "clip.mp4", fps=25)
    noise = np.random.default_rng(0)

    def write() -> None:
        for number in range(100):
            writer.append(noise.integers(0, 255, (128, 128, 3), np.uint8), number / 25)
        writer.close()

    with pytest.raises(CannotWrite, match="No space left"):
        write()
    assert not (tmp_path / "clip.mp4").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = Mp4Writer(tmp_path / "file" / "clip.mp4", fps=25)
    with pytest.raises(CannotWrite, match="cannot write"):
        writer.append(picture(0), 0.0)


def test_a_clock_that_begins_again_goes_on_at_the_same_pace(tmp_path: Path) -> None:
    """Two recordings in one file, as cameras join them."""
    for name in "ab":
        write_movie(tmp_path / f"{name}.ts", steady(20))
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with VideoFile(both) as video:
        times = [frame.time_s for frame in video]
    assert len(times) == 40
    steps = np.diff(times)
    assert (steps > 0).all() and steps[20:].mean() == pytest.approx(1 / 25, rel=0.05)


def test_the_clock_of_a_webm_is_not_its_rate(tmp_path: Path) -> None:
    """Browsers write no rate; what is guessed then are the 1000 ticks of a second."""
    path = tmp_path / "x.webm"
    write_movie(path, [0.0, 0.03, 0.07, 0.1, 0.13, 0.17], codec="libvpx")
    data = path.read_bytes()
    at = data.find(bytes.fromhex("23e383"))  # DefaultDuration, of which a Void is made
    if at >= 0:
        size = data[at + 3] & 0x7F
        void = b"\xec" + bytes([0x80 | (size + 2)]) + b"\0" * (size + 2)
        path.write_bytes(data[:at] + void + data[at + 4 + size :])
    with VideoFile(path) as video:
        assert video.fps <= 60
        assert len([frame.time_s for frame in video]) == 6
