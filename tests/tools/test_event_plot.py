"""The picture of a prediction: every second and event of a video of any length, and frames that stay apart."""

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import read_sound
from model import Event, Prediction
from tests.videos import grey, silence, tone, write_video
from tools.drawing.plots import DPI
from tools.predict import event_plot
from tools.predict.event_plot import TALLEST, Row, _draw_events, _in_words, plot_events, rows_of

LONGEST = "Female speech, woman speaking"
THRESHOLD = 0.7
HOUR = 3600


def prediction(seconds, *events):
    zeros = np.zeros(seconds)
    return Prediction(list(events), zeros, zeros, zeros[:, None])


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, 1), (10, 10), (60, 60), (61, 60), (9 * 60, 60), (HOUR, 300), (12 * HOUR, HOUR)]
)
def test_rows_hold_every_second_once_and_the_picture_is_never_too_tall(seconds, expected):
    rows, row_seconds = rows_of(prediction(seconds))
    assert row_seconds == expected
    assert [second for row in rows for second in range(row.start, row.end)] == list(range(seconds))
    assert all(row.start % row_seconds == 0 for row in rows)
    assert sum(event_plot._heights(rows)) < TALLEST


def test_event_that_crosses_a_row_is_in_both_rows():
    rows, _ = rows_of(prediction(150, Event("Horn", 50, 125, 0.9), Event("Bark", 130, 140, 0.8)))
    assert [[event[:3] for event in row.events] for row in rows] == [
        [("Horn", 50, 60)],
        [("Horn", 60, 120)],
        [("Horn", 120, 125), ("Bark", 130, 140)],
    ]


def test_many_events_make_longer_rows_rather_than_a_taller_picture():
    events = [Event(f"event {second % 28}", second, second + 1, 0.9) for second in range(600)]
    rows, row_seconds = rows_of(prediction(600, *events))
    assert row_seconds > 60
    assert sum(event_plot._heights(rows)) < TALLEST
    assert all(len(row.names) == 28 for row in rows)


@pytest.mark.parametrize("seconds", [12, 300])
def test_every_event_shows_its_probability(seconds):
    """In its bar, beside it, or with the name of its class where neighbours leave no room."""
    spans = [(0, 1), (2, 3), (3, 4), (10, 12)]
    events = [Event("Horn", start, end, 0.71 + 0.03 * number) for number, (start, end) in enumerate(spans)]
    events.append(Event(LONGEST, seconds - 1, seconds, 0.95))
    figure, axes = plt.subplots()
    _draw_events(axes, Row(0, seconds, events), seconds)
    shown = words(figure)
    assert all(f"{event.probability:.2f}" in shown for event in events)
    plt.close(figure)
    assert _in_words([0.9, 0.75, 0.8, 0.85]) == "others 0.75 to 0.90"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_frames_stand_apart_whatever_their_colour(tmp_path, level):
    """Along a line through the strip, each frame ends at something lighter or darker than itself."""
    video = write_video(tmp_path / "video.mp4", 10, lambda _: grey(level), tone(440, 1, 2))
    plot_events(tmp_path / "video.png", video, read_sound(video), prediction(10, Event("Horn", 1, 3, 0.9)), THRESHOLD)
    shown = matplotlib.image.imread(tmp_path / "video.png")[..., :3].mean(axis=-1)
    line = shown[round(0.7 * DPI)]  # through the frames
    inside = np.abs(line - level / 255) < 0.1
    starts, ends = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]]))).reshape(-1, 2).T
    wide = ends - starts > 0.4 * DPI
    if level == 255:  # the paper at either side of the strip is white, too
        wide[[0, -1]] = False
    assert wide.sum() == round(0.85 * event_plot.WIDE / event_plot.ONE_ROW[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("first", [3 * SAMPLE_RATE, 520])
def test_silence_then_sound_is_drawn_without_warnings(tmp_path, first):
    """A minute's row shows 1500 times; a click of one sample may lie between two of them, and nothing else be loud."""
    sound = np.zeros(65 * SAMPLE_RATE, np.float32)
    sound[first : -10 if first > 520 else first + 1] = 0.5
    video = write_video(tmp_path / "video.mp4", 65, lambda _: grey(80), None, frame_rate=2)
    plot_events(tmp_path / "video.png", video, sound, prediction(65), THRESHOLD)
    plot_events(tmp_path / "short.png", video, sound[: 5 * SAMPLE_RATE], prediction(5), THRESHOLD)


def test_long_video_is_drawn_row_by_row(tmp_path):
    """Its picture ends before its sound; the last row is short."""
    video = write_video(tmp_path / "video.mp4", 125, lambda t: grey(int(t)), silence)
    sound = np.concatenate([read_sound(video), np.zeros(5 * 16000, np.float32)])
    events = (Event("Horn", 10, 20, 0.91), Event("Bark", 70, 71, 0.82), Event(LONGEST, 126, 130, 0.73))
    plot_events(tmp_path / "video.png", video, sound, prediction(130, *events), THRESHOLD)
    height, width, _ = matplotlib.image.imread(tmp_path / "video.png").shape
    assert width == event_plot.WIDE * DPI
    assert height > 3 * DPI * sum(event_plot.MANY_ROWS)
