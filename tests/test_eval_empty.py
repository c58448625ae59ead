"""False alarms in pictures that show nobody."""

import json

import cv2
import numpy as np
import pytest

from xnect.errors import BadInput
from xnect.eval.__main__ import main
from xnect.eval.empty import listed, score_empty
from xnect.eval.predictions import People2d


def people(*scores):
    count = len(scores)
    return People2d(np.zeros((count, 18, 2)), np.ones((count, 18)), np.array(scores, float))


def test_shares_and_means_are_those_of_a_hand_computed_case(tmp_path):
    names = [tmp_path / str(i) for i in range(4)]
    found = [people(), people(0.25), people(0.36, 0.45), people(0.1, 0.9, 0.4)]
    report = score_empty(dict(zip(names, found, strict=True)))
    assert report.pictures == 4
    assert report.with_somebody == {"0.25": 0.75, "0.35": 0.5, "0.45": 0.5}
    assert report.per_picture == {"0.25": 1.25, "0.35": 1.0, "0.45": 0.5}
    assert "| 0.25 or more | 75.0 | 1.250 |" in report.table()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rooms").mkdir()
    for name in ("b.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / "rooms" / name), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "rooms" / "notes.txt").write_text("nothing")
    return tmp_path / "rooms"


def test_all_pictures_of_a_folder_or_those_that_a_list_names(folder, tmp_path):
    assert [p.name for p in listed(folder)] == ["a.jpg", "b.png"]
    only = tmp_path / "only.txt"
    only.write_text("b.png\n")
    assert [p.name for p in listed(folder, only)] == ["b.png"]
    only.write_text("b.png\nc.png\nd.png\n")
    with pytest.raises(BadInput, match=r"lacks 2 of the 3 pictures of .*, such as c\.png"):
        listed(folder, only)
    only.write_text("")
    for wrong in (only, tmp_path / "none.txt", folder / "a.jpg"):
        with pytest.raises(BadInput, match=wrong.name):
            listed(folder, wrong)
    with pytest.raises(BadInput, match="no folder"):
        listed(tmp_path / "none")


def test_the_command_reports_who_was_found(folder, tmp_path, monkeypatch, capsys):
    from xnect.types import PartialPose

    joints = np.linspace(10, 50, 36).reshape(18, 2)
    found = iter([[PartialPose(joints, np.ones(18), np.zeros((18, 63)), 0.4)], []])
    monkeypatch.setattr("xnect.eval.__main__.load_predict", lambda _: lambda _: next(found))
    report = tmp_path / "report"
    assert main(["empty", str(folder), "--report", str(report)]) == 0
    assert "| 0.35 or more | 50.0 | 0.500 |" in capsys.readouterr().out
    figures = json.loads((report / "report.json").read_text())
    assert figures["with_somebody"]["0.45"] == 0 and figures["pictures"] == 2
    assert cv2.imread(str(report / "worst.jpg")) is not None
    assert main(["empty", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: there is no folder")


def test_names_of_a_list_may_hold_spaces(folder, tmp_path):
    (folder / "a.jpg").rename(folder / "IMG 0001.jpg")
    only = tmp_path / "only.txt"
    only.write_text("IMG 0001.jpg\n\n")
    assert [p.name for p in listed(folder, only)] == ["IMG 0001.jpg"]
