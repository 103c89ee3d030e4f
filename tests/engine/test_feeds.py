"""Where the features lie changes neither a value nor which videos come when."""

import logging

import psutil
import pytest
import torch

from dataset import AVEFolder
from dataset.batches import Batches
from engine.feeds import ResidentFeed, StreamFeed, choose_feed
from model import MAGANConfig
from utils.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(wide_data_root):
    return AVEFolder(wide_data_root, MAGANConfig(), torch.float32).weakly_labelled()


def epochs(feed):
    return [list(feed.epoch(1)), list(feed.epoch(2, start=3))]


def test_all_feeds_yield_the_same_batches_in_the_same_order(dataset):
    feeds = [
        StreamFeed(dataset, Batches(len(dataset), 8, seed=3), num_workers=0),
        StreamFeed(dataset, Batches(len(dataset), 8, seed=3), num_workers=2),
        ResidentFeed(dataset, Batches(len(dataset), 8, seed=3), CPU),
    ]
    expected, *others = (epochs(feed) for feed in feeds)
    assert [len(epoch) for epoch in expected] == [len(feeds[0]), len(feeds[0]) - 3]
    for other in others:
        for one_epoch, other_epoch in zip(expected, other, strict=True):
            for batch, twin in zip(one_epoch, other_epoch, strict=True):
                for name, tensor in batch._asdict().items():
                    assert tensor.dtype == getattr(twin, name).dtype
                    assert torch.equal(tensor, getattr(twin, name).cpu()), name


def test_single_batch_is_read_without_processes_in_any_order(dataset):
    """Also if the same videos are in several batches elsewhere."""
    number = len(dataset)
    one, several = (StreamFeed(dataset, Batches(number, size), num_workers=2) for size in (number, 8))
    workers = [feed.loader.num_workers for feed in (one, several, one.in_order(8), several.in_order(number))]
    assert workers == [0, 2, 2, 0]
    (batch,) = one.epoch()
    assert torch.equal(batch.audio, torch.cat([part.audio for part in several.epoch()]))


def test_shares_of_all_ranks_make_up_each_batch():
    for world_size in (1, 2, 3, 5):
        whole = Batches(23, 4, seed=1).whole()
        shares = [Batches(23, 4, 1, rank, world_size) for rank in range(world_size)]
        for number, (batch, *parts) in enumerate(zip(whole, *map(list, shares), strict=True)):
            owned = [batches.sizes(number)[0] for batches in shares]
            assert sum(owned) == len(batch) == shares[0].sizes(number)[1]
            assert all(part for part in parts)
            seen = [video for part, count in zip(parts, owned, strict=True) for video in part[:count]]
            assert sorted(seen) == sorted(batch)


def test_auto_takes_memory_where_there_is_room_and_the_files_where_not(dataset, caplog, monkeypatch):
    with caplog.at_level(logging.INFO, logger="engine.feeds"):
        assert choose_feed("auto", [dataset], CPU) == "ram"
        assert f"they take {dataset.num_bytes / 1e9:.2f} GB" in caplog.messages[-1]

        class SmallMachine:
            available = 1.9 * dataset.num_bytes

        monkeypatch.setattr(psutil, "virtual_memory", SmallMachine)
        assert choose_feed("auto", [dataset], CPU) == "stream"
        assert "read from the files as they are needed" in caplog.messages[-1]
        assert choose_feed("ram", [dataset], CPU) == "ram"
        with pytest.raises(InputError, match="use stream"):
            choose_feed("ram", [dataset, dataset], CPU)


def test_size_is_what_the_features_take(dataset):
    feed = ResidentFeed(dataset, Batches(len(dataset), 8), CPU)
    assert dataset.num_bytes == sum(t.numel() * t.element_size() for t in (feed.held.visual, feed.held.audio))


def test_device_without_a_gpu_is_an_error_that_says_what_to_use(dataset):
    with pytest.raises(InputError, match="use ram or stream"):
        choose_feed("device", [dataset], CPU)
