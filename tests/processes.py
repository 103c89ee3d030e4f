"""Commands in processes of their own, which share the imports of a fork server."""

import atexit
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from torch.distributed import TCPStore

from tests.fork_server import STATUS, WHERE

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = dict(os.environ)
FORKS = sys.platform == "linux" and hasattr(os, "fork")  # as the fork server needs
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)


class Process:
    """A command that runs: an entry script, a module, or code after -c, as in ``Process("supv_main.py", "--gpu", 0)``.

    Used in a ``with`` statement, it is waited for at the end. If a test fails or takes too long, it is killed, and the
    failure shows what it said and where it was.

    Args:
        command: the program and its arguments.
        environment: of the process; ``OMP_NUM_THREADS`` has no effect there.
        set_up: called in the process before the command; can be pickled.
        errors: descriptor for its standard error, in place of a pipe that ``stderr`` reads.

    Attributes:
        pid: its process number, also that of its process group and session.
        stderr: its standard error, a file of text to read while it runs.
        returncode: as ``subprocess.Popen``'s, after ``wait``.
    """

    def __init__(
        self,
        *command: object,
        environment: dict[str, str] | None = None,
        set_up: Callable[[], object] | None = None,
        errors: int | None = None,
    ) -> None:
        request = {"command": [*map(str, command)], "environment": environment or ENVIRONMENT, "set_up": set_up}
        self.args = request["command"]
        self.returncode: int | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as below
        self._status, status = os.pipe()
        pipe, pipe_end = os.pipe()
        self.stderr = open(pipe, encoding="utf-8")  # noqa: SIM115 - closed at the end of the with statement
        descriptors = [_no_input(), self._output.fileno(), errors or pipe_end, status]
        server = _server()
        socket.send_fds(server, [pickle.dumps(request)], descriptors)
        self.pid = STATUS.unpack(server.recv(STATUS.size))[0]
        os.close(pipe_end)
        os.close(status)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, ``timeout`` seconds at most; gives the exit status, negative after a signal."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = os.waitstatus_to_exitcode(STATUS.unpack(os.read(self._status, STATUS.size))[0])
            os.close(self._status)
        return self.returncode

    def output(self) -> str:
        """Its standard output so far."""
        self._output.seek(0)
        return self._output.read().decode()

    def read_until(self, part: str) -> str:
        """Read its standard error up to the first line that has ``part``, or to the end; gives what was read."""
        said = ""
        for line in self.stderr:
            said += line
            if part in line:
                break
        return said

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.returncode is not None or bool(select.select([self._status], [], [], 0)[0])

    def send_signal(self, number: int) -> None:
        """Send it a signal if it still runs."""
        if not self.ended():
            with suppress(ProcessLookupError):  # its exit status is on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it if it still runs."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, *_: object) -> None:
        if error:
            self.send_signal(WHERE)
            time.sleep(1)
            self.kill()
            os.set_blocking(self.stderr.fileno(), False)  # a process that it has started may be there still
            error.add_note(f"{' '.join(self.args)} had said:\n{self.stderr.read()}")
        self.wait()
        self.stderr.close()
        self._output.close()


def finished(*command: object, **options: object) -> subprocess.CompletedProcess:
    """Run a command to its end; arguments as those of ``Process``."""
    if not FORKS:
        return started(*command)
    with Process(*command, **options) as process:
        said = process.stderr.read()
        return subprocess.CompletedProcess(process.args, process.wait(), process.output(), said)


def started(*command: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run a command to its end in a Python of its own."""
    program = command if str(command[0]).endswith((".py", "-c")) else ("-m", *command)
    arguments = [sys.executable, *map(str, program)]
    return subprocess.run(
        arguments, cwd=ROOT, env=environment or ENVIRONMENT, capture_output=True, text=True, encoding="utf-8"
    )


def finished_ranks(number: int, *command: object) -> subprocess.CompletedProcess:
    """Run a command to its end in ``number`` processes that train together; the output is that of all, in their order.

    They get the variables that ``torchrun`` would give them, and like its processes they meet at a store that exists
    before them; none waits for another one that has failed.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True},
        **{"TORCHELASTIC_RESTART_COUNT": 0, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number},
    }
    with ExitStack() as stack:
        ranks = []
        for rank in range(number):
            own = {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
            ranks.append(stack.enter_context(Process(*command, environment={**ENVIRONMENT, **own})))
        status, running = 0, {rank._status: rank for rank in ranks}
        while running and not status:
            for ended in select.select(list(running), [], [])[0]:
                status = running.pop(ended).wait() or status
        for rank in running.values():
            rank.kill()
        said = "".join(rank.stderr.read() for rank in ranks)
        return subprocess.CompletedProcess(command, status, "".join(rank.output() for rank in ranks), said)


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", "tests.fork_server"], cwd=ROOT, env=ENVIRONMENT, stdin=theirs)

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


@cache
def _no_input() -> int:
    return os.open(os.devnull, os.O_RDONLY)
