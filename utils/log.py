"""The project's log: lines on standard error above any progress bar, and in the log file of a run."""

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from tqdm import tqdm

# Lines logged before the file of a run is open; the file begins with them.
_early_lines = MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize)


class TerminalHandler(logging.Handler):
    """Writes log lines to standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except OSError:  # a closed pipe or terminal must not end a run
            self.handleError(record)


def log_to_terminal(is_main: bool = True) -> None:
    """Send the project's log to standard error; only warnings of processes other than the main one."""
    logging.raiseExceptions = False  # a full disk is reported by the write that needs it, not by each log line
    handler = TerminalHandler(logging.INFO if is_main else logging.WARNING)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler, _early_lines])
    for package in ("utils", "dataset", "model", "engine", "tools"):
        logging.getLogger(package).setLevel(logging.DEBUG)


def log_to_file(path: Path) -> logging.FileHandler:
    """Also write the log to a file, with times, the lines logged so far included; gives the handler to remove later."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.removeHandler(_early_lines)
    _early_lines.setTarget(handler)
    _early_lines.close()
    return handler
