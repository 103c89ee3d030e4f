"""The processes that train one network together, as ``torchrun`` starts them; without it there is one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.errors import InputError


class Ranks:
    """This process among those of a run, as ``torchrun`` describes them in the environment.

    Raises:
        InputError: the environment of ``torchrun`` is incomplete.
    """

    def __init__(self) -> None:
        try:
            self.rank = int(os.environ.get("RANK", 0))
            self.world_size = int(os.environ.get("WORLD_SIZE", 1))
            self.local_rank = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None  # None: no torchrun
            self.local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        except ValueError as error:
            raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK are set by torchrun to numbers: {error}") from error

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Join the process group, and leave it at the end: NCCL between GPUs, gloo between CPUs."""
        if self.world_size == 1:
            yield
            return
        dist.init_process_group(dist.get_default_backend_for_device(device))
        # Kept longer than DDP, which must not be the last to hold it: freeing the group joins gloo's threads, and DDP
        # would do so without releasing the interpreter's lock, for which one of them may be waiting.
        self.group = dist.group.WORLD
        yield
        dist.destroy_process_group()  # not after an error: NCCL would wait for the other ranks, which torchrun ends

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wrap the model so that gradients are averaged over all ranks."""
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device])

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        """The maximum of a tensor over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values
