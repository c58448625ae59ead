"""The command line, from words to files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from fakes import FakePipeline
from hypothesis import given
from hypothesis import strategies as st
from movies import read_back, steady, write_movie, write_sound
from takes import take

from xnect.demo import demo_clip, options
from xnect.demo.__main__ import INTERRUPTED, OK, USER_ERROR, main
from xnect.demo.outputs import Outputs, left_out, people_worth_a_file
from xnect.demo.sinks.mp4 import Mp4Writer
from xnect.demo.sources.video import VideoFile
from xnect.demo.video import find_videos, output_names, process_video
from xnect.errors import BadInput, CannotOpenSource, CannotWrite, XnectError
from xnect.recording import load_recording, save_recording
from xnect.types import Frame

COMMANDS = ("demo", "video", "live", "list")
ONE_BAD_INPUT = [
    (lambda p: None, "no such file"),
    (lambda p: p.write_bytes(b""), "empty"),
    (write_sound, "no pictures"),
    (lambda p: p.write_bytes(b"nonsense" * 99), "not a video"),
]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """Every command gets this pipeline; the network is tested elsewhere."""
    pipeline = FakePipeline()
    monkeypatch.setattr(options, "open_pipeline", lambda args: pipeline)
    return pipeline


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_movie(tmp_path / "clip.mp4", [0.0, 0.04, 0.1, 0.12, 0.3, 0.4])


def one_sentence(error: str) -> str:
    """The text, which must be one line that begins with the program's name, and no traceback."""
    assert error.startswith("xnect: ")
    assert error.count("\n") == 1
    return error


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom xnect.demo.__main__ import main\n"
        "for words in (['--help'], ['video', '--help'], ['live', '--help'], ['--version']):\n"
        "    try:\n        main(words)\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "heavy = {'torch', 'cv2', 'numpy', 'av', 'scipy', 'open3d', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == OK
    assert f"examples:\n  xnect {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [], ["dance"], ["video"], ["video", "a.mp4", "--device", "abacus"],
        ["video", "a.mp4", "--max-frames", "0"], ["video", "a.mp4", "--height", "175"],
        ["live", "--size", "big"], ["live", "--seconds", "-1"], ["video", "a.mp4", "--fov", "wide"],
        ["video", "a.mp4", "--fov", "60", "--camera", "c.json"],
    ],
)  # fmt: skip
def test_wrong_arguments_end_with_status_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == USER_ERROR


def test_a_video_becomes_overlay_recording_and_bvh(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["video", str(clip), "-o", str(out)]) == OK
    assert {path.name for path in out.iterdir()} == {
        "clip_overlay.mp4", "clip.npz", "clip.json", "clip_person1.bvh", "clip_person2.bvh",
    }  # fmt: skip
    images, times = read_back(out / "clip_overlay.mp4")
    np.testing.assert_allclose(times, [0.0, 0.04, 0.1, 0.12, 0.3, 0.4], atol=1e-4)
    assert images[0].shape == (48, 64, 3)
    np.testing.assert_allclose(load_recording(out / "clip.npz").time_s, times, atol=1e-4)
    told = capsys.readouterr().out
    assert "6 frames, 2 people" in told
    assert "uncalibrated" in told
    assert all(str(path) in told for path in out.iterdir())


def test_the_overlay_is_upright_and_can_have_the_scene_beside_it(tmp_path: Path) -> None:
    phone = write_movie(tmp_path / "phone.mp4", steady(3), rotation_deg=90)
    assert main(["video", str(phone), "-o", str(tmp_path), "--quiet"]) == OK
    assert read_back(tmp_path / "phone_overlay.mp4")[0][0].shape == (64, 48, 3)
    assert main(["video", str(phone), "-o", str(tmp_path), "--quiet", "--scene"]) == OK
    assert read_back(tmp_path / "phone_overlay.mp4")[0][0].shape == (64, 96, 3)


def test_quiet_says_nothing(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["video", str(clip), "-o", str(tmp_path / "out"), "--quiet"]) == OK
    assert capfd.readouterr() == ("", "")


def test_no_overlay_and_max_frames_do_as_they_say(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["video", str(clip), "-o", str(out), "--no-overlay", "--max-frames", "4", "--quiet"]
    assert main(words) == OK
    assert not list(out.glob("*.mp4"))
    assert len(load_recording(out / "clip.npz").time_s) == 4


def test_the_camera_flags_reach_the_pipeline(
    clip: Path, tmp_path: Path, fake: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["video", str(clip), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*words, "--fov", "90"]) == OK
    assert fake.camera is not None
    assert fake.camera.fx_px == pytest.approx(32)
    camera = tmp_path / "camera.json"
    camera.write_text('{"fx": 200, "fy": 200, "cx": 63.5, "cy": 47.5, "width": 128, "height": 96}')
    assert main([*words, "--camera", str(camera)]) == OK
    assert (fake.camera.fx_px, fake.camera.cx_px, fake.camera.width_px) == (100, 31.5, 64)
    assert main(words) == OK
    assert fake.camera is None  # a guess

    capsys.readouterr()
    camera.write_text('{"fx": 200, "fy": 200, "cx": 63, "cy": 63, "width": 128, "height": 128}')
    assert main([*words, "--camera", str(camera)]) == USER_ERROR
    assert "128x128" in one_sentence(capsys.readouterr().err)
    assert main([*words, "--camera", str(tmp_path / "none.json")]) == USER_ERROR
    assert "cannot read" in one_sentence(capsys.readouterr().err)
    camera.write_text("{}")
    assert main([*words, "--camera", str(camera)]) == USER_ERROR
    assert "lacks fx" in one_sentence(capsys.readouterr().err)
    assert main([*words, "--fov", "190"]) == USER_ERROR
    assert "0 and 180" in one_sentence(capsys.readouterr().err)


def test_the_camera_is_that_of_each_picture_where_the_pictures_of_a_video_are_turned(
    clip: Path, tmp_path: Path, fake: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = VideoFile.__iter__

    def turned(video: VideoFile) -> Iterator[Frame]:
        for frame in frames(video):
            image = frame.image if frame.index % 4 < 2 else frame.image.swapaxes(0, 1).copy()
            yield replace(frame, image=image)

    monkeypatch.setattr(VideoFile, "__iter__", turned)
    words = ["video", str(clip), "-o", str(tmp_path), "--quiet", "--no-overlay", "--fov", "90"]
    assert main(words) == OK
    results = load_recording(tmp_path / "clip.npz").results
    assert {result.image_hw for result in results} == {(48, 64), (64, 48)}
    for result in results:
        assert (result.camera.height_px, result.camera.width_px) == result.image_hw


@pytest.mark.parametrize(("make", "word"), ONE_BAD_INPUT)
def test_a_bad_input_is_one_sentence_and_status_2(
    tmp_path: Path, make, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "input.wav"
    make(path)
    assert main(["video", str(path), "-o", str(tmp_path / "out")]) == USER_ERROR
    assert word in one_sentence(capfd.readouterr().err)


def test_a_bad_input_does_not_keep_the_others_from_being_done(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "a.mp4"
    empty.write_bytes(b"")
    out = tmp_path / "out"
    assert main(["video", str(empty), str(clip), "-o", str(out)]) == USER_ERROR
    assert "empty" in one_sentence(capsys.readouterr().err)
    assert (out / "clip_overlay.mp4").exists()
    assert not list(out.glob("a*"))


def test_an_input_broken_half_way_leaves_whole_outputs_of_its_first_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_movie(tmp_path / "whole.mkv", steady(50), hw=(96, 128))
    path = tmp_path / "half.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    out = tmp_path / "out"
    assert main(["video", str(path), "-o", str(out)]) == USER_ERROR
    assert "damaged" in one_sentence(capsys.readouterr().err)
    images, times = read_back(out / "half_overlay.mp4")
    assert 3 <= len(images) < 50
    assert len(load_recording(out / "half.npz").time_s) == len(times)
    assert (out / "half_person1.bvh").exists()


def test_ctrl_c_keeps_what_was_done_and_ends_with_130(
    clip: Path, tmp_path: Path, fake: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(index: int) -> None:
        if index == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    fake.on_frame = press
    out = tmp_path / "out"
    later = write_movie(tmp_path / "later.mp4", steady(3))
    assert main(["video", str(clip), str(later), "-o", str(out)]) == INTERRUPTED
    assert "saved" in one_sentence(capsys.readouterr().err)
    assert len(read_back(out / "clip_overlay.mp4")[0]) == 3
    assert len(load_recording(out / "clip.npz").time_s) == 3
    assert not (out / "later.npz").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/xnect"])
def test_a_folder_that_cannot_be_written_is_one_sentence(
    clip: Path, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if where.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("")
    assert main(["video", str(clip), "-o", str(tmp_path / where)]) == USER_ERROR
    assert "cannot write" in one_sentence(capsys.readouterr().err)


def test_a_disk_that_fills_up_keeps_what_was_done(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append = Outputs.append

    def full_at_three(self: Outputs, image: np.ndarray, result) -> None:
        if result.index == 3:
            raise CannotWrite("cannot write the overlay: No space left on device")
        append(self, image, result)

    monkeypatch.setattr(Outputs, "append", full_at_three)
    out = tmp_path / "out"
    assert main(["video", str(clip), "-o", str(out)]) == USER_ERROR
    assert "No space left" in one_sentence(capsys.readouterr().err)
    assert len(read_back(out / "clip_overlay.mp4")[0]) == 3
    assert len(load_recording(out / "clip.npz").time_s) == 3


def test_an_unexpected_failure_of_the_pipeline_still_saves_what_was_done(
    clip: Path, tmp_path: Path, fake: FakePipeline
) -> None:
    def fail(index: int) -> None:
        if index == 3:
            raise ZeroDivisionError

    fake.on_frame = fail
    with pytest.raises(ZeroDivisionError):
        process_video(clip, tmp_path / "out", pipeline=fake)
    assert len(load_recording(tmp_path / "out" / "clip.npz").time_s) == 3
    assert len(read_back(tmp_path / "out" / "clip_overlay.mp4")[0]) == 3


def test_a_video_without_people_is_a_normal_video(
    clip: Path, tmp_path: Path, fake: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.people = 0
    assert main(["video", str(clip), "-o", str(tmp_path / "out")]) == OK
    assert "6 frames, 0 people" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.bvh"))


def test_a_picture_of_one_pixel_is_processed(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "one.png"
    assert cv2.imwrite(str(path), np.zeros((1, 1), np.uint16))
    assert main(["video", str(path), "-o", str(tmp_path / "out"), "--scene", "--quiet"]) == OK
    assert len(load_recording(tmp_path / "out" / "one.npz").time_s) == 1


def test_a_pipeline_that_reads_ahead_gets_its_pictures_right(tmp_path: Path) -> None:
    class Eager(FakePipeline):
        def stream(self, frames):
            return super().stream(list(frames))

    clip = write_movie(tmp_path / "clip.mp4", steady(5))
    process_video(clip, tmp_path / "out", pipeline=Eager(people=0))
    images, _ = read_back(tmp_path / "out" / "clip_overlay.mp4")
    originals, _ = read_back(clip)
    for shown, original in zip(images, originals, strict=True):
        assert abs(float(np.median(shown)) - float(np.median(original))) <= 2


def test_files_folders_and_patterns_are_found_once_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "c.txt", "b_overlay.mp4", "sub/d.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = find_videos(
        [str(tmp_path), str(tmp_path / "*" / "*.mkv"), str(tmp_path / "b.mp4")], pytest.fail
    )
    assert [path.name for path in found] == ["a.MOV", "b.mp4", "d.mkv"]
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "*.avi"):
        with pytest.raises(CannotOpenSource):
            find_videos([str(nothing)], pytest.fail)
        said: list[str] = []
        found = find_videos([str(nothing), str(tmp_path / "b.mp4")], said.append)
        assert [path.name for path in found] == ["b.mp4"]
        assert len(said) == 1


def test_hidden_files_are_inputs_only_where_they_are_named(tmp_path: Path) -> None:
    """Such as the `._clip.mp4` that macOS puts beside each file on a USB stick."""
    hidden = tmp_path / "._clip.mp4"
    for path in (hidden, tmp_path / "clip.mp4"):
        path.write_text("")
    for word in (tmp_path, tmp_path / "*.mp4"):
        assert find_videos([str(word)], pytest.fail) == [tmp_path / "clip.mp4"]
    assert find_videos([str(hidden)], pytest.fail) == [hidden]


def test_a_pattern_that_finds_nothing_keeps_no_other_video_from_being_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_movie(tmp_path / "a.mp4", steady(3))
    words = [str(tmp_path / "none*.mov"), str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out")]
    assert main(["video", *words, "--quiet"]) == USER_ERROR
    assert "none*.mov" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.npz").exists()


def test_bvh_files_of_an_earlier_run_do_not_stay_beside_a_new_recording(tmp_path: Path) -> None:
    write_movie(tmp_path / "a.mp4", steady(3))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a_person77.bvh", "a_person77.txt", "ab_person77.bvh"):
        (out / name).write_text("old")
    assert main(["video", str(tmp_path / "a.mp4"), "-o", str(out), "--quiet"]) == OK
    left = {path.name for path in out.iterdir()}
    assert "a_person77.bvh" not in left
    assert {"a_person77.txt", "ab_person77.bvh"} <= left


def test_who_gets_no_bvh_file_is_said(tmp_path: Path) -> None:
    rows = {1: range(40), 2: range(5), 3: range(7)}
    path = save_recording(tmp_path / "a.npz", take(np.arange(40) / 25, rows), source="x", fps=25)
    said = left_out(load_recording(path))
    assert said == ["2 people were seen for less than 0.5 s: no BVH file"]
    short = save_recording(tmp_path / "b.npz", take(np.arange(5) / 25, rows), source="x", fps=25)
    assert not left_out(load_recording(short))


def test_who_is_seen_at_a_slower_rate_is_seen_as_long() -> None:
    times_s = np.concatenate([np.arange(300) / 60, 5 + np.arange(25) / 10])
    rows = {1: range(300), 2: range(300, 325), 3: range(20)}
    with TemporaryDirectory() as folder:
        recording = load_recording(save_recording(Path(folder) / "a", take(times_s, rows), fps=60))
    assert people_worth_a_file(recording) == [1, 2]


@pytest.mark.parametrize("how", ["at once", "error"])
def test_a_run_without_frames_leaves_what_an_earlier_one_made(
    clip: Path, tmp_path: Path, fake: FakePipeline, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    out = tmp_path / "out"
    assert main(["video", str(clip), "-o", str(out), "--quiet"]) == OK
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def broken(frames):
        raise XnectError("no memory") if how == "error" else KeyboardInterrupt
        yield

    monkeypatch.setattr(fake, "stream", broken)
    assert main(["video", str(clip), "-o", str(out), "--quiet"]) != OK
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_ctrl_c_while_files_are_finished_starts_no_other_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_movie(tmp_path / f"{name}.mp4", steady(4))
    words = ["video", str(tmp_path), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(words) == OK
    whole = (tmp_path / "out" / "b.npz").read_bytes()

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return []

    monkeypatch.setattr("xnect.demo.outputs.write_people", interrupted)
    assert main(words) == INTERRUPTED
    assert (tmp_path / "out" / "b.npz").read_bytes() == whole


def test_an_overlay_that_fails_does_not_end_the_recording(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self, image, time_s):
        raise CannotWrite("cannot write the overlay")

    monkeypatch.setattr(Mp4Writer, "append", fails)
    assert main(["video", str(clip), "-o", str(tmp_path / "out"), "--quiet"]) == USER_ERROR
    assert "cannot write the overlay" in one_sentence(capsys.readouterr().err)
    assert len(load_recording(tmp_path / "out" / "clip.npz").time_s) == 6


def test_a_name_too_long_for_its_outputs_is_said_before_the_work(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = clip.rename(tmp_path / ("\u3042" * 80 + ".mp4"))
    write_movie(tmp_path / "z.mp4", steady(3))
    words = [str(long), str(tmp_path / "z.mp4"), "-o", str(tmp_path / "out"), "--quiet"]
    assert main(["video", *words]) == USER_ERROR
    assert "has 240 bytes" in one_sentence(capsys.readouterr().err)
    assert (tmp_path / "out" / "z.npz").exists()
    with pytest.raises(BadInput, match="cannot read"):
        load_recording(tmp_path / ("x" * 250 + ".npz"))


def test_outputs_of_inputs_with_equal_names_do_not_overwrite_each_other() -> None:
    paths = [Path(p) for p in ("a/clip.mp4", "b/clip.mov", "b/Clip.mkv", "clip_2.mp4", "x.mp4")]
    names = output_names(paths)
    assert len({name.lower() for name in names}) == len(paths)
    assert names[0] == "clip"
    assert names[-1] == "x"


@given(st.lists(st.sampled_from(["a/clip", "b/clip", "a/clip_2", "b/Clip_2", "clip_2_2", "x"])))
def test_the_first_input_of_each_name_gives_its_outputs_that_name(words: list[str]) -> None:
    paths = [Path(f"{word}.mp4") for word in words]
    names = output_names(paths)
    assert len({name.lower() for name in names}) == len(paths)
    first: dict[str, str] = {}
    for path, name in zip(paths, names, strict=True):
        if first.setdefault(path.stem.lower(), name) == name:
            assert name == path.stem
        else:
            assert name.startswith(f"{path.stem}_")


def test_demo_runs_the_bundled_clip(
    tmp_path: Path, fake: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["demo", "-o", str(out), "--max-frames", "3"]) == OK
    assert {"demo_overlay.mp4", "demo.npz", "demo.json"} <= {path.name for path in out.iterdir()}
    told = capsys.readouterr().out
    assert "demo_overlay.mp4" in told
    assert "uncalibrated" not in told
    assert fake.camera is not None
    assert fake.camera.calibrated


def test_a_missing_demo_clip_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_clip, "CLIP", tmp_path / "gone.mp4")
    assert main(["demo", "-o", str(tmp_path)]) == USER_ERROR
    assert "gone.mp4 is missing" in one_sentence(capsys.readouterr().err)


def test_a_file_can_be_played_live_without_a_screen(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    takes = tmp_path / "takes"
    assert main(["live", str(clip), "--headless", "--record", str(takes)]) == OK
    told = capsys.readouterr().out
    assert "latency" in told
    assert "p95" in told
    (npz,) = takes.glob("live_*.npz")
    assert 1 <= len(load_recording(npz).time_s) <= 6
    assert str(npz) in told


def test_live_says_why_there_is_no_window_and_goes_on(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform in ("win32", "darwin"):
        pytest.skip("there is always a display")
    assert main(["live", str(clip), "--max-frames", "2", "--quiet"]) == OK
    assert "no window" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("source", ["63", "nowhere.mp4"])
def test_a_live_source_that_does_not_open_is_one_sentence(
    source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", source, "--headless"]) == USER_ERROR
    assert "cannot open" in one_sentence(capfd.readouterr().err)


def test_ctrl_c_ends_a_live_run_with_its_recording_saved(
    clip: Path, tmp_path: Path, fake: FakePipeline
) -> None:
    fake.on_frame = lambda index: os.kill(os.getpid(), signal.SIGINT)
    words = ["live", str(clip), "--headless", "--record", str(tmp_path / "t"), "--quiet"]
    assert main(words) == INTERRUPTED
    (npz,) = (tmp_path / "t").glob("*.npz")
    assert len(load_recording(npz).time_s) == 1


def test_without_open3d_its_viewer_says_what_to_install(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)  # makes its import fail
    assert main(["live", str(clip), "--headless", "--open3d"]) == USER_ERROR
    assert "pip install 'xnect[viz]'" in one_sentence(capsys.readouterr().err)


def test_list_names_presets_backbones_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == OK
    told = capsys.readouterr().out
    for word in ("presets:", "refiners:", "backbones:", "selecsls60", "weights in"):
        assert word in told
