"""Feeds, the sources of batches: streamed from the files, or gathered from features in memory.

The feed affects neither the values of the features nor the order of the videos.
"""

import copy
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from multiprocessing.context import BaseContext
from threading import Thread

import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataset import AVEDataset, Batch
from dataset.batches import Batches
from utils.arithmetic import finite
from utils.errors import InputError
from utils.memory import has_own_memory
from utils.progress import shows_bars
from utils.signals import handling_stop_signals

log = logging.getLogger(__name__)

CHUNK = 64  # videos read at a time while features are loaded


class StreamFeed:
    """Batches that worker processes read from the files ahead of time; memory holds a few of them.

    A single batch is read in this process: with nothing to compute meanwhile, a worker would only take time to start.

    ``pinned`` batches are in page-locked memory, from which a GPU copies asynchronously. A process that has threads, as
    that of a run has, must not be forked: a lock that a thread holds stays locked. The workers are forked by a server,
    or where there is none, as on Windows, started anew.
    """

    def __init__(self, dataset: AVEDataset, batches: Batches, num_workers: int, pinned: bool = False) -> None:
        self.dataset = dataset
        self.batches = batches
        self.num_workers = num_workers
        workers = num_workers if len(batches) > 1 else 0
        self.loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_identity,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            worker_init_fn=_end_with_the_run,
            multiprocessing_context=_worker_context() if workers else None,
            # Iterating draws a number, which must not come from the random numbers of the training.
            generator=torch.Generator(),
        )

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on.

        Raises:
            InputError: features cannot be read, or a worker has died; the system kills them first if memory is short.
        """
        self.batches.epoch, self.batches.start = number, start
        try:
            yield from self.loader
        except InputError as error:  # a worker's message comes after its traceback, as text
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from error
        except (RuntimeError, ConnectionError, EOFError) as error:  # the latter two if it was handing over a batch
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise InputError(
                "a process that reads features died, maybe for lack of memory, or of shared memory (/dev/shm): try a "
                "smaller --num_workers; 0 reads in the main process"
            ) from error

    def in_order(self, batch_size: int) -> "StreamFeed":
        """The same videos in the order of the data set."""
        return StreamFeed(self.dataset, self.batches.in_order(batch_size), self.num_workers, self.loader.pin_memory)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.batches)


class ResidentFeed:
    """Batches gathered from features that are held on ``device``, a GPU or the CPU; ``pinned`` as above.

    Raises:
        InputError: features cannot be read, or are not finite.
    """

    def __init__(self, dataset: AVEDataset, batches: Batches, device: torch.device, pinned: bool = False) -> None:
        self.dataset = dataset
        self.batches = batches
        self.pinned = pinned
        with closing(dataset):
            self.held = self._load(device)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``start``-th on."""
        self.batches.epoch, self.batches.start = number, start
        batches = list(self.batches)
        order = torch.tensor(list(chain.from_iterable(batches)), dtype=torch.int64)
        order = order.to(self.held.visual.device)  # in one copy, because it makes a GPU wait
        for index in order.split(list(map(len, batches))):
            yield Batch(*(self._gather(tensor, index) for tensor in self.held))

    def in_order(self, batch_size: int) -> "ResidentFeed":
        """The same videos in the order of the data set; both hold the same features."""
        other = copy.copy(self)
        other.batches = self.batches.in_order(batch_size)
        return other

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.batches)

    def _load(self, device: torch.device) -> Batch:
        held, are_finite = self.dataset.allocate(len(self.dataset), device), []
        if device.type != "cpu":
            staged = self.dataset.allocate(CHUNK)
        if has_own_memory(device):  # it copies several times as fast from page-locked memory
            staged = Batch(*(tensor.pin_memory() for tensor in staged))
        chunks = torch.arange(len(self.dataset)).split(CHUNK)
        for chunk in tqdm(chunks, desc="loading features", leave=False, disable=not shows_bars()):
            loaded = Batch(*(whole[chunk[0] : chunk[-1] + 1] for whole in held))
            if device.type == "cpu":
                self.dataset.read_into(loaded, chunk)
            else:
                part = Batch(*(tensor[: len(chunk)] for tensor in staged))
                self.dataset.read_into(part, chunk)
                for on_device, read in zip(loaded, part, strict=True):
                    on_device.copy_(read)
            are_finite.append(torch.stack([finite(loaded.visual), finite(loaded.audio)], dim=1))
        self.dataset.require_finite(torch.cat(are_finite).cpu())
        return held

    def _gather(self, tensor: Tensor, index: Tensor) -> Tensor:
        if not self.pinned:
            return tensor[index]
        out = torch.empty((len(index), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
        return torch.index_select(tensor, 0, index, out=out)


Feed = StreamFeed | ResidentFeed


def make_feed(place: str, dataset: AVEDataset, batches: Batches, num_workers: int, device: torch.device) -> Feed:
    """The feed named by ``place``: ``device``, ``ram`` or ``stream``."""
    pinned = has_own_memory(device) and place != "device"
    if place == "stream":
        return StreamFeed(dataset, batches, num_workers, pinned)
    return ResidentFeed(dataset, batches, device if place == "device" else torch.device("cpu"), pinned)


def choose_feed(asked: str, datasets: Sequence[AVEDataset], device: torch.device, local_world_size: int = 1) -> str:
    """Choose the feed for all ``datasets``, and log the reason.

    ``auto`` takes ``device`` if the features fit into half of the GPU's free memory, else ``ram`` if they fit into half
    of the memory available to each of the ``local_world_size`` processes, else ``stream``.

    Raises:
        InputError: ``device`` is requested without a GPU, or the features do not fit into the requested place.
    """
    size = sum(dataset.num_bytes for dataset in datasets)
    free = {"ram": psutil.virtual_memory().available / local_world_size}
    if device.type != "cpu":
        own = has_own_memory(device)
        free["device"] = torch.get_device_module(device).mem_get_info(device)[0] if own else free["ram"]
    elif asked == "device":
        raise InputError("--features device keeps the features on a GPU, but this run is on the CPU: use ram or stream")
    if asked in free and size > free[asked]:
        raise InputError(
            f"--features {asked}: the features take {gigabytes(size)}, {gigabytes(free[asked])} are free: use stream"
        )
    chosen = asked
    if asked == "auto":
        chosen = next((place for place in ("device", "ram") if size < free.get(place, 0) / 2), "stream")
    room = ", ".join(f"{gigabytes(free[place])} free {name}" for place, name in _PLACES.items() if place in free)
    log.info(
        "features: %s (%s, --features %s); they take %s, %s",
        chosen,
        _DESCRIPTIONS[chosen],
        asked,
        gigabytes(size),
        room,
    )
    return chosen


_DESCRIPTIONS = {
    "device": "held on the GPU",
    "ram": "held in memory",
    "stream": "read from the files as they are needed",
}
_PLACES = {"device": "on the GPU", "ram": "in memory"}


def gigabytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e9:.2f} GB"


def _identity(batch: Batch) -> Batch:
    """The collate function: the data set already delivers whole batches."""
    return batch


def _worker_context() -> BaseContext:
    """The context that workers are started in: that of a fork server where there is one, else that of ``spawn``."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["engine.feeds"])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy starts threads when it is imported; the server has none
    with handling_stop_signals(signal.SIG_IGN):  # which it inherits: a signal to all of the run is for the main process
        forkserver.ensure_running()
    return context


def _end_with_the_run(worker: int) -> None:
    """Let a worker end when the main process does, even if that is killed, or at a SIGTERM of the main process.

    By PyTorch's handler it would end at any SIGTERM, also at one for the whole run, which then could not be saved.
    """
    main = multiprocessing.parent_process()

    def end_after_main() -> None:
        main.join()
        os._exit(1)

    def end_at_signal_of_main() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main.pid:
            pass
        os._exit(1)

    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in the threads that follow, too
        Thread(target=end_at_signal_of_main, daemon=True).start()
    Thread(target=end_after_main, daemon=True).start()
