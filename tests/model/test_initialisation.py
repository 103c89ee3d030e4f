"""Parameters start as PyTorch's own layers start them, which parity with trained weights cannot see."""

import math

import pytest
import torch
from torch import nn

from model.layers.attention import MultiHeadAttention
from model.registry import NETWORKS
from tests.reference import seeded


@pytest.fixture(params=seeded.SETTINGS)
def fresh_model(request, config):
    torch.manual_seed(0)
    return NETWORKS["magan"][request.param](config(request.param))


def assert_uniform(tensor, bound):
    """Uniform in (-bound, bound), as far as this many numbers can show."""
    assert tensor.abs().max() <= bound
    if tensor.numel() > 1000:
        assert tensor.abs().max() > 0.99 * bound
        assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(tensor.mean().item()) < 5 * bound / math.sqrt(3 * tensor.numel())


def test_every_parameter_is_one_of_the_checked_kinds(fresh_model):
    checked = 0
    for name, module in fresh_model.named_modules():
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            assert_uniform(module.weight, bound)
            if name.endswith("out_proj"):
                assert not module.bias.any(), name
            else:
                assert_uniform(module.bias, bound)
            checked += 2
        elif isinstance(module, nn.LSTM):
            for weight in module.parameters():
                assert_uniform(weight, 1 / math.sqrt(module.hidden_size))
                checked += 1
        elif isinstance(module, MultiHeadAttention):
            dim = module.in_proj_weight.shape[1]
            assert_uniform(module.in_proj_weight, math.sqrt(6 / (dim + 3 * dim)))
            assert not module.in_proj_bias.any(), name
            checked += 2
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert not module.bias.any()
            checked += 2
        elif hasattr(module, "beta"):
            assert module.beta.tolist() == [0.5, 0.5]
            checked += 1
    assert checked == len(list(fresh_model.parameters()))


def test_attention_starts_and_computes_as_torch_attention_does():
    torch.manual_seed(7)
    ours = MultiHeadAttention(32, num_heads=4, dropout=0.0)
    torch.manual_seed(7)
    theirs = nn.MultiheadAttention(32, num_heads=4, batch_first=True)
    assert ours.in_proj_weight.shape == theirs.in_proj_weight.shape
    assert ours.in_proj_weight.std().item() == pytest.approx(theirs.in_proj_weight.std().item(), rel=0.1)

    theirs.load_state_dict(ours.state_dict())
    query, memory = torch.randn(3, 5, 32), torch.randn(3, 8, 32)
    torch.testing.assert_close(ours(query), theirs(query, query, query)[0])
    torch.testing.assert_close(ours(query, memory), theirs(query, memory, memory)[0])


def test_encoder_layers_start_as_copies_of_one_another(fresh_model):
    for encoder in (fresh_model.temporal_relations.visual_encoder, fresh_model.temporal_relations.audio_encoder):
        first, second = encoder.layers
        for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other), name
            assert one.data_ptr() != other.data_ptr(), f"{name} is shared"


def test_no_two_other_layers_start_alike(fresh_model):
    matrices = [p for name, p in fresh_model.named_parameters() if p.ndim == 2 and "encoder.layers.1" not in name]
    sums = [matrix.double().sum().item() for matrix in matrices]
    assert len(set(sums)) == len(sums)


def test_number_of_parameters_is_the_published_one_without_what_cannot_learn(config):
    sizes = {
        setting: sum(p.numel() for p in NETWORKS["magan"][setting](config(setting)).parameters())
        for setting in NETWORKS["magan"]
    }
    assert sizes["supervised"] == 17_574_652 - 4_475_392 - 591_874
    assert sizes["weakly"] == 14_609_662


def test_every_parameter_learns_in_training(fresh_model):
    torch.manual_seed(1)
    visual, audio = torch.rand(3, 6, 2, 2, 512), torch.rand(3, 6, 128)
    labels = torch.zeros(3, 6, 29)
    labels[..., 28] = 1
    labels[:, 2:5, 28] = 0
    labels[0, 2:5, 3] = labels[1, 2:5, 5] = labels[2, 2:5, 7] = 1
    if fresh_model.setting == "weakly":
        labels = seeded.video_labels(labels)
    fresh_model.loss(fresh_model(visual, audio), labels)["loss"].backward()
    for name, parameter in fresh_model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
