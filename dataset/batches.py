"""Which videos make up which batch, and their delivery by a DataLoader."""

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from dataset.ave import AVEDataset, Batch
from utils.errors import InputError


class Batches(Sampler[list[int]]):
    """The batches of an epoch, as lists of indices: in order, or shuffled by seed and epoch alone.

    Nothing but ``seed``, ``epoch`` and ``start`` decides what comes, so a run can go on from any batch of any epoch.
    """

    def __init__(self, num_videos: int, batch_size: int, seed: int | None = None) -> None:
        """Without ``seed`` the videos come in order."""
        self.num_videos = num_videos
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.start = 0  # batches of the epoch to leave out

    def __len__(self) -> int:
        return -(-self.num_videos // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            order = torch.arange(self.num_videos)
        else:
            # An epoch is far below 2**20, so no two (seed, epoch) pairs share a stream.
            generator = torch.Generator().manual_seed(self.seed * 2**20 + self.epoch)
            order = torch.randperm(self.num_videos, generator=generator)
        return iter([batch.tolist() for batch in order.split(self.batch_size)[self.start :]])


class Loader:
    """Batches of a data set, read by worker processes ahead of their use."""

    def __init__(self, dataset: AVEDataset, batches: Batches, num_workers: int) -> None:
        self.dataset = dataset
        self.batches = batches
        self.loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
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


def _as_it_is(batch: Batch) -> Batch:
    """The data set delivers whole batches."""
    return batch


def _leave_signals_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
