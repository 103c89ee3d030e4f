"""A training step launches no more kernels than it did: on a GPU, each costs as much as its launch."""

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

# Kernels of a step, counted behind PyTorch's dispatcher on a CPU, where an LSTM is one kernel for each direction.
CEILING = {
    ("supervised", "fp32"): 1058,
    ("supervised", "bf16"): 1388,
    ("weakly", "fp32"): 1069,
    ("weakly", "bf16"): 1391,
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
        if not is_view and not name.startswith(("empty", "detach", "new_empty", "_unsafe_view")):
            self.kernels[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("setting", "precision"), CEILING)
def test_step_launches_no_more_kernels_than_before(make_trainer, setting, precision):
    trainer = make_trainer(setting, precision)
    trainer.train_epoch()  # the optimizer and the sums have their tensors
    batch = next(iter(trainer.feeds.train.epoch()))
    trainer.state.iteration = 0
    with Launches() as launches:
        trainer.step(batch)
    assert launches.kernels.total() <= CEILING[setting, precision], launches.kernels.most_common()
