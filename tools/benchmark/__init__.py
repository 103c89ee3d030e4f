"""Benchmark of this machine: the code behind ``python -m tools.benchmark``."""
