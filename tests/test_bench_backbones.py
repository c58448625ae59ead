"""`xnect bench backbones`: what is counted, that contenders take turns, what is written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xnect import backbones
from xnect.demo import bench_backbones as bench
from xnect.errors import BadInput, CannotWrite


def test_counted_work_is_that_of_the_published_tables() -> None:
    published = {  # spec 1.2, 1.6; millions of activations as timm reports them
        "selecsls42b": (32_458_248, 2.972, 4.62),
        "selecsls60": (30_670_768, 3.581, 5.52),
        "hrnet_w18": (21_299_004, 4.28, 16.3),
        "resnet50": (25_557_032, 4.09, 11.1),  # He et al. 2015: 3.8 without the last layers
    }
    for name, by_size in bench.costs(list(published), [224]).items():
        parameters, gmacs, mactivations = published[name]
        cost = by_size[224]
        assert cost.parameters == parameters
        assert cost.macs / 1e9 == pytest.approx(gmacs, rel=2e-3)
        assert cost.activations / 1e6 == pytest.approx(mactivations, rel=4e-3)


def test_counting_equals_a_sum_by_hand_and_leaves_no_hooks() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1, groups=2), nn.Flatten(), nn.Linear(256, 5)
    )
    macs = 8 * 8 * 8 * 3 * 9 + 8 * 8 * 4 * 4 + 256 * 5
    assert bench.count(network, 16) == bench.Cost(224 + 20 + 1285, macs, 512 + 256 + 5)
    assert not any(layer._forward_hooks for layer in network)


class Noted(nn.Module):
    """A network that writes down when it runs."""

    def __init__(self, name: str, book: list[str]) -> None:
        super().__init__()
        self.name, self.book = name, book

    def forward(self, x: Tensor) -> Tensor:
        self.book.append(self.name)
        return x


def test_contenders_take_turns_and_the_warm_up_does_not_count() -> None:
    book: list[str] = []
    networks: dict[str, nn.Module] = {name: Noted(name, book) for name in "abc"}
    cell = bench.Cell("cpu", "plain", 64, 1)
    taken = bench.rounds_ms(networks, cell, rounds=3, warm_up=1, deadline_s=time.monotonic() + 100)
    assert {name: len(ms) for name, ms in taken.items()} == {"a": 3, "b": 3, "c": 3}
    rounds = ["".join(book[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) == 3  # nobody always runs after the same one


def test_when_the_time_is_over_the_round_is_finished_and_no_other_begins() -> None:
    networks: dict[str, nn.Module] = {name: Noted(name, []) for name in "ab"}
    cell = bench.Cell("cpu", "plain", 64, 1)
    taken = bench.rounds_ms(networks, cell, rounds=9, warm_up=0, deadline_s=time.monotonic() - 1)
    assert {name: len(ms) for name, ms in taken.items()} == {"a": 1, "b": 1}


def test_the_speed_up_is_fewer_macs_times_more_macs_per_second() -> None:
    cell = bench.Cell("cpu", "plain", 512, 16)
    cost = {
        "resnet50": {512: bench.Cost(1, 4_000_000, 1)},
        "selecsls60": {512: bench.Cost(1, 2_000_000, 1)},
    }
    taken = {"resnet50": [30.0, 33.0, 300.0], "selecsls60": [10.0, 11.0, 100.0]}
    row = bench.summary(cell, taken, cost)["models"]["selecsls60"]
    assert row["speedup"] == 3  # round by round: a round that was slow for both does not matter
    assert row["speedup_by_fewer_macs"] == 2
    assert row["speedup_by_more_macs_per_s"] == 1.5
    assert row["gmac_per_s"] == pytest.approx(16 * 2e6 / 11e-3 / 1e9)
    assert row["speedup_of_authors"] == pytest.approx(175 / 115)


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    create = backbones.create_backbone
    monkeypatch.setattr(backbones, "create_backbone", lambda name: create(name, width=0.125))


@pytest.mark.usefixtures("small_networks")
def test_a_tiny_run_writes_every_cell_with_machine_and_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "RIVAL", "selecsls60")
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    out = tmp_path / "a.json"
    flags = ["--models", "selecsls42,selecsls60", "--sizes", "64", "--batches", "1,2"]
    flags += ["--repeats", "3", "--devices", "cpu", "--variants", ",".join(bench.VARIANTS)]
    assert bench.run([*flags, "--threads", "1", "-o", str(out)]) == 0
    assert threads == [1]
    figures = json.loads(out.read_text())
    seen = [(c["variant"], c["size_px"], c["batch"], c["rounds"]) for c in figures["cells"]]
    assert seen == [(v, 64, b, 3 if b == 1 else 2) for v in bench.VARIANTS for b in (1, 2)]
    assert figures["left_out"] == [] and figures["interrupted"] is False
    assert figures["machine"]["torch"] == torch.__version__
    for cell in figures["cells"]:
        assert cell["models"]["selecsls60"]["speedup"] == 1
        row = cell["models"]["selecsls42"]
        assert 0 < row["best_ms"] <= row["median_ms"] <= row["p95_ms"]
    assert figures["costs"]["selecsls42"]["64"]["macs"] > 0
    said = capsys.readouterr()
    assert "| cpu, bf16 | 64² b1 | 64² b2 |" in said.out
    assert "cpu folded, 64x64, batch 2, ms: selecsls42" in said.err


@pytest.mark.usefixtures("small_networks")
def test_what_there_is_no_time_for_is_listed_and_ctrl_c_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.json"
    flags = ["--models", "selecsls42", "--sizes", "64,96", "--batches", "1", "--repeats", "1"]
    flags += ["--devices", "cpu", "--variants", "plain", "--quiet", "-o", str(out)]
    assert bench.run([*flags, "--minutes", "1e-6"]) == 0
    figures = json.loads(out.read_text())
    assert [cell["size_px"] for cell in figures["cells"]] == [64]
    assert [cell["size_px"] for cell in figures["left_out"]] == [96]

    measured = bench.rounds_ms

    def interrupted(networks: object, cell: bench.Cell, **options: object) -> object:
        if cell.size_px == 96:
            raise KeyboardInterrupt
        return measured(networks, cell, **options)

    monkeypatch.setattr(bench, "rounds_ms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.run(flags)
    figures = json.loads(out.read_text())
    assert len(figures["cells"]) == 1 and figures["interrupted"] is True


@pytest.mark.parametrize(
    ("flags", "error", "sentence"),
    [
        (["--models", "resnet51"], BadInput, "--models: unknown 'resnet51'; known: .*resnet50"),
        (["--variants", "fast"], BadInput, "--variants: unknown 'fast'; known: plain, folded"),
        (["--devices", "tpu"], BadInput, "--devices: unknown 'tpu'; known: cpu, cuda"),
        (["--sizes", "512,32"], BadInput, "--sizes must be 64 or more, got 32"),
        (["-o", "nowhere/a.json"], CannotWrite, "there is no folder nowhere"),
    ],
)
def test_a_wrong_flag_is_one_sentence(
    flags: list[str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        bench.run(flags)
