"""The picture of a prediction: frames, sound, event probability and the events found.

A video of up to a minute is drawn in one row. A longer one has rows of a minute each; where these would make the
picture taller than ``TALLEST``, rows of two minutes, five minutes and so on: an hour has rows of five or ten minutes,
depending on its events. Memory is needed for some frames and a spectrogram per row, and for the sound, which the caller
has read.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MultipleLocator

from dataset.extraction.video import SAMPLE_RATE, is_silent, pictures_at
from model import Event, Prediction
from tools.drawing.plots import AUDIO, DPI, INK, JOINT, NAME_LENGTH, WIDE, light_grid, picture, shortened

MINUTE = 60
ROW_SECONDS = (MINUTE, 120, 300, 600, 900, 1800, 3600)
TALLEST = 32  # inches, unless a single row is taller
ONE_ROW = (0.8, 1.1, 1.1)  # inches: frames, sound and probability of the only row
MANY_ROWS = (0.55, 0.6, 0.6)  # the same for each of several rows
LANE, GAP = 0.28, 0.12  # inches: events of one class, the space between rows
LABELS, TITLE = 0.45, 0.7  # inches: time labels of a row, title of the picture
STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # s between time labels
EVENT, LIMIT = JOINT, AUDIO  # distinct in greyscale, too
FFT = 512
COLUMNS = 1500  # of a row's spectrogram, about its width in pixels


class Row(NamedTuple):
    """The part of a video that is drawn in one row."""

    start: int  # s
    end: int  # s, exclusive
    events: list[Event]  # cut to the row

    @property
    def names(self) -> list[str]:
        """The events of the row, one lane each."""
        return list(dict.fromkeys(event.name for event in self.events))


def plot_events(out: Path, video: Path, sound: np.ndarray, prediction: Prediction, threshold: float) -> None:
    """Draw a prediction as a PNG, with the frames of ``video``, its ``sound`` (n,) at 16 kHz, and its threshold.

    Raises:
        VideoError: the video cannot be decoded.
    """
    rows, row_seconds = rows_of(prediction)
    heights = _heights(rows)
    spectrograms = [_spectrogram(sound[row.start * SAMPLE_RATE : row.end * SAMPLE_RATE]) for row in rows]
    loudest = None if is_silent(sound) else max(power.max() for power in spectrograms) or None
    frames, every = _frames(video, rows, row_seconds, heights[0])
    step = next((step for step in STEPS if row_seconds <= 12 * step), row_seconds)
    names = {event.name for event in prediction.events}
    with picture(out, WIDE, sum(heights) + LABELS * len(rows) + TITLE, [video.name, *names]) as figure:
        figure.suptitle(f"{shortened(video.name, 80)}: predicted events", fontsize=10)
        panels = figure.subplots(len(heights), height_ratios=heights).reshape(len(rows), 5)
        for row, (*axes, gap), power in zip(rows, panels, spectrograms, strict=True):
            gap.set_axis_off()
            _draw_frames(axes[0], frames, row, every)
            _draw_sound(axes[1], power, loudest, row)
            _draw_probability(axes[2], prediction.event_probability[row.start : row.end], row, threshold)
            _draw_events(axes[3], row, row_seconds)
            for axis in axes:
                axis.set_xlim(row.start, row.start + row_seconds)
                axis.xaxis.set_major_locator(MultipleLocator(step))
                axis.tick_params(axis="x", labelbottom=axis is axes[3], length=3 if axis is axes[3] else 0)
                if len(rows) > 1:
                    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(x) // 60}:{int(x) % 60:02d}"))
        if loudest:
            label = {"label": "dB below\nthe loudest", "ticks": [-60, -30, 0], "format": lambda x, _: f"{-x:g}"}
            figure.colorbar(panels[0, 1].images[0], ax=panels[0, 1], pad=0.01, aspect=12, **label)
        panels[0, 2].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
        panels[0, 3].set_title("events found, with their probability", loc="left", fontsize=8)
        panels[-1, 3].set_xlabel("time (s)" if len(rows) == 1 else "time (min:s)")
        figure.align_ylabels(panels[:, :3])


def rows_of(prediction: Prediction) -> tuple[list[Row], int]:
    """Divide a video into rows; gives them and the seconds that the width of a row stands for."""
    seconds = len(prediction.classes)
    if seconds <= MINUTE:
        return [Row(0, seconds, prediction.events)], seconds
    for row_seconds in (*ROW_SECONDS, seconds):
        rows = []
        for start in range(0, seconds, row_seconds):
            end = min(start + row_seconds, seconds)
            inside = [event for event in prediction.events if event.start < end and event.end > start]
            cut = [each._replace(start=max(each.start, start), end=min(each.end, end)) for each in inside]
            rows.append(Row(start, end, cut))
        if sum(_heights(rows)) + LABELS * len(rows) + TITLE <= TALLEST:
            break
    return rows, row_seconds


def _heights(rows: list[Row]) -> list[float]:
    """Inches of the four panels of each row and of the gap below them."""
    panels = ONE_ROW if len(rows) == 1 else MANY_ROWS
    return [height for row in rows for height in (*panels, LANE * max(1, len(row.names)), GAP)]


def _frames(
    video: Path, rows: list[Row], row_seconds: int, height: float
) -> tuple[list[tuple[float, np.ndarray]], float]:
    """Frames of ``height`` inches with their times, as many as fit into the rows, and the seconds from one to the next.

    The video is decoded once for all rows. If its picture ends early, so do the frames.
    """
    pixels = round(height * DPI)
    h, w, _ = pictures_at(video, [0.0], pixels)[0].shape
    every = row_seconds / max(1, round(0.85 * WIDE / height * h / w))
    times = []
    for row in rows:
        count = max(1, round((row.end - row.start) / every))
        times += [min(row.start + (number + 0.5) * every, row.end - 0.5) for number in range(count)]
    return list(zip(times, pictures_at(video, times, pixels), strict=False)), every


def _draw_frames(axis: Axes, frames: list[tuple[float, np.ndarray]], row: Row, every: float) -> None:
    """Draw frames side by side, apart from each other whatever their colours are: outlined, with gaps between them."""
    inside = [frame for time, frame in frames if row.start <= time < row.end]
    for number, frame in enumerate(inside):
        left, right = row.start + (number + 0.03) * every, row.start + (number + 0.97) * every
        axis.imshow(frame, extent=(left, right, 0.03, 0.97), aspect="auto")
        axis.add_patch(Rectangle((left, 0.03), right - left, 0.94, fill=False, ec=INK, lw=0.6))
    axis.set(ylim=(0, 1), yticks=[], ylabel="frames")
    axis.spines[:].set_visible(False)


def _spectrogram(sound: np.ndarray) -> np.ndarray:
    """The power (frequencies, times) of a sound (n,) at up to ``COLUMNS`` times, float32."""
    sound = np.pad(sound, (0, max(0, FFT - len(sound))))
    hop = max(FFT // 4, len(sound) // COLUMNS)
    windows = np.lib.stride_tricks.sliding_window_view(sound, FFT)[::hop]
    return (np.abs(np.fft.rfft(windows * np.hanning(FFT))).T ** 2).astype(np.float32)


def _draw_sound(axis: Axes, power: np.ndarray, loudest: float | None, row: Row) -> None:
    """Draw a spectrogram: louder is brighter, down to 60 dB below ``loudest``, which is None for a silent video."""
    axis.set(ylim=(0, SAMPLE_RATE / 2000), ylabel="sound\n(kHz)")
    if loudest is None:
        axis.axvspan(row.start, row.end, color="black")
        axis.text((row.start + row.end) / 2, SAMPLE_RATE / 4000, "silent", color="white", ha="center", va="center")
        return
    style = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -60, "vmax": 0}
    axis.imshow(10 * np.log10(power / loudest + 1e-12), extent=(row.start, row.end, 0, SAMPLE_RATE / 2000), **style)


def _draw_probability(axis: Axes, event_probability: np.ndarray, row: Row, threshold: float) -> None:
    seconds = range(row.start, row.end + 1)
    axis.stairs(event_probability, seconds, color=EVENT, lw=1.6, label="per second")
    axis.axhline(threshold, color=LIMIT, ls="--", lw=1.3, label=f"threshold, {threshold:g}")
    axis.set(ylim=(0, 1.02), ylabel="event\nprobability")
    light_grid(axis, "y")


def _draw_events(axis: Axes, row: Row, row_seconds: int) -> None:
    """Draw a lane per class with a bar per event; its probability is in the bar, beside it, or below the class name."""
    room = 0.045 * row_seconds  # taken by a number
    labels = []
    for lane, name in enumerate(row.names):
        events = [event for event in row.events if event.name == name]
        taken = row.start  # the end of what the lane shows so far
        left_out = []
        for event, next_start in zip(events, [*(event.start for event in events[1:]), row.end], strict=True):
            length = event.end - event.start
            axis.barh(lane, length, left=event.start, height=0.7, fc=EVENT, ec=EVENT, lw=0.8)
            text = {"s": f"{event.probability:.2f}", "va": "center", "fontsize": 8}
            free, taken = event.start - taken, event.end
            if length > room:
                axis.text(event.start + length / 2, lane, ha="center", color="white", **text)
            elif next_start - event.end > room:
                axis.text(event.end + 0.1 * room, lane, ha="left", **text)
                taken += room
            elif free > room:
                axis.text(event.start - 0.1 * room, lane, ha="right", **text)
            else:
                left_out.append(event.probability)
        labels.append("\n".join(filter(None, (shortened(name, NAME_LENGTH), _in_words(left_out)))))
    if not row.names:
        axis.text(0.5, 0.5, "no event", ha="center", va="center", transform=axis.transAxes)
    axis.set(yticks=range(len(labels)), ylim=(max(1, len(labels)) - 0.5, -0.5))
    axis.set_yticklabels(labels, fontsize=7.5, linespacing=1.05)
    axis.tick_params(axis="y", length=0)


def _in_words(probabilities: list[float]) -> str:
    """Probabilities without room beside their bars, in a few characters."""
    if len(probabilities) > 3:
        return f"others {min(probabilities):.2f} to {max(probabilities):.2f}"
    return ", ".join(f"{probability:.2f}" for probability in probabilities)
