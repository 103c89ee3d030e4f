"""A device without float64, as Apple's MPS, trains, resumes, evaluates and predicts in float32 with the CPU's results.

``tests/without_float64`` has such a device. Nobody has seen MPS itself run.
"""

import csv
import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.prediction import load_network
from tests.conftest import AUDIO_DIM, SCRIPTS, VISUAL_DIM
from utils.errors import InputError

ALL = """
import json, runpy, sys
import numpy as np
from model.prediction import load_network

_, commands, checkpoint, features = sys.argv
for sys.argv in json.loads(commands):
    runpy.run_path(sys.argv[0], run_name="__main__")
features = np.load(features)
found = load_network(checkpoint, "single").predict(features["visual"], features["audio"], observe=True)
print(json.dumps([found.event_probability.tolist(), found.observation["visual_attention"].tolist()]))
"""


@pytest.fixture(scope="module")
def settings(data_root, small_config, tmp_path_factory):
    """The flags of each setting, without dropout, which each device draws in its own way."""
    flags = {}
    for setting in SCRIPTS:
        contents = json.loads(small_config(setting).read_text())
        contents["model"] |= {name: 0.0 for name in contents["model"] if name.endswith("dropout")}
        config = tmp_path_factory.mktemp("configs") / "config.json"
        config.write_text(json.dumps(contents))
        flags[setting] = (SCRIPTS[setting], "--data_root", data_root, "--config", config, "--n_epoch")
    return flags


@pytest.fixture(scope="module")
def there(run_without, settings, tmp_path_factory):
    """A folder with a run of each setting, predictions of a split and features, and what was predicted from these.

    One process makes it, because the imports of a process take longer than all that it does.
    """
    folder = tmp_path_factory.mktemp("there")
    runs = {setting: folder / setting for setting in SCRIPTS}
    evaluated = ("--resume", runs["supervised"] / "best.pth.tar", "--predictions", folder / "predictions.csv")
    commands = [
        *((*flags, 1, "--gpu", 0, "--snapshot_pref", runs[setting]) for setting, flags in settings.items()),
        ("supv_main.py", "--gpu", 0, "--resume", runs["supervised"] / "last.pth.tar", "--n_epoch", 2),
        ("supv_main.py", "--gpu", 0, "--evaluate", *evaluated),
    ]
    random, features = np.random.default_rng(0), folder / "features.npz"
    np.savez(features, visual=random.random((14, 2, 2, VISUAL_DIM)), audio=random.random((14, AUDIO_DIM)))
    text = json.dumps([list(map(str, command)) for command in commands])
    done = run_without("float64", "-c", ALL, text, runs["supervised"] / "best.pth.tar", features)
    assert "warning: not tested on devices of type single" in done.stderr
    assert "features: device" in done.stderr
    assert "resuming at epoch 2, batch 0" in done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("setting", "epochs"), [("supervised", 2), ("weakly", 1)])
def test_run_has_the_figures_of_a_run_on_the_cpu(run, settings, there, tmp_path, setting, epochs):
    run(*settings[setting], epochs, "--gpu", "cpu", "--snapshot_pref", tmp_path)
    rows, others = table(there[0] / setting / "metrics.csv"), table(tmp_path / "metrics.csv")
    assert len(rows) == epochs
    for row, other in zip(rows, others, strict=True):
        for name in row.keys() - {"seconds", "videos_per_s"}:
            assert row[name] == other[name] or float(row[name]) == pytest.approx(float(other[name]), rel=1e-3), name


def test_evaluation_is_that_of_the_cpu(run, there, tmp_path):
    folder, out = there[0], tmp_path / "predictions.csv"
    checkpoint = folder / "supervised/best.pth.tar"
    run("supv_main.py", "--evaluate", "--gpu", "cpu", "--resume", checkpoint, "--predictions", out)
    for row, other in zip(table(folder / "predictions.csv"), table(out), strict=True):
        for name, value in row.items():
            if name.endswith("probability"):
                assert float(value) == pytest.approx(float(other[name]), abs=2e-5)
            else:
                assert value == other[name]


def test_prediction_is_that_of_the_cpu(there):
    folder, (event, attention) = there
    features = np.load(folder / "features.npz")
    trained = load_network(folder / "supervised/best.pth.tar")
    expected = trained.predict(features["visual"], features["audio"], observe=True)
    np.testing.assert_allclose(event, expected.event_probability, atol=1e-5)
    np.testing.assert_allclose(attention, expected.observation["visual_attention"], atol=1e-5)


def test_precision_that_the_device_lacks_is_refused(run_without, data_root, tmp_path):
    flags = ("--gpu", 0, "--data_root", data_root, "--snapshot_pref", tmp_path / "run")
    for command in ((SCRIPTS["supervised"], *flags), ("tools.benchmark", "--gpu", 0)):
        said = run_without("float64", *command, "--precision", "fp64", status=2).stderr
        assert "error: --precision fp64 is not available on single:0: use --precision fp32, or --gpu cpu" in said
    assert not (tmp_path / "run").exists()


def test_published_checkpoint_is_not_loaded_there(published, monkeypatch):
    monkeypatch.setattr("model.prediction.has_float64", lambda device: False)
    with pytest.raises(InputError, match=r"predicts in float64, which mps does not have: use the CPU \(--gpu cpu\)"):
        load_network(published / "supervised.pth.tar", "mps")


class AdamOfMPS(TorchDispatchMode):
    """The fused Adam does not look at ``found_inf``."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket is torch.ops.aten._fused_adam_:
            kwargs = {**kwargs, "found_inf": None}
        return function(*args, **(kwargs or {}))


def test_step_that_is_not_finite_changes_no_weight_although_the_fused_adam_of_mps_would(make_trainer, monkeypatch):
    monkeypatch.setattr("engine.training.has_float64", lambda device: False)
    trainer = make_trainer("supervised", "fp32")
    batch = next(iter(trainer.feeds.train.epoch()))
    with AdamOfMPS():
        trainer.step(batch)
        before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
        batch.audio[0, 0, 0] = torch.inf
        trainer.step(batch)
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())
