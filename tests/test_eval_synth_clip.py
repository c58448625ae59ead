"""Recordings of rendered clips: the truth has no error, and each fault shows in its own figure."""

import dataclasses

import numpy as np
import pytest
from fakes import person

from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.eval.__main__ import main
from xnect.eval.metrics import (
    acceleration_error,
    accelerations,
    by_joint,
    jitter,
    pck2d,
    pckh,
    pose_figures,
)
from xnect.eval.synth_clip import Truth, bone_variation, evaluate_synth_clip, on_floor, read_truth
from xnect.recording import save_recording
from xnect.skeleton import J2D, J3D, JOINTS2D, JOINTS3D
from xnect.types import Result

CAMERA = Camera.guess(480, 640)
FRAMES = 12


def clip(frames=FRAMES, speed_m=0.02):
    """Two people side by side, the second walks away from the first; results and truth."""
    results = []
    for index in range(frames):
        people = tuple(
            person(track, x, 4.0, CAMERA) for track, x in ((1, -0.8), (2, 0.6 + speed_m * index))
        )
        results.append(Result(index, index / 30, (480, 640), CAMERA, people))
    return results, truth_of(results)


def truth_of(results, **changes):
    joints = np.array([[p.joints3d_m for p in r.people] for r in results])
    pixels = np.array([[p.joints2d_px for p in r.people] for r in results])
    return Truth(joints, pixels, np.full(pixels.shape[:3], 2, np.uint8), 30.0, **changes)


def changed(results, change):
    """Results with `change(frame, person)` for each person; None leaves the person out."""
    return [
        dataclasses.replace(
            r, people=tuple(q for p in r.people if (q := change(r.index, p)) is not None)
        )
        for r in results
    ]


def test_the_truth_itself_has_no_error():
    results, truth = clip()
    for match_by in ("2d", "3d"):
        seen = evaluate_synth_clip(results, truth, match_by=match_by)
        assert (seen.identities.mota, seen.identities.idf1, seen.identities.switches) == (1, 1, 0)
        assert seen.poses.mpjpe_mm == pytest.approx(0, abs=1e-9)
        assert seen.poses.pa_mpjpe_mm == pytest.approx(0, abs=1e-6)
        assert (seen.poses.pck_150mm, seen.poses.poses) == (1, 2 * FRAMES)
        assert seen.root_error_m == pytest.approx(0, abs=1e-12)
        assert seen.motion.acceleration_error_mm == pytest.approx(0, abs=1e-9)
        assert seen.bone_variation == pytest.approx(0, abs=1e-12)
    assert seen.motion.foot_skate_mm == pytest.approx(0, abs=1e-9)
    # the first stands still in all 11 steps; the second moves 0.6 m/s: no contact
    assert seen.motion.contact_frames == 2 * (FRAMES - 1)


def test_a_wrong_place_is_a_root_error_and_no_pose_error():
    results, truth = clip()

    def away(_, p):
        shift = np.array([0.0, 0.0, 0.4])
        return dataclasses.replace(p, joints3d_m=p.joints3d_m + shift, root_m=p.root_m + shift)

    seen = evaluate_synth_clip(changed(results, away), truth)
    assert seen.poses.mpjpe_mm == pytest.approx(0, abs=1e-9)
    assert seen.root_error_m == pytest.approx(0.4)
    assert seen.root_depth_error_m == pytest.approx(0.4)
    by_pelvis = evaluate_synth_clip(changed(results, away), truth, match_by="3d", gate=0.3)
    assert (by_pelvis.identities.misses, by_pelvis.identities.false_positives) == (24, 24)
    assert np.isnan(by_pelvis.poses.mpjpe_mm)
    assert np.isnan(by_pelvis.root_error_m)


def test_a_wrong_joint_shows_in_its_own_row_and_split():
    results, truth = clip()
    hidden = truth.visibility.copy()
    hidden[:, :, J2D["left_wrist"]] = 1

    def bent(_, p):
        joints = p.joints3d_m.copy()
        joints[J3D["left_wrist"], 2] += 0.21
        return dataclasses.replace(p, joints3d_m=joints)

    truth = dataclasses.replace(truth, visibility=hidden)
    seen = evaluate_synth_clip(changed(results, bent), truth)
    assert seen.poses.by_joint_mm["left_wrist"] == pytest.approx(210)
    assert seen.poses.by_joint_mm["right_wrist"] == pytest.approx(0, abs=1e-9)
    assert seen.poses.mpjpe_mm == pytest.approx(210 / 21)
    assert seen.poses.pck_150mm == pytest.approx(20 / 21)
    assert seen.poses.occluded_mpjpe_mm == pytest.approx(210)  # the hidden joint alone
    assert seen.poses.visible_mpjpe_mm == pytest.approx(0, abs=1e-9)
    assert (seen.poses.occluded_pck_150mm, seen.poses.visible_pck_150mm) == (0, 1)


def test_exchanged_ids_are_switches_and_break_no_pose():
    results, truth = clip()

    def exchanged(frame, p):
        return dataclasses.replace(p, track_id=3 - p.track_id) if frame >= 6 else p

    seen = evaluate_synth_clip(changed(results, exchanged), truth)
    assert seen.identities.switches == 2
    assert seen.identities.idf1 == pytest.approx(0.5)
    assert seen.poses.mpjpe_mm == pytest.approx(0, abs=1e-9)


def test_people_without_identities_of_their_own_are_refused():
    results, truth = clip()
    nobody = changed(results, lambda _, p: dataclasses.replace(p, track_id=0))
    with pytest.raises(BadInput, match="people with 1 identities"):
        evaluate_synth_clip(nobody, truth)


def test_trembling_is_jitter_and_its_size_is_known():
    # z of everybody alternates by +-5 mm: the second difference is 20 mm, in the pose too when
    # only the wrists tremble (2 of 21 joints).
    results, truth = clip(speed_m=0.0)

    def tremble(frame, p):
        joints = p.joints3d_m.copy()
        joints[:, 2] += 0.005 * (-1) ** frame
        return dataclasses.replace(p, joints3d_m=joints)

    def wrists(frame, p):
        joints = p.joints3d_m.copy()
        joints[[J3D["left_wrist"], J3D["right_wrist"]], 2] += 0.005 * (-1) ** frame
        return dataclasses.replace(p, joints3d_m=joints)

    whole = evaluate_synth_clip(changed(results, tremble), truth).motion
    assert whole.jitter_mm == pytest.approx(20)
    assert whole.acceleration_error_mm == pytest.approx(20)
    assert whole.pose_jitter_mm == pytest.approx(0, abs=1e-9)
    assert whole.true_jitter_mm == pytest.approx(0, abs=1e-9)
    assert whole.foot_skate_mm == pytest.approx(10)  # 10 mm from frame to frame
    part = evaluate_synth_clip(changed(results, wrists), truth).motion
    assert part.pose_acceleration_error_mm == pytest.approx(20 * 2 / 21)
    assert part.foot_skate_mm == pytest.approx(0, abs=1e-9)


def test_feet_skate_only_while_the_true_foot_is_on_the_floor():
    results, truth = clip(speed_m=0.0)
    contact = np.zeros((FRAMES, 2, 2), bool)
    contact[3:6, 0, 0] = True  # left foot of the first, frames 3 to 5: two steps

    def slide(frame, p):
        joints = p.joints3d_m.copy()
        joints[J3D["left_foot"], 0] += 0.007 * frame
        return dataclasses.replace(p, joints3d_m=joints)

    seen = evaluate_synth_clip(
        changed(results, slide), dataclasses.replace(truth, contact=contact)
    ).motion
    assert (seen.contact_frames, seen.foot_skate_mm) == (2, pytest.approx(7))
    assert on_floor(truth)[:-1].all()  # without `contact`: everybody stands still
    assert not on_floor(clip(speed_m=0.02)[1])[:, 1].any()  # 0.6 m/s


def test_a_camera_that_moves_with_the_truth_makes_no_skate():
    results, truth = clip(speed_m=0.02)
    contact = np.ones((FRAMES, 2, 2), bool)
    seen = evaluate_synth_clip(results, dataclasses.replace(truth, contact=contact)).motion
    assert seen.foot_skate_mm == pytest.approx(0, abs=1e-9)
    assert seen.contact_frames == 2 * 2 * (FRAMES - 1)


def test_who_cannot_be_seen_is_neither_missed_nor_found():
    results, truth = clip()
    hidden = truth.visibility.copy()
    hidden[4:8, 1] = 1  # behind something
    truth = dataclasses.replace(truth, visibility=hidden)
    for people in (results, changed(results, lambda f, p: None if 4 <= f < 8 and p.track_id == 2
                                    else p)):  # fmt: skip
        seen = evaluate_synth_clip(people, truth).identities
        assert (seen.mota, seen.misses, seen.false_positives) == (1, 0, 0)
        assert seen.true_people == 2 * FRAMES - 4
    outside = hidden.copy()
    outside[:, 1] = 0
    gone = evaluate_synth_clip(results, dataclasses.replace(truth, visibility=outside))
    assert (gone.identities.true_people, gone.identities.false_positives) == (FRAMES, FRAMES)


def test_a_person_of_whom_nothing_was_seen_is_paired_by_where_the_skeleton_projects():
    results, truth = clip()

    def unseen(frame, p):
        return dataclasses.replace(p, joints2d_score=p.joints2d_score * (frame != 5))

    seen = evaluate_synth_clip(changed(results, unseen), truth).identities
    assert (seen.misses, seen.false_positives, seen.pairs) == (0, 0, 2 * FRAMES)


def test_missing_and_invented_people_are_counted():
    results, truth = clip()
    ghost = person(9, 3.0, 6.0, CAMERA)
    some = [
        dataclasses.replace(r, people=(*r.people[: 1 if r.index < 5 else 2], ghost))
        for r in results
    ]
    seen = evaluate_synth_clip(some, truth).identities
    assert (seen.misses, seen.false_positives, seen.switches) == (5, FRAMES, 0)
    assert seen.mota == pytest.approx(1 - (5 + FRAMES) / (2 * FRAMES))


def test_frames_that_were_left_out_are_not_joined_over_the_gap():
    results, truth = clip(speed_m=0.0)
    every_third = [r for r in results if r.index % 3 == 0]
    seen = evaluate_synth_clip(every_third, truth)
    assert seen.identities.mota == 1
    assert np.isnan(seen.motion.jitter_mm)
    assert seen.motion.contact_frames == 0


def test_bones_that_change_vary():
    one = person(1, 0, 4, CAMERA).joints3d_m
    largest, mean = bone_variation([np.array([one, 1.1 * one])])
    assert largest == pytest.approx(mean)
    assert largest == pytest.approx(0.05 / 1.05)  # std of (1, 1.1) over their mean
    assert np.isnan(bone_variation([])).all()


def written(tmp_path, truth, **changes):
    arrays = {
        "joints3d_m": truth.joints3d_m, "joints2d_px": truth.joints2d_px,
        "visibility": truth.visibility, "fps": truth.fps,
        "joints3d_names": np.array(JOINTS3D), "joints2d_names": np.array(JOINTS2D),
    }  # fmt: skip
    path = tmp_path / "truth.npz"
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def test_the_command_reads_recording_and_truth(tmp_path, capsys):
    results, truth = clip()
    recording = save_recording(tmp_path / "take.npz", results)
    arguments = ["synth-clip", str(recording), str(written(tmp_path, truth))]
    assert main([*arguments, "--report", str(tmp_path / "report"), "--match", "3d"]) == 0
    out = capsys.readouterr().out
    assert "| MPJPE | 0.0 mm |" in out
    assert "| 100.0 % | 0.000 | 100.0 % | 0 |" in out
    assert (tmp_path / "report" / "report.json").is_file()
    assert main([*arguments, "--gate", "0.2"]) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"visibility": None}, "it lacks 'visibility"),
        ({"joints3d_names": np.array(JOINTS3D[::-1])}, "joints .* are others"),
    ],
)
def test_another_file_is_no_truth(tmp_path, changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        read_truth(written(tmp_path, clip(2)[1], **changes))


def test_bad_input_is_one_sentence(tmp_path):
    results, truth = clip()
    with pytest.raises(BadInput, match="cannot read the ground truth"):
        read_truth(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(BadInput, match="damaged"):
        read_truth(tmp_path / "text.npz")
    with pytest.raises(BadInput, match="same clip"):
        evaluate_synth_clip(results, truth_of(results[:4]))
    with pytest.raises(BadInput, match="no frames"):
        evaluate_synth_clip([], truth)
    with pytest.raises(BadInput, match="2d or 3d, got '4d'"):
        evaluate_synth_clip(results, truth, match_by="4d")


def test_the_bundled_truth_can_be_read():
    from xnect.demo.demo_clip import TRUTH

    truth = read_truth(TRUTH)
    assert truth.joints3d_m.shape == (150, 3, 21, 3)
    assert 0.1 < on_floor(truth).mean() < 0.95  # some feet stand, some do not


# --- the metrics underneath -------------------------------------------------------------------


def test_acceleration_of_a_parabola_is_constant_and_of_a_line_zero():
    t = np.arange(6.0)[:, None, None]
    parabola, line = t**2 * (0, 0.003, 0), t * np.ones(3)
    assert np.allclose(accelerations(parabola), (0, 0.006, 0))
    assert jitter(parabola) == pytest.approx(0.006)
    assert jitter(line) == pytest.approx(0, abs=1e-12)
    assert acceleration_error(parabola + line, line) == pytest.approx(0.006)
    assert acceleration_error(parabola + line, parabola) == pytest.approx(0, abs=1e-12)
    assert np.isnan(jitter(line[:2]))


def test_pck_in_the_picture_is_inclusive_and_counts_the_missing_as_wrong():
    true = np.zeros((1, 4, 2))
    pred = np.array([[[3.0, 4.0], [5.1, 0], [np.nan, np.nan], [0, 0]]])
    # reference 10, within 0.5: 5 px is right, 5.1 is not, nan is not, 0 is
    assert pck2d(pred, true, reference_px=np.array([10.0]), within=0.5) == 0.5
    assert pckh(pred, true, head_px=np.array([10.0])) == 0.5
    valid = np.array([[True, False, False, True]])
    assert pck2d(pred, true, valid, reference_px=10.0, within=0.5) == 1


def test_figures_by_joint_leave_out_what_is_not_valid():
    values = np.array([[1.0, 2.0], [3.0, 99.0]])
    assert by_joint(values, np.array([[True, True], [True, False]])).tolist() == [2, 2]
    assert np.isnan(by_joint(values, np.array([True, False]))[1])
    figures = pose_figures(np.zeros((0, 21, 3)), np.zeros((0, 21, 3)))
    assert figures.poses == 0
    assert np.isnan(figures.mpjpe_mm)
    one = pose_figures(np.ones((2, 21, 3)), np.ones((2, 21, 3)))
    assert np.isnan(one.visible_mpjpe_mm)  # it is not known which joints are seen
