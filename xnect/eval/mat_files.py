"""MATLAB files: variables, cells and struct fields, with one sentence for what is wrong."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from xnect.errors import BadInput, MissingExtra

_DAMAGED = (
    OSError, ValueError, TypeError, NotImplementedError, LookupError, EOFError, zlib.error
)  # fmt: skip
"""What scipy and h5py raise of files that are cut off or overwritten."""

HDF5_STARTS = (b"MATLAB 7.3", b"\x89HDF")


def read_mat(path: str | Path) -> dict[str, Any]:
    """Variable -> array, with MATLAB's dimensions, of a file of any version.

    Cells come as arrays of objects and structs as records (`field_of`).  Version 7.3 is HDF5: only
    its numeric arrays are read.

    Raises:
        BadInput: the file is missing or no MATLAB file.
        MissingExtra: it is version 7.3 and h5py is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(10)
        return _read_hdf5(path) if start.startswith(HDF5_STARTS) else _read(path)
    except _DAMAGED as error:
        if isinstance(error, (BadInput, MissingExtra)):
            raise
        reason = "there is no such file" if not path.exists() else f"{error}"
        raise BadInput(f"cannot read the MATLAB file {path}: {reason}") from error


def cells(variables: dict[str, Any], name: str, path: str | Path) -> np.ndarray:
    """(rows, columns) objects of the cell array `name`.

    Raises:
        BadInput: there is no such cell array.
    """
    value = variables.get(name)
    if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 2:
        known = ", ".join(sorted(variables)) or "none"
        raise BadInput(f"{path} has no cell array {name!r}; its variables: {known}")
    return value


def field_of(struct: Any, name: str, where: str, *, shape: tuple[int, ...] | None) -> np.ndarray:
    """The numbers in a field of a 1x1 struct, float64.

    Args:
        struct: as it lies in a cell.
        name: the field.
        where: file, frame and person, for the sentence.
        shape: that is expected; None takes any.

    Raises:
        BadInput: the field is missing, holds no numbers, or has another shape.
    """
    record = np.asarray(struct)
    names = record.dtype.names or ()
    if name not in names or record.size != 1:
        raise BadInput(f"{where}: no field {name!r}; it has {', '.join(names) or 'none'}")
    value = numbers_of(record[name].ravel()[0], f"{where}: {name}")
    if shape is not None and value.shape != shape:
        raise BadInput(f"{where}: {name} must be {shape}, got {value.shape}")
    return value


def numbers_of(value: Any, what: str) -> np.ndarray:
    """Real numbers, float64, of the same shape; texts, cells and structs are none.

    Raises:
        BadInput: it holds something else; `what` begins the sentence.
    """
    array = np.asarray(value)
    if array.dtype.kind == "O":  # a cell of single numbers
        with contextlib.suppress(ValueError, TypeError):
            array = array.astype(np.float64)
    if array.dtype.kind not in "fiub":
        kinds = {"U": "text", "S": "text", "V": "a struct", "O": "a cell or struct"}
        raise BadInput(f"{what} must be numbers, got {kinds.get(array.dtype.kind, array.dtype)}")
    return array.astype(np.float64)


def _read(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        variables = loadmat(path, chars_as_strings=True)
    except MatReadError as error:
        raise BadInput(f"cannot read the MATLAB file {path}: {error}") from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def _read_hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra(
            f"{path} is MATLAB 7.3 (HDF5), which needs h5py; `pip install h5py` installs it"
        ) from error
    with h5py.File(path, "r") as file:
        return {
            name: value[()].transpose()  # HDF5 has MATLAB's dimensions in reverse
            for name, value in file.items()
            if isinstance(value, h5py.Dataset) and value.dtype.kind in "fiub"
        }
