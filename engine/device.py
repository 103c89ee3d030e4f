"""The device of a run."""

import logging

import torch

from engine.distributed import Ranks
from utils.errors import InputError

log = logging.getLogger(__name__)


def choose_device(gpu: str, ranks: Ranks) -> torch.device:
    """The device named by ``--gpu``: the number of a CUDA device, or ``cpu``. Falls back to the CPU without CUDA.

    Under ``torchrun`` the local rank takes the place of the number.

    Raises:
        InputError: there is no such device.
    """
    if gpu == "cpu":
        return torch.device("cpu")
    if ranks.local_rank is not None and torch.cuda.is_available():
        gpu = str(ranks.local_rank)
    if not gpu.isdecimal():
        raise InputError(f"--gpu is {gpu!r}, expected the number of a CUDA device or cpu")
    if not torch.cuda.is_available():
        log.info("--gpu %s: no CUDA here, running on the CPU (%d threads)", gpu, torch.get_num_threads())
        return torch.device("cpu")
    if int(gpu) >= torch.cuda.device_count():
        raise InputError(f"--gpu is {gpu}, expected less than {torch.cuda.device_count()}, the number of CUDA devices")
    torch.cuda.set_device(int(gpu))  # the default of everything that names no device, such as pinned memory
    return torch.device("cuda", int(gpu))
