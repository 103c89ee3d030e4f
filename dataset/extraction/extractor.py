"""Features of videos: VGG-19 maps of the pictures, VGGish embeddings of the sound."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dataset.extraction.store import ExtractedFeatures
from dataset.extraction.vgg19 import MAP_SHAPE, VGG19
from dataset.extraction.vggish import VGGish, log_mel
from dataset.extraction.video import Second, Video, VideoError
from dataset.extraction.weights import VGG19_WEIGHTS, VGGISH_WEIGHTS, fingerprint, load_public_weights
from utils.arithmetic import allow_tf32, finite
from utils.errors import InputError, reason_of
from utils.memory import out_of_memory_as_error

log = logging.getLogger(__name__)
Item = TypeVar("Item")

VIDEO_SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"]
)  # of the files in a folder that count as videos
DECODERS = 2  # videos decoded while another one goes through the networks


class FeatureExtractor:
    """VGG-19 and VGGish with their public weights.

    Args:
        weights: folder of the weight files; None downloads the public ones.
        preprocessing: of the pictures, one of ``vgg19.PREPROCESSING``.
        batch_size: pictures, or seconds of sound, that go through a network at once.
        precision: of the convolutions and products, ``fp32`` or ``bf16``.

    Raises:
        InputError: the weights are not available.
    """

    def __init__(
        self, weights: Path | None, preprocessing: str, device: torch.device, batch_size: int, precision: str = "fp32"
    ) -> None:
        vgg19, vggish = VGG19(preprocessing), VGGish()
        load_public_weights(vgg19, VGG19_WEIGHTS[preprocessing], weights)
        load_public_weights(vggish, VGGISH_WEIGHTS, weights)
        self.fingerprint = fingerprint(vgg19, vggish)
        self.vgg19, self.vggish = (network.to(device).eval() for network in (vgg19, vggish))
        if precision == "bf16":  # what is subtracted from the pictures stays float32
            self.vgg19.features.bfloat16()
            self.vggish.bfloat16()
        self.device = device
        self.batch_size = batch_size

    @torch.inference_mode()
    def features(self, seconds: Iterable[Second], frames_per_second: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features of the seconds of a video, some seconds at a time.

        Yields visual (t, 7, 7, 512), the mean of the pool5 maps of each second, and audio (t, 128), both float32. After
        the end of the pictures or of the sound, the features of its last second are repeated.

        Raises:
            VideoError: as ``Video.seconds``, or a feature is not finite.
            InputError: the memory is too small for a batch.
        """
        seconds = iter(seconds)
        last_map = torch.zeros(1, *MAP_SHAPE, device=self.device)  # never shown
        visual = audio = torch.empty(0)
        while some := list(islice(seconds, max(1, self.batch_size // frames_per_second))):
            allow_tf32(False)
            with out_of_memory_as_error(self.device, "give a smaller --batch_size"):
                means, last_map = self._visual([second for second in some if second.pictures is not None], last_map)
                embeddings = self._audio([second.sound for second in some if second.sound is not None])
            visual, audio = _extended(means, visual, len(some)), _extended(embeddings, audio, len(some))
            if not (finite(visual).all() and finite(audio).all()):
                raise VideoError("gives features that are not finite: its sound has samples that are no numbers (NaN)")
            yield visual.numpy(), audio.numpy()

    def _visual(self, seconds: Sequence[Second], last_map: Tensor) -> tuple[Tensor, Tensor]:
        """Mean maps (t, 7, 7, 512) of seconds, and the map (1, 7, 7, 512) of their last frame, given the one before."""
        if not seconds:
            return torch.empty(0), last_map
        batches = torch.from_numpy(np.concatenate([second.pictures for second in seconds])).split(self.batch_size)
        maps = torch.cat([last_map, *(self.vgg19(batch.to(self.device)) for batch in batches if len(batch))])
        shown, new = [], 1  # places in maps
        for second in seconds:
            shown.append(second.shown + new)
            new += len(second.pictures)
        return maps[torch.from_numpy(np.stack(shown))].mean(dim=1).cpu(), maps[-1:]

    def _audio(self, sounds: Sequence[np.ndarray]) -> Tensor:
        """Embeddings (t, 128) of seconds of sound (16000,)."""
        if not sounds:
            return torch.empty(0)
        spectrograms = torch.from_numpy(log_mel(np.concatenate(sounds), len(sounds)))
        return self.vggish(spectrograms.to(self.device)).cpu()


def video_files(folder: Path) -> list[Path]:
    """The video files of a folder in alphabetical order, with links that lead nowhere: reading them says so.

    Raises:
        InputError: the folder cannot be read, or has none.
    """
    try:
        files = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in VIDEO_SUFFIXES and (path.is_file() or (path.is_symlink() and not path.exists()))
        )
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {reason_of(error)}; expected a folder of videos") from error
    if not files:
        raise InputError(f"{folder}: has no video files, whose names end in {', '.join(sorted(VIDEO_SUFFIXES))}")
    return files


def videos_by_id(folder: Path) -> dict[str, Path]:
    """The video files of a folder by their names without suffix, in alphabetical order.

    Raises:
        InputError: as ``video_files``, two files have one video id, or a name is not UTF-8.
    """
    videos: dict[str, Path] = {}
    for path in video_files(folder):
        if path.stem in videos:
            raise InputError(
                f"{folder}: {videos[path.stem].name} and {path.name} are both video {path.stem!r}: keep one"
            )
        if path.stem != path.stem.encode(errors="ignore").decode():
            raise InputError(f"{path}: its name, which becomes the video id, is not UTF-8: rename it")
        videos[path.stem] = path
    return dict(sorted(videos.items()))


def ahead(items: Iterator[Item], number: int) -> Iterator[Item]:
    """The items, computed in another thread up to ``number`` ahead."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, end) for _ in range(number))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


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
        num_segments: seconds of each video; a shorter one repeats its last second.
        frames_per_second: pictures over which a second is averaged.
        progress: wraps the loop over the videos.
    """
    problems = {}
    for video_id, decoded in progress(_decoded(videos, num_segments, frames_per_second)):
        name = videos[video_id].name
        try:
            seconds, remarks = decoded.result()
            visual, audio = zip(*extractor.features(seconds, frames_per_second), strict=True)
        except VideoError as error:
            problems[video_id] = str(error)
            log.warning("warning: %s is left out: it %s", name, error)
            continue
        for remark in remarks:
            log.warning("warning: %s %s", name, remark)
        features = [torch.from_numpy(np.concatenate(parts)) for parts in (visual, audio)]
        store.add(video_id, videos[video_id], *(_extended(each, each, num_segments).numpy() for each in features))
    return problems


def _decoded(
    videos: Mapping[str, Path], num_segments: int, frames_per_second: int
) -> Iterator[tuple[str, Future[tuple[list[Second], list[str]]]]]:
    """Each video with its decoded seconds and the remarks on them; a few videos are decoded ahead of the networks."""

    def read(path: Path) -> tuple[list[Second], list[str]]:
        video = Video(path, frames_per_second, num_segments)
        return list(video.seconds()), video.remarks()

    pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
    try:
        ahead: deque[tuple[str, Future]] = deque()
        for video_id, path in videos.items():
            ahead.append((video_id, pool.submit(read, path)))
            if len(ahead) > DECODERS:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _extended(rows: Tensor, before: Tensor, length: int) -> Tensor:
    """``rows`` extended to ``length`` by their last one; without any, by the last one of ``before``."""
    last = rows[-1:] if len(rows) else before[-1:]
    return torch.cat([rows, last.expand(length - len(rows), *last.shape[1:])]) if len(rows) < length else rows
