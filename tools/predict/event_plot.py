"""The picture of a prediction: frames, sound, event probability and the events found."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import is_silent, pictures_at
from model import Prediction, TrainedMAGAN
from tools.drawing.plots import AUDIO, DPI, JOINT, NAME_LENGTH, WIDE, light_grid, picture, shortened

STRIP, SOUND, CURVE, LANE, REST = 0.8, 1.1, 1.1, 0.3, 1.3  # inches, of the four parts and around them
EVENT, LIMIT = JOINT, AUDIO  # distinct in greyscale, too
FFT = 512
LONG = 120  # s, above which times are minutes and seconds
COLUMNS = 1500  # of the spectrogram: more than the picture shows


def plot_events(out: Path, video: Path, sound: np.ndarray, prediction: Prediction, model: TrainedMAGAN) -> None:
    """Draw a prediction as a PNG.

    Args:
        out: PNG to write.
        video: its file, for the frames.
        sound: (n,), at 16 kHz.
        prediction: of ``model`` for the video.
        model: gives the threshold.

    Raises:
        VideoError: the video cannot be decoded.
        InputError: the file cannot be written.
    """
    seconds = len(prediction.classes)
    names = list(dict.fromkeys(event.name for event in prediction.events))
    lanes = LANE * max(1, len(names))
    with picture(out, WIDE, STRIP + SOUND + CURVE + lanes + REST, [video.name, *names]) as figure:
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(STRIP, SOUND, CURVE, lanes))
        figure.suptitle(f"{shortened(video.name, 80)}: predicted events", fontsize=10)
        _frames(axes[0], video, seconds)
        _sound(axes[1], sound, seconds)
        _probability(axes[2], prediction, model.network.config.event_threshold)
        _events(axes[3], prediction, names)
        axes[3].set(xlim=(0, seconds), xlabel="time (s)" if seconds <= LONG else "time (min:s)")
        axes[3].xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=[1, 2, 3, 5, 6, 10]))
        if seconds > LONG:
            axes[3].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(x) // 60}:{int(x) % 60:02d}"))
        figure.align_ylabels(axes[:3])


def _frames(axis: Axes, video: Path, seconds: int) -> None:
    """Draw as many frames as fit side by side, each over the time around it."""
    height = round(STRIP * DPI)
    first = pictures_at(video, [0.0], height)[0]
    count = max(1, round(0.85 * WIDE / STRIP * first.shape[0] / first.shape[1]))
    each = seconds / count
    pictures = pictures_at(video, [(number + 0.5) * each for number in range(count)], height)
    for number, frame in enumerate(pictures):
        axis.imshow(frame, extent=(number * each, (number + 1) * each, 0, 1), aspect="auto")
        axis.axvline(number * each, color="white", lw=2)
    axis.set(xlim=(0, seconds), ylim=(0, 1), yticks=[], ylabel="frames")


def _sound(axis: Axes, sound: np.ndarray, seconds: int) -> None:
    """Draw the spectrogram: louder is brighter, down to 60 dB below the loudest."""
    axis.set(ylim=(0, SAMPLE_RATE / 2000), ylabel="sound (kHz)", facecolor="black")
    sound = np.pad(sound[: seconds * SAMPLE_RATE], (0, max(0, FFT - len(sound))))
    if is_silent(sound):
        axis.text(0.5, 0.5, "silent", color="white", ha="center", va="center", transform=axis.transAxes)
        return
    hop = max(FFT // 4, len(sound) // COLUMNS)
    windows = np.lib.stride_tricks.sliding_window_view(sound, FFT)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(FFT))).T ** 2
    decibels = 10 * np.log10(power / power.max() + 1e-12)
    begin, end = (np.array([0, len(windows)]) - 0.5) * hop + FFT / 2
    image = axis.imshow(
        decibels,
        extent=(begin / SAMPLE_RATE, end / SAMPLE_RATE, 0, SAMPLE_RATE / 2000),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-60,
        vmax=0,
    )
    axis.figure.colorbar(
        image,
        ax=axis,
        label="dB below\nthe loudest",
        pad=0.01,
        aspect=12,
        ticks=[-60, -30, 0],
        format=lambda level, _: f"{-level:g}",
    )


def _probability(axis: Axes, prediction: Prediction, threshold: float) -> None:
    edges = np.arange(len(prediction.classes) + 1)
    axis.stairs(prediction.event_probability, edges, color=EVENT, lw=1.6, label="event, per second")
    axis.axhline(threshold, color=LIMIT, ls="--", lw=1.3, label=f"threshold, {threshold:g}")
    axis.set(ylim=(0, 1.02), ylabel="probability")
    light_grid(axis, "y")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)


def _events(axis: Axes, prediction: Prediction, names: list[str]) -> None:
    """Draw a lane per class with a bar per event; its probability is in the bar, beside it, or below the class name."""
    seconds = len(prediction.classes)
    room = 0.045 * seconds  # taken by a number
    labels = []
    for lane, name in enumerate(names):
        events = [event for event in prediction.events if event.name == name]
        taken = 0.0  # the end of what the lane shows so far
        left_out = []
        for event, end_of_room in zip(events, [*(event.start for event in events[1:]), seconds], strict=True):
            length = event.end - event.start
            axis.barh(lane, length, left=event.start, height=0.7, color=EVENT, edgecolor="white", lw=0.8)
            text = {"s": f"{event.probability:.2f}", "va": "center", "fontsize": 8}
            begin, taken = taken, event.end
            if length > room:
                axis.text(event.start + length / 2, lane, ha="center", color="white", **text)
            elif end_of_room - event.end > room:
                axis.text(event.end + 0.1 * room, lane, ha="left", **text)
                taken += room
            elif event.start - begin > room:
                axis.text(event.start - 0.1 * room, lane, ha="right", **text)
            else:
                left_out.append(event.probability)
        labels.append("\n".join(filter(None, (shortened(name, NAME_LENGTH), _in_words(left_out)))))
    if not names:
        axis.text(0.5, 0.5, "no event", ha="center", va="center", transform=axis.transAxes)
    axis.set(yticks=range(len(names)), ylim=(max(1, len(names)) - 0.5, -0.5))
    axis.set_yticklabels(labels, fontsize=7.5, linespacing=1.05)
    axis.set_title("events found, with their probability", loc="left", fontsize=8)
    axis.tick_params(axis="y", length=0)


def _in_words(probabilities: list[float]) -> str:
    """Probabilities without room beside their bars, in a few characters."""
    if len(probabilities) > 3:
        return f"others {min(probabilities):.2f} to {max(probabilities):.2f}"
    return ", ".join(f"{probability:.2f}" for probability in probabilities)
