"""Reports on disk, the pictures in them, and AP as pycocotools gives it."""

import contextlib
import io
import json
import math

import cv2
import numpy as np
import pytest
from test_eval2d import COCO_DEV, LSPET_DEV, coco_truth, from_lsp, stick, with_coco, with_lspet

from xnect.errors import CannotWrite
from xnect.eval.__main__ import main
from xnect.eval.cases import coco_score, coco_sheets, lspet_sheets
from xnect.eval.coco import SIGMAS, oks, score_detections
from xnect.eval.pck import Labelled, correct_joints, lspet_reports
from xnect.eval.predictions import people2d
from xnect.eval.report import Case, Report, figures_json, pick, sheet, write_report
from xnect.skeleton import COCO17, LSP14


def test_a_report_is_markdown_json_and_pictures(tmp_path):
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 0] = 255
    figures = {"ap": np.float64(0.5), "nothing": float("nan"), "by": {"a": (1, np.int64(2))}}
    report = Report("coco", "Title", "| a |", figures, {"worst": sheet([Case(red, "caption")])})
    path = write_report(tmp_path / "new" / "folder", report)
    text = path.read_text()
    assert text.startswith("# Title\n\n| a |\n\n## Worst\n\n![worst](worst.jpg)")
    read = json.loads(path.with_suffix(".json").read_text())
    assert (read["command"], read["ap"], read["nothing"], read["by"]) == (
        "coco", 0.5, None, {"a": [1, 2]},
    )  # fmt: skip
    assert figures_json(report) == path.with_suffix(".json").read_text()
    image = cv2.imread(str(path.with_name("worst.jpg")))[..., ::-1]
    assert image[-5, 5].argmax() == 0  # red is red, not blue
    assert image[-5, 5, 0] > 200


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write"):
        write_report(tmp_path / "file", Report("clip", "t", "x", {}))


def test_best_worst_and_random_never_share_a_picture():
    scores = [0.1, math.nan, 0.9, 0.5, 0.3, 0.7, 0.2, 0.8]
    kinds = pick(scores, count=2)
    assert kinds["best"] == [2, 7]
    assert kinds["worst"] == [0, 6]
    assert set(kinds["random"]) <= {3, 4, 5}
    assert len(kinds["random"]) == 2
    assert pick(scores, count=2) == kinds  # by seed
    few = pick([0.5, 0.1, 0.9], count=2)
    assert (few["best"], few["worst"], few["random"]) == ([2, 0], [1], [])
    assert pick([], count=2) == {"best": [], "worst": [], "random": []}


def test_a_sheet_breaks_its_lines_and_takes_any_number():
    wide, tall = np.zeros((50, 100, 3), np.uint8), np.zeros((100, 50, 3), np.uint8)
    one = sheet([Case(wide, "a")])
    three = sheet([Case(wide, "a"), Case(tall, "b"), Case(wide, "c")], width_px=900)
    assert three.shape[0] == 2 * one.shape[0]
    assert three.shape[1] <= 900
    assert sheet([]).shape[2] == 3


@with_coco
def test_ap_is_pycocotools_own_on_jittered_labels(tmp_path):
    """The plain way with nothing of ours in between: a result file, COCOeval, its own defaults.

    All joints are given: the sizes of people with absent ones are not pycocotools'.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    found = coco_truth(4.0, rng)
    for d in found:
        d["score"] = float(rng.random())
        table = np.reshape(d["keypoints"], (17, 3))
        seen = table[:, 2] > 0
        table[~seen] = (*table[seen, :2].mean(0), 1.0)
        d["keypoints"] = table.ravel().tolist()
    found += [{**found[0], "score": float(s)} for s in rng.random(30)]  # beyond 20 in one picture
    (tmp_path / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(COCO_DEV))
        run = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "keypoints")
        run.evaluate()
        run.accumulate()
        run.summarize()
    ours = score_detections(COCO_DEV, found)
    names = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50")
    assert [getattr(ours, n) for n in names] == [float(v) for v in run.stats[:7]]
    assert 0.2 < ours.ap < 0.95


@pytest.mark.parametrize("absent", [[], ["left_ankle"], list(COCO17)])
def test_false_alarms_count_among_people_of_their_size_whatever_joint_is_absent(tmp_path, absent):
    pytest.importorskip("pycocotools")
    body = np.random.default_rng(0).uniform(0, (40, 80), (17, 2)) + 100  # of medium size
    labels = np.c_[body, np.full(17, 2)].ravel().tolist()
    alarm = np.c_[body + np.array([300, 0]), np.ones(17)]
    alarm[[COCO17.index(name) for name in absent]] = 0
    keypoints = {0.5: np.c_[body, np.ones(17)], 0.9: alarm}
    person = {"category_id": 1, "iscrowd": 0, "num_keypoints": 17, "keypoints": labels}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {**person, "id": 1, "image_id": 1, "area": 3000.0, "bbox": [100, 100, 40, 80]}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(data))
    found = [
        {"image_id": 1, "category_id": 1, "keypoints": k.ravel().tolist(), "score": score}
        for score, k in keypoints.items()
    ]
    report = score_detections(tmp_path / "labels.json", found)
    assert report.ap == pytest.approx(0.5)
    # somebody without any joint has no size
    assert report.ap_medium == pytest.approx(0.5 if len(absent) < 17 else 1.0)


@with_coco
def test_oks_is_pycocotools_own():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    found = coco_truth(8.0, rng)
    for n, d in enumerate(found):
        d["score"] = 1 - n / 1000
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(COCO_DEV))
        run = COCOeval(truth, truth.loadRes(found), "keypoints")
        run._prepare()
    assert run.params.kpt_oks_sigmas == pytest.approx(SIGMAS)
    compared = 0
    for image in truth.getImgIds()[:25]:
        people = [a for a in run._gts[image, 1] if not a["ignore"]]
        theirs = np.array(run.computeOks(image, 1))
        if not people or not len(theirs):
            continue
        labels = np.array([a["keypoints"] for a in people], float).reshape(-1, 17, 3)
        pixels = np.array([d["keypoints"] for d in found if d["image_id"] == image])
        ours = oks(
            pixels.reshape(-1, 17, 3)[..., :2], labels, np.array([a["area"] for a in people])
        )
        keep = [n for n, a in enumerate(run._gts[image, 1]) if not a["ignore"]]
        assert ours.T == pytest.approx(theirs[:, keep])
        compared += ours.size
    assert compared > 50


def test_a_picture_scores_like_an_f_score_of_oks():
    label = np.concatenate([np.random.default_rng(0).uniform(0, 100, (17, 2)), np.ones((17, 1))], 1)
    assert coco_score([(label, 5000.0)], [label]) == pytest.approx(1)
    assert coco_score([(label, 5000.0)], [label, label + 1000]) == pytest.approx(2 / 3)
    assert coco_score([(label, 5000.0)], []) == 0
    assert coco_score([], [label]) == 0
    assert math.isnan(coco_score([], []))


@with_coco
def test_sheets_of_coco_have_the_perfect_pictures_first():
    found = coco_truth()
    images = COCO_DEV.with_suffix("")
    if not images.is_dir():
        pytest.skip(f"the pictures {images} are not here")
    sheets = coco_sheets(COCO_DEV, images, found, count=2)
    assert set(sheets) == {"best", "worst", "random"}
    assert all(s.dtype == np.uint8 and s.shape[0] >= 300 for s in sheets.values())


@with_lspet
def test_sheets_of_lspet_show_labels_and_findings():
    data = json.loads(LSPET_DEV.read_text())["annotations"]
    nobody = people2d([])
    labelled = [
        Labelled(n, np.array(a["keypoints"], float).reshape(14, 3), np.array(a["bbox"]),
                 a["suspect"], nobody)
        for n, a in enumerate(data)
    ]  # fmt: skip
    assert lspet_reports(labelled)["all"].pckh == 0
    right = [
        Labelled(x.number, x.keypoints, x.box_xywh, x.suspect, people2d([from_lsp(x.keypoints)]))
        for x in labelled
    ]
    reports = lspet_reports(right)
    assert (reports["all"].pckh, reports["all"].mean) == (1, 1)
    assert reports["without_suspect"].pictures < reports["all"].pictures
    sheets = lspet_sheets(right[:6] + labelled[6:], LSPET_DEV.parent, "dev", count=1)
    assert set(sheets) == {"best", "worst", "random"}
    assert all(s.shape[0] >= 300 for s in sheets.values())


@pytest.mark.parametrize(("off_heads", "right"), [(0.49, 12), (0.51, 0)])
def test_pckh_counts_joints_within_half_a_head(off_heads, right):
    labels = stick()
    neck, top = LSP14.index("neck"), LSP14.index("head_top")
    labels[neck, :2], labels[top, :2] = (50, 30), (50, 20)  # a head of 10 px
    found = from_lsp(labels)
    found.joints_px[:] += (10 * off_heads, 0)
    box = [*labels[:12, :2].min(0), *np.ptp(labels[:12, :2], axis=0)]
    row = correct_joints(people2d([found]), labels, box, unit="head")
    assert row[:12].sum() == right
    labels[top, 2] = 0
    assert correct_joints(people2d([found]), labels, box, unit="head") is None


def test_the_coco_command_writes_a_report_with_pictures(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(20, 80, (17, 2)), np.full((17, 1), 2)], 1)
    (tmp_path / "tiny").mkdir()
    cv2.imwrite(str(tmp_path / "tiny" / "1.jpg"), rng.integers(0, 255, (100, 100, 3)))
    labels = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 100}],
        "annotations": [{
            "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 5000.0,
            "bbox": [20, 20, 60, 60], "num_keypoints": 17, "keypoints": keypoints.ravel().tolist(),
        }],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (tmp_path / "tiny.json").write_text(json.dumps(labels))
    monkeypatch.setattr("xnect.eval.__main__.load_predict", lambda options: lambda image: [])
    report = tmp_path / "report"
    assert main(["coco", str(tmp_path / "tiny.json"), "--report", str(report)]) == 0
    assert str(report / "report.md") in capsys.readouterr().out
    assert {p.name for p in report.iterdir()} == {
        "report.md", "report.json", "best.jpg", "worst.jpg", "random.jpg",
    }  # fmt: skip
    assert json.loads((report / "report.json").read_text())["ap"] == 0


def test_the_pose2sim_command_gives_a_row_for_each_camera(tmp_path, monkeypatch, capsys):
    from xnect.eval import pose2sim

    rows = {"cam01": pose2sim.Pose2simRow(0.77, 132.0, 180.0, 0.61, 12.0, 20.0, 0.07, 1.7)}
    rows["all"] = pose2sim.Pose2simRow(0.0, *[math.nan] * 7)
    monkeypatch.setattr(pose2sim, "pose2sim_report", lambda tested, root, floor: rows)
    assert main(["pose2sim", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    assert "| cam01 | 77 | 132 | 180 | 61 |" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["cam01"]["pa_mpjpe_mm"], figures["all"]["pa_mpjpe_mm"]) == (132.0, None)


def test_every_command_has_help(capsys):
    names = ("coco", "lspet", "pose2sim", "clip", "synth", "synth-clip", "mupots", "mpi3dhp")
    for name in (*names, "record"):
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert "--report" in capsys.readouterr().out
    for name in ("mupots", "mpi3dhp"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "xnect.eval record" in " ".join(capsys.readouterr().out.split())
