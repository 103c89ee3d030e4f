"""Measures of localization against slow computations of their definitions, and known values of AVE's labels."""

import os
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset.annotations import read_annotations, segment_labels
from engine.evaluation.measures import (
    IOU_THRESHOLDS,
    bootstrap_interval,
    event_f1,
    localization_auc,
    measure,
    partial_videos,
    yardsticks,
)
from engine.evaluation.summary import localization_warning, measures_table, text_table


def random_split(seed, videos=40, segments=10, num_events=3):
    """Classes (n, t) in runs, predictions that agree with some of them, and probabilities with ties."""
    random = np.random.default_rng(seed)
    truth = np.repeat(random.integers(0, num_events + 1, (videos, segments)), 3, axis=1)[:, 1 : segments + 1]
    noise = np.repeat(random.integers(0, num_events + 1, (videos, segments)), 2, axis=1)[:, :segments]
    predicted = np.where(random.random(truth.shape) < 0.7, truth, noise)
    return predicted, truth, num_events, random.integers(0, 5, truth.shape) / 4


def events_of(classes, num_events):
    """(class, start, end) of each event of one video, end excluded."""
    start, events = 0, []
    for kind, run in groupby(classes.tolist()):
        length = len(list(run))
        if kind < num_events:
            events.append((kind, start, start + length))
        start += length
    return events


def slow_f1(predicted, truth, num_events, threshold):
    true_positives = total = 0
    for found, expected in zip(predicted, truth, strict=True):
        found, expected = events_of(found, num_events), events_of(expected, num_events)
        total += len(found) + len(expected)
        while True:
            best, pair = Fraction(0), None
            for one in found:
                for other in expected:
                    shared = len(set(range(*one[1:])) & set(range(*other[1:])))
                    iou = Fraction(shared, len(set(range(*one[1:])) | set(range(*other[1:]))))
                    if one[0] == other[0] and iou > best:
                        best, pair = iou, (one, other)
            if best < threshold:
                break
            true_positives += 1
            found.remove(pair[0])
            expected.remove(pair[1])
    return 2 * true_positives / total


@pytest.mark.parametrize("seed", range(8))
def test_event_f1_is_that_of_its_definition(seed):
    predicted, truth, num_events, _ = random_split(seed, segments=6 + 5 * seed)
    thresholds = (Fraction(3, 10), Fraction(5, 10), Fraction(7, 10))
    expected = [slow_f1(predicted, truth, num_events, threshold) for threshold in thresholds]
    assert 0.1 < min(expected) < max(expected) < 1
    assert event_f1(predicted, truth, num_events) == pytest.approx(expected)


def test_event_that_reaches_a_threshold_exactly_is_matched():
    truth = np.array([[0] * 10, [1] * 10, [2] * 10])
    predicted = np.where(np.arange(10) < [[3], [5], [7]], truth, 3)
    assert event_f1(predicted, truth, 3) == pytest.approx((1, 2 / 3, 1 / 3))
    predicted = np.where(np.arange(10) < [[2], [4], [6]], truth, 3)
    assert event_f1(predicted, truth, 3) == pytest.approx((2 / 3, 1 / 3, 0))


def test_best_overlap_is_matched_first_and_each_event_once():
    truth = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1]])
    split_in_two = np.array([[0, 1, 0, 0, 0, 0, 1, 1, 1, 1]])  # the second piece fits: IoU 4 / 6
    assert event_f1(split_in_two, truth, 1) == pytest.approx((2 / 3, 2 / 3, 0))


def test_events_of_neighbouring_videos_are_separate():
    truth = np.array([[1, 0], [0, 1]])
    assert event_f1(truth, truth, 1) == (1, 1, 1)
    assert event_f1(np.array([[1, 0], [1, 0]]), truth, 1) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_the_share_of_ordered_pairs_within_videos(seed):
    _, truth, num_events, probability = random_split(seed)
    areas = []
    for values, classes in zip(probability, truth, strict=True):
        pairs = [
            1.0 if inside > outside else 0.5 if inside == outside else 0.0
            for inside, a in zip(values, classes, strict=True)
            for outside, b in zip(values, classes, strict=True)
            if a < num_events and b == num_events
        ]
        if pairs:
            areas.append(sum(pairs) / len(pairs))
    assert 0 < len(areas) < len(truth)
    assert localization_auc(probability, truth, num_events) == pytest.approx(sum(areas) / len(areas))


def test_auc_does_not_depend_on_a_threshold_or_on_other_videos():
    truth = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0]])
    probability = np.array([[0.9, 0.8, 0.7], [0.001, 0.002, 0.001], [0.1, 0.2, 0.3]])
    assert localization_auc(probability, truth, 1) == 1
    assert localization_auc(1 - probability, truth, 1) == 0
    assert localization_auc(0 * probability, truth, 1) == 0.5


def test_interval_is_that_of_drawing_whole_videos():
    predicted, truth, *_ = random_split(0, videos=200)
    correct = predicted == truth
    random = np.random.default_rng(1)
    resampled = [100 * correct[random.integers(0, 200, 200)].mean() for _ in range(20000)]
    assert bootstrap_interval(correct) == pytest.approx(np.percentile(resampled, (2.5, 97.5)), abs=0.25)
    assert bootstrap_interval(correct) == bootstrap_interval(correct)
    assert bootstrap_interval(correct) == bootstrap_interval(correct[::-1, ::-1])


def test_interval_counts_videos_not_segments():
    """Segments of one video that agree with each other say no more than one of them."""
    correct = np.arange(100)[:, None] % 5 > 0
    assert bootstrap_interval(np.repeat(correct, 10, axis=1)) == bootstrap_interval(correct)


@pytest.mark.parametrize("seed", range(3))
def test_recall_and_partial_videos_are_counted_as_defined(seed):
    predicted, truth, num_events, probability = random_split(seed)
    measures = measure(predicted, truth, num_events, probability)
    pairs = list(zip(predicted.ravel().tolist(), truth.ravel().tolist(), strict=True))
    for found, is_counted in (
        (measures.accuracy, lambda true: True),
        (measures.event_recall, lambda true: true < num_events),
        (measures.background_recall, lambda true: true == num_events),
    ):
        counted = [guess == true for guess, true in pairs if is_counted(true)]
        assert found == pytest.approx(100 * sum(counted) / len(counted))
    assert measures.accuracy_low < measures.accuracy < measures.accuracy_high
    partial = [v for v, row in enumerate(truth.tolist()) if 1 <= row.count(num_events) < len(row)]
    assert np.flatnonzero(partial_videos(truth, num_events)).tolist() == partial
    alone = measure(predicted[partial], truth[partial], num_events, probability[partial])
    assert measures[-5:-1] == (alone.accuracy, alone.f1_iou30, alone.f1_iou50, alone.f1_iou70)
    assert measures.auc == alone.auc


def test_video_is_named_by_its_scores_or_by_most_of_its_segments():
    truth = np.array([[0, 0, 2, 2], [1, 1, 1, 1], [0, 2, 2, 2], [2, 2, 2, 2]])  # the last one shows no event
    predicted = np.array([[1, 0, 0, 2], [2, 2, 1, 2], [1, 1, 0, 2], [0, 0, 0, 0]])
    assert measure(predicted, truth, 2).named == pytest.approx(100 * 2 / 3)
    assert measure(predicted, truth, 2, named=np.array([0, 0, 1, 0])).named == pytest.approx(100 / 3)
    unnamed = np.full_like(truth, 2)
    assert measure(unnamed, truth, 2).named == 0
    assert np.isnan(measure(predicted, unnamed, 2).named)


def test_split_without_partial_videos_has_no_localization_auc():
    truth = np.array([[0, 0], [1, 1]])
    measures = measure(truth, truth, 1, np.zeros(truth.shape))
    assert np.isnan(measures.auc)
    assert np.isnan(measures.partial_accuracy)
    assert localization_warning(measures) is None
    table = {row[0]: row[1] for row in measures_table({"network": measures})}
    assert table["localization AUC"] == "none"
    assert table["segment accuracy"] == "100.0 %"


def test_network_that_places_nothing_is_named():
    predicted, truth, num_events, _ = random_split(0)
    placed = measure(predicted, truth, num_events, (truth < num_events) - 0.1)
    assert localization_warning(placed) is None
    for name, yardstick in yardsticks(truth, num_events).items():
        sentence = localization_warning(yardstick)
        assert "DOES NOT LOCALIZE" in sentence
        assert "localization AUC 0.50" in sentence
        assert ("finds 0.0 % of the background seconds" in sentence) == (name == "event everywhere")


@pytest.mark.parametrize(("auc", "background", "localizes"), [(0.55, 5, True), (0.549, 99, False), (0.9, 4.9, False)])
def test_limits_of_localization(auc, background, localizes):
    truth = np.array([[0, 1]])
    measures = measure(truth, truth, 1, truth)._replace(auc=auc, background_recall=background)
    assert (localization_warning(measures) is None) == localizes


def test_table_is_aligned():
    predicted, truth, num_events, probability = random_split(0)
    columns = {"this network": measure(predicted, truth, num_events, probability), **yardsticks(truth, num_events)}
    lines = text_table(measures_table(columns)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80
    assert len(lines) == 14
    for name in columns:
        end = lines[0].index(name) + len(name)
        assert all(line[end - 1] != " " and line[end : end + 2].strip() == "" for line in lines[1:])


# The published files, where the environment variable MAGAN_AVE_DATA names a folder that has them.


@pytest.mark.skipif("MAGAN_AVE_DATA" not in os.environ, reason="MAGAN_AVE_DATA names no folder with the files of AVE")
def test_yardsticks_of_ave():
    root = Path(os.environ["MAGAN_AVE_DATA"])
    with h5py.File(root / "test_order.h5") as file:
        rows = file["order"][()]
    truth = segment_labels(read_annotations(root / "Annotations.txt"))[rows].argmax(axis=-1)
    assert (len(truth), partial_videos(truth, 28).sum()) == (402, 141)
    everywhere, background = yardsticks(truth, 28).values()
    assert everywhere.accuracy == pytest.approx(82.2, abs=0.05)
    assert background.accuracy == pytest.approx(17.8, abs=0.05)
    assert everywhere.partial_accuracy == pytest.approx(49.3, abs=0.05)
    assert (everywhere.event_recall, everywhere.background_recall, everywhere.auc) == (100, 0, 0.5)
    found = everywhere.f1_iou50, everywhere.partial_f1_iou50, everywhere.partial_f1_iou70
    assert found == pytest.approx((0.836, 0.532, 0.248), abs=5e-4)
    assert IOU_THRESHOLDS == (0.3, 0.5, 0.7)
