"""How a command of this project ends: one sentence and exit 2 on bad input, 130 or 143 on a signal."""

import signal
import sys
from collections.abc import Callable

from utils.errors import InputError


def run_command(main: Callable[[], None]) -> None:
    """Run ``main`` and exit as its outcome says."""

    def terminate(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        main()
    except InputError as error:
        sys.exit(_fail(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted", 128 + signal.SIGINT))
    except BrokenPipeError:  # whoever read the output has what they wanted
        sys.stdout = None  # or Python complains on flushing it
        sys.exit(0)
    except OSError as error:  # the system's reason, and the file, where nobody who knew more has said so
        sys.exit(_fail(f"error: {error}", 2))
    except MemoryError as error:
        sys.exit(_fail(f"error: the memory is too small for this: {error}", 2))


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
