"""`xnect features`: what a backbone sees in pictures, as arrays in one npz file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xnect.atomic import replacing
from xnect.demo.classify import prepared
from xnect.demo.pretrained_model import Opened
from xnect.errors import BadInput

TAPS = (0, 1, 2, 3, 4)
"""Feature maps that are written when none are named: strides 2 to 32."""


def extract(
    paths: Sequence[Path],
    opened: Opened,
    *,
    embed: bool,
    taps: Sequence[int] | None = None,
    upright: bool = True,
    batch: int = 16,
    on_problem: Callable[[str], None],
    on_done: Callable[[int], None] = lambda count: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, np.ndarray]:
    """Arrays of all N pictures that can be read; they are held in memory until the end.

    `files` (N,) str; with `embed` `embedding` (N, F) float32, the pooled features; otherwise
    `features_I` (N, C, h, w) float32 for each tap I, with `channels`, `strides` and `taps`.

    Args:
        paths: Pictures; one that cannot be read is told to `on_problem` and left out.
        opened: A backbone without classifier.
        embed: Pooled features in place of maps.
        taps: Numbers of the maps, finest first; None for the first five.
        upright: Turn pictures as their EXIF orientation says.
        batch: How many pictures at once.
        on_problem: Gets one sentence.
        on_done: Gets the number of pictures done since the last call.
        stop: Asked after every batch; what is done until then is given back.

    Raises:
        BadInput: Taps that do not exist, or no picture could be read.
    """
    import torch

    known = opened.model.taps
    indices = tuple(taps) if taps is not None else TAPS[: len(known)]
    wrong = [i for i in indices if not 0 <= i < len(known)]
    if wrong:
        raise BadInput(
            f"--taps must be from 0 to {len(known) - 1} for {opened.name}, got {wrong[0]}"
        )
    indices = tuple(sorted(set(indices)))
    parts: dict[str, list[np.ndarray]] = {}
    files: list[str] = []
    for done, pixels in prepared(paths, opened, upright=upright, batch=batch, tell=on_problem):
        if embed:
            outputs = {"embedding": opened.run(pixels)}
        else:
            with torch.inference_mode():
                maps = opened.model.forward_taps(pixels.to(opened.device), indices)
            outputs = {f"features_{i}": m for i, m in zip(indices, maps, strict=True)}
        for name, output in outputs.items():
            parts.setdefault(name, []).append(output.float().cpu().numpy())
        files += [str(path) for path in done]
        on_done(len(done))
        if stop():
            break
    if not files:
        raise BadInput("no picture could be read, so there are no features to write")
    about: dict[str, np.ndarray] = {
        "files": np.array(files), "model": np.array(opened.name),
        "weights": np.array(opened.weights),
    }  # fmt: skip
    if not embed:
        about["taps"] = np.array(indices)
        about["channels"] = np.array([known[i].channels for i in indices])
        about["strides"] = np.array([known[i].reduction for i in indices])
    return {**about, **{name: np.concatenate(arrays) for name, arrays in parts.items()}}


def write_features(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """One npz file, whole or not at all.

    Raises:
        CannotWrite: The folder cannot be written, or the disk is full.
    """
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes a name for allow_pickle
