"""Training, streaming, evaluation and resuming need nothing that Windows lacks."""

import pytest
from filelock import FileLock

from engine.run_folder import LOCK
from tests.conftest import SCRIPTS


@pytest.fixture(scope="module")
def flags(data_root, small_config):
    return ("--gpu", "cpu", "--data_root", data_root, "--config", small_config("supervised"), "--num_workers", 1)


def test_run_is_trained_from_the_stream_then_resumed_and_evaluated(run_without, flags, tmp_path):
    script, folder = SCRIPTS["supervised"], tmp_path / "run"
    first = run_without("posix", script, *flags, "--features", "stream", "--n_epoch", 1, "--snapshot_pref", folder)
    assert "features: stream" in first.stderr
    resumed = run_without("posix", script, "--gpu", "cpu", "--n_epoch", 2, "--resume", folder / "last.pth.tar")
    assert "resuming at epoch 2, batch 0" in resumed.stderr
    streaming = ("--num_workers", 1, "--test_batch_size", 2)
    scored = run_without("posix", script, "--evaluate", "--gpu", "cpu", "--resume", folder / "best.pth.tar", *streaming)
    assert scored.stdout.startswith("Evaluation results (acc): ")


def test_folder_in_use_is_refused_although_its_lock_cannot_be_read(run_without, flags, tmp_path):
    with FileLock(tmp_path / LOCK):
        refused = run_without("posix", "supv_main.py", *flags, "--snapshot_pref", tmp_path, status=2)
    assert f"{tmp_path} is in use by another process" in refused.stderr
