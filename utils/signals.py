"""Signals that stop a command."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP arrives if the terminal is closed; Windows has none.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def stop_signals() -> tuple[signal.Signals, ...]:
    """``STOP_SIGNALS``, but not a SIGHUP that ``nohup`` has disabled."""
    return tuple(
        number
        for number in STOP_SIGNALS
        if number.name != "SIGHUP" or signal.getsignal(number) not in (signal.SIG_IGN, None)
    )


@contextmanager
def handling_stop_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[dict[int, object]]:
    """Handle stop signals by ``handler``; gives the handlers from before by signal, which return at the end."""
    before = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


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
