"""Hyperparameters: the published values, what a config file may hold, and the flags that replace its values."""

import json
import sys
from pathlib import Path

import pytest

from configs import Config, load_config, parse_options
from model.registry import NETWORKS, network_config
from tests.conftest import CONFIGS
from tests.processes import ROOT
from utils.errors import InputError

SHARED_MODEL = {
    "d_model": 256,
    "num_heads": 4,
    "decoder_hidden": 1024,
    "top_segments": 4,
    "alpha": 0.1,
    "refine_attention_dropout": 0.1,
    "refine_dropout": 0.2,
    "temporal_dropout": 0.1,
    "interaction_attention_dropout": 0.2,
    "interaction_dropout": 0.1,
    "scope": "video",
    "variant": [],
}
SHARED_TRAINING = {
    "warmup_steps": 0,
    "lr_factor": 0.5,
    "clip_gradient": 0.5,
    "n_epoch": 200,
    "test_batch_size": 16,
    "precision": "fp32",
    "select": "test",
    "event_threshold": None,
    "calibrate": "none",
    "eval_freq": 1,
    "num_workers": 2,
    "print_freq": 10,
}
OWN_MODEL = {"supervised": {"encoder_hidden": 1024}, "weakly": {"encoder_hidden": 2048}}
OWN_TRAINING = {
    "supervised": {"lr": 1e-4, "lr_milestones": [10, 20, 30], "batch_size": 64, "seed": 43},
    "weakly": {"lr": 6e-4, "lr_milestones": [10, 20, 40], "batch_size": 128, "seed": 666},
}
THRESHOLDS = {"supervised": 0.7, "weakly": 0.5}

MAIN = json.loads((ROOT / "configs" / "main.json").read_text())
KEYS = [(section, key) for section in ("model", "training") for key in MAIN[section]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


def changed(section, **values):
    """The contents of main.json with other values."""
    return {**MAIN, section: {**MAIN[section], **values}}


def refusal(path, contents):
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    with pytest.raises(InputError) as error:
        network_config(NETWORKS["magan"]["supervised"], load_config(path))
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


# Config files


@pytest.mark.parametrize("setting", ["supervised", "weakly"])
def test_config_of_each_setting_has_the_published_values(setting):
    config, network = load_config(ROOT / "configs" / CONFIGS[setting]), NETWORKS["magan"][setting]
    assert config.as_dict() == {
        "network": "magan",
        "model": SHARED_MODEL | OWN_MODEL[setting],
        "training": SHARED_TRAINING | OWN_TRAINING[setting],
    }
    assert network.event_threshold == THRESHOLDS[setting]
    # What a config leaves out is as published, with the widths and events of AVE.
    assert network_config(network, config) == network.Config(num_events=28, visual_dim=512, audio_dim=128)


def test_training_values_that_a_config_leaves_out_are_those_of_the_setting(path):
    path.write_text(json.dumps({"network": "mine:Mine", "training": {"lr": 0.5}}))
    config = load_config(path, ROOT / "configs/weak.json")
    weak = SHARED_TRAINING | OWN_TRAINING["weakly"]
    assert config.as_dict() == {"network": "mine:Mine", "model": {}, "training": weak | {"lr": 0.5}}


def test_values_come_from_the_file_and_go_back_into_one(path):
    contents = changed("model", d_model=64, alpha=0, scope="batch")
    contents["training"] = SHARED_TRAINING | OWN_TRAINING["supervised"] | {"lr": 1}
    path.write_text(json.dumps(contents))
    config = load_config(path)
    model = network_config(NETWORKS["magan"]["supervised"], config)
    assert (model.d_model, model.alpha, model.scope, config.training.lr) == (64, 0, "batch", 1)
    assert json.loads(json.dumps(config.as_dict())) == contents


def test_event_threshold_stands_where_releases_1_had_it_too(path):
    path.write_text(json.dumps(changed("model", event_threshold=0.6)))
    assert load_config(path).training.event_threshold == 0.6


@pytest.mark.parametrize(("section", "key"), KEYS)
@pytest.mark.parametrize("value", [[None], {"a": 1}, True])
def test_value_of_a_type_that_no_key_has_is_refused_by_key_with_what_was_expected(path, section, key, value):
    said = refusal(path, changed(section, **{key: value}))
    assert f"{section}: {key} is {value!r}, expected " in said


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("model", "d_model", "256", "d_model is '256', expected a whole number"),
        ("model", "d_model", 256.0, "d_model is 256.0, expected a whole number"),
        ("model", "d_model", 0, "d_model is 0, expected 1 or more"),
        ("model", "d_model", 254, "d_model is 254, expected a multiple of num_heads (4)"),
        ("model", "num_events", -1, "num_events is -1, expected 1 or more"),
        ("model", "top_segments", 0, "top_segments is 0, expected 1 or more"),
        ("model", "alpha", "0.1", "alpha is '0.1', expected a number"),
        ("model", "alpha", 1.01, "alpha is 1.01, expected 0 to 1"),
        ("model", "alpha", float("nan"), "alpha is nan, expected 0 to 1"),
        ("model", "refine_dropout", 1, "refine_dropout is 1, expected at least 0 and less than 1"),
        ("model", "interaction_dropout", -0.1, "interaction_dropout is -0.1, expected at least 0 and less than 1"),
        ("training", "event_threshold", 0, "event_threshold is 0, expected more than 0 and less than 1"),
        ("training", "event_threshold", 1, "event_threshold is 1, expected more than 0 and less than 1"),
        ("model", "scope", "Video", "scope is 'Video', expected one of video, batch"),
        ("training", "lr", "1e-4", "lr is '1e-4', expected a number"),
        ("training", "lr", 0, "lr is 0, expected more than 0"),
        ("training", "lr", float("inf"), "lr is inf, expected more than 0"),
        ("training", "lr", float("nan"), "lr is nan, expected more than 0"),
        ("training", "lr_factor", -0.5, "lr_factor is -0.5, expected more than 0"),
        ("training", "clip_gradient", 0.0, "clip_gradient is 0.0, expected more than 0"),
        ("training", "lr_milestones", [10, 2.5], "lr_milestones is [10, 2.5], expected epochs, whole numbers from 1"),
        ("training", "lr_milestones", [True], "lr_milestones is [True], expected epochs, whole numbers from 1"),
        ("training", "lr_milestones", [0, 10], "lr_milestones is [0, 10], expected epochs, whole numbers from 1"),
        ("training", "lr_milestones", 10, "lr_milestones is 10, expected epochs, whole numbers from 1"),
        ("training", "lr_milestones", "10", "lr_milestones is '10', expected epochs, whole numbers from 1"),
        ("training", "n_epoch", 0, "n_epoch is 0, expected 1 or more"),
        ("training", "batch_size", 64.5, "batch_size is 64.5, expected a whole number"),
        ("training", "batch_size", 0, "batch_size is 0, expected 1 or more"),
        ("training", "test_batch_size", "16", "test_batch_size is '16', expected a whole number"),
        ("training", "seed", -1, "seed is -1, expected 0 or more"),
        ("training", "seed", 2**44, f"seed is {2**44}, expected "),
        ("training", "num_workers", -1, "num_workers is -1, expected 0 or more"),
        ("training", "precision", "fp16", "precision is 'fp16', expected one of fp32, bf16, fp64"),
        ("training", "select", "train", "select is 'train', expected one of test, val, names"),
        ("training", "calibrate", "test", "calibrate is 'test', expected one of none, val, weak"),
        ("training", "eval_freq", 0, "eval_freq is 0, expected 1 or more"),
    ],
)
def test_bad_value_is_named_with_its_key_and_what_was_expected(path, section, key, value, said):
    assert f"{section}: {said}" in refusal(path, changed(section, **{key: value}))


def test_smallest_allowed_values_are_allowed(path):
    smallest = {"seed": 0, "num_workers": 0, "lr_milestones": [], "batch_size": 1, "n_epoch": 1}
    path.write_text(json.dumps(changed("training", **smallest)))
    assert load_config(path).as_dict()["training"].items() >= smallest.items()


@pytest.mark.parametrize("section", ["model", "training"])
def test_unknown_key_is_named_with_the_known_ones(path, section):
    said = refusal(path, changed(section, learning_rate=1))
    assert f"unknown key 'learning_rate' in {section}" in said
    assert all(key in said for key in MAIN[section])


def test_unknown_section_is_named(path):
    said = "unknown key 'optimizer' in the config, expected network, model, training"
    assert said in refusal(path, MAIN | {"optimizer": {}})


@pytest.mark.parametrize("contents", [[], [MAIN], None, 3, "main"])
def test_json_that_is_no_object_is_refused_with_what_was_expected(path, contents):
    assert "expected an object with network, model, training" in refusal(path, json.dumps(contents))
    assert "model" in refusal(path, {**MAIN, "model": contents})


@pytest.mark.parametrize("contents", ["", "{", "lr = 1e-4", json.dumps(MAIN) + "}"])
def test_file_that_is_no_json_is_refused(path, contents):
    assert "cannot be read as JSON" in refusal(path, contents)


def test_missing_file_and_folder_are_refused(path):
    for wrong, reason in {path: "No such file or directory", path.parent: "Is a directory"}.items():
        with pytest.raises(InputError) as error:
            load_config(wrong)
        assert str(error.value) == f"{wrong}: cannot be read as JSON: {reason}"


# Flags


@pytest.fixture
def options(monkeypatch):
    """Parse a command line of supv_main.py."""

    def parse(*flags):
        monkeypatch.setattr(sys, "argv", ["supv_main.py", *flags])
        return parse_options("Train.", "supervised", "./Exps/Supv/run/")

    return parse


@pytest.fixture
def refused(options, capsys):
    """What is said of a command line that cannot be used."""

    def parse(*flags):
        with pytest.raises(SystemExit) as error:
            options(*flags)
        assert error.value.code == 2
        return capsys.readouterr().err

    return parse


def test_no_flag_leaves_every_hyperparameter_to_the_config(options):
    given = options()
    assert given.overrides == {}
    assert given.config is None


@pytest.mark.parametrize("flag", [("-b", "8"), ("--b", "8"), ("--batch_size", "8"), ("-b8",), ("--batch_size=8",)])
def test_all_names_of_the_batch_size_are_the_same(options, flag):
    assert options(*flag).overrides == {"batch_size": 8}


def test_flags_replace_the_configs_values_and_no_others(options):
    flags = {
        **{"batch_size": 8, "test_batch_size": 3, "n_epoch": 5, "lr": 0.25, "clip_gradient": 2.0, "seed": 0},
        **{"scope": "batch", "precision": "fp64", "select": "val", "eval_freq": 2, "num_workers": 0, "print_freq": 7},
    }
    given = options(*(part for name, value in flags.items() for part in (f"--{name}", str(value))))
    assert given.overrides == flags
    config = load_config(given.default_config).with_values(given.overrides, "command line").as_dict()
    assert config["model"] == {**MAIN["model"], "scope": "batch"}
    expected = SHARED_TRAINING | OWN_TRAINING["supervised"] | flags
    assert config["training"] == {name: expected[name] for name in config["training"]}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--lr", "-1"), "lr is -1.0, expected more than 0"),
        (("--lr", "nan"), "lr is nan, expected more than 0"),
        (("--batch_size", "0"), "batch_size is 0, expected 1 or more"),
        (("--seed", "-5"), "seed is -5, expected 0 or more"),
    ],
)
def test_flag_out_of_range_is_refused_like_the_configs_value(options, flags, said):
    overrides = options(*flags).overrides
    with pytest.raises(InputError) as error:
        Config().with_values(overrides, "command line")
    assert str(error.value) == f"command line: training: {said}"


@pytest.mark.parametrize("flags", [("--batch", "8"), ("--data", "x"), ("--eval",), ("--snapshot", "x"), ("--see", "1")])
def test_abbreviated_flag_is_refused(refused, flags):
    assert f"unrecognized arguments: {' '.join(flags)}" in refused(*flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--batch_size", "8.5"), "--batch_size: invalid int value: '8.5'"),
        (("--lr", "fast"), "--lr: invalid float value: 'fast'"),
        (("--precision", "fp16"), "--precision: invalid choice: 'fp16'"),
        (("--split", "all"), "--split: invalid choice: 'all'"),
        (("--scope", "segment"), "--scope: invalid choice: 'segment'"),
    ],
)
def test_flag_of_the_wrong_kind_is_named(refused, flags, said):
    assert said in refused(*flags)


def test_evaluation_needs_a_checkpoint(refused, options):
    assert "--evaluate needs the checkpoint to score: --resume FILE" in refused("--evaluate")
    given = options("--evaluate", "--resume", "best.pth.tar", "--split", "val")
    assert (given.evaluate, given.resume, given.split) == (True, Path("best.pth.tar"), "val")
