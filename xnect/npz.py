"""Every array of an `.npz` file, or one sentence about why there are none."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from xnect.errors import BadInput


def read_npz(path: Path, what: str) -> dict[str, np.ndarray]:
    """Name -> array; nothing in the file is executed.

    Args:
        path: of the file.
        what: it should be, for the error.

    Raises:
        BadInput: the file is missing or damaged; the field is named.
    """
    field = "its index"
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for field in file.files:
                arrays[field] = file[field]
    except FileNotFoundError as error:
        raise BadInput(f"cannot read {what} {path}: there is no such file") from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError, NotImplementedError,
            zlib.error, zipfile.BadZipFile) as error:  # fmt: skip
        raise BadInput(f"{what} {path} is damaged at {field}: {error}") from error
    return arrays
