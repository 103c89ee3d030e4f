"""Statistics of an evaluation, against counting by hand."""

import numpy as np
import pytest
import torch

from tests.evaluations import evaluation_of
from tools.report.modalities import correlation
from tools.report.page import mean
from tools.report.statistics import statistics

# Three events and background, 3; four videos of four segments.
TRUTH = [[0, 0, 3, 3], [1, 1, 1, 1], [3, 3, 3, 3], [3, 0, 0, 3]]
PREDICTED = [[0, 3, 3, 3], [1, 1, 2, 1], [3, 3, 3, 3], [1, 1, 1, 1]]


def evaluation(predicted, truth):
    """An evaluation with these decisions; no statistic reads the probabilities."""
    predicted, truth = torch.tensor(predicted), torch.tensor(truth)
    return evaluation_of(predicted, truth, 3)


@pytest.fixture
def stats():
    return statistics(evaluation(PREDICTED, TRUTH))


def test_confusion_counts_every_segment_once(stats):
    expected = np.array([[1, 2, 0, 1], [0, 3, 1, 0], [0, 0, 0, 0], [0, 2, 0, 6]])
    np.testing.assert_array_equal(stats.confusion, expected)
    np.testing.assert_array_equal(stats.counts, [4, 4, 0, 8])
    np.testing.assert_array_equal(stats.recall, [25, 75, np.nan, 75])
    np.testing.assert_allclose(stats.precision, [100, 100 * 3 / 7, 0, 100 * 6 / 7])


def test_videos_are_known_by_their_event_and_its_length(stats):
    np.testing.assert_array_equal(stats.video_event, [0, 1, 3, 0])
    np.testing.assert_array_equal(stats.videos, [2, 1, 0, 1])
    np.testing.assert_array_equal(stats.event_length, [2, 4, 0, 2])
    np.testing.assert_array_equal(stats.video_accuracy, [75, 75, 100, 0])
    assert stats.length_accuracy == {0: 100, 2: 37.5, 4: 75}
    assert stats.spotting_accuracy == 100 * 13 / 16
    assert stats.event_accuracy == 50


def test_means_are_over_the_segments_and_the_videos_of_an_event(stats):
    values = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(stats.event_mean(values), [(0 + 1 + 13 + 14) / 4, 5.5, np.nan])
    np.testing.assert_array_equal(stats.video_mean(np.array([2.0, 5, 7, 4])), [3, 5, np.nan])


def test_extremes_are_in_order_and_no_video_is_shown_twice(stats):
    chosen = {name: places.tolist() for name, places in stats.extremes(1).items()}
    assert chosen == {"worst": [3], "median": [1], "best": [2]}
    alone = statistics(evaluation(PREDICTED[:1], TRUTH[:1]))
    assert {name: places.tolist() for name, places in alone.extremes(3).items()} == {
        "worst": [0],
        "median": [],
        "best": [],
    }


def test_correlation_ignores_missing_values_and_is_nan_where_undefined():
    assert correlation(np.array([1, 2, np.nan, 3]), np.array([2.0, 4, -9, 6])) == pytest.approx(1)
    assert np.isnan(correlation(np.array([1.0, 2, 3]), np.array([5.0, 5, 5])))
    assert np.isnan(correlation(np.array([1.0, np.nan, 3]), np.array([5.0, 6, 7])))


def test_mean_over_events_leaves_out_those_without_a_value():
    """Such as an event that a split has only beside another one of the same video."""
    assert mean(np.array([0.25, np.nan, 0.75])) == "0.50"
    assert mean(np.array([np.nan])) == mean(np.array([])) == "none"
