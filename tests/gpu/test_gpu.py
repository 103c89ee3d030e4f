"""A GPU computes as a CPU does, replays what it launches, never waits, and says how fast it is."""

import json

import pytest
import torch
from torch.utils._pytree import tree_leaves

from configs import PRECISIONS
from engine.device.cuda_graph import WARM_UP
from engine.evaluation import evaluate
from model.published import from_published
from model.registry import NETWORKS
from tests.conftest import CONFIGS, SCRIPTS
from tests.documented import call
from tests.gpu.conftest import GPU, NO_DROPOUT, SPEED, VIDEOS
from tests.processes import ROOT, finished_ranks
from tests.reference import seeded
from tools.benchmark import Conditions, measure_epoch, write_features
from utils.arithmetic import allow_tf32, parameter_dtype
from utils.errors import InputError
from utils.memory import out_of_memory_as_error
from utils.progress import Progress

# Of one batch, whose losses are known. The first updates of Adam follow the signs of gradients: from the third loss on,
# the rounding of TF32 and bfloat16 is large in it (on an H200 in float32: 8e-4 after one update, 5e-2 after two).
PUBLISHED_EPOCHS = {"fp64": 4, "fp32": 2, "bf16": 2}
EPOCHS = 8  # of one batch, of which the last five replay a CUDA graph
# Largest differences of outputs, and largest relative differences of losses, from the published values in float64.
OUTPUT_TOLERANCE = {"fp64": 1e-10, "fp32": 1e-3}
LOSS_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-2, "bf16": 1e-1}
# Largest relative differences of the losses of two runs of the same kernels, some of which add in no fixed order.
REPEAT_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-3, "bf16": 1e-2}


def losses_of(trainer):
    """The losses of ``EPOCHS`` epochs."""
    losses = []
    for _ in range(EPOCHS):
        trainer.train_epoch()
        trainer.state.iteration = 0
        losses.append(trainer.sums.means()["loss"])
    return losses


@pytest.mark.parametrize("precision", OUTPUT_TOLERANCE)
@pytest.mark.parametrize("scope", seeded.SCOPES)
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_outputs_and_decisions_are_the_published_ones(device, setting, scope, precision):
    visual, audio, _ = (tensor.to(device, parameter_dtype(precision)) for tensor in seeded.inputs())
    allow_tf32(False)
    network = NETWORKS["magan"][setting]
    model = network(network.Config(scope=scope)).to(device, parameter_dtype(precision)).eval()
    model.load_state_dict(from_published(seeded.published_checkpoint(setting), model))
    with torch.inference_mode():
        outputs = model(visual, audio)
        found = {**outputs._asdict(), "prediction": model.decide(outputs)}
    for name, values in seeded.expected_outputs(setting, scope).items():
        difference = (found[name].cpu() - torch.from_numpy(values)).abs().max().item()
        assert difference <= OUTPUT_TOLERANCE[precision], name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_training_losses_are_the_published_ones(train, seeded_videos, tmp_path, setting, precision):
    """From the seeded weights, without dropout."""
    weights, config = tmp_path / "weights.pth.tar", json.loads((ROOT / "configs" / CONFIGS[setting]).read_text())
    torch.save(seeded.published_checkpoint(setting), weights)
    config["model"] |= NO_DROPOUT
    (tmp_path / "config.json").write_text(json.dumps(config))
    epochs = PUBLISHED_EPOCHS[precision]
    flags = ("--config", tmp_path / "config.json", "--precision", precision, "--n_epoch", epochs, "--resume", weights)
    losses = train(setting, "--data_root", seeded_videos, "--b", VIDEOS, *flags)
    expected = seeded.expected(setting, "video")["training_losses"][:epochs]
    assert losses == pytest.approx(expected, rel=LOSS_TOLERANCE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_replayed_steps_train_like_launched_ones(cuda, train, seeded_videos, precision):
    """With dropout; replays are the default."""
    flags = ("--data_root", seeded_videos, "--b", VIDEOS, "--precision", precision, "--n_epoch", EPOCHS)
    launched = train("supervised", *flags, "--no-cuda_graph", name="launched")
    assert train("supervised", *flags, name="replayed") == pytest.approx(launched, rel=REPEAT_TOLERANCE[precision])


def test_step_that_cannot_be_captured_is_launched(cuda, trainer):
    unable, launched = trainer("fp64", True), trainer("fp64", False)
    correct = unable.correct  # whose result is waited for, which no capture allows
    unable.correct = lambda *args: correct(*args) & bool(correct(*args).any())
    assert losses_of(unable) == pytest.approx(losses_of(launched), rel=REPEAT_TOLERANCE["fp64"])
    assert unable.captured_step.failed


@pytest.mark.parametrize("precision", PRECISIONS)
def test_replayed_evaluation_is_the_launched_one_to_the_last_bit(cuda, trainer, precision):
    made = trainer(precision, True)
    arguments = (made.model, made.feeds.test, cuda, precision, 0.5, Progress("", 1 << 62), made.ranks)
    launched = evaluate(*arguments)
    for _ in range(WARM_UP + 2):
        replayed = evaluate(*arguments, batches_captured=made.captured_batches)
        for one, other in zip(tree_leaves(launched), tree_leaves(replayed), strict=True):
            assert not isinstance(one, torch.Tensor) or torch.equal(one, other)
    assert all(each.replay for each in made.captured_batches.by_shape.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_step_never_waits_for_the_gpu(cuda, trainer, precision):
    made = trainer(precision, False)
    made.train_epoch()  # the first step allocates and initialises
    made.state.iteration = 0
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.step(next(iter(made.feeds.train.epoch())))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("place", ["device", "ram", "stream"])
def test_features_are_the_same_from_everywhere(device, train, small_flags, place):
    if place == "device" and device.type == "cpu":
        pytest.skip("needs a GPU")
    expected = train("supervised", *small_flags(), name="auto")
    assert train("supervised", *small_flags("--features", place)) == pytest.approx(expected, rel=1e-8)


def test_run_with_dropout_resumes_as_if_it_had_not_stopped(train, small_flags, tmp_path, monkeypatch):
    expected = train("supervised", *small_flags(), name="whole")
    train("supervised", *small_flags("--n_epoch", 1), name="parts")
    last = ("--gpu", GPU, "--resume", tmp_path / "parts/last.pth.tar", "--n_epoch", 2)
    assert call(monkeypatch, SCRIPTS["supervised"], *last) == 0
    resumed = (tmp_path / "parts/metrics.csv").read_text().splitlines()
    assert float(resumed[2].split(",")[1]) == pytest.approx(expected[1], rel=1e-8)


def test_a_process_for_each_gpu_trains_like_one(device, train, small_flags, tmp_path):
    """On a CPU, two processes."""
    count = 2 if device.type == "cpu" else min(torch.accelerator.device_count(), 12)
    if count < 2:
        pytest.skip("needs two GPUs")
    expected = train("supervised", *small_flags(dropout=False), name="alone")
    flags = ("--gpu", GPU, "--lr", 1e-4, "--eval_freq", 1000, "--snapshot_pref", tmp_path / "together")
    result = finished_ranks(count, SCRIPTS["supervised"], *flags, *small_flags(dropout=False))
    assert result.returncode == 0, result.stderr
    losses = [float(line.split(",")[1]) for line in (tmp_path / "together/metrics.csv").read_text().splitlines()[1:]]
    assert losses == pytest.approx(expected, rel=1e-8)


def test_lack_of_memory_is_one_sentence_and_the_device_works_afterwards(device):
    with (
        pytest.raises(InputError, match="is too small: give a smaller --b"),
        out_of_memory_as_error(device, "give a smaller --b"),
    ):
        torch.empty(1 << 60, dtype=torch.uint8, device=device)
    assert torch.ones(1, device=device).item() == 1


def test_progress_displayed_at_each_step_takes_no_time(cuda, tmp_path):
    """As the published command asks for."""
    write_features(tmp_path)
    conditions = Conditions(GPU, 64, 2, True, str(tmp_path))
    shown, silent = (measure_epoch(conditions, "supervised", "bf16", 3309, print_freq=each) for each in (1, 1 << 30))
    assert shown / silent < 1.05


def test_benchmark_runs_and_says_how_fast_a_step_is(device, monkeypatch, capsys, request):
    quick = ("--precision", "fp32", "--batch_size", 2, "--seconds", 0)
    full = ("--precision", "fp32", "bf16", "--seconds", 0.5)
    flags = quick if device.type == "cpu" else full
    assert call(monkeypatch, "tools.benchmark", "--gpu", GPU, "--json", *flags) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    steps = [row for row in results if row["name"].startswith(("training step", "forward"))]
    assert steps
    shown = ", ".join(f"{row['name']} {row['videos_per_s']:.0f} videos/s ({row['share']:.2f})" for row in steps)
    request.config.stash[SPEED] = f"speed, with the share of the best product: {shown}"
