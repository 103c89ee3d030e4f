"""Video files with a known picture and a known sound in each second, written through PyAV."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

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
) -> Path:
    """Write a video; without ``picture`` or ``sound`` it has no such stream."""
    with av.open(str(path), "w") as container:
        if picture:
            video = container.add_stream(picture_codec, rate=FRAME_RATE)
            video.height, video.width = picture(0.0).shape[:2]
            video.pix_fmt = "yuv420p"
        if sound:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
        if picture:
            for number in range(round(seconds * FRAME_RATE)):
                frame = av.VideoFrame.from_ndarray(picture(number / FRAME_RATE), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound:
            samples = sound(np.arange(round(seconds * sound_rate)) / sound_rate).astype(np.float32)
            channels = np.broadcast_to(samples, (audio.layout.nb_channels, len(samples)))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sound_rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path
