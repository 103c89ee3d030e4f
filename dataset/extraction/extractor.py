"""From video files to features: VGG-19 maps for the pictures, VGGish embeddings for the sound."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from dataset.extraction.store import ExtractedFeatures
from dataset.extraction.vgg19 import VGG19
from dataset.extraction.vggish import SAMPLE_RATE, VGGish, log_mel
from dataset.extraction.video import Clip, VideoError, is_silent, read_clip, read_seconds, read_sound
from dataset.extraction.weights import VGG19_WEIGHTS, VGGISH_WEIGHTS, fingerprint, load_public_weights
from utils.arithmetic import allow_tf32
from utils.errors import InputError
from utils.memory import out_of_memory_as_error

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"]
)  # of the files in a folder that count as videos
DECODERS = 2  # videos decoded while another one goes through the networks


class FeatureExtractor:
    """VGG-19 and VGGish with their public weights.

    Args:
        weights: folder of the weight files; None downloads the public ones.
        preprocessing: of the pictures, one of ``vgg19.PREPROCESSING``.
        device: where the arithmetic runs.
        batch_size: pictures, or seconds of sound, that go through a network at once.

    Raises:
        InputError: the weights are not available.
    """

    def __init__(self, weights: Path | None, preprocessing: str, device: torch.device, batch_size: int) -> None:
        vgg19, vggish = VGG19(preprocessing), VGGish()
        load_public_weights(vgg19, VGG19_WEIGHTS[preprocessing], weights)
        load_public_weights(vggish, VGGISH_WEIGHTS, weights)
        self.fingerprint = fingerprint(vgg19, vggish)
        self.vgg19, self.vggish = (network.to(device).eval() for network in (vgg19, vggish))
        self.device = device
        self.batch_size = batch_size

    @torch.inference_mode()
    def visual(self, pictures: np.ndarray) -> np.ndarray:
        """pool5 maps (t, 7, 7, 512), float32, averaged over each second of pictures (t, n, 224, 224, 3), RGB, uint8.

        Raises:
            InputError: the memory is too small for a batch.
        """
        allow_tf32(False)
        batches = torch.from_numpy(pictures).flatten(0, 1).split(self.batch_size)
        with out_of_memory_as_error(self.device, "give a smaller --batch_size"):
            maps = torch.cat([self.vgg19(batch.to(self.device)) for batch in batches])  # (t * n, 7, 7, 512)
        return maps.unflatten(0, pictures.shape[:2]).mean(dim=1).cpu().numpy()

    @torch.inference_mode()
    def audio(self, sound: np.ndarray, num_seconds: int) -> np.ndarray:
        """Embeddings (t, 128), float32, of the first t seconds of a sound (n,) at 16 kHz; beyond its end is silence."""
        allow_tf32(False)
        batches = torch.from_numpy(log_mel(sound, num_seconds)).split(self.batch_size)
        return torch.cat([self.vggish(batch.to(self.device)) for batch in batches]).cpu().numpy()

    def extract(
        self, path: Path, frames_per_second: int, progress: Callable[[Iterable, int], Iterable]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of a whole video, visual (t, 7, 7, 512) and audio (t, 128), float32, and its sound (n,) at 16 kHz.

        Args:
            path: the video.
            frames_per_second: pictures over which a second is averaged.
            progress: wraps the loop over the seconds, of which there are about so many.

        Raises:
            VideoError: it has no picture or no sound, or cannot be decoded.
            InputError: the memory is too small for a batch.
        """
        sound = read_sound(path)
        expected = max(1, round(len(sound) / SAMPLE_RATE))
        seconds = iter(progress(read_seconds(path, frames_per_second), expected))
        together = max(1, self.batch_size // frames_per_second)
        visual = []
        while some := list(islice(seconds, together)):
            visual.append(self.visual(np.stack(some)))
        visual = np.concatenate(visual)
        return visual, self.audio(sound, len(visual)), sound


def videos_by_id(folder: Path) -> dict[str, Path]:
    """The video files of a folder by their names without suffix, in alphabetical order.

    Raises:
        InputError: the folder cannot be read, or two files have one video id.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}, expected a folder of videos") from error
    videos: dict[str, Path] = {}
    for path in files:
        if path.stem in videos:
            raise InputError(
                f"{folder}: {videos[path.stem].name} and {path.name} are both video {path.stem!r}: keep one"
            )
        videos[path.stem] = path
    return dict(sorted(videos.items()))


def extract_features(
    videos: Mapping[str, Path],
    extractor: FeatureExtractor,
    num_segments: int,
    frames_per_second: int,
    store: ExtractedFeatures,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, str]:
    """Add the features of videos to ``store``; gives the problem of each video that cannot be used.

    Args:
        videos: files by video id.
        extractor: the networks.
        num_segments: t, seconds of each video.
        frames_per_second: pictures over which a second is averaged.
        store: of the features.
        progress: wraps the loop over the videos.

    Raises:
        InputError: features cannot be written.
    """
    problems = {}
    for video_id, clip in progress(_decoded(videos, num_segments, frames_per_second)):
        try:
            pictures, sound = clip.result()
        except VideoError as error:
            problems[video_id] = str(error)
            log.warning("warning: %s is left out: it %s", videos[video_id].name, error)
            continue
        if is_silent(sound):
            log.warning("warning: %s is silent", videos[video_id].name)
        visual, audio = extractor.visual(pictures), extractor.audio(sound, num_segments)
        store.add(video_id, videos[video_id], visual, audio)
    return problems


def _decoded(
    videos: Mapping[str, Path], num_segments: int, frames_per_second: int
) -> Iterator[tuple[str, Future[Clip]]]:
    """Each video with its decoded clip; a few videos are decoded ahead of the networks."""
    pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
    try:
        ahead: deque[tuple[str, Future[Clip]]] = deque()
        for video_id, path in videos.items():
            ahead.append((video_id, pool.submit(read_clip, path, num_segments, frames_per_second)))
            if len(ahead) > DECODERS:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
