"""A video in the formats and colours that every browser plays, with its predicted events burnt in or as it is."""

from collections.abc import Iterator
from fractions import Fraction
from heapq import merge
from itertools import chain
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dataset.extraction.video import GAP, Track, open_video, picture_of, resampled
from model import Prediction
from tools.drawing.plots import drawing_style
from utils.atomic import atomic_write
from utils.errors import os_error_as_input_error

EVENT, BACKGROUND = "#0072B2", "#1F2328"  # colours of the strip at the bottom
STRIP = 0.09  # its height relative to the picture's
OPACITY = 0.85
DPI = 100
CLOCK = Fraction(1, 90000)  # s, the unit of the frames' time stamps
SOUND_RATE = 48000  # Hz
UNSPECIFIED = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
LARGEST_SD = 576  # rows: a larger video without a colour space is BT.709 to players, a smaller one BT.601

Packets = Iterator[tuple[float, list[av.Packet]]]  # with their time in seconds


def render_events(out: Path, video: Path, prediction: Prediction | None) -> None:
    """Write an MP4 (H.264 in BT.709, AAC) of a video with a label of the predicted event in each second, if any.

    Its sound is that of the video. Frames are written as they are read, so that memory does not grow with the length.

    Raises:
        VideoError: the video cannot be decoded.
    """
    with (
        open_video(video, "video") as pictures,
        open_video(video, "audio") as sounds,
        os_error_as_input_error(out),
        atomic_write(out) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        track = Track(pictures, "video")
        frames = track.frames()
        first = next(frames)
        height, width = _picture(first[2]).shape[:2]
        rate = track.stream.average_rate or 25
        picture_stream = target.add_stream(  # with a keyframe every two seconds, so that players seek fast
            "libx264", rate=rate, options={"crf": "20", "preset": "veryfast", "g": str(round(2 * rate))}
        )
        picture_stream.width, picture_stream.height, picture_stream.pix_fmt = width, height, "yuv420p"
        codec = picture_stream.codec_context
        codec.time_base = CLOCK
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        sound_stream = target.add_stream("aac", rate=SOUND_RATE, layout="stereo")

        labels = Labels(prediction, height, width) if prediction else None
        packets = (
            _encoded_pictures(chain([first], frames), labels, picture_stream),
            _encoded_sound(sounds, sound_stream),
        )
        for _, some in merge(*packets, key=itemgetter(0)):
            target.mux(some)


class Labels:
    """The labels on the strip at the bottom of the picture, one per second."""

    def __init__(self, prediction: Prediction, height: int, width: int) -> None:
        self.shape = max(24, round(STRIP * height)), width
        self.last = len(prediction.classes) - 1
        self.events = {
            second: (f"{event.name}  {event.probability:.2f}", EVENT)
            for event in prediction.events
            for second in range(event.start, event.end)
        }
        self.names = {event.name for event in prediction.events}
        self.label: tuple[str, str] | None = None  # the last one drawn
        self.strip: np.ndarray | None = None

    def burn_in(self, picture: np.ndarray, second: float) -> None:
        """Draw the label of a time into a picture (height, width, 3), uint8."""
        label = self.events.get(min(int(max(0, second)), self.last), ("background", BACKGROUND))
        if label != self.label:
            with drawing_style(self.names):
                self.label, self.strip = label, self._draw(*label)
        place = picture[-self.shape[0] :]
        place[:] = np.round((1 - OPACITY) * place + OPACITY * self.strip[-len(place) :])

    def _draw(self, text: str, color: str) -> np.ndarray:
        height, width = self.shape
        figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=color)
        canvas = FigureCanvasAgg(figure)
        size = 0.5 * height * 72 / DPI
        drawn = figure.text(0.3 * height / width, 0.5, text, color="white", va="center", fontsize=size)
        room = width - 0.6 * height
        drawn.set_fontsize(size * min(1, room / drawn.get_window_extent().width))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:height, :width, :3]


def _picture(frame: av.VideoFrame) -> np.ndarray:
    """A frame as shown, (height, width, 3), uint8, without a last odd row or column: H.264 needs even sides."""
    assumed = "ITU709" if frame.colorspace == UNSPECIFIED and frame.height > LARGEST_SD else None
    picture = picture_of(frame, matrix=assumed)
    height, width = picture.shape[:2]
    return picture[: height // 2 * 2, : width // 2 * 2]


def _encoded_pictures(
    frames: Iterator[tuple[float, float, av.VideoFrame]], labels: Labels | None, stream: av.video.stream.VideoStream
) -> Packets:
    stamp = -1
    for start, _, frame in frames:
        picture = _picture(frame)
        if picture.shape[:2] != (stream.height, stream.width):  # broadcasts change it
            scaled = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            picture = scaled.reformat(stream.width, stream.height).to_ndarray()
        picture = np.ascontiguousarray(picture)
        if labels:
            labels.burn_in(picture, start)
        labelled = av.VideoFrame.from_ndarray(picture, format="rgb24")
        labelled = labelled.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        stamp = max(stamp + 1, round(start / CLOCK))
        labelled.pts, labelled.time_base = stamp, CLOCK
        yield start, stream.encode(labelled)
    yield float(stamp * CLOCK), stream.encode(None)


def _encoded_sound(source: av.container.InputContainer, stream: av.audio.stream.AudioStream) -> Packets:
    track, position = Track(source, "audio"), 0  # samples written
    for frame in resampled((frame for _, _, frame in track.frames()), SOUND_RATE, "stereo"):
        if frame.pts is not None:
            stamp = round(float(frame.pts * frame.time_base) * SOUND_RATE)
            if stamp - position > GAP * SOUND_RATE:  # where packets are missing or damaged, there is silence
                position = stamp
        frame.pts, frame.time_base = position, Fraction(1, SOUND_RATE)
        yield position / SOUND_RATE, stream.encode(frame)
        position += frame.samples
    yield position / SOUND_RATE, stream.encode(None)
