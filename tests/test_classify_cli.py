"""`xnect classify`, `features`, `eval imagenet` and `bench`, from words to files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import hub_server

Image = pytest.importorskip("PIL.Image", reason="pictures are read by Pillow")

from safetensors.torch import save_file  # noqa: E402

from xnect.backbones import create_backbone, models  # noqa: E402
from xnect.backbones.labels import class_names, imagenet_labels, imagenet_synsets  # noqa: E402
from xnect.backbones.pretrained import PRETRAINED  # noqa: E402
from xnect.backbones.transforms import evaluation_transform  # noqa: E402
from xnect.demo import evaluate_imagenet, pictures  # noqa: E402
from xnect.demo.__main__ import INTERRUPTED, OK, USER_ERROR, main  # noqa: E402
from xnect.errors import BadInput, CannotOpenSource  # noqa: E402
from xnect.image import as_rgb8  # noqa: E402

MODEL = "selecsls42b"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for `thin`."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "thin.safetensors"
    model = create_backbone(MODEL, width=0.125)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # its statistics become those of the next batch
    with torch.no_grad():  # otherwise all pictures would get the same class
        model.train()(torch.nn.functional.interpolate(torch.randn(8, 3, 7, 9), (64, 64)))
        model.fc.weight.normal_(std=0.5)
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network, an eighth as wide."""
    builder = partial(models.MODELS[MODEL], width=0.125)
    monkeypatch.setitem(models.MODELS, MODEL, builder)


@pytest.fixture
def words(weights: Path) -> list[str]:
    return ["--model", MODEL, "--weights", str(weights), "--size", "64", "--device", "cpu"]


def picture(path: Path, seed: int = 0, hw: tuple[int, int] = (70, 90)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    Image.fromarray(blocks).resize(hw[::-1]).save(path)
    return path


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [picture(tmp_path / "in" / f"{i}.png", i, (70 + i, 90 - 9 * i)) for i in range(3)]


def one_sentence(error: str) -> str:
    assert error.startswith("xnect: ")
    assert error.count("\n") == 1
    return error


def logits_of(path: Path, weights: Path, config: str = "selecsls42b.in1k") -> torch.Tensor:
    """Without the command line: model, transform, one picture at a time."""
    from dataclasses import replace

    model = create_backbone(MODEL, pretrained=str(weights)).eval()
    transform = evaluation_transform(replace(PRETRAINED[config], input_hw=(64, 64)))
    with torch.inference_mode():
        return model(transform(Image.open(path))[None])[0]


# --- labels


def test_labels_are_thousand_different_names_in_the_order_of_the_synsets() -> None:
    labels, synsets = imagenet_labels(), imagenet_synsets()
    assert len(labels) == len(set(labels)) == len(set(synsets)) == 1000
    assert list(synsets) == sorted(synsets)
    assert all(len(s) == 9 and s[0] == "n" and s[1:].isdigit() for s in synsets)
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 508: "computer keyboard"}
    known |= {817: "sports car", 963: "pizza", 999: "toilet tissue"}
    assert {i: labels[i] for i in known} == known
    assert all(label == label.strip() and label for label in labels)


def test_labels_are_words_that_timm_has_for_them() -> None:
    timm = find_spec("timm")
    if timm is None or timm.origin is None:
        pytest.skip("the labels are compared with those that come with timm")
    lists = Path(timm.origin).parent / "data" / "_info"
    assert (lists / "imagenet_synsets.txt").read_text().split() == list(imagenet_synsets())
    lines = (lists / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = {synset: words.split(", ") for synset, words in (line.split("\t") for line in lines)}
    renamed = {"crane (bird)": "crane", "crane (machine)": "crane"}
    for synset, label in zip(imagenet_synsets(), imagenet_labels(), strict=True):
        assert renamed.get(label, label) in lemmas[synset], synset


def test_other_numbers_of_classes_get_numbers() -> None:
    assert class_names(1000) is imagenet_labels()
    assert class_names(3) == ("class 0", "class 1", "class 2")


# --- classify


def test_classify_names_the_likeliest_classes(
    three: list[Path], words: list[str], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", *map(str, three), *words, "--json", "--batch", "2"]) == OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in three]
    for path, line in zip(three, lines, strict=True):
        shares, numbers = logits_of(path, weights).softmax(0).topk(5)
        assert [guess["class"] for guess in line["top"]] == numbers.tolist()
        assert [guess["probability"] for guess in line["top"]] == pytest.approx(
            shares.tolist(), rel=2e-3
        )
        for guess in line["top"]:
            assert guess["label"] == imagenet_labels()[guess["class"]]
            assert guess["synset"] == imagenet_synsets()[guess["class"]]


def test_classify_for_people(
    three: list[Path], words: list[str], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", str(three[0]), *words, "--top", "2"]) == OK
    path, first, second = capsys.readouterr().out.splitlines()
    assert path == str(three[0])
    assert imagenet_labels()[int(logits_of(three[0], weights).argmax())] in first
    assert float(first.split()[0]) >= float(second.split()[0])


def test_classify_with_classes_of_ones_own(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.safetensors"
    save_file(create_backbone(MODEL, num_classes=3).state_dict(), own)
    (tmp_path / "names.txt").write_text("cat\ndog\nüber\n", encoding="utf-8")
    words = ["--model", MODEL, "--weights", str(own), "--labels", str(tmp_path / "names.txt")]
    assert main(["classify", str(three[0]), *words, "--size", "64"]) == OK
    told = capsys.readouterr().out
    assert all(name in told for name in ("cat", "dog", "über"))


def test_one_bad_picture_does_not_keep_the_others_from_being_done(
    three: list[Path], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three[1].write_bytes(b"nonsense")
    half = three[2].read_bytes()
    three[2].write_bytes(half[: len(half) // 2])
    asked = [str(three[1]), str(three[2]), str(tmp_path / "missing.jpg"), str(three[0])]
    assert main(["classify", *asked, *words]) == USER_ERROR
    out, error = capsys.readouterr()
    assert out.splitlines()[0] == str(three[0])
    told = error.splitlines()
    assert [line.startswith("xnect: cannot open ") for line in told] == [True] * 3
    assert f"{three[1]}: it is not a picture" in told[0]
    assert str(three[2]) in told[1]
    assert "missing.jpg: no such file" in told[2]


def test_exif_orientation_is_followed_unless_asked_not_to(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    upright = picture(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    Image.open(upright).rotate(90, expand=True).save(turned, exif=exif)
    plain = tmp_path / "plain.png"
    Image.open(upright).rotate(90, expand=True).save(plain)

    def top(path: Path, *more: str) -> list[object]:
        assert main(["classify", str(path), *words, "--json", *more]) == OK
        return json.loads(capsys.readouterr().out)["top"]

    assert top(turned) == top(upright)
    assert top(turned, "--as-stored") == top(plain)
    assert top(plain) != top(upright)


BAD_WORDS = [
    (
        ["--model", "selecsls42x"],
        "unknown backbone 'selecsls42x'; the nearest that exist: selecsls42",
    ),
    (["--model", f"{MODEL}.in22k"], "selecsls42b.in1k"),
    (["--model", MODEL, "--weights", "missing.safetensors"], "no file missing.safetensors"),
    (["--model", MODEL, "--labels", "missing.txt"], "class names missing.txt"),
    (["--model", "selecsls84"], "nobody has published weights of selecsls84"),
]


@pytest.mark.parametrize(("flags", "told"), BAD_WORDS)
def test_wrong_words_are_one_sentence(
    flags: list[str], told: str, three: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["classify", str(three[0]), *flags, "--device", "cpu"]) == USER_ERROR
    assert told in one_sentence(capsys.readouterr().err)


def test_weights_of_another_model_and_damaged_ones(
    three: list[Path], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classify", str(three[0]), "--device", "cpu", "--model"]
    assert main([*words, "resnest14d", "--weights", str(weights)]) == USER_ERROR
    told = one_sentence(capsys.readouterr().err)
    assert "does not fit" in told
    assert "conv1.0.weight" in told
    for name in ("half.safetensors", "half.pth"):
        damaged = tmp_path / name
        damaged.write_bytes(weights.read_bytes()[:9999])
        assert main([*words, MODEL, "--weights", str(damaged)]) == USER_ERROR
        assert str(damaged) in one_sentence(capsys.readouterr().err)


def test_weights_come_from_the_hub_once(
    three: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub = pytest.importorskip("huggingface_hub", reason="it fetches hub ids")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    command = ["classify", str(three[0]), "--model", f"{MODEL}.in1k", "--device", "cpu"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(command) == USER_ERROR
    assert "timm/selecsls42b.in1k is not on this disk" in one_sentence(capsys.readouterr().err)
    with hub_server() as server:
        server.files["model.safetensors"] = weights.read_bytes()
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        assert main(command) == OK
        first = capsys.readouterr().out
        hub.close_session()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(command) == OK
    assert capsys.readouterr().out == first


def test_an_empty_folder_and_a_pattern_without_files(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["classify", str(tmp_path / "empty"), *words]) == USER_ERROR
    assert "there is no picture in it" in one_sentence(capsys.readouterr().err)
    assert main(["features", str(tmp_path / "*.jpg"), *words, "-o", "x.npz"]) == USER_ERROR
    assert "cannot find any file like" in one_sentence(capsys.readouterr().err)


def test_pictures_of_folders_and_patterns_come_once_and_in_order(three: list[Path]) -> None:
    folder = three[0].parent
    (folder / "notes.txt").write_text("no picture")
    words = [str(folder), str(folder / "*.png"), str(three[1])]
    found = pictures.find_pictures(words, pytest.fail)
    assert found == three


def test_a_picture_of_16_bits_is_not_cut_off_at_8(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    for upright in (False, True):
        opened = np.asarray(pictures.open_picture(tmp_path / "deep.png", upright=upright))
        np.testing.assert_array_equal(opened, as_rgb8(grey))


# --- features


def test_embeddings_are_what_the_model_gives(
    three: list[Path], words: list[str], weights: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "new" / "e.npz"
    assert main(["features", str(three[0].parent), *words, "-o", str(out), "--embed"]) == OK
    told = capsys.readouterr().out
    assert f"{out}: 3 pictures" in told
    with np.load(out) as file:
        assert sorted(file) == ["embedding", "files", "model", "weights"]
        assert file["files"].tolist() == [str(path) for path in three]
        embedding = file["embedding"]
    model = create_backbone(MODEL, pretrained=str(weights))
    logits = torch.from_numpy(embedding) @ model.fc.weight.T + model.fc.bias
    expected = torch.stack([logits_of(path, weights) for path in three])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-3)


def test_feature_maps_have_their_strides_and_channels(
    three: list[Path], words: list[str], tmp_path: Path
) -> None:
    three[1].write_bytes(b"nonsense")
    out = tmp_path / "maps.npz"
    folder = str(three[0].parent)
    assert main(["features", folder, *words, "-o", str(out), "--quiet"]) == USER_ERROR
    with np.load(out) as file:
        assert file["files"].tolist() == [str(three[0]), str(three[2])]
        assert file["taps"].tolist() == [0, 1, 2, 3, 4]
        for tap, channels, stride in zip(
            file["taps"], file["channels"], file["strides"], strict=True
        ):
            assert file[f"features_{tap}"].shape == (2, channels, 64 // stride, 64 // stride)
    few = tmp_path / "few.npz"
    assert main(["features", str(three[0]), *words, "-o", str(few), "--taps", "3", "1"]) == OK
    with np.load(few) as file, np.load(out) as all_of_them:
        assert {name for name in file if name.startswith("features")} == {
            "features_1",
            "features_3",
        }
        np.testing.assert_allclose(
            file["features_3"][0], all_of_them["features_3"][0], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("more", "told"),
    [(["--taps", "9"], "--taps must be from 0 to 5"), (["--embed"], "no picture could be read")],
)
def test_features_that_cannot_be_leave_no_file(
    more: list[str], told: str, words: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    out = tmp_path / "x.npz"
    assert main(["features", str(tmp_path), *words, "-o", str(out), *more]) == USER_ERROR
    assert told in capsys.readouterr().err
    assert not out.exists()


# --- eval imagenet


@pytest.fixture
def labelled(tmp_path: Path, weights: Path) -> Path:
    """Eight pictures: four in the folder of their likeliest class, two in that of their third."""
    folder = tmp_path / "val"
    for number in range(8):
        loose = picture(tmp_path / "loose.png", number)
        best = logits_of(loose, weights).topk(7).indices.tolist()
        label = best[0] if number < 4 else best[2] if number < 6 else best[6]
        target = folder / imagenet_synsets()[label] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        loose.rename(target)
    return folder


def read_report(path: Path) -> dict[str, object]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_top1_and_top5_of_a_folder(
    labelled: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    command = ["eval", "imagenet", "--data", str(labelled), *words, "-o", str(out)]
    assert main([*command, "--workers", "2", "--batch", "3"]) == OK
    told = capsys.readouterr().out
    assert "8 of 8 pictures" in told
    assert "top-1  50.000 %  (published selecsls42b.in1k: 77.184)" in told
    report = read_report(out)
    assert (report["top1"], report["top5"], report["images"]) == (50.0, 75.0, 8)
    assert report["complete"] is True
    assert report["input_hw"] == [64, 64]
    before = out.with_suffix(".jsonl").read_bytes()
    assert main([*command, "--quiet"]) == OK  # nothing is left to be done
    assert out.with_suffix(".jsonl").read_bytes() == before
    assert read_report(out)["top1"] == 50.0
    assert read_report(out)["images_per_s"] is None
    other = tmp_path / "labels.csv"
    files = [p.relative_to(labelled).as_posix() for p in sorted(labelled.rglob("*.png"))]
    other.write_text("".join(f"{file},999\n" for file in files))
    assert main([*command, "--labels", str(other), "--quiet"]) == OK  # nor with other labels
    assert out.with_suffix(".jsonl").read_bytes() == before
    assert read_report(out)["top1"] == 0.0


def test_an_evaluation_that_was_stopped_goes_on(
    labelled: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "report.json"
    command = ["eval", "imagenet", "--data", str(labelled), *words, "-o", str(out), "--batch", "3"]
    command += ["--workers", "0"]
    real, seen = pictures.open_picture, []

    def open_and_interrupt(path: Path, *, upright: bool) -> Image.Image:
        seen.append(path.name)
        if len(seen) == 5:
            os.kill(os.getpid(), 2)  # Ctrl-C in the middle of the second batch
        assert not upright
        return real(path, upright=upright)

    monkeypatch.setattr(evaluate_imagenet, "open_picture", open_and_interrupt)
    assert main(command) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err
    assert (read_report(out)["complete"], read_report(out)["images"]) == (False, 6)
    answers = out.with_suffix(".jsonl")
    answers.write_bytes(answers.read_bytes()[:-9])  # as if the machine had stopped while writing
    seen[:] = range(10)
    assert main(command) == OK
    assert len(seen) == 10 + 3
    assert (read_report(out)["top1"], read_report(out)["top5"]) == (50.0, 75.0)
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert len({line["file"] for line in lines[1:]}) == len(lines) - 1 == 8


def test_answers_of_another_run_are_not_mixed_in(
    labelled: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    command = [
        "eval",
        "imagenet",
        "--data",
        str(labelled),
        *words,
        "-o",
        str(out),
        "--workers",
        "0",
    ]
    assert main([*command, "--quiet"]) == OK
    assert main([*command, "--size", "96"]) == USER_ERROR
    told = one_sentence(capsys.readouterr().err)
    assert "input_hw [64, 64], now [96, 96]" in told
    out.with_suffix(".jsonl").write_text("not\njson\n")
    assert main(command) == USER_ERROR
    assert "not a file of this command" in one_sentence(capsys.readouterr().err)


def test_a_bad_picture_is_named_and_not_counted(
    labelled: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = next(labelled.rglob("0.png"))
    bad.write_bytes(b"nonsense")
    out = tmp_path / "report.json"
    command = ["eval", "imagenet", "--data", str(labelled), *words, "-o", str(out), "--quiet"]
    assert main([*command, "--workers", "1"]) == USER_ERROR
    assert str(bad) in one_sentence(capsys.readouterr().err)
    report = read_report(out)
    assert report["images"] == 7
    assert len(report["unreadable"]) == 1
    assert report["top1"] == pytest.approx(100 * 3 / 7)


def test_classes_by_synset_by_number_and_by_csv(tmp_path: Path) -> None:
    for file in ("n01440764/a.png", "n01443537/b.JPEG", "n01443537/deep/c.png"):
        picture(tmp_path / "synsets" / file)
    expected = [("n01440764/a.png", 0), ("n01443537/b.JPEG", 1), ("n01443537/deep/c.png", 1)]
    found = evaluate_imagenet.find_samples(tmp_path / "synsets")
    assert [(s.file, s.label) for s in found] == expected
    picture(tmp_path / "numbers/0007/a.png")
    (tmp_path / "numbers/notes").mkdir()
    found = evaluate_imagenet.find_samples(tmp_path / "numbers")
    assert [(s.file, s.label) for s in found] == [("0007/a.png", 7)]
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "ImageId,PredictionString\nb,n01443537 1 2 3 4 n01443537 5 6 7 8\nc.png,999\n"
    )
    found = evaluate_imagenet.find_samples(tmp_path / "synsets", labels)
    both = [("n01443537/b.JPEG", 1), ("n01443537/deep/c.png", 999)]
    assert [(s.file, s.label) for s in found] == both
    picture(tmp_path / "synsets" / "c.png")  # its path is its name
    found = evaluate_imagenet.find_samples(tmp_path / "synsets", labels)
    assert [(s.file, s.label) for s in found] == [("c.png", 999), both[0]]


def test_folders_and_lines_that_name_no_class_are_refused(tmp_path: Path) -> None:
    find = evaluate_imagenet.find_samples
    with pytest.raises(CannotOpenSource, match="there is no folder"):
        find(tmp_path / "missing")
    with pytest.raises(CannotOpenSource, match="there is no picture"):
        find(tmp_path)
    picture(tmp_path / "dogs" / "a.png")
    with pytest.raises(BadInput, match="dogs names no class"):
        find(tmp_path)
    (tmp_path / "labels.csv").write_text("a.png,1\nb.png,1000\n")
    with pytest.raises(BadInput, match=r"line 2 of .* got 'b.png,1000'"):
        find(tmp_path, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("b.png,1\n")
    with pytest.raises(CannotOpenSource, match="none of the pictures that"):
        find(tmp_path, tmp_path / "labels.csv")
    picture(tmp_path / "cats" / "a.png")
    (tmp_path / "labels.csv").write_text("a.png,1\n")
    with pytest.raises(BadInput, match=r"line 1 of .* can mean cats/a.png or dogs/a.png"):
        find(tmp_path, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("cats/a.png,1\ndogs/a,2\n")
    found = [(s.file, s.label) for s in find(tmp_path, tmp_path / "labels.csv")]
    assert found == [("cats/a.png", 1), ("dogs/a.png", 2)]


# --- help and list


def test_help_of_the_new_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom xnect.demo.__main__ import main\n"
        "for words in ('classify', 'features', 'eval', 'eval imagenet', 'bench'):\n"
        "    try:\n        main([*words.split(), '--help'])\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "heavy = {'torch', 'cv2', 'numpy', 'PIL', 'tqdm', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for command in ("classify", "features", "eval imagenet", "bench backbones"):
        assert f"  xnect {command}" in run.stdout


def test_list_shows_every_backbone_and_its_published_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == OK
    told = capsys.readouterr().out
    for name in models.MODELS:
        assert f"  {name}" in told
    for config in PRETRAINED.values():
        line = next(line for line in told.splitlines() if line.split()[:1] == [config.name])
        assert config.licence in line
        assert f"{config.input_hw[1]}x{config.input_hw[0]}" in line
        assert config.top1 is None or f"{config.top1:.2f}" in line


def test_the_benchmark_gets_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "backbones", "--help"])
    assert end.value.code == OK
    assert "xnect bench backbones --sizes" in capsys.readouterr().out
    assert main(["bench", "backbones", "--models", "resnet5O", "--quiet"]) == USER_ERROR
    assert "unknown 'resnet5O'" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize(
    "words",
    [
        ["classify", "a.jpg"], ["classify", "--model", MODEL],
        ["features", "a.jpg", "--model", MODEL],
        ["features", "a.jpg", "--model", MODEL, "-o", "x.npz", "--embed", "--taps", "1"],
        ["eval"], ["eval", "imagenet", "--model", MODEL], ["bench"], ["bench", "cars"],
        ["eval", "imagenet", "--model", MODEL, "--data", ".", "--workers", "-1"],
    ],
)  # fmt: skip
def test_wrong_arguments_end_with_status_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == USER_ERROR


def test_ctrl_c_keeps_the_features_that_are_done(
    three: list[Path], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    real = pictures.open_picture

    def open_and_interrupt(path: Path, *, upright: bool) -> Image.Image:
        os.kill(os.getpid(), 2)
        return real(path, upright=upright)

    monkeypatch.setattr("xnect.demo.classify.open_picture", open_and_interrupt)
    out = tmp_path / "e.npz"
    command = ["features", *map(str, three), *words, "-o", str(out), "--embed", "--batch", "1"]
    assert main([*command, "--quiet"]) == INTERRUPTED
    assert "what was done is saved" in one_sentence(capsys.readouterr().err)
    with np.load(out) as file:
        assert file["files"].tolist() == [str(three[0])]
        assert len(file["embedding"]) == 1


def test_without_pillow_the_command_that_installs_it_is_named(
    three: list[Path], words: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("xnect.demo.pretrained_model.find_spec", lambda name: None)
    assert main(["classify", str(three[0]), *words]) == USER_ERROR
    assert "pip install pillow" in one_sentence(capsys.readouterr().err)
