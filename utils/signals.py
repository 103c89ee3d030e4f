"""Signals that wait until it is safe to act on them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back; gives a function that acts on what has arrived, as does the end.

    A library in C that calls back into Python, such as HDF5, can swallow an exception that a signal raises there.
    """
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in STOPS}

    def let_through() -> None:
        if arrived:
            number = arrived.pop()
            signal.signal(number, before[number])
            signal.raise_signal(number)

    try:
        yield let_through
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    let_through()
