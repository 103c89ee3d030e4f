"""The seconds of a file whose time stamps jump follow each other, and its picture and sound stay together."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import Video, pictures_at
from tests.videos import SIZE, decoded, grey, tone, write_video

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


def with_wrong_time_stamp(contents, stream_id, number, seconds):
    """A transport stream whose packet ``number`` of a stream has time stamps that are wrong by ``seconds``."""
    contents, count = bytearray(contents), 0
    for at in range(0, len(contents), 188):
        start = at + 4 + (contents[at + 3] >> 5 & 1) * (contents[at + 4] + 1)
        if contents[at + 1] & 0x40 and contents[start : start + 4] == bytes((0, 0, 1, stream_id)):
            count += 1
            for field in range(start + 9, start + 9 + contents[start + 8] // 5 * 5, 5) if count == number else ():
                a, b, c, d, e = contents[field : field + 5]
                stamp = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
                stamp = (stamp + round(seconds * 90000)) % 2**33
                low, middle, high = stamp & 0x7FFF, stamp >> 15 & 0x7FFF, stamp >> 30
                contents[field] = a & 0xF0 | high << 1 | 1
                contents[field + 1 : field + 3] = (middle << 1 | 1).to_bytes(2, "big")
                contents[field + 3 : field + 5] = (low << 1 | 1).to_bytes(2, "big")
    assert count > number
    return bytes(contents)


@pytest.mark.parametrize("seconds", [-3600, -3, -0.5, 3600])
@pytest.mark.parametrize(("stream_id", "number"), [(0xE0, 24), (0xC0, 10)])  # of picture and sound
def test_single_wrong_time_stamp_does_not_move_the_clock(tmp_path, seconds, stream_id, number):
    """As damage leaves them; the packets behind it still have the old clock."""
    whole = recording(tmp_path, 4, 6, 100)
    path = joined(tmp_path / "clip.ts", with_wrong_time_stamp(whole, stream_id, number, seconds))
    pictures, sound, remarks = decoded(path, 4)
    assert bright_and_loud(pictures, sound) == (quarters(4), quarters(4))
    assert remarks == []
