"""A network of one's own, as docs/NETWORKS.md has it word for word, has all of the harness."""

import csv
import re
import sys

import numpy as np
import pytest
import torch

from model import load_network
from tests.documented import call, commands
from tests.processes import ROOT
from utils.errors import InputError

PAGE = (ROOT / "docs/NETWORKS.md").read_text(encoding="utf-8")
CLASS, CONFIG = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL).group(1) for kind in ("python", "json"))


@pytest.fixture
def project(tmp_path, monkeypatch, data_root):
    """A folder with the class and the config of the page, and small data where its commands look for them."""
    (tmp_path / "mine.py").write_text(CLASS)
    (tmp_path / "mine.json").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(data_root)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mine", None)


def test_class_is_short():
    """Of 40 lines at most, imports and all."""
    assert len([line for line in CLASS.splitlines() if line]) <= 40


@pytest.mark.slow
def test_commands_of_the_page_train_evaluate_report_and_compare(project, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    for program, *arguments in commands("NETWORKS.md", "A network of your own"):
        arguments += ["--n_epoch", 1] if program == "tools.compare" else []
        assert call(monkeypatch, program, *arguments, *(() if program == "tools.compare" else ("--gpu", "cpu"))) == 0
    said = capsys.readouterr().out
    assert re.search(r"^Evaluation results \(acc\): [\d.]+%\.$", said, re.MULTILINE)
    assert (project / "Exps/mine/report/report.html").exists()
    with open(project / "Exps/compare-mine/table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["condition"] for row in rows} == {"config=mine.json", "config=configs_main.json"}
    assert all(row["epochs"] == "1" for row in rows)

    # It learns: after 20 epochs, more than the share of background is right.
    with open(project / "Exps/mine/metrics.csv", newline="") as file:
        first, *_, last = csv.DictReader(file)
    assert float(last["train_accuracy"]) > float(first["train_accuracy"]) + 20

    # A prediction from Python, and an exact resume in bfloat16.
    model = load_network(project / "Exps/mine/best.pth.tar")
    prediction = model.predict(np.zeros((12, 2, 2, 64), np.float32), np.zeros((12, 32), np.float32), observe=True)
    assert prediction.class_probability.shape == (12, 28)
    assert prediction.observation == {}


@pytest.mark.slow
def test_run_of_it_resumes_to_the_last_bit(project, monkeypatch):
    flags = ("--config", "mine.json", "--data_root", "data/demo", "--gpu", "cpu", "--precision", "bf16", "--b", 16)
    call(monkeypatch, "supv_main.py", *flags, "--snapshot_pref", "whole", "--n_epoch", 3)
    call(monkeypatch, "supv_main.py", *flags, "--snapshot_pref", "parts", "--n_epoch", 1)
    call(monkeypatch, "supv_main.py", "--gpu", "cpu", "--resume", "parts/last.pth.tar", "--n_epoch", 3)
    whole, parts = (torch.load(f"{name}/last.pth.tar", weights_only=True)["weights"] for name in ("whole", "parts"))
    assert all(torch.equal(weight, parts[name]) for name, weight in whole.items())


@pytest.mark.parametrize(
    ("changes", "config", "said"),
    [
        ({"def loss": "def cost"}, CONFIG, "network mine:Mine: has no method loss"),
        ({"classes[..., :-1])": "classes[:, :3])"}, CONFIG, "gives class_probability of shape (2, 3, 29), expected"),
        ({"outputs.scores.double()": "outputs.scores"}, CONFIG, "gives event_probability of type torch.float32"),
        ({'return {"loss":': 'return {"cost":'}, CONFIG, "loss() gives no dict whose first name is 'loss'"),
        ({"Mine(Network)": "Mine(nn.Module)"}, CONFIG, "is not a class derived from model.network.Network"),
        ({"supervised": "weakly"}, CONFIG, "the network mine:Mine is for weakly-supervised training: use weakly_main"),
        ({}, CONFIG.replace("hidden", "depth"), "mine.json: unknown key 'depth' in model, expected num_events, "),
        ({}, CONFIG.replace("128", '"wide"'), "mine.json: model: hidden is 'wide', expected a whole number"),
        ({}, CONFIG.replace("mine:Mine", "mine:Other"), "has no attribute 'Other'"),
        ({}, CONFIG.replace("mine:Mine", "other:Mine"), "No module named 'other'"),
        ({}, CONFIG.replace("mine:Mine", "mine"), "network is 'mine', expected magan, or my_file:MyNetwork"),
    ],
)
def test_what_a_class_or_config_lacks_is_one_sentence_before_training(project, monkeypatch, changes, config, said):
    text = CLASS
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (project / "mine.py").write_text(text)
    (project / "mine.json").write_text(config)
    flags = ("--config", "mine.json", "--data_root", "data/demo", "--gpu", "cpu", "--snapshot_pref", "run")
    with pytest.raises(InputError) as error:
        call(monkeypatch, "supv_main.py", *flags)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (project / "run").exists()
