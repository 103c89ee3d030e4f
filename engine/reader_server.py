"""Imported by the server that forks the processes which read features; see ``engine.feeds``."""

import gc
import os

os.setpgid(0, 0)  # a signal to the run's group is for the main process, which ends the readers
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy starts the others when it is imported, and this process must have none
import engine.feeds  # noqa: E402, F401 - once for all readers

gc.freeze()  # or the collectors of the readers would touch, and so copy, all that is imported
