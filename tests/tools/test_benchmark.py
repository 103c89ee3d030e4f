"""The benchmark's numbers agree with one another, and it ends cleanly."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.registry import NETWORKS
from tests.documented import call
from tests.readable import assert_readable
from tools import benchmark
from tools.benchmark import GFLOP, Conditions, Measurement, measure_epoch, measure_product, write_features


@pytest.fixture
def conditions(tmp_path):
    return Conditions("cpu", batch_size=2, seconds=0.01, cuda_graph=False, folder=str(tmp_path))


@pytest.mark.slow
def test_numbers_of_the_report_agree(benchmark_report):
    report = json.loads(benchmark_report)
    assert list(report) == ["device", "versions", "results"]
    assert report["device"].endswith(" threads")
    rows = {row["name"]: row for row in report["results"]}
    assert list(rows) == [
        *("ceiling float32 1024 1024 1024", "ceiling float32 31360 512 512"),
        *("forward supervised fp32 2", "training step supervised fp32 2"),
        *("feed stream float64", "feed stream float16", "feed ram float16"),
    ]
    large, frequent, forward, step, *feeds = rows.values()
    assert large["gflops"] == pytest.approx(2e-9 * 1024**3 / large["seconds"])
    ceiling = max(large["gflops"], frequent["gflops"])
    for name, row in (("forward", forward), ("training step", step)):
        assert row["videos_per_s"] == pytest.approx(2 / row["seconds"])
        assert row["gflops"] == pytest.approx(row["videos_per_s"] * GFLOP["supervised"][name])
        assert row["share"] == pytest.approx(row["gflops"] / ceiling)
    assert forward["seconds"] < step["seconds"]
    assert all(row["videos_per_s"] > 0 and row["gflops"] is None for row in feeds)


def test_table_names_no_version_that_there_is_not(monkeypatch, capsys):
    """A build of torch for CPUs has no CUDA."""
    monkeypatch.setattr(benchmark, "plan", lambda *_: [Measurement("ceiling float32 64 64 64", lambda _: 1.0, gflop=1)])
    assert call(monkeypatch, "tools.benchmark", "--gpu", "cpu", "--seconds", 0) == 0
    said = capsys.readouterr().out
    assert ("cuda" in said) == (torch.version.cuda is not None)
    assert "ceiling float32 64 64 64" in said
    assert_readable(said)


@pytest.mark.parametrize("setting", NETWORKS["magan"])
def test_work_of_a_video_is_what_torch_counts(setting):
    config = NETWORKS["magan"][setting].Config()
    shape = (config.num_events + 1,) if setting == "weakly" else (10, config.num_events + 1)
    with torch.device("meta"):
        model = NETWORKS["magan"][setting](config)
        with FlopCounterMode(display=False) as forward:
            outputs = model(torch.empty(1, 10, 7, 7, 512), torch.empty(1, 10, 128))
        with FlopCounterMode(display=False) as backward:
            model.loss(outputs, torch.empty(1, *shape))["loss"].backward()
    assert forward.get_total_flops() / 1e9 == pytest.approx(GFLOP[setting]["forward"], rel=0.01)
    step = forward.get_total_flops() + backward.get_total_flops()
    # The gradients with respect to what the refinements' queries, keys and values are projected from.
    left_out = 2 * (10 * 49 * 512 * 3 * 512 + 10 * 128 * 3 * 128)
    assert (step + left_out) / 1e9 == pytest.approx(GFLOP[setting]["training step"], rel=0.01)


def test_benchmark_is_imported_where_there_is_no_module_resource(run_without):
    assert "--batch_size" in run_without("posix", "tools.benchmark", "--help").stdout


@pytest.mark.slow
def test_epoch_is_measured_and_grows_with_its_videos(conditions, tmp_path):
    write_features(tmp_path)
    assert measure_epoch(conditions, "weakly", "fp32", 3) < measure_epoch(conditions, "weakly", "fp32", 12)


def test_ceiling_is_that_of_the_type_that_it_names(conditions):
    """A register holds half as many float64 numbers as float32 ones, on any CPU; a busy one may need several tries."""
    times = [
        [measure_product(conditions._replace(seconds=0.2), arithmetic, 512, 512, 512) for _ in range(5)]
        for arithmetic in ("float32", "float64")
    ]
    assert min(times[0]) < min(times[1])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--batch_size", 0), "argument --batch_size: 0, expected 1 or more"),
        (("--seconds", "nan"), "--seconds is nan, expected 0 or more"),
        (("--precision", "fp8"), "invalid choice: 'fp8'"),
    ],
)
def test_wrong_flags_are_one_sentence_and_status_2(run, flags, message):
    result = run("tools.benchmark", "--gpu", "cpu", *flags, status=2)
    assert message in result.stderr
    assert result.stdout == ""
