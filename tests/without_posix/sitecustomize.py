"""Hides what Windows lacks from a Python process and its children, which import this first if its folder is given as
PYTHONPATH."""

import multiprocessing
import os
import signal
import sys
from multiprocessing import context

import psutil  # noqa: F401 - on Linux, it needs the module that is hidden below

for name in ("fork", "forkpty", "setpgid", "setsid", "getpgid", "killpg", "sched_getaffinity", "getuid", "geteuid"):
    delattr(os, name)
for name in ("pthread_sigmask", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "alarm"):
    delattr(signal, name)
for name in ("resource", "pwd", "grp"):
    sys.modules[name] = None  # importing it is an ImportError

for method in ("fork", "forkserver"):
    del context._concrete_contexts[method]
multiprocessing.get_all_start_methods = lambda: ["spawn"]
multiprocessing.set_start_method("spawn", force=True)
