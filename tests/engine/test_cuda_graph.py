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

from engine.cuda_graph import WARM_UP, StepGraph
from tests.reference import seeded

# Kernels whose result decides what the host does next, so that it waits for the device.
WAITING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")


def tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class Recording(TorchDispatchMode):
    """Records the kernels of a call, and keeps what the call overwrites."""

    def __init__(self):
        super().__init__()
        self.kernels = []
        self.made = set()
        self.overwritten = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
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


class ReplayOnCPU(StepGraph):
    """A ``StepGraph`` whose captures and replays run on the CPU; as on CUDA, a capture changes nothing."""

    captures, replays = 0, 0

    def warm_up(self, function):
        function()

    def capture(self, function):
        self.captures += 1
        random = torch.get_rng_state()
        with Recording() as recording:
            function()
        torch.set_rng_state(random)
        with torch.no_grad():
            for tensor, value in recording.overwritten.values():
                tensor.copy_(value)

        def replay():
            self.replays += 1
            recording.replay()

        return replay


def train(trainer, graph=False):
    """Train for all epochs; returns everything that a checkpoint would hold."""
    if graph:
        trainer.graph = ReplayOnCPU(trainer.device)
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
    replayed = train(trainer, graph=True)
    assert same(replayed, launched)
    full_batches = trainer.feeds.train.batches.num_videos // 9
    assert WARM_UP + 1 < 8  # so that replays follow the warm-up of the learning rate
    assert trainer.graph.captures == 1
    assert trainer.graph.replays == 3 * full_batches - WARM_UP


def test_step_with_a_changing_number_does_not_pass(make_trainer, monkeypatch):
    def weigh(trainer):
        loss, steps = trainer.model.loss, count()
        monkeypatch.setattr(
            trainer.model, "loss", lambda *args: {name: term * next(steps) for name, term in loss(*args).items()}
        )
        return trainer

    options = {"batch_size": 9, "n_epoch": 1}
    launched = train(weigh(make_trainer("weakly", "fp32", **options)))
    assert not same(train(weigh(make_trainer("weakly", "fp32", **options)), graph=True), launched)


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
    assert not same(train(move(make_trainer("weakly", "fp32", **options)), graph=True), launched)


def test_step_that_waits_is_not_captured(make_trainer, monkeypatch):
    trainer = make_trainer("weakly", "fp32", batch_size=9, n_epoch=1)
    correct = trainer.model.correct
    monkeypatch.setattr(trainer.model, "correct", lambda *args: correct(*args) & bool(correct(*args).any()))
    with pytest.raises(AssertionError, match="_local_scalar_dense waits for the device"):
        train(trainer, graph=True)
