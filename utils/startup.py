"""The first moments of a process, before its imports, which take seconds. Import nothing here that takes time."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP arrives if the terminal is closed; Windows has none.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that stop a command: ``STOP_SIGNALS``, but not a SIGHUP that ``nohup`` has disabled."""
    return tuple(
        number
        for number in STOP_SIGNALS
        if number.name != "SIGHUP" or signal.getsignal(number) not in (signal.SIG_IGN, None)
    )


def open_closed_streams() -> None:
    """Connect closed standard streams to the null device.

    A file that is opened while descriptor 1 or 2 is closed would get its number, and then all output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends


def exit_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler for the time of the imports, in which an exception could be lost or become another one."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


@contextmanager
def handling_stop_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[dict[int, object]]:
    """Handle stop signals by ``handler``; gives the handlers from before by signal, which return at the end."""
    before = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
