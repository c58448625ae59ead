"""A BVH holds the recorded motion, as a reader finds it that knows nothing of ours."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.takes import person, take
from xnect.calib.camera import Camera
from xnect.errors import BadInput, CannotWrite
from xnect.export.bvh import bvh, continuous_zxy_rad
from xnect.fit import fit
from xnect.recording import load_recording, save_recording
from xnect.skeleton import BODY, J3D, REFERENCE_CHAIN_M, chain_m
from xnect.times import Times
from xnect.track import Track
from xnect.types import PartialPose, Pose3D, Result

WORLD_FROM_CAMERA = np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]])
FILE_NAMES = {
    "Hips": "pelvis", "Spine": "spine", "Neck": "neck", "Head": "head", "Head end": "head_top",
    "LeftArm": "left_shoulder", "LeftForeArm": "left_elbow", "LeftHand": "left_wrist",
    "LeftHand end": "left_hand", "RightArm": "right_shoulder", "RightForeArm": "right_elbow",
    "RightHand": "right_wrist", "RightHand end": "right_hand", "LeftUpLeg": "left_hip",
    "LeftLeg": "left_knee", "LeftFoot": "left_ankle", "LeftFoot end": "left_foot",
    "RightUpLeg": "right_hip", "RightLeg": "right_knee", "RightFoot": "right_ankle",
    "RightFoot end": "right_foot",
}  # fmt: skip


class ReadBack:
    """A BVH reader written from the format alone: any channel order, any hierarchy."""

    def __init__(self, path):
        words = path.read_text("ascii").split()
        self.names, self.parents, self.offsets, self.channels = [], [], [], []
        stack, at = [], 1
        assert words[0] == "HIERARCHY"
        while words[at] != "MOTION":
            word = words[at]
            if word in ("ROOT", "JOINT", "End"):
                parent = stack[-1] if stack else -1
                name = f"{self.names[parent]} end" if word == "End" else words[at + 1]
                self.names.append(name)
                self.parents.append(parent)
                self.channels.append([])
                at += 2
            elif word == "{":
                stack.append(len(self.names) - 1)
                at += 1
            elif word == "}":
                stack.pop()
                at += 1
            elif word == "OFFSET":
                self.offsets.append([float(w) for w in words[at + 1 : at + 4]])
                at += 4
            else:
                assert word == "CHANNELS"
                count = int(words[at + 1])
                self.channels[-1] = words[at + 2 : at + 2 + count]
                at += 2 + count
        assert not stack
        assert words[at + 1] == "Frames:"
        assert words[at + 3 : at + 5] == ["Frame", "Time:"]
        self.step_s = float(words[at + 5])
        self.frames = np.array(words[at + 6 :], float).reshape(int(words[at + 2]), -1)
        self.offsets = np.array(self.offsets)
        assert self.frames.shape[1] == sum(map(len, self.channels))

    def places(self, frame):
        """{name: (3,)} in cm, of one row of channels."""
        values, rotations, places = list(frame), [], []
        for parent, offset, channels in zip(self.parents, self.offsets, self.channels, strict=True):
            rotation, moved = np.eye(3), np.zeros(3)
            for channel in channels:
                value, axis = values.pop(0), channel[0].lower()
                if channel.endswith("position"):
                    moved["xyz".index(axis)] = value
                else:
                    rotation = rotation @ Rotation.from_euler(axis, value, degrees=True).as_matrix()
            if parent >= 0:
                places.append(places[parent] + rotations[parent] @ (offset + moved))
                rotation = rotations[parent] @ rotation
            else:
                places.append(offset + moved)
            rotations.append(rotation)
        return dict(zip(self.names, places, strict=True))

    def joints_m(self, frame):
        """(21, 3) in our order, metres."""
        joints = np.full((21, 3), np.nan)
        for name, place in self.places(frame).items():
            joints[J3D[FILE_NAMES[name]]] = place / 100
        return joints


@pytest.fixture
def written(tmp_path):
    def write(times_s, present, track_id, *, fps=None, **kind):
        results = take(times_s, present, **kind)
        recording = load_recording(save_recording(tmp_path / "take", results, fps=fps))
        return ReadBack(bvh(tmp_path / f"p{track_id}.bvh", recording, track_id)), recording

    return write


def in_world(joints_m):
    return joints_m @ WORLD_FROM_CAMERA.T


@pytest.mark.parametrize("track_id", [1, 2, 3])
def test_every_frame_stands_where_it_was_recorded(written, track_id):
    file, recording = written(
        np.arange(40) / 30, {1: range(40), 2: range(40), 3: range(40)}, track_id
    )
    rows = np.flatnonzero(recording.track_id == track_id)
    assert len(file.frames) == 40
    assert file.step_s == pytest.approx(1 / 30, abs=1e-8)
    for frame, row in zip(file.frames, rows, strict=True):
        want = in_world(recording.joints3d_m[row].astype(float))
        np.testing.assert_allclose(file.joints_m(frame), want, atol=1e-4)  # 0.1 mm


def test_the_people_that_the_fit_gives_stand_where_it_put_them(tmp_path):
    camera = Camera.guess(480, 640)
    poses = []
    for track_id in (1, 2):
        joints_m = person(0.3, track_id).joints3d_m.astype(float)
        joints_m *= REFERENCE_CHAIN_M / chain_m(joints_m)
        joints_px = np.zeros((18, 2))
        joints_px[1:14] = camera.project(joints_m)[1:14]
        partial = PartialPose(joints_px, np.eye(18)[1:14].sum(0), np.zeros((18, 63)), 1.0)
        poses.append(Pose3D(partial, joints_m - joints_m[J3D["pelvis"]], np.ones(21)))
    people = fit([Track(track_id, pose) for track_id, pose in enumerate(poses, 1)], camera, 0.0)
    result = Result(0, 0.0, (480, 640), camera, people)
    recording = load_recording(save_recording(tmp_path / "a", [result]))
    for someone in people:
        file = ReadBack(bvh(tmp_path / "a.bvh", recording, someone.track_id))
        want = in_world(someone.joints3d_m)
        np.testing.assert_allclose(file.joints_m(file.frames[0]), want, atol=1e-4)


def test_all_zero_is_a_t_pose_in_centimetres(written):
    file, recording = written(np.arange(5) / 30, {4: range(5)}, 4, size=1.1)
    place = {FILE_NAMES[name]: p for name, p in file.places(0 * file.frames[0]).items()}
    assert set(place) == set(BODY.names)
    np.testing.assert_array_equal(place["pelvis"], 0)
    lengths_cm = dict(zip(BODY.names, 100 * recording.bone_lengths_m[0].astype(float), strict=True))
    for side, sign in (("left", 1), ("right", -1)):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")):
            arm = place[f"{side}_{lower}"] - place[f"{side}_{upper}"]
            expected = [sign * lengths_cm[f"{side}_{lower}"], 0, 0]
            np.testing.assert_allclose(arm, expected, atol=1e-5)
        for upper, lower in (("hip", "knee"), ("knee", "ankle")):
            leg = place[f"{side}_{lower}"] - place[f"{side}_{upper}"]
            np.testing.assert_allclose(leg, [0, -lengths_cm[f"{side}_{lower}"], 0], atol=1e-5)
        toes = place[f"{side}_foot"] - place[f"{side}_ankle"]
        assert toes[2] > 10  # the front
    assert place["head_top"][1] > place["neck"][1] > place["spine"][1] > 0


def test_someone_who_faces_the_camera_faces_it_in_the_file(tmp_path):
    someone = person(0.0, 1)
    someone.rotations_quat_wxyz[:] = (1, 0, 0, 0)
    someone.rotations_quat_wxyz[J3D["pelvis"]] = (0, 1, 0, 0)  # half a turn about x
    someone.root_m[:] = (0.5, 0.2, 3.0)  # to the right of the camera, below it, 3 m away
    result = Result(0, 0.0, (480, 640), take([0.0], {})[0].camera, (someone,))
    recording = load_recording(save_recording(tmp_path / "a", [result], fps=50))
    file = ReadBack(bvh(tmp_path / "a.bvh", recording, 1))
    assert file.step_s == pytest.approx(1 / 50)
    np.testing.assert_allclose(file.frames, [[50, -20, -300] + [0] * 48], atol=1e-3)


def test_the_hierarchy_is_the_rig_with_the_names_of_retargeting(written):
    file, _ = written([0.0], {1: [0]}, 1)
    for name, parent in zip(file.names, file.parents, strict=True):
        rig_parent = BODY.parents[J3D[FILE_NAMES[name]]]
        assert (FILE_NAMES[file.names[parent]] if parent >= 0 else -1) == (
            BODY.names[rig_parent] if rig_parent >= 0 else -1
        )
    turns = ["Zrotation", "Xrotation", "Yrotation"]
    assert file.channels[0] == ["Xposition", "Yposition", "Zposition", *turns]
    assert all(c == ([] if n.endswith("end") else turns)
               for n, c in zip(file.names[1:], file.channels[1:], strict=True))  # fmt: skip


def test_a_gap_is_interpolated_and_the_rest_stays(written):
    seen = [4, 5, 6, 9, 10, 15, 16]
    file, recording = written(np.arange(30) / 25, {1: seen, 2: range(30)}, 1)
    assert len(file.frames) == 16 - 4 + 1  # nothing is invented before, after, or left out
    joints_m = np.array([file.joints_m(frame) for frame in file.frames])
    for row in np.flatnonzero(recording.track_id == 1):
        want = in_world(recording.joints3d_m[row].astype(float))
        np.testing.assert_allclose(joints_m[recording.person_frame[row] - 4], want, atol=1e-4)
    truth = np.array([in_world(person(i / 25, 1).joints3d_m) for i in range(4, 17)])
    assert np.abs(joints_m - truth).max() < 0.06  # in 0.2 s of a swinging motion


def test_times_rounded_to_milliseconds_are_not_resampled(written):
    times_s = np.round(np.arange(30) * 1001 / 30000, 3)
    file, recording = written(times_s, {1: range(30)}, 1)
    assert file.step_s == pytest.approx(1001 / 30000, rel=1e-3)
    want = in_world(recording.joints3d_m[17].astype(float))
    np.testing.assert_allclose(file.joints_m(file.frames[17]), want, atol=1e-4)


def test_irregular_times_are_resampled_to_the_nominal_rate(written):
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.05, 60))
    file, _ = written(times_s, {1: range(60)}, 1, fps=30)
    assert file.step_s == pytest.approx(1 / 30)
    assert len(file.frames) == int((times_s[-1] - times_s[0]) * 30) + 1
    for number in range(len(file.frames)):
        truth = in_world(person(times_s[0] + number / 30, 1).joints3d_m)
        np.testing.assert_allclose(file.joints_m(file.frames[number]), truth, atol=0.01)


def test_a_pause_of_the_source_costs_no_captured_frame(written):
    times_s = np.concatenate([np.arange(13), 75 + np.arange(13)]) / 25
    file, _ = written(times_s, {1: range(26)}, 1, fps=26 / 3.52)  # the mean rate of such a file
    assert file.step_s == pytest.approx(1 / 25)
    assert len(file.frames) == 88


def test_angles_do_not_jump(written):
    file, _ = written(np.arange(240) / 30, {1: range(240)}, 1, swing_rad=1.2)
    steps_deg = np.abs(np.diff(file.frames[:, 3:], axis=0))
    speed = steps_deg.max()
    assert speed < 60  # a swing of 1.2 rad at up to 0.9 Hz, faster only near a right angle of x
    assert np.ptp(file.frames[:, 3:6]) > 400  # whole turns add up


def test_angles_give_the_rotations_back_and_pass_a_right_angle_smoothly():
    rng = np.random.default_rng(0)
    random = Rotation.random(300, random_state=0).as_matrix().reshape(100, 3, 3, 3)
    over = Rotation.from_euler("ZXY", [[20, x, 50] for x in range(-360, 360, 5)], degrees=True)
    for rotations in (random, over.as_matrix()[:, None], np.eye(3)[None, None]):
        zxy = continuous_zxy_rad(rotations)
        back = Rotation.from_euler("ZXY", zxy.reshape(-1, 3)).as_matrix().reshape(rotations.shape)
        np.testing.assert_allclose(back, rotations, atol=1e-7)
    x_deg = np.degrees(continuous_zxy_rad(over.as_matrix()[:, None]))[:, 0]
    np.testing.assert_allclose(np.abs(np.diff(x_deg, axis=0)), [[0, 5, 0]] * 143, atol=1e-5)
    assert not np.isnan(continuous_zxy_rad(rng.permutation(over.as_matrix())[:, None])).any()


def test_one_frame_is_a_take(written):
    file, recording = written([3.5], {7: [0]}, 7)
    assert file.frames.shape == (1, 51)
    want = in_world(recording.joints3d_m[0].astype(float))
    np.testing.assert_allclose(file.joints_m(file.frames[0]), want, atol=1e-4)


def test_offsets_are_constant_when_the_known_lengths_still_change(tmp_path):
    results = take(np.arange(9) / 30, {1: range(9)})
    for i, result in enumerate(results):
        result.people[0].bone_lengths_m[:] *= 1 + 0.3 * (i == 0)  # a bad first guess
    recording = load_recording(save_recording(tmp_path / "a", results))
    file = ReadBack(bvh(tmp_path / "a.bvh", recording, 1))
    want = 100 * recording.bone_lengths_m[5]
    for name, offset in zip(file.names, file.offsets, strict=True):
        assert np.linalg.norm(offset) == pytest.approx(want[J3D[FILE_NAMES[name]]], abs=1e-4)


@pytest.mark.parametrize(("present", "known"), [({1: [0], 5: [1]}, "1, 5"), ({}, "nobody")])
def test_an_unknown_track_is_an_error_that_lists_those_there_are(tmp_path, present, known):
    recording = load_recording(save_recording(tmp_path / "a", take([0.0, 0.1], present)))
    with pytest.raises(BadInput, match=re.escape(known)):
        bvh(tmp_path / "b.bvh", recording, 3)
    assert not (tmp_path / "b.bvh").exists()


def test_people_of_a_single_picture_have_no_motion(tmp_path):
    result = take([0.0], {})[0]
    both = Result(0, 0.0, (480, 640), result.camera, (person(0.0, 0), person(1.0, 0)))
    recording = load_recording(save_recording(tmp_path / "a", [both]))
    with pytest.raises(BadInput, match="several people"):
        bvh(tmp_path / "b.bvh", recording, 0)


@pytest.mark.parametrize("times_s", [[0.0] * 5, [0.0, 0.1, 0.1, 0.2]])
def test_frames_that_share_a_time_are_no_motion(tmp_path, times_s):
    """Such as the results of several single pictures: all but one of them were dropped."""
    results = take(times_s, {0: range(len(times_s))})
    recording = load_recording(save_recording(tmp_path / "a", results))
    with pytest.raises(BadInput, match=rf"track 0 .* at {times_s[1]:g} s"):
        bvh(tmp_path / "b.bvh", recording, 0)
    assert not (tmp_path / "b.bvh").exists()


def test_numbers_that_are_none_are_refused(tmp_path):
    results = take([0.0, 0.1], {1: [0, 1]})
    results[1].people[0].root_m[1] = np.nan
    recording = load_recording(save_recording(tmp_path / "a", results))
    with pytest.raises(BadInput, match="track 1"):
        bvh(tmp_path / "b.bvh", recording, 1)


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    recording = load_recording(save_recording(tmp_path / "a", take([0.0], {1: [0]})))
    with pytest.raises(CannotWrite, match="cannot write"):
        bvh(tmp_path / "a.npz" / "b.bvh", recording, 1)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the module bpy")
def test_blender_finds_the_bones_and_the_joints(tmp_path):
    results = take(np.arange(30) / 30, {1: [*range(10), *range(12, 30)]})
    recording = load_recording(save_recording(tmp_path / "take", results))
    path = bvh(tmp_path / "take_p1.bvh", recording, 1)
    script = Path(__file__).parent / "clients" / "blender_bvh.py"
    arguments = [tmp_path / "take.npz", "1", path, tmp_path / "picture.png"]
    subprocess.run([sys.executable, script, *map(str, arguments)], check=True)


@pytest.mark.parametrize("nominal", [None, 1000.0])
@pytest.mark.parametrize("clock_s", [1 / 30, 0.0333, 1 / 15])
def test_a_clock_that_repeats_its_times_makes_no_more_frames_than_there_are(
    written, clock_s, nominal
):
    clock = Times()
    times_s = [clock(t) for t in np.floor(np.arange(120) / 60 / clock_s) * clock_s]
    file, recording = written(times_s, {1: range(120)}, 1, fps=nominal)
    assert file.step_s == pytest.approx(1 / 60, rel=0.06)
    assert 110 < len(file.frames) < 130
    assert recording.fps == pytest.approx(nominal or 60, rel=0.06)


@pytest.mark.parametrize("apart_s", [1e-3, 1e-6, 1e-8])
def test_times_that_are_hardly_apart_make_no_millions_of_frames(written, apart_s):
    times_s = np.concatenate([np.arange(30), np.arange(30) + 2 / apart_s]) * apart_s
    file, _ = written(times_s, {1: range(60)}, 1)
    assert len(file.frames) <= 100 * 60 + 1
    assert (len(file.frames) - 1) * file.step_s == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("nominal", [1000.0, 5.0])
def test_a_nominal_rate_far_from_the_true_one_is_not_believed(written, nominal):
    """Such as the clock of a file, taken for its rate."""
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.025, 0.041, 60))
    file, _ = written(times_s, {1: range(60)}, 1, fps=nominal)
    assert file.step_s == pytest.approx(np.median(np.diff(times_s)), rel=1e-6)
    assert 50 < len(file.frames) < 70


def test_who_is_seen_for_half_a_second_gets_a_file_whatever_the_nominal_rate(tmp_path):
    from xnect.demo.outputs import people_worth_a_file

    times_s = np.arange(300) / 30
    results = take(times_s, {1: range(20), 2: range(10)})
    recording = load_recording(save_recording(tmp_path / "take", results, fps=1000))
    assert people_worth_a_file(recording) == [1]


def test_files_of_people_are_of_this_run_when_the_recording_cannot_be_written(
    tmp_path, monkeypatch
):
    """The recording of a run before is still there then, but it is another take."""
    from xnect.demo.outputs import Outputs
    from xnect.errors import CannotWrite

    def run(frames):
        outputs = Outputs(tmp_path, "clip", source="x", fps=30.0, overlay=False)
        for result in take(np.arange(frames) / 30, {1: range(frames)}):
            outputs.append(np.zeros((8, 8, 3), np.uint8), result)
        return outputs.finish()

    run(30)

    def full(path, recording):
        raise CannotWrite(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("xnect.recording._write", full)
    files, problems = run(90)
    assert [path.name for path in files] == ["clip_person1.bvh"] and len(problems) == 1
    assert "Frames: 90" in files[0].read_text()
