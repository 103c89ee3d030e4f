"""Features of videos: maps of the pictures, vectors of the sound."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice, repeat, takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.extraction.pretrained import PretrainedPictures, PretrainedSound
from dataset.extraction.record import DEFAULT_AUDIO, DEFAULT_VISUAL, Settings
from dataset.extraction.store import ExtractedFeatures
from dataset.extraction.vgg19 import VGG19
from dataset.extraction.vggish import VGGish
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
DECODERS = min(16, max(2, os.cpu_count() or 2))  # videos decoded at once, in threads, while another is in the networks


class FeatureExtractor:
    """The networks of ``settings``, one of the pictures and one of the sound.

    A network of pictures makes maps (n, h, w, c) of n pictures. One of sound makes vectors (t, d) of t seconds, or more
    than t, of which the first count; its ``window`` is the number of seconds that it hears together, None if it hears
    each by itself. What they read of a frame and of a sound (16000 t,), they ``prepare``, in several threads at once.

    Args:
        weights: folder of the weight files of VGG-19 and VGGish; None downloads the public ones.
        batch_size: pictures, or seconds of sound, that go through a network at once.

    Raises:
        InputError: the weights are not available, or a network does not make such features.
    """

    def __init__(self, settings: Settings, weights: Path | None, device: torch.device, batch_size: int) -> None:
        if settings.visual == DEFAULT_VISUAL:
            how = settings.preprocessing
            visual = load_public_weights(VGG19(how, "meta"), VGG19_WEIGHTS[how], weights)
        else:
            visual = PretrainedPictures(settings.visual)
        if settings.audio == DEFAULT_AUDIO:
            audio = load_public_weights(VGGish("meta"), VGGISH_WEIGHTS, weights)
        else:
            audio = PretrainedSound(settings.audio, settings.segments)
        self.fingerprint = fingerprint(visual, audio)
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        self.visual, self.audio = (network.to(device, dtype).eval() for network in (visual, audio))
        self.settings, self.device, self.batch_size = settings, device, batch_size

    def video(self, path: Path, limit: int | None = None) -> Video:
        """A video whose seconds ``features`` takes."""
        return Video(path, self.settings.frames_per_second, limit, self.visual.prepare)

    @torch.inference_mode()
    def features(self, seconds: Iterable[Second]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features of the seconds of a video, some seconds at a time.

        Yields visual (t, s, s, c), the mean of the maps of each second, pooled to ``map_size``, and audio (t, d), both
        float32. After the end of the pictures or of the sound, the features of its last second are repeated.

        Raises:
            VideoError: as ``Video.seconds``, or a feature is not finite.
            InputError: the memory is too small for a batch.
        """
        seconds = iter(seconds)
        last_map, visual, audio = torch.empty(0, device=self.device), torch.empty(0), torch.empty(0)
        at_once = self.audio.window or max(1, self.batch_size // self.settings.frames_per_second)
        while some := list(islice(seconds, at_once)):
            allow_tf32(self.settings.precision == "tf32")
            with out_of_memory_as_error(self.device, "give a smaller --batch_size"):
                means, last_map = self._visual([second for second in some if second.pictures is not None], last_map)
                embeddings = self._audio([second.sound for second in some if second.sound is not None])
            visual, audio = _extended(means, visual, len(some)), _extended(embeddings, audio, len(some))
            if not (finite(visual).all() and finite(audio).all()):
                raise VideoError("gives features that are not finite: its sound has samples that are no numbers (NaN)")
            yield visual.numpy(), audio.numpy()

    def _visual(self, seconds: Sequence[Second], last_map: Tensor) -> tuple[Tensor, Tensor]:
        """Mean maps (t, s, s, c) of seconds, and the map (1, s, s, c) of their last frame, given the one before."""
        if not seconds:
            return torch.empty(0), last_map
        pictures = chain.from_iterable(second.pictures for second in seconds)
        maps = [last_map]
        while batch := list(islice(pictures, self.batch_size)):
            maps.append(self._pooled(self.visual(torch.from_numpy(np.stack(batch)).to(self.device))))
        maps, shown, new = torch.cat(maps), [], len(last_map)  # places in maps
        for second in seconds:
            shown.append(second.shown + new)
            new += len(second.pictures)
        return maps[torch.from_numpy(np.stack(shown))].mean(dim=1).cpu(), maps[-1:]

    def _audio(self, sounds: Sequence[np.ndarray]) -> Tensor:
        """Vectors (t, d) of seconds of sound (16000,)."""
        if not sounds:
            return torch.empty(0)
        return self.audio(self.audio.prepare(np.concatenate(sounds)).to(self.device))[: len(sounds)].cpu()

    def _pooled(self, maps: Tensor) -> Tensor:
        """Maps (n, h, w, c) as (n, s, s, c)."""
        size = self.settings.map_size
        if min(maps.shape[1:3]) < size:
            raise InputError(
                f"{self.settings.visual}: its maps are {maps.shape[1]} x {maps.shape[2]}, smaller than --map_size "
                f"{size}: give a --map_size from 1 to {min(maps.shape[1:3])}"
            )
        return F.adaptive_avg_pool2d(maps.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


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


def ahead(calls: Iterable[Callable[[], Item]], number: int, threads: int = 1) -> Iterator[Future[Item]]:
    """What the calls give, in their order, computed in threads up to ``number`` ahead."""
    calls = iter(calls)
    with ThreadPoolExecutor(threads, thread_name_prefix="decoder") as pool:
        pending = deque(pool.submit(call) for call in islice(calls, number))
        try:
            while pending:
                pending.extend(pool.submit(call) for call in islice(calls, 1))
                yield pending.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def seconds_ahead(video: Video, number: int) -> Iterator[Second]:
    """The seconds of a video, decoded up to ``number`` ahead."""
    seconds = video.seconds()
    results = (future.result() for future in ahead(repeat(partial(next, seconds, None)), number))
    return takewhile(lambda second: second is not None, results)


def extract_features(
    videos: Mapping[str, Path],
    extractor: FeatureExtractor,
    store: ExtractedFeatures,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, str]:
    """Add the features of videos to ``store``; gives the problem of each video that cannot be used.

    Args:
        videos: files by video id.
        extractor: its ``segments`` are the seconds of each video; a shorter one repeats its last second.
        progress: wraps the loop over the videos.
    """
    problems, num_segments = {}, extractor.settings.segments
    results = ahead((partial(_decoded, path, extractor) for path in videos.values()), DECODERS, DECODERS)
    for (video_id, path), decoded in progress(zip(videos.items(), results, strict=True)):
        name = path.name
        try:
            seconds, remarks = decoded.result()
            visual, audio = zip(*extractor.features(seconds), strict=True)
        except VideoError as error:
            problems[video_id] = str(error)
            log.warning("warning: %s is left out: it %s", name, error)
            continue
        for remark in remarks:
            log.warning("warning: %s %s", name, remark)
        features = [torch.from_numpy(np.concatenate(parts)) for parts in (visual, audio)]
        store.add(video_id, path, *(_extended(each, each, num_segments).numpy() for each in features))
    return problems


def _decoded(path: Path, extractor: FeatureExtractor) -> tuple[list[Second], list[str]]:
    """The seconds of a video, and the remarks on them."""
    video = extractor.video(path, extractor.settings.segments)
    return list(video.seconds()), video.remarks()


def _extended(rows: Tensor, before: Tensor, length: int) -> Tensor:
    """``rows`` extended to ``length`` by their last one; without any, by the last one of ``before``."""
    last = rows[-1:] if len(rows) else before[-1:]
    return torch.cat([rows, last.expand(length - len(rows), *last.shape[1:])]) if len(rows) < length else rows
