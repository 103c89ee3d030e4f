"""One clock for the picture and the sound of a file whose time stamps jump, as players keep it.

Recordings that were joined into one transport stream, or a camera that restarts, begin a new clock in the middle.
"""

from collections import Counter, deque
from collections.abc import Iterator
from math import inf

import av
from av.format import Flags

BACKWARDS, FORWARDS = 0.1, 10.0  # s, FFmpeg's thresholds for a jump in formats that may be discontinuous
REORDERING = 1.0  # s, by which time stamps may go backwards in other formats: FFmpeg guesses when to decode a frame
ERRORS = 100  # failed attempts to read on after which a file ends: each skips some 64 KiB of a transport stream
AHEAD = 2.0  # s, in which the jump of the other stream follows


class Clock:
    """The packets of picture and sound of an open file, which share a clock that does not jump.

    Where time stamps go backwards, or, in formats that may be discontinuous (MPEG-TS, MPEG-PS, Ogg), forwards by more
    than ten seconds, the clock continues where it stood. Picture and sound are shifted by the same time.

    Attributes:
        streams: the picture and the sound, as far as the file has them; of several programs, those of one.
        origin: time stamp, in seconds, at which a player's clock shows 0.
        declared: length by the file's header, in seconds; 0 if it has none.
        end: of the packets read so far, in seconds.
        jumps: seconds at which time stamps jump.
        errors: failed attempts to read on since the last packet.
        position: in the file, where the packets end.
        others: seconds of other streams of picture or sound since the last packet.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.container = container
        picture = container.streams.best("video")
        self.streams = [stream for stream in (picture, container.streams.best("audio", picture)) if stream]
        self._units = {stream.index: float(stream.time_base) for stream in self.streams}
        starts = [stream.start_time * stream.time_base for stream in self.streams if stream.start_time is not None]
        self.origin = float(min(starts, default=0))
        self.is_discontinuous = bool(container.format.flags & Flags.ts_discont.value)
        counts_from_0 = "matroska" in container.format.name
        length = (container.duration or 0) / av.time_base - (max(0, self.origin) if counts_from_0 else 0)
        self.declared = 0 if self.is_discontinuous else length
        self.end = self.shift = 0.0
        self.jumps: list[float] = []
        self.errors = self.position = 0
        self.others: Counter[int] = Counter()
        self._due: dict[int, float] = {}  # by stream, when its next packet is to be decoded
        self._latest: dict[int, tuple[float, float]] = {}  # by stream, when its last two are: one may be wrong

    def packets(self) -> Iterator[av.Packet]:
        """The packets in the order of the file, their time stamps shifted; at the end, an empty one for each stream."""
        packets, ahead = self._demuxed(), deque()

        def following() -> av.Packet | None:
            return ahead.popleft() if ahead else next(packets, None)

        while (packet := following()) is not None:
            if not self._jumps(packet):
                yield self._placed(packet)
                continue
            first, new = {packet.stream.index: packet}, [packet]  # of the new clock
            while len(first) < 2 and (other := following()) is not None:
                fits, is_other = not self._jumps(other), other.stream is not packet.stream
                lasts = other.dts is None or self.end - self._due.get(other.stream.index, -inf) < AHEAD
                if fits and is_other and lasts:  # still of the old clock
                    yield self._placed(other)
                    continue
                new.append(other)
                if fits and not is_other:  # only this packet's time stamp is wrong
                    packet.dts = packet.pts = None
                    break
                first.setdefault(other.stream.index, other)
                if not 0 <= self._time(other) - self._time(packet) < AHEAD:
                    break
            ahead.extendleft(reversed(new))
            if packet.dts is None:
                continue
            self.jumps.append(self.end)
            # The least shift with which neither stream overlaps its past.
            self.shift += max(self._due.get(index, self.end) - self._time(each) for index, each in first.items())
            self.end = max(self.end, *map(self._time, first.values()))
            self._latest.update(dict.fromkeys(first, (-inf, -inf)))

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

    def _time(self, packet: av.Packet) -> float:
        return packet.dts * self._units[packet.stream.index] - self.origin + self.shift

    def _jumps(self, packet: av.Packet) -> bool:
        if packet.dts is None or packet.is_discard:
            return False
        time, latest = self._time(packet), min(self._latest.get(packet.stream.index, (-inf, -inf)))
        if self.is_discontinuous:
            return time < latest - BACKWARDS or time > self.end + FORWARDS
        return time < latest - REORDERING

    def _placed(self, packet: av.Packet) -> av.Packet:
        index = packet.stream.index
        unit = self._units[index]
        if packet.dts is not None:
            time = self._time(packet)
            self._latest[index] = self._latest.get(index, (-inf, -inf))[1], time
            self._due[index] = time + (packet.duration or 0) * unit
            reordering = max(0, (packet.pts or packet.dts) - packet.dts) * unit
            self.end = max(self.end, self._due[index] + reordering)
        if self.shift:
            packet.dts = None if packet.dts is None else packet.dts + round(self.shift / unit)
            packet.pts = None if packet.pts is None else packet.pts + round(self.shift / unit)
        return packet
