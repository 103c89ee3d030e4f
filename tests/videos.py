"""Video files with a known picture and a known sound in each second, written through PyAV."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from dataset.extraction.vgg19 import VGG19
from dataset.extraction.video import Video

FRAME_RATE, SOUND_RATE = 12, 22050
SIZE = 64  # height and width of the pictures

Picture = Callable[[float], np.ndarray]  # the picture (h, w, 3), uint8, at a time
Sound = Callable[[np.ndarray], np.ndarray]  # the samples, in [-1, 1], at times


def grey(level: int) -> np.ndarray:
    """A picture of one level."""
    return np.full((SIZE, SIZE, 3), level, np.uint8)


def stripes(period: int) -> np.ndarray:
    """Vertical stripes, black and white."""
    columns = np.where(np.arange(SIZE) % period < period // 2, 255, 0).astype(np.uint8)
    return np.broadcast_to(columns[None, :, None], (SIZE, SIZE, 3)).copy()


def silence(times: np.ndarray) -> np.ndarray:
    """Nothing to hear."""
    return np.zeros_like(times)


def tone(hertz: float, *seconds: int) -> Sound:
    """A sine in the named seconds, silence in the others."""

    def samples(times: np.ndarray) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * hertz * times) * np.isin(np.floor(times + 1e-9), seconds)

    return samples


def write_video(
    path: Path,
    seconds: float,
    picture: Picture | None,
    sound: Sound | None,
    picture_codec: str = "libx264",
    sound_codec: str = "aac",
    sound_rate: int = SOUND_RATE,
    layout: str = "mono",
    frame_rate: int = FRAME_RATE,
    sound_seconds: float | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; without ``picture`` or ``sound`` it has no such stream. ``options`` are those of the container."""
    with av.open(str(path), "w", options=options) as container:
        if picture:
            video = container.add_stream(picture_codec, rate=frame_rate)
            video.height, video.width = picture(0.0).shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1  # threads take longer to start than such pictures
        if sound:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
        if picture:
            for number in range(round(seconds * frame_rate)):
                frame = av.VideoFrame.from_ndarray(picture(number / frame_rate), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound:
            samples = sound(np.arange(round((sound_seconds or seconds) * sound_rate)) / sound_rate).astype(np.float32)
            channels = np.broadcast_to(samples, (audio.layout.nb_channels, len(samples)))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sound_rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def decoded(path: Path, frames_per_second: int, limit: int | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The pictures (t, n, 224, 224, 3) and the sound (16000 t,) of a video, and the remarks on it."""
    video = Video(path, frames_per_second, limit, VGG19.prepare)
    pictures, sounds, last = [], [], None
    for second in video.seconds():
        if second.pictures is not None:
            frames = [*second.pictures, last]  # the last one of the past is number -1
            pictures.append(np.stack([frames[number] for number in second.shown]))
            last = pictures[-1][-1]
        if second.sound is not None:
            sounds.append(second.sound)
    return np.stack(pictures), np.concatenate(sounds), video.remarks()


def remux(path: Path, out: Path) -> Path:
    """Write the packets of a video into another file, picture and sound in turn."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = streams[packet.stream]
            target.mux(packet)
    return out


def restamp(path: Path, out: Path, seconds: float, *kinds: str, first: int = 0) -> Path:
    """Write a video again, with later time stamps in streams ("video", "audio") from packet ``first`` on."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        packets = []
        for stream in source.streams:
            source.seek(0)
            own = [packet for packet in source.demux(stream) if packet.size]
            for packet in own[first:] if stream.type in kinds else ():
                packet.pts += round(seconds / stream.time_base)
                packet.dts = None if packet.dts is None else packet.dts + round(seconds / stream.time_base)
            copy = target.add_stream_from_template(stream)
            for packet in own:
                packet.stream = copy
            packets += own
        for packet in packets:
            target.mux(packet)
    return out


def damage(path: Path, kind: str, start: float, end: float) -> None:
    """Overwrite the last two thirds of each packet of a stream ("video", "audio") between two times."""
    contents = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.best(kind)):
            if packet.size and start <= packet.pts * packet.time_base < end:
                payload = bytes(packet)
                begin = contents.index(payload, packet.pos) + len(payload) // 3
                rest = 2 * len(payload) // 3
                contents[begin : begin + rest] = random.bytes(rest)
    path.write_bytes(contents)
