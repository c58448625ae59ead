"""The pose2sim report: with perfect and with blind pipelines, and with the bundled lifter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xnect.errors import BadInput
from xnect.eval import pose2sim
from xnect.eval.pose2sim import pose2sim_report, the_man
from xnect.eval.pose2sim_labels import LOWEST_SHARE, load_pose2sim
from xnect.lift import load_lifter
from xnect.rig import SOLES_M
from xnect.skeleton import J2D, J3D, JOINTS3D
from xnect.types import Frame, Person, Result

CLIP = Path(__file__).resolve().parents[2] / "shared" / "data" / "pose2sim"
BUNDLED = Path(__file__).resolve().parents[1] / "xnect" / "weights" / "open" / "lifter.safetensors"
needs_clip = pytest.mark.skipif(not CLIP.is_dir(), reason=f"the pose2sim clip is not at {CLIP}")


@pytest.fixture(scope="module")
def labels():
    return load_pose2sim(CLIP)


def labelled(labels, camera, frame, *, shift_px=0.0, shift_m=0.0):
    """A person exactly as labelled, moved in the picture and bent in space."""
    joints3d = np.zeros((21, 3))
    joints3d[labels.joint] = labels.joints_m[camera, frame]
    joints3d[J3D["left_wrist"]] += shift_m
    joints2d, score = np.zeros((18, 2)), np.zeros(18)
    for k, j in enumerate(labels.joint):
        name = JOINTS3D[j]
        if name in J2D:
            joints2d[J2D[name]] = labels.joints_px[camera, frame, k] + shift_px
            score[J2D[name]] = 0.9
    return Person(
        joints2d, score, joints3d, np.ones(21), 1, 0.9, np.zeros((21, 4)), np.zeros(3), np.zeros(21)
    )


def pipelines(labels, people_of):
    """A function that makes a pipeline which answers from the labels."""

    class FromLabels:
        def __init__(self, camera):
            self.camera = camera
            self.number = [c.cx_px for c in labels.cameras].index(camera.cx_px)

        def stream(self, frames):
            for frame in frames:
                people = tuple(people_of(self.number, frame.index))
                yield Result(frame.index, frame.time_s, frame.image.shape[:2], self.camera, people)

    return FromLabels


@pytest.fixture
def blank_frames(monkeypatch):
    """Black pictures in place of the videos, which take seconds to decode."""
    frames = [Frame(i, i / 60, np.zeros((8, 8, 3), np.uint8)) for i in range(100)]
    monkeypatch.setattr(pose2sim, "_frames", lambda path: iter(frames))


@needs_clip
def test_labels_project_onto_their_pixels(labels):
    for number, camera in enumerate(labels.cameras):
        away = camera.project(labels.joints_m[number]) - labels.joints_px[number]
        assert np.abs(away[labels.valid]).max() < 1.0
    assert "nose" not in {JOINTS3D[j] for j in labels.joint}


@needs_clip
def test_a_perfect_pipeline_has_no_error_and_bystanders_are_not_matched(labels, blank_frames):
    def people(camera, frame):
        return [
            labelled(labels, camera, frame, shift_px=300),
            labelled(labels, camera, frame, shift_px=4),
        ]

    report = pose2sim_report(pipelines(labels, people), CLIP)
    assert set(report) == {"cam01", "cam02", "cam03", "cam04", "all"}
    assert report["all"].found == 1
    assert report["all"].pa_mpjpe_mm == pytest.approx(0, abs=0.1)
    assert report["all"].mpjpe_mm == pytest.approx(0, abs=12)  # size is one number per camera
    assert (report["all"].knee_deg, report["all"].elbow_deg) == (0, 0)
    assert report["all"].pelvis_m == 0
    assert 1.5 < report["all"].stature_m < 1.8  # his legs are 0.80 m, those of 1.70 m 0.82


@needs_clip
def test_the_floor_is_below_his_ankles_in_every_camera_and_is_told_on_request(labels, blank_frames):
    told = []

    def people(camera, frame):
        return [labelled(labels, camera, frame, shift_m=0.3)]

    class Told(pipelines(labels, people)):
        def __init__(self, camera):
            super().__init__(camera)
            told.append(camera.floor)

    pose2sim_report(Told, CLIP)
    assert told == [None] * 4
    pose2sim_report(Told, CLIP, floor=True)
    assert tuple(told[4:]) == labels.floors
    ankles = np.isin(labels.joint, [J3D["left_ankle"], J3D["right_ankle"]])
    for floor, joints_m in zip(labels.floors, labels.joints_m, strict=True):
        heights = floor.heights_m(joints_m[:, ankles])
        assert np.percentile(heights, LOWEST_SHARE) == pytest.approx(SOLES_M["ankle"], abs=1e-6)
        assert floor.normal[1] < -0.8  # up in the picture


@needs_clip
def test_somebody_beside_him_is_as_far_as_that(labels, blank_frames):
    def beside(camera, frame):
        man = labelled(labels, camera, frame)
        return [replace(man, joints3d_m=man.joints3d_m + np.array([0.3, 0, 0.4]))]

    report = pose2sim_report(pipelines(labels, beside), CLIP)
    assert report["all"].pelvis_m == pytest.approx(0.5)


@needs_clip
def test_a_wrong_wrist_is_an_error(labels, blank_frames):
    report = pose2sim_report(
        pipelines(labels, lambda c, f: [labelled(labels, c, f, shift_m=0.5)]), CLIP
    )
    assert 40 < report["all"].mpjpe_mm < 90
    assert report["all"].pa_mpjpe_mm > 20
    assert report["all"].pck_150mm == pytest.approx(13 / 14, abs=0.01)
    assert report["all"].knee_deg == 0
    assert report["all"].elbow_deg > 5


@needs_clip
def test_a_pipeline_that_sees_only_a_bystander_finds_nothing(labels, blank_frames):
    report = pose2sim_report(
        pipelines(labels, lambda c, f: [labelled(labels, c, f, shift_px=500)]), CLIP
    )
    assert report["all"].found == 0
    assert np.isnan(report["all"].pa_mpjpe_mm)


@needs_clip
def test_the_nearest_person_is_the_man(labels):
    near = labelled(labels, 2, 50, shift_px=10)
    far = labelled(labels, 2, 50, shift_px=60)
    assert the_man([far, near], labels, 2, 50) is near
    assert the_man([], labels, 2, 50) is None


@needs_clip
@pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled weights are not in this checkout")
def test_the_bundled_lifter_on_given_2d_joints():
    report = pose2sim_report(load_lifter(BUNDLED), CLIP)
    assert report["all"].found == 1
    assert report["all"].pa_mpjpe_mm < 95


def test_a_missing_clip_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"labels\.npz does not exist"):
        load_pose2sim(tmp_path)


def test_the_program_of_its_own_ends_in_one_sentence_as_well(tmp_path, capsys):
    assert pose2sim.main(["--data", str(tmp_path), "--lifter"]) == 2
    assert "labels.npz does not exist" in capsys.readouterr().err
