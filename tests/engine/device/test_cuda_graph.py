"""A step that is replayed as a CUDA graph trains like one that is launched kernel by kernel.

The tests replay on a CPU, behind PyTorch's dispatcher: each kernel of the captured step runs again on the tensors and
with the numbers that it had, as a CUDA graph does. What a step takes from elsewhere is then wrong in the result.
"""

from itertools import count

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dataset.batches import Batches
from engine.device.cuda_graph import WARM_UP, CapturedBatches, CapturedCall
from engine.evaluation import evaluate
from tests.reference import seeded
from utils.progress import Progress

# Kernels whose result decides what the host does next, so that it waits for the device.
WAITING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")


def tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class Recording(TorchDispatchMode):
    """Records the kernels of a call, ``most`` at most, and keeps what the call overwrites."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.kernels = []
        self.made = set()
        self.overwritten = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if len(self.kernels) == self.most:
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
        name = function.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device, which cannot be captured"
        given = dict(zip([argument.name for argument in function._schema.arguments], args, strict=False)) | kwargs
        for argument in function._schema.arguments:
            if argument.alias_info and argument.alias_info.is_write:
                for tensor in tensors(given.get(argument.name)):
                    if self.memory(tensor) not in self.made:
                        self.overwritten.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        result = function(*args, **kwargs)
        before = {self.memory(tensor) for tensor in tensors((args, kwargs))}
        self.made |= {self.memory(tensor) for tensor in tensors(result)} - before
        self.kernels.append((function, args, kwargs, result))
        return result

    @staticmethod
    def memory(tensor):
        return tensor.untyped_storage().data_ptr()

    def replay(self):
        with torch._C._AutoDispatchBelowAutograd():  # where they were recorded
            for function, args, kwargs, result in self.kernels:
                for old, new in zip(tensors(result), tensors(function(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class ReplayOnCPU(CapturedCall):
    """A ``CapturedCall`` whose captures and replays run on the CPU; as on CUDA, a capture changes nothing."""

    captures, replays, most_kernels = 0, 0, None

    def warm_up(self, function):
        return function()

    def capture(self, function):
        self.captures += 1
        random, recording = torch.get_rng_state(), Recording(self.most_kernels)
        try:
            with recording:
                function()
        finally:
            torch.set_rng_state(random)
            with torch.no_grad():
                for tensor, value in recording.overwritten.values():
                    tensor.copy_(value)

        def replay():
            self.replays += 1
            recording.replay()

        return replay


class BatchesOnCPU(CapturedBatches):
    def captured_call(self):
        return ReplayOnCPU(self.device)


def train(trainer, graph=None):
    """Train for all epochs; returns everything that a checkpoint would hold."""
    trainer.captured_step = graph
    metrics = []
    while trainer.state.epoch <= trainer.config.training.n_epoch:
        trainer.train_epoch()
        metrics.append(trainer.sums.means())
        trainer.finish_epoch()
    return {
        "weights": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict()["state"],
        "metrics": torch.tensor([list(means.values()) for means in metrics], dtype=torch.float64),
        "accuracies": torch.tensor([trainer.state.best_on_val.val_accuracy, trainer.state.best_on_test.test_accuracy]),
        "random": torch.get_rng_state(),
    }


def same(one, other):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(tensors(one), tensors(other), strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_replays_train_to_the_last_bit_like_launches(make_trainer, setting, precision):
    """Over three epochs with a small last batch, evaluations in between, a warm-up and a milestone, one capture."""
    # Learning rates that float32 holds exactly: a replay reads them from a tensor in float32.
    options = {"batch_size": 9, "lr": 2**-10, "warmup_steps": 8, "lr_milestones": [2], "lr_factor": 0.5}
    launched = train(make_trainer(setting, precision, **options))
    trainer = make_trainer(setting, precision, **options)
    replayed = train(trainer, ReplayOnCPU(trainer.device))
    assert same(replayed, launched)
    full_batches = trainer.feeds.train.batches.num_videos // 9
    assert WARM_UP + 1 < 8  # so that replays follow the warm-up of the learning rate
    assert trainer.captured_step.captures == 1
    assert trainer.captured_step.replays == 3 * full_batches - WARM_UP


def test_step_with_a_changing_number_does_not_pass(make_trainer, monkeypatch):
    def weigh(trainer):
        loss, steps = trainer.model.loss, count()
        monkeypatch.setattr(
            trainer.model, "loss", lambda *args: {name: term * next(steps) for name, term in loss(*args).items()}
        )
        return trainer

    options = {"batch_size": 9, "n_epoch": 1}
    launched = train(weigh(make_trainer("weakly", "fp32", **options)))
    assert not same(train(weigh(make_trainer("weakly", "fp32", **options)), ReplayOnCPU("cpu")), launched)


def test_step_that_moves_its_sums_does_not_pass(make_trainer, monkeypatch):
    def move(trainer):
        add = trainer.sums.add

        def add_elsewhere(*args):
            add(*args)
            trainer.sums.sums = trainer.sums.sums.clone()

        monkeypatch.setattr(trainer.sums, "add", add_elsewhere)
        return trainer

    options = {"batch_size": 9, "n_epoch": 2}
    launched = train(move(make_trainer("weakly", "fp32", **options)))
    assert not same(train(move(make_trainer("weakly", "fp32", **options)), ReplayOnCPU("cpu")), launched)


@pytest.mark.parametrize("kernels", [0, 300, 900])
def test_step_that_cannot_be_captured_is_launched_from_the_same_state(make_trainer, caplog, kernels):
    """The capture breaks off after so many kernels: at its beginning, in the forward and in the backward pass."""
    options = {"batch_size": 9, "n_epoch": 2, "lr": 2**-10}
    launched = train(make_trainer("supervised", "fp32", **options))
    unable = ReplayOnCPU("cpu")
    unable.most_kernels = kernels
    assert same(train(make_trainer("supervised", "fp32", **options), unable), launched)
    assert unable.captures == 1
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("launched one by one: operation not permitted when stream is capturing")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_replayed_evaluation_is_the_launched_one_to_the_last_bit(make_trainer, setting, precision):
    """With weights that change in between; the last batch is smaller, and both shapes are replayed."""
    trainer = make_trainer(setting, precision)
    feed, captured, rounds = trainer.feeds.test, BatchesOnCPU("cpu"), WARM_UP + 2
    feed.batches = Batches(len(feed.dataset), 4)
    batch = next(iter(trainer.feeds.train.epoch()))
    for _ in range(rounds):
        arguments = (trainer.model, feed, trainer.device, precision, 0.5, Progress("", 1000), trainer.ranks)
        assert same(evaluate(*arguments), evaluate(*arguments, batches_captured=captured))
        trainer.model.train()
        trainer.step(batch)
    assert [call.replays for call in captured.by_shape.values()] == [2, 2]


def test_step_that_waits_is_not_captured(make_trainer, monkeypatch, caplog):
    trainer = make_trainer("weakly", "fp32", batch_size=9, n_epoch=1)
    correct = trainer.correct
    monkeypatch.setattr(trainer, "correct", lambda *args: correct(*args) & bool(correct(*args).any()))
    train(trainer, ReplayOnCPU("cpu"))
    assert "one by one: _local_scalar_dense waits for the device" in caplog.text
