"""The newest frame of a live source."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, active_count

import numpy as np
import pytest

from xnect.demo.newest import newest
from xnect.types import Frame

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Source:
    """A camera in the hand of the test: it gives `count` frames each time it is told to."""

    def __init__(self) -> None:
        self.go, self.gave = Event(), Event()
        self.count, self.index, self.end = 0, 0, False
        self.error: Exception | None = None
        self.closed = False

    def give(self, count: int) -> None:
        self.count = count
        self.gave.clear()
        self.go.set()
        assert self.gave.wait(20)

    def finish(self, error: Exception | None = None) -> None:
        self.end, self.error = True, error
        self.go.set()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            assert self.go.wait(20)
            self.go.clear()
            if self.error:
                raise self.error
            if self.end:
                return
            for _ in range(self.count):
                yield Frame(self.index, float(self.index), IMAGE)
                self.index += 1
            self.gave.set()


def test_a_slow_reader_gets_the_newest_and_a_fast_one_gets_all() -> None:
    source = Source()
    frames = newest(source)
    waiting = Event()

    def first() -> Frame:
        # the reading thread starts with the first `next`
        from threading import Thread

        Thread(target=lambda: (waiting.wait(20), source.give(1)), daemon=True).start()
        waiting.set()
        return next(frames)

    assert first().index == 0
    source.give(5)  # nobody reads meanwhile
    assert next(frames).index == 5
    for index in range(6, 10):
        source.give(1)
        assert next(frames).index == index
    source.finish()
    assert list(frames) == []


def test_the_last_frame_is_delivered_before_the_end() -> None:
    for count in range(1, 4):
        frames = (Frame(i, 0.0, IMAGE) for i in range(count))
        assert [frame.index for frame in newest(frames)][-1] == count - 1


def test_nothing_comes_from_a_source_that_is_empty() -> None:
    assert list(newest([])) == []


def test_the_error_of_the_source_is_raised_in_the_reader() -> None:
    def unplugged() -> Iterator[Frame]:
        yield Frame(0, 0.0, IMAGE)
        raise RuntimeError("unplugged")

    frames = newest(unplugged())
    with pytest.raises(RuntimeError, match="unplugged"):
        list(frames)


def test_a_source_that_hangs_does_not_hold_up_the_end() -> None:
    hang, stop = Event(), Event()

    def hanging() -> Iterator[Frame]:
        yield Frame(0, 0.0, IMAGE)
        stop.set()
        hang.wait(20)

    assert [frame.index for frame in newest(hanging(), stop.is_set)] in ([], [0])
    hang.set()


def test_closing_ends_the_thread() -> None:
    before = active_count()
    frames = newest(Frame(i, 0.0, IMAGE) for i in iter(int, 1))  # endless
    next(frames)
    frames.close()
    assert active_count() <= before
