"""`benchmarks/accuracy.py`: the README's figures by one command."""

import importlib.util
import sys
from itertools import product
from pathlib import Path

import pytest

from xnect.eval.__main__ import parser

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def accuracy():
    spec = importlib.util.spec_from_file_location("accuracy", ROOT / "benchmarks" / "accuracy.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["accuracy"]


@pytest.mark.parametrize(
    ("lane", "refiner"), [("research", "sa"), ("open", "sa"), ("research", "m")]
)
def test_every_evaluation_is_a_command_that_the_evaluator_takes(accuracy, tmp_path, lane, refiner):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "walk.mp4").touch()
    steps = list(accuracy.steps(tmp_path, tmp_path / "out", tmp_path / "rooms", lane, refiner))
    assert len({step.name for step in steps}) == len(steps)
    evaluations = [c for step in steps for c in step.commands if c[2] == "xnect.eval"]
    assert len(evaluations) >= 5
    for command in evaluations:
        options = parser().parse_args(command[3:])
        assert getattr(options, "lane", lane) == lane
        if options.json:
            assert options.json.exists(), "the README's figures come from these files"


def test_no_result_is_written_by_two_steps(accuracy, tmp_path):
    chosen = product(("research", "open"), ("sa", "m"))
    steps = [s for c in chosen for s in accuracy.steps(tmp_path, tmp_path, tmp_path, *c)]
    written = [
        command[command.index("--json") + 1]
        for step in steps
        for command in step.commands
        if "--json" in command
    ]
    assert len(set(written)) == len(written)


def test_a_step_that_fails_costs_only_itself_and_is_named(accuracy, tmp_path, monkeypatch, capsys):
    ok = accuracy.Step("good", ((sys.executable, "-c", "print('figure')"),))
    bad = accuracy.Step(
        "bad",
        (
            (sys.executable, "-c", "raise SystemExit(2)"),
            (sys.executable, "-c", "print('not reached')"),
        ),
    )
    monkeypatch.setattr(accuracy, "steps", lambda *_: iter([bad, ok]))
    assert accuracy.main(["--shared", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "figure" in (tmp_path / "out" / "good.txt").read_text()
    said = (tmp_path / "out" / "bad.txt").read_text()
    assert "failed with status 2" in said
    assert "\nnot reached" not in said
    assert "failed: bad" in capsys.readouterr().err


def test_a_step_that_does_not_exist_is_refused_by_name(accuracy, tmp_path, capsys):
    with pytest.raises(SystemExit):
        accuracy.main(["--shared", str(tmp_path), "--only", "cocoo"])
    assert "no step cocoo" in capsys.readouterr().err
