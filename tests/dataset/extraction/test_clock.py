"""The seconds of a file whose time stamps jump follow each other, and its picture and sound stay together."""

import tracemalloc
from fractions import Fraction
from itertools import cycle, islice

import av
import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from dataset.extraction import video
from dataset.extraction.clock import AHEAD, HOUR, Clock
from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import Video, VideoError, pictures_at, read_sound
from tests.videos import SIZE, damage, decoded, grey, restamp, tone, write_video

DARK, BRIGHT = grey(20), grey(230)
RATE = 44100
MPEG_2 = {"picture_codec": "mpeg2video", "sound_codec": "mp2", "frame_rate": 25}
VP9 = {"picture_codec": "libvpx-vp9", "sound_codec": "libopus", "sound_rate": 48000}


def recording(folder, second, seconds=4, start=0, name="part.ts", mute=False, **arguments):
    """The bytes of a video that is bright and loud in a second; its clock shows ``start`` in its first one."""

    def flash(time):
        return BRIGHT if int(time + 1e-9) == second else DARK

    options = {"output_ts_offset": str(start), **arguments.pop("options", {})}
    sound = None if mute else tone(1000, second)
    arguments = {"sound_rate": RATE, "options": options, **arguments}
    return write_video(folder / name, seconds, flash, sound, **arguments).read_bytes()


def joined(path, *recordings):
    path.write_bytes(b"".join(recordings))
    return path


def bright_and_loud(pictures, sound):
    """Quarters of a second in which most of the picture is bright, and in which there is a tone."""
    bright = pictures.mean(axis=(2, 3, 4)).ravel() > 120
    loud = np.abs(sound.reshape(len(bright), -1)).mean(axis=1) > 0.15
    return np.flatnonzero(bright).tolist(), np.flatnonzero(loud).tolist()


def quarters(*seconds):
    return [4 * second + quarter for second in seconds for quarter in range(4)]


@pytest.mark.parametrize(("before", "after"), [(106, 10), (16, 1000), (50, 50), (40, 47), (10, 90_000)])
def test_clock_continues_where_the_time_stamps_jump(tmp_path, before, after):
    """Back by more and by less than a minute, and forwards; by 3 s only, it is a gap."""
    path = joined(tmp_path / "clip.ts", recording(tmp_path, 2, 4, before), recording(tmp_path, 1, 4, after))
    gap = 3 if after == 47 else 0
    pictures, sound, remarks = decoded(path, 4)
    assert len(pictures) == len(sound) // SAMPLE_RATE == 8 + gap
    assert bright_and_loud(pictures, sound) == (quarters(2, 5 + gap), quarters(2, 5 + gap))
    if gap:
        assert [remark[:27] for remark in remarks] == ["has no picture from 4 to 7 ", "has no sound from 4 to 7 s:"]
    else:
        assert remarks == ["has time stamps that jump at 4.0 s: its clock continues there"]
        levels = [picture.mean() for picture in pictures_at(path, [2.5, 3.9, 5.5, 7.5], SIZE)]
        assert [level > 128 for level in levels] == [True, False, True, False]
        assert decoded(path, 4, 4)[2] == []
        assert len(decoded(path, 4, 6)[0]) == 6
    assert Video(path, 4).duration() == 8 + gap


@pytest.mark.parametrize(
    ("name", "arguments", "number"),
    [("clip.ts", {}, 12), ("clip.mpg", MPEG_2, 12), ("clip.mkv", {}, 2), ("clip.webm", VP9, 2)],
)
def test_many_recordings_in_one_file_stay_in_step(tmp_path, name, arguments, number):
    """A sound that lasts a little longer than the picture does not add up; FFmpeg reads two Matroska files at most."""
    part = recording(tmp_path, 1, 3, 5, f"part{name[4:]}", **arguments)
    pictures, sound, remarks = decoded(joined(tmp_path / name, *[part] * number), 4)
    bright, loud = bright_and_loud(pictures, sound)
    starts = [[quarter for quarter in each if quarter - 1 not in each] for each in (bright, loud)]
    assert len(starts[0]) == number
    np.testing.assert_allclose(*starts, atol=1)
    (remark,) = remarks
    assert remark.startswith("has time stamps that jump at 3.")
    assert remark.count(" s,") == number - 2


def test_picture_and_sound_jump_by_the_same_time_whichever_ends_first(tmp_path):
    for sound_seconds, length, silent in ((2, 4, ["has no sound from 2 to 4 s: it is silent there"]), (6, 6, [])):
        parts = (
            recording(tmp_path, 1, 4, sound_seconds=sound_seconds),
            recording(tmp_path, 2, 4),
            recording(tmp_path, 0, 4),
        )
        pictures, sound, remarks = decoded(joined(tmp_path / "clip.ts", *parts), 4)
        bright, loud = bright_and_loud(pictures, sound)
        expected = quarters(1, length + 2, length + 4)
        np.testing.assert_allclose(bright, expected, atol=1)
        np.testing.assert_allclose(loud, expected, atol=1)
        assert remarks[1:] == silent


def test_sound_that_is_missing_in_one_recording_comes_back_in_step(tmp_path):
    parts = recording(tmp_path, 1), recording(tmp_path, 2, 6, mute=True), recording(tmp_path, 3)
    pictures, sound, remarks = decoded(joined(tmp_path / "clip.ts", *parts), 4)
    assert bright_and_loud(pictures, sound) == (quarters(1, 6, 13), quarters(1, 13))
    assert remarks == [
        "has time stamps that jump at 4.0 s, 10.0 s: its clock continues there",
        "has no sound from 4 to 10 s: it is silent there",
    ]


def test_clock_that_begins_again_after_26_hours_does_not_jump(tmp_path):
    """MPEG's clock has 33 bits."""
    path = joined(tmp_path / "clip.ts", recording(tmp_path, 3, 5, 2**33 / 90000 - 2))
    pictures, sound, remarks = decoded(path, 4)
    assert bright_and_loud(pictures, sound) == (quarters(3), quarters(3))
    assert remarks == []


def test_long_pause_in_a_format_that_has_one_clock_stays(tmp_path):
    """Matroska and MP4 write it on purpose."""
    for name in ("clip.mkv", "clip.mp4"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
            picture = container.add_stream("libx264", rate=12)
            picture.width = picture.height = SIZE
            picture.pix_fmt = "yuv420p"
            for start in (0, 20):
                for number in range(24):
                    frame = av.VideoFrame.from_ndarray(BRIGHT if start else DARK, format="rgb24")
                    frame.pts, frame.time_base = 12 * start + number, Fraction(1, 12)
                    container.mux(picture.encode(frame))
                samples = np.full((1, 2 * RATE), 0.5, np.float32) * np.sin(np.arange(2 * RATE))
                frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, start * RATE
                container.mux(audio.encode(frame))
            container.mux(picture.encode(None))
            container.mux(audio.encode(None))
        pictures, sound, remarks = decoded(path, 4)
        assert (len(pictures), len(sound)) == (22, 22 * SAMPLE_RATE)
        assert bright_and_loud(pictures, sound) == (quarters(20, 21), quarters(0, 1, 20, 21))
        assert [remark[:12] for remark in remarks] == ["has no pictu", "has no sound"]


def test_programs_with_clocks_of_their_own_do_not_mix(tmp_path):
    """Picture and sound are those of one program, and the other one's clock is no jump."""
    ids = {"mpegts_start_pid": "0x200", "mpegts_pmt_start_pid": "0x1500", "mpegts_service_id": "2"}
    one, other = recording(tmp_path, 1, start=10), recording(tmp_path, 3, start=5000, options=ids)
    packets = range(0, max(len(one), len(other)), 188)
    path = joined(tmp_path / "clip.ts", *(stream[at : at + 188] for at in packets for stream in (one, other)))
    pictures, sound, remarks = decoded(path, 4)
    bright, loud = bright_and_loud(pictures, sound)
    assert bright == loud
    assert len(bright) == 4
    assert remarks == []


def test_recording_in_other_streams_of_the_file_is_named(tmp_path):
    ids = {"mpegts_start_pid": "0x200"}
    path = joined(tmp_path / "clip.ts", recording(tmp_path, 1), recording(tmp_path, 2, options=ids))
    pictures, _, remarks = decoded(path, 4)
    assert len(pictures) == 4
    assert remarks == ["goes on after 4.0 s in other streams, which are not used"]


def with_wrong_time_stamps(contents, stream_id, numbers, seconds):
    """A transport stream whose packets ``numbers`` of a stream have time stamps that are wrong by ``seconds``."""
    contents, count = bytearray(contents), 0
    for at in range(0, len(contents), 188):
        start = at + 4 + (contents[at + 3] >> 5 & 1) * (contents[at + 4] + 1)
        if contents[at + 1] & 0x40 and contents[start : start + 4] == bytes((0, 0, 1, stream_id)):
            count += 1
            for field in range(start + 9, start + 9 + contents[start + 8] // 5 * 5, 5) if count in numbers else ():
                a, b, c, d, e = contents[field : field + 5]
                stamp = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
                stamp = (stamp + round(seconds * 90000)) % 2**33
                low, middle, high = stamp & 0x7FFF, stamp >> 15 & 0x7FFF, stamp >> 30
                contents[field] = a & 0xF0 | high << 1 | 1
                contents[field + 1 : field + 3] = (middle << 1 | 1).to_bytes(2, "big")
                contents[field + 3 : field + 5] = (low << 1 | 1).to_bytes(2, "big")
    assert count > numbers[0]
    return bytes(contents)


@pytest.mark.parametrize("seconds", [-3600, -3, -0.5, 3600])
@pytest.mark.parametrize(("stream_id", "number"), [(0xE0, 24), (0xC0, 10)])  # of picture and sound
def test_single_wrong_time_stamp_does_not_move_the_clock(tmp_path, seconds, stream_id, number):
    """As damage leaves them; the packets behind it still have the old clock."""
    whole = recording(tmp_path, 4, 6, 100)
    path = joined(tmp_path / "clip.ts", with_wrong_time_stamps(whole, stream_id, [number], seconds))
    pictures, sound, remarks = decoded(path, 4)
    assert bright_and_loud(pictures, sound) == (quarters(4), quarters(4))
    assert remarks == []


# Time stamps that cannot be true

WALL_CLOCK = 1_749_500_000  # s
JUMP = "has time stamps that jump at {} s: its clock continues there"
SPLIT = "has picture and sound that begin over an hour apart: each is taken from its own beginning"


@pytest.fixture(scope="module")
def ten_seconds(tmp_path_factory):
    """Ten seconds of a video that is bright and loud in second 4."""
    path = tmp_path_factory.mktemp("whole") / "clip.mp4"
    return write_video(path, 10, lambda time: BRIGHT if int(time + 1e-9) == 4 else DARK, tone(1000, 4))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
@pytest.mark.parametrize("kind", ["video", "audio"])
@pytest.mark.parametrize("limit", [None, 10])
def test_picture_or_sound_on_the_wall_clock_is_taken_from_its_own_beginning(tmp_path, ten_seconds, name, kind, limit):
    path = restamp(ten_seconds, tmp_path / name, WALL_CLOCK, kind)
    pictures, sound, remarks = decoded(path, 4, limit)
    assert (len(pictures), len(sound)) == (10, 10 * SAMPLE_RATE)
    assert bright_and_loud(pictures, sound) == (quarters(4), quarters(4))
    assert remarks == [SPLIT]
    assert Video(path, 4).duration() == 10
    assert len(read_sound(path)) == 10 * SAMPLE_RATE
    shown = pictures_at(path, [3.5, 4.5, 9.5, 11, 4000], SIZE)
    assert [picture.mean() > 128 for picture in shown] == [False, True, False]


@pytest.mark.parametrize(("name", "seconds"), [("clip.mkv", 500_000), ("clip.mp4", 30_000)])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_last_packet_far_away_adds_no_time(tmp_path, ten_seconds, name, seconds, kind):
    path = restamp(ten_seconds, tmp_path / name, seconds, kind, first=-1)
    pictures, sound, remarks = decoded(path, 4)
    assert (len(pictures), len(sound)) == (10, 10 * SAMPLE_RATE)
    assert bright_and_loud(pictures, sound) == (quarters(4), quarters(4))
    assert remarks == [JUMP.format("10.0")]
    assert Video(path, 4).duration() == 10


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_pause_of_up_to_an_hour_stays_and_a_longer_one_is_a_jump(tmp_path, ten_seconds, name):
    """Packet 36 of the picture is shown at 3 s; its last packets before are read up to 3.1 s."""
    for pause, length, remarks in ((HOUR - 10, HOUR, 2), (HOUR + 10, 10, 1)):
        path = restamp(ten_seconds, tmp_path / name, pause, "video", "audio", first=36)
        film = Video(path, 1, prepare=lambda frame: frame.to_ndarray(format="gray").mean())
        seconds = list(film.seconds())
        assert len(seconds) == film.duration() == length
        bright = [number for number, second in enumerate(seconds) if max(second.pictures, default=0) > 128]
        loud = [number for number, second in enumerate(seconds) if second.sound.max() > 0.4]
        assert bright == [length - 6]
        assert loud[0] == length - 6
        assert len(film.remarks()) == remarks
    assert film.remarks() == [JUMP.format("3.1")]


@pytest.mark.parametrize("first", [0, 24])
@pytest.mark.parametrize("stream_id", [0xE0, 0xC0])  # of picture and sound
@pytest.mark.parametrize("seconds", [-20_000, 20_000])
def test_stream_that_goes_on_keeps_its_clock_where_the_other_one_jumps(tmp_path, first, stream_id, seconds):
    """As where a camera sets the clock of its sound alone; the packets lie in turn."""
    whole = recording(tmp_path, 4, 6, 30_000)
    contents = with_wrong_time_stamps(whole, stream_id, range(first, len(whole)), seconds)
    pictures, sound, remarks = decoded(joined(tmp_path / "clip.ts", contents), 4)
    bright, loud = bright_and_loud(pictures, sound)
    assert (len(pictures), bright, loud) == (6, quarters(4), quarters(4))
    (remark,) = remarks
    assert remark.startswith("has time stamps that jump at" if first else SPLIT)


class Restamped(Clock):
    """The clock of a file whose packets have the time stamps of a cycle; None leaves the one of the file."""

    stamps = ()

    def _demuxed(self):
        for packet, stamps in zip(super()._demuxed(), cycle(self.stamps), strict=False):
            for name, stamp in zip(("dts", "pts", "duration"), stamps, strict=False):
                if packet.size and stamp is not None:
                    setattr(packet, name, stamp)
            yield packet


@pytest.fixture(scope="module")
def two_seconds(tmp_path_factory):
    """By name, two seconds of video in formats of either kind."""
    folder = tmp_path_factory.mktemp("short")
    return [write_video(folder / name, 2, lambda _: DARK, tone(1000, 0)) for name in ("clip.mkv", "clip.ts")]


def seconds_under(stamps, path):
    """How many seconds a video has with other time stamps, what its clock says, and the memory it takes, in bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Restamped, "stamps", stamps)
        patch.setattr(video, "Clock", Restamped)
        film = Video(path, 1, prepare=lambda frame: frame.width)
        tracemalloc.start()
        try:
            number = sum(1 for _ in islice(film.seconds(), 10**6))
            film.remarks()
        except VideoError:
            number = 0
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return number, film.duration(), peak


def packets_in(path):
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux() if packet.size)


ANY = st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-(10**9), 10**9))


@given(st.lists(st.tuples(ANY, ANY, ANY), min_size=1, max_size=40))
@example([(499_999_994, None, None), (None, 499_999_994, None)])
@example([(-(2**63) + 1, None, -(2**63) + 1), (-(2**63) + 1, None, None)])
@example([(None, None, None), (2**63 - 1, -(2**63) + 1, 2**63 - 1)])
@example([(0, 0, 0), (3_600_000, 3_600_000, 3_600_000), (-(2**63) + 1, None, -(2**63) + 1)])
@example([(-565_539_533, None, None)])
@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
def test_time_and_memory_are_those_of_the_packets_whatever_their_time_stamps(two_seconds, stamps):
    for path in two_seconds:
        number, duration, peak = seconds_under(stamps, path)
        most = packets_in(path) * 2 * (HOUR + AHEAD)  # a pause, and a packet that lasts
        assert number <= most
        assert duration <= most
        assert peak < 5e8


def test_damage_behind_a_long_pause_takes_no_memory(tmp_path, ten_seconds):
    """None of the ten packets behind it can be decoded, so that the sound ends in nearly an hour of silence."""
    path = restamp(ten_seconds, tmp_path / "clip.mkv", HOUR - 100, "audio", first=-10)
    damage(path, "audio", HOUR - 100, 2 * HOUR)
    number, _, peak = seconds_under([(None, None)], path)
    assert number == HOUR - 90
    assert peak < 5e7


@pytest.mark.parametrize("seed", range(5))
def test_time_stamps_far_from_each_other_add_no_time(two_seconds, seed):
    stamps = np.random.default_rng(seed).integers(-(2**63) + 1, 2**63 - 1, (1000, 2)).tolist()
    for path in two_seconds:
        number, duration, _ = seconds_under(stamps, path)
        assert number == 2
        assert duration <= 2
