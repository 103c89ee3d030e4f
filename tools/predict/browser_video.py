"""Whether browsers play a video, and a copy for them of one that they may not play."""

import logging
from pathlib import Path

from dataset.extraction.clock import best_stream
from dataset.extraction.video import open_video
from tools.predict.event_video import render_events

log = logging.getLogger(__name__)

# What all browsers play: suffixes and format of the file, codecs of picture and sound.
PLAYED = (
    ({".mp4", ".m4v", ".mov"}, "mp4", {"h264"}, {"aac", "mp3"}),
    ({".webm"}, "webm", {"vp8", "vp9"}, {"vorbis", "opus"}),
)
PIXELS = "yuv420p", "yuvj420p"  # 8 bits, with half of the colours' rows and columns


def copy_of(video: Path, folder: Path) -> Path:
    """The name of the copy of a video in the folder of its page."""
    return folder / f"{video.name}.mp4"


def playable(video: Path, folder: Path) -> Path:
    """The video itself if browsers play it, otherwise a copy in ``folder`` (H.264 and AAC), which is logged.

    Raises:
        VideoError: the video cannot be decoded.
    """
    with open_video(video, "video", "audio") as container:
        picture, sound = (best_stream(container, kind).codec_context for kind in ("video", "audio"))
        formats, codecs = container.format.name.split(","), (picture.codec.canonical_name, sound.codec.canonical_name)
        pixels = picture.pix_fmt
    for suffixes, form, pictures, sounds in PLAYED:
        named = video.suffix.lower() in suffixes and form in formats
        if named and codecs[0] in pictures and codecs[1] in sounds and pixels in PIXELS:
            return video
    log.info("browsers may not play %s (%s and %s): its page plays a copy in H.264 and AAC", video.name, *codecs)
    copy = copy_of(video, folder)
    render_events(copy, video, None)
    return copy
