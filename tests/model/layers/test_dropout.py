"""Dropout happens where the published network has it, with its rates, in training alone; parity cannot see it."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from model import MAGANConfig
from model.layers.attention import MultiHeadAttention
from model.layers.dropout import Dropout
from model.refinement import Refinement
from model.registry import NETWORKS
from tests.reference import seeded

B, T, R = 2, 5, 4
VISUAL, AUDIO, D = 512, 128, 256


class AttentionDropoutRecorder(TorchFunctionMode):
    """Notes every dropout of attention weights that is left to PyTorch: the shape it acts on, and its rate."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention and kwargs.get("dropout_p"):
            n, _, s, _ = args[0].shape
            self.seen["attention", (n, s, args[1].shape[2]), kwargs["dropout_p"]] += 1
        return function(*args, **kwargs)


def record(model):
    """Every dropout that really changes something in a forward pass: where it acts, on which shape, and its rate."""
    seen = Counter()

    def note(module, inputs, output):
        if torch.equal(inputs[0], output):
            return
        if output.ndim == 4:  # weights of each head
            n, _, s, m = output.shape
            seen["attention", (n, s, m), module.p] += 1
        else:
            seen["features", tuple(output.shape), module.p] += 1

    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Dropout)]
    with AttentionDropoutRecorder(seen):
        model(torch.rand(B, T, 2, 2, VISUAL), torch.rand(B, T, AUDIO))
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("setting", seeded.SETTINGS)
@pytest.mark.parametrize("scope", seeded.SCOPES)
def test_dropout_acts_where_the_published_network_has_it(config, setting, scope):
    model = NETWORKS["magan"][setting](config(setting, scope=scope)).train()
    segments, encoder_hidden = B * T, config(setting).encoder_hidden
    visual, audio = (segments, R), (B, T)
    if scope == "batch":
        visual, audio = visual[::-1], audio[::-1]
    expected = Counter(
        {
            # Refinement: on the attention weights, and after the last ReLU.
            ("attention", (*visual, visual[1]), 0.1): 1,
            ("features", (segments, R, VISUAL), 0.2): 1,
            ("features", (B, T, AUDIO), 0.2): 1,
            # Two encoders of two layers and two decoders: attention weights, hidden ReLU, both residual branches.
            ("attention", (B, T, T), 0.1): 4,
            ("attention", (B, T, 2 * T), 0.1): 2,
            ("features", (B, T, encoder_hidden), 0.1): 4,
            ("features", (B, T, D), 0.1): 4 * 2 + 2 * 2 + 2,  # and the residual branch of either interaction
            # The interactions' attention weights.
            ("attention", (B, T, 2 * T), 0.2): 2,
        }
    )
    expected["features", (B, T, 1024), 0.1] += 2
    expected["attention", (*audio, audio[1]), 0.1] += 1
    assert record(model) == expected


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_nothing_is_dropped_in_evaluation(config, setting):
    assert not record(NETWORKS["magan"][setting](config(setting)).eval())


@pytest.mark.parametrize(
    ("rate", "count"),
    [
        ("refine_attention_dropout", 2),
        ("refine_dropout", 2),
        ("temporal_dropout", 6 + 6 + 12),
        ("interaction_attention_dropout", 2),
        ("interaction_dropout", 2),
    ],
)
def test_each_rate_of_the_config_is_obeyed(config, rate, count):
    model = NETWORKS["magan"]["supervised"](config("supervised", **{rate: 0.375})).train()
    assert sum(times for (_, _, p), times in record(model).items() if p == 0.375) == count


def test_attention_weights_are_dropped_elsewhere_as_on_a_cpu():
    """Where there is a kernel for it, PyTorch drops them itself."""
    seen = Counter()
    attention = MultiHeadAttention(32, 4, dropout=0.3).to("meta")
    with AttentionDropoutRecorder(seen):
        attention.train()(torch.rand(B, T, 32, device="meta"), torch.rand(B, 2 * T, 32, device="meta"))
        attention.eval()(torch.rand(B, T, 32, device="meta"))
    assert seen == {("attention", (B, T, 2 * T), 0.3): 1}


def test_attention_is_the_same_with_and_without_dropout_but_for_what_is_dropped():
    """The rate is so small that nothing is."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(32, 4, dropout=1e-15).double()
    query, memory = torch.rand(B, T, 32, dtype=torch.float64), torch.rand(B, 2 * T, 32, dtype=torch.float64)
    for inputs in ((query,), (query, memory)):
        torch.testing.assert_close(attention.train()(*inputs), attention.eval()(*inputs), rtol=0, atol=1e-14)


def test_dropped_features_are_scaled_up():
    torch.manual_seed(0)
    refinement = Refinement(MAGANConfig(refine_attention_dropout=0.0), 128)
    x = torch.rand(50, 10, 128)
    kept = refinement.eval()(x)
    dropped = refinement.train()(x)
    survives = dropped != 0
    torch.testing.assert_close(dropped[survives], kept[survives] / 0.8)
    assert survives[kept > 0].float().mean().item() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_independently_of_their_neighbours(rate, dtype):
    torch.manual_seed(0)
    n = 1_000_003  # no multiple of the four elements that share a random number
    kept = Dropout(rate)(torch.ones(n, dtype=dtype)) != 0
    deviation = (rate * (1 - rate) / n) ** 0.5
    assert kept.double().mean().item() == pytest.approx(1 - rate, abs=5 * deviation)
    for distance in (1, 2, 3, 4):
        together = (kept[:-distance] & kept[distance:]).double().mean().item()
        assert together == pytest.approx((1 - rate) ** 2, abs=10 * deviation)


def test_dropout_keeps_the_expectation_and_passes_the_gradient_of_what_it_keeps():
    torch.manual_seed(0)
    x = torch.full((1000, 1000), 3.0, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.2)(x)
    assert out.mean().item() == pytest.approx(3, abs=0.01)
    assert out.max().item() == pytest.approx(3 / 0.8, rel=1e-4)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach() / 3)


@pytest.mark.parametrize(("rate", "kept"), [(1e-9, 1), (1e-6, 1), (1 - 1e-6, 0)])
def test_rates_next_to_none_and_to_all_are_obeyed(rate, kept):
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(100))
    assert (out != 0).float().mean() == kept


def test_dropout_is_repeated_by_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return Dropout(0.3)(torch.ones(101))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
