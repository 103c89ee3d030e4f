"""Check a data folder: which files are complete and from the same release, which setting can run, and what to fix.

A quick check reads the small files and some rows of the large ones; --full reads every value. Exits with 0 if at
least one setting can run, with 1 if none can.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset.doctor import check_folder
from dataset.doctor.report import ERROR, NOTE, WARNING, Report
from dataset.layout import ANNOTATIONS, FILES, find_file
from tools.arguments import data_root_option, tool_parser
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.progress import Progress


def text(report: Report) -> str:
    """The report as text: a table of the files, the settings that can run, and every finding with its cure."""
    table = [
        ("file", "key", "shape", "type", "size", "values"),
        *(file_row(report, name) for name in (*FILES, ANNOTATIONS)),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{report.root}:", ""]
    for row in table:
        lines.append("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    lines.append("")
    for setting in report.settings:
        lines.append(f"{setting}: {'can run' if report.can_run(setting) else 'CANNOT RUN'}")
    for level in (ERROR, WARNING, NOTE):
        for finding in report.of(level):
            settings = f" [{', '.join(finding.settings)}]" if level == ERROR else ""
            lines += ["", f"{level}{settings}: {finding.message}"]
            lines += [f"  -> {finding.cure}"] if finding.cure else []
    return "\n".join(lines)


def file_row(report: Report, name: str) -> tuple[str, ...]:
    """A row of the table."""
    path = find_file(report.root, name)
    if not path.is_file():
        return (name, "", "", "", "", "missing")
    verdict = report.verdicts.get(name, "not read")
    data, size = report.data.get(name), f"{path.stat().st_size:,} B"
    if data is None:
        return (path.name, "", "", "", size, verdict)
    return (path.name, FILES[name].key, str(data.shape), str(data.dtype), size, verdict)


def check(root: Path, full: bool) -> int:
    """Check a folder and print the report; gives the exit status."""
    if not root.is_dir():
        raise InputError(f"{root}: not a directory, expected one with the files of the AVE layout")

    def progress(name: str, parts: Sequence[slice]) -> Iterable[slice]:
        return Progress(f"reading {name}", print_freq=len(parts) // 10 + 1).track(parts, total=len(parts))

    report = check_folder(root, full=True, progress=progress) if full else check_folder(root)
    print(text(report))
    return 0 if any(map(report.can_run, report.settings)) else 1


def main() -> None:
    parser = tool_parser("check_data", __doc__, data_root_option("directory to check"))
    parser.add_argument("--full", action="store_true", help="read every value of the features")
    args = parser.parse_args()
    log_to_terminal()
    sys.exit(check(args.data_root, args.full))


if __name__ == "__main__":
    run_command(main)
