"""bfloat16 copies of the weights train as autocast does."""

import pytest
import torch

from tests.reference import seeded


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_copies_train_to_the_last_bit_like_the_casts_of_autocast(make_trainer, setting):
    copied, cast = (make_trainer(setting, "bf16") for _ in range(2))
    assert {weight.dtype for weight in copied.bfloat16_weights.copies.values()} == {torch.bfloat16}
    cast.bfloat16_weights = None
    for trainer in (copied, cast):
        torch.manual_seed(1)
        trainer.train_epoch()
    assert copied.sums.as_floats() == cast.sums.as_floats()
    before = make_trainer(setting, "bf16").model.state_dict()
    for (name, ours), theirs in zip(copied.model.state_dict().items(), cast.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
        assert not torch.equal(ours, before[name]), f"{name} was not trained"


def test_other_precisions_have_no_copies(make_trainer):
    assert make_trainer("supervised", "fp32").bfloat16_weights is None
