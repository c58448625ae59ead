"""What a spool took, it gives back, whatever happened in between."""

from __future__ import annotations

import errno

import pytest

from xnect.errors import CannotWrite
from xnect.spool import Spool, records


class FullAfter:
    """A file whose disk has room for so many more bytes."""

    def __init__(self, file, room):
        self._file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "a.spool", {"about": "tests"})
    yield spool
    spool.close()


def read(path):
    with path.open("rb") as file:
        return list(records(file))


def test_records_come_back_in_order(spool):
    spool.append({"n": 1}, b"one")
    spool.append({"n": 2, "text": "späte \ud800"}, b"")
    want = [({"about": "tests"}, b""), ({"n": 1}, b"one"), ({"n": 2, "text": "späte \ud800"}, b"")]
    assert list(spool.read()) == read(spool.path) == want


def test_a_record_that_did_not_fit_leaves_no_trace_and_the_next_one_may(spool):
    spool.append({"n": 1}, b"one")
    before = spool.path.read_bytes()
    spool._file = FullAfter(spool._file, room=5000)
    with pytest.raises(CannotWrite, match="No space left"):
        spool.append({"n": 2}, b"x" * 9000)
    assert spool.path.read_bytes() == before
    spool._file.room = 10**6
    spool.append({"n": 3}, b"three")
    assert read(spool.path)[1:] == [({"n": 1}, b"one"), ({"n": 3}, b"three")]


def test_a_damaged_record_ends_the_file(spool):
    for n in range(4):
        spool.append({"n": n}, b"data" * 10)
    damaged = bytearray(spool.path.read_bytes())
    damaged[len(damaged) * 3 // 4] ^= 1
    spool.path.write_bytes(damaged)
    got = read(spool.path)[1:]
    assert 0 < len(got) < 4
    assert got == [({"n": n}, b"data" * 10) for n in range(len(got))]


def test_a_run_that_ends_leaves_the_spool_of_another_at_its_place_alone(tmp_path):
    first = Spool(tmp_path / "a.spool", {"run": 1})
    (tmp_path / "a.spool").rename(tmp_path / "elsewhere")
    second = Spool(tmp_path / "a.spool", {"run": 2})
    first.remove()
    second.append({"n": 1}, b"one")
    second.close()
    assert read(tmp_path / "a.spool") == [({"run": 2}, b""), ({"n": 1}, b"one")]
    second = Spool(tmp_path / "b.spool", {"run": 2})
    second.remove()
    assert not (tmp_path / "b.spool").exists()
