"""The device and the arithmetic of a run."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from utils.distributed import Ranks
from utils.errors import InputError

log = logging.getLogger(__name__)


def choose_device(gpu: str, ranks: Ranks) -> torch.device:
    """The device that ``--gpu`` names: a CUDA device's number, or ``cpu``; without CUDA the CPU, as the log says.

    Raises:
        InputError: there is no such device.
    """
    if gpu == "cpu":
        return torch.device("cpu")
    if ranks.local is not None and torch.cuda.is_available():
        gpu = str(ranks.local)  # torchrun's number wins
    if not gpu.isdecimal():
        raise InputError(f"--gpu is {gpu!r}, expected the number of a CUDA device or cpu")
    if not torch.cuda.is_available():
        log.info("--gpu %s: no CUDA here, running on the CPU (%d threads)", gpu, torch.get_num_threads())
        return torch.device("cpu")
    if int(gpu) >= torch.cuda.device_count():
        raise InputError(f"--gpu is {gpu}, expected less than {torch.cuda.device_count()}, the number of CUDA devices")
    torch.cuda.set_device(int(gpu))  # what names no device, such as pinned memory, shall mean this one
    return torch.device("cuda", int(gpu))


# What CUDA, cuBLAS and PyTorch's allocators say when memory is short; not all of them raise a type of its own.
_SHORTAGES = ("out of memory", "ALLOC_FAILED", "can't allocate memory")


@contextmanager
def reported_shortage(device: torch.device, remedy: str) -> Iterator[None]:
    """Turn a lack of memory into an ``InputError`` that ends with what to do.

    Also the death of a process that reads features, which the system kills first, and of which PyTorch tells wherever
    the main process happens to be.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker" in str(error):
            raise InputError(
                f"a process that reads features died, maybe of too little memory: {str(error).splitlines()[0]} "
                "Try a smaller --num_workers; 0 reads in the main process"
            ) from error
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not any(
            said in str(error) for said in _SHORTAGES
        ):
            raise
        place = "the GPU's memory" if device.type == "cuda" else "the memory"
        raise InputError(f"{place} is too small: {remedy}") from error


def parameter_dtype(precision: str) -> torch.dtype:
    """What parameters and wide features are held as: float64 under ``fp64``, else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """bfloat16 autocast under ``bf16``, nothing otherwise."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def to_device(features: Tensor, device: torch.device, precision: str) -> Tensor:
    """Features on ``device`` in the parameters' dtype; they travel as they are on disk."""
    return features.to(device, non_blocking=True).to(parameter_dtype(precision))


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may multiply float32 matrices with TF32's shorter mantissa: in training, not in evaluation."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
