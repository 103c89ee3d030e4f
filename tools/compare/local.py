"""Runs on this machine: several at a time, each in a process of its own."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from tools.compare.plan import Run
from utils.errors import os_error_as_input_error

log = logging.getLogger(__name__)

# Runs a command line in this process, to which Linux sends SIGTERM when its parent dies, even of SIGKILL. No
# ``preexec_fn`` does so, because that runs Python in a fork of this process, which has threads: it can wait for ever.
_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1  # from prctl.h
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""
_POLL_SECONDS = 0.2


def run_all(runs: Sequence[Run], jobs: int) -> Generator[tuple[Run, str | None]]:
    """Run all, ``jobs`` at a time, and yield each run that has ended with None, or with the last line of a failed one.

    Closing the iterator, or a signal, stops the runs that are in progress; they save their state.
    """
    waiting, slots = list(runs), list(range(jobs))
    running: dict[subprocess.Popen, tuple[Run, int]] = {}
    try:
        while waiting or running:
            while waiting and slots:
                run, slot = waiting.pop(0), slots.pop(0)
                flags = gpu_flags(run, slot, torch.accelerator.device_count())
                running[start(run, environment(jobs), flags)] = run, slot
            ended = [process for process in running if process.poll() is not None]
            for process in ended:
                run, slot = running.pop(process)
                slots.append(slot)
                yield run, last_line(run) if process.returncode else None
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        if running:
            log.info("stopping %d runs, which save their state", len(running))
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def start(run: Run, variables: dict[str, str], flags: Sequence[str] = ()) -> subprocess.Popen:
    """Start the process of a run. What it prints goes to ``seed-S.log`` beside its folder.

    The process does not get the terminal's Ctrl-C, which would stop it twice, and is stopped if this process dies.
    """
    with_parent = (sys.executable, "-c", _WITH_PARENT) if sys.platform.startswith("linux") else ()
    with os_error_as_input_error(log_of(run)):
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(log_of(run), "w", encoding="utf-8") as file:
            return subprocess.Popen(
                [*with_parent, sys.executable, *run.command, *flags],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )


def environment(jobs: int) -> dict[str, str]:
    """The variables of a run that has its share of the cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))}


def gpu_flags(run: Run, slot: int, gpus: int) -> tuple[str, ...]:
    """The GPU of a run in a slot if there are several, unless the user names one."""
    named = any(argument.partition("=")[0] == "--gpu" for argument in run.command)
    return ("--gpu", str(slot % gpus)) if gpus > 1 and not named else ()


def log_of(run: Run) -> Path:
    """The file that holds all that a run has printed."""
    return run.folder.with_name(f"{run.folder.name}.log")


def last_line(run: Run) -> str:
    """The last line that a run has printed."""
    lines = log_of(run).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
