"""Memory: which devices have their own, how glibc treats freed tensors, and what to say when there is too little."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from utils.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from glibc's malloc.h
# Messages of CUDA, cuBLAS and PyTorch's allocators when memory runs out; not all of them have an exception type.
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later tensors; does nothing with another C library.

    By default glibc returns every large block to the system, which clears its pages again for the next tensor. On a CPU
    this took half of the time of a training step. The process keeps its peak memory until it ends.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


@cache
def has_own_memory(device: torch.device) -> bool:
    """Whether ``device`` has memory of its own, so that it copies from page-locked memory; MPS shares the CPU's."""
    return hasattr(getattr(torch, device.type, None), "mem_get_info")


@contextmanager
def out_of_memory_as_error(device: torch.device, remedy: str) -> Iterator[None]:
    """Turn a lack of memory into an ``InputError`` that ends with ``remedy``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_shortage = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not is_shortage and not any(text in str(error) for text in _OUT_OF_MEMORY):
            raise
        place = "the memory" if device.type == "cpu" else "the GPU's memory"
        raise InputError(f"{place} is too small: {remedy}") from error
