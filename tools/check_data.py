"""Look at a data folder: which files are there, whole and of one release, which setting can run, and what to mend.

A quick look reads the small files, and some rows of the large ones; --full reads every value. Exits with 0 if at
least one setting can run, with 1 if none can.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from configs import load_config
from dataset.doctor.checks import check_folder
from dataset.doctor.findings import ERROR, NOTE, WARNING, FileLine, Report
from tools.arguments import config_option, data_root_option, tool_parser
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.progress import Progress


def text(report: Report) -> str:
    """The report for people: a table of the files, what can run, and every finding with its cure."""
    header = FileLine(*FileLine._fields)
    widths = [max(map(len, column)) for column in zip(header, *report.lines, strict=True)]
    lines = [f"{report.root}:", ""]
    for row in (header, *report.lines):
        lines.append("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    lines.append("")
    for setting in report.settings:
        lines.append(f"{setting}: {'can run' if report.can_run(setting) else 'CANNOT RUN'}")
    for level in (ERROR, WARNING, NOTE):
        for finding in report.of(level):
            keeps = f" [{', '.join(finding.settings)}]" if level == ERROR else ""
            lines += ["", f"{level}{keeps}: {finding.sentence}"]
            lines += [f"  -> {finding.cure}"] if finding.cure else []
    return "\n".join(lines)


def check(root: Path, config: Path, full: bool) -> int:
    """Look at a folder, print the report, and give the status to exit with.

    Raises:
        InputError: there is no such folder, or the config cannot be used.
    """
    if not root.is_dir():
        raise InputError(f"{root}: is no folder, expected one with the files of the AVE layout")

    def progress(name: str, parts: Sequence[slice]) -> Iterable[slice]:
        return (
            Progress(f"reading {name}", print_freq=len(parts) // 10 + 1).track(parts, total=len(parts))
            if full
            else parts
        )

    report = check_folder(root, load_config(config).model, full=full, progress=progress)
    print(text(report))
    return 0 if any(map(report.can_run, report.settings)) else 1


def main() -> None:
    config = config_option("gives the number of events and the widths of the features")
    parser = tool_parser("check_data", __doc__, data_root_option("directory to check"), config)
    parser.add_argument("--full", action="store_true", help="read every value of the features")
    args = parser.parse_args()
    log_to_terminal()
    sys.exit(check(args.data_root, args.config, args.full))


if __name__ == "__main__":
    run_command(main)
