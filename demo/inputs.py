"""Words of the command line -> files."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path

from xnect.errors import CannotOpenSource


def find_inputs(
    words: Sequence[str],
    wanted: Callable[[Path], bool],
    what: str,
    on_problem: Callable[[str], None],
) -> list[Path]:
    """Files, folders and patterns -> files, each once, in order.

    Args:
        words: what the user wrote.
        wanted: which of the files directly in a folder are taken.
        what: the name of one of them, for the error.
        on_problem: is told in a sentence of each pattern or folder that gives nothing.

    Raises:
        CannotOpenSource: nothing is left; the sentence is about the last word.
    """
    found: list[Path] = []
    missing: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if wanted(p))
            if not inside:
                missing.append(f"cannot use the folder {path}: there is no {what} in it")
            found += inside
        elif not path.exists() and glob.has_magic(word):
            matched = sorted(Path(p) for p in glob.glob(word, recursive=True))
            if not matched:
                missing.append(f"cannot find any file like {word}")
            found += matched
        else:
            found.append(path)
    last = [] if found else [missing.pop()]
    for sentence in missing:
        on_problem(sentence)
    if last:
        raise CannotOpenSource(last[0])
    return list(dict.fromkeys(found))
