"""`xnect video --smooth offline` and `xnect smooth`, from words to files."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePipeline
from movies import read_back, steady, write_movie

import xnect
from xnect.demo import offline, options
from xnect.demo.__main__ import INTERRUPTED, OK, USER_ERROR, main
from xnect.errors import CannotWrite
from xnect.recording import load_recording
from xnect.smooth import smooth_take

FILES = {
    "clip_overlay.mp4", "clip.npz", "clip.json", "clip_person1.bvh", "clip_person2.bvh",
}  # fmt: skip


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """Every command gets this pipeline; the network is tested elsewhere."""
    pipeline = FakePipeline()
    monkeypatch.setattr(options, "open_pipeline", lambda args: pipeline)
    return pipeline


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_movie(tmp_path / "clip.mp4", steady(8))


def ctrl_c(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def offline_words(clip: Path, out: Path) -> list[str]:
    return ["video", str(clip), "-o", str(out), "--smooth", "offline"]


def test_offline_writes_what_live_writes_and_says_that_it_smoothed(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(offline_words(clip, out)) == OK
    assert {path.name for path in out.iterdir()} == FILES
    images, times = read_back(out / "clip_overlay.mp4")
    take = load_recording(out / "clip.npz")
    assert len(images) == 8
    np.testing.assert_allclose(times, take.time_s, atol=1e-4)
    assert "smoothed as a whole" in take.notes[-1]
    told = capsys.readouterr().out
    assert "smoothed as a whole: 0 rows of gaps filled" in told
    assert all(str(path) in told for path in out.iterdir())


def test_offline_does_without_the_overlay_and_with_the_scene(clip: Path, tmp_path: Path) -> None:
    assert main([*offline_words(clip, tmp_path / "a"), "--no-overlay", "--quiet"]) == OK
    assert not list((tmp_path / "a").glob("*.mp4"))
    words = [*offline_words(clip, tmp_path / "b"), "--scene", "--quiet", "--max-frames", "3"]
    assert main(words) == OK
    images, _ = read_back(tmp_path / "b" / "clip_overlay.mp4")
    assert images[0].shape == (48, 112, 3)
    assert len(images) == 3


def test_ctrl_c_while_people_are_found_still_finishes_what_was_done(
    clip: Path, tmp_path: Path, fake: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on_frame = lambda index: ctrl_c() if index == 3 else None
    out = tmp_path / "out"
    assert main(offline_words(clip, out)) == INTERRUPTED
    assert "saved" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == FILES
    take = load_recording(out / "clip.npz")
    assert len(take.time_s) == len(read_back(out / "clip_overlay.mp4")[0]) == 4
    assert "smoothed" in take.notes[-1]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_overlay_is_drawn_keeps_the_whole_recording(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    draw, drawn = offline.draw_result, []

    def pressed(image, result):
        drawn.append(result)
        if len(drawn) == 3:
            for _ in range(times):
                ctrl_c()
        return draw(image, result)

    monkeypatch.setattr(offline, "draw_result", pressed)
    out = tmp_path / "out"
    assert main([*offline_words(clip, out), "--quiet"]) == INTERRUPTED
    assert {path.name for path in out.iterdir()} == FILES
    assert len(load_recording(out / "clip.npz").time_s) == 8
    assert len(read_back(out / "clip_overlay.mp4")[0]) == 4 - times


def test_a_full_disk_keeps_the_recording_as_it_was(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path, take):
        raise CannotWrite("cannot write: No space left on device")

    monkeypatch.setattr(offline, "save_smoothed", full)
    out = tmp_path / "out"
    assert main([*offline_words(clip, out), "--quiet"]) == USER_ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "not smoothed: cannot write: No space left" in error
    take = load_recording(out / "clip.npz")
    assert len(take.time_s) == 8
    assert not any("smoothed" in note for note in take.notes)
    assert len(read_back(out / "clip_overlay.mp4")[0]) == 8


def test_a_video_without_people_is_smoothed_to_nothing(
    clip: Path, tmp_path: Path, fake: FakePipeline
) -> None:
    fake.people = 0
    assert main([*offline_words(clip, tmp_path / "out"), "--quiet"]) == OK
    assert len(load_recording(tmp_path / "out" / "clip.npz").time_s) == 8


def test_the_smooth_command_writes_a_smoothed_recording(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["video", str(clip), "-o", str(out), "--quiet", "--no-overlay"]) == OK
    target = tmp_path / "new" / "smooth.npz"
    assert main(["smooth", str(out / "clip.npz"), "-o", str(target), "--no-lock"]) == OK
    assert str(target) in capsys.readouterr().out
    was, got = load_recording(out / "clip.npz"), load_recording(target)
    np.testing.assert_array_equal(got.joints3d_m, smooth_take(was).joints3d_m)
    assert (got.source, got.fps) == (was.source, was.fps)
    assert main(["smooth", str(tmp_path / "none.npz"), "-o", str(target)]) == USER_ERROR
    assert capsys.readouterr().err.startswith("xnect: there is no recording")


def test_smooth_into_a_folder_keeps_the_name_and_the_take(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert main(["video", str(clip), "-o", str(raw), "--quiet", "--no-overlay"]) == OK
    was = (raw / "clip.npz").read_bytes()
    out.mkdir()
    for word in ("clip.npz", "clip"):
        assert main(["smooth", str(raw / word), "-o", str(out)]) == OK
        assert str(out / "clip.npz") in capsys.readouterr().out
        assert {path.name for path in out.iterdir()} == {"clip.npz", "clip.json"}
        assert "smoothed as a whole" in load_recording(out / "clip.npz").notes[-1]
        (out / "clip.npz").unlink()
        assert main(["smooth", str(raw / word), "-o", str(raw)]) == USER_ERROR
        assert "would replace the take itself" in capsys.readouterr().err
    assert (raw / "clip.npz").read_bytes() == was
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "raw", "out"}


@pytest.mark.parametrize("out", ["clip.npz", "clip", "clip.json", "../raw/clip.npz", "link.npz"])
@pytest.mark.parametrize("word", ["clip.npz", "clip"])
def test_smooth_never_replaces_the_take_itself(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, out: str
) -> None:
    raw = tmp_path / "raw"
    assert main(["video", str(clip), "-o", str(raw), "--quiet", "--no-overlay"]) == OK
    was = (raw / "clip.npz").read_bytes()
    (raw / "link.npz").symlink_to(raw / "clip.npz")
    assert main(["smooth", str(raw / word), "-o", str(raw / out)]) == USER_ERROR
    error = capsys.readouterr().err
    assert "would replace the take itself" in error and error.count("\n") == 1
    assert (raw / "clip.npz").read_bytes() == was
    assert main(["smooth", str(raw / word), "-o", str(raw / "smooth")]) == OK
    assert (raw / "smooth.npz").is_file()


def test_wrong_words_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["video", "a", "--smooth", "twice"], ["smooth", "a.npz"],
                  ["smooth", "a", "-o", "b", "--max-gap", "-1"]):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == USER_ERROR
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["smooth", "--help"])
    assert "examples:\n  xnect smooth" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "live"), [("live", True), ("offline", False)])
def test_offline_asks_for_a_pipeline_without_filters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, live: bool
) -> None:
    monkeypatch.undo()  # the true `open_pipeline`
    wanted = {}
    monkeypatch.setattr(xnect, "load_pipeline", lambda **given: wanted.update(given))
    clip = write_movie(tmp_path / "clip.mp4", steady(2))
    with pytest.raises(AttributeError):  # the pipeline is None
        main(["video", str(clip), "-o", str(tmp_path), "--quiet", "--smooth", word])
    assert wanted.get("live", True) is live


def test_ctrl_c_while_the_smoothed_take_is_written_leaves_the_whole_one(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put together anew frame by frame, and what there was of it replaced the whole."""
    out = tmp_path / "out"
    assert main([*offline_words(clip, out), "--quiet"]) == 0
    take = load_recording(out / "clip.npz")

    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in ("xnect.recording.RecordingWriter.append", "xnect.recording.np.savez"):
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(place, pressed)
            offline.save_smoothed(out / "clip.npz", take)
        assert len(load_recording(out / "clip.npz").time_s) == len(take.time_s)
