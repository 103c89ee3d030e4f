"""The folder of a run: its log, metrics, resolved config, checkpoints and TensorBoard events."""

import csv
import io
import json
import logging
import os
import platform
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from filelock import FileLock, Timeout

from utils.atomic import SUFFIX, atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_file

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "h5py", "tqdm", "psutil", "tensorboard", "filelock")  # whose versions config.json records
BEST, LAST, METRICS, LOG, CONFIG = "best.pth.tar", "last.pth.tar", "metrics.csv", "train.log", "config.json"
LOCK = ".lock"


class RunFolder:
    """The files of a run. Open them with ``claim`` and ``start`` for a new run, or with ``resume``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last, self.metrics, self.config = path / BEST, path / LAST, path / METRICS, path / CONFIG
        self.lock = FileLock(path / LOCK, blocking=False)
        self.rows: list[dict] = []  # of metrics.csv
        self.tensorboard: Any = None
        self.log_file: logging.Handler | None = None

    def claim(self, overwrite: bool) -> None:
        """Make and lock the folder for a new run; one that it holds stays until ``start`` replaces it.

        Raises:
            InputError: the folder cannot be written, is in use, holds files of another program, or a run and not
                ``overwrite``.
        """
        held = self._held()
        if held and not overwrite:
            resume = f"resume it with --resume {quote(str(self.last))}, " if LAST in held else ""
            raise InputError(
                f"{self.path} already holds a run ({', '.join(held)}): {resume}name another folder with "
                "--snapshot_pref, or replace it with --overwrite"
            )
        if not (held or self._recorded()) and (others := [n for n in (CONFIG, LOG) if (self.path / n).is_file()]):
            raise InputError(
                f"{self.path} holds {' and '.join(others)} of another program: name another folder with --snapshot_pref"
            )
        with os_error_as_input_error(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._acquire_lock()

    def start(self, resolved: dict[str, Any]) -> None:
        """Start a new run in the folder that is claimed, in place of one that it holds.

        ``resolved``, hyperparameters and arguments, goes into ``config.json``.

        Raises:
            InputError: the folder cannot be written.
        """
        with os_error_as_input_error(self.path):
            self._remove_partial_files()
            held = self._held()
            if held or self._recorded():
                for events in self.path.glob("events.out.tfevents.*"):
                    events.unlink()
            for name in (*held, LOG):
                (self.path / name).unlink(missing_ok=True)
        self._write_config(resolved)
        self._open(first_epoch=1)

    def resume(self, resolved: dict[str, Any], first_epoch: int) -> None:
        """Resume a run at ``first_epoch``, the first unfinished one; metrics from there on are removed.

        ``resolved``, hyperparameters and arguments from now on, goes into ``config.json``.

        Raises:
            InputError: the folder cannot be written, is in use, or its ``metrics.csv`` was changed.
        """
        self._acquire_lock()
        with os_error_as_input_error(self.path):
            self._remove_partial_files()
            if self.metrics.exists():
                self.rows = self._read_metrics(first_epoch)
                if self.rows:
                    self._write_metrics()
                else:
                    self.metrics.unlink()
        self._write_config(resolved)
        self._open(first_epoch)

    def recorded_data_root(self) -> Path | None:
        """The data of the run, by ``config.json``; None if it names none, or they are no longer there. Logs which."""
        arguments = self._recorded().get("arguments")
        recorded = arguments.get("data_root") if isinstance(arguments, dict) else None
        if not isinstance(recorded, str):
            return None
        there = Path(recorded).is_dir()
        log.info("data of the run, by %s: %s%s", self.config, recorded, "" if there else ", which is no longer there")
        return Path(recorded) if there else None

    def record(self, row: dict[str, float | None]) -> None:
        """Add an epoch to ``metrics.csv`` and to TensorBoard; ``epoch`` comes first, None becomes an empty cell.

        Raises:
            InputError: a file cannot be written, or ``metrics.csv`` has other columns.
        """
        if self.rows and list(self.rows[0]) != list(row):
            raise InputError(
                f"{self.metrics}: was changed: its columns are {', '.join(self.rows[0])}, expected {', '.join(row)}"
            )
        self.rows.append(row)
        self._write_metrics()
        with os_error_as_input_error(self.path):
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    self.tensorboard.add_scalar(name, value, row["epoch"])
            self.tensorboard.flush()

    def close(self) -> None:
        """Close what is open. If the disk is full by now, an earlier write has already reported it.

        Of a folder that was claimed for a run that did not start, nothing stays.
        """
        if self.tensorboard:
            with suppress(OSError):
                self.tensorboard.close()
        if self.log_file:
            logging.getLogger().removeHandler(self.log_file)
            with suppress(OSError):
                self.log_file.close()
        if self.lock.is_locked and not self.config.exists():
            with suppress(OSError):
                Path(self.lock.lock_file).unlink()
                self.path.rmdir()
        self.lock.release()

    def _held(self) -> list[str]:
        """The files of a run that the folder holds."""
        return [name for name in (LAST, BEST, METRICS) if (self.path / name).exists()]

    def _acquire_lock(self) -> None:
        """Lock the folder until the run is closed or its process ends; the lock file names the process."""
        path, holder = Path(self.lock.lock_file), "another process"
        try:
            self.lock.acquire()
        except Timeout as error:
            with suppress(OSError):  # on Windows, nobody reads or writes a locked file
                holder = path.read_text(encoding="utf-8").strip() or holder
            raise InputError(
                f"{self.path} is in use by {holder}: wait until it ends, or name another folder with --snapshot_pref"
            ) from error
        except (NotImplementedError, OSError) as error:  # a network disk without locks
            log.warning("warning: %s cannot be locked (%s): start no second run in it", self.path, error)
            return
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")

    def _write_config(self, resolved: dict[str, Any]) -> None:
        versions = {name: version(name) for name in PACKAGES}
        versions |= {"python": platform.python_version(), "torch": torch.__version__}  # metadata may lack the build
        contents = {**resolved, "versions": versions, "threads": torch.get_num_threads()}
        with os_error_as_input_error(self.config), atomic_write(self.config) as temporary:
            temporary.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")

    def _remove_partial_files(self) -> None:
        for name in (BEST, LAST, METRICS, CONFIG):
            (self.path / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def _recorded(self) -> dict[str, Any]:
        """The contents of ``config.json``; empty if a run has written none."""
        try:
            contents = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return contents if isinstance(contents, dict) and {"setting", "versions"} <= contents.keys() else {}

    def _read_metrics(self, first_epoch: int) -> list[dict]:
        try:
            with open(self.metrics, newline="", encoding="utf-8") as file:
                file_rows = list(csv.DictReader(file, strict=True))
            rows = [row for row in file_rows if int(row["epoch"]) < first_epoch]
            if first_epoch > 1 and not file_rows:
                raise ValueError("it has no epochs")
            complete = all(None not in row and None not in row.values() for row in rows)
            if not complete or [int(row["epoch"]) for row in rows] != list(range(first_epoch - len(rows), first_epoch)):
                raise ValueError(f"the epochs up to {first_epoch - 1} are not all there")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(
                f"{self.metrics}: is damaged or was changed: {error}. Restore it, or move it away to resume without "
                "the metrics of earlier epochs"
            ) from error
        return rows

    def _write_metrics(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.rows[0])
        writer.writeheader()
        writer.writerows(self.rows)
        with os_error_as_input_error(self.metrics), atomic_write(self.metrics) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")

    def _open(self, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second, and evaluation does not need it

        threading.excepthook = _log_thread_failure
        with os_error_as_input_error(self.path):
            self.log_file = log_to_file(self.path / LOG)
            self.tensorboard = SummaryWriter(self.path, purge_step=first_epoch)


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log a failure of TensorBoard's writer thread; its cause, such as a full disk, also fails a write of the run."""
    log.debug("%s: %s", failure.thread.name if failure.thread else "thread", failure.exc_value)
