"""Open weights are never made of research ones."""

from __future__ import annotations

import pytest

from xnect.errors import BadInput
from xnect.model import bundled
from xnect.network import build_network
from xnect.train import boxes, refiner, stage1
from xnect.train.checkpoint import save_weights
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
