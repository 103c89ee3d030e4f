"""The order of the videos: how an epoch is shuffled and divided into batches."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class Batches(Sampler[list[int]]):
    """The batches of an epoch, as lists of indices: in order, or shuffled.

    They depend on ``seed``, ``epoch`` and ``start`` alone, so a run can resume at any batch of any epoch. Each rank
    gets its share of every batch; a rank for which a small batch has no video gets the batch's first one, which does
    not count, so that all ranks take part in every step.

    Args:
        batch_size: videos in a batch, over all ranks.
        seed: of the shuffling; None keeps the videos in order.
    """

    def __init__(
        self, num_videos: int, batch_size: int, seed: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_videos = num_videos
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0  # batches of the epoch to skip

    def __len__(self) -> int:
        return -(-self.num_videos // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        shares = (batch[self.rank :: self.world_size] or batch[:1] for batch in self.whole()[self.start :])
        return iter(list(shares))

    def whole(self) -> list[list[int]]:
        """The batches of the epoch, over all ranks."""
        if self.seed is None:
            order = torch.arange(self.num_videos)
        else:
            # An epoch is far below 2**20, so no two (seed, epoch) pairs share a stream.
            generator = torch.Generator().manual_seed(self.seed * 2**20 + self.epoch)
            order = torch.randperm(self.num_videos, generator=generator)
        return [batch.tolist() for batch in order.split(self.batch_size)]

    def in_order(self, batch_size: int) -> "Batches":
        """The same videos in order, in batches of another size."""
        return Batches(self.num_videos, batch_size, None, self.rank, self.world_size)

    @property
    def largest_share(self) -> int:
        """The number of videos of this rank in a full batch."""
        return self.sizes(0)[0] or 1

    def sizes(self, number: int) -> tuple[int, int]:
        """The number of videos of batch ``number`` on this rank, and over all ranks."""
        whole = min(self.batch_size, self.num_videos - number * self.batch_size)
        return len(range(self.rank, whole, self.world_size)), whole
