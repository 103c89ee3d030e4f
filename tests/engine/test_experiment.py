"""Flags and configs that a run may resume with, and the memory that a network needs."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from configs import Config, parse_config, parse_options
from dataset.layout import EXTRACTION
from engine.experiment import number_of_parameters, require_memory_for
from engine.resume import CHANGEABLE, resolve_config
from model import SupervisedMAGAN
from model.checkpoint import Checkpoint
from tests.processes import ROOT
from utils.errors import InputError

MAIN = json.loads((ROOT / "configs" / "main.json").read_text())
OTHER = {  # another value that is allowed, of every hyperparameter
    "model": {
        **{"visual_dim": 1024, "audio_dim": 256, "d_model": 128, "num_heads": 8, "num_events": 27, "top_segments": 5},
        **{"encoder_hidden": 64, "decoder_hidden": 64, "alpha": 0.2, "event_threshold": 0.6, "scope": "batch"},
        **{"refine_attention_dropout": 0.3, "refine_dropout": 0.3, "temporal_dropout": 0.3},
        **{"interaction_attention_dropout": 0.3, "interaction_dropout": 0.3},
        "variant": ["no-a2v"],
    },
    "training": {
        **{"lr": 0.5, "lr_milestones": [3], "lr_factor": 0.1, "clip_gradient": 1.0, "n_epoch": 7, "batch_size": 3},
        **{"test_batch_size": 3, "seed": 7, "precision": "fp64", "select": "val", "eval_freq": 2, "num_workers": 1},
        **{"print_freq": 3, "warmup_steps": 5, "calibrate": "val"},
    },
}
HYPERPARAMETERS = [(section, name) for section in MAIN for name in MAIN[section]]
FLAGS = [
    *("batch_size", "test_batch_size", "n_epoch", "lr", "clip_gradient", "seed", "scope", "precision", "select"),
    *("eval_freq", "num_workers", "print_freq", "warmup_steps"),
]
LAST = Checkpoint(Path("Exps/run/last.pth.tar"), "supervised", {}, Config(), [], {}, {"state": {}})


@pytest.fixture
def resumed(monkeypatch):
    """The config of a run of ``main.json`` that is resumed with a command line."""

    def resolve(*flags):
        monkeypatch.setattr(sys, "argv", ["supv_main.py", *map(str, flags)])
        options = parse_options("Train.", "configs/main.json", "./Exps/Supv/run/")
        return resolve_config(options, LAST, resumes=True)

    return resolve


def refusal(action, *arguments):
    with pytest.raises(InputError) as error:
        action(*arguments)
    return str(error.value)


def test_every_hyperparameter_is_tried():
    assert {section: OTHER[section].keys() for section in OTHER} == {section: MAIN[section].keys() for section in MAIN}
    assert all(OTHER[section][name] != MAIN[section][name] for section, name in HYPERPARAMETERS)
    assert {"n_epoch", "num_workers", "print_freq"} == CHANGEABLE


@pytest.mark.parametrize("name", FLAGS)
def test_run_is_resumed_with_another_flag_only_if_no_figure_depends_on_it(resumed, name):
    section = "model" if name in MAIN["model"] else "training"
    flag = (f"--{name}", OTHER[section][name])
    if name in CHANGEABLE:
        assert resumed(*flag).as_dict()[section][name] == OTHER[section][name]
        return
    said = refusal(resumed, *flag)
    assert f"{LAST.path} was trained with {name} {MAIN[section][name]}, not {OTHER[section][name]}" in said
    assert "only n_epoch, num_workers, print_freq may change" in said


@pytest.mark.parametrize(("section", "name"), HYPERPARAMETERS)
def test_so_it_is_with_another_config_file(resumed, tmp_path, section, name):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**MAIN, section: {**MAIN[section], name: OTHER[section][name]}}))
    if name in CHANGEABLE:
        assert resumed("--config", path).as_dict()[section][name] == OTHER[section][name]
    else:
        assert f"was trained with {name} {MAIN[section][name]}, not" in refusal(resumed, "--config", path)


def test_run_is_resumed_with_its_own_values(resumed):
    assert resumed() == Config()
    same = [part for name in FLAGS for part in (f"--{name}", {**MAIN["model"], **MAIN["training"]}[name])]
    assert resumed(*same) == Config()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"d_model": 2**15}, "GB of memory are free: give a smaller one"),
        ({"encoder_hidden": 2**31 - 1}, "GB of memory are free: give a smaller one"),
        ({"d_model": 2**31 - 4}, "cannot be made: "),
    ],
)
def test_network_that_does_not_fit_into_memory_is_refused_before_it_is_made(model, said):
    config = parse_config({**MAIN, "model": {**MAIN["model"], **model}}, "config")
    for evaluates in (False, True):
        assert said in refusal(require_memory_for, SupervisedMAGAN, config, evaluates)


def test_evaluation_needs_less_memory_than_training():
    """A network that fits into the free memory, without gradients and moments, is evaluated."""
    free = psutil.virtual_memory().available
    half = {"encoder_hidden": free // 2 // (4 * 2052)}  # 2052 parameters, of 4 bytes, for each hidden unit
    config = parse_config({**MAIN, "model": {**MAIN["model"], **half}}, "config")
    assert 4 * number_of_parameters(SupervisedMAGAN, config) == pytest.approx(free / 2, rel=0.2)
    require_memory_for(SupervisedMAGAN, config, evaluates=True)
    assert "GB of memory are free" in refusal(require_memory_for, SupervisedMAGAN, config, False)


def test_networks_of_the_paper_fit():
    require_memory_for(SupervisedMAGAN, Config(), evaluates=False)


def test_evaluation_on_features_of_another_preprocessing_warns(run, published, seeded_data, tmp_path):
    for path in seeded_data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / EXTRACTION).write_text('{"preprocessing": "torchvision", "segments": 10}')
    flags = ("--evaluate", "--gpu", "cpu", "--data_root", tmp_path, "--resume", published / "supervised.pth.tar")
    said = run("supv_main.py", *flags).stderr
    assert f"on features of vgg19 (caffe) and vggish, those of {tmp_path} were made by vgg19 (torchv" in said
    (tmp_path / EXTRACTION).write_text('{"preprocessing": "caffe", "segments": 10}')
    assert "was trained on features" not in run("supv_main.py", *flags).stderr
