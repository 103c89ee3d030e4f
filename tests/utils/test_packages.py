"""A tool whose packages are missing says what to install."""

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT
from utils.errors import InputError
from utils.packages import require_packages

COMMANDS = {  # each without the package
    ("tools.report", "FOLDER"): ["matplotlib", "jinja2"],
    ("tools.visualize", "FOLDER", "--rows", "1"): ["matplotlib"],
    ("tools.extract_features", "FOLDER", "--out", "FOLDER"): ["av"],
    ("tools.predict", "a.mp4", "--checkpoint", "b"): ["av"],
    ("tools.download", "--data_root", "FOLDER", "--runs", "FOLDER"): ["gdown"],
}
CASES = [(command, package) for command, packages in COMMANDS.items() for package in packages]
# Importing torch once is quick; nothing of the project and of the package has been imported when a command begins.
WITHOUT_PACKAGES = """
import contextlib, io, json, runpy, sys
outcomes = []
for command, package in json.loads(sys.argv[1]):
    for name in list(sys.modules):
        if name.partition(".")[0] in ("configs", "dataset", "engine", "model", "tools", "utils", package):
            del sys.modules[name]
    sys.argv, sys.modules[package], said = command, None, io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            runpy.run_module(command[0], {}, "__main__")
    except SystemExit as end:
        outcomes.append([end.code, said.getvalue()])
    del sys.modules[package]
print(json.dumps(outcomes))
"""


def test_missing_packages_are_named_with_what_to_install():
    require_packages("numpy", "torch")
    with pytest.raises(InputError) as error:
        require_packages("numpy", "no_such_package", "nor_this")
    assert "needs no_such_package and nor_this" in str(error.value)
    assert "requirements-tools.txt" in str(error.value)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the commands said and their exit statuses, and the folder that they were given."""
    folder = tmp_path_factory.mktemp("given")
    cases = [([str(folder) if part == "FOLDER" else part for part in command], package) for command, package in CASES]
    command = [sys.executable, "-c", WITHOUT_PACKAGES, json.dumps(cases)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder, json.loads(result.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{command[0]}-{package}" for command, package in CASES])
def test_tool_without_a_package_is_one_sentence_that_says_what_to_install(outcomes, number):
    folder, said = outcomes
    assert said[number] == [
        2,
        f"error: needs {CASES[number][1]}, not installed here: python -m pip install -r requirements-tools.txt\n",
    ]
    assert list(folder.iterdir()) == []
