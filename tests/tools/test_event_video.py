"""A rendered video: colours and sound of the original, and a browser that plays it."""

import json
import shutil
import subprocess
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import matplotlib.image
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from dataset.extraction.video import pictures_at, read_sound
from model import Event, Prediction
from tests.videos import FRAME_RATE, damage, grey, tone, write_light, write_video
from tools.predict.event_video import render_events

CHROMIUM = shutil.which("chromium")
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (230, 180, 140)]
PREDICTION = Prediction(
    [Event("Horn", 1, 3, 0.91), Event("钟 $x_1$", 3, 4, 0.85)], np.zeros(4), np.zeros(4), np.zeros((4, 1))
)


def bars(height, width):
    """Four vertical bars."""
    return np.repeat(np.array(COLOURS, np.uint8), width // 4, axis=0)[None].repeat(height, axis=0)


def colours(picture):
    """Those of the four bars, in a picture (height, width, 3)."""
    height, width, _ = picture.shape
    return picture[height // 4, [width // 8 + bar * width // 4 for bar in range(4)], :3].astype(int)


def write_bt709(path):
    """A video as cameras and YouTube write them: 1280 x 720, its colour space said."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        codec = stream.codec_context
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for number in range(4 * FRAME_RATE):
            frame = av.VideoFrame.from_ndarray(bars(720, 1280), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        samples = np.tile(tone(440, 1, 2)(np.arange(4 * 48000) / 48000).astype(np.float32), (2, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="module", params=["small, colour space not said", "large, BT.709"])
def rendered(request, tmp_path_factory):
    """A video and its rendering."""
    folder = tmp_path_factory.mktemp("rendered")
    if request.param.startswith("small"):
        video = write_video(folder / "video.mp4", 4, lambda _: bars(240, 320), tone(440, 1, 2))
    else:
        video = write_bt709(folder / "video.mp4")
    render_events(folder / "rendered.mp4", video, PREDICTION)
    return video, folder / "rendered.mp4"


def test_colours_and_sound_are_those_of_the_video(rendered):
    video, out = rendered
    shown = []
    for path in rendered:
        with av.open(str(path)) as container:
            shown.append(next(container.decode(video=0)))
    before, after = (colours(frame.to_ndarray(format="rgb24")) for frame in shown)
    assert np.abs(after - before).max() <= 6
    assert shown[1].colorspace == Colorspace.ITU709
    sounds = [read_sound(path)[: 4 * 16000] for path in (video, out)]
    assert np.corrcoef(*sounds)[0, 1] > 0.99


@pytest.mark.parametrize("form", ["HLG", "PQ"])
def test_colours_of_an_hdr_film_are_those_that_a_screen_without_hdr_shows(form, tmp_path):
    render_events(
        tmp_path / "out.mp4", write_light(tmp_path / "film.mp4", (bars(240, 320) / 255) ** 2.4, form), PREDICTION
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.color_trc == ColorTrc.BT709
    assert np.abs(colours(frame.to_ndarray(format="rgb24")) - COLOURS).max() <= 6


def test_file_begins_with_its_index_so_that_a_browser_plays_it_while_it_loads(rendered):
    contents = rendered[1].read_bytes()
    assert contents.index(b"moov") < contents.index(b"mdat")


def heard(path):
    """The loudness of each of six seconds."""
    return np.abs(read_sound(path).reshape(6, 16000)).mean(axis=1)


def test_damaged_sound_leaves_a_gap_and_the_rest_keeps_its_time(tmp_path):
    video = write_video(tmp_path / "video.mp4", 6, lambda _: grey(80), tone(440, 0, 1, 2, 3, 5), layout="stereo")
    before = heard(video)
    damage(video, "audio", 2.2, 2.8)
    render_events(tmp_path / "out.mp4", video, PREDICTION)
    after = heard(tmp_path / "out.mp4")
    assert after[2] < 0.7 * before[2]
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(after[others], before[others], rtol=0.1, atol=0.01)


def test_recordings_joined_in_one_file_stay_in_step(tmp_path):
    """Broadcasts change the size of the picture and the channels of the sound, and their clock jumps back."""
    parts = b""
    for layout, width, start in (("mono", 64, 106), ("stereo", 96, 10)):

        def flash(time, width=width):
            return np.full((64, width, 3), 230 if int(time + 1e-9) == 1 else 20, np.uint8)

        arguments = {"layout": layout, "sound_rate": 44100, "options": {"output_ts_offset": str(start)}}
        parts += write_video(tmp_path / "part.ts", 3, flash, tone(440, 1), **arguments).read_bytes()
    (tmp_path / "video.ts").write_bytes(parts)
    prediction = Prediction(PREDICTION.events, np.zeros(6), np.zeros(6), np.zeros((6, 1)))
    render_events(tmp_path / "out.mp4", tmp_path / "video.ts", prediction)
    expected = [False, True, False] * 2
    assert [loudness > 0.1 for loudness in heard(tmp_path / "out.mp4")] == expected
    pictures = pictures_at(tmp_path / "out.mp4", np.arange(6) + 0.5, 64)
    assert [picture[:32].mean() > 128 for picture in pictures] == expected
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    blue = [picture[-5:].mean(axis=(0, 1)) @ [-1, 0, 1] > 30 for picture in pictures]
    assert blue == [False, True, True, True, False, False]  # the label of an event


PAGE = """<!doctype html><body style="margin: 0"><video id="video" muted width="640"></video><img src="/wait"><script>
const tell = result => fetch('/done', {method: 'POST', body: JSON.stringify(result)});
video.onerror = () => tell({error: video.error.message});
video.onloadeddata = () => { video.currentTime = 1.2; };
video.onseeked = () => {
  video.onseeked = null;
  video.play();
  video.ontimeupdate = () => {
    if (video.currentTime < 1.4) return;
    video.pause();
    const {duration, readyState, videoWidth, videoHeight, webkitAudioDecodedByteCount: sound} = video;
    tell({duration, readyState, size: [videoWidth, videoHeight], sound});
  };
};
fetch('/video').then(response => response.blob()).then(blob => { video.src = URL.createObjectURL(blob); });
</script>"""


def play(video, folder):
    """What Chromium says of a video that it plays from 1.2 s on, and what it shows then."""
    done, said = threading.Event(), {}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body, kind):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/wait":  # the picture is taken when the page has loaded all of its images
                done.wait(60)
                self.answer(b"", "image/png")
            elif self.path == "/video":
                self.answer(video.read_bytes(), "video/mp4")
            else:
                self.answer(PAGE.encode(), "text/html")

        def do_POST(self):
            said.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(b"", "text/plain")
            done.set()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--no-first-run", "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}"),
            *(
                "--window-size=640,600",
                f"--screenshot={folder / 'shown.png'}",
                f"http://127.0.0.1:{server.server_port}",
            ),
        ]
        subprocess.run(command, capture_output=True, timeout=120)
        server.shutdown()
    return said, np.round(255 * matplotlib.image.imread(folder / "shown.png"))


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_browser_plays_picture_and_sound(rendered, tmp_path):
    said, shown = play(rendered[1], tmp_path)
    height = round(640 * said["size"][1] / said["size"][0])
    assert said["readyState"] >= 2
    assert said["duration"] == pytest.approx(4, abs=0.1)
    assert said["sound"] > 0
    assert np.abs(colours(shown[:height]) - COLOURS).max() <= 12
    red, _, blue = shown[height - 5, 600, :3]
    assert blue > red + 60  # the label of an event
