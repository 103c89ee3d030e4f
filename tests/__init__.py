"""Tests of the properties that the README and the docs promise, in folders that mirror the code."""

import os

# The suite means the CPU; tools.check_gpu is for GPUs. Small networks gain nothing from a second thread, and with one
# they do not wait for the cores that other tests use. Set here, before anything imports torch.
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
