"""Open weights are never made of research ones."""

from __future__ import annotations

import shutil

import pytest

from xnect.errors import BadInput, UnknownName
from xnect.model import bundled
from xnect.network import build_network
from xnect.train import boxes, refiner, stage1
from xnect.train.checkpoint import save_weights
from xnect.train.lanes import lane_of, lane_of_all, mixture_sources, refuse_research


def test_an_open_training_starts_from_open_weights_only(tmp_path):
    research, nothing = bundled("refiner", "research"), tmp_path / "none.safetensors"
    assert lane_of(research) == "research"
    assert lane_of(bundled("lifter", "open")) == "open"
    refuse_research("research", research)
    refuse_research("open", None, nothing, bundled("lifter", "open"))
    with pytest.raises(BadInput, match="research lane"):
        refuse_research("open", None, research)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (stage1, ["--data", "{0}", "--init", "{0}/stage1.safetensors"]),
        (refiner, ["--people", "{0}", "--refiner", str(bundled("refiner", "research"))]),
        (refiner, ["--people", "{0}", "--stage1", "{0}/stage1.safetensors"]),
        (boxes, ["--data", "{0}", "--stage1", "{0}/stage1.safetensors"]),
    ],
)
def test_the_commands_refuse_to_mix_lanes(program, words, tmp_path, capsys):
    (tmp_path / "renders-a.npz").touch()
    state = build_network("s").state_dict()
    save_weights(tmp_path / "stage1.safetensors", state, {"lane": "research"})
    words = [word.format(tmp_path) for word in words]
    assert program.main([*words, "--lane", "open", "--out", str(tmp_path / "run")]) == 2
    assert "is of the research lane" in capsys.readouterr().err


def test_what_is_made_of_both_lanes_is_research():
    assert lane_of_all("open", "open") == lane_of_all() == "open"
    assert lane_of_all("open", "research") == "research"


def test_pictures_without_people_reach_stage_1(tmp_path):
    for name in ("renders-a", "coco", "negatives", "empty-rooms"):
        (tmp_path / f"{name}.npz").write_bytes(b"")
    (source,) = [s for s in mixture_sources(tmp_path, "open") if s.name == "negatives"]
    assert [path.name for path in source.paths] == ["negatives.npz", "empty-rooms.npz"]


def test_false_alarms_that_research_weights_found_are_for_that_lane_only(tmp_path):
    from xnect.train.person_crops import Alarms
    from xnect.train.refiner import shares_of

    names = {lane: Alarms(lane, []).name for lane in ("open", "research")}
    for name in (*names.values(), "renders"):
        (tmp_path / f"{name}.npz").write_bytes(b"")
    assert set(shares_of("open", {}, tmp_path)) == {"renders", names["open"]}
    assert set(shares_of("research", {}, tmp_path)) == {"renders", *names.values()}
    with pytest.raises(UnknownName):
        shares_of("open", {names["research"]: 1.0}, tmp_path)


def test_the_lane_is_in_the_file_whatever_it_is_called(tmp_path):
    research, folder = bundled("refiner", "research"), tmp_path / "folder"
    folder.mkdir()
    copies = [tmp_path / "refiner.safetensors.bak", tmp_path / "x", folder / "model.safetensors"]
    for copy in copies:
        shutil.copy(research, copy)
    assert [lane_of(path) for path in (*copies, folder)] == ["research"] * 4
    foreign = tmp_path / "foreign.pth"
    foreign.write_bytes(b"PK")
    assert lane_of(foreign) == lane_of(tmp_path) == lane_of(tmp_path / "none") == "open"


@pytest.mark.parametrize(
    ("program", "data", "flag", "name"),
    [
        (stage1, "--data", "--init", "folder/model.safetensors"),
        (boxes, "--data", "--stage1", "folder/model.safetensors"),
        (boxes, "--data", "--stage1", "stage1.bak"),
        (refiner, "--people", "--stage1", "stage1.bak"),
        (refiner, "--people", "--refiner", "stage1.bak"),
    ],
)
def test_no_name_of_a_file_makes_open_weights_of_research_ones(
    program, data, flag, name, tmp_path, capsys
):
    (tmp_path / "renders-a.npz").touch()
    (tmp_path / "folder").mkdir()
    state = build_network("s").state_dict()
    save_weights(tmp_path / name, state, {"lane": "research"})
    start = tmp_path / name.removesuffix("/model.safetensors")
    words = [data, str(tmp_path), flag, str(start), "--lane", "open"]
    assert program.main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "is of the research lane" in capsys.readouterr().err
