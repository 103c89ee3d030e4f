"""What people read names no value that is missing: not None, nor nan."""

import re
from pathlib import Path


def assert_readable(text: str) -> None:
    """Check lines of a log, a table, or a page of HTML, whose scripts, styles and embedded files nobody reads."""
    shown = re.sub(r"<(script|style)\b.*?</\1>|\bdata:[^\"']*", "", text, flags=re.DOTALL)
    assert [line for line in shown.splitlines() if re.search(r"\b(None|nan)\b", line)] == []


def assert_files_readable(folder: Path, *endings: str) -> None:
    """Check the files of a folder with these endings, at least one of each."""
    for ending in endings:
        files = list(folder.glob(f"*{ending}"))
        assert files, ending
        for file in files:
            assert_readable(file.read_text(encoding="utf-8"))
