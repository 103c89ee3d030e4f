"""The folder of a run: its log, its metrics, what it was run with, and its checkpoints."""

import csv
import io
import json
import logging
import platform
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from logging.handlers import MemoryHandler
from pathlib import Path

import torch
from tqdm import tqdm

from utils.atomic import SUFFIX, atomic_write, reported_failure
from utils.errors import InputError
from utils.signals import held_signals

log = logging.getLogger(__name__)

PACKAGES = ("torch", "numpy", "h5py", "tqdm", "psutil", "tensorboard")  # whose versions are recorded
BEST, LAST, METRICS, LOG, CONFIG = "best.pth.tar", "last.pth.tar", "metrics.csv", "train.log", "config.json"


class TerminalHandler(logging.Handler):
    """Log lines on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except OSError:  # a closed pipe or terminal is no reason for a run to end
            self.handleError(record)


# What is said before a run's folder is open, for its log.
_early = MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize)


def log_to_terminal(main: bool = True) -> None:
    """Send the project's log to standard error; of processes other than the ``main`` one, only warnings."""
    logging.raiseExceptions = False  # a full disk is reported by what needs the file, not by each line of the log
    handler = TerminalHandler(logging.INFO if main else logging.WARNING)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler, _early])
    for package in ("utils", "dataset", "tools"):
        logging.getLogger(package).setLevel(logging.DEBUG)


def _note_failed_thread(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread: what fails there, such as a full disk, also fails in what is written after it."""
    log.debug("%s: %s", failed.thread.name if failed.thread else "thread", failed.exc_value)


class RunFolder:
    """A run's files. Open it with ``start`` for a new run or with ``go_on`` for one that is continued."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last, self.metrics, self.config = path / BEST, path / LAST, path / METRICS, path / CONFIG
        self.rows: list[dict] = []  # of metrics.csv

    def start(self, resolved: dict, overwrite: bool) -> None:
        """Begin a run.

        Args:
            resolved: what it is run with, for ``config.json``.
            overwrite: whether a run that the folder holds may be removed.

        Raises:
            InputError: the folder cannot be written, or holds a run that is not to be overwritten.
        """
        held = [name for name in (LAST, BEST, METRICS) if (self.path / name).exists()]
        if held and not overwrite:
            go_on = f"continue it with --resume {self.last}, " if LAST in held else ""
            raise InputError(
                f"{self.path} already holds a run ({', '.join(held)}): {go_on}name another folder with "
                "--snapshot_pref, or replace it with --overwrite"
            )
        ours = bool(held) or self._is_ours()
        if not ours and (others := [n for n in (CONFIG, LOG) if (self.path / n).is_file()]):
            raise InputError(
                f"{self.path} holds {' and '.join(others)} of something else: name another folder with --snapshot_pref"
            )
        with reported_failure(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._remove_stale()
            if ours:
                for events in self.path.glob("events.out.tfevents.*"):
                    events.unlink()
            for name in (*held, LOG):
                (self.path / name).unlink(missing_ok=True)
        self._write_config(resolved)
        self._open(first_epoch=1)

    def go_on(self, resolved: dict, first_epoch: int) -> None:
        """Continue a run at ``first_epoch``; what was recorded from there on is cut off, for it comes again.

        Args:
            resolved: what it is run with from now on, for ``config.json``.
            first_epoch: the first one that is not whole.

        Raises:
            InputError: the folder cannot be written, or its ``metrics.csv`` is not what this program wrote.
        """
        with reported_failure(self.path):
            self._remove_stale()
            if self.metrics.exists():
                self.rows = self._read_metrics(first_epoch)
                if self.rows:
                    self._write_metrics()
                else:
                    self.metrics.unlink()
        self._write_config(resolved)
        self._open(first_epoch)

    def record(self, row: dict[str, float]) -> None:
        """Add an epoch to ``metrics.csv`` and to TensorBoard; ``epoch`` comes first, None is left empty.

        Raises:
            InputError: they cannot be written, or ``metrics.csv`` has other columns.
        """
        if self.rows and self.rows[0].keys() != row.keys():
            raise InputError(
                f"{self.metrics}: was changed: its columns are {', '.join(self.rows[0])}, expected {', '.join(row)}"
            )
        self.rows.append(row)
        self._write_metrics()
        with reported_failure(self.path):
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    self.tensorboard.add_scalar(name, value, row["epoch"])
            self.tensorboard.flush()

    def close(self) -> None:
        """Flush the files. A disk that is full by now was reported by what the run cannot do without."""
        with suppress(OSError):
            self.tensorboard.close()
        logging.getLogger().removeHandler(self.log_file)
        with suppress(OSError):
            self.log_file.close()

    def _write_config(self, resolved: dict) -> None:
        versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
        contents = {**resolved, "versions": versions, "threads": torch.get_num_threads()}
        with reported_failure(self.config), atomic_write(self.config) as temporary:
            temporary.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")

    def _remove_stale(self) -> None:
        """Remove what a run that was killed had not finished writing."""
        for name in (BEST, LAST, METRICS, CONFIG):
            (self.path / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """Whether ``config.json`` is one that a run has written."""
        try:
            contents = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(contents, dict) and "setting" in contents and "versions" in contents

    def _read_metrics(self, first_epoch: int) -> list[dict]:
        try:
            with open(self.metrics, newline="", encoding="utf-8") as file:
                file_rows = list(csv.DictReader(file, strict=True))
            rows = [row for row in file_rows if int(row["epoch"]) < first_epoch]
            if first_epoch > 1 and not file_rows:
                raise ValueError("it has no epochs")
            whole = all(None not in row and None not in row.values() for row in rows)  # no cell too many or too few
            if not whole or [int(row["epoch"]) for row in rows] != list(range(first_epoch - len(rows), first_epoch)):
                raise ValueError(f"the epochs up to {first_epoch - 1} are not all there")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(
                f"{self.metrics}: is damaged or was changed: {error}. Put the right one back, or move it away to go on "
                "without the figures of earlier epochs"
            ) from error
        return rows

    def _write_metrics(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.rows[0])
        writer.writeheader()
        writer.writerows(self.rows)
        with reported_failure(self.metrics), atomic_write(self.metrics) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")

    def _open(self, first_epoch: int) -> None:
        with held_signals():  # a signal in the middle of an import can be lost
            from torch.utils.tensorboard import SummaryWriter  # takes a second, and evaluation does not need it

        threading.excepthook = _note_failed_thread
        with reported_failure(self.path):
            self.log_file = logging.FileHandler(self.path / LOG, encoding="utf-8")
            self.log_file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            logging.getLogger().addHandler(self.log_file)
            logging.getLogger().removeHandler(_early)
            _early.setTarget(self.log_file)
            _early.close()
            self.tensorboard = SummaryWriter(self.path, purge_step=first_epoch)
