"""Open weights are never made of research ones."""

from __future__ import annotations

import pytest

from xnect.errors import BadInput
from xnect.model import bundled
from xnect.train import boxes, refiner, stage1
from xnect.train.lanes import lane_of, lane_of_all, refuse_research


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
        (stage1, ["--data", "{}", "--init", str(bundled("stage1_s", "research"))]),
        (refiner, ["--people", "{}", "--refiner", str(bundled("refiner", "research"))]),
        (refiner, ["--people", "{}", "--stage1", str(bundled("stage1_s", "research"))]),
        (boxes, ["--data", "{}", "--stage1", str(bundled("stage1_s", "research"))]),
    ],
)
def test_the_commands_refuse_to_mix_lanes(program, words, tmp_path, capsys):
    (tmp_path / "renders-a.npz").touch()
    words = [word.format(tmp_path) for word in words]
    assert program.main([*words, "--lane", "open", "--out", str(tmp_path / "run")]) == 2
    assert "is of the research lane" in capsys.readouterr().err


def test_what_is_made_of_both_lanes_is_research():
    assert lane_of_all("open", "open") == lane_of_all() == "open"
    assert lane_of_all("open", "research") == "research"
