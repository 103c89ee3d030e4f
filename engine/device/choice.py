"""The device of a run."""

import logging
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from configs import SCRIPTS
from engine.device.distributed import Ranks
from utils.errors import InputError

log = logging.getLogger(__name__)


def choose_device(gpu: str, ranks: Ranks) -> torch.device:
    """The device named by ``--gpu``: ``cpu``, or the number of an accelerator that PyTorch finds.

    Falls back to the CPU if there is none, and warns of one other than CUDA, which nobody tested on hardware. Under
    ``torchrun`` the local rank takes the place of the number.

    Raises:
        InputError: there is no such device.
    """
    if gpu == "cpu":
        return torch.device("cpu")
    if re.fullmatch(r"\d+(,\d+)+", gpu):
        raise InputError(_several_gpus(gpu, sys.argv))
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator and ranks.local_rank is not None:
        gpu = str(ranks.local_rank)
    if not gpu.isdecimal():
        raise InputError(f"--gpu is {gpu!r}, expected the number of a GPU or cpu")
    if not accelerator:
        log.info("--gpu %s: no GPU here, running on the CPU (%d threads)", gpu, torch.get_num_threads())
        return torch.device("cpu")
    count = torch.accelerator.device_count()
    if int(gpu) >= count:
        raise InputError(f"--gpu is {gpu}, expected less than {count}, the number of GPUs")
    if accelerator.type != "cuda":
        log.warning("warning: not tested on devices of type %s", accelerator.type)
    torch.accelerator.set_device_index(int(gpu))  # the default of everything that names no device, as pinned memory
    return torch.device(accelerator.type, int(gpu))


def _several_gpus(gpu: str, command: Sequence[str]) -> str:
    """The answer to ``--gpu 0,1`` in a command line."""
    script, *arguments = command
    if Path(script).name not in [path.name for path in SCRIPTS.values()]:
        return f"--gpu is {gpu}, but this tool uses one GPU: name one of them"
    rest = [each for each in arguments if each not in ("--gpu", gpu, f"--gpu={gpu}")]
    return (
        f"--gpu is {gpu}: a run on several GPUs has a process on each, which torchrun starts. Use these with\n"
        f"  CUDA_VISIBLE_DEVICES={gpu} torchrun --nproc_per_node {gpu.count(',') + 1} {shlex.join([script, *rest])}"
    )


def describe(device: torch.device) -> str:
    """Name of the device, or its type if PyTorch has no name, as of MPS; of a CPU also the number of threads."""
    if device.type != "cpu":
        module = torch.get_device_module(device)
        return module.get_device_name(device) if hasattr(module, "get_device_name") else device.type
    info = Path("/proc/cpuinfo")
    names = re.findall("^model name.*: (.*)", info.read_text(), re.MULTILINE) if info.exists() else []
    return f"{(names or [platform.machine()])[0]}, {torch.get_num_threads()} threads"
