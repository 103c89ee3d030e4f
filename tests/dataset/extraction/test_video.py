"""A video is decoded second by second, and what happens in a second is found in it, whatever the file looks like."""

import av
import numpy as np
import pytest

from dataset.extraction.vggish import SAMPLE_RATE
from dataset.extraction.video import VideoError, is_silent, pictures_at, read_clip, read_seconds, read_sound
from tests.videos import FRAME_RATE, SIZE, grey, silence, stripes, tone, write_video

FILES = {
    "clip.mp4": {"sound_codec": "aac", "sound_rate": 22050},
    "clip.mkv": {"sound_codec": "flac", "sound_rate": 44100, "layout": "stereo"},
    "clip.avi": {"picture_codec": "mpeg4", "sound_codec": "pcm_s16le", "sound_rate": 8000, "layout": "stereo"},
    "clip.webm": {"picture_codec": "libvpx-vp9", "sound_codec": "libopus", "sound_rate": 48000},
}
DARK, BRIGHT = grey(20), grey(230)


def flash(second):
    return lambda time: BRIGHT if int(time + 1e-9) == second else DARK


def refusal(action, *arguments):
    with pytest.raises(VideoError) as error:
        action(*arguments)
    return str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_flash_and_tone_in_a_second_are_found_in_that_second(tmp_path, name):
    path = write_video(tmp_path / name, 4, flash(2), tone(1000, 2), **FILES[name])
    clip = read_clip(path, 4, 16)
    assert clip.pictures.shape == (4, 16, 224, 224, 3)
    levels = clip.pictures.mean(axis=(2, 3, 4))  # (seconds, frames)
    assert (levels[2] > 200).all()
    assert (levels[[0, 1, 3]] < 40).all()

    heard = np.flatnonzero(np.abs(clip.sound) > 0.2) / SAMPLE_RATE
    assert heard[0] == pytest.approx(2, abs=0.002)
    assert heard[-1] == pytest.approx(3, abs=0.002)
    assert len(clip.sound) == 4 * SAMPLE_RATE


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
    seconds = np.concatenate(list(read_seconds(path, 16)))
    shown = np.floor((np.arange(32) + 0.5) / 16 * FRAME_RATE)
    np.testing.assert_allclose(seconds.mean(axis=(1, 2, 3)), 10 * shown, atol=4)


def test_whole_frame_is_resized(tmp_path):
    """Nothing is cut off a wide picture: its left third and its right third are still thirds."""
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, :64, 0] = wide[:, 128:, 2] = 255
    path = write_video(tmp_path / "clip.mp4", 1, lambda _: wide, silence)
    picture = next(read_seconds(path, 1))[0].astype(int)
    red, blue = picture[..., 0] > 128, picture[..., 2] > 128
    assert red.mean() == pytest.approx(1 / 3, abs=0.03)
    assert blue.mean() == pytest.approx(1 / 3, abs=0.03)
    assert red[:, :70].all()
    assert blue[:, -70:].all()
    assert pictures_at(path, [0.5], 50)[0].shape == (50, 150, 3)


@pytest.mark.parametrize(("length", "seconds"), [(0.2, 1), (1.2, 1), (1.6, 2), (2.0, 2)])
@pytest.mark.parametrize("frames_per_second", [1, 2, 16])
def test_last_second_counts_if_half_of_its_frames_are_there(tmp_path, length, seconds, frames_per_second):
    path = write_video(tmp_path / "clip.mkv", length, lambda _: stripes(8), silence)
    read = list(read_seconds(path, frames_per_second))
    assert [second.shape for second in read] == seconds * [(frames_per_second, 224, 224, 3)]


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


def test_video_that_cannot_be_used_says_why(tmp_path):
    good = write_video(tmp_path / "good.mp4", 2, lambda t: stripes(4 + 2 * int(4 * t)), tone(440, 0, 1))
    mute = write_video(tmp_path / "mute.mp4", 2, lambda _: DARK, None)
    blind = write_video(tmp_path / "blind.mp4", 2, None, silence)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[:-3000])
    assert "no sound" in refusal(read_clip, mute, 2, 1)
    assert "no picture" in refusal(read_clip, blind, 2, 1)
    assert "too short: its sound lasts 2.0 s, expected 3" in refusal(read_clip, good, 3, 1)
    for path in (text, empty, cut, tmp_path / "missing.mp4"):
        assert "cannot be decoded" in refusal(read_clip, path, 2, 1)


def test_damage_in_the_middle_is_noticed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (FRAME_RATE * 3, SIZE, SIZE, 3), dtype=np.uint8)
    path = write_video(tmp_path / "clip.mp4", 3, lambda t: noise[round(t * FRAME_RATE)], tone(440, 0, 1, 2))
    contents = bytearray(path.read_bytes())
    middle = len(contents) // 2
    contents[middle : middle + 20000] = bytes(20000)
    path.write_bytes(contents)
    assert "cannot be decoded" in refusal(read_clip, path, 3, 16)


def test_file_name_is_never_taken_for_an_address(tmp_path):
    path = write_video(tmp_path / "http:--odd name %d.mp4", 1, lambda _: DARK, silence)
    assert len(list(read_seconds(path, 1))) == 1
