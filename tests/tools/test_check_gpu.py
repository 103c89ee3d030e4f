"""The check of a GPU finds what is wrong and marks what the device cannot show. Here it checks the CPU."""

import json
import math
import sys

import pytest

from tests.processes import TORCHRUN, finished, finished_ranks
from tests.tools.conftest import BENCHMARK
from tools import check_gpu
from tools.check_gpu import Check, CheckError, Machine, compare, main

FOR_EACH_PRECISION = ("CUDA graph", "replayed evaluation", "no waiting")
NEEDS_GPU = {
    *(f"{name} {precision}" for name in FOR_EACH_PRECISION for precision in ("fp32", "bf16", "fp64")),
    *("failed capture", "features device", "displays", "benchmark, CUDA graph"),
}


class ForkedMachine(Machine):
    """A machine whose commands are forked from a process that has imported torch: twenty imports fewer.

    Of torchrun, its ranks are forked; ``test_distributed`` starts it with the same flags.
    """

    benchmark_report = ""

    def run(self, *command):
        program = command[command[0] == "-m" :]
        if program == BENCHMARK:
            return self.benchmark_report
        if command[: len(TORCHRUN)] == TORCHRUN:
            result = finished_ranks(2, *command[len(TORCHRUN) :])
        else:
            result = finished(*program)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)  # it trains the whole network six times
def test_cpu_passes_what_needs_no_gpu(monkeypatch, capsys, tmp_path, benchmark_report):
    path = tmp_path / "gpu-report.json"
    monkeypatch.setattr(ForkedMachine, "benchmark_report", benchmark_report)
    monkeypatch.setattr(check_gpu, "Machine", ForkedMachine)
    # test_parity compares more steps.
    monkeypatch.setattr(check_gpu, "PUBLISHED_EPOCHS", {"fp64": 2, "fp32": 2, "bf16": 1})
    monkeypatch.setattr(sys, "argv", ["check_gpu", "--gpu", "cpu", "--out", str(path)])
    main()
    table = capsys.readouterr().out
    report = json.loads(path.read_text())
    results = {row["check"]: row["result"] for row in report["checks"]}
    assert len(results) == 29
    assert {name for name, result in results.items() if result == "not run"} == NEEDS_GPU
    assert all(result == "pass" for name, result in results.items() if name not in NEEDS_GPU), table
    for row, line in zip(report["checks"], table.splitlines()[1:], strict=False):
        assert line.split("  ")[0].startswith(row["result"])
        assert row["check"] in line
        assert line.endswith(row["detail"])
    assert "16 pass, 0 fail, 13 not run" in table
    assert any(row["name"].startswith("training step") for row in report["benchmarks"]["launched"])


def test_failed_check_is_in_the_report_and_gives_status_1(tmp_path, monkeypatch, capsys):
    def plan(machine):
        yield Check("passes", lambda: compare([2.0, 1.0], [2.0, 1.0 + 1e-9], 1e-8))
        yield Check("differs", lambda: compare([2.0, 1.0], [2.0, 1.1], 1e-8))
        yield Check("unknown flag", lambda: machine.run("supv_main.py", "--graph"))
        yield Check("missing data", lambda: machine.run("supv_main.py", "--data_root", tmp_path / "absent"))

    monkeypatch.setattr(check_gpu, "plan", plan)
    monkeypatch.setattr(sys, "argv", ["check_gpu", "--gpu", "cpu", "--out", str(tmp_path / "report.json")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    rows = json.loads((tmp_path / "report.json").read_text())["checks"]
    assert [row["result"] for row in rows] == ["pass", "fail", "fail", "fail"]
    assert "9.1e-02, at most 1e-08 allowed" in rows[1]["detail"]
    assert "unrecognized arguments: --graph" in rows[2]["detail"]
    assert "data files are missing" in rows[3]["detail"]
    assert "1 pass, 3 fail, 0 not run" in capsys.readouterr().out


def test_loss_that_is_not_a_number_fails():
    with pytest.raises(CheckError):
        compare([math.nan], [1.0], 1e-2)
