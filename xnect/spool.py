"""An append-only file whose every finished record survives whatever happens to the process.

Layout: `MAGIC`, then records of <u4 text bytes, <u4 data bytes, <u4 CRC-32, JSON text, data.  The
first record describes the file.  A record that was cut off ends the file for the reader, so a
killed process costs at most the record that it was writing.  Nothing is synced to the disk: the
records survive the process, the power cut only as far as the system had written them.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from xnect.errors import BadInput, CannotWrite

MAGIC = b"xnect spool 1\n"
_HEAD = struct.Struct("<III")
_log = logging.getLogger(__name__)


class Spool:
    """The writing end, open from its creation until `close` or `remove`."""

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self._end = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _move_aside(path)
            self._file = open(path, "x+b", buffering=0)
            _lock(self._file)
        except CannotWrite:
            raise
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
        try:
            self._write(MAGIC + _record(description, b""))
        except BaseException:
            self.remove()  # nothing was promised yet
            raise

    def append(self, text: dict[str, Any], data: bytes) -> None:
        """Add one record; when this returns, the record outlives the process.

        Raises:
            CannotWrite: the disk is full; what was there before is still readable.
        """
        self._write(_record(text, data))

    def read(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """What was written so far, the description first."""
        self._file.seek(0)
        return records(self._file)

    def close(self) -> None:
        """Close the file and leave it where it is."""
        self._file.close()

    def remove(self) -> None:
        """Close the file and delete it, unless another run has put its own at the same place."""
        mine = os.fstat(self._file.fileno())
        self._file.close()
        try:
            if os.path.samestat(mine, os.stat(self.path)):
                self.path.unlink()
        except FileNotFoundError:
            pass  # somebody else did

    def _write(self, data: bytes) -> None:
        """All of `data` at the end of the file, or nothing of it."""
        rest = memoryview(data)
        try:
            self._file.seek(self._end)
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException as error:
            self._file.truncate(self._end)
            if isinstance(error, OSError):
                raise CannotWrite(
                    f"cannot write {self.path}: {error.strerror or error}; "
                    "what was recorded before is safe in it"
                ) from error
            raise
        self._end += len(data)


def is_spool(file: BinaryIO) -> bool:
    """Whether a file that is open at its start is a spool; leaves it at its start."""
    start = file.read(len(MAGIC))
    file.seek(0)
    return start == MAGIC


def records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The whole records of a spool, the description first; a record that was cut off ends it.

    Raises:
        BadInput: not even the description is there.
    """
    size = os.fstat(file.fileno()).st_size
    first = True
    whole = file.read(len(MAGIC)) == MAGIC
    while whole:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            break
        text_bytes, data_bytes, crc = _HEAD.unpack(head)
        if file.tell() + text_bytes + data_bytes > size:
            break
        text, data = file.read(text_bytes), file.read(data_bytes)
        if zlib.crc32(data, zlib.crc32(text)) != crc:
            break
        yield json.loads(text), data
        first = False
    if first:
        raise BadInput(f"{file.name} is not a recording of xnect, or was cut off at its start")


def _record(text: dict[str, Any], data: bytes) -> bytes:
    encoded = json.dumps(text).encode("ascii")
    return (
        _HEAD.pack(len(encoded), len(data), zlib.crc32(data, zlib.crc32(encoded))) + encoded + data
    )


def _lock(file: BinaryIO | FileIO) -> bool:
    """Keep the file from being moved aside while it is open; False if it is open elsewhere.

    Some network file systems cannot lock: there two runs are not told apart.
    """
    if sys.platform == "win32":  # which does not rename an open file anyway
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _move_aside(path: Path) -> None:
    """Rename what a killed process left at `path` to the first free `path`.1, .2, ...

    Raises:
        CannotWrite: it is being written now.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        if not _lock(file):
            raise CannotWrite(
                f"cannot write {path}: another run is writing there; give another folder or name"
            )
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    kept = path.rename(path.with_name(f"{path.name}.{number}"))
    _log.warning("an earlier run did not finish its recording; its frames are kept in %s", kept)
