"""Ctrl-C that ends the work and keeps its results."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType


@contextmanager
def ctrl_c_stops() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C (or SIGTERM) makes the given function true; the second interrupts.

    A loop that asks the function after every frame then ends in order.
    """
    pressed = Event()
    if current_thread() is not main_thread():  # only the main thread may set handlers
        yield pressed.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
