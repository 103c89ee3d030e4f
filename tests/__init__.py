"""Tests of the properties that the README and the docs promise, in folders that mirror the code."""

import os

# The suite means the CPU; make check-gpu, which sets CHECK_GPU, means a GPU. Small networks gain nothing from a second
# thread, and with one they do not wait for the cores that other tests use. Set here, before anything imports torch.
if "CHECK_GPU" not in os.environ:
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
