"""The report on a data folder: the findings, each with its cure, and a verdict on each file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.features import ChannelsFirstError
from dataset.hdf5 import Stored
from dataset.layout import ANNOTATIONS, TRAINING_FILES
from dataset.size import AVE, Size
from dataset.sources import cure_of
from utils.errors import AccessError, InputError

ERROR, WARNING, NOTE = "error", "warning", "note"
WRONG = "WRONG"  # the verdict on a file with an error


class Finding(NamedTuple):
    """Something that the user should know. Only an error prevents ``settings`` from running."""

    level: str  # ERROR, WARNING or NOTE
    message: str
    cure: str  # empty if there is nothing to do
    settings: tuple[str, ...]  # those that need one of the files in question


@dataclass
class Report:
    """The findings about the folder ``root`` that concern ``settings``."""

    root: Path
    settings: tuple[str, ...]
    size: Size = AVE  # on which most files agree
    findings: list[Finding] = field(default_factory=list)
    data: dict[str, Stored] = field(default_factory=dict)  # in the files that could be opened
    eventful: np.ndarray | None = None  # (n,), whether a video has an event in a segment, if its labels could be read
    verdicts: dict[str, str] = field(default_factory=dict)  # on the contents of the files

    def add(self, level: str, names: Iterable[str], message: str, cure: str = "") -> None:
        """Add a finding about some files, unless it concerns none of the settings."""
        if settings := tuple(setting for setting in self.settings if reads(setting, names)):
            self.findings.append(Finding(level, message, cure, settings))

    def approve(self, name: str, verdict: str) -> None:
        """Give the verdict on a file, unless it is wrong."""
        self.verdicts.setdefault(name, verdict)

    @contextmanager
    def checking(self, name: str) -> Iterator[None]:
        """Turn an ``InputError`` into an error about the file ``name``."""
        try:
            yield
        except InputError as error:
            self.verdicts[name] = WRONG
            is_bad = not isinstance(error, AccessError | ChannelsFirstError)  # or its contents may be good
            self.add(ERROR, [name], str(error), self.cure(name) if is_bad else "")

    def of(self, level: str) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    def can_run(self, setting: str) -> bool:
        """Whether no error prevents the setting from running."""
        return not any(setting in finding.settings for finding in self.of(ERROR))

    def cure(self, name: str) -> str:
        """How to replace a file."""
        return cure_of(self.root, name)


def reads(setting: str, names: Iterable[str]) -> bool:
    """Whether training in the setting reads one of the files; annotations concern every setting."""
    return any(name == ANNOTATIONS or name in TRAINING_FILES[setting] for name in names)
