"""How a command ends: one sentence and exit 2 on bad input, 130, 143 or 129 on SIGINT, SIGTERM or SIGHUP."""

import gc
import io
import signal
import sys
from collections.abc import Callable
from types import FrameType

from utils.errors import InputError
from utils.signals import stop_signals


def run_command(main: Callable[[], None]) -> None:
    """Run ``main`` and exit with the status of its outcome."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    gc.freeze()  # what is imported lives to the end, where going through it took 0.4 s
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names of files that are not UTF-8
    for number in stop_signals():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else terminate)
    try:
        main()
    except InputError as error:
        sys.exit(_fail(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted", 128 + signal.SIGINT))
    except BrokenPipeError:  # the reader of the output has closed it
        sys.stdout = None  # or Python complains when it flushes it
        sys.exit(0)
    except OSError as error:  # nothing closer to the cause has named the file and the reason
        sys.exit(_fail(f"error: {error}", 2))
    except MemoryError as error:
        sys.exit(_fail(f"error: the memory is too small for this: {error}", 2))


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
