"""Which videos come when: decided by seed and epoch alone, and by nothing that a run does in between."""

import itertools

import numpy as np
import pytest
import torch

from dataset import AVEDataset
from dataset.batches import Batches
from dataset.features import FeatureFile
from engine.feeds import StreamFeed
from tests.dataset.test_ave import write, write_with_damage
from utils.errors import InputError


def order(num_videos=50, batch_size=8, seed=43, epoch=1, start=0):
    batches = Batches(num_videos, batch_size, seed)
    batches.epoch, batches.start = epoch, start
    return list(batches)


def write_dataset(folder, damaged=()):
    """Twenty videos of two segments; every number of a video is its row. The sound of some may be ``damaged``."""
    rows = np.arange(20.0)
    write(folder / "visual.h5", np.broadcast_to(rows[:, None, None, None, None], (20, 2, 2, 2, 8)))
    write_with_damage(folder / "audio.h5", np.broadcast_to(rows[:, None, None], (20, 2, 4)), damaged)
    visual, audio = FeatureFile(folder / "visual.h5", 5, 8), FeatureFile(folder / "audio.h5", 3, 4)
    return AVEDataset([(visual, audio, np.zeros((20, 2, 4), np.float32), np.arange(20))], torch.float32)


def rows(batch):
    """The rows of a batch of such videos, by its features."""
    numbers = batch.audio[:, 0, 0]
    assert all((part == numbers.view(-1, *[1] * (part.ndim - 1))).all() for part in (batch.visual, batch.audio))
    return numbers.int().tolist()


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path)


# Batches


@pytest.mark.parametrize("seed", [None, 43])
@pytest.mark.parametrize(("num_videos", "batch_size"), [(50, 8), (48, 8), (5, 8), (1, 1), (7, 1)])
def test_each_video_comes_once_an_epoch_in_full_batches_but_the_last(num_videos, batch_size, seed):
    batches = order(num_videos, batch_size, seed)
    assert sorted(itertools.chain(*batches)) == list(range(num_videos))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == len(Batches(num_videos, batch_size, seed))


def test_videos_come_in_order_without_a_seed():
    for epoch in range(3):
        assert list(itertools.chain(*order(seed=None, epoch=epoch))) == list(range(50))


def test_shuffled_order_depends_on_seed_and_epoch_alone():
    """Not on global random numbers, on what was iterated before, or on the size of the batches."""
    expected = order(seed=43, epoch=5)
    assert list(itertools.chain(*expected)) != list(range(50))
    batches = Batches(50, 8, 43)
    for epoch in (9, 5):
        torch.manual_seed(epoch)
        np.random.seed(epoch)
        batches.epoch = epoch
        assert list(batches) == order(seed=43, epoch=epoch)
        assert list(batches) == list(batches)
    assert list(batches) == expected
    assert list(itertools.chain(*order(batch_size=3, epoch=5))) == list(itertools.chain(*expected))


def test_every_seed_and_every_epoch_has_its_own_order():
    seeds = (0, 1, 42, 43, 666, 2**44 - 1)  # the last one is the largest that a config may have
    orders = {str(order(seed=seed, epoch=epoch)) for seed in seeds for epoch in (0, 1, 2, 200)}
    assert len(orders) == 6 * 4


def test_iterating_does_not_change_global_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    order()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [None, 43])
@pytest.mark.parametrize("start", [0, 1, 5, 6, 7])
def test_start_leaves_out_the_first_batches_and_nothing_else(start, seed):
    assert order(seed=seed, start=start) == order(seed=seed)[start:]


# Their delivery


@pytest.mark.parametrize("num_workers", [0, 2])
def test_feed_delivers_the_batches_of_the_epoch_from_start_on(dataset, num_workers):
    feed = StreamFeed(dataset, Batches(20, 3, seed=1), num_workers)
    assert len(feed) == 7
    for epoch, start in ((1, 0), (4, 2), (2, 6), (1, 7)):
        delivered = list(feed.epoch(epoch, start))
        assert [rows(batch) for batch in delivered] == order(20, 3, seed=1, epoch=epoch, start=start)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epoch_is_whole_after_one_that_was_broken_off(dataset, num_workers):
    feed = StreamFeed(dataset, Batches(20, 3, seed=1), num_workers)
    next(feed.epoch(1))
    assert [rows(batch) for batch in feed.epoch(2)] == order(20, 3, seed=1, epoch=2)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_feed_does_not_change_torchs_global_random_numbers(dataset, num_workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    feed = StreamFeed(dataset, Batches(20, 3, seed=1), num_workers)
    for epoch in (1, 2):
        for _ in feed.epoch(epoch):
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_row_is_named_in_one_sentence_wherever_it_is_read(tmp_path, num_workers):
    feed = StreamFeed(write_dataset(tmp_path, damaged=[13]), Batches(20, 3), num_workers)
    delivered = feed.epoch()
    for _ in range(4):  # rows 0 to 11
        next(delivered)
    with pytest.raises(InputError) as error:
        next(delivered)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'audio.h5'}: row 13 cannot be read: the file is damaged: ")
    assert "\n" not in said
    assert "Traceback" not in said
