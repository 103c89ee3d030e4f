"""Several processes that train one network, as ``torchrun`` starts them; without it, one process is all there is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.errors import InputError


class Ranks:
    """This process among those of a run. ``torchrun`` says through the environment how many there are.

    Raises:
        InputError: the environment of ``torchrun`` is incomplete.
    """

    def __init__(self) -> None:
        try:
            self.number = int(os.environ.get("RANK", 0))
            self.count = int(os.environ.get("WORLD_SIZE", 1))
            self.local = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None  # None: no torchrun
            self.count_here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        except ValueError as error:
            raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK are set by torchrun to numbers: {error}") from error

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.number == 0

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Meet the other processes, and leave them in the end: NCCL between GPUs, gloo between CPUs."""
        if self.count == 1:
            yield
            return
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield
        dist.destroy_process_group()  # not after an error: NCCL would wait for others, which torchrun ends

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The network whose gradients are the mean over all ranks."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest value of a tensor over all ranks, in place."""
        if self.count > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def gather(self, value: object) -> list:
        """What each rank gives, by rank."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        dist.all_gather_object(values, value)
        return values
