"""The latest frame of a live source."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from threading import Event, Thread

from xnect.types import Frame

POLL_S = 0.1


def newest(
    frames: Iterable[Frame], stop: Callable[[], bool] = lambda: False
) -> Generator[Frame, None, None]:
    """Yield the latest frame of a live source; frames that come meanwhile are dropped.

    A thread reads `frames` into a box of one; when the box is full the older frame is thrown away,
    so the delay never grows.  What the source raises is raised here.  `stop` is asked while
    waiting, so that a camera that hangs does not hold up the end.
    """
    box: queue.Queue[Frame | Exception | None] = queue.Queue(maxsize=1)
    closed = Event()

    def capture() -> None:
        end: Exception | None = None
        try:
            for frame in frames:
                if closed.is_set():
                    return
                with suppress(queue.Empty):
                    box.get_nowait()  # a frame that the caller has not come for
                box.put(frame)
        except Exception as error:  # raised again below, in the caller's thread
            end = error
        while not closed.is_set():
            with suppress(queue.Full):
                box.put(end, timeout=POLL_S)  # after the last frame has been taken
                return

    reader = Thread(target=capture, name="newest", daemon=True)
    reader.start()
    try:
        while not stop():
            with suppress(queue.Empty):
                item = box.get(timeout=POLL_S)
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
    finally:
        closed.set()
        reader.join(timeout=2.0)
