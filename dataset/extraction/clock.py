"""One clock for the picture and the sound of a file whose time stamps jump, as players keep it.

Recordings that were joined into one transport stream, or a camera that restarts, begin a new clock in the middle; a
damaged file, or one whose sound has the time of day, holds time stamps that cannot be true. No pause of the clock is
longer than an hour, so that what a file lasts grows with its packets alone.
"""

from collections import Counter, deque
from collections.abc import Iterator
from fractions import Fraction
from math import inf

import av
from av.format import Flags
from av.stream import Disposition

HOUR = 3600  # s, the longest pause: two time stamps further apart are of different clocks
BACKWARDS, FORWARDS = 0.1, 10  # s, FFmpeg's thresholds for a jump in formats that may be discontinuous
REORDERING = 1  # s, by which time stamps may go backwards in other formats: FFmpeg guesses when to decode a frame
ERRORS = 100  # failed attempts to read on after which a file ends: each skips some 64 KiB of a transport stream
AHEAD = 2  # s, in which the jump of the other stream follows
MOST = 1000  # packets in these seconds


def best_stream(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """The stream of a kind ("video", "audio") that a player chooses; the cover of a sound file is no picture."""
    best = container.streams.best(kind)
    if best is None or not best.disposition & Disposition.attached_pic:
        return best
    return next((each for each in container.streams.video if not each.disposition & Disposition.attached_pic), None)


class Clock:
    """The packets of picture and sound of an open file, which share a clock that begins at 0 and does not jump.

    Where time stamps go backwards, or forwards by more than an hour, or, in formats that may be discontinuous (MPEG-TS,
    MPEG-PS, Ogg), by more than ten seconds, the clock continues where it stood. Picture and sound are shifted by the
    same time, unless one of them goes on as before. If they begin more than an hour apart, each begins at 0.

    Attributes:
        streams: the picture and the sound, as far as the file has them; of several programs, those of one.
        declared: length by the file's header, in seconds; 0 if it has none, or time stamps jump.
        end: of the packets read so far, in seconds.
        jumps: seconds at which time stamps jump.
        is_split: picture and sound begin more than an hour apart.
        errors: failed attempts to read on since the last packet.
        position: in the file, where the packets end.
        others: seconds of other streams of picture or sound since the last packet.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.container = container
        picture = best_stream(container, "video")
        self.streams = [stream for stream in (picture, container.streams.best("audio", picture)) if stream]
        starts = [stream.start_time * stream.time_base for stream in self.streams if stream.start_time is not None]
        origin = Fraction(min(starts, default=0))  # where a player's clock shows 0
        self.is_discontinuous = bool(container.format.flags & Flags.ts_discont.value)
        counts_from_0 = "matroska" in container.format.name
        length = (container.duration or 0) / av.time_base - (max(0, origin) if counts_from_0 else 0)
        self.declared = 0 if self.is_discontinuous else float(length)
        self.end = Fraction(0)
        self.jumps: list[float] = []
        self.is_split = False
        self.errors = self.position = 0
        self.others: Counter[int] = Counter()
        self._shift = {stream.index: -origin for stream in self.streams}  # s, exact: time stamps may have 64 bits
        self._due: dict[int, Fraction] = {}  # by stream, when its next packet is to be decoded
        self._latest: dict[int, tuple[Fraction, Fraction]] = {}  # by stream, when its last two are: one may be wrong

    def packets(self) -> Iterator[av.Packet]:
        """The packets in the order of the file, on this clock; at the end, an empty one for each stream."""
        packets, ahead = self._demuxed(), deque()

        def following() -> av.Packet | None:
            return ahead.popleft() if ahead else next(packets, None)

        while (packet := following()) is not None:
            if self._fits(packet):
                yield self._placed(packet)
                continue
            due, first, new = self._due.copy(), {packet.stream.index: packet}, []  # of the new clock
            while len(first) < 2 and len(new) < MOST and (other := following()) is not None:
                is_other, fits = other.stream is not packet.stream, self._fits(other)
                near = _stamp(other) is not None and abs(self._time(other) - self._time(packet)) < AHEAD
                lasts = self.end - self._due.get(other.stream.index, -inf) < AHEAD
                if is_other and fits and (lasts or not near):  # still of the old clock
                    yield self._placed(other)
                    continue
                new.append(other)
                if not is_other and fits and other.size:  # only this packet's time stamp is wrong
                    packet.dts = packet.pts = None
                if not near or _stamp(packet) is None:
                    break
                first.setdefault(other.stream.index, other)
            ahead.extendleft(reversed(new))
            if _stamp(packet) is not None:
                self._start(first, due)
            yield self._placed(packet)

    def _demuxed(self) -> Iterator[av.Packet]:
        position = 0  # in the file, of the last packet of another stream
        while self.errors < ERRORS:
            try:
                for packet in self.container.demux(*self.container.streams.video, *self.container.streams.audio):
                    if packet.stream not in self.streams:
                        self.others[packet.stream.index] += float((packet.duration or 0) * packet.time_base)
                        position = packet.pos or position
                        continue
                    if (packet.pos or 0) > position:  # packets put together when the file ends come later than they lie
                        self.others.clear()
                    self.position = max(self.position, (packet.pos or 0) + packet.size)
                    self.errors = 0 if packet.size else self.errors
                    yield packet
                return
            except IndexError:  # PyAV, at the end, where a stream was found on the way
                break
            except av.FFmpegError:
                self.errors += 1
        for stream in self.streams:
            end = av.Packet()
            end.stream, end.time_base = stream, stream.time_base
            yield end

    def _time(self, packet: av.Packet, stamp: int | None = None) -> Fraction:
        stamp = _stamp(packet) if stamp is None else stamp
        return stamp * packet.stream.time_base + self._shift[packet.stream.index]

    def _fits(self, packet: av.Packet) -> bool:
        index = packet.stream.index
        if _stamp(packet) is None or packet.is_discard:
            return True
        back, forth = (BACKWARDS, FORWARDS) if self.is_discontinuous else (REORDERING, HOUR)
        earliest = max(min(self._latest.get(index, (-inf, -inf))) - back, self._due.get(index, 0) - HOUR)
        latest = self.end + forth if index in self._due else min(self.end + forth, HOUR)
        return earliest <= self._time(packet) <= latest

    def _start(self, first: dict[int, av.Packet], due: dict[int, Fraction]) -> None:
        """Start a new clock with its first packet of a stream or of both; ``due`` is from before it was seen."""
        starts = {
            index: self._time(packet, None if index in self._due else packet.pts) for index, packet in first.items()
        }
        (index, start), *others = starts.items()
        if self._due and index not in self._due and not others and abs(start) > HOUR:
            self.is_split, shift, moved = True, -start, [index]
        else:
            self.jumps.append(float(self.end))
            # The least shift with which neither stream overlaps its past.
            shift = max(self._due.get(index, self.end) - start for index, start in starts.items())
            went_on = {index for index, time in self._due.items() if time - due.get(index, 0) > AHEAD / 2}
            moved = self._shift.keys() - (went_on - starts.keys())
        for index in moved:
            self._shift[index] += shift
        self.declared = 0
        self.end = max(self.end, *(start + shift for start in starts.values()))
        self._latest.update(dict.fromkeys(first, (-inf, -inf)))

    def _placed(self, packet: av.Packet) -> av.Packet:
        index, unit = packet.stream.index, packet.stream.time_base
        if (packet.duration or 0) * unit > HOUR:
            packet.duration = 0
        times, earliest, latest = [], self._due.get(index, 0) - HOUR, self.end + HOUR
        for name in ("dts", "pts"):
            if (stamp := getattr(packet, name)) is None:
                continue
            time = self._time(packet, stamp)
            if earliest <= time <= latest:
                times.append(time)
                setattr(packet, name, round(time / unit))
            else:  # FFmpeg guesses the one from others
                setattr(packet, name, None)
                self.jumps.append(float(self.end))
                self.declared = 0
        if times:
            self._latest[index] = self._latest.get(index, (-inf, -inf))[1], times[0]
            self._due[index] = times[0] + (packet.duration or 0) * unit
            self.end = max(self.end, max(times) + (packet.duration or 0) * unit)
        return packet


def _stamp(packet: av.Packet) -> int | None:
    return packet.pts if packet.dts is None else packet.dts
