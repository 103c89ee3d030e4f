"""Which videos make up which batch."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class Batches(Sampler[list[int]]):
    """The batches of an epoch, as lists of indices: in order, or shuffled by seed and epoch alone.

    Nothing but ``seed``, ``epoch`` and ``start`` decides what comes, so a run can go on from any batch of any epoch.
    With several ranks, each gets its share of every batch; a rank that a small batch leaves without a video gets the
    batch's first one, which it does not own, so that all ranks take part in every step.
    """

    def __init__(
        self, num_videos: int, batch_size: int, seed: int | None = None, rank: int = 0, num_ranks: int = 1
    ) -> None:
        """``batch_size`` counts the videos of all ranks together; without ``seed`` the videos come in order."""
        self.num_videos = num_videos
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.epoch = 0
        self.start = 0  # batches of the epoch to leave out

    def __len__(self) -> int:
        return -(-self.num_videos // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        shares = (batch[self.rank :: self.num_ranks] or batch[:1] for batch in self.whole()[self.start :])
        return iter(list(shares))

    def whole(self) -> list[list[int]]:
        """The batches of the epoch with the shares of all ranks."""
        if self.seed is None:
            order = torch.arange(self.num_videos)
        else:
            # An epoch is far below 2**20, so no two (seed, epoch) pairs share a stream.
            generator = torch.Generator().manual_seed(self.seed * 2**20 + self.epoch)
            order = torch.randperm(self.num_videos, generator=generator)
        return [batch.tolist() for batch in order.split(self.batch_size)]

    @property
    def largest(self) -> int:
        """How many videos this rank has in a batch that is whole."""
        return self.sizes(0)[0] or 1

    def sizes(self, number: int) -> tuple[int, int]:
        """How many videos of batch ``number`` this rank owns, and how many the batch has."""
        whole = min(self.batch_size, self.num_videos - number * self.batch_size)
        return len(range(self.rank, whole, self.num_ranks)), whole
