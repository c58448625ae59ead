"""The training loop on a tiny network: exact resume, accumulation, early stop, what goes wrong."""

import argparse
import json
import logging
import math
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.test_targets import random_sample
from xnect.errors import BadInput, BadWeights, CannotWrite, MissingExtra, UnknownName
from xnect.model import bundled_weights, load_network, load_pipeline
from xnect.network import build_network
from xnect.prepare import Normalisation, normalise
from xnect.train import stage1
from xnect.train.augment import AugmentOptions
from xnect.train.batches import collate
from xnect.train.checkpoint import (
    file_metadata,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from xnect.train.descent import rate_at
from xnect.train.lanes import mixture_sources, read_shares
from xnect.train.loop import TrainingFailed, train
from xnect.train.options import TrainOptions, add_flags, told
from xnect.train.processes import sentence
from xnect.train.progress import Progress, remaining_s
from xnect.train.samples import write_shard
from xnect.train.stage1 import stage1_step
from xnect.train.targets import make_targets

HERE = Path(__file__).resolve().parent
OPTIONS = TrainOptions(steps=8, batch=4, warm_up_steps=2, learning_rate=0.05, device="cpu")


class Pair(NamedTuple):
    images: torch.Tensor  # (B, 3)
    wanted: torch.Tensor  # (B, 1)


class Pairs:
    """Endless batches by number."""

    def __init__(self, batch=4):
        self.batch = batch

    def __iter__(self):
        return self.from_batch(0)

    def from_batch(self, number):
        while True:
            rng = torch.Generator().manual_seed(1000 + number)
            images = torch.randn(self.batch, 3, generator=rng)
            yield Pair(images, images.sum(1, keepdim=True).sin())
            number += 1


def tiny():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def losses_of(network, batch):
    error = network(batch.images) - batch.wanted
    return {"square": error.square().mean(), "size": 0.1 * error.abs().mean()}


def run(
    out, network=None, options=OPTIONS, *, losses=losses_of, validate=None, batches=None, start=""
):
    network = tiny() if network is None else network
    reason = train(
        network, Pairs() if batches is None else batches, options,
        out=out, losses_of=losses, validate=validate, metadata={"lane": "open"}, start=start,
    )  # fmt: skip
    return network, reason


def changed(**options):
    return TrainOptions(**{**OPTIONS.__dict__, **options})


def assert_same(a, b, **tolerance):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        if tolerance:
            torch.testing.assert_close(x, y, **tolerance)
        else:
            assert torch.equal(x, y), name


def interrupted(at, number=signal.SIGINT):
    """Losses during the `at`-th of which the signal comes."""
    calls = [0]

    def losses(network, batch):
        calls[0] += 1
        if calls[0] == at:
            signal.raise_signal(number)
        return losses_of(network, batch)

    return losses


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_goes_on_exactly_where_it_was_stopped(tmp_path, accumulate):
    options, before = changed(accumulate=accumulate), signal.getsignal(signal.SIGINT)
    whole, reason = run(tmp_path / "whole", options=options)
    assert reason == f"the schedule is done; 8 steps, {32 * accumulate} images"
    half = tmp_path / "half"
    _, reason = run(half, options=options, losses=interrupted(4 * accumulate))
    assert reason.startswith("stopped by SIGINT; 4 steps")
    torch.manual_seed(99)  # nothing may depend on it
    again, _ = run(half, options=options)
    assert_same(whole, again)
    a, b = (load_file(tmp_path / n / "ema.safetensors") for n in ("whole", "half"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert file_metadata(half / "ema.safetensors")["steps"] == "8"
    assert signal.getsignal(signal.SIGINT) is before


IN_A_GROUP = """
import sys
from pathlib import Path
import torch
from xnect.train.augment import AugmentOptions
from xnect.train.batches import Mixture, Source, loader
from xnect.train.loop import train
from xnect.train.options import TrainOptions

def losses_of(network, batch):
    print("step", flush=True)
    return {"mean": network(batch.images.float().mean((2, 3))).square().mean()}

source = Source("renders", (Path(sys.argv[1]) / "renders-a.npz",), 1.0, False)
mixture = Mixture([source], AugmentOptions(crop_px=64), batch=2, seed=1)
options = TrainOptions(hours=1.0, crop_px=64, device="cpu")
out = Path(sys.argv[1]) / "run"
print(train(torch.nn.Linear(3, 1), loader(mixture, workers=1), options, out=out,
            losses_of=losses_of, validate=None, metadata={}))
"""


def test_sigterm_to_the_whole_process_group_ends_it_with_a_checkpoint(tmp_path):
    """As torchrun and schedulers send it: the process that makes the batches gets it as well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", IN_A_GROUP, str(packed(tmp_path))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, cwd=HERE.parent, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            for _ in range(3):
                assert program.stdout.readline() == "step\n"
            os.killpg(program.pid, signal.SIGTERM)
            said, errors = program.communicate(timeout=300)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, errors[-2000:]
    reason = said.splitlines()[-1]
    assert reason.startswith("stopped by SIGTERM")
    assert f"{load_checkpoint(tmp_path / 'run' / 'checkpoint.pt')['step']} steps" in reason
    with pytest.raises(ProcessLookupError):
        os.killpg(program.pid, 0)  # the worker is gone as well


def test_accumulated_batches_are_one_large_batch(tmp_path):
    class Halves:
        def from_batch(self, number):
            for pair in Pairs(8).from_batch(number // 2):
                yield Pair(pair.images[:4], pair.wanted[:4])
                yield Pair(pair.images[4:], pair.wanted[4:])

        def __iter__(self):
            return self.from_batch(0)

    large, _ = run(tmp_path / "a", batches=Pairs(8))
    small, _ = run(tmp_path / "b", options=changed(accumulate=2), batches=Halves())
    assert_same(large, small, rtol=1e-5, atol=1e-6)
    other, _ = run(tmp_path / "c", batches=Pairs(4))
    assert not torch.allclose(other[0].weight, large[0].weight, atol=1e-4)


def test_resuming_with_other_options_names_them(tmp_path):
    run(tmp_path, losses=interrupted(3))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(BadInput) as error:
        run(tmp_path, options=changed(batch=8, learning_rate=0.1, hours=9.0, save_minutes=1.0))
    text = str(error.value)
    assert "batch 4 -> 8; learning_rate 0.05 -> 0.1" in text and "hours" not in text
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    with pytest.raises(BadWeights, match="is of another network"):
        run(tmp_path, nn.Linear(3, 1))
    _, reason = run(tmp_path, options=changed(hours=9.0, save_minutes=3.0, steps=5))
    assert "5 steps" in reason


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK and then nothing")
    with pytest.raises(BadWeights, match=r"checkpoint.pt cannot be read .*move it away"):
        run(tmp_path)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_and_the_last_checkpoint_stays(tmp_path, where):
    run(tmp_path, losses=interrupted(3))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    calls = [0]

    def losses(network, batch):
        calls[0] += 1
        good = losses_of(network, batch)
        if calls[0] == 3:
            if where == "loss":
                return {**good, "size": good["size"] * math.nan}
            root = network(batch.images).mul(0).square().sum().sqrt()  # 0, with a slope of 0 / 0
            return {**good, "size": root}
        return good

    network = tiny()
    with pytest.raises(TrainingFailed) as error:
        run(tmp_path, network, losses=losses, start="--init")
    text = str(error.value)
    kept = tmp_path / "ema.safetensors"
    assert "stopped at step 6" in text and f"{kept} is from before it: give it to --init," in text
    assert kept.exists()
    assert ("size nan" if where == "loss" else "the gradient's norm nan") in text
    assert "square" not in text.split("finite: ")[1].split(";")[0]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert all(p.isfinite().all() for p in network.parameters())


class full_disk:
    """No file may grow beyond so many bytes."""

    def __init__(self, most):
        self.most = most

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, self.before[1]))

    def __exit__(self, *error):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, step=1, weights=torch.ones(10))
    with full_disk(5000), pytest.raises(CannotWrite, match=r"cannot write .*checkpoint.pt"):
        save_checkpoint(path, step=2, weights=torch.ones(100_000))
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_training_goes_on_over_a_full_disk_and_says_so_at_the_end(tmp_path, caplog):
    run(tmp_path, losses=interrupted(3))
    options = changed(save_minutes=0.0)
    with caplog.at_level(logging.WARNING), full_disk(3000):
        with pytest.raises(CannotWrite, match=r"checkpoint\.pt"):
            run(tmp_path, options=options)
    assert "training goes on" in caplog.text
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    _, reason = run(tmp_path, options=options)
    assert "8 steps" in reason


def test_it_ends_early_and_keeps_the_best(tmp_path):
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    seen = []

    def validate(network):
        seen.append({n: t.clone() for n, t in network.state_dict().items()})
        return {"pck": next(figures), "other": 1.0}

    _, reason = run(tmp_path, options=changed(validate_steps=1, patience=3), validate=validate)
    assert reason.startswith("ended early: 3 validations were not better than the best; 5 steps")
    best = load_file(tmp_path / "best.safetensors")
    for name, value in best.items():
        torch.testing.assert_close(value.float(), seen[1][name], rtol=1e-2, atol=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["pck"] for line in lines if "pck" in line] == [0.1, 0.5, 0.4, 0.3, 0.2]
    _, reason = run(tmp_path, options=changed(validate_steps=1, patience=3), validate=validate)
    assert "5 steps" in reason  # it does not start again


def test_a_compiled_network_learns_the_same(tmp_path):
    pytest.importorskip("torch._dynamo")
    plain, _ = run(tmp_path / "a", options=changed(steps=3))
    compiled, _ = run(tmp_path / "b", options=changed(steps=3, compile="eager"))
    assert_same(plain, compiled, rtol=1e-5, atol=1e-6)
    state = load_checkpoint(tmp_path / "b" / "checkpoint.pt")
    assert list(state["network"]) == list(plain.state_dict())  # without torch.compile's prefix


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_both_their_batches(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", str(HERE / "two_processes.py"), str(tmp_path)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=HERE.parent, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, accumulate in (("run", 1), ("two", 2)):
        paths = (tmp_path / f"{name}{rank}.pt" for rank in (0, 1))
        first, second = (torch.load(path, weights_only=True) for path in paths)
        assert all(torch.equal(first[n], second[n]) for n in first)
        options = changed(batch=8, accumulate=accumulate)
        one, _ = run(tmp_path / f"one{accumulate}", batches=Pairs(8), options=options)
        for n, value in one.state_dict().items():
            torch.testing.assert_close(first[n], value, rtol=1e-5, atol=1e-6)
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 8 and state["images"] == 64 and state["run"]["processes"] == 2


# what is said on the way


def test_the_remaining_time_is_that_of_this_part():
    assert remaining_s(0.5, 0.5, 10.0) is None
    assert remaining_s(0.75, 0.5, 10.0) == pytest.approx(10)
    assert remaining_s(1.0, 0.5, 10.0) == 0


def test_the_log_has_throughput_and_remaining_time(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("xnect.train.progress.time.monotonic", lambda: clock[0])
    progress = Progress(tmp_path)
    for step in range(1, 11):
        clock[0] += 10
        progress.step(step / 100, step, 40 * step, clock[0], {"heatmaps": 2.0})
    progress.close()
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["images_per_s"] == 4.0 and line["heatmaps"] == 2.0
    assert line["remaining_s"] == pytest.approx(10 * (100 - line["step"]), rel=0.01)


def test_tensorboard_is_asked_for_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match="pip install tensorboard"):
        run(tmp_path, options=changed(tensorboard=True))


def test_tensorboard_gets_losses_and_validations(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("xnect.train.progress.REPORT_S", 0.0)
    options = changed(tensorboard=True, validate_steps=4)
    run(tmp_path, options=options, validate=lambda network: {"pck": 0.5})
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for name in (b"train/square", b"train/images_per_s", b"validation/pck"):
        assert name in content


def test_every_option_has_a_flag():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = vars(parser.parse_args([]))
    assert told(flags, TrainOptions()) == TrainOptions()
    flags = vars(parser.parse_args(["--tensorboard", "--patience", "3", "--compile", "inductor"]))
    wanted = TrainOptions(tensorboard=True, patience=3, compile="inductor")
    assert told(flags, TrainOptions()) == wanted
    for name, value in TrainOptions().__dict__.items():
        if not isinstance(value, bool):
            flags = vars(parser.parse_args([f"--{name.replace('_', '-')}", str(value)]))
            assert flags[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", -5), ("hours", 0.0), ("batch", 0), ("accumulate", 0), ("workers", -1),
        ("seed", -1), ("crop_px", 100), ("hard_joints", 30), ("learning_rate", float("nan")),
        ("learning_rate", -1.0), ("ema_decay", 2.0),
    ],
)  # fmt: skip
def test_options_that_no_training_can_have_are_one_sentence(name, value, tmp_path, capsys):
    with pytest.raises(BadInput, match=name):
        TrainOptions(**{name: value})
    words = ["--data", str(packed(tmp_path)), "--out", str(tmp_path / "run"), "--lane", "open"]
    assert stage1.main([*words, f"--{name.replace('_', '-')}", str(value)]) == 2
    assert name in capsys.readouterr().err


def test_a_training_without_warm_up_begins_at_its_rate():
    assert rate_at(0.0, 0, TrainOptions(warm_up_steps=0, learning_rate=0.5)) == 0.5


def test_an_error_of_another_process_is_said_without_its_traceback():
    told = BadInput(
        "Caught BadInput in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 1\nxnect.errors.BadInput: shard a.npz is damaged: pack anew\n'
    )
    assert sentence(told) == "shard a.npz is damaged: pack anew"
    assert sentence(BadInput("a: b")) == "a: b"


def test_weights_of_another_network_are_no_start(tmp_path):
    state = {"backbone.conv1.weight": torch.zeros(8, 3, 3, 3), "head.weight": torch.zeros(2)}
    save_file(state, tmp_path / "foreign.safetensors")
    with pytest.raises(BadWeights, match="another network"):
        stage1.start_from(build_network("s"), str(tmp_path / "foreign.safetensors"))


def test_going_on_from_another_start_is_refused(tmp_path, capsys):
    torch.manual_seed(0)
    for name in ("a", "b"):
        save_file(build_network("s").state_dict(), tmp_path / f"{name}.safetensors")
    words = ["--data", str(packed(tmp_path)), "--out", str(tmp_path / "run"), "--lane", "open"]
    words += ["--batch", "2", "--crop-px", "64", "--workers", "0", "--shared", str(tmp_path)]
    a, b = (["--init", str(tmp_path / f"{name}.safetensors")] for name in ("a", "b"))
    assert stage1.main([*words, *a, "--steps", "1"]) == 0
    assert stage1.main([*words, *b, "--steps", "2"]) == 2
    assert "started_from" in capsys.readouterr().err
    assert stage1.main([*words, *a, "--steps", "2"]) == 0


def test_the_command_says_what_is_wrong_and_returns_2(tmp_path, capsys):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert stage1.main(words) == 2
    assert "no renders-*.npz" in capsys.readouterr().err
    packed(tmp_path)
    assert stage1.main([*words, "--preset", "xl"]) == 2
    assert "unknown preset 'xl'; known: m, s" in capsys.readouterr().err


def packed(folder):
    owner = np.zeros((96, 96), np.uint8)
    owner[30:60, 30:60] = 1
    rendered = [replace(random_sample(i, 2), owner=owner) for i in range(3)]
    write_shard(folder / "renders-a.npz", rendered)
    write_shard(folder / "coco.npz", [random_sample(i, 1) for i in range(3)])
    write_shard(folder / "muco-000.npz", [random_sample(i, 1) for i in range(3)])
    return folder


def test_stage_1_is_trained_by_one_command_that_goes_on(tmp_path, capsys, caplog):
    words = ["--data", str(packed(tmp_path)), "--out", str(tmp_path / "run"), "--shared", "nowhere",
             "--batch", "2", "--crop-px", "64", "--workers", "0", "--device", "cpu"]  # fmt: skip
    assert stage1.main([*words, "--steps", "1"]) == 0
    assert "the schedule is done; 1 steps, 2 images" in capsys.readouterr().out
    assert "training goes on without lspet" in caplog.text
    metadata = file_metadata(tmp_path / "run" / "ema.safetensors")
    assert metadata["data"] == "coco-train2017 0.26, renders 0.48, muco 0.26"
    assert metadata["lane"] == "research" and "research only" in metadata["licence"]
    assert stage1.main([*words, "--steps", "2"]) == 0
    assert "2 steps, 4 images" in capsys.readouterr().out
    assert load_network(tmp_path / "run" / "ema.safetensors", "s")
    assert stage1.main([*words, "--lane", "open", "--steps", "3"]) == 2
    assert "lane 'research' -> 'open'" in capsys.readouterr().err


def test_shares_choose_the_data_sets(tmp_path):
    folder = packed(tmp_path)
    names = [s.name for s in mixture_sources(folder, "open")]
    assert names == ["coco-train2017", "negatives", "renders"]
    assert [s.name for s in mixture_sources(folder, "research")] == [*names, "lspet", "muco"]
    shares = read_shares("renders=3, coco-train2017=1")
    assert [(s.name, s.share) for s in mixture_sources(folder, "open", shares)] == [
        ("coco-train2017", 1.0), ("renders", 3.0),
    ]  # fmt: skip
    assert mixture_sources(tmp_path / "none", "open", {"coco-train2017": 1})  # without renders
    with pytest.raises(UnknownName, match="unknown data set in lane open 'lspet'; known: coco"):
        mixture_sources(folder, "open", {"lspet": 1})
    with pytest.raises(BadInput, match="share of renders must be a positive number, got -1"):
        mixture_sources(folder, "open", {"renders": -1})
    with pytest.raises(BadInput, match="--shares must be like"):
        read_shares("renders:1")


# input of the network


def test_the_network_is_trained_on_what_it_is_given_later():
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    sample = random_sample(1, 1)
    batch = collate([sample], AugmentOptions(crop_px=96))
    given = []

    class Stop(Exception):
        pass

    def network(images):
        given.append(images)
        raise Stop

    for n in (normalisation, Normalisation()):
        with pytest.raises(Stop):
            stage1_step(n)(network, batch)
        np.testing.assert_allclose(given[-1][0].numpy(), normalise(sample.image, n), atol=1e-5)


def test_normalisation_goes_with_the_weights():
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert Normalisation.of(normalisation.metadata()) == normalisation
    assert Normalisation.of({}) == Normalisation()
    for wrong in ("1 2", "a b c", "0 1 1"):
        with pytest.raises(BadWeights, match="input_std of a weights file must be three numbers"):
            Normalisation.of({"input_std": wrong})


def test_a_pipeline_reads_the_normalisation_of_its_weights(tmp_path):
    state = load_file(bundled_weights("s"))
    metadata = file_metadata(bundled_weights("s"))
    assert load_pipeline(weights=bundled_weights("s"), device="cpu").normalisation == (
        Normalisation()
    )
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    path = tmp_path / "other.safetensors"
    save_weights(path, state, {**metadata, **normalisation.metadata()})
    assert load_pipeline(weights=path, device="cpu").normalisation == normalisation
    save_weights(path, state, {**metadata, "input_mean": "grey"})
    with pytest.raises(BadWeights, match="input_mean of a weights file"):
        load_pipeline(weights=path, device="cpu")


def test_targets_are_made_where_the_batch_is(monkeypatch):
    """No table is left on the CPU: checked on torch's device that has shapes only."""
    batch = collate([random_sample(i, 2) for i in range(2)], AugmentOptions(crop_px=96))
    monkeypatch.setattr("xnect.train.targets.without_padding", lambda batch: batch)
    targets = make_targets(type(batch)(*(t.to("meta") for t in batch)))
    flat = [*targets[:-1], *targets.boxes]
    assert {t.device.type for t in flat} == {"meta"}


@pytest.mark.gpu
def test_stage_1_trains_on_a_gpu_compiled_in_bf16(tmp_path):
    batch = collate([random_sample(i, 2) for i in range(4)], AugmentOptions(crop_px=96))
    options = TrainOptions(steps=20, batch=4, warm_up_steps=1, device="cuda", compile="inductor")
    seen = []

    def losses(network, given):
        assert given.images.is_cuda
        found = stage1_step()(network, given)
        seen.append(float(sum(found.values()).detach()))
        return found

    train(
        build_network("s"), [batch], options,
        out=tmp_path, losses_of=losses, validate=None, metadata={},
    )  # fmt: skip
    assert seen[-1] < seen[0]


def test_weights_files_keep_variances_that_half_precision_cannot_hold(tmp_path):
    """Features before batch norm may be of any size; what the network says stays."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8))
    images = torch.rand(8, 3, 16, 16)
    for factor in (1e-2, 1.0, 1e4):
        with torch.no_grad():
            network[0].weight.copy_(0.1 * torch.randn(8, 3, 3, 3))
            network[0].weight.mul_(factor)
        network[1].eps = 1e-12
        network[1].momentum = 1.0
        network.train()(images)
        said = network.eval()(images)
        save_weights(tmp_path / "w.safetensors", network.state_dict(), {})
        again = {k: v.float() for k, v in load_file(tmp_path / "w.safetensors").items()}
        network.load_state_dict(again, strict=False)
        torch.testing.assert_close(network(images), said, rtol=0, atol=0.02)


def test_a_last_look_that_fails_loses_no_step(tmp_path):
    def broken(network):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(tmp_path, validate=broken)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == OPTIONS.steps


def test_no_file_is_named_that_is_no_start(tmp_path):
    def losses(network, batch):
        return {"all": losses_of(network, batch)["square"] * math.nan}

    for start in ("", "--init"):  # no flag takes one, none has been written
        with pytest.raises(TrainingFailed, match="begin anew, with a smaller --learning-rate"):
            run(tmp_path, losses=losses, start=start)
    run(tmp_path, losses=interrupted(3))
    with pytest.raises(TrainingFailed, match="begin anew"):
        run(tmp_path, losses=losses)


@pytest.mark.parametrize(
    "asked", [{"patience": 2}, {"validate_steps": 1}, {"validate_minutes": 2.0}]
)
def test_validation_that_is_asked_for_needs_something_to_validate_on(tmp_path, asked):
    (name,) = asked
    with pytest.raises(BadInput, match=f"nothing to validate on, but {name} [12] asks"):
        run(tmp_path, options=changed(**asked))
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_a_backend_that_torch_does_not_have_is_named(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown backend of torch.compile 'cuda'.*inductor"):
        run(tmp_path, options=changed(compile="cuda"))


def test_one_picture_of_one_cell_has_no_statistics():
    with pytest.raises(BadInput, match="crop_px 32 makes maps of one cell"):
        TrainOptions(crop_px=32, batch=1)
    assert TrainOptions(crop_px=32, batch=2) and TrainOptions(crop_px=64, batch=1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (0.5, 20_000)),
        ("--steps 20000 --hours 2", (2.0, 20_000)),
        ("--hours 2 --steps 20000", (2.0, 20_000)),
        ("--hours 2", (2.0, 0)),
        ("--hours 2 --steps 7", (2.0, 7)),
        ("--steps 7 --hours 2", (2.0, 7)),
    ],
)
def test_hours_count_where_steps_are_the_default(words, expected):
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainOptions(hours=0.5, steps=20_000))
    options = told(vars(parser.parse_args(words.split())), TrainOptions(hours=0.5, steps=20_000))
    assert (options.hours, options.steps) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (10.0, 2000)),
        ("--validate-minutes 3", (3.0, 0)),
        ("--validate-minutes 3 --validate-steps 2000", (3.0, 2000)),
        ("--validate-steps 2000 --validate-minutes 3", (3.0, 2000)),
    ],
)
def test_minutes_count_where_steps_between_validations_are_the_default(words, expected):
    parser, defaults = argparse.ArgumentParser(), TrainOptions(validate_steps=2000)
    add_flags(parser, defaults)
    options = told(vars(parser.parse_args(words.split())), defaults)
    assert (options.validate_minutes, options.validate_steps) == expected
