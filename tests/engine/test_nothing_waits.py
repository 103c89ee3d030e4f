"""Training, evaluation and prediction never wait for the device, and give a kernel no tensor of another device.

They run on ``meta``, whose tensors have no values: an item, a choice by a value or a copy to the CPU is an error there.
Kernels of ``meta`` do not look at the device of their arguments; ``OneDevice`` does.
"""

from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.evaluation import evaluate_batch
from model.prediction import TrainedNetwork
from tests.conftest import AUDIO_DIM, VISUAL_DIM
from tests.reference import seeded

META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Kernels take tensors of ``meta`` alone; only a copy takes one of the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and name not in ("_to_copy", "copy_"):
                assert value.device == META, f"{name} takes a tensor of another device"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def make_meta_trainer(make_trainer, monkeypatch):
    # Only a check of the device's name keeps the fused optimizer from running on meta.
    adam = import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *args, **kwargs: None)

    def make(setting, precision):
        trainer = make_trainer(setting, precision, device="meta", batch_size=30)
        step = trainer.step

        def step_on_one_device(batch):
            with OneDevice():
                step(batch)

        monkeypatch.setattr(trainer, "step", step_on_one_device)
        return trainer

    return make


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_epoch_of_training_and_evaluation(make_meta_trainer, setting, precision):
    """From features on the device: feed, step, clipping, finiteness, optimizer, sums, decisions, attention."""
    trainer = make_meta_trainer(setting, precision)
    trainer.train_epoch()
    assert trainer.state.iteration == len(trainer.feeds.train) > 1
    assert {state["exp_avg"].device for state in trainer.optimizer.state.values()} == {META}
    assert trainer.sums.sums.device == META

    trainer.model.eval()
    batch = next(iter(trainer.feeds.test.epoch()))
    with torch.inference_mode(), OneDevice(), trainer.model.observed() as observed:
        results = evaluate_batch(trainer.model, batch, META, precision, observed)
    assert {values.device for values in results.values()} == {META}


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_prediction_of_a_long_and_of_a_short_video(make_trainer, setting):
    trained = TrainedNetwork(make_trainer(setting, "fp32", device="meta").model.eval(), [], segments=10, threshold=0.5)
    for seconds in (25, 6):
        shapes = (2, seconds, 7, 7, VISUAL_DIM), (2, seconds, AUDIO_DIM)
        features = tuple(torch.empty(shape, device=META) for shape in shapes)
        with OneDevice():
            found = trained._per_second([features], observe=True)
        assert {"event_probability", "class_probability", "visual_attention"} <= found.keys()
        assert {values.shape[:2] for values in found.values()} == {(2, seconds)}


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (lambda term: term * term.item(), "cannot be called on meta tensors"),
        (lambda term: term if term > 0 else -term, "cannot be called on meta tensors"),
        (lambda term: term * term.cpu(), "no data"),
        (lambda term: term * torch.ones(()), "takes a tensor of another device"),
        (lambda term: torch.nn.functional.linear(term.view(1), torch.ones(1, 1)).sum(), "tensor of another device"),
    ],
    ids=["item", "choice", "copy", "number", "product"],
)
def test_step_that_waits_or_mixes_devices_does_not_pass(make_meta_trainer, monkeypatch, sabotage, message):
    trainer = make_meta_trainer("weakly", "fp32")
    loss = trainer.model.loss
    monkeypatch.setattr(
        trainer.model, "loss", lambda *args: {name: sabotage(term) for name, term in loss(*args).items()}
    )
    with pytest.raises((RuntimeError, AssertionError), match=message):
        trainer.train_epoch()
