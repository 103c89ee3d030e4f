"""The README's worked example of prediction runs as it stands there."""

import re
import shutil
import subprocess
import sys

from tests.conftest import ROOT


def test_prediction_example_runs_and_prints_what_it_says(trained, data_root, tmp_path):
    """On a demo's run and data, which a small run and small data stand for."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "load_magan" in block]
    shutil.copytree(trained("supervised"), tmp_path / "Exps/demo/supervised")
    shutil.copytree(data_root, tmp_path / "data/demo")
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example}"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    *events, shapes = result.stdout.splitlines()
    assert shapes == "(10,) (10, 28)"
    for event in events:
        assert re.fullmatch(r"\d+ to \d+ s: event \d\d, \d\.\d\d", event)
