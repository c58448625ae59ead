"""A report on disk: `report.md` for people, `report.json` for programs, sheets of pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xnect import __version__
from xnect.atomic import replacing

TILE_PX = 320
"""Height of a picture in a sheet."""

SHEET_PX = 1600
"""Widest line of pictures in a sheet."""

_CAPTION_PX = 22
_PAPER, _INK = (24, 27, 33), (232, 236, 242)


@dataclass(frozen=True)
class Report:
    """What a command of `python -m xnect.eval` found."""

    command: str
    title: str
    text: str  # Markdown
    figures: Mapping[str, Any]  # numbers, texts, lists and dicts of them
    sheets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # name, such as "worst" -> (H, W, 3) uint8 RGB


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One picture with what was found in it drawn in, and its score."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    caption: str


def write_report(folder: str | Path, report: Report) -> Path:
    """Write `report.md`, `report.json` and one JPEG for each sheet; returns the path of the first.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    lines = [f"# {report.title}", report.text]
    for name, sheet in report.sheets.items():
        with replacing(folder / f"{name}.jpg") as file:
            file.write(_jpeg(sheet))
        lines += [f"## {name.capitalize()}", f"![{name}]({name}.jpg)"]
    lines.append(f"xnect {__version__}, `python -m xnect.eval {report.command}`")
    with replacing(folder / "report.md") as file:
        file.write(("\n\n".join(lines) + "\n").encode())
    with replacing(folder / "report.json") as file:
        file.write(figures_json(report).encode())
    return folder / "report.md"


def figures_json(report: Report) -> str:
    """The figures as JSON; what is not defined (nan) is null."""
    figures = {"version": __version__, "command": report.command, **report.figures}
    return json.dumps(_plain(figures), indent=2, allow_nan=False) + "\n"


def pick(scores: Sequence[float], *, count: int, seed: int = 0) -> dict[str, list[int]]:
    """Numbers of the best, worst and of random other cases; nan is no score, and never picked.

    With fewer than 3 `count` cases, the best come first, then the worst.
    """
    order = [int(i) for i in np.argsort(scores, kind="stable") if math.isfinite(scores[i])]
    best = order[::-1][:count]
    worst = [i for i in order if i not in best][:count]
    rest = [i for i in order if i not in best and i not in worst]
    chosen = np.random.default_rng(seed).permutation(rest)[:count]
    return {"best": best, "worst": worst, "random": sorted(int(i) for i in chosen)}


def sheet(cases: Sequence[Case], *, width_px: int = SHEET_PX) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the pictures at one height, captions above them, as in lines of text."""
    lines: list[list[np.ndarray]] = []
    for tile in map(_tile, cases):
        if not lines or sum(t.shape[1] for t in lines[-1]) + tile.shape[1] > width_px:
            lines.append([])
        lines[-1].append(tile)
    rows = [np.hstack(line) for line in lines]
    full = max((row.shape[1] for row in rows), default=TILE_PX)
    return np.vstack([_wide(row, full) for row in rows] or [np.zeros((8, full, 3), np.uint8)])


def enlarged(image: np.ndarray, *, height_px: int = TILE_PX) -> tuple[np.ndarray, float]:
    """The picture at that height, and the factor; corner stays corner (pixel x -> (x + 0.5) f)."""
    factor = height_px / image.shape[0]
    size = (max(1, round(image.shape[1] * factor)), height_px)
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(image, size, interpolation=how), factor


def _tile(case: Case) -> np.ndarray:
    image, _ = enlarged(case.image)
    (text, _), _ = cv2.getTextSize(case.caption, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    image = _wide(image, max(image.shape[1], text + 8) + 4)  # 4 between neighbours
    strip = np.full((_CAPTION_PX, image.shape[1], 3), _PAPER, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, case.caption, (4, 16), font, 0.45, _INK, 1, cv2.LINE_AA)
    return np.vstack([strip, image])


def _wide(image: np.ndarray, width_px: int) -> np.ndarray:
    missing = width_px - image.shape[1]
    paper = np.full((image.shape[0], max(missing, 0), 3), _PAPER, np.uint8)
    return np.hstack([image, paper])


def _jpeg(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert ok
    return data.tobytes()


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and numpy numbers as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
