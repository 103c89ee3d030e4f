"""How batches get to the network: streamed from the files, or from features held in memory.

Where the features lie never changes a value, nor which videos come when.
"""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from itertools import chain

import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataset.ave import AVEDataset, Batch
from dataset.batches import Batches
from utils.errors import InputError
from utils.progress import shows_bars

log = logging.getLogger(__name__)

FEEDS = ("auto", "device", "ram", "stream")
CHUNK = 16  # videos read at a time while features are loaded


class StreamFeed:
    """Batches that worker processes read from the files ahead of their use; memory holds a few of them."""

    def __init__(self, dataset: AVEDataset, batches: Batches, num_workers: int, pinned: bool = False) -> None:
        """``pinned``: whether batches wait in memory from which a GPU fetches them on its own."""
        self.dataset = dataset
        self.batches = batches
        self.loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_main_process,
            # Iterating draws a number; from a generator of its own, the training's random numbers stay what they are.
            generator=torch.Generator(),
        )

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on.

        Raises:
            InputError: features cannot be read.
        """
        self.batches.epoch, self.batches.start = number, start
        try:
            yield from self.loader
        except InputError as error:  # a worker's arrives with its traceback as text before the sentence
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from error

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.batches)


class ResidentFeed:
    """Batches gathered from features that are held on ``device``: a GPU, or the CPU's memory."""

    def __init__(self, dataset: AVEDataset, batches: Batches, device: torch.device, pinned: bool = False) -> None:
        """``pinned``: whether batches wait in memory from which a GPU fetches them on its own."""
        self.dataset = dataset
        self.batches = batches
        self.pinned = pinned
        self.held = self._load(device)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on."""
        self.batches.epoch, self.batches.start = number, start
        batches = list(self.batches)
        order = torch.tensor(list(chain.from_iterable(batches)), dtype=torch.int64)
        order = order.to(self.held.visual.device)  # at once, for sending it makes a GPU wait
        for index in order.split(list(map(len, batches))):
            yield Batch(*(self._gather(tensor, index) for tensor in self.held))

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.batches)

    def _load(self, device: torch.device) -> Batch:
        held = None
        chunks = torch.arange(len(self.dataset)).split(CHUNK)
        for chunk in tqdm(chunks, desc="loading features", leave=False, disable=not shows_bars()):
            batch = self.dataset.__getitems__(chunk)
            if held is None:
                shapes = [(len(self.dataset), *tensor.shape[1:]) for tensor in batch]
                held = Batch(
                    *(torch.empty(s, dtype=b.dtype, device=device) for s, b in zip(shapes, batch, strict=True))
                )
            for whole, part in zip(held, batch, strict=True):
                whole[chunk[0] : chunk[-1] + 1] = part
        return held

    def _gather(self, tensor: Tensor, index: Tensor) -> Tensor:
        if not self.pinned:
            return tensor[index]
        out = torch.empty((len(index), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
        return torch.index_select(tensor, 0, index, out=out)


Feed = StreamFeed | ResidentFeed


def make_feed(where: str, dataset: AVEDataset, batches: Batches, num_workers: int, device: torch.device) -> Feed:
    """The feed ``where`` (``device``, ``ram`` or ``stream``) names."""
    pinned = device.type == "cuda" and where != "device"
    if where == "stream":
        return StreamFeed(dataset, batches, num_workers, pinned)
    return ResidentFeed(dataset, batches, device if where == "device" else torch.device("cpu"), pinned)


def choose_feed(asked: str, datasets: Sequence[AVEDataset], device: torch.device, ranks_here: int = 1) -> str:
    """Where the features of all ``datasets`` shall lie, and say why in the log.

    ``auto`` takes the GPU if they fit into half of its free memory, else the machine's memory if they fit into half of
    what is available to each of the ``ranks_here`` processes, else the files.

    Raises:
        InputError: ``device`` is asked for and there is no GPU, or they do not fit where they are asked to lie.
    """
    size = sum(dataset.num_bytes for dataset in datasets)
    free = {"ram": psutil.virtual_memory().available / ranks_here}
    if device.type == "cuda":
        free["device"] = torch.cuda.mem_get_info(device)[0]
    if asked == "device" and device.type != "cuda":
        raise InputError("--features device keeps the features on a GPU, but this run is on the CPU: use ram or stream")
    if asked in free and size > free[asked]:
        raise InputError(
            f"--features {asked}: the features take {gigabytes(size)}, {gigabytes(free[asked])} are free: use stream"
        )
    chosen = asked
    if asked == "auto":
        chosen = next((where for where in ("device", "ram") if size < free.get(where, 0) / 2), "stream")
    room = ", ".join(f"{gigabytes(free[where])} free {names}" for where, names in PLACES.items() if where in free)
    log.info("features: %s (%s, --features %s); they take %s, %s", chosen, NAMES[chosen], asked, gigabytes(size), room)
    return chosen


NAMES = {"device": "held on the GPU", "ram": "held in memory", "stream": "read from the files as they are needed"}
PLACES = {"device": "on the GPU", "ram": "in memory"}


def gigabytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e9:.2f} GB"


def _as_it_is(batch: Batch) -> Batch:
    """The data set delivers whole batches."""
    return batch


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Terminals and schedulers send signals to a group of processes; the main one ends its workers when it is done."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
