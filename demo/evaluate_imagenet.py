"""`xnect eval imagenet`: top-1 and top-5 accuracy over labelled pictures; can be resumed.

Every picture's answer is appended to a file of JSON lines beside the report, so that a run which
was stopped goes on where it was.  Pictures are read by several processes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from xnect.atomic import replacing
from xnect.backbones.labels import imagenet_synsets
from xnect.backbones.transforms import evaluation_transform
from xnect.demo.pictures import is_picture, open_picture
from xnect.demo.pretrained_model import Opened, errors_for_users
from xnect.errors import BadInput, CannotOpenSource, CannotWrite, XnectError

if TYPE_CHECKING:
    from xnect.backbones import PretrainedConfig

TOP = 5
SYNSETS = {synset: number for number, synset in enumerate(imagenet_synsets())}
"""Name -> class."""


@dataclass(frozen=True)
class Sample:
    """A picture and its class."""

    file: str  # below the folder, with /
    label: int


# --- finding pictures and their classes


def find_samples(folder: Path, labels: Path | None = None) -> list[Sample]:
    """All pictures with their classes, in the order of their names.

    Args:
        folder: With a folder for each class, named by synset (`n01440764`) or by number from 0;
            or, with `labels`, with pictures anywhere in it.
        labels: A csv file, `file,class` in each line, where the class is a synset or a number from
            0 and the file may lack its ending.  A first line without a class is a heading;
            ImageNet's own `LOC_val_solution.csv` is such a file.

    Raises:
        CannotOpenSource: No such folder, or no picture in it.
        BadInput: Folders or lines that name no class.
    """
    if not folder.is_dir():
        raise CannotOpenSource(f"there is no folder {folder}")
    samples = _by_folder(folder) if labels is None else _by_csv(folder, labels)
    if samples:
        return samples
    if labels is not None:
        raise CannotOpenSource(f"{folder} holds none of the pictures that {labels} names")
    raise CannotOpenSource(
        f"there is no picture in the class folders of {folder}; expected are folders like "
        "n01440764 or 0, 1, 2, or a file for --labels"
    )


def class_number(word: str) -> int | None:
    """0 to 999 of a synset or of a number; None for anything else."""
    if word in SYNSETS:
        return SYNSETS[word]
    return int(word) if word.isascii() and word.isdigit() and int(word) < len(SYNSETS) else None


def _by_folder(folder: Path) -> list[Sample]:
    samples = []
    for inside in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        pictures = sorted(p for p in inside.rglob("*") if is_picture(p))
        label = class_number(inside.name)
        if pictures and label is None:
            raise BadInput(
                f"the folder {inside} names no class of ImageNet; expected a synset such as "
                "n01440764, or a number from 0 to 999"
            )
        samples += [Sample(p.relative_to(folder).as_posix(), label or 0) for p in pictures]
    return samples


def _by_csv(folder: Path, labels: Path) -> list[Sample]:
    inside = [p.relative_to(folder) for p in folder.rglob("*") if is_picture(p)]
    relative = sorted(path.as_posix() for path in inside)
    by_name: dict[str, set[str]] = {}
    for path in inside:
        for name in {path.stem, path.name, path.with_suffix("").as_posix(), path.as_posix()}:
            by_name.setdefault(name, set()).add(path.as_posix())
    by_name.update((file, {file}) for file in relative)  # a whole path means that file alone
    try:
        rows = list(csv.reader(labels.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read the labels {labels}: {error}") from error
    found: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        words = row[1].split() if len(row) > 1 else []
        label = class_number(words[0]) if words else None
        if label is None:
            if number == 1 or not any(row):
                continue
            raise BadInput(
                f"line {number} of {labels} names no class; expected file,class with a synset "
                f"such as n01440764 or a number from 0 to 999, got {','.join(row)!r}"
            )
        files = by_name.get(row[0].strip().removeprefix("./"), set())
        if len(files) > 1:
            raise BadInput(
                f"line {number} of {labels} can mean {' or '.join(sorted(files)[:2])}; write the "
                f"path below {folder}"
            )
        found.update(dict.fromkeys(files, label))
    return [Sample(file, found[file]) for file in relative if file in found]


# --- answers on the disk


class Answers:
    """A file of JSON lines: what the run is of, then one line per picture.

    `{"file": ..., "label": 5, "top": [5, 9, ...]}`, or `{"file": ..., "problem": ...}` for one that
    could not be read.  A line that was half written when the machine stopped is cut off.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        """Read what is there, or begin.

        Raises:
            BadInput: The file holds answers of another run.
            CannotWrite: It cannot be written.
        """
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        whole = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                whole = self._read(path.read_bytes(), about)
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._file.write(json.dumps(about).encode() + b"\n")
                self._file.flush()
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error

    def _read(self, content: bytes, about: Mapping[str, object]) -> int:
        """Take over whole lines; number of bytes that they fill."""
        whole = content.rfind(b"\n") + 1
        try:
            lines = [dict(json.loads(line)) for line in content[:whole].splitlines()]
            files = [str(line["file"]) for line in lines[1:]]
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{self.path} is not a file of this command; give another --out"
            ) from error
        if not lines:
            return 0
        differing = [key for key in about if lines[0].get(key) != about[key]]
        if differing:
            key = differing[0]
            raise BadInput(
                f"{self.path} holds answers of another run ({key} {lines[0].get(key)!r}, now "
                f"{about[key]!r}); give another --out or remove it"
            )
        self.lines = dict(zip(files, lines[1:], strict=True))
        return whole

    def append(self, lines: Sequence[Mapping[str, object]]) -> None:
        """Add pictures; they are on the disk when this returns.

        Raises:
            CannotWrite: The disk is full.
        """
        try:
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            self._file.flush()
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}") from error
        self.lines.update((str(line["file"]), dict(line)) for line in lines)

    def close(self) -> None:
        """No more lines."""
        self._file.close()


# --- reading pictures in several processes


class Pictures(Dataset[tuple[int, Tensor | None, str]]):
    """Position -> (position, (3, H, W) or None, what is wrong with it)."""

    def __init__(self, folder: Path, files: Sequence[str], config: PretrainedConfig) -> None:
        self.folder, self.files, self.config = folder, files, config

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, str]:
        """EXIF orientation is not applied, as in timm's evaluation."""
        path = self.folder / self.files[index]
        try:
            with errors_for_users():
                transform = evaluation_transform(self.config)
                return index, transform(open_picture(path, upright=False)), ""
        except XnectError as error:
            return index, None, str(error)


def as_they_are(samples: list[Any]) -> list[Any]:
    """Batches stay lists: some pictures have no pixels."""
    return samples


def leave_ctrl_c_to_the_parent(worker: int) -> None:
    """A process that reads pictures ends when the main one says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


# --- the evaluation


@dataclass(frozen=True)
class Report:
    """The figures of a run, and whether it has seen everything."""

    values: dict[str, Any]
    problems: tuple[str, ...]
    stopped: bool

    def text(self) -> str:
        """Lines for people."""
        v = self.values
        lines = [f"{v['model']} ({v['weights']}): {v['images']} of {v['images_found']} pictures"]
        for key in ("top1", "top5"):
            if v[key] is not None:
                published = v[f"published_{key}"]
                name = v["published_name"]
                beside = f"  (published {name}: {published:.3f})" if published is not None else ""
                lines.append(f"  top-{key[-1]}  {v[key]:.3f} %{beside}")
        if v["images_per_s"]:
            lines.append(f"  {v['images_per_s']:.1f} pictures/s")
        return "\n".join(lines)


def evaluate(
    folder: Path,
    opened: Opened,
    *,
    out: Path,
    labels: Path | None = None,
    workers: int = 4,
    batch: int = 16,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int, float], None] = lambda done, total, top1: None,
) -> Report:
    """Accuracy over a folder; answers of an earlier run with the same `out` are not done again.

    Args:
        folder: See `find_samples`.
        opened: A classifier of 1000 classes.
        out: The report, JSON; the answers lie beside it with the ending `.jsonl`.
        labels: See `find_samples`.
        workers: Processes that read pictures; 0 reads them here.
        batch: How many pictures at once.
        stop: Asked after every batch.
        on_progress: Gets pictures done, their number, and top-1 so far in per cent.

    Raises:
        CannotOpenSource: No pictures.
        BadInput: Folders, lines or answers that do not belong here.
        CannotWrite: The report or the answers cannot be written.
    """
    samples = find_samples(folder, labels)
    wanted = {sample.file: sample.label for sample in samples}
    about = {
        "model": opened.name, "weights_sha256": fingerprint(opened.model),
        "data": str(folder.resolve()), "input_hw": list(opened.config.input_hw),
        "crop_pct": opened.config.crop_pct, "interpolation": opened.config.interpolation,
    }  # fmt: skip
    answers = Answers(out.with_suffix(".jsonl"), about)
    start, before, stopped = time.perf_counter(), len(answers.lines), False
    try:
        rest = [sample for sample in samples if sample.file not in answers.lines]
        correct = sum(_hit(line, 1) for line in _labelled(answers.lines, wanted))
        for lines in _answer(folder, rest, opened, workers=workers, batch=batch):
            answers.append(lines)
            correct += sum(_hit(line, 1) for line in lines)
            done = len(answers.lines)
            on_progress(done, len(samples), 100 * correct / done)
            if stopped := stop() and done < len(samples):
                break
    finally:
        answers.close()
    seconds = time.perf_counter() - start
    lines = _labelled(answers.lines, wanted)
    seen = [line for line in lines if "top" in line]
    problems = tuple(str(line["problem"]) for line in lines if "problem" in line)
    fresh = len(answers.lines) - before
    report = {
        **about, "weights": opened.weights, "complete": len(lines) == len(samples),
        "images_found": len(samples), "images": len(seen), "unreadable": list(problems),
        "top1": _share(seen, 1), "top5": _share(seen, TOP),
        "published_name": opened.config.name,
        "published_top1": opened.config.top1, "published_top5": opened.config.top5,
        "seconds": round(seconds, 3), "images_per_s": round(fresh / seconds, 3) if fresh else None,
        "device": str(opened.device), "torch": torch.__version__,
    }  # fmt: skip
    with replacing(out) as file:
        file.write(json.dumps(report, indent=1).encode() + b"\n")
    return Report(report, problems, stopped)


def _answer(
    folder: Path, samples: Sequence[Sample], opened: Opened, *, workers: int, batch: int
) -> Iterator[list[dict[str, object]]]:
    """Lines for `Answers`, a batch at a time."""
    pictures = Pictures(folder, [sample.file for sample in samples], opened.config)
    loader = DataLoader(
        pictures, batch_size=batch, num_workers=min(workers, os.cpu_count() or 1, len(samples)),
        collate_fn=as_they_are, worker_init_fn=leave_ctrl_c_to_the_parent,
    )  # fmt: skip
    for items in loader:
        whole = [(index, pixels) for index, pixels, _ in items if pixels is not None]
        lines: list[dict[str, object]] = [
            {"file": samples[index].file, "problem": problem}
            for index, pixels, problem in items
            if pixels is None
        ]
        if whole:
            logits = opened.run(torch.stack([pixels for _, pixels in whole]))
            best = logits.topk(min(TOP, logits.shape[1])).indices.tolist()
            lines += [
                {"file": samples[index].file, "label": samples[index].label, "top": top}
                for (index, _), top in zip(whole, best, strict=True)
            ]
        yield lines


def fingerprint(model: nn.Module) -> str:
    """64 hexadecimal digits that change when any weight does."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _labelled(
    lines: Mapping[str, Mapping[str, Any]], labels: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The answers for the files of `labels`, with these: they may have been others before."""
    return [{**line, "label": labels[file]} for file, line in lines.items() if file in labels]


def _hit(line: Mapping[str, Any], top: int) -> bool:
    return line.get("label") in line.get("top", ())[:top]


def _share(lines: Sequence[Mapping[str, Any]], top: int) -> float | None:
    """Per cent of the pictures whose class is among the `top` first; None without pictures."""
    return 100 * sum(_hit(line, top) for line in lines) / len(lines) if lines else None
