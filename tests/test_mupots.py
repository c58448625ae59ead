"""MuPoTS-3D's rules, each on a case small enough to be counted by hand (spec 7.1)."""

import dataclasses

import cv2
import numpy as np
import pytest
from fakes import FakePipeline, person
from scipy.io import savemat

from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.eval.__main__ import main
from xnect.eval.mpi_groups import GROUPS, RELEVANT, group_scores, mean_scores
from xnect.eval.mupots import (
    BONE_ORDER,
    NOBODY,
    NOT_FOUND_MM,
    PARENTS,
    Found,
    Labels,
    evaluate_mupots,
    found_in,
    frame_errors,
    masked_scores,
    match,
    read_all_labels,
    read_labels,
    root_ap,
    sequence_errors,
    with_bone_lengths,
)
from xnect.recording import load_recording, save_recording
from xnect.skeleton import J2D, J3D
from xnect.types import Result

J = {name: i for i, name in enumerate(RELEVANT)}


def star():
    """(17, 3) mm about the pelvis: every bone is 100 mm long, all limbs are straight lines.

    spine (0, -100, 0), neck (0, -200, 0), head_top and head 100 from the neck, arms along x at
    y = -200, legs along y.
    """
    pose = np.zeros((17, 3))
    pose[J["spine"]] = (0, -100, 0)
    pose[J["neck"]] = (0, -200, 0)
    pose[J["head_top"]] = pose[J["head"]] = (0, -300, 0)
    for i, part in enumerate(("shoulder", "elbow", "wrist"), start=1):
        pose[J[f"left_{part}"]] = (100 * i, -200, 0)
        pose[J[f"right_{part}"]] = (-100 * i, -200, 0)
    for i, part in enumerate(("hip", "knee", "ankle")):
        pose[J[f"left_{part}"]] = (100, 100 * i, 0)
        pose[J[f"right_{part}"]] = (-100, 100 * i, 0)
    return pose


def flat(x_px=1000.0, y_px=500.0):
    """(17, 2) px of somebody at a place in the picture; no joint is at (0, 0)."""
    return star()[:, :2] + (x_px, y_px)


def labels(*places_px, poses=None, roots=None, occluded=None):
    count = len(places_px)
    universal = np.array([star()] * count if poses is None else poses).reshape(-1, 17, 3)
    roots = np.array([(0.0, 0.0, 3000.0)] * count if roots is None else roots).reshape(-1, 1, 3)
    hidden = np.zeros((count, 17)) if occluded is None else np.asarray(occluded, float)
    pixels = np.array([flat(*p) for p in places_px]).reshape(-1, 17, 2)
    return Labels(pixels, universal, universal + roots, hidden)


def found(*places_px, poses=None, roots=None, score=None):
    count = len(places_px)
    joints = np.array([star()] * count if poses is None else poses).reshape(-1, 17, 3)
    roots = np.array([(0.0, 0.0, 3000.0)] * count if roots is None else roots).reshape(-1, 1, 3)
    pixels = np.array([flat(*p) for p in places_px]).reshape(-1, 17, 2)
    return Found(pixels, joints + roots, np.ones(count) if score is None else np.array(score))


def moved(**shifts_mm):
    """The star with some joints moved, without care for bone lengths."""
    pose = star()
    for name, shift in shifts_mm.items():
        pose[J[name]] += shift
    return pose


# --- rule 2: who is who -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "same"),
    [
        ((39.9, 39.9), True),  # 56 px away, but each coordinate is below 40
        ((40.0, 0.0), False),  # strictly below
        ((0.0, 40.0), False),
        ((-39.9, 39.9), True),
    ],
)
def test_a_joint_is_near_when_both_coordinates_differ_by_less_than_40_px(shift, same):
    chosen = match(flat()[None], (flat() + shift)[None])
    assert chosen.tolist() == [0 if same else -1]


def test_only_the_joints_from_neck_to_ankles_decide():
    one = flat()[None]
    far = one + 500
    for joint in range(17):
        other = far.copy()
        other[0, joint] = one[0, joint]  # one joint alone agrees
        decides = 1 <= joint <= 13  # not head_top, pelvis, spine and head
        assert (match(one, other)[0] == 0) == decides


def test_the_most_near_joints_win_and_the_first_of_equals():
    label = flat()[None]
    five, six = flat() + 500, flat() + 500
    five[1:6], six[1:7] = flat()[1:6], flat()[1:7]
    assert match(label, np.array([five, six])).tolist() == [1]  # 6 > 5
    assert match(label, np.array([six, five])).tolist() == [0]
    assert match(label, np.array([six, six])).tolist() == [0]  # 6 = 6: the first
    closer = flat() + np.array([10, 0])  # all 13 near, whatever the distance
    assert match(label, np.array([flat() + np.array([30, 0]), closer])).tolist() == [0]


def test_labels_choose_in_their_order_even_when_another_order_would_be_better():
    # A at x = 0, B at x = 30; found: one at x = 25, near both, and one at x = 65, near B only
    # (|65 - 30| = 35 < 40, |65 - 0| = 65).  A takes the first, B is left with the second.
    pair = np.array([flat(25.5), flat(65.5)])
    assert match(np.array([flat(0.5), flat(30.5)]), pair).tolist() == [0, 1]
    # B first: both agree in 13 joints, the first is taken, and A, far from x = 65, gets nobody.
    assert match(np.array([flat(30.5), flat(0.5)]), pair).tolist() == [0, -1]


def test_a_found_person_is_taken_once():
    both = np.array([flat(), flat()])
    assert match(both, flat()[None]).tolist() == [0, -1]


def test_a_found_joint_at_zero_zero_is_absent_and_one_at_zero_x_is_not():
    label = flat(20.0, 220.0)[None]  # the neck is at (20, 20): near (0, 0)
    assert tuple(label[0, J["neck"]]) == (20, 20)
    absent = np.full((1, 17, 2), 5000.0)
    absent[0, J["neck"]] = (0, 0)
    assert match(label, absent).tolist() == [-1]
    absent[0, J["neck"]] = (0, 1)
    assert match(label, absent).tolist() == [0]


def test_nobody_found_or_labelled_is_no_match():
    assert match(flat()[None], np.zeros((0, 17, 2))).tolist() == [-1]
    assert match(np.zeros((0, 17, 2)), flat()[None]).tolist() == []


# --- rule 4: bone lengths ---------------------------------------------------------------------


def test_the_tree_is_walked_from_the_pelvis_outwards():
    done = {J["pelvis"]}
    for joint in BONE_ORDER:
        assert PARENTS[joint] in done
        done.add(joint)
    assert len(done) == 17
    assert [RELEVANT[p] for p in PARENTS] == [
        "neck", "spine", "neck", "right_shoulder", "right_elbow", "neck", "left_shoulder",
        "left_elbow", "pelvis", "right_hip", "right_knee", "pelvis", "left_hip", "left_knee",
        "pelvis", "pelvis", "neck",
    ]  # fmt: skip


def test_a_larger_body_in_the_same_pose_has_no_error():
    assert np.allclose(with_bone_lengths(2.5 * star(), star()), star())


def test_each_bone_keeps_its_found_direction_from_the_mapped_parent():
    # The found left elbow is bent: from the shoulder (100, -200, 0) 60 down and 80 forward.  The
    # bone has length 100 already; the forearm goes on with (100, 0, 0) of the found pose.
    bent = star()
    bent[J["left_elbow"]] = bent[J["left_shoulder"]] + (0, 60, 80)
    bent[J["left_wrist"]] = bent[J["left_elbow"]] + (300, 0, 0)  # three times too long
    mapped = with_bone_lengths(bent, star())
    assert np.allclose(mapped[J["left_elbow"]], (100, -140, 80))
    assert np.allclose(mapped[J["left_wrist"]], (200, -140, 80))
    # A shorter spine in the truth: everything above it moves down with it, unbent.
    short = star()
    above = [
        j for j, n in enumerate(RELEVANT) if not n.endswith(("hip", "knee", "ankle", "pelvis"))
    ]
    short[above] += (0, 40, 0)  # the spine is 60 mm long, all other bones 100
    mapped = with_bone_lengths(star(), short)
    assert np.allclose(mapped, short)
    assert np.allclose(mapped[J["head_top"]], (0, -260, 0))  # 60 + 100 + 100 above the pelvis


def test_the_direction_comes_from_the_found_parent_not_from_the_mapped_one():
    # Found: spine at (0, -300, 0), neck beside it at (100, -300, 0), so the bone points along x.
    # Mapped: spine at (0, -100, 0), neck 100 along x from it.  Seen from the mapped spine, the
    # found neck were at (100, -200, 0), another direction.
    pose = star()
    pose[J["spine"]], pose[J["neck"]] = (0, -300, 0), (100, -300, 0)
    mapped = with_bone_lengths(pose, star())
    assert np.allclose(mapped[J["neck"]], (100, -100, 0))


def test_a_bone_without_length_is_wrong_and_so_is_what_hangs_on_it():
    pose = star()
    pose[J["left_knee"]] = pose[J["left_hip"]]
    errors = frame_errors(labels((500, 500)), found((500, 500), poses=[pose])).errors_mm[0]
    assert np.isnan(errors[[J["left_knee"], J["left_ankle"]]]).all()
    assert np.isfinite(np.delete(errors, [J["left_knee"], J["left_ankle"]])).all()
    assert group_scores(errors[None]).pck["knees"] == 50


# --- rules 3 and 5: errors and modes ----------------------------------------------------------


def test_both_poses_have_the_pelvis_at_the_origin_and_the_truth_is_the_universal_one():
    label = labels((500, 500), roots=[(100, 200, 5000)])
    seen = found((500, 500), roots=[(-900, 0, 2000)])
    assert np.allclose(frame_errors(label, seen).errors_mm, 0)
    # universal_mm counts: with an arm raised there, the error of the wrist is
    # |(300, -200) - (100, -400)| = 282.84, of the elbow |(200, -200) - (100, -300)| = 141.42
    raised = star()
    raised[J["left_elbow"]], raised[J["left_wrist"]] = (100, -300, 0), (100, -400, 0)
    label = dataclasses.replace(label, universal_mm=raised[None])
    errors = frame_errors(label, seen).errors_mm[0]
    assert errors[J["left_elbow"]] == pytest.approx(141.4214, abs=1e-3)
    assert errors[J["left_wrist"]] == pytest.approx(282.8427, abs=1e-3)
    assert errors.sum() == pytest.approx(141.4214 + 282.8427, abs=1e-3)


def test_who_was_not_found_is_wrong_in_mode_all_and_left_out_in_mode_matched():
    # Two people; only the first is found, without error.  All: 14 of 28 joints = 50 %;
    # matched: 100 %.  AUC: error 0 is below 5 ... 150, not below 0: 30 of 31 = 96.77 %, all: half.
    report = evaluate_mupots(
        {"TS1": [labels((300, 500), (900, 500))]}, {"TS1": {0: found((300, 500))}}
    )
    assert (report.labelled, report.found) == (2, 1)
    assert report.all.pooled.pck["total"] == 50
    assert report.matched.pooled.pck["total"] == 100
    assert report.matched.pooled.auc["total"] == pytest.approx(100 * 30 / 31)
    assert report.all.pooled.auc["total"] == pytest.approx(50 * 30 / 31)
    assert (report.all.pooled.poses, report.matched.pooled.poses) == (2, 1)
    assert report.matched.pooled.mpjpe_mm == 0
    assert report.all.pooled.mpjpe_mm == NOT_FOUND_MM / 2


def test_frames_without_predictions_have_nobody():
    errors = sequence_errors([labels((300, 500)), labels((300, 500))], {1: found((300, 500))})
    assert errors.matched.tolist() == [False, True]
    assert (errors.errors_mm[0] == NOT_FOUND_MM).all()
    as_list = sequence_errors([labels((300, 500))] * 2, [NOBODY, found((300, 500))])
    assert np.array_equal(as_list.errors_mm, errors.errors_mm)


def test_found_people_too_many_cost_nothing():
    label = {"TS1": [labels((300, 500))]}
    alone = evaluate_mupots(label, {"TS1": {0: found((300, 500))}})
    crowd = evaluate_mupots(label, {"TS1": {0: found((1500, 500), (300, 500), (900, 500))}})
    assert (crowd.all.pooled, crowd.all.visible) == (alone.all.pooled, alone.all.visible)
    assert crowd.matched.pooled.pck["total"] == 100


# --- the scores -------------------------------------------------------------------------------


def errors_of(**mm):
    errors = np.zeros((1, 17))
    for name, value in mm.items():
        errors[0, J[name]] = value
    return errors


def test_groups_are_the_eight_of_the_kit_and_have_fourteen_joints():
    named = {group: [RELEVANT[j] for j in joints] for group, joints in GROUPS.items()}
    assert named["head"] == ["head_top"]
    assert named["neck"] == ["neck"]
    assert named["ankles"] == ["right_ankle", "left_ankle"]
    assert sorted(j for joints in GROUPS.values() for j in joints) == list(range(14))


def test_an_error_is_right_strictly_below_150_mm():
    scores = group_scores(errors_of(head_top=149.999, neck=150.0, left_wrist=150.001))
    assert (scores.pck["head"], scores.pck["neck"], scores.pck["wrists"]) == (100, 0, 50)
    assert scores.pck["shoulders"] == 100
    assert scores.pck["total"] == pytest.approx(100 * 12 / 14)  # not the mean of the groups


def test_pelvis_spine_and_head_do_not_count():
    scores = group_scores(errors_of(pelvis=1000, spine=1000, head=1000))
    assert scores.pck["total"] == 100
    assert scores.mpjpe_mm == 0


def test_auc_is_the_mean_over_31_thresholds_with_zero_among_them():
    # 72 mm is below 75, 80 ... 150: 16 of 31.  75 mm exactly: below 80 ... 150: 15.  0: 30.
    scores = group_scores(errors_of(head_top=72, neck=75, left_knee=1000))
    assert scores.auc["head"] == pytest.approx(100 * 16 / 31)
    assert scores.auc["neck"] == pytest.approx(100 * 15 / 31)
    assert scores.auc["knees"] == pytest.approx(50 * 30 / 31)
    assert scores.auc["total"] == pytest.approx(100 * (16 + 15 + 0 + 11 * 30) / 31 / 14)


def test_mpjpe_is_over_the_fourteen_joints():
    assert group_scores(errors_of(head_top=70, left_ankle=140)).mpjpe_mm == pytest.approx(15)


def test_pooled_and_sequence_mean_differ_when_sequences_differ_in_length():
    # TS1: one frame, everything right: 100 %.  TS2: three frames, nobody found: 0 %.
    # Pooled over people 25 %, mean of the sequences 50 %.
    report = evaluate_mupots(
        {"TS1": [labels((300, 500))], "TS2": [labels((300, 500))] * 3, "TS3": []},
        {"TS1": {0: found((300, 500))}, "TS2": {}},
    )
    assert report.all.pooled.pck["total"] == 25
    assert report.all.sequence_mean.pck["total"] == 50
    assert report.matched.sequence_mean.pck["total"] == 100  # TS2 has no matched person
    assert report.left_out == ("TS3",)
    assert mean_scores({"a": group_scores(np.zeros((0, 17)))}).poses == 0
    assert "mean of sequences | 100.0" in report.table()


def test_visible_and_occluded_joints_have_rules_of_their_own():
    errors = errors_of(head_top=150.0, neck=151.0, left_wrist=np.nan, left_knee=1000.0)
    mask = np.zeros((1, 17))
    for name in ("head_top", "neck", "left_wrist", "right_wrist", "pelvis"):
        mask[0, J[name]] = 1
    scores = masked_scores(errors, mask)
    # Of head_top (150 is right here), neck (wrong), left wrist (nan counts as 160: wrong) and
    # right wrist (0: right), 2 of 4 are right; the pelvis does not count.
    assert scores.joints == 4
    assert scores.pck == pytest.approx(50)
    assert scores.mpjpe_mm == pytest.approx((150 + 151 + 160 + 0) / 4)
    assert (scores.by_joint["head_top"], scores.by_joint["neck"]) == (100, 0)
    assert scores.by_joint["left_knee"] == 100  # masked out: never wrong
    assert np.isnan(masked_scores(errors, np.zeros((1, 17))).pck)


def test_masks_are_of_the_labelled_person_and_their_total_is_over_joints():
    hidden = np.zeros((2, 17))
    hidden[0, J["left_wrist"]] = 1  # one joint of the first
    hidden[1, :14] = 1  # all of the second, who is not found
    truth = {"TS1": [labels((300, 500), (900, 500), occluded=hidden)]}
    report = evaluate_mupots(truth, {"TS1": {0: found((300, 500))}})
    # all: 15 hidden joints, 1 right; 13 visible ones, all right.  matched: 1 hidden, right.
    assert (report.all.occluded.joints, report.all.visible.joints) == (15, 13)
    assert report.all.occluded.pck == pytest.approx(100 / 15)
    assert report.all.visible.pck == 100
    assert (report.matched.occluded.joints, report.matched.occluded.pck) == (1, 100)
    assert report.all.occluded_by_sequence["TS1"] == report.all.occluded


# --- later work: camera space -----------------------------------------------------------------


def test_absolute_errors_keep_the_pelvis_where_it_was_found():
    label = labels((500, 500), roots=[(0, 0, 3000)])
    near, far = found((500, 500), roots=[(0, 0, 3149)]), found((500, 500), roots=[(0, 0, 3150)])
    assert np.allclose(frame_errors(label, near).absolute_mm, 149)
    assert evaluate_mupots({"TS1": [label]}, {"TS1": {0: near}}).absolute["all"].pck["total"] == 100
    report = evaluate_mupots({"TS1": [label]}, {"TS1": {0: far}})
    assert report.absolute["all"].pck["total"] == 0
    assert report.all.pooled.pck["total"] == 100


def test_root_ap_by_hand():
    truth = [labels((300, 500), (900, 500), roots=[(0, 0, 3000), (1000, 0, 3000)])]
    # By score: 0.9 is 100 mm from the first (right), 0.8 is 200 mm from the first, which is
    # taken, and 1000 from the second (wrong), 0.7 is 249 mm from the second (right).
    # Precision at the two hits: 1/1 and 2/3; recall steps 1/2 each: AP = (1 + 2/3) / 2 = 83.3 %.
    three = [(100, 0, 3000), (0, 0, 3200), (1000, 0, 3249)]
    seen = found((0, 0), (0, 0), (0, 0), roots=three, score=[0.9, 0.8, 0.7])
    assert root_ap(truth, {0: seen}) == pytest.approx(100 * (1 + 2 / 3) / 2)
    # 250 mm is no longer within 25 cm: one of two found, at precision 1.
    edge = found((0, 0), (0, 0), roots=[(100, 0, 3000), (1000, 0, 3250)], score=[0.9, 0.7])
    assert root_ap(truth, {0: edge}) == pytest.approx(50)
    assert root_ap(truth, {}) == 0
    # Precision made monotone: wrong, right, right with two labels: 2/3 at both hits.
    late = found(*[(0, 0)] * 3, roots=[(0, 0, 9000), (0, 0, 3000), (1000, 0, 3000)],
                 score=[0.9, 0.8, 0.7])  # fmt: skip
    assert root_ap(truth, {0: late}) == pytest.approx(100 * 2 / 3)


# --- files ------------------------------------------------------------------------------------


def cell(rows):
    """A MATLAB cell array of frames and people."""
    out = np.empty((len(rows), len(rows[0])), object)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            out[i, j] = value
    return out


def annotation(truth, p, *, valid=True):
    return {
        "annot2": truth.joints_px[p].T,
        "annot3": truth.camera_mm[p].T,
        "univ_annot3": truth.universal_mm[p].T,
        "isValidFrame": np.array([[float(valid)]]),
    }


@pytest.fixture
def sequence(tmp_path):
    """TS1 with two frames of two people; in the second frame only the second is valid."""
    truth = labels((300, 500), (900, 500), roots=[(0, 0, 3000), (500, 0, 4000)])
    hidden = np.zeros((1, 17))
    hidden[0, 4] = 1
    folder = tmp_path / "set" / "TS1"
    folder.mkdir(parents=True)
    frames = [
        [annotation(truth, 0), annotation(truth, 1)],
        [annotation(truth, 0, valid=False), annotation(truth, 1)],
    ]
    savemat(folder / "annot.mat", {"annotations": cell(frames)})
    savemat(folder / "occlusion.mat", {"occlusion_labels": cell([[hidden, 0 * hidden]] * 2)})
    return folder, truth, frames


def test_labels_are_read_from_the_official_layout(sequence):
    folder, truth, _ = sequence
    first, second = read_labels(folder)
    assert np.array_equal(first.joints_px, truth.joints_px)
    assert np.array_equal(first.universal_mm, truth.universal_mm)
    assert np.array_equal(first.camera_mm, truth.camera_mm)
    assert first.occluded[:, 4].tolist() == [1, 0]
    assert np.array_equal(second.camera_mm, truth.camera_mm[1:])  # the valid one alone
    assert second.occluded.sum() == 0
    assert list(read_all_labels(folder.parent)) == ["TS1"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("annot.mat", {"other": np.zeros(3)}, "no cell array 'annotations'; its variables: other"),
        ("occlusion.mat", {"occlusion_labels": cell([[np.zeros((1, 17))]])}, "frames and people"),
        ("occlusion.mat", {"occlusion_labels": cell([[np.zeros((1, 3))] * 2] * 2)},
         r"frame 1, person 1: 17 occlusion labels are expected, not 3"),
        ("annot.mat", {"annotations": cell([[{"isValidFrame": 1.0}] * 2] * 2)},
         r"frame 1, person 1: no field 'annot2'; it has isValidFrame"),
        ("annot.mat", {"annotations": cell([[{"isValidFrame": 1.0, "annot2": np.ones((2, 3))}]])},
         r"annot2 must be \(2, 17\), got \(2, 3\)"),
    ],
)  # fmt: skip
def test_another_layout_is_one_sentence_with_the_place(sequence, name, content, sentence):
    folder, _, _ = sequence
    savemat(folder / name, content)
    if "must be" in sentence:
        savemat(folder / "occlusion.mat", {"occlusion_labels": cell([[np.zeros((1, 17))]])})
    with pytest.raises(BadInput, match=sentence):
        read_labels(folder)


def test_missing_and_broken_files_are_one_sentence(sequence, tmp_path):
    folder, _, _ = sequence
    with pytest.raises(BadInput, match="none of the folders TS1"):
        read_all_labels(tmp_path)
    (folder / "annot.mat").write_bytes(b"no MATLAB at all")
    with pytest.raises(BadInput, match=r"cannot read the MATLAB file .*annot\.mat"):
        read_labels(folder)
    (folder / "annot.mat").unlink()
    with pytest.raises(BadInput, match="there is no such file"):
        read_labels(folder)


def test_recordings_give_seen_joints_in_pixels_and_the_pose_in_millimetres(tmp_path):
    camera = Camera.guess(480, 640)
    one = person(1, 0.0, 4.0, camera)
    score = one.joints2d_score.copy()
    score[J2D["left_wrist"]] = 0
    one = dataclasses.replace(one, joints2d_score=score)
    takes = [Result(i, i / 30, (480, 640), camera, (one,) if i == 2 else ()) for i in (0, 2)]
    seen = found_in(load_recording(save_recording(tmp_path / "TS1.npz", takes)))
    assert sorted(seen) == [0, 2]
    assert len(seen[0].score) == 0
    assert seen[2].joints_px[0, J["left_wrist"]].tolist() == [0, 0]
    assert seen[2].joints_px[0, J["pelvis"]].tolist() == [0, 0]  # no 2D joint of ours
    for name in ("neck", "right_shoulder", "left_ankle"):
        assert np.allclose(seen[2].joints_px[0, J[name]], one.joints2d_px[J2D[name]], atol=1e-3)
    assert np.allclose(seen[2].joints_mm[0], 1000 * one.joints3d_m[:17], atol=1e-2)
    assert [J3D[name] for name in RELEVANT] == list(range(17))


def test_the_command_scores_recordings_named_after_the_sequences(tmp_path, capsys):
    camera = Camera.guess(480, 640)
    people = (person(1, -0.5, 4.0, camera), person(2, 0.9, 4.0, camera))
    joints = np.array([1000 * p.joints3d_m[:17] for p in people])
    pixels = np.array([camera.project(p.joints3d_m[:17]) for p in people])
    truth = Labels(pixels, joints, joints, np.zeros((2, 17)))
    folder = tmp_path / "set" / "TS4"
    folder.mkdir(parents=True)
    rows = [[annotation(truth, 0), annotation(truth, 1)]] * 2
    savemat(folder / "annot.mat", {"annotations": cell(rows)})
    savemat(folder / "occlusion.mat", {"occlusion_labels": cell([[np.zeros((1, 17))] * 2] * 2)})
    takes = [Result(0, 0.0, (480, 640), camera, people), Result(1, 0.1, (480, 640), camera, ())]
    save_recording(tmp_path / "takes" / "TS4.npz", takes)
    report = tmp_path / "report"
    assert (
        main(["mupots", str(folder.parent), str(tmp_path / "takes"), "--report", str(report)]) == 0
    )
    out = capsys.readouterr().out
    assert "2 of 4 labelled people were found" in out
    assert f"| pooled |{' 50.0 |' * 9} 48.4 |" in out  # 8 groups and PCK; AUC is 50 x 30/31
    assert (report / "report.md").read_text().startswith("# MuPoTS-3D")
    assert main(["mupots", str(folder.parent), str(tmp_path)]) == 2
    assert "there are no predictions" in capsys.readouterr().err
    save_recording(tmp_path / "takes" / "TS4.npz", takes[:1])
    assert main(["mupots", str(folder.parent), str(tmp_path / "takes")]) == 2
    assert "TS4.npz lacks 1 labelled frames, the first is 1" in capsys.readouterr().err


def write_pictures(folder, numbers, *, size=(24, 32), suffix=".jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        grey = np.full((*size, 3), 10 * (number % 25), np.uint8)
        assert cv2.imwrite(str(folder / f"img_{number:06d}{suffix}"), grey)


def test_pictures_of_a_folder_are_recorded_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    write_pictures(tmp_path / "set" / "TS2", range(12))
    write_pictures(tmp_path / "set" / "TS10" / "imageSequence", range(1, 4))
    (tmp_path / "set" / "TS2" / "annot.mat").write_bytes(b"no picture")
    greys = []

    class Seen(FakePipeline):
        def stream(self, frames):
            frames = list(frames)
            greys.append([round(f.image.mean() / 10) for f in frames])
            return super().stream(frames)

    monkeypatch.setattr("xnect.eval.__main__._pipeline", lambda options: Seen())
    out = tmp_path / "takes"
    assert main(["record", str(tmp_path / "set"), str(out), "--fps", "25"]) == 0
    assert greys == [list(range(12)), [1, 2, 3]]  # TS2 before TS10
    take = load_recording(out / "TS2.npz")
    assert take.frame_index.tolist() == list(range(12))
    assert take.fps == 25
    assert sorted(found_in(load_recording(out / "TS10.npz"))) == [0, 1, 2]  # not 1, 2, 3
    one = tmp_path / "one"
    assert main(["record", str(tmp_path / "set" / "TS10"), str(one)]) == 0
    assert [path.name for path in one.glob("*.npz")] == ["TS10.npz"]


def test_an_interrupted_recording_does_not_replace_a_whole_one(tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / "set" / "TS1", range(4))
    monkeypatch.setattr("xnect.eval.__main__._pipeline", lambda options: FakePipeline())
    words = ["record", str(tmp_path / "set"), str(tmp_path / "takes")]
    assert main(words) == 0
    (tmp_path / "set" / "TS1" / "img_000001.jpg").write_bytes(b"damaged")
    assert main(words) == 2
    assert "cannot decode" in capsys.readouterr().err
    assert load_recording(tmp_path / "takes" / "TS1.npz").frame_index.tolist() == [0, 1, 2, 3]
    assert load_recording(tmp_path / "takes" / "TS1_part.npz").frame_index.tolist() == [0]


def test_the_recordings_have_the_cameras_of_mpi3dhp_when_asked(tmp_path, monkeypatch):
    write_pictures(tmp_path / "TS1" / "imageSequence", [1], size=(2048, 2048))
    monkeypatch.setattr("xnect.eval.__main__._pipeline", lambda options: FakePipeline())
    assert main(["record", str(tmp_path), str(tmp_path / "takes"), "--mpi3dhp"]) == 0
    (camera,) = load_recording(tmp_path / "takes" / "TS1.npz").cameras
    assert camera.fx_px == pytest.approx(1499.2, abs=0.05)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ([], "holds no numbered pictures such as img_000000"),
        ([0, 1, 3], "lacks picture 2 (at img_000003.jpg)"),
        ([4, 5, 5], "has 5 twice"),
    ],
)
def test_a_folder_with_a_gap_is_refused_before_inference(
    numbers, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("xnect.eval.__main__._pipeline", lambda _: pytest.fail("it was loaded"))
    write_pictures(tmp_path / "TS1", numbers)
    if len(set(numbers)) < len(numbers):
        write_pictures(tmp_path / "TS1", numbers[-1:], suffix=".png")
    assert main(["record", str(tmp_path), str(tmp_path / "takes")]) == 2
    assert sentence in capsys.readouterr().err
    assert main(["record", str(tmp_path / "takes"), str(tmp_path)]) == 2
    assert "holds none of the folders TS1" in capsys.readouterr().err
