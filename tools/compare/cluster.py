"""Runs on a Slurm cluster: one job array, submitted through submitit.

No cluster was at hand: the tests submit to stand-ins for Slurm's commands, and run and preempt a job on one machine.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tools.compare.local import last_line, start
from tools.compare.plan import Run
from utils.errors import InputError
from utils.packages import require_packages

FOLDER = "slurm"  # in the folder of the comparison, for submitit's files
_MOST_TIMEOUTS = 100  # a run that takes longer than a job may resumes in another job so many times
_STOPPED = 128 + signal.SIGTERM  # the exit status of a run that SIGTERM has stopped


class RunJob:
    """The work of one job: a run of an entry script, which resumes if an earlier job has begun it."""

    def __call__(self, run: Run) -> None:
        """Run it to its end, or raise a ``RuntimeError`` if it fails."""
        status: int | None = _STOPPED
        while status == _STOPPED:  # Slurm may send SIGTERM to all processes of a job that it ends later, or not at all
            self.process = start(run, dict(os.environ))
            while (status := self.process.poll()) is None:  # wait() holds a lock that checkpoint() would wait for
                time.sleep(0.5)
        if status:
            raise RuntimeError(f"{run.name}: {last_line(run)}")

    def checkpoint(self, run: Run) -> Any:
        """Stop the run, which saves its state, and submit it again; submitit calls this before Slurm ends the job."""
        from submitit.helpers import DelayedSubmission

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            process.terminate()
            process.wait()
        return DelayedSubmission(RunJob(), run)


def submit(
    runs: Sequence[Run], out: Path, jobs: int | None, partition: str | None, gpus: int, cpus: int, hours: float
) -> str:
    """Submit a job array with a job per run, ``jobs`` at a time (None: as Slurm decides), and give its id.

    The folder of the comparison, ``out``, is on a disk that all nodes share; GPUs, CPUs and hours are those of a job.

    Raises:
        InputError: this is not a Slurm cluster, or it refuses the jobs.
    """
    require_packages("submitit")
    import submitit

    parameters = {
        "name": "magan-compare",
        "timeout_min": max(1, round(60 * hours)),
        "gpus_per_node": gpus or None,
        "cpus_per_task": cpus,
        "slurm_partition": partition,
        "slurm_array_parallelism": jobs or len(runs),
    }
    try:
        executor = submitit.AutoExecutor(out / FOLDER, cluster="slurm", slurm_max_num_timeout=_MOST_TIMEOUTS)
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        submitted = executor.map_array(RunJob(), runs)
    except (RuntimeError, submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise InputError(f"the jobs cannot be submitted: {error}") from error
    return str(submitted[0].job_id).partition("_")[0]
