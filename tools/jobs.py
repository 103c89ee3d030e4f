"""Commands in processes of their own, here or on a Slurm cluster: one job array, submitted through submitit.

No cluster was at hand: the tests submit to stand-ins for Slurm's commands, and run and preempt a job on one machine.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from utils.errors import InputError, os_error_as_input_error
from utils.packages import require_packages

FOLDER = "slurm"  # in the folder of the work, for submitit's files
_MOST_TIMEOUTS = 100  # a run that takes longer than a job may resumes in another job so many times
_STOPPED = 128 + signal.SIGTERM  # the exit status of a run that SIGTERM has stopped


# Runs a command line in this process, to which Linux sends SIGTERM when its parent dies, even of SIGKILL. No
# ``preexec_fn`` does so, because that runs Python in a fork of this process, which has threads: it can wait for ever.
_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1  # from prctl.h
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Job(NamedTuple):
    """A command of Python that goes on where it was stopped, when it is run again; a ``Run`` has these fields, too."""

    name: str  # in messages
    command: Sequence[str]  # arguments of Python
    log: Path  # file for all that it prints


def start(job: Job, variables: dict[str, str], flags: Sequence[str] = ()) -> subprocess.Popen:
    """Start the process of a job. It does not get the terminal's Ctrl-C, and is stopped if this process dies."""
    with_parent = (sys.executable, "-c", _WITH_PARENT) if sys.platform.startswith("linux") else ()
    with os_error_as_input_error(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "w", encoding="utf-8") as file:
            return subprocess.Popen(
                [*with_parent, sys.executable, *job.command, *flags],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )


def last_line(job: Job) -> str:
    """The last line that a job has printed."""
    lines = job.log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


class RunJob:
    """What Slurm runs for a job; an earlier run that was stopped may have begun it."""

    def __call__(self, run: Job) -> None:
        """Run it to its end, or raise a ``RuntimeError`` if it fails."""
        status: int | None = _STOPPED
        while status == _STOPPED:  # Slurm may send SIGTERM to all processes of a job that it ends later, or not at all
            self.process = start(run, dict(os.environ))
            while (status := self.process.poll()) is None:  # wait() holds a lock that checkpoint() would wait for
                time.sleep(0.5)
        if status:
            raise RuntimeError(f"{run.name}: {last_line(run)}")

    def checkpoint(self, run: Job) -> Any:
        """Stop the run, which saves its state, and submit it again; submitit calls this before Slurm ends the job."""
        from submitit.helpers import DelayedSubmission

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            process.terminate()
            process.wait()
        return DelayedSubmission(RunJob(), run)


def submit(jobs: Sequence[Job], out: Path, at_once: int | None, args: argparse.Namespace) -> str:
    """Submit a job array, ``at_once`` jobs at a time (None: as Slurm decides), and give its id.

    ``out`` is on a disk that all nodes share; ``args`` are those of ``tools.arguments.cluster_options``.

    Raises:
        InputError: this is not a Slurm cluster, or it refuses the jobs or what they are to get.
    """
    require_packages("submitit")
    import submitit

    if args.gpus < 0 or not args.hours > 0:
        raise InputError("--gpus is below 0, or --hours is not above 0")

    parameters = {
        "name": f"magan-{out.name}",
        "timeout_min": max(1, round(60 * args.hours)),
        "gpus_per_node": args.gpus or None,
        "cpus_per_task": args.cpus,
        "slurm_partition": args.partition,
        "slurm_array_parallelism": at_once or len(jobs),
    }
    try:
        executor = submitit.AutoExecutor(out / FOLDER, cluster="slurm", slurm_max_num_timeout=_MOST_TIMEOUTS)
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        submitted = executor.map_array(RunJob(), jobs)
    except (RuntimeError, submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise InputError(f"the jobs cannot be submitted: {error}") from error
    return str(submitted[0].job_id).partition("_")[0]
