"""Variants through the commands: their checkpoints keep them; and in two processes."""

import csv
import json

import pytest
import torch

from configs import load_config
from configs.variants import variants_of
from model import load_network
from tests.conftest import AUDIO_DIM, SCRIPTS, VISUAL_DIM
from tests.processes import ROOT, finished_ranks
from utils.errors import InputError


def test_gradients_of_two_processes_are_those_of_one():
    """Of every variant of both settings, in one process pair."""
    result = finished_ranks(2, "tests.engine.variants_in_processes")
    assert result.returncode == 0, result.stderr
    expected = [f"{setting} {name}" for setting in SCRIPTS for name in ("full", *variants_of(setting))]
    assert result.stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("setting", "names"),
    [("supervised", ("no-a2v", "no-unimodal-gates")), ("weakly", ("no-gate-loss", "mend-pooling"))],
)
def test_run_and_its_checkpoints_keep_the_variant(run, data_root, variant_run, setting, names):
    folder = variant_run(setting, *names)
    assert json.loads((folder / "config.json").read_text())["model"]["variant"] == list(names)
    checkpoint = torch.load(folder / "best.pth.tar", weights_only=True)
    assert checkpoint["config"]["model"]["variant"] == list(names)
    with open(folder / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    terms = {"supervised": ["loss", "is_event", "event", "mm_gate", "mm_score"], "weakly": ["loss", "event"]}[setting]
    assert list(row)[1 : list(row).index("train_accuracy")] == terms

    # Nothing on the command line names the variant again.
    arguments = ("--gpu", "cpu", "--data_root", data_root)
    result = run(SCRIPTS[setting], *arguments, "--evaluate", "--resume", folder / "best.pth.tar")
    assert result.stdout == f"Evaluation results (acc): {float(row['test_accuracy']):.4f}%.\n"
    model = load_network(folder / "best.pth.tar")
    assert model.network.config.variant == names
    assert model.predict(torch.rand(10, 2, 2, VISUAL_DIM), torch.rand(10, AUDIO_DIM)).classes.shape == (10,)


def test_run_of_a_variant_is_resumed_as_that_variant(run, data_root, variant_run, tmp_path):
    last = variant_run("supervised", "no-a2v", "no-unimodal-gates") / "last.pth.tar"
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--resume", last)
    result = run("supv_main.py", *arguments, "--variant", "no-v2a", status=2)
    assert "was trained with variant ['no-a2v', 'no-unimodal-gates'], not ['no-v2a']" in result.stderr
    run("supv_main.py", *arguments, "--variant", "no-unimodal-gates", "no-a2v", "--n_epoch", 1)


def test_weights_of_another_variant_are_refused(run, data_root, variant_run, trained, tmp_path):
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--snapshot_pref", tmp_path / "run", "--evaluate")
    full = trained("supervised") / "best.pth.tar"
    result = run("supv_main.py", *arguments, "--resume", full, "--variant", "no-v2a", status=2)
    assert f"{full}: the weights do not fit the network of the config" in result.stderr
    other = variant_run("supervised", "no-a2v", "no-unimodal-gates") / "best.pth.tar"
    result = run("supv_main.py", *arguments, "--resume", other, "--variant", "no-v2a", status=2)
    assert f"{other}: the weights do not fit the network of the config" in result.stderr


@pytest.mark.parametrize("evaluate", [True, False])
@pytest.mark.parametrize("name", ["no-v2a", "mend-gate-terms"])
def test_published_checkpoint_with_a_variant_is_refused(
    run, published, seeded_data, wide_data_root, tmp_path, evaluate, name
):
    """Also with one that has the same parameters."""
    path = published / "supervised.pth.tar"
    mode = ("--data_root", seeded_data, "--evaluate") if evaluate else ("--data_root", wide_data_root)
    arguments = ("--gpu", "cpu", *mode, "--snapshot_pref", tmp_path / "run", "--resume", path, "--variant", name)
    result = run("supv_main.py", *arguments, status=2)
    assert f"{path}: the weights do not fit the network of the config" in result.stderr
    assert f"published weights are those of the full network, not of {name}" in result.stderr


@pytest.mark.parametrize(
    ("script", "names", "said"),
    [
        ("supv_main.py", ["mend-pooling"], "the supervised setting has no variant mend-pooling"),
        ("weakly_main.py", ["mend-score-terms"], "the weakly setting has no variant mend-score-terms"),
        ("supv_main.py", ["no-a2v", "no-attention-gate"], "variants no-a2v and no-attention-gate both change"),
        ("supv_main.py", ["no-attention"], "variant is 'no-attention', expected names of no-refine-visual"),
    ],
)
def test_names_that_cannot_be_used_are_one_sentence_and_status_2(run, tmp_path, script, names, said):
    result = run(script, "--gpu", "cpu", "--snapshot_pref", tmp_path / "run", "--variant", *names, status=2)
    assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_checkpoint_with_a_variant_of_the_other_setting_is_refused(variant_run, tmp_path):
    from engine.checkpoint import save_checkpoint

    contents = torch.load(variant_run("weakly", "no-gate-loss", "mend-pooling") / "best.pth.tar", weights_only=True)
    contents["config"]["model"]["variant"] = ["mend-score-terms"]
    save_checkpoint(tmp_path / "wrong.pth.tar", contents)
    with pytest.raises(
        InputError, match=r"wrong\.pth\.tar, its config: model: the weakly setting has no variant mend-score"
    ):
        load_network(tmp_path / "wrong.pth.tar")


def test_configs_of_both_settings_name_no_variant():
    for name in ("main.json", "weak.json"):
        assert load_config(ROOT / "configs" / name).model["variant"] == []
