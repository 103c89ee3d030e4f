"""The commands of the docs, called in this process."""

import runpy
import shlex
import sys

import pytest

from tests.processes import ROOT


def commands(page: str, heading: str) -> list[list[str]]:
    """The indented commands below a heading of a page in ``docs/``, without ``python -m`` or ``python``."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    python ")]
    return [shlex.split(line.removeprefix("python ").removeprefix("-m ")) for line in lines]


def call(monkeypatch: pytest.MonkeyPatch, program: str, *arguments: object) -> int:
    """Run a module or an entry script; gives its exit status. What is wrong with its input, is raised."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", [program, *map(str, arguments)])
        try:
            if program.endswith(".py"):
                runpy.run_path(str(ROOT / program))["main"]()
            else:
                module = f"{program}.__main__" if (ROOT / program.replace(".", "/")).is_dir() else program
                __import__(module)
                sys.modules[module].main()
        except SystemExit as end:
            return end.code or 0
    return 0
