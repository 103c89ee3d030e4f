"""Damaged files, and files with code, end every command in a sentence; nothing is run or written."""

import random
import shutil

import pytest
import torch

from engine.checkpoint import save_checkpoint
from tests.conftest import SCRIPTS
from tests.engine.test_checkpoint import Code

pytestmark = pytest.mark.slow


def test_commands_end_in_a_sentence_whatever_file_is_damaged(run, trained, data_root, small_config, tmp_path):
    setting, chosen = "weakly", random.Random(0)

    def damaged(path):
        contents = bytearray(path.read_bytes())
        for _ in range(20):
            contents[chosen.randrange(len(contents))] ^= chosen.randrange(1, 256)
        target = tmp_path / path.name
        target.write_bytes(contents[: chosen.randrange(len(contents) // 2, len(contents))])
        return target

    def refused(*arguments):
        result = run(SCRIPTS[setting], "--gpu", "cpu", *arguments, status=2)
        assert result.stdout == ""
        assert "error: " in result.stderr
        assert not (tmp_path / "run").exists()

    last = damaged(trained(setting) / "last.pth.tar")
    refused("--data_root", data_root, "--evaluate", "--resume", last)
    refused("--data_root", data_root, "--resume", last)
    start = ("--snapshot_pref", tmp_path / "run")
    refused("--data_root", data_root, "--config", damaged(small_config(setting)), *start)
    for name in ("visual_feature.h5", "right_labels.h5", "train_order.h5"):
        root = tmp_path / f"data-{name}"
        shutil.copytree(data_root, root)
        (root / name).write_bytes(damaged(data_root / name).read_bytes())
        refused("--data_root", root, "--config", small_config(setting), *start)


def test_code_in_a_checkpoint_does_not_run_whichever_command_reads_it(run, trained, data_root, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "last.pth.tar"
    contents = torch.load(trained("supervised") / "last.pth.tar", weights_only=True)
    save_checkpoint(path, contents | {"scores": Code(trace)})
    flags = ("--gpu", "cpu", "--data_root", data_root, "--snapshot_pref", tmp_path)
    for more in (("--evaluate", "--resume", path), ("--resume", "auto")):
        said = run("supv_main.py", *flags, *more, status=2).stderr
        assert f"{path}: is damaged, not a checkpoint, or holds code; only tensors and plain values are read" in said
        assert {each.name for each in tmp_path.iterdir()} == {"last.pth.tar"}
