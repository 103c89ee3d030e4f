"""A training step launches no more kernels than it did: on a GPU, each costs as much as its launch."""

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from model.layers.attention import MultiHeadAttention
from model.layers.dropout import Dropout

# Kernels of a step on a GPU, counted behind PyTorch's dispatcher on a CPU, where an LSTM is one for each direction.
CEILING = {
    ("supervised", "fp32"): 745,
    ("supervised", "bf16"): 807,
    ("weakly", "fp32"): 734,
    ("weakly", "bf16"): 788,
}


class Launches(TorchDispatchMode):
    """Counts kernels by name. Views and empty tensors launch nothing."""

    def __init__(self):
        super().__init__()
        self.kernels = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        aliases = [value.alias_info for value in function._schema.returns]
        is_view = any(alias and not alias.is_write for alias in aliases)
        if not is_view and not name.startswith(("empty", "detach", "new_empty", "_unsafe_view", "_record_function")):
            self.kernels[name] += 1
        return function(*args, **(kwargs or {}))


def without_dropout(model):
    """Take the dropout, many kernels on a CPU, out of a network; gives the number of those that it is on a GPU.

    There it is one kernel in each direction, or a part of the attention's.
    """
    in_attention = {module.dropout for module in model.modules() if isinstance(module, MultiHeadAttention)}
    kernels = 0
    for module in model.modules():
        if isinstance(module, Dropout) and module.p:
            kernels += 0 if module in in_attention else 2
            module.p = 0
    return kernels


@pytest.mark.parametrize(("setting", "precision"), CEILING)
def test_step_launches_no_more_kernels_than_before(make_trainer, monkeypatch, setting, precision):
    monkeypatch.setattr("model.layers.linear.has_bfloat16", lambda: True)  # as a GPU has
    trainer = make_trainer(setting, precision)
    of_dropout = without_dropout(trainer.model)
    trainer.train_epoch()  # the optimizer and the sums have their tensors
    batch = next(iter(trainer.feeds.train.epoch()))
    trainer.state.iteration = 0
    with Launches() as launches:
        trainer.step(batch)
    assert launches.kernels.total() + of_dropout <= CEILING[setting, precision], launches.kernels.most_common()
