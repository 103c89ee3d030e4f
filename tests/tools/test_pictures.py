"""What the pictures must show; how they look is checked by eye."""

from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tests.evaluations import evaluation_of
from tools.drawing.plots import NAME_LENGTH, picture, shortened
from tools.drawing.timelines import Timeline
from tools.report import figures
from tools.report.figures import draw_class_accuracy, draw_confusion, draw_timelines
from tools.report.statistics import statistics
from tools.visualize import attention_figure
from tools.visualize.attention_figure import draw_attention

LONGEST = "Female speech, woman speaking"  # of AVE's names, with "Fixed-wing aircraft, airplane"
NAMES = [LONGEST, "Horn", "Bark", "background"]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Figures as they were when written, one per call of a drawing function."""
    kept = []

    @contextmanager
    def keeping(path, width, height, texts=()):
        with picture(tmp_path / "drawn.png", width, height, texts) as figure:
            kept.append(figure)
            yield figure

    for module in (figures, attention_figure):
        monkeypatch.setattr(module, "picture", keeping)
    return kept


@pytest.fixture
def stats():
    """No segment is of the third event."""
    truth = torch.tensor([[0, 0, 3], [3, 1, 3]])
    return statistics(evaluation_of(truth, truth, 3))


def words(figure):
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


def boxes(figure, names):
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in figure.findobj(plt.Text) if text.get_text() in names]


def test_the_longest_name_of_ave_is_whole(drawn, stats, tmp_path):
    assert shortened(LONGEST, NAME_LENGTH) == LONGEST
    draw_class_accuracy(tmp_path / "events.png", stats, NAMES, 100)
    draw_confusion(tmp_path / "confusion.png", stats, NAMES)
    for figure in drawn:
        assert LONGEST in words(figure)
        width, height = figure.bbox.size
        for box in boxes(figure, NAMES):
            assert 0 <= box.x0 < box.x1 <= width
            assert 0 <= box.y0 < box.y1 <= height


def test_heads_of_the_columns_stand_apart(drawn, stats, tmp_path):
    draw_class_accuracy(tmp_path / "events.png", stats, NAMES, 100)
    percent, segments, videos = sorted(boxes(drawn[0], {"%", "segments", "videos"}), key=lambda box: box.x0)
    letter = percent.width
    assert segments.x0 - percent.x1 > letter
    assert videos.x0 - segments.x1 > letter


def test_class_without_segments_is_hatched(drawn, stats, tmp_path):
    draw_confusion(tmp_path / "confusion.png", stats, NAMES)
    axes = drawn[0].axes[0]
    assert axes.patch.get_hatch()  # seen through the masked row
    assert axes.collections[0].get_array().mask.any(axis=1).tolist() == [False, False, True, False]
    assert "no segments of this class" in words(drawn[0])


def test_probability_of_timelines_has_its_scale(drawn, tmp_path):
    classes = np.array([3, 0, 3, 3])
    draw_timelines(tmp_path / "lines.png", [Timeline(LONGEST, classes, classes, np.full(4, 0.5))], NAMES, 0.7)
    assert {"0", "1", LONGEST} <= set(words(drawn[0]))


def test_attention_over_frames_is_lines_and_the_map_stands_by_itself(drawn, tmp_path):
    """A picture of grey frames and one map: contours where attention is far from even, no colours mixed with frames."""
    share = np.full((2, 3, 3), 1 / 9)
    share[0] = 0.5 / 8
    share[0, 1, 1] = 0.5
    frames = [np.full((6, 6, 3), 100, np.uint8)] * 2
    line = Timeline("title", np.array([0, 3]), np.array([0, 3]), np.full(2, 0.5))
    gates = {name: np.full(2, 0.5) for name in "abc"}
    draw_attention(tmp_path / "attention.png", line, {"m1": share}, gates, NAMES, 0.7, frames=frames)
    over = [axes for axes in drawn[0].axes if axes.images and axes.images[0].get_array().ndim == 3]
    maps = [axes for axes in drawn[0].axes if axes.images and axes.images[0].get_array().shape == (3, 3)]
    assert [len(axes.collections) for axes in over] == [2, 0]
    assert len(maps) == 2
    assert all(len(axes.images) == 1 and axes.images[0].get_alpha() is None for axes in over + maps)
    assert "probability, gates" in words(drawn[0])
