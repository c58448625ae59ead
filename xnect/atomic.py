"""Files that are there whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from xnect.errors import CannotWrite


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """An open binary file that becomes `path` when the block ends without an exception.

    Folders on the way are made.  After an exception the old file, if there was one, is untouched.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            yield file
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and not isinstance(error, CannotWrite):
            raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
        raise
