"""What a training says of itself: JSON lines, a bar on a terminal, TensorBoard if asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xnect.errors import CannotWrite, MissingExtra

REPORT_S = 30.0
"""Between two lines of the log."""


def remaining_s(progress: float, begun_at: float, spent_s: float) -> float | None:
    """Seconds to the end at the speed of this part; None before that can be said.

    Args:
        progress: share of the whole schedule that is done, 0..1.
        begun_at: that share when this part began.
        spent_s: seconds since then.
    """
    done = progress - begun_at
    return spent_s * (1 - progress) / done if done > 1e-9 else None


class Progress:
    """Writes `log.jsonl` in a folder, and tells a person who watches.

    Losses are shown as moving averages.  A log that cannot be written (a full disk) is no reason to
    stop training.
    """

    def __init__(self, out: Path, *, tensorboard: bool = False) -> None:
        """Open the log; what is in it stays.

        Raises:
            MissingExtra: TensorBoard is wanted and not installed.
            CannotWrite: the folder cannot be written.
        """
        self._board = _board(out) if tensorboard else None
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._log = (out / "log.jsonl").open("a", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(f"cannot write {out / 'log.jsonl'}: {error.strerror}") from error
        self._bar = tqdm(
            total=1.0,
            disable=None,  # of no use in a file
            bar_format="{percentage:5.1f} % |{bar}| {desc}",
            dynamic_ncols=True,
        )
        self._means: dict[str, float] = {}
        self._begun_at: float | None = None
        self._start = self._reported = time.monotonic()
        self._images_at_start = self._recent_images = 0

    def step(
        self, progress: float, step: int, images: int, used_s: float, losses: dict[str, float]
    ) -> None:
        """After one step of the optimizer; `images` and `step` count from the very start."""
        now = time.monotonic()
        if self._begun_at is None:
            self._begun_at, self._start, self._reported = progress, now, now
            self._images_at_start = self._recent_images = images
        for name, value in losses.items():
            self._means[name] = 0.98 * self._means.get(name, value) + 0.02 * value
        spent = now - self._start
        left = remaining_s(progress, self._begun_at, spent)
        rate = (images - self._images_at_start) / spent if spent > 0 else 0.0
        if not self._bar.disable:
            self._bar.n = min(progress, 1.0)
            text = f"step {step}  {rate:.0f} images/s  {_clock(left)} left"
            self._bar.set_description_str(f"{text}  loss {sum(self._means.values()):.3f}")
        if now - self._reported > REPORT_S:
            recent = (images - self._recent_images) / (now - self._reported)
            self._reported, self._recent_images = now, images
            self.line(
                step=step,
                images=images,
                used_s=round(used_s),
                images_per_s=round(recent, 1),
                remaining_s=None if left is None else round(left),
                **self._means,
            )
            if self._board is not None:
                for name, value in {**self._means, "images_per_s": recent}.items():
                    self._board.add_scalar(f"train/{name}", value, step)

    def figures(self, step: int, images: int, figures: dict[str, float]) -> None:
        """What a validation found."""
        self.line(step=step, images=images, **figures)
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"validation/{name}", value, step)

    def line(self, **fields: Any) -> None:
        """One line of the log."""
        try:
            self._log.write(json.dumps(fields) + "\n")
            self._log.flush()
        except OSError as error:
            tqdm.write(f"cannot write {self._log.name}: {error.strerror or error}")

    def close(self) -> None:
        """End the bar and the files."""
        self._bar.close()
        if self._board is not None:
            self._board.close()
        try:
            self._log.close()
        except OSError:  # a full disk; the lines were flushed one by one
            return


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"


def _board(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra(
            "--tensorboard needs the package tensorboard; `pip install tensorboard` installs it"
        ) from error
    return SummaryWriter(str(out / "tensorboard"))
