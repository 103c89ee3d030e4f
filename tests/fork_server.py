"""A process that has imported what the commands import, which takes seconds, and forks itself into each of them.

What a forked command does from its first line to its exit functions is what a started one does. Only its imports are
done, and at its end they are not finalized and the interpreter's objects are not freed one by one.
``tests.processes`` starts the server, with a socket as its standard input:

    python -m tests.fork_server
"""

import atexit
import faulthandler
import gc
import importlib
import os
import pickle
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any

PRELOADED = (  # no __main__, which is what runs
    *("engine.experiment", "tools.predict.video_page", "tools.report.page", "tools.compare.tables", "tools.arguments"),
    *("torch.utils.tensorboard", "matplotlib.backends.backend_agg", "jinja2", "av"),
)
STATUS = struct.Struct("i")  # how process numbers and exit statuses are sent
LARGEST_REQUEST = 1 << 17
WHERE = getattr(signal, "SIGUSR1", None)  # a process that gets it writes to its standard error where its threads are


def serve(client: socket.socket) -> dict[str, Any]:
    """Fork a process for each request. Gives its request in a forked process; does not return in the server itself.

    A request comes with descriptors for the command's standard streams and one to which its exit status is written, as
    ``os.waitpid`` gives it. The server ends with its client, and its processes end with it.
    """
    ended, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end the processes of theirs
    running: dict[int, int] = {}  # where the exit status of each process goes
    while True:
        ready, _, _ = select.select([client, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            while running and (found := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = found
                os.write(running[process], STATUS.pack(status))
                os.close(running.pop(process))
        if client in ready:
            message, descriptors, *_ = socket.recv_fds(client, LARGEST_REQUEST, 4)
            if not message:
                for process in running:
                    os.kill(process, signal.SIGKILL)
                os._exit(0)
            process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                client.detach()  # its number is that of the standard input, which has been replaced
                for descriptor in (ended, wakeup, *descriptors, *running.values()):
                    os.close(descriptor)
                return pickle.loads(message)
            *streams, running[process] = descriptors
            for descriptor in streams:
                os.close(descriptor)
            client.send(STATUS.pack(process))


def become(request: dict[str, Any]) -> None:
    """Make this forked process one that a shell would have started, whatever the dispositions of signals here."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    faulthandler.register(WHERE, file=2)
    sys.argv = request["command"]
    if request["set_up"]:
        request["set_up"]()


def run(program: str) -> int:
    """Run an entry script, a module, or code after -c; gives its exit status. What else ends it is raised."""
    try:
        if program == "-c":
            exec(sys.argv.pop(1), {"__name__": "__main__"})
        elif program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0
    return 0


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    with suppress(ImportError):  # few tests need it, and it takes as long as all others
        from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel  # noqa: F401
    # Where the home cannot be written, Matplotlib makes a folder that the first process to end would remove.
    atexit.unregister(shutil.rmtree)
    # Or torch would take back thousands of operators at the end of each process. There is no public list.
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    gc.collect()
    gc.freeze()  # or the collector of each process would touch, and so copy, all that is imported
    request = serve(socket.socket(fileno=0))
    become(request)
    status = run(sys.argv[0])
    # The end of an interpreter, as that of multiprocessing's forked processes, without what copies all pages once more.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream:
            with suppress(ValueError, OSError):  # closed by the command, or its reader is gone
                stream.flush()
    os._exit(status)
