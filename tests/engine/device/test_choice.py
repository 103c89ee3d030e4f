"""``--gpu`` names an accelerator that PyTorch finds. There is none here, so the tests answer for PyTorch."""

import sys

import pytest
import torch

from engine.device.choice import choose_device
from engine.device.distributed import Ranks
from utils.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """Describe a machine with ``count`` accelerators of a type; returns the list of indices that are made current."""

    def describe(kind, count):
        made_current = []
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.accelerator, "set_device_index", made_current.append)
        return made_current

    return describe


def test_number_is_an_index_of_the_accelerators(machine, caplog):
    made_current = machine("cuda", 2)
    assert choose_device("1", Ranks()) == torch.device("cuda", 1)
    assert made_current == [1]
    assert not caplog.records


@pytest.mark.parametrize("kind", ["xpu", "mps"])
def test_untested_type_of_accelerator_is_used_with_a_warning(machine, caplog, kind):
    made_current = machine(kind, 2)
    assert choose_device("0", Ranks()) == torch.device(kind, 0)
    assert made_current == [0]
    assert caplog.messages == [f"warning: not tested on devices of type {kind}"]


def test_local_rank_takes_the_place_of_the_number(machine, monkeypatch):
    machine("cuda", 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("0", Ranks()) == torch.device("cuda", 3)


def test_number_without_a_device_is_an_error(machine):
    machine("cuda", 2)
    with pytest.raises(InputError, match="--gpu is 2, expected less than 2, the number of GPUs"):
        choose_device("2", Ranks())


@pytest.mark.parametrize("gpu", ["cuda:0", "-1", ""])
def test_other_text_is_an_error(gpu):
    with pytest.raises(InputError, match="expected the number of a GPU or cpu"):
        choose_device(gpu, Ranks())


@pytest.mark.parametrize("given", [["--gpu", "0,2"], ["--gpu=0,2"]])
def test_several_gpus_are_answered_with_the_command_for_them(monkeypatch, given):
    monkeypatch.setattr(sys, "argv", ["./weakly_main.py", "--b", "128", *given, "--snapshot_pref", "Exps/a b"])
    with pytest.raises(InputError) as error:
        choose_device("0,2", Ranks())
    command = "CUDA_VISIBLE_DEVICES=0,2 torchrun --nproc_per_node 2 ./weakly_main.py --b 128 --snapshot_pref 'Exps/a b'"
    assert str(error.value).splitlines()[1].strip() == command


def test_tool_for_one_gpu_asks_for_one_of_several(run, trained):
    result = run("tools.report", trained("supervised"), "--gpu", "0,1", status=2)
    assert result.stderr.splitlines()[-1] == "error: --gpu is 0,1, but this tool uses one GPU: name one of them"


def test_cpu_is_the_cpu(machine):
    made_current = machine("cuda", 2)
    assert choose_device("cpu", Ranks()) == torch.device("cpu")
    assert made_current == []
