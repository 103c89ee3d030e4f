"""README and docs hold: their examples run, and every file, test, link and flag that they name exists."""

import json
import os
import re
import shutil
from fnmatch import fnmatch
from functools import partial

import pytest

from tests.processes import ROOT, finished

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "Exps/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]  # not CHANGELOG.md, which also names what is gone
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
TRACKED = "configs|dataset|docs|engine|figs|model|tests|tools|utils"  # folders; data and Exps hold the user's files
# Prints the help of every command that is named, an entry script or a module, as JSON.
HELP = """
import contextlib, io, json, runpy, sys
helps = {}
for name in sys.argv[1:]:
    sys.argv, out = [name, "--help"], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        (runpy.run_path if name.endswith(".py") else runpy.run_module)(name, run_name="__main__")
    helps[name] = out.getvalue()
print(json.dumps(helps))
"""


def code_of(text: str) -> list[str]:
    """The indented lines and the inline code of a page, in one line each, without comments."""
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]
    return [line.partition(" # ")[0].strip() for line in (*re.findall(r"^ {4,}\S.*$", text, re.M), *inline)]


def commands_of(text: str) -> list[tuple[str, set[str]]]:
    """The commands of the project in a page, as scripts or modules, and the flags that each one is given.

    Arguments after -- go to an entry script; both have the same flags.
    """
    found = [re.search(r"(\w+_main\.py|(?<=-m )tools\.[a-z]\w*)(.*)", line) for line in code_of(text)]
    given = []
    for match in filter(None, found):
        own, _, passed_on = match[2].partition(" -- ")
        given += [(match[1], own), ("supv_main.py", passed_on)]
    return [(name, set(re.findall(r"(?<!\S)--?[a-z]\w*", arguments))) for name, arguments in given]


def examples() -> list:
    """The Python examples of all pages."""
    blocks = [(name, re.findall(r"```python\n(.*?)```", text, re.S)) for name, text in TEXTS.items()]
    return [
        pytest.param(code, id=f"{name}-{i}")
        for name, codes in blocks
        for i, code in enumerate(codes)
        if "print(" in code
    ]


@pytest.mark.parametrize("code", examples())
def test_python_example_runs_and_prints_what_its_comments_say(wide_trained, wide_data_root, tmp_path, code):
    """On the run and the data of a demo, for which a small run and small data stand."""
    shutil.copytree(wide_trained, tmp_path / "Exps/demo/supervised")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(wide_data_root)
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    result = finished("-c", program, set_up=partial(os.chdir, tmp_path))
    assert result.returncode == 0, result.stderr
    expected = re.findall(r"^print\(.*\)  # ([^:\n]+)", code, re.M)
    assert expected
    events = re.compile(r"\d+ to \d+ s: event \d\d, \d\.\d\d")
    assert [line for line in result.stdout.splitlines() if not events.fullmatch(line)] == expected


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of every command that a page names."""
    names = sorted({name for text in TEXTS.values() for name, _ in commands_of(text)})
    result = finished("-c", HELP, *names)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("page", TEXTS)
def test_flags_are_in_the_help_of_their_command(helps, page):
    flags = {name: set(re.findall(r"(?<![\w-])--?[a-z]\w*", text)) for name, text in helps.items()}
    for name, given in commands_of(TEXTS[page]):
        assert given <= flags[name], f"{page}: {name} has no {', '.join(given - flags[name])}"
    alone = {match[0] for code in code_of(TEXTS[page]) if (match := re.match(r"--[a-z]\w*", code))}
    assert alone <= set().union(*flags.values()), page


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if heading:
            contents = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.S)
            titles = re.findall(r"^#+ (.+)$", contents, re.M)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page}: {target}"


@pytest.mark.parametrize("page", TEXTS)
def test_files_and_the_names_in_them_exist(page):
    """``file::name`` is a test, which may end in ``*``, or any other name, such as ``Class.method``."""
    place = rf"(?<![\w/.:-])((?:{TRACKED})/[a-z][\w./-]*|\w+_main\.py|\.ci/run)(?:::([\w.*]+))?"
    for path, name in re.findall(place, TEXTS[page]):
        file = ROOT / path.rstrip(".")
        assert file.exists(), f"{page}: {path}"
        source = file.read_text(encoding="utf-8") if name else ""
        if name.startswith("test_"):
            found = [test for test in re.findall(r"^def (test_\w+)", source, re.M) if fnmatch(test, name)]
        else:
            parts = name.split(".") if name else []
            found = all(re.search(rf"(?:class|def) {part}\b|^{part} =", source, re.M) for part in parts)
        assert found, f"{page}: {path} has no {name}"


@pytest.mark.parametrize("page", TEXTS)
def test_tools_exist(page):
    for name in re.findall(r"`tools\.([a-z]\w*)", TEXTS[page]):
        assert any((ROOT / "tools" / place).exists() for place in (f"{name}.py", f"{name}/__init__.py")), name


@pytest.mark.parametrize("page", TEXTS)
def test_make_targets_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {match[1] for code in code_of(TEXTS[page]) if (match := re.match(r"make ([\w-]+)", code))}
    assert named <= set(targets)


def test_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 180


def test_pre_commit_and_requirements_have_one_version_of_ruff():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    requirements = (ROOT / "requirements-dev.txt").read_text()
    assert re.search(r"rev: v([\d.]+)", hooks)[1] == re.search(r"^ruff==([\d.]+)", requirements, re.M)[1]
