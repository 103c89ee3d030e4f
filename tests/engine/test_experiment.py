"""Flags and configs that a run may resume with."""

import json
from dataclasses import asdict

import pytest

from configs import Config, TrainingConfig, parse_options
from dataset.layout import EXTRACTION
from engine.checkpoint import Origin, checkpoint_contents, save_checkpoint
from engine.experiment import Experiment
from engine.resume import CHANGEABLE
from model import MAGANConfig
from model.registry import NETWORKS
from tests.processes import ROOT
from utils.errors import InputError

MAIN = json.loads((ROOT / "configs" / "main.json").read_text())
OTHER = {  # another value that is allowed, of every hyperparameter
    "model": {
        **{"visual_dim": 1024, "audio_dim": 256, "d_model": 128, "num_heads": 8, "num_events": 27, "top_segments": 5},
        **{"encoder_hidden": 64, "decoder_hidden": 64, "alpha": 0.2, "scope": "batch"},
        **{"refine_attention_dropout": 0.3, "refine_dropout": 0.3, "temporal_dropout": 0.3},
        **{"interaction_attention_dropout": 0.3, "interaction_dropout": 0.3},
        "variant": ["no-a2v"],
    },
    "training": {
        **{"lr": 0.5, "lr_milestones": [3], "lr_factor": 0.1, "clip_gradient": 1.0, "n_epoch": 7, "batch_size": 3},
        **{"test_batch_size": 3, "seed": 7, "precision": "fp64", "select": "val", "eval_freq": 2, "num_workers": 1},
        **{"print_freq": 3, "warmup_steps": 5, "calibrate": "val", "event_threshold": 0.6},
    },
}
HYPERPARAMETERS = [(section, name) for section in OTHER for name in OTHER[section]]
FLAGS = [*OTHER["training"], "scope"]


@pytest.fixture(scope="module")
def last(data_root, tmp_path_factory):
    """A run of ``main.json`` that can be resumed."""
    folder = tmp_path_factory.mktemp("run")
    network = NETWORKS["magan"]["supervised"](MAGANConfig(visual_dim=64, audio_dim=32))
    training = TrainingConfig(event_threshold=0.7)
    config = Config(model=asdict(network.config), training=training)
    contents = checkpoint_contents(network, config, Origin([], 10, {}), {}, {"state": {}})
    save_checkpoint(folder / "last.pth.tar", contents)
    (folder / "config.json").write_text("{}")
    return folder / "last.pth.tar"


@pytest.fixture
def resumed(last, data_root):
    """The config of the run if it is resumed with a command line."""

    def resolve(*flags):
        flags = ("--resume", last, "--gpu", "cpu", "--data_root", data_root, *flags)
        options = parse_options("Train.", "supervised", "./Exps/Supv/run/", list(map(str, flags)))
        return Experiment(options, "supervised").config.as_dict()

    return resolve


def refusal(action, *arguments):
    with pytest.raises(InputError) as error:
        action(*arguments)
    return str(error.value)


def test_every_hyperparameter_is_tried():
    assert OTHER["model"].keys() == MAGANConfig.__dataclass_fields__.keys()
    assert OTHER["training"].keys() == TrainingConfig.__dataclass_fields__.keys()
    assert {"n_epoch", "num_workers", "print_freq"} == CHANGEABLE


def flag_of(name):
    value = OTHER["training"].get(name, OTHER["model"].get(name))
    return (f"--{name}", *value) if isinstance(value, list) else (f"--{name}", value)


@pytest.mark.parametrize("name", FLAGS)
def test_run_is_resumed_with_another_flag_only_if_no_figure_depends_on_it(resumed, last, name):
    if name in CHANGEABLE:
        assert resumed(*flag_of(name))["training"][name] == OTHER["training"][name]
        return
    said = refusal(resumed, *flag_of(name))
    assert f"{last} was trained with {name} " in said
    assert "only n_epoch, num_workers, print_freq may change" in said


@pytest.mark.parametrize(("section", "name"), HYPERPARAMETERS)
def test_so_it_is_with_another_config_file(resumed, tmp_path, section, name):
    path = tmp_path / "other.json"
    own = {"visual_dim": 64, "audio_dim": 32}
    contents = {**MAIN, "model": MAIN["model"] | own}
    path.write_text(json.dumps({**contents, section: {**contents[section], name: OTHER[section][name]}}))
    if name in CHANGEABLE:
        assert resumed("--config", path)[section][name] == OTHER[section][name]
    else:
        assert f"was trained with {name} " in refusal(resumed, "--config", path)


def test_run_is_resumed_with_its_own_values(resumed):
    flags = [part for name in ("lr", "seed", "batch_size", "select") for part in (f"--{name}", MAIN["training"][name])]
    assert resumed() == resumed(*flags) == resumed("--config", ROOT / "configs/main.json")


def test_evaluation_on_features_of_another_preprocessing_warns(run, published, seeded_data, tmp_path):
    for path in seeded_data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / EXTRACTION).write_text('{"preprocessing": "torchvision", "segments": 10}')
    flags = ("--evaluate", "--gpu", "cpu", "--data_root", tmp_path, "--resume", published / "supervised.pth.tar")
    said = run("supv_main.py", *flags).stderr
    assert f"on features of vgg19 (caffe) and vggish, those of {tmp_path} were made by vgg19 (torchv" in said
    (tmp_path / EXTRACTION).write_text('{"preprocessing": "caffe", "segments": 10}')
    assert "was trained on features" not in run("supv_main.py", *flags).stderr
