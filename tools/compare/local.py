"""Runs on this machine: several at a time, each in a process of its own."""

import logging
import os
import subprocess
import time
from collections.abc import Generator, Sequence

import torch

from tools.compare.plan import Run
from tools.jobs import last_line, start

log = logging.getLogger(__name__)

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


def environment(jobs: int) -> dict[str, str]:
    """The variables of a run that has its share of the cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))}


def gpu_flags(run: Run, slot: int, gpus: int) -> tuple[str, ...]:
    """The GPU of a run in a slot if there are several, unless the user names one."""
    named = any(argument.partition("=")[0] == "--gpu" for argument in run.command)
    return ("--gpu", str(slot % gpus)) if gpus > 1 and not named else ()
