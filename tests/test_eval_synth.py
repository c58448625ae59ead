"""Evaluation on rendered pictures: the truth has no error, what is wrong is counted where it is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from xnect.calib.camera import Camera
from xnect.eval.coco import joint_shares
from xnect.skeleton import COCO17, J2D, J3D, JOINTS3D, SEEN_AS

pytest.importorskip("numba", reason="rendering needs the extra 'train'")

from fakes import person

from xnect.eval.synth_pictures import KINDS, Shown, judge, kinds, synth_report, synth_sheets
from xnect.synth.labels import HIDDEN, NOTHING, OUTSIDE, PERSON, SEEN, SELF, THING, Labels
from xnect.types import Result

CAMERA = Camera(400.0, 400.0, 255.5, 159.5, 512, 320)


def labels_of(joints_m: np.ndarray) -> Labels:
    """Labels of people (P, 21, 3) of whom everything is seen."""
    count = len(joints_m)
    two = np.zeros((count, 18, 3))
    for three, j in enumerate(SEEN_AS):
        if j >= 0:
            two[:, j] = joints_m[:, three]
    for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
        two[:, J2D[name]] = joints_m[:, J3D["head"]]
    seen = np.full((count, 18), SEEN, np.uint8)
    raw = np.zeros((count, 29, 3))
    return Labels(raw, raw[..., :2], np.zeros((count, 29), np.uint8), joints_m,
                  CAMERA.project(two), seen, np.full((count, 18), NOTHING, np.uint8))  # fmt: skip


def people_at(*columns_m: float) -> list:
    return [person(n, x, 4.0, CAMERA) for n, x in enumerate(columns_m, 1)]


def shown(people: list, labels: Labels | None = None) -> Shown:
    joints = np.array([p.joints3d_m for p in people], float).reshape(-1, 21, 3)
    image = np.zeros((320, 512, 3), np.uint8)
    return Shown(image, CAMERA, labels_of(joints) if labels is None else labels)


def result(people: list) -> Result:
    return Result(0, 0.0, (320, 512), CAMERA, tuple(people))


def test_the_truth_has_no_error_and_finds_everybody():
    people = people_at(-0.8, 0.8)
    report = synth_report([judge(shown(people), result(people))])
    assert (report.people, report.found, report.false_people) == (2, 1.0, 0)
    assert report.poses.mpjpe_mm == pytest.approx(0, abs=1e-6)
    assert report.poses.pck_150mm == report.pck_150mm_of_all == 1
    assert report.root_error_median_m == pytest.approx(0, abs=1e-9)
    assert report.by_kind_joints["seen"] == 2 * sum(j >= 0 for j in SEEN_AS)


def test_a_missed_person_lowers_only_the_share_of_all_and_a_phantom_is_counted():
    people = people_at(-0.8, 0.8)
    phantom = people_at(-0.8, 3.0)
    report = synth_report([judge(shown(people), result(phantom))])
    assert (report.people, report.found, report.false_people) == (2, 0.5, 1)
    assert report.poses.pck_150mm == 1
    assert report.pck_150mm_of_all == pytest.approx(0.5)


def test_an_error_stands_at_its_joint_and_its_kind():
    truth = people_at(0.0)
    labels = labels_of(np.array([truth[0].joints3d_m], float))
    wrist, ankle, knee = J2D["left_wrist"], J2D["right_ankle"], J2D["left_knee"]
    for joint, cause in ((wrist, PERSON), (ankle, THING), (knee, SELF)):
        labels.visibility[0, joint], labels.hidden_by[0, joint] = HIDDEN, cause
    labels.visibility[0, J2D["right_wrist"]] = OUTSIDE
    moved = truth[0].joints3d_m.copy()
    moved[J3D["left_wrist"], 2] += 0.2
    moved[J3D["right_ankle"], 2] += 0.1
    report = synth_report(
        [judge(shown(truth, labels), result([replace(truth[0], joints3d_m=moved)]))]
    )
    assert report.poses.by_joint_mm["left_wrist"] == pytest.approx(200)
    assert report.by_kind_mm["occluded by a person"] == pytest.approx(200)
    assert report.by_kind_pck["occluded by a person"] == 0
    assert report.by_kind_mm["occluded by a thing"] == pytest.approx(100)
    assert report.by_kind_pck["occluded by a thing"] == 1
    assert report.by_kind_mm["self-occluded"] == pytest.approx(0, abs=1e-6)
    assert report.by_kind_joints["outside"] == 1
    assert report.by_joint_pck["left_wrist"] == 0
    assert report.poses.mpjpe_mm == pytest.approx(300 / len(JOINTS3D))
    table = kinds(labels)[0]
    assert table[J3D["pelvis"]] == -1
    assert KINDS[table[J3D["left_wrist"]]] == "occluded by a person"


def test_who_cannot_be_seen_is_neither_missed_nor_found():
    people = people_at(-0.8, 0.8)
    labels = labels_of(np.array([p.joints3d_m for p in people], float))
    labels.visibility[1], labels.hidden_by[1] = HIDDEN, PERSON
    for found in (people, people[:1]):
        report = synth_report([judge(shown(people, labels), result(found))])
        assert (report.people, report.found, report.false_people) == (1, 1.0, 0)


def test_a_picture_without_people_and_one_with_nobody_found_give_tables_and_sheets():
    empty = judge(shown([]), result([]))
    lost = judge(shown(people_at(0.0)), result([]))
    report = synth_report([empty, lost])
    assert (report.people, report.found) == (1, 0)
    assert "3DPCK" in report.table()
    sheets = synth_sheets([empty, lost], count=1)
    assert set(sheets) == {"best", "worst", "random"}


def test_shares_of_coco_joints_know_visible_from_occluded():
    rng = np.random.default_rng(0)
    places = rng.uniform(20, 300, (17, 2))
    state = np.array([2] * 10 + [1] * 5 + [0] * 2)
    label = {
        "image_id": 7, "iscrowd": 0, "num_keypoints": 15, "area": 10_000.0,
        "keypoints": np.column_stack([places, state]).ravel().tolist(),
    }  # fmt: skip
    found = places.copy()
    found[:2] += 500  # two visible ones are wrong
    found[10:14] += 500  # and four occluded ones
    detection = {"image_id": 7, "keypoints": np.column_stack([found, np.ones(17)]).ravel().tolist()}
    shares = joint_shares([label], [detection])
    assert shares["all"].right == pytest.approx(9 / 15)
    assert shares["all"].right_visible == pytest.approx(0.8)
    assert shares["all"].right_occluded == pytest.approx(0.2)
    assert (shares["all"].visible, shares["all"].occluded) == (10, 5)
    assert shares[COCO17[0]].right == 0
    assert shares[COCO17[5]].right_visible == 1
    assert np.isnan(shares[COCO17[16]].right)
    assert joint_shares([label], [])["all"].right == 0
    json.dumps(shares["all"].visible)
