"""Pictures that show nobody: how often somebody is found all the same.

Labelled sets hold people in every picture, so that their figures hardly tell of false alarms; users
have empty rooms and streets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnect.errors import BadInput
from xnect.eval.picture_folders import read_picture
from xnect.eval.predictions import People2d, Predict, people2d
from xnect.eval.tables import rows_of_table

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SURE = (0.25, 0.35, 0.45)
"""`person_score` from which people are counted; single pictures give out those of 0.35."""


@dataclass(frozen=True)
class EmptyReport:
    """False alarms, by how sure they are."""

    pictures: int
    with_somebody: dict[str, float]  # score -> share of the pictures in which somebody has it
    per_picture: dict[str, float]  # score -> people in a picture, mean

    def table(self) -> str:
        """A row for each score: share of the pictures in which somebody has it, and how many."""
        rows = [
            [f"{score} or more", f"{100 * share:.1f}", f"{self.per_picture[score]:.3f}"]
            for score, share in self.with_somebody.items()
        ]
        head = ["person score", f"% of {self.pictures} pictures", "people per picture"]
        return rows_of_table(head, rows)


def listed(folder: Path, only: Path | None = None) -> list[Path]:
    """The pictures of a folder, by name; or those that a text file names, one in each line.

    Raises:
        BadInput: there are none, one that is named is not there, or the list cannot be read.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder} of pictures that show nobody")
    if only is None:
        pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    else:
        try:
            lines = only.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read the list of pictures {only}: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
        pictures = [folder / name for name in names]
        missing = [p.name for p in pictures if not p.is_file()]
        if missing:
            raise BadInput(
                f"{folder} lacks {len(missing)} of the {len(names)} pictures of {only}, "
                f"such as {missing[0]}"
            )
    if not pictures:
        raise BadInput(f"{only or folder} holds no pictures ({', '.join(SUFFIXES)})")
    return pictures


def find_in_all(predict: Predict, pictures: Iterable[Path]) -> dict[Path, People2d]:
    """Who is found in each.

    Raises:
        CannotOpenSource: one cannot be decoded.
    """
    return {path: people2d(predict(read_picture(path))) for path in pictures}


def score_empty(found: Mapping[Path, People2d]) -> EmptyReport:
    """The figures of what was found in pictures that show nobody."""
    scores = [people.person_score for people in found.values()]
    counts = {f"{sure:g}": np.array([(s >= sure).sum() for s in scores]) for sure in SURE}
    return EmptyReport(
        pictures=len(scores),
        with_somebody={name: float((count > 0).mean()) for name, count in counts.items()},
        per_picture={name: float(count.mean()) for name, count in counts.items()},
    )
