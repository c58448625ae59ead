"""The evaluators: the truth scores 1, what is worse scores less, and no label helps the choice."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import person

from xnect.calib.camera import Camera
from xnect.errors import BadInput, CannotOpenSource
from xnect.eval.__main__ import main
from xnect.eval.clip import evaluate_clip
from xnect.eval.coco import detections, score_detections
from xnect.eval.pck import correct_joints, report
from xnect.eval.predictions import people2d
from xnect.recording import save_recording
from xnect.skeleton import COCO17, FROM_COCO17, J2D, JOINTS2D, LSP14
from xnect.types import PartialPose, Result

SHARED = Path(__file__).resolve().parents[2] / "shared"
COCO_DEV = SHARED / "data/coco/dev.json"
LSPET_DEV = SHARED / "data/lspet/dev.json"
with_coco = pytest.mark.skipif(not COCO_DEV.exists(), reason=f"{COCO_DEV} is not here")
with_lspet = pytest.mark.skipif(not LSPET_DEV.exists(), reason=f"{LSPET_DEV} is not here")


def pose(joints, score, person_score=1.0):
    return PartialPose(np.asarray(joints), np.asarray(score), np.zeros((18, 63)), person_score)


def from_coco(keypoints, person_score=1.0):
    """51 numbers of COCO -> the person that our pipeline would give."""
    table = np.array(keypoints, float).reshape(17, 3)[np.maximum(FROM_COCO17, 0)]
    table[J2D["neck"]] = (table[J2D["left_shoulder"]] + table[J2D["right_shoulder"]]) / 2
    return pose(table[:, :2], table[:, 2] > 0, person_score)


def coco_truth(shift_px=0.0, rng=None):
    data = json.loads(COCO_DEV.read_text())
    found = []
    for annotation in data["annotations"]:
        if annotation["num_keypoints"] and not annotation["iscrowd"]:
            one = from_coco(annotation["keypoints"])
            if rng is not None:
                one = pose(one.joints_px + rng.normal(0, shift_px, (18, 2)), one.score)
            found += detections(annotation["image_id"], [one])
    return found


@with_coco
def test_coco_truth_as_detections_has_ap_1_and_noise_has_less():
    best = score_detections(COCO_DEV, coco_truth())
    assert best.ap == pytest.approx(1.0, abs=5e-4)
    assert best.ar == pytest.approx(1.0, abs=5e-4)
    assert (best.pictures, best.labelled_people) == (80, 250)
    rng = np.random.default_rng(0)
    little, much = (score_detections(COCO_DEV, coco_truth(px, rng)).ap for px in (2.0, 8.0))
    assert 0.98 > little > much > 0.05


@with_coco
def test_coco_people_on_the_wrong_pictures_score_next_to_nothing():
    found = coco_truth()
    ids = [d["image_id"] for d in found]
    moved = [{**d, "image_id": i} for d, i in zip(found, ids[7:] + ids[:7], strict=True)]
    assert score_detections(COCO_DEV, moved).ap < 0.3
    assert score_detections(COCO_DEV, []).ap == 0


def test_coco_detections_have_cocos_order_its_corner_and_zeros_for_absent_joints():
    joints = np.arange(36.0).reshape(18, 2)
    score = np.full(18, 0.5)
    score[J2D["left_wrist"]] = 0
    (found,) = detections(7, [pose(joints, score, 0.3)])
    table = np.array(found["keypoints"]).reshape(17, 3)
    for number, name in enumerate(COCO17):
        right = (0, 0, 0) if name == "left_wrist" else (*joints[J2D[name]], 0.5)
        assert tuple(table[number]) == right
    assert (found["image_id"], found["category_id"], found["score"]) == (7, 1, 0.3)


def from_lsp(keypoints, rng=None, shift_px=0.0):
    joints, score = np.zeros((18, 2)), np.zeros(18)
    for number, name in enumerate(LSP14[:12]):
        joints[J2D[name]], score[J2D[name]] = keypoints[number, :2], keypoints[number, 2] > 0
    if rng is not None:
        joints = joints + rng.normal(0, shift_px, joints.shape)
    return pose(joints, score)


@with_lspet
def test_lspet_truth_has_pck_100_and_noise_has_less():
    data = json.loads(LSPET_DEV.read_text())["annotations"]
    labels = [(np.array(a["keypoints"], float).reshape(14, 3), a["bbox"]) for a in data]
    rng = np.random.default_rng(0)

    def score(shift_px):
        return report(
            [correct_joints(people2d([from_lsp(k, rng, shift_px)]), k, box) for k, box in labels]
        )

    best = score(0.0)
    assert (best.mean, best.pooled, best.found) == (1.0, 1.0, 1.0)
    assert best.pictures + best.without_torso == len(labels) == 511
    assert 1 > score(5.0).mean > score(20.0).mean
    nobody = report([correct_joints(people2d([]), k, box) for k, box in labels])
    assert (nobody.mean, nobody.pooled, nobody.found) == (0, 0, 0)


def stick(at=(50.0, 50.0), size=20.0):
    """(14, 3) LSP labels of somebody whose torso is `size` * sqrt(2) long."""
    rng = np.random.default_rng(1)
    labels = np.column_stack([rng.uniform(-1, 1, (14, 2)) * size + at, np.full(14, 2.0)])
    labels[LSP14.index("left_shoulder"), :2] = np.array(at) + size / 2
    labels[LSP14.index("right_hip"), :2] = np.array(at) - size / 2
    return labels


def box_of(labels):
    low, high = labels[:12, :2].min(0), labels[:12, :2].max(0)
    return [*low, *(high - low)]


@pytest.mark.parametrize(("off_torsos", "right"), [(0.19, 12), (0.21, 0)])
def test_pck_counts_joints_within_a_fifth_of_the_torso(off_torsos, right):
    labels = stick()
    found = from_lsp(labels)
    moved = found.joints_px + np.array([off_torsos * 20 * np.sqrt(2), 0])
    row = correct_joints(people2d([pose(moved, found.score)]), labels, box_of(labels))
    assert row[:12].sum() == right


def test_pck_takes_the_person_in_the_box_though_another_fits_the_joints_better():
    labels = stick()
    x, y, w, h = box_of(labels)
    right = from_lsp(labels)
    inside = pose(
        right.joints_px * 0 + np.random.default_rng(2).uniform((x, y), (x + w, y + h), (18, 2)),
        right.score,
    )
    larger = pose(np.where(right.score[:, None] > 0, right.joints_px, 0), right.score * 0 + 1)
    larger.joints_px[0] = (400, 400)  # its box is far too large, its joints are all right
    row = correct_joints(people2d([larger, inside]), labels, [x, y, w, h])
    assert row[:12].sum() < 12
    assert correct_joints(people2d([larger]), labels, [x, y, w, h])[:12].sum() == 12


def test_pck_falls_back_to_the_other_diagonal_and_leaves_out_pictures_without_torso():
    labels = stick()
    labels[LSP14.index("left_shoulder"), 2] = 0
    row = correct_joints(people2d([from_lsp(labels)]), labels, box_of(labels))
    assert np.isnan(row[LSP14.index("left_shoulder")])
    assert np.nansum(row[:12]) == 11
    labels[LSP14.index("left_hip"), 2] = 0
    assert correct_joints(people2d([]), labels, box_of(labels)) is None
    assert report([None]).without_torso == 1


def test_a_joint_that_is_never_labelled_lowers_no_mean():
    labels = stick()
    wrist = LSP14.index("left_wrist")
    labels[wrist, 2] = 0
    row = correct_joints(people2d([from_lsp(labels)]), labels, box_of(labels))
    perfect = report([row, row])
    assert (perfect.mean, perfect.pooled, perfect.joints) == (1.0, 1.0, 22)
    assert np.isnan(perfect.by_joint["left_wrist"])
    table = perfect.table()
    assert "| left_wrist | nan |" in table
    assert "| 100.0 | 100.0 |" in table  # the other wrist stands for both
    row[LSP14.index("right_knee")] = 0
    assert report([row]).mean == pytest.approx(10 / 11)
    assert np.isnan(report([None]).mean)
    assert "nan" in report([None]).table()


def take(frames=30, exchange_at=None, away=()):
    """Three people side by side; from `exchange_at` on the first two carry each other's id."""
    camera = Camera.guess(480, 640)
    results = []
    for index in range(frames):
        ids = [2, 1, 3] if exchange_at is not None and index >= exchange_at else [1, 2, 3]
        people = tuple(
            person(track, x + 0.01 * index, 4.0, camera)
            for track, x in zip(ids, (-1.5, 0.0, 1.5), strict=True)
            if not (track == 3 and index in away)
        )
        results.append(Result(index, index / 30, (480, 640), camera, people))
    return results


def test_a_steady_clip_has_no_exchange_no_gap_and_no_jitter():
    seen = evaluate_clip(take(), people=4)
    assert seen.share_with_at_least == {1: 1.0, 2: 1.0, 3: 1.0, 4: 0.0}
    assert (seen.distinct_ids, seen.exchanged_ids, seen.gaps, seen.not_finite) == (3, 0, 0, 0)
    assert seen.jitter_px < 1e-6
    assert seen.jitter_mm < 1e-6
    assert seen.bone_change == 0
    assert seen.longest_tracks == [1.0, 1.0, 1.0]


def test_an_exchange_of_two_ids_is_counted_for_both_people_once():
    assert evaluate_clip(take(exchange_at=12)).exchanged_ids == 2


def test_a_person_who_is_away_for_a_while_makes_one_gap():
    seen = evaluate_clip(take(away=range(10, 16)), people=3)
    assert seen.gaps == 1
    assert seen.share_with_at_least[3] == pytest.approx(24 / 30)
    assert seen.distinct_ids == 3


def test_people_with_few_joints_carry_no_skeleton_and_nan_is_counted():
    results = take(5)
    few = np.zeros(18)
    few[:5] = 1
    first = results[0].people[0]
    broken = dataclasses.replace(first, joints2d_score=few, root_m=np.full(3, np.nan))
    results[0] = dataclasses.replace(results[0], people=(broken, *results[0].people[1:]))
    seen = evaluate_clip(results, people=3)
    assert seen.share_with_at_least[3] == pytest.approx(4 / 5)
    assert seen.not_finite == 1
    with pytest.raises(BadInput, match="0 frames"):
        evaluate_clip([])


def test_the_clip_command_prints_a_table_and_writes_json(tmp_path, capsys):
    recording = save_recording(tmp_path / "take.npz", take(4))
    out = tmp_path / "figures.json"
    assert main(["clip", str(recording), "--people", "3", "--json", str(out)]) == 0
    assert "| frames with >= 3 people | 100.0 % |" in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert figures["command"] == "clip"
    assert figures["share_with_at_least"] == {"1": 1.0, "2": 1.0, "3": 1.0}
    assert main(["clip", str(tmp_path / "nothing.npz")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["clip", str(recording), "--people", "0"]) == 2


def test_several_clips_are_a_row_each_also_when_their_names_are_equal(tmp_path, capsys):
    out = tmp_path / "figures.json"
    steady = save_recording(tmp_path / "a" / "steady.npz", take(20))
    exchanged = save_recording(tmp_path / "a" / "take.npz", take(exchange_at=12))
    other = save_recording(tmp_path / "b" / "take.npz", take(4))
    words = [str(path) for path in (steady, exchanged, other)]
    assert main(["clip", *words, "--json", str(out)]) == 0
    assert "| steady | 20 | 3.00 | 3 | 0 | 0 |" in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert figures["steady"]["exchanged_ids"] == 0
    assert figures[str(exchanged)]["exchanged_ids"] == 2
    assert figures[str(other)]["frames"] == 4


def test_unreadable_labels_are_one_sentence():
    from xnect.eval.coco import evaluate_coco
    from xnect.eval.pck import evaluate_lspet

    with pytest.raises(CannotOpenSource, match=r"cannot read nowhere\.json"):
        evaluate_coco(lambda image: [], Path("nowhere.json"), Path("nowhere"))
    with pytest.raises(CannotOpenSource, match=r"cannot read nowhere.*json"):
        evaluate_lspet(lambda image: [], Path("nowhere"))


def test_joints_have_the_names_that_the_maps_to_other_sets_say():
    assert [JOINTS2D[i] for i in (0, 1, 16)] == ["nose", "neck", "right_ear"]
    assert all(COCO17[FROM_COCO17[j]] == name for j, name in enumerate(JOINTS2D) if name != "neck")


def test_the_stage_benchmark_writes_machine_and_median_and_p95(tmp_path, monkeypatch, capsys):
    import importlib.util

    from fakes import FakePipeline

    import xnect.model

    file = Path(__file__).resolve().parents[1] / "benchmarks" / "stages.py"
    spec = importlib.util.spec_from_file_location("stages", file)
    stages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stages)
    clip, out = str(file.parents[1] / "demo" / "demo.mp4"), tmp_path / "stages.json"
    monkeypatch.setattr(xnect.model, "load_pipeline", lambda preset, **_: FakePipeline(3))
    arguments = ["--one", clip, "--six", clip, "--frames", "5", "--warm-up", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["stages.py", *arguments])
    assert stages.main() == 0
    figures = json.loads(out.read_text())
    for clip_figures in figures["clips"].values():
        assert (clip_figures["frames"], clip_figures["people_median"]) == (4, 3)
        assert clip_figures["ms"]["network"] == {"median": 1.0, "p95": 1.0}
        assert 0 < clip_figures["ms"]["whole"]["median"] <= clip_figures["ms"]["whole"]["p95"]
    assert {"processor", "cores", "torch", "commit"} <= figures["machine"].keys()
    assert "| network | 1.0 / 1.0 | 1.0 / 1.0 |" in capsys.readouterr().out


def test_a_joint_that_is_nowhere_spoils_no_figure_of_the_others():
    results = take()
    first = results[4].people[0]
    px, joints = first.joints2d_px.copy(), first.joints3d_m.copy()
    px[3], joints[5] = np.nan, np.nan
    broken = dataclasses.replace(
        first, joints2d_px=px, joints3d_m=joints, bone_lengths_m=np.full(21, np.nan)
    )
    results[4] = dataclasses.replace(results[4], people=(broken, *results[4].people[1:]))
    seen = evaluate_clip(results, people=3)
    assert (seen.exchanged_ids, seen.not_finite, seen.bone_change) == (0, 1, 0)
    assert max(seen.jitter_px, seen.jitter_mm) < 1e-6
