"""How often progress is displayed."""

import logging

import pytest

from utils.progress import Progress


@pytest.mark.parametrize(
    ("print_freq", "min_seconds", "displayed"),
    [(1, 0, [1, 2, 3, 4, 5, 6]), (2, 0, [2, 4, 6]), (1, 3600, [6]), (4, 0, [4]), (4, 3600, [])],
)
def test_displays_are_apart_and_the_last_item_has_one(caplog, print_freq, min_seconds, displayed):
    caplog.set_level(logging.DEBUG)
    progress = Progress("epoch 1/1", print_freq, min_seconds)
    due = [item for item in progress.track(range(1, 7), total=6) if progress.due]
    assert due == displayed
    assert [record.getMessage().split()[2] for record in caplog.records] == [f"[{item}/6]" for item in displayed]


def test_display_comes_when_its_pause_is_over(caplog, monkeypatch):
    now = 0.0
    monkeypatch.setattr("utils.progress.time.monotonic", lambda: now)
    progress = Progress("epoch 1/1", 1, 0.25)
    due = []
    for item in progress.track(range(1, 11), total=10):
        due += [item] if progress.due else []
        now += 0.1
    assert due == [4, 8, 10]
