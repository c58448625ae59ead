"""A recording keeps what was appended, whatever happens, and says what its numbers mean."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.takes import CAMERA, forward_kinematics, person, take
from xnect.angles import joint_angles_deg
from xnect.calib.camera import Camera
from xnect.errors import BadInput, CannotWrite, XnectError
from xnect.recording import (
    PERSON_ROW,
    RecordingWriter,
    load_recording,
    save_recording,
    spool_path,
)
from xnect.skeleton import BODY
from xnect.spool import Spool
from xnect.types import Person, Result

TIMES_S = np.arange(12) / 25
PRESENT = {1: range(12), 2: (2, 3, 7), 9: range(5, 12)}
ROOT = Path(__file__).resolve().parents[1]


def assert_same_results(got, want):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert (a.index, a.time_s, a.image_hw) == (b.index, b.time_s, b.image_hw)
        assert vars_of(a.camera) == vars_of(b.camera)
        assert a.timings_ms == b.timings_ms
        assert [p.track_id for p in a.people] == [p.track_id for p in b.people]
        for p, q in zip(a.people, b.people, strict=True):
            for field in fields(Person):
                np.testing.assert_array_equal(getattr(p, field.name), getattr(q, field.name))


def vars_of(camera):
    return {field.name: getattr(camera, field.name) for field in fields(camera)}


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text("ascii"), parse_constant=refuse)


def test_what_is_saved_is_loaded_exactly(tmp_path):
    results = take(TIMES_S, PRESENT)
    path = save_recording(tmp_path / "a" / "take", results, source="clip.mp4", notes=["outdoors"])
    assert path == tmp_path / "a" / "take.npz"
    recording = load_recording(path)
    assert_same_results(recording.results, results)
    assert recording.track_ids == (1, 2, 9)
    assert recording.fps == pytest.approx(25)
    assert (recording.source, recording.notes) == ("clip.mp4", ("outdoors",))
    assert sorted(p.name for p in path.parent.iterdir()) == ["take.json", "take.npz"]


def test_saving_what_was_loaded_changes_nothing(tmp_path):
    first = load_recording(save_recording(tmp_path / "a", take(TIMES_S, PRESENT), fps=25))
    second = load_recording(save_recording(tmp_path / "b", first.results, fps=25))
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_double_precision_is_kept_to_a_micrometre(tmp_path):
    results = take(TIMES_S, PRESENT, dtype=np.float64)
    recording = load_recording(save_recording(tmp_path / "a", results))
    for got, want in zip(recording.results, results, strict=True):
        for p, q in zip(got.people, want.people, strict=True):
            np.testing.assert_allclose(p.joints3d_m, q.joints3d_m, atol=1e-6)


def test_the_json_describes_the_arrays_and_is_strict(tmp_path):
    results = take(TIMES_S, PRESENT)
    results[3] = replace(results[3], timings_ms={"network": float("nan"), "fit": float("inf")})
    path = save_recording(tmp_path / "take.npz", results, fps=25)
    said = strict_json(path.with_suffix(".json"))
    with np.load(path, allow_pickle=False) as arrays:
        sizes = {"F": 12, "N": len(arrays["track_id"]), "S": len(said["stages"])}
        for name, about in said["arrays"].items():
            shape = tuple(sizes.get(size) or int(size) for size in about["sizes"].split())
            assert arrays[name].shape == shape, name
        assert json.loads(str(arrays["description_json"])) == said
    assert said["counts"] == {"frames": 12, "person_rows": 22, "tracks": 3}
    assert said["camera"]["calibrated"] is True
    assert said["camera"]["fx_px"] == CAMERA.fx_px
    assert said["frame_rate"]["nominal_fps"] == 25
    assert said["tracks"][1] == {
        "track_id": 2, "first_frame": 2, "last_frame": 7, "first_time_s": TIMES_S[2],
        "last_time_s": TIMES_S[7], "frames": 3, "frames_missed": 3,
        "stature_m": said["tracks"][1]["stature_m"], "stature_sd_m": None,
    }  # fmt: skip


def test_the_json_says_how_tall_everybody_is_taken_to_be_and_how_sure_that_is(tmp_path):
    results = take(TIMES_S[:3], {1: range(3), 2: range(3)})
    known = [
        replace(
            r,
            people=(
                replace(
                    r.people[0], bone_lengths_m=0.8 * BODY.lengths_m, stature_sd_m=0.3 - r.time_s
                ),
                r.people[1],
            ),
        )
        for r in results
    ]
    path = save_recording(tmp_path / "a", known)
    tracks = strict_json(path.with_suffix(".json"))["tracks"]
    assert tracks[0]["stature_m"] == pytest.approx(0.8 * 1.70)
    assert tracks[0]["stature_sd_m"] == pytest.approx(0.3 - TIMES_S[2])  # known last
    assert tracks[1]["stature_sd_m"] is None
    assert load_recording(path).results[1].people[0].stature_sd_m == pytest.approx(0.3 - TIMES_S[1])


def test_the_joints_follow_from_the_rotations_by_the_formula_in_the_json(tmp_path):
    recording = load_recording(save_recording(tmp_path / "a", take(TIMES_S, PRESENT)))
    for row in range(len(recording.track_id)):
        joints_m = forward_kinematics(
            recording.rotations_quat_wxyz[row].astype(float),
            recording.root_m[row],
            recording.bone_lengths_m[row],
        )
        np.testing.assert_allclose(recording.joints3d_m[row], joints_m, atol=2e-6)


def test_a_guessed_camera_is_said_to_be_uncalibrated(tmp_path):
    path = save_recording(tmp_path / "a", take(TIMES_S, PRESENT, camera=Camera.guess(480, 640)))
    said = strict_json(path.with_suffix(".json"))
    assert said["camera"]["calibrated"] is False
    assert any(note.startswith("uncalibrated") for note in said["notes"])


def test_pictures_of_several_sizes_keep_their_own_camera(tmp_path):
    results = [
        Result(i, 0.1 * i, hw, Camera.guess(*hw), (person(0.0, 0), person(1.0, 0)))
        for i, hw in enumerate([(480, 640), (100, 50), (480, 640)])
    ]
    recording = load_recording(save_recording(tmp_path / "a", results))
    assert_same_results(recording.results, results)
    assert len(recording.cameras) == 2


@pytest.mark.parametrize("count", [0, 3])
def test_takes_without_frames_or_people_are_valid(tmp_path, count):
    path = save_recording(tmp_path / "a", take(np.arange(count) / 10, {}))
    recording = load_recording(path)
    assert len(recording.results) == count
    assert recording.track_ids == ()
    assert recording.joints3d_m.shape == (0, 21, 3)
    assert strict_json(path.with_suffix(".json"))["counts"]["frames"] == count


def test_a_take_without_frames_names_the_camera_it_was_given(tmp_path):
    with RecordingWriter(tmp_path / "a", camera=CAMERA) as writer:
        pass
    assert vars_of(load_recording(writer.path).cameras[0]) == vars_of(CAMERA)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_keeps_what_was_appended_and_passes_on(tmp_path, error):
    results = take(TIMES_S, PRESENT)

    def record():
        with RecordingWriter(tmp_path / "a") as writer:
            for result in results[:7]:
                writer.append(result)
            raise error

    with pytest.raises(error):
        record()
    assert_same_results(load_recording(tmp_path / "a.npz").results, results[:7])
    assert not spool_path(tmp_path / "a.npz").exists()


KILLED = """
import sys; sys.path.insert(0, {root!r})
import numpy as np
from tests.takes import take
from xnect.recording import RecordingWriter
writer = RecordingWriter({path!r}, fps=25)
for number, result in enumerate(take(np.arange(12) / 25, {{1: range(12), 2: (2, 3, 7)}})):
    writer.append(result)
    print(number, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_a_recording(tmp_path):
    path = tmp_path / "take.npz"
    code = KILLED.format(root=str(ROOT), path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.stdout.readline() != "11\n":
            assert process.poll() is None
        process.kill()
    want = take(TIMES_S, {1: range(12), 2: (2, 3, 7)})
    assert not path.exists()
    assert_same_results(load_recording(path).results, want)  # found beside the missing .npz
    spool = spool_path(path)
    whole = spool.read_bytes()
    for end in range(len(whole) - 1, len(whole) - 4000, -397):  # killed within a write
        spool.write_bytes(whole[:end])
        got = load_recording(spool).results
        assert 0 < len(got) < 12
        assert_same_results(got, want[: len(got)])
    spool.write_bytes(whole)
    save_recording(path, want[:2])  # the next run must not delete the lost one's frames
    assert_same_results(load_recording(path).results, want[:2])
    assert_same_results(load_recording(spool.with_name("take.npz.spool.1")).results, want)


FULL = """
import resource, signal, sys; sys.path.insert(0, {root!r})
import numpy as np
from tests.takes import take
from xnect.errors import CannotWrite
from xnect.recording import RecordingWriter, save_recording
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
done = 0
try:
    with RecordingWriter({path!r}, fps=25) as writer:
        for result in take(np.arange(12) / 25, {{1: range(12)}}):
            writer.append(result)
            done += 1
except CannotWrite as error:
    print(done, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize(("limit", "frames"), [(8000, range(1, 12)), (17000, [12]), (600, [0])])
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, limit, frames):
    path = tmp_path / "take.npz"
    code = FULL.format(root=str(ROOT), path=str(path), limit=limit)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    done, sentence = run.stdout.strip().split(" ", 1)
    assert "cannot write" in sentence
    assert "\n" not in sentence
    assert int(done) in frames
    want = take(TIMES_S, {1: range(12)})[: int(done)]
    assert_same_results(load_recording(path).results, want)
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_an_append_that_fails_can_be_repeated(tmp_path, monkeypatch):
    results = take(TIMES_S, PRESENT)
    with RecordingWriter(tmp_path / "a") as writer:
        writer.append(results[0])
        broken = replace(person(0.0, 1), joints3d_m=np.zeros(3))
        with pytest.raises(BadInput, match=r"joints3d_m must have shape \(21, 3\), got \(3,\)"):
            writer.append(replace(results[1], people=(person(0.0, 2), broken)))
        with pytest.raises(BadInput, match="time_s"):
            writer.append(replace(results[1], time_s=float("nan")))
        writer.append(results[1])
    assert_same_results(load_recording(writer.path).results, results[:2])


def test_closing_twice_is_harmless_and_appending_then_is_an_error(tmp_path):
    writer = RecordingWriter(tmp_path / "a")
    assert writer.close() == writer.close() == tmp_path / "a.npz"
    with pytest.raises(BadInput, match="closed"):
        writer.append(take([0.0], {})[0])


@pytest.mark.skipif(sys.platform == "win32", reason="open files are not renamed there")
def test_two_writers_of_one_recording_do_not_mix(tmp_path):
    first = RecordingWriter(tmp_path / "take", fps=25)
    with pytest.raises(CannotWrite, match=r"^cannot write \S+: another run is writing"):
        RecordingWriter(tmp_path / "take", fps=25)
    first.append(take(TIMES_S, {1: range(12)})[0])
    first.close()
    assert len(load_recording(tmp_path / "take").results) == 1
    RecordingWriter(tmp_path / "take", fps=25).discard()
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".npz"]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked there")
def test_where_files_cannot_be_locked_recordings_are_written_all_the_same(tmp_path, monkeypatch):
    def cannot(file, how):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", cannot)
    (tmp_path / "take.npz.spool").write_bytes(b"left by a killed run")
    save_recording(tmp_path / "take", take(TIMES_S, {1: range(12)}), fps=25)
    assert len(load_recording(tmp_path / "take").results) == 12


def test_an_old_recording_stays_until_the_new_one_is_whole(tmp_path):
    old, new = take(TIMES_S[:2], {1: range(12)}), take(TIMES_S[:5], {2: range(12)})
    path = save_recording(tmp_path / "a", old)
    with RecordingWriter(path) as writer:
        for result in new:
            writer.append(result)
        assert_same_results(load_recording(path).results, old)
    assert_same_results(load_recording(path).results, new)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="cannot write"):
        RecordingWriter(tmp_path / "file" / "take.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text", b"xnect spool 1\n"])
def test_what_is_no_recording_is_one_sentence(tmp_path, content):
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(XnectError, match=r"odd\.npz"):
        load_recording(path)


def test_a_missing_recording_and_a_foreign_npz_are_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="there is no recording"):
        load_recording(tmp_path / "none.npz")
    np.savez(tmp_path / "b.npz", poses=np.zeros(3))
    with pytest.raises(BadInput, match="not a recording"):
        load_recording(tmp_path / "b.npz")
    path = save_recording(tmp_path / "c", take(TIMES_S, PRESENT))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(BadInput, match="damaged"):
        load_recording(path)


@pytest.mark.parametrize("name", ["time_s", "person_frame", "camera_number", "joints3d_m", "zip"])
def test_a_recording_damaged_inside_is_one_sentence(tmp_path, name):
    path = save_recording(tmp_path / "c.npz", take(TIMES_S, PRESENT))
    if name == "zip":  # one bit of the zip's table: an unknown compression
        data = bytearray(path.read_bytes())
        data[data.find(b"PK\x01\x02") + 10] ^= 64
        path.write_bytes(data)
    else:
        with np.load(path) as file:
            arrays = dict(file)
        cut = arrays[name][:-2] if name in ("time_s", "joints3d_m") else arrays[name] + 99
        np.savez(path, **{**arrays, name: cut})
    with pytest.raises(BadInput, match="damaged"):
        load_recording(path)


def test_a_rate_that_is_no_rate_is_refused(tmp_path):
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="fps"):
            RecordingWriter(tmp_path / "a", fps=fps)
    assert not list(tmp_path.iterdir())


def test_joint_angles_lie_in_the_file_under_their_names(tmp_path):
    results = take(np.arange(4) / 30, {1: range(4), 2: range(1, 3)})
    path = save_recording(tmp_path / "a.npz", results)
    recording = load_recording(path)
    with np.load(path, allow_pickle=False) as arrays:
        names = [str(n) for n in arrays["joint_angles_names"]]
        angles = arrays["joint_angles_deg"]
    assert angles.shape == (6, len(names)) == recording.joint_angles_deg.shape
    np.testing.assert_allclose(angles, recording.joint_angles_deg, rtol=1e-5, atol=1e-4)
    said = json.loads(path.with_suffix(".json").read_text())["joint_angles"]
    assert list(said["names"]) == names
    knee = angles[:, names.index("left_knee_flexion")]
    wanted = joint_angles_deg(results[0].people[0].rotations_quat_wxyz)
    assert knee[0] == pytest.approx(wanted[names.index("left_knee_flexion")], abs=1e-3)


def test_euler_angles_in_the_stated_order_build_the_rotations_of_the_file(tmp_path):
    path = save_recording(tmp_path / "a.npz", take(np.arange(4) / 30, {1: range(4), 2: (1, 2)}))
    said = json.loads(path.with_suffix(".json").read_text())["euler_angles"]
    with np.load(path, allow_pickle=False) as arrays:
        angles, quats = arrays[said["array"]], arrays["rotations_quat_wxyz"]
    assert angles.shape == (6, 21, 3)
    built = Rotation.from_euler(said["order"], angles.reshape(-1, 3), degrees=True)
    wanted = Rotation.from_quat(quats.reshape(-1, 4)[:, [1, 2, 3, 0]])
    assert (built * wanted.inv()).magnitude().max() < 1e-5


def test_filled_rows_stay_filled_and_recordings_without_the_field_have_none(tmp_path):
    results = take(TIMES_S[:3], {1: range(3)})
    marked = [replace(r, people=(replace(r.people[0], filled=r.index == 101),)) for r in results]
    path = save_recording(tmp_path / "new", marked)
    new = load_recording(path)
    assert new.filled.tolist() == [False, True, False]
    assert [r.people[0].filled for r in new.results] == [False, True, False]
    with np.load(path) as arrays:
        later = ("filled", "stature_sd_m")
        np.savez(tmp_path / "old.npz", **{k: v for k, v in arrays.items() if k not in later})
    old = load_recording(tmp_path / "old.npz")
    assert old.filled.tolist() == [False] * 3
    assert np.isnan(old.stature_sd_m).all()
    np.testing.assert_array_equal(old.joints3d_m, new.joints3d_m)


@pytest.mark.parametrize("lacks", [2, 1])  # filled and stature_sd_m; stature_sd_m alone
def test_a_spool_from_before_there_were_all_fields_is_read(tmp_path, lacks):
    results = take(TIMES_S[:3], {1: range(3), 2: (1,)})
    writer = RecordingWriter(tmp_path / "take")
    for result in results:
        writer.append(result)
    (description, _), *frames = writer._spool.read()
    if lacks == 2:
        del description["fields"]
    else:
        description["fields"] = description["fields"][:-1]
    writer._spool.close()
    old = Spool(tmp_path / "old.npz.spool", description)
    for frame, rows in frames:
        table = np.frombuffer(rows, PERSON_ROW)
        kept = np.zeros(len(table), np.dtype(PERSON_ROW.descr[:-lacks]))
        for name in kept.dtype.names:
            kept[name] = table[name]
        old.append(frame, kept.tobytes())
    old.close()
    assert_same_results(load_recording(tmp_path / "old.npz").results, results)


@pytest.mark.parametrize("name", ["joints3d_m", "rotations_quat_wxyz", "fps", "person_frame"])
def test_a_recording_of_other_shapes_order_or_rate_is_one_sentence(tmp_path, name):
    path = save_recording(tmp_path / "c.npz", take(TIMES_S, PRESENT))
    with np.load(path) as file:
        arrays = dict(file)
    if name == "fps":
        said = json.loads(str(arrays["description_json"]))
        said["frame_rate"]["nominal_fps"] = 0
        arrays["description_json"] = np.array(json.dumps(said))
    elif name == "person_frame":
        arrays[name] = arrays[name][::-1]
    else:
        arrays[name] = arrays[name][:, :, :-1] if name[0] == "r" else arrays[name][:, :-1]
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match="damaged"):
        load_recording(path)
