"""Events for other programs: a table as DCASE has it, which sed_eval reads, and subtitles for players."""

import csv
import io
from collections.abc import Iterable, Sequence

from model import Event


def as_tsv(videos: Iterable[tuple[str, Sequence[Event]]]) -> str:
    """The events of videos, given with their file names, a line each: filename, onset, offset, event_label."""
    text = io.StringIO()
    writer = csv.writer(text, "excel-tab", lineterminator="\n")
    writer.writerow(["filename", "onset", "offset", "event_label"])
    writer.writerows(
        [name, f"{start}.0", f"{end}.0", label] for name, events in videos for label, start, end, _ in events
    )
    return text.getvalue()


def as_vtt(events: Iterable[Event]) -> str:
    """The events of a video as WebVTT, a cue with name and probability each."""
    cues = [
        f"{_stamp(event.start)} --> {_stamp(event.end)}\n{_escaped(event.name)} {event.probability:.2f}\n"
        for event in events
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _stamp(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.000"


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
