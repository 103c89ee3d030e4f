"""A video is decoded second by second, and what happens in a second is found in it, whatever the file looks like."""

import errno
import io
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from dataset.extraction import video
from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import Video, VideoError, is_silent, pictures_at, read_sound
from tests.videos import FRAME_RATE, SIZE, damage, decoded, grey, remux, silence, stripes, tone, write_video

FILES = {
    "clip.mp4": {"sound_codec": "aac", "sound_rate": 22050},
    "clip.mkv": {"sound_codec": "flac", "sound_rate": 44100, "layout": "stereo"},
    "clip.avi": {"picture_codec": "mpeg4", "sound_codec": "pcm_s16le", "sound_rate": 8000, "layout": "stereo"},
    "clip.webm": {"picture_codec": "libvpx-vp9", "sound_codec": "libopus", "sound_rate": 48000},
    "mp3.mp4": {"sound_codec": "mp3", "sound_rate": 44100, "layout": "stereo"},
    "surround.mp4": {"sound_codec": "aac", "sound_rate": 48000, "layout": "5.1"},
}
DARK, BRIGHT = grey(20), grey(230)


def flash(second):
    return lambda time: BRIGHT if int(time + 1e-9) == second else DARK


def refusal(path, limit=None):
    with pytest.raises(VideoError) as error:
        list(Video(path, 4, limit).seconds())
    return str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_flash_and_tone_in_a_second_are_found_in_that_second(tmp_path, name):
    path = write_video(tmp_path / name, 4, flash(2), tone(1000, 2), **FILES[name])
    pictures, sound, remarks = decoded(path, 16, 4)
    assert pictures.shape == (4, 16, 224, 224, 3)
    levels = pictures.mean(axis=(2, 3, 4))  # (seconds, frames)
    assert (levels[2] > 200).all()
    assert (levels[[0, 1, 3]] < 40).all()

    heard = np.flatnonzero(np.abs(sound) > 0.2) / SAMPLE_RATE
    assert heard[0] == pytest.approx(2, abs=0.002)
    assert heard[-1] == pytest.approx(3, abs=0.002)
    assert len(sound) == 4 * SAMPLE_RATE
    assert remarks == []


def test_sound_has_the_level_of_its_channels_mean(tmp_path):
    """Half of full scale on one of two channels is a quarter."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="stereo")
        left = (0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([left, 0 * left]), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(read_sound(path), left / 2, atol=1e-4)


def test_sound_that_starts_late_or_pauses_stays_where_it_is(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.height = video.width = SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        for _ in range(4 * FRAME_RATE):
            container.mux(video.encode(av.VideoFrame.from_ndarray(DARK, format="rgb24")))
        container.mux(video.encode(None))
        for second in (1, 3):
            samples = np.full((1, SAMPLE_RATE // 2), 0.5, np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, second * SAMPLE_RATE
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    loud = np.flatnonzero(read_sound(path) > 0.25) / SAMPLE_RATE
    for second in (1, 3):
        part = loud[(loud > second - 0.5) & (loud < second + 1)]
        assert part[0] == pytest.approx(second, abs=0.01)


def test_frames_are_those_shown_in_the_middle_of_each_sixteenth(tmp_path):
    """At 12 frames a second, each is told by its level; frame i is shown from i / 12 on."""
    path = write_video(tmp_path / "clip.mkv", 2, lambda time: grey(10 * round(time * FRAME_RATE)), silence)
    seconds = np.concatenate(decoded(path, 16)[0])
    shown = np.floor((np.arange(32) + 0.5) / 16 * FRAME_RATE)
    np.testing.assert_allclose(seconds.mean(axis=(1, 2, 3)), 10 * shown, atol=4)


def write_frames(path, frames, width=SIZE, rotation=0, cover=None):
    """A video without sound: a picture from each time on, in ms, until the last time; after a cover picture, if any."""
    with av.open(str(path), "w") as container:
        if cover is not None:
            picture = container.add_stream("mjpeg", rate=FRAME_RATE)
            picture.width, picture.height, picture.pix_fmt = SIZE, SIZE, "yuvj420p"
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = width, SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.set_display_rotation(rotation)
        if cover is not None:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24").reformat(format="yuvj420p")))
            container.mux(picture.encode(None))
        for time, values in frames.items():
            frame = av.VideoFrame.from_ndarray(values, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frames_stay_until_the_next_one_at_a_variable_frame_rate(tmp_path):
    levels = {0: 50, 30: 90, 600: 130, 2100: 170, 2990: 210}
    path = write_frames(tmp_path / "clip.mkv", {time: grey(level) for time, level in levels.items()})
    times = np.arange(0.125, 2.99, 0.25)
    expected = [[level for start, level in levels.items() if start <= 1000 * time][-1] for time in times]
    shown = [picture.mean() for picture in pictures_at(path, times, SIZE)]
    np.testing.assert_allclose(shown, expected, atol=4)


def test_picture_is_turned_as_a_player_turns_it(tmp_path):
    """The left third is white; turned by 90 degrees against the clock, it is at the bottom."""
    picture = np.zeros((SIZE, 96, 3), np.uint8)
    picture[:, :32] = 255
    path = write_frames(tmp_path / "clip.mp4", {0: picture, 500: picture}, width=96, rotation=90)
    (turned,) = pictures_at(path, [0.2], 60)
    assert turned.shape == (60, 40, 3)
    assert (turned.mean(axis=(1, 2)) > 128).tolist() == [False] * 40 + [True] * 20


def test_cover_picture_before_the_video_is_ignored(tmp_path):
    path = write_frames(tmp_path / "clip.mkv", dict.fromkeys(range(0, 1000, 100), DARK), cover=BRIGHT)
    assert max(picture.mean() for picture in pictures_at(path, [0.0, 0.5], SIZE)) < 40


@pytest.mark.parametrize(("name", "codec"), [("song.mp3", "mp3"), ("song.m4a", "aac"), ("song.flac", "flac")])
def test_cover_of_a_sound_file_is_no_picture(tmp_path, name, codec):
    with av.open(str(tmp_path / name), "w", format="mp4" if codec == "aac" else None) as container:
        sound = container.add_stream(codec, rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = SIZE, SIZE, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(BRIGHT, format="rgb24").reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 44100), np.int16), format="s16", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].disposition == Disposition.attached_pic
    assert refusal(tmp_path / name) == "has no picture (video stream)"
    assert len(read_sound(tmp_path / name)) == 2 * SAMPLE_RATE


def test_whole_frame_is_resized(tmp_path):
    """Nothing is cut off a wide picture: its left third and its right third are still thirds."""
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, :64, 0] = wide[:, 128:, 2] = 255
    path = write_video(tmp_path / "clip.mp4", 1, lambda _: wide, silence)
    picture = decoded(path, 1)[0][0, 0].astype(int)
    red, blue = picture[..., 0] > 128, picture[..., 2] > 128
    assert red.mean() == pytest.approx(1 / 3, abs=0.03)
    assert blue.mean() == pytest.approx(1 / 3, abs=0.03)
    assert red[:, :70].all()
    assert blue[:, -70:].all()
    assert pictures_at(path, [0.5], 50)[0].shape == (50, 150, 3)


@pytest.mark.parametrize(("length", "seconds"), [(1.0, 1), (1.2, 1), (1.6, 2), (2.0, 2)])
@pytest.mark.parametrize("frames_per_second", [1, 2, 16])
def test_last_second_counts_if_half_of_it_exists(tmp_path, length, seconds, frames_per_second):
    path = write_video(tmp_path / "clip.mkv", length, lambda _: stripes(8), silence, sound_codec="flac")
    pictures, sound, _ = decoded(path, frames_per_second)
    assert pictures.shape == (seconds, frames_per_second, 224, 224, 3)
    assert len(sound) == seconds * SAMPLE_RATE


def test_pictures_are_those_shown_at_the_times(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 4, flash(1), silence)
    levels = [picture.mean() for picture in pictures_at(path, [0.0, 0.9, 1.1, 1.9, 3.5], 32)]
    assert [level > 128 for level in levels] == [False, False, True, True, False]


def test_silence_is_told_from_a_faint_sound(tmp_path):
    for codec, name in (("flac", "clip.mkv"), ("aac", "clip.mp4")):
        quiet = write_video(tmp_path / f"silent-{name}", 1, lambda _: DARK, silence, sound_codec=codec)
        assert is_silent(read_sound(quiet))
        faint = write_video(
            tmp_path / f"faint-{name}", 1, lambda _: DARK, lambda t: 0.01 * tone(440, 0)(t), sound_codec=codec
        )
        assert not is_silent(read_sound(faint))


def test_frame_that_stays_is_one_picture(tmp_path):
    """At 12 frames a second, 16 pictures of a second are 12 frames; at 1, they are one."""
    path = write_video(tmp_path / "clip.mkv", 3, lambda _: stripes(8), silence)
    assert [len(second.pictures) for second in Video(path, 16).seconds()] == [12, 12, 12]
    slow = write_video(tmp_path / "slow.mkv", 3, lambda time: grey(50 + 50 * int(time)), silence, frame_rate=1)
    seconds = list(Video(slow, 16).seconds())
    assert [len(second.pictures) for second in seconds] == [1, 1, 1]
    np.testing.assert_allclose(decoded(slow, 16)[0].mean(axis=(1, 2, 3, 4)), [50, 100, 150], atol=4)


def test_video_that_cannot_be_used_says_why(tmp_path):
    mute = write_video(tmp_path / "mute.mp4", 2, lambda _: DARK, None)
    blind = write_video(tmp_path / "blind.mp4", 2, None, silence)
    brief = write_video(tmp_path / "brief.mp4", 0.5, lambda _: DARK, silence)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(mute.read_bytes()[:800])
    assert refusal(mute) == "has no sound (audio stream)"
    assert refusal(blind) == "has no picture (video stream)"
    assert refusal(brief) == "is shorter than a second: its picture lasts 0.5 s"
    for path in (text, empty, cut):
        assert refusal(path).startswith("cannot be decoded: ")
    assert refusal(tmp_path / "missing.mp4") == "cannot be read: No such file or directory"


def test_file_name_is_never_taken_for_an_address(tmp_path):
    for name in ("http:--odd name %d.mp4", "-i.mp4"):
        path = write_video(tmp_path / name, 1, lambda _: DARK, silence)
        assert len(decoded(path, 1)[0]) == 1


# Damage


@pytest.mark.parametrize("name", FILES)
def test_damaged_picture_keeps_its_time_and_the_sound(tmp_path, name):
    """Bars that move, so that the packets hold something."""

    def bars(time):
        return np.roll(stripes(16), int(time * FRAME_RATE), axis=1) if int(time + 1e-9) != 4 else BRIGHT

    path = write_video(tmp_path / name, 6, bars, tone(1000, 4), **FILES[name])
    whole = decoded(path, 12)
    damage(path, "video", 2, 3)
    pictures, sound, remarks = decoded(path, 12)
    assert len(pictures) == 6
    levels = pictures.mean(axis=(2, 3, 4))
    assert np.abs(levels - whole[0].mean(axis=(2, 3, 4)))[[0, 1, 5]].max() < 4
    assert levels[4].min() > 200
    assert np.array_equal(sound, whole[1])
    (remark,) = remarks
    assert remark.startswith("has damage in its picture from 2 to ")
    assert remark.endswith(" s: where it cannot be decoded, the last good one stays")
    assert len(pictures_at(path, [0.5, 2.5, 4.5], 32)) == 3


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])  # PCM and Opus decode anything
def test_damaged_sound_is_silent_and_keeps_its_time(tmp_path, name):
    path = write_video(tmp_path / name, 6, flash(2), tone(1000, 1, 2, 4), sound_codec="aac", sound_rate=44100)
    whole = decoded(path, 1)
    damage(path, "audio", 2.2, 2.9)
    pictures, sound, remarks = decoded(path, 1)
    assert np.array_equal(pictures, whole[0])
    assert len(sound) == len(whole[1])
    heard, heard_whole = (np.flatnonzero(np.abs(each) > 0.2) / SAMPLE_RATE for each in (sound, whole[1]))
    for start, end in ((0, 2.1), (3.1, 6)):
        times, times_whole = (each[(start < each) & (each < end)] for each in (heard, heard_whole))
        assert times[[0, -1]] == pytest.approx(times_whole[[0, -1]], abs=0.001)
    quiet = np.abs(sound[int(2.3 * SAMPLE_RATE) : int(2.8 * SAMPLE_RATE)]) < 1e-3
    assert quiet.mean() > 0.7  # a packet in ten decodes to something
    assert remarks == ["has damage in its sound from 2 to 3 s: where it cannot be decoded, it is silent"]


def test_single_lost_packet_does_not_shift_the_sound(tmp_path):
    """It is shorter than the time stamps are precise."""
    click = np.zeros(6 * 44100, np.float32)
    click[4 * 44100 : 4 * 44100 + 441] = 0.9
    path = write_video(tmp_path / "clip.mp4", 6, flash(2), lambda _: click, sound_rate=44100)
    before = np.abs(read_sound(path)).argmax()
    damage(path, "audio", 2.0, 2.02)
    sound = read_sound(path)
    assert np.abs(sound).argmax() == before


def test_damage_at_the_end_keeps_the_length(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 4, lambda time: stripes(4 + 2 * int(4 * time)), tone(440, 0, 1))
    for kind in ("video", "audio"):
        damage(path, kind, 3, 9)
    pictures, sound, remarks = decoded(path, 2)
    assert len(pictures) == 4
    assert len(sound) == 4 * SAMPLE_RATE
    assert len(remarks) == 2


@pytest.mark.parametrize(("kind", "word"), [("video", "picture"), ("audio", "sound")])
def test_video_is_given_up_where_less_than_half_is_left(tmp_path, kind, word):
    path = write_video(tmp_path / "clip.mp4", 6, lambda time: stripes(4 + 2 * int(4 * time)), tone(440, *range(6)))
    damage(path, kind, 1, 6)
    assert refusal(path).startswith(f"is damaged: of 6.0 s of its {word}, only ")
    assert f"has damage in its {word} from 1 to 2 s" in decoded(path, 1, 2)[2][0]  # half is left of the first two
    damage(path, kind, 0, 6)
    assert refusal(path).startswith(("is damaged", f"has no {word}"))


def test_truncated_file_is_used_if_half_is_left(tmp_path):
    path = write_video(tmp_path / "clip.mkv", 6, lambda time: stripes(4 + int(9 * time) % 20), tone(440, *range(6)))
    contents = path.read_bytes()
    path.write_bytes(contents[: 2 * len(contents) // 3])
    pictures, _, remarks = decoded(path, 2, 6)
    assert 3 <= len(pictures) < 6
    assert any(remark.startswith("has no picture after ") for remark in remarks)


def moving(time):
    """A picture that fills its packets; bright in second 4."""
    noise = np.random.default_rng(round(time * FRAME_RATE)).integers(0, 40, (SIZE, SIZE, 3))
    return ((200 if int(time + 1e-9) == 4 else 40) + noise).astype(np.uint8)


CONTAINERS = {
    "clip.mp4": {"options": {"movflags": "faststart"}},
    "clip.mkv": {},
    "clip.webm": FILES["clip.webm"],
    "clip.avi": FILES["clip.avi"],
    "clip.flv": {"sound_rate": 44100},
    "clip.ts": {},
    "clip.mpg": {"picture_codec": "mpeg2video", "sound_codec": "mp2", "sound_rate": 44100, "frame_rate": 25},
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """By name, the bytes of a video of eight seconds in each container."""
    folder = tmp_path_factory.mktemp("whole")
    tones = tone(1000, *range(8))
    for name, arguments in CONTAINERS.items():
        write_video(folder / name, 8, moving, tones, **arguments)
    remux(folder / "clip.avi", folder / "in turn.avi").replace(folder / "clip.avi")
    return {name: (folder / name).read_bytes() for name in CONTAINERS}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.avi", "clip.flv"])
def test_end_before_the_one_in_the_header_is_said(tmp_path, contents, name):
    """An interrupted copy; transport and program streams have no such header."""
    path = tmp_path / name
    path.write_bytes(contents[name])
    assert decoded(path, 2)[2] == []
    path.write_bytes(contents[name][: 7 * len(contents[name]) // 10])
    pictures, _, remarks = decoded(path, 2)
    assert 4 <= len(pictures) < 8
    assert (
        any(remark.startswith("ends at ") and " s, where its header says 8." in remark for remark in remarks)
        or "is cut off: its header says that the file is longer" in remarks
    )
    length = len(pictures) - 1
    assert not any("header" in remark for remark in decoded(path, 2, length)[2])


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.flv", "clip.ts"])
def test_hole_in_a_file_loses_what_was_in_it_and_a_remark_says_so(tmp_path, contents, name):
    path = tmp_path / name
    size = len(contents[name])
    path.write_bytes(contents[name][: 4 * size // 10] + contents[name][6 * size // 10 :])
    pictures, sound, remarks = decoded(path, 2)
    assert len(pictures) == len(sound) // SAMPLE_RATE == 8
    quiet = np.abs(sound.reshape(8, -1)).mean(axis=1) < 0.25
    said = set()
    for remark in remarks:
        if remark.startswith(("has no sound from ", "has damage in its sound")):
            start, end = (int(word) for word in remark.split() if word.isdigit())
            said |= set(range(start, end))
    assert set(np.flatnonzero(quiet)) <= said
    assert 1 <= len(said) <= 4


def test_reading_goes_on_after_a_stretch_of_zeros(tmp_path, contents):
    """As in a file that a download left incomplete; longer than FFmpeg skips at once."""
    whole, path = contents["clip.ts"], tmp_path / "clip.ts"
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(400_000) + whole[half:])
    pictures, sound, _ = decoded(path, 2)
    assert (len(pictures), len(sound)) == (8, 8 * SAMPLE_RATE)


@pytest.mark.parametrize("name", ["clip.ts", "clip.mpg"])
def test_zeros_at_the_end_of_a_stream_without_a_length_are_said(tmp_path, contents, name):
    path = tmp_path / name
    path.write_bytes(contents[name])
    assert decoded(path, 2)[2] == []
    path.write_bytes(contents[name] + bytes(200_000))
    assert decoded(path, 2)[2] == ["ends in zeros, as after an interrupted download: its rest is missing"]


@pytest.mark.parametrize(("name", "number"), [("clip.mp4", 2), ("clip.flv", 2), ("clip.mkv", 3)])
def test_second_video_that_players_do_not_see_is_said(tmp_path, contents, name, number):
    path = tmp_path / name
    path.write_bytes(contents[name] * number)
    remarks = decoded(path, 2)[2]
    assert remarks[-1] == "holds another video behind its end, which players do not see: put each into its own file"


def write_late(path, kind, late):
    """A video of four seconds whose picture or sound ("video", "audio") begins late."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FRAME_RATE)
        picture.height = picture.width = SIZE
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        first = {"video": 0, "audio": 0} | {kind: late}
        for number in range(round(first["video"] * FRAME_RATE), 4 * FRAME_RATE):
            frame = av.VideoFrame.from_ndarray(BRIGHT, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        samples = tone(440, 0, 1, 2, 3)(np.arange(first["audio"] * SAMPLE_RATE, 4 * SAMPLE_RATE) / SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, round(first["audio"] * SAMPLE_RATE)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
@pytest.mark.parametrize(
    ("kind", "remark"),
    [
        ("video", "has no picture from 0 to 2 s: the nearest one is shown"),
        ("audio", "has no sound from 0 to 2 s: it is silent there"),
    ],
)
def test_picture_or_sound_that_begins_late_is_said(tmp_path, name, kind, remark):
    pictures, sound, remarks = decoded(write_late(tmp_path / name, kind, 2), 2)
    assert len(pictures) == len(sound) // SAMPLE_RATE == 4
    assert remarks == [remark]


def test_picture_that_stays_for_long_is_no_loss(tmp_path):
    """A slide show: the sound goes on."""
    path = write_video(tmp_path / "clip.mp4", 12, flash(6), tone(440, *range(12)), frame_rate=1)
    remux(path, tmp_path / "slides.mkv")
    assert decoded(tmp_path / "slides.mkv", 2)[2] == []


# Short videos


def test_picture_or_sound_that_ends_early_is_said_from_which_second_on(tmp_path):
    path = tmp_path / "clip.mkv"
    for picture_seconds, sound_seconds, word in ((3, 5, "picture"), (5, 3, "sound")):
        write_video(path, picture_seconds, flash(2), tone(440, 2), sound_codec="flac", sound_seconds=sound_seconds)
        pictures, sound, remarks = decoded(path, 4)
        assert (len(pictures), len(sound) // SAMPLE_RATE) == (picture_seconds, sound_seconds)
        assert remarks == [f"has no {word} after 3.0 s: its last second is repeated from 3 s on"]
        assert len(decoded(path, 4, 3)[2]) == 0
        assert len(decoded(path, 4, 9)[2]) == 2


# Files that are fine


def test_system_says_why_a_file_cannot_be_read(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 2, lambda _: DARK, silence)
    broken = tmp_path / "broken.mp4"
    broken.symlink_to("/proc/self/mem")  # its first page cannot be read: errno 5
    assert refusal(broken).startswith("cannot be read: the disk fails (input/output error): ")
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        assert refusal(path) == "cannot be read: permission denied: change its permissions, or ask its owner"
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EIO, "cannot be read: the disk fails (input/output error): "),
        (errno.EBUSY, "cannot be read: Device or resource busy"),
    ],
)
def test_disk_that_fails_in_the_middle_is_not_called_damage(tmp_path, monkeypatch, number, reason):
    noise = np.random.default_rng(0).integers(0, 256, (FRAME_RATE * 3, SIZE, SIZE, 3), dtype=np.uint8)
    path = write_video(tmp_path / "clip.mp4", 3, lambda t: noise[round(t * FRAME_RATE)], tone(440, 0, 1, 2))

    class FailingFile(io.FileIO):
        def read(self, size=-1):
            if self.tell() > path.stat().st_size // 2 and self.tell() < path.stat().st_size - 20_000:
                raise OSError(number, os.strerror(number))
            return super().read(size)

    monkeypatch.setattr(video, "open", lambda name, mode: FailingFile(name), raising=False)
    assert refusal(path).startswith(reason)
