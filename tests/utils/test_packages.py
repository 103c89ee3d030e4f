"""A tool whose packages are missing says what to install."""

import subprocess
import sys

import pytest

from tests.processes import ROOT
from utils.errors import InputError
from utils.packages import require_packages


def test_missing_packages_are_named_with_what_to_install():
    require_packages("numpy", "torch")
    with pytest.raises(InputError) as error:
        require_packages("numpy", "no_such_package", "nor_this")
    assert "needs no_such_package and nor_this" in str(error.value)
    assert "requirements-tools.txt" in str(error.value)


@pytest.mark.parametrize("tool", ["extract_features", "predict"])
def test_tool_without_pyav_says_so(tool, tmp_path):
    """PyAV is hidden from a fresh interpreter."""
    program = (
        "import runpy, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'av': raise ModuleNotFoundError(name)\n"
        "real = __import__('importlib.util').util.find_spec\n"
        "import importlib.util\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'av' else real(name, *rest)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        f"sys.argv = ['{tool}', *sys.argv[1:]]\n"
        f"runpy.run_module('tools.{tool}', run_name='__main__')\n"
    )

    arguments = {"extract_features": [tmp_path, "--out", tmp_path], "predict": ["a.mp4", "--checkpoint", "b"]}[tool]
    command = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "needs av, not installed here: python -m pip install -r requirements-tools.txt" in result.stderr
