"""Signals that wait until it is safe to act on them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils.startup import handling_stop_signals


@contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Defer stop signals until the end; yields a function that delivers a signal that has arrived at once.

    A C library that calls back into Python, such as HDF5, can swallow an exception that a signal handler raises there.
    """
    arrived: list[int] = []
    with handling_stop_signals(lambda number, _: arrived.append(number)) as before:

        def deliver() -> None:
            if arrived:
                number = arrived.pop()
                signal.signal(number, before[number])
                signal.raise_signal(number)

        yield deliver
    deliver()
