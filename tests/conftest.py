"""What the tests share: one small synthetic data folder, one small config per setting, one trained run per setting."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from tests.networks import save_networks
from tests.processes import ENVIRONMENT, ROOT, finished, started
from tests.readable import assert_readable
from tests.reference import seeded
from utils.memory import keep_freed_memory

keep_freed_memory()  # as commands on a CPU do

SCRIPTS = {"supervised": "supv_main.py", "weakly": "weakly_main.py"}
CONFIGS = {"supervised": "main.json", "weakly": "weak.json"}

VISUAL_DIM, AUDIO_DIM = 64, 32  # of the features that small networks read
SMALL = {"d_model": 32, "encoder_hidden": 64, "decoder_hidden": 64}

Run = Callable[..., subprocess.CompletedProcess]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def write_data(folder: Path, videos: int = 60, noisy: int = 3, map_size: int = 2, seed: int = 1) -> None:
    """Write a folder as ``tools.make_data`` does, with narrow features."""
    folder.mkdir()
    generator = SyntheticAVE(28, signal=2, map_size=map_size, seed=seed, widths=(VISUAL_DIM, AUDIO_DIM))
    write_synthetic_ave(folder, generator, generator.annotations(videos), noisy, "float16")


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command as its user does, an entry script or a module: ``run("supv_main.py", "--gpu", 0)``."""

    def run_process(*command: object, status: int = 0) -> subprocess.CompletedProcess:
        result = finished(*command)
        assert result.returncode == status, f"{command[0]} exited with {result.returncode}:\n{result.stderr}"
        assert "Traceback" not in result.stderr, result.stderr
        if status == 0 and command[0] != "-c":
            assert_readable(result.stdout + result.stderr)
        return result

    return run_process


@pytest.fixture(scope="session")
def run_without() -> Run:
    """Run a command as ``run`` does on another system: ``run_without("posix", "supv_main.py")``.

    That is this one without what the first file of Python in the folder ``tests/without_...`` takes away.
    """

    def run_process(what: str, *command: object, status: int = 0) -> subprocess.CompletedProcess:
        result = started(*command, environment={**ENVIRONMENT, "PYTHONPATH": str(ROOT / f"tests/without_{what}")})
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run_process


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Make a folder once for all processes that run tests: ``made_once("data", make)`` calls ``make(folder)``."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then it is one of the processes' folders, beside one another
        root = root.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = root / "shared" / name, root / "shared" / f"{name}.made"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_name(f"{name}.lock")):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                make(folder)
                made.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def data_root(made_once: MadeOnce) -> Path:
    """A synthetic AVE folder of 60 videos, with 2 x 2 maps and narrow features. Read it, do not change it."""
    return made_once("data", write_data)


@pytest.fixture(scope="session")
def wide_data_root(made_once: MadeOnce, run: Run) -> Path:
    """The same with features of AVE's widths, which the published configs read."""
    flags = ("--videos", 60, "--map_size", 2, "--signal", 2, "--seed", 1)
    return made_once("wide", lambda folder: run("tools.make_data", "--out", folder, *flags))


@pytest.fixture(scope="session")
def small_config(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The config file of a small, fast network for a setting and the features of ``data_root``."""
    folder = tmp_path_factory.mktemp("configs")

    def write(setting: str) -> Path:
        config = json.loads((ROOT / "configs" / CONFIGS[setting]).read_text())
        config["model"] |= {"visual_dim": VISUAL_DIM, "audio_dim": AUDIO_DIM, **SMALL}
        config["training"] |= {"batch_size": 16, "n_epoch": 3, "lr": 1e-3, "num_workers": 0, "print_freq": 2}
        path = folder / CONFIGS[setting]
        path.write_text(json.dumps(config))
        return path

    return write


@pytest.fixture(scope="session")
def trained(made_once: MadeOnce, run: Run, data_root: Path, small_config) -> Callable[[str], Path]:
    """The folder of a finished run of a setting, three epochs of the small network. Read it, do not change it."""

    def train(setting: str) -> Path:
        flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config(setting))
        return made_once(setting, lambda folder: run(SCRIPTS[setting], *flags, "--snapshot_pref", folder))

    return train


@pytest.fixture(scope="session")
def wide_trained(made_once: MadeOnce, run: Run, wide_data_root: Path, small_config) -> Path:
    """The folder of a finished supervised run on features of AVE's widths. Read it, do not change it."""

    def train(folder: Path) -> None:
        config = json.loads(small_config("supervised").read_text())
        config["model"] |= {"visual_dim": 512, "audio_dim": 128}
        path = folder.with_name("wide.json")
        path.write_text(json.dumps(config))
        run("supv_main.py", "--gpu", "cpu", "--data_root", wide_data_root, "--config", path, "--snapshot_pref", folder)

    return made_once("wide-run", train)


@pytest.fixture(scope="session")
def variant_run(made_once: MadeOnce, run: Run, data_root: Path, small_config) -> Callable[..., Path]:
    """The folder of a run of one epoch with variants of the network. Read it, do not change it."""

    def train(setting: str, *names: str) -> Path:
        flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config(setting), "--n_epoch", 1)
        command = (SCRIPTS[setting], *flags, "--variant", *names, "--snapshot_pref")
        return made_once("-".join((setting, *names)), lambda folder: run(*command, folder))

    return train


@pytest.fixture(scope="session")
def networks(made_once: MadeOnce) -> Path:
    """A folder of small networks of transformers, a folder for each of those of ``tests.networks``."""
    pytest.importorskip("transformers")
    return made_once("networks", save_networks)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file in the authors' format per setting, SETTING.pth.tar, with the seeded weights."""
    folder = tmp_path_factory.mktemp("published")
    for setting in seeded.SETTINGS:
        torch.save(seeded.published_checkpoint(setting), folder / f"{setting}.pth.tar")
    return folder


@pytest.fixture(scope="session")
def seeded_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded inputs behind the published values as an AVE folder, all five videos in the test split."""
    root = tmp_path_factory.mktemp("seeded")
    seeded.write_ave_folder(root, {"test": 5})
    return root
