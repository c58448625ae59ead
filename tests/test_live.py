"""A live run: cameras, window, recording on demand, clean ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cameras import mjpeg_camera
from fakes import FakePipeline
from movies import number_of, picture, read_back, steady, write_movie

from xnect.demo.live import Clock, LiveReport, Recorder, open_live, run_live
from xnect.demo.newest import newest
from xnect.demo.options import camera_chooser
from xnect.demo.sources.webcam import LiveCamera
from xnect.errors import CannotOpenSource, CannotWrite
from xnect.recording import load_recording
from xnect.types import Frame, Result


class Screen:
    """Presses the keys of a script, one per picture, and keeps the shapes that it was shown."""

    def __init__(self, keys: str) -> None:
        self.keys, self.shapes = iter(keys), []

    def show(self, image: np.ndarray) -> str:
        self.shapes.append(image.shape)
        return next(self.keys, "").strip(".")


class InStep:
    """A camera that waits for its frames to be taken, so that none is dropped."""

    def __init__(self, frames: int) -> None:
        self.frames, self.taken = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            deadline = time.monotonic() + 20
            while self.taken < index and time.monotonic() < deadline:
                time.sleep(0.001)
            yield Frame(index, time.monotonic(), picture(index))

    def count(self, clock: Clock) -> None:
        self.taken = clock.frames


def live(tmp_path: Path, frames: int = 12, **options):
    camera = InStep(frames)
    recorder = Recorder(tmp_path / "takes", "a test", scene=False)
    return run_live(
        camera, pipeline=options.pop("pipeline", FakePipeline()), recorder=recorder,
        on_frame=camera.count, **options,
    )  # fmt: skip


def test_every_frame_is_processed_when_there_is_time(tmp_path: Path) -> None:
    report = live(tmp_path)
    assert (report.frames, report.dropped, report.problems, report.files) == (12, 0, (), ())
    assert 0 < report.p50_ms <= report.p95_ms
    assert "frames/s" in report.text()
    assert not (tmp_path / "takes").exists()


class Turned(InStep):
    """A phone that is turned after six pictures, and back after nine."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield (
                replace(frame, image=picture(frame.index, (64, 48)))
                if 6 <= frame.index < 9
                else frame
            )


def turned(tmp_path: Path, camera_for) -> tuple[LiveReport, list[Result]]:
    camera, results = Turned(12), []
    report = run_live(
        camera, pipeline=FakePipeline(), recorder=Recorder(tmp_path / "takes", "a test"),
        on_frame=camera.count, camera_for=camera_for,
        viewer=lambda result: results.append(result) is None,
    )  # fmt: skip
    return report, results


def test_the_angle_of_view_holds_where_the_pictures_are_turned(tmp_path: Path) -> None:
    camera_for = camera_chooser(argparse.Namespace(fov=90.0, camera=None))
    report, results = turned(tmp_path, camera_for)
    assert (report.frames, report.problems) == (12, ())
    for result in results:
        assert (result.camera.height_px, result.camera.width_px) == result.image_hw
        assert result.camera.fx_px == pytest.approx(32)
    assert {result.image_hw for result in results} == {(48, 64), (64, 48)}


def test_where_the_pictures_are_turned_the_camera_file_that_does_not_fit_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "camera.json"
    file.write_text('{"fx": 200, "fy": 200, "cx": 63.5, "cy": 47.5, "width": 128, "height": 96}')
    camera_for = camera_chooser(argparse.Namespace(fov=None, camera=file))
    report, _ = turned(tmp_path, camera_for)
    assert report.frames == 6
    (said,) = report.problems
    assert f"camera file {file} is for pictures of 128x96" in said
    assert "turned" in said
    assert capsys.readouterr().err.count("scaled to 64x48") == 1


def test_q_ends_the_run(tmp_path: Path) -> None:
    screen = Screen("...q")
    assert live(tmp_path, screen=screen).frames == 4
    assert set(screen.shapes) == {(48, 64 + 48, 3)}  # the picture, and the 3D view beside it


def test_r_starts_and_stops_a_recording_and_each_take_has_its_own_files(tmp_path: Path) -> None:
    report = live(tmp_path, screen=Screen(".r...rr...r"), frames=14)
    takes = sorted((tmp_path / "takes").glob("*.npz"))
    assert [len(load_recording(take).time_s) for take in takes] == [4, 4]
    assert len([f for f in report.files if f.name.endswith("_overlay.mp4")]) == 2
    assert len([f for f in report.files if f.suffix == ".bvh"]) == 4
    assert all(path.exists() for path in report.files)


def test_recording_from_the_start_has_every_frame_and_starts_at_time_zero(tmp_path: Path) -> None:
    report = live(tmp_path, record=True)
    recording = load_recording(next(p for p in report.files if p.suffix == ".npz"))
    assert recording.time_s[0] == 0
    assert (np.diff(recording.time_s) > 0).all()
    assert len(recording.time_s) == 12
    overlay = next(p for p in report.files if p.suffix == ".mp4")
    np.testing.assert_allclose(read_back(overlay)[1], recording.time_s, atol=1e-3)


def test_a_recording_that_is_running_is_completed_when_the_camera_fails(tmp_path: Path) -> None:
    def unplugged() -> Iterator[Frame]:
        yield Frame(0, time.monotonic(), picture(0))
        time.sleep(0.3)
        raise CannotOpenSource("the camera was unplugged")

    recorder = Recorder(tmp_path, "a test")
    report = run_live(unplugged(), pipeline=FakePipeline(), recorder=recorder, record=True)
    assert report.problems == ("the camera was unplugged",)
    (npz,) = (path for path in report.files if path.suffix == ".npz")
    assert len(load_recording(npz).time_s) == report.frames == 1


def test_a_camera_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotOpenSource, match="no picture"):
        live(tmp_path, frames=0)


@pytest.mark.parametrize(
    "options", [{"max_frames": 3}, {"stop": lambda: True}, {"seconds": 1e-9}, {"viewer": bool}]
)
def test_a_run_can_be_limited(tmp_path: Path, options: dict) -> None:
    if "viewer" in options:
        options = {"viewer": lambda result: result.index < 2}
    assert live(tmp_path, **options).frames <= 3


def test_a_take_that_cannot_be_written_does_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / "takes").write_text("a file")
    report = live(tmp_path, screen=Screen(".r"), frames=6)
    assert report.frames == 6
    assert len(report.problems) == 1
    assert "cannot write" in report.problems[0]
    with pytest.raises(CannotWrite):
        live(tmp_path, record=True)


def test_the_pictures_of_a_network_camera_arrive_in_order() -> None:
    with mjpeg_camera() as (url, _), LiveCamera(url) as camera:
        numbers = []
        for frame in camera:
            numbers.append(number_of(frame.image))
            if len(numbers) == 12:
                break
    assert np.diff(numbers).tolist() == [1] * 11
    assert frame.image.shape == (48, 64, 3)
    assert frame.image[2, 60].argmax() == 0  # red stays red


def test_a_slow_reader_of_a_network_camera_does_not_fall_behind() -> None:
    with (
        mjpeg_camera(fps=100) as (url, sender),
        LiveCamera(url) as camera,
        closing(newest(camera)) as frames,
    ):
        ages_s, indices = [], []
        for frame in frames:
            ages_s.append(time.monotonic() - frame.time_s)
            indices.append(frame.index)
            if len(indices) == 8:
                break
            time.sleep(0.15)  # a slow network
        sent = sender.sent
    assert max(np.diff(indices)) > 1  # frames were dropped
    assert sent - indices[-1] < 100  # and what is shown is not one second old
    assert max(ages_s) < 1


def test_a_camera_that_hangs_up_is_called_again() -> None:
    with mjpeg_camera(per_call=8) as (url, sender), LiveCamera(url, patience_s=20) as camera:
        seen = 0
        for frame in camera:
            assert frame.index == seen
            seen += 1
            if seen == 12:
                break
    assert sender.connections >= 2


def test_a_camera_that_does_not_come_back_is_one_sentence() -> None:
    with mjpeg_camera(per_call=8, calls=1) as (url, _):
        camera = LiveCamera(url, patience_s=0.2)
        with camera, pytest.raises(CannotOpenSource, match=r"stopped after \d+ frames"):
            for _ in camera:
                pass


@pytest.mark.parametrize("source", ["63", "http://127.0.0.1:9/nothing", "/nowhere/clip.mp4"])
def test_a_source_that_does_not_open_is_one_sentence(source: str) -> None:
    with pytest.raises(CannotOpenSource, match="cannot open") as caught, open_live(source):
        pass
    assert "\n" not in str(caught.value)


def test_opencv_and_ffmpeg_keep_quiet_about_a_camera_that_is_not_there() -> None:
    # in a process of its own: FFmpeg's level of noise is set once, by whoever opens first
    code = "import sys\nfrom xnect.demo.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    for source in ("63", "http://127.0.0.1:9/nothing"):
        words = [sys.executable, "-c", code, "live", source, "--headless"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("xnect: cannot open")
        assert done.stderr.count("\n") == 1


def test_a_file_is_played_at_its_own_pace(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "clip.mp4", steady(6, 20.0))
    start = time.monotonic()
    with open_live(str(path)) as frames:
        times = [frame.time_s - start for frame in frames]
    assert time.monotonic() - start >= 0.25
    np.testing.assert_allclose(np.diff(times), 0.05, atol=1e-3)
