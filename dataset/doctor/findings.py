"""What a look at a data folder has found: a line per file, and every finding with its cure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dataset.layout import ANNOTATIONS, TRAINING_FILES

ERROR, WARNING, NOTE = "error", "warning", "note"


class Finding(NamedTuple):
    """Something that the user should know. An error keeps ``settings`` from running, the others do not."""

    level: str  # ERROR, WARNING or NOTE
    sentence: str  # what is wrong, where, and what was expected
    cure: str  # what to do about it; empty where there is nothing to do
    settings: tuple[str, ...]  # those that need one of the files in question


class FileLine(NamedTuple):
    """A file of the layout, as a line of a table."""

    file: str
    key: str = ""
    shape: str = ""
    type: str = ""
    size: str = ""
    values: str = ""


@dataclass
class Report:
    """What was found in ``root`` by somebody who is interested in ``settings``."""

    root: Path
    settings: tuple[str, ...]
    lines: list[FileLine] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: str, files: Iterable[str], sentence: str, cure: str = "") -> None:
        """Add a finding about some files; one that concerns none of the settings is left out."""
        if settings := tuple(setting for setting in self.settings if needs(setting, files)):
            self.findings.append(Finding(level, sentence, cure, settings))

    def of(self, level: str) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    def can_run(self, setting: str) -> bool:
        """Whether no error keeps the setting from running."""
        return not any(setting in finding.settings for finding in self.of(ERROR))


def needs(setting: str, files: Iterable[str]) -> bool:
    """Whether training in the setting reads one of the files; what the annotations say concerns every setting."""
    return any(name == ANNOTATIONS or name in TRAINING_FILES[setting] for name in files)


def counted(number: int, one: str, many: str) -> str:
    """A number and its words, as in '1 row is' and '2 rows are'."""
    return f"{number} {one if number == 1 else many}"


def listed(values: Sequence[object], most: int = 20) -> str:
    """The values with commas between them, the first ones where they are many."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
