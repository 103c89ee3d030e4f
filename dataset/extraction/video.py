"""Decoding of video files, second by second: pictures for VGG-19, sound for VGGish. PyAV brings its own FFmpeg."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from dataset.extraction.vgg19 import PICTURE_SIZE
from dataset.extraction.vggish import SAMPLE_RATE

GAP = 0.1  # s, imprecision of the time stamps of sound; a larger difference is a gap
SILENCE = 1e-4  # largest sample of a silent video; 16-bit sound has steps of 3e-5


class VideoError(Exception):
    """A video that cannot be used. The message says why; the caller names the file."""


class Clip(NamedTuple):
    """The first seconds of a video."""

    pictures: np.ndarray  # (t, frames per second, 224, 224, 3), RGB, uint8
    sound: np.ndarray  # (n,), 16 kHz, float32 in [-1, 1]


@contextmanager
def open_video(path: Path, *streams: str) -> Iterator[av.container.InputContainer]:
    """Open a video file that has all of ``streams`` ("video", "audio").

    Raises:
        VideoError: it is not a video, lacks a stream, or cannot be decoded.
    """
    try:
        # The prefix keeps FFmpeg from taking a file name with a colon for an address.
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            for kind, word in (("video", "picture"), ("audio", "sound")):
                if kind in streams and not getattr(container.streams, kind):
                    raise VideoError(f"has no {word} ({kind} stream)")
            for stream in container.streams.video:
                stream.thread_type = "AUTO"
            yield container
    except av.FFmpegError as error:
        raise VideoError(f"cannot be decoded: {error.strerror or error}") from error


def read_clip(path: Path, num_seconds: int, frames_per_second: int) -> Clip:
    """The first ``num_seconds`` seconds of a video. At least half of the last one must exist.

    Raises:
        VideoError: the video is too short, has no picture or no sound, or cannot be decoded.
    """
    sound = read_sound(path)
    if len(sound) < (num_seconds - 0.5) * SAMPLE_RATE:
        raise VideoError(f"is too short: its sound lasts {len(sound) / SAMPLE_RATE:.1f} s, expected {num_seconds}")
    seconds = list(islice(read_seconds(path, frames_per_second), num_seconds))
    if len(seconds) < num_seconds:
        raise VideoError(f"is too short: its picture lasts about {len(seconds)} s, expected {num_seconds}")
    return Clip(np.stack(seconds), sound[: num_seconds * SAMPLE_RATE])


# ---------------------------------------------------------------------------------------------------- picture


def read_seconds(path: Path, frames_per_second: int) -> Iterator[np.ndarray]:
    """The seconds of a video, each as (frames per second, 224, 224, 3), RGB, uint8: the whole frame, resized.

    Frame i of second k is the one that a player shows at k + (i + 1/2) / frames per second. A last second counts if it
    has half of its frames; a video has at least one second.

    Raises:
        VideoError: as ``open_video``, or it has no frame.
    """
    second: list[np.ndarray] = []
    any_yet, last = False, None
    for frame in _shown(path, ((number + 0.5) / frames_per_second for number in count())):
        if frame is not last:
            picture = _upright(frame, PICTURE_SIZE, PICTURE_SIZE)
        last = frame
        second.append(picture)
        if len(second) == frames_per_second:
            yield np.stack(second)
            second, any_yet = [], True
    if second and (len(second) >= frames_per_second / 2 or not any_yet):
        yield np.stack(second + [second[-1]] * (frames_per_second - len(second)))


def pictures_at(path: Path, seconds: Sequence[float], height: int) -> list[np.ndarray]:
    """The pictures that are shown at rising times of a video, (height, width, 3), RGB, uint8.

    Raises:
        VideoError: as ``open_video``, or it has no frame.
    """
    pictures = []
    for frame in _shown(path, iter(seconds)):
        sideways = frame.rotation % 180 == 90
        aspect = frame.height / frame.width if sideways else frame.width / frame.height
        width = max(1, round(height * aspect))
        pictures.append(_upright(frame, height, width) if not sideways else _upright(frame, width, height))
    return pictures


def decoded_frames(container: av.container.InputContainer) -> Iterator[tuple[float, float, av.VideoFrame]]:
    """Each frame with the times from which and until which it is shown, in seconds."""
    origin = start_time(container)
    stream = container.streams.best("video")
    usual = float(1 / stream.average_rate) if stream.average_rate else 1 / 25
    end = 0.0
    for frame in container.decode(stream):
        start = end if frame.pts is None else float(frame.pts * frame.time_base) - origin
        end = start + (float(frame.duration * frame.time_base) if frame.duration else usual)
        yield start, end, frame


def upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """A picture (height, width, ...) made from ``frame``, turned as a player turns it: phones record sideways."""
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))


def start_time(container: av.container.InputContainer) -> float:
    """The time stamp, in seconds, at which a player's clock shows 0."""
    return (container.start_time or 0) / av.time_base


def _shown(path: Path, ticks: Iterator[float]) -> Iterator[av.VideoFrame]:
    """The frames shown at rising times until the video ends; the first one in any case."""
    with open_video(path, "video") as container:
        first = tick = next(ticks, math.inf)
        shown, end = None, 0.0
        for start, shown_until, frame in decoded_frames(container):
            while shown is not None and tick < start:
                yield shown
                tick = next(ticks, math.inf)
            shown, end = frame, max(end, shown_until)
        if shown is None:
            raise VideoError("has no picture: not a single frame can be decoded")
        if tick == first < math.inf:
            end = max(end, math.nextafter(tick, math.inf))
        while tick < end:
            yield shown
            tick = next(ticks, math.inf)


def _upright(frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
    """A frame resized to a height and width before it is turned, RGB, uint8."""
    resized = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
    return upright(resized.to_ndarray(), frame)


# ---------------------------------------------------------------------------------------------------- sound


def read_sound(path: Path) -> np.ndarray:
    """The sound (n,) of a video from its time 0, as the mean of its channels at 16 kHz; float32 in [-1, 1].

    Gaps in it, and the time before a late start, are silence.

    Raises:
        VideoError: as ``open_video``, or the sound is empty.
    """
    pieces: list[tuple[int, np.ndarray]] = []  # where each begins
    with open_video(path, "audio") as container:
        origin = start_time(container)
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        position = None
        for frame in _resampled(container, resampler):
            samples = frame.to_ndarray().mean(axis=0)
            if frame.pts is not None:
                stamp = round((float(frame.pts * frame.time_base) - origin) * SAMPLE_RATE)
                if position is None or abs(stamp - position) > GAP * SAMPLE_RATE:
                    position = stamp
            position = position or 0
            pieces.append((position, samples))
            position += len(samples)
    length = max((begin + len(samples) for begin, samples in pieces), default=0)
    if length <= 0:
        raise VideoError("has no sound: its audio stream is empty")
    sound = np.zeros(length, np.float32)
    for begin, samples in pieces:
        cut = max(0, -begin)  # before time 0
        sound[begin + cut : begin + len(samples)] = samples[cut:]
    return sound


def is_silent(sound: np.ndarray) -> bool:
    """Whether a sound (n,) is silent throughout."""
    return not np.any(np.abs(sound) > SILENCE)


def _resampled(container: av.container.InputContainer, resampler: av.AudioResampler) -> Iterator[av.AudioFrame]:
    for frame in container.decode(container.streams.best("audio")):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
