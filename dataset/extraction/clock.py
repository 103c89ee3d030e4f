"""One clock for the picture and the sound of a file whose time stamps jump, as players keep it.

Recordings that were joined into one transport stream, or a camera that restarts, begin a new clock in the middle; a
damaged file, or one whose sound has the time of day, holds time stamps that cannot be true. No pause of the clock is
longer than an hour, so that what a file lasts grows with its packets alone.
"""

from collections import Counter, deque
from collections.abc import Iterator
from math import inf, lcm

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
        # Times are in ticks, of which all units are multiples: 64-bit time stamps are too large for floats.
        self._second = lcm(*(stream.time_base.denominator for stream in self.streams))
        self._units = {stream.index: int(stream.time_base * self._second) for stream in self.streams}
        starts = [each.start_time * self._units[each.index] for each in self.streams if each.start_time is not None]
        origin = min(starts, default=0)  # where a player's clock shows 0
        self.is_discontinuous = bool(container.format.flags & Flags.ts_discont.value)
        counts_from_0 = "matroska" in container.format.name
        length = (container.duration or 0) / av.time_base - (max(0, origin) / self._second if counts_from_0 else 0)
        self.declared = 0 if self.is_discontinuous else length
        self._end = 0
        self.jumps: list[float] = []
        self.is_split = False
        self.errors = self.position = 0
        self.others: Counter[int] = Counter()
        self._shift = {stream.index: -origin for stream in self.streams}
        self._due: dict[int, int] = {}  # by stream, when its next packet is to be decoded
        self._latest: dict[int, tuple[float, float]] = {}  # by stream, when its last two are: one may be wrong

    @property
    def end(self) -> float:
        """Of the packets read so far, in seconds."""
        return self._end / self._second

    def packets(self) -> Iterator[av.Packet]:
        """The packets in the order of the file, on this clock; at the end, an empty one for each stream."""
        following, ahead = self._demuxed(), deque()
        while (packet := ahead.popleft() if ahead else next(following, None)) is not None:
            if not self._fits(packet):
                yield from self._look_ahead(packet, following, ahead)
            yield self._placed(packet)

    def _look_ahead(self, packet: av.Packet, following: Iterator[av.Packet], ahead: deque) -> Iterator[av.Packet]:
        """Start a new clock with a packet that does not fit, or drop its time stamps if the one behind it fits.

        Gives the packets of the other stream that still belong to the old clock; all others are left in ``ahead``.
        """
        due, first, new = self._due.copy(), {packet.stream.index: packet}, []
        span = AHEAD * self._second
        while len(first) < 2 and len(new) < MOST:
            if (other := ahead.popleft() if ahead else next(following, None)) is None:
                break
            is_other, fits = other.stream is not packet.stream, self._fits(other)
            near = _stamp(other) is not None and abs(self._time(other) - self._time(packet)) < span
            lasts = self._end - self._due.get(other.stream.index, -inf) < span
            if is_other and fits and (lasts or not near):
                yield self._placed(other)
                continue
            new.append(other)
            if not is_other and fits and other.size:
                packet.dts = packet.pts = None
            if not near or _stamp(packet) is None:
                break
            first.setdefault(other.stream.index, other)
        ahead.extendleft(reversed(new))
        if _stamp(packet) is not None:
            self._start(first, due)

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

    def _time(self, packet: av.Packet, stamp: int | None = None) -> int:
        index = packet.stream.index
        return (_stamp(packet) if stamp is None else stamp) * self._units[index] + self._shift[index]

    def _fits(self, packet: av.Packet) -> bool:
        if _stamp(packet) is None or packet.is_discard:
            return True
        index, hour = packet.stream.index, HOUR * self._second
        back, forth = (BACKWARDS, FORWARDS) if self.is_discontinuous else (REORDERING, HOUR)
        earliest = max(min(self._latest.get(index, (-inf, -inf))) - back * self._second, self._due.get(index, 0) - hour)
        latest = self._end + forth * self._second
        return earliest <= self._time(packet) <= (latest if index in self._due else min(latest, hour))

    def _beginning(self, packet: av.Packet) -> int:
        """Time of a packet with which a clock begins; of the first of its stream, when it is shown."""
        decoded = self._time(packet)
        shown = decoded if packet.pts is None or packet.stream.index in self._due else self._time(packet, packet.pts)
        return shown if abs(shown - decoded) < AHEAD * self._second else decoded

    def _start(self, first: dict[int, av.Packet], due: dict[int, int]) -> None:
        """Start a new clock with its first packet of one stream or of both; ``due`` is from before it was read."""
        starts = {index: self._beginning(packet) for index, packet in first.items()}
        (index, start), *others = starts.items()
        if self._due and index not in self._due and not others and abs(start) > HOUR * self._second:
            self.is_split, shift, moved = True, -start, [index]
        else:
            self.jumps.append(self.end)
            # The least shift with which neither stream overlaps its past.
            shift = max(self._due.get(index, self._end) - start for index, start in starts.items())
            least = AHEAD * self._second / 2
            went_on = {index for index, time in self._due.items() if time - due.get(index, 0) > least}
            moved = self._shift.keys() - (went_on - starts.keys())
        for index in moved:
            self._shift[index] += shift
        self.declared = 0
        self._end = max(self._end, *(start + shift for start in starts.values()))
        self._latest.update(dict.fromkeys(first, (-inf, -inf)))

    def _placed(self, packet: av.Packet) -> av.Packet:
        index, unit, hour = packet.stream.index, self._units[packet.stream.index], HOUR * self._second
        if not 0 <= (packet.duration or 0) * unit <= hour:
            packet.duration = 0
        times, earliest, latest = [], self._due.get(index, 0) - hour, self._end + hour
        for name in ("dts", "pts"):
            if (stamp := getattr(packet, name)) is None:
                continue
            time = self._time(packet, stamp)
            if earliest <= time <= latest:
                times.append(time)
                setattr(packet, name, (time + unit // 2) // unit)
            else:
                setattr(packet, name, None)
                self.jumps.append(self.end)
                self.declared = 0
        if times:
            self._latest[index] = self._latest.get(index, (-inf, -inf))[1], times[0]
            self._due[index] = times[0] + (packet.duration or 0) * unit
            self._end = max(self._end, max(times) + (packet.duration or 0) * unit)
        return packet


def _stamp(packet: av.Packet) -> int | None:
    return packet.pts if packet.dts is None else packet.dts
