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
)  # of the files in a folder that are taken for videos
DECODERS = 2  # videos that are decoded while another one is in the networks


class FeatureExtractor:
    """VGG-19 and VGGish, ready to describe the seconds of videos.

    Args:
        weights: the folder of the weight files; None downloads the public ones.
        preprocessing: of the pictures, one of ``dataset.vgg.PREPROCESSING``.
        device: where the arithmetic runs.
        batch_size: how many pictures, or seconds of sound, go through a network at once.

    Raises:
        InputError: the weights cannot be had.
    """

    def __init__(self, weights: Path | None, preprocessing: str, device: torch.device, batch_size: int) -> None:
        vgg19, vggish = VGG19(preprocessing), VGGish()
        load_public_weights(vgg19, VGG19_WEIGHTS[preprocessing], weights)
        load_public_weights(vggish, VGGISH_WEIGHTS, weights)
        self.fingerprint = fingerprint(vgg19, vggish)  # tells other weights from these
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

    def describe(
        self, path: Path, frames_per_second: int, progress: Callable[[Iterable, int], Iterable]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A whole video, however long: visual (t, 7, 7, 512) and audio (t, 128), float32, and its sound (n,) at 16 kHz.

        Args:
            path: the video.
            frames_per_second: pictures over which a second is averaged.
            progress: wraps a loop of about so many seconds, to show how far it is.

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
        InputError: the folder cannot be read, or two files stand for one video.
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
    done: ExtractedFeatures,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, str]:
    """Add the features of videos to those that are ``done``; gives what is wrong with each video that has none.

    Args:
        videos: files by video id.
        extractor: the networks.
        num_segments: t, how many seconds of each video count.
        frames_per_second: pictures over which a second is averaged.
        done: where the features go.
        progress: wraps the loop over all videos, to show how far it is.

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
            log.warning("warning: %s is silent: nothing can be heard in it", videos[video_id].name)
        visual, audio = extractor.visual(pictures), extractor.audio(sound, num_segments)
        done.add(video_id, videos[video_id], visual, audio)
    return problems


def _decoded(
    videos: Mapping[str, Path], num_segments: int, frames_per_second: int
) -> Iterator[tuple[str, Future[Clip]]]:
    """Each video and what its decoding gives, a few of them ahead of the networks."""
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
