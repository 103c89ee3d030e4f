"""Decoding of video files, second by second: pictures and sound for the networks. PyAV brings its own FFmpeg.

Damage does not end a video as long as half of it can be decoded: packets that cannot be are skipped, and all others
keep their times. In a gap, the last picture stays and the sound is silent. Whatever is missing, a remark says so.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from dataset.extraction.clock import HOUR, Clock, best_stream
from dataset.extraction.hdr import LIGHT, without_hdr
from utils.errors import reason_of

SAMPLE_RATE = 16000  # Hz, of the sound
GAP = 0.1  # s, imprecision of time stamps; a larger difference is a gap
NOTABLE = 0.5  # s; less may be missing without a remark, as of the last second
TAIL = 4096  # bytes at the end of a transport stream, which has no header that says how long it is
BEGINNINGS = b"ftyp", b"\x1aE\xdf\xa3", b"FLV\1\5\0\0\0\x09"  # of MP4, Matroska and FLV
SILENCE = 1e-4  # largest sample of a silent video; 16-bit sound has steps of 3e-5
WORDS = {"video": "picture", "audio": "sound"}

Frame = av.VideoFrame | av.AudioFrame
Spans = list[tuple[int, int]]  # of whole seconds


class VideoError(Exception):
    """A video that cannot be used. The message says why; the caller names the file."""


class Second(NamedTuple):
    """A second of a video; None for the pictures or the sound after their end."""

    pictures: list[np.ndarray] | None  # prepared for the network: the frames that it is the first to show
    shown: np.ndarray | None  # (n,), int64: frame shown in each n-th of the second; -1 is the last one of the past
    sound: np.ndarray | None  # (16000,), 16 kHz, float32 in [-1, 1]


def picture_of(
    frame: av.VideoFrame, height: int | None = None, width: int | None = None, matrix: str | None = None
) -> np.ndarray:
    """The picture (height, width, 3) of a frame as a screen without HDR shows it, RGB, uint8.

    Args:
        height, width: to which it is resized before it is turned as a player turns it; by default its own.
        matrix: of its colours, such as "ITU709"; by default as the frame says.
    """
    is_hdr = frame.color_trc in LIGHT
    form = "rgb48le" if is_hdr else "rgb24"
    resized = frame.reformat(width, height, form, src_colorspace=matrix, interpolation="BILINEAR").to_ndarray()
    picture = without_hdr(resized, frame.color_trc) if is_hdr else resized
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))  # phones record sideways


@dataclass
class Video:
    """A video file, read once, second by second; ``prepare`` makes a network's picture of a frame.

    Frame i of second k is the one that a player shows at k + (i + 1/2) / n, with n ``frames_per_second``. The last
    second counts if half of it exists. All seconds are read, or as many as ``limit``.
    """

    path: Path
    frames_per_second: int
    limit: int | None = None
    prepare: Callable[[av.VideoFrame], np.ndarray] = picture_of

    def __post_init__(self) -> None:
        self.tracks: list[Track] = []
        self.lengths = [0, 0]  # seconds of picture and sound
        self.is_silent = True

    def duration(self) -> int:
        """Length of the video in seconds, at least 1: as its header says, or by its packets where they may jump."""
        with open_video(self.path, "video", "audio") as container:
            clock = Clock(container)
            if not 0 < clock.declared <= HOUR:
                deque(clock.packets(), maxlen=0)
            return max(1, round(clock.end or clock.declared))

    def seconds(self) -> Iterator[Second]:
        """The seconds of the video, until both its picture and its sound end.

        Raises:
            VideoError: it has no picture or no sound, has less than a second of them, is damaged by more than half, or
                cannot be read.
        """
        for pictures, sound in zip_longest(self._pictures(), self._sounds()):
            self.lengths[0] += pictures is not None
            self.lengths[1] += sound is not None
            self.is_silent = self.is_silent and (sound is None or is_silent(sound))
            yield Second(*(pictures or (None, None)), sound)

    def remarks(self) -> list[str]:
        """What is odd about the video, after its last second: predicates for its name."""
        picture, sound = self.tracks
        picture.missing += _shared(picture.pauses, sound.missing)
        remarks = ["is silent"] if self.is_silent else []
        if any(track.clock.is_split for track in self.tracks):
            remarks.append("has picture and sound that begin over an hour apart: each is taken from its own beginning")
        clock = max((track.clock for track in self.tracks), key=lambda clock: len(clock.jumps))  # that has read further
        if jumps := [f"{jump:.1f} s" for jump in clock.jumps if jump < (self.limit or math.inf)]:
            remarks.append(f"has time stamps that jump at {', '.join(dict.fromkeys(jumps))}: its clock continues there")
        if self.limit is None or max(self.lengths) < self.limit:
            remarks += self._remarks_on_end()
        remarks += [remark for track in self.tracks for remark in track.remarks(self.limit)]
        for track, length in zip(self.tracks, self.lengths, strict=True):
            if length < (self.limit or max(self.lengths)):
                end = f"{track.end:.1f} s: its last second is repeated from {length} s on"
                remarks.append(f"has no {track.word} after {end}")
        return remarks

    def _remarks_on_end(self) -> list[str]:
        """What the file has, or should have, after the end of its picture and its sound."""
        clock, end = self.tracks[0].clock, max(track.end for track in self.tracks)
        remarks = []
        if clock.errors:
            remarks.append(f"cannot be read after {end:.1f} s: the rest of the file is lost")
        elif end < clock.declared - NOTABLE:
            remarks.append(f"ends at {end:.1f} s, where its header says {clock.declared:.1f} s: the rest is missing")
        if max(clock.others.values(), default=0) > NOTABLE:
            remarks.append(f"goes on after {end:.1f} s in other streams, which are not used")
        with suppress(OSError):  # all of the video was read
            remarks += _remarks_on_file(self.path, clock)
        return remarks

    def _pictures(self) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        n = self.frames_per_second
        ticks = ((number + 0.5) / n for number in (count() if self.limit is None else range(self.limit * n)))
        with open_video(self.path, "video") as container:
            self.tracks.append(track := Track(container, "video"))
            new, shown, last = [], [], None
            for frame in _shown(track, ticks):
                if frame is not last:
                    new.append(self.prepare(frame))
                last = frame
                shown.append(len(new) - 1)
                if len(shown) == n:
                    yield new, np.array(shown)
                    new, shown = [], []
            track.check(self.limit)
            if shown and len(shown) >= n / 2:
                yield new, np.array(shown + [shown[-1]] * (n - len(shown)))

    def _sounds(self) -> Iterator[np.ndarray]:
        with open_video(self.path, "audio") as container:
            self.tracks.append(track := Track(container, "audio"))
            yield from islice(_in_seconds(_pieces(track, self.limit)), self.limit)
            track.check(self.limit)


class Track:
    """The picture or the sound of an open video. Times are seconds on the clock of a player.

    Attributes:
        word: "picture" or "sound".
        clock: of the packets.
        end: of the frames decoded so far, and of the damage.
        lost: from when to when packets were skipped.
        faulty: whole seconds, from when to when, with lost packets, or with a frame that the decoder had to complete.
        missing: the same before the first frame, or without any sound.
        pauses: the same without a new picture, which may be meant: they are missing if the sound pauses, too.
    """

    def __init__(self, container: av.container.InputContainer, kind: str) -> None:
        self.clock = Clock(container)
        self.stream = next(stream for stream in self.clock.streams if stream.type == kind)
        self.word = WORDS[kind]
        self.end = 0.0
        self.lost: list[tuple[float, float]] = []
        self.faulty: Spans = []
        self.missing: Spans = []
        self.pauses: Spans = []

    def frames(self) -> Iterator[tuple[float, float, Frame]]:
        """Each frame that can be decoded, with the times from which and until which it lasts."""
        rate = self.stream.average_rate if self.word == "picture" else None
        usual = float(1 / rate) if rate and rate * HOUR >= 1 else 1 / 25
        for packet in self.clock.packets():
            if packet.stream is not self.stream:
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                if packet.size:  # else it marks the end
                    start = self._time(packet.dts if packet.pts is None else packet.pts, packet.time_base)
                    end = start + float((packet.duration or 0) * packet.time_base or usual)
                    self.lost.append((start, end))
                    self._reach(start, end, self.faulty)
                continue
            for frame in frames:
                start = self._time(frame.pts, frame.time_base)
                if isinstance(frame, av.AudioFrame):
                    end = start + frame.samples / frame.sample_rate
                else:
                    end = start + (float(frame.duration * frame.time_base) if frame.duration else usual)
                if start - self.end > NOTABLE:
                    seconds = self.missing if self.word == "sound" or not self.end else self.pauses
                    self._reach(self.end + GAP, start - GAP, seconds)
                if self.word == "picture":  # whatever its duration, the one before ends here
                    self.end = min(self.end, start)
                self._reach(start, end, self.faulty if frame.is_corrupt else None)
                yield start, end, frame

    def check(self, limit: int | None) -> None:
        """Check that enough can be decoded of the first ``limit`` seconds, after the last frame.

        Raises:
            VideoError: nothing, less than a second, or less than half.
        """
        declared = self.stream.duration if self.clock.declared else None
        total = max(self.end, float(declared * self.stream.time_base) if declared else 0)
        total = min(total, limit or total)
        lost = sum(max(0, min(end, total) - max(0, start)) for start, end in self.lost)
        left = min(self.end, total) - lost
        if left <= 0:
            raise VideoError(f"has no {self.word}: nothing in its {self.stream.type} stream can be decoded")
        if left < total / 2:
            raise VideoError(f"is damaged: of {total:.1f} s of its {self.word}, only {left:.1f} can be decoded")
        if total < 1 - GAP:
            raise VideoError(f"is shorter than a second: its {self.word} lasts {total:.1f} s")

    def remarks(self, limit: int | None) -> list[str]:
        """Predicates on the damaged and the missing seconds among the first ``limit``."""
        if self.word == "sound":
            remedies = "where it cannot be decoded, it is silent", "it is silent there"
        else:
            remedies = "where it cannot be decoded, the last good one stays", "the nearest one is shown"
        found = {f"damage in its {self.word}": self.faulty, f"no {self.word}": self.missing}
        spans = (_spans(seconds, limit) for seconds in found.values())
        return [
            f"has {what} from {when}: {how}" for what, when, how in zip(found, spans, remedies, strict=True) if when
        ]

    def _time(self, stamp: int | None, unit: float) -> float:
        return self.end if stamp is None else float(stamp * unit)

    def _reach(self, start: float, end: float, seconds: Spans | None) -> None:
        self.end = max(self.end, end)
        if seconds is not None:
            seconds.append((int(max(0, start)), math.ceil(end)))


def _spans(seconds: Spans, limit: int | None) -> str:
    """The seconds before ``limit`` in words; empty if there are none."""
    spans = ((start, min(end, limit or end)) for start, end in _merged(seconds))
    return ", ".join(f"{start} to {end} s" for start, end in spans if start < end)


def _merged(spans: Spans) -> Spans:
    """The same seconds in order, in as few spans as possible."""
    merged: Spans = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            start, last = merged.pop()
            end = max(end, last)
        merged.append((start, end))
    return merged


def _shared(some: Spans, others: Spans) -> Spans:
    """The seconds that are in both."""
    shared, reached = [], 0
    for start, end in sorted(_merged(some) + _merged(others)):
        if start < reached:
            shared.append((start, min(end, reached)))
        reached = max(reached, end)
    return shared


def _remarks_on_file(path: Path, clock: Clock) -> list[str]:
    """What FFmpeg does not tell: that the file is cut off, or goes on behind its packets."""
    with open(path, "rb") as file:
        head, size = file.read(9), path.stat().st_size
        if head.startswith(b"RIFF") and 8 + int.from_bytes(head[4:8], "little") > size:
            return ["is cut off: its header says that the file is longer"]
        if clock.is_discontinuous:
            file.seek(max(0, size - TAIL))
            return [] if any(file.read()) else ["ends in zeros, as after an interrupted download: its rest is missing"]
        mark = next((mark for mark in BEGINNINGS if mark in head), None)
        if mark:
            file.seek(clock.position)
            if any(mark in part for part in iter(lambda: file.read(1 << 20), b"")):
                return ["holds another video behind its end, which players do not see: put each into its own file"]
    return []


@contextmanager
def open_video(path: Path, *streams: str) -> Iterator[av.container.InputContainer]:
    """Open a video file that has all of ``streams`` ("video", "audio").

    Raises:
        VideoError: it is not a video, lacks a stream, or cannot be read.
    """
    try:
        # Python reads the file: FFmpeg would take a name with a colon for an address, and hide why a disk fails.
        with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
            for kind, word in WORDS.items():
                if kind in streams and not best_stream(container, kind):
                    raise VideoError(f"has no {word} ({kind} stream)")
            for stream in container.streams.video:
                stream.thread_type = "AUTO"
            yield container
    except av.FFmpegError as error:
        raise VideoError(f"cannot be decoded: {error.strerror or error}") from error
    except OSError as error:  # nothing is known of the contents, unless FFmpeg looks for a place that no file has
        reason = reason_of(error)
        message = f"cannot be read: {reason}" if reason else "cannot be decoded: it is damaged or not a video"
        raise VideoError(message) from error


# ---------------------------------------------------------------------------------------------------- picture


def pictures_at(path: Path, seconds: Sequence[float], height: int) -> list[np.ndarray]:
    """The pictures that are shown at rising times of a video, (height, width, 3), RGB, uint8.

    Raises:
        VideoError: as ``open_video``, or it has no frame.
    """
    pictures = []
    with open_video(path, "video") as container:
        track = Track(container, "video")
        for frame in _shown(track, seconds):
            sideways = frame.rotation % 180 == 90
            aspect = frame.height / frame.width if sideways else frame.width / frame.height
            width = max(1, round(height * aspect))
            pictures.append(picture_of(frame, width, height) if sideways else picture_of(frame, height, width))
        if not pictures:
            track.check(None)
    return pictures


def _shown(track: Track, ticks: Iterable[float]) -> Iterator[av.VideoFrame]:
    """The frames shown at rising times until the video ends; the first one in any case."""
    ticks = iter(ticks)
    first = tick = next(ticks, None)
    shown = None
    for start, _, frame in track.frames():
        while shown is not None and tick is not None and tick < start:
            yield shown
            tick = next(ticks, None)
        shown = frame
        if tick is None:
            return
    while shown is not None and tick is not None and (tick < track.end or tick == first):
        yield shown
        tick = next(ticks, None)


# ---------------------------------------------------------------------------------------------------- sound


def read_sound(path: Path) -> np.ndarray:
    """The sound (n,) of a video in whole seconds from its time 0, the mean of its channels at 16 kHz; float32, [-1, 1].

    Raises:
        VideoError: as ``open_video``, or too little can be decoded.
    """
    return np.concatenate(list(Video(path, 1)._sounds()))


def is_silent(sound: np.ndarray) -> bool:
    """Whether a sound (n,) is silent throughout."""
    return not np.any(np.abs(sound) > SILENCE)


def _pieces(track: Track, limit: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of the sound at 16 kHz, float32, with the number of their first sample, until ``limit`` seconds."""
    position, num_lost = None, 0
    for frame in resampled((frame for _, _, frame in track.frames()), SAMPLE_RATE):
        if frame.pts is not None:
            stamp = round(float(frame.pts * frame.time_base) * SAMPLE_RATE)
            if position is None or abs(stamp - position) > GAP * SAMPLE_RATE or len(track.lost) > num_lost:
                position, num_lost = stamp, len(track.lost)
        position = position or 0
        samples = frame.to_ndarray().mean(axis=0)
        yield position, samples
        position += len(samples)
        if limit is not None and position >= limit * SAMPLE_RATE:
            return
    if (end := round(track.end * SAMPLE_RATE)) > (position or 0):  # damage at the end
        yield end - 1, np.zeros(1, np.float32)


def resampled(frames: Iterable[av.AudioFrame], rate: int, layout: str | None = None) -> Iterator[av.AudioFrame]:
    """A sound at another rate, in planes of float32; ``layout`` None keeps its channels."""
    resampler, form = None, None
    for frame in frames:
        if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):  # broadcasts change it
            yield from resampler.resample(None) if resampler else ()
            resampler = av.AudioResampler(format="fltp", rate=rate, layout=layout)
        yield from resampler.resample(frame)
    yield from resampler.resample(None) if resampler else ()


def _in_seconds(pieces: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """Seconds (16000,) of a sound from its pieces; silence between them. The last second counts from half on."""
    second, start, end = np.zeros(SAMPLE_RATE, np.float32), 0, 0  # numbers of samples
    for position, samples in pieces:
        end = max(end, position + len(samples))
        samples, position = samples[max(0, start - position) :], max(start, position)
        while len(samples):
            while position >= start + SAMPLE_RATE:
                yield second
                second, start = np.zeros(SAMPLE_RATE, np.float32), start + SAMPLE_RATE
            part = samples[: start + SAMPLE_RATE - position]
            second[position - start :][: len(part)] = part
            samples, position = samples[len(part) :], position + len(part)
    if end - start >= SAMPLE_RATE / 2:
        yield second
