"""Each variant is the network of its equations, without the parameters that it does not use."""

import copy
import math
from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from configs.variants import VARIANTS, sorted_variants, variants_of
from model import MAGANConfig, SupervisedOutputs, WeaklySupervisedOutputs
from model.registry import NETWORKS
from tests.model.variants.equations import EQUATIONS, Equations
from utils.arithmetic import autocast, parameter_dtype

SETTINGS = ("supervised", "weakly")
CASES = [(setting, name) for setting in SETTINGS for name in variants_of(setting)]
WIDTH, HIDDEN, EVENTS = 16, 8, 3

# Prefixes of the parameters that a variant does not have.
A2V, V2A = "co_attention.audio_to_visual.", "co_attention.visual_to_audio."
REMOVED = {
    "no-refine-visual": ["refine_visual."],
    "no-refine-audio": ["refine_audio."],
    "no-a2v": [A2V],
    "no-v2a": [V2A],
    "no-channel-attention": [f"{A2V}channel_attention.", f"{V2A}channel_attention."],
    "no-spatial-attention": [
        *(f"{A2V}{name}." for name in ("pooled_guide", "attended_regions", "visual_attention")),
        f"{A2V}audio_guided_attention.",
    ],
    "no-audio-guidance": [f"{A2V}attended_regions.", f"{A2V}audio_guided_attention.", f"{A2V}beta"],
    "no-attention-gate": [f"{A2V}beta", f"{V2A}beta"],
    "no-cross-modal-decoder": ["temporal_relations.visual_decoder.", "temporal_relations.audio_decoder."],
    "no-interaction": ["co_interaction.visual_interaction.", "co_interaction.audio_interaction."],
    "no-unimodal-gates": ["co_interaction.unimodal_gates."],
    "no-multimodal-gate": ["co_interaction.multimodal_gate.", "co_interaction.multimodal_events."],
    "no-gate-loss": ["co_interaction.unimodal_gates.", "co_interaction.multimodal_events."],
}


def network(setting, *variant, dropout=False, **changes):
    torch.manual_seed(0)
    values = {"visual_dim": WIDTH, "audio_dim": 8, "d_model": HIDDEN, "encoder_hidden": 12, "decoder_hidden": 12}
    if not dropout:
        values |= {name: 0.0 for name in MAGANConfig.__dataclass_fields__ if name.endswith("dropout")}
    return NETWORKS["magan"][setting](MAGANConfig(**values, num_events=EVENTS, variant=variant, **changes))


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    visual = torch.rand(4, 6, 2, 3, WIDTH, generator=generator, dtype=torch.float64)
    audio = torch.rand(4, 6, 8, generator=generator, dtype=torch.float64)
    return visual.to(dtype), audio.to(dtype)


def labels_of(setting, dtype=torch.float64):
    """Four videos, three with an event; per segment, or per video."""
    labels = torch.zeros(4, 6, EVENTS + 1, dtype=dtype)
    labels[..., EVENTS] = 1
    for video, (event, start, end) in enumerate([(0, 1, 4), (2, 0, 6), (1, 3, 5)]):
        labels[video, start:end] = F.one_hot(torch.tensor(event), EVENTS + 1).to(dtype)
    if setting == "supervised":
        return labels
    return torch.eye(EVENTS + 1, dtype=dtype)[[0, 2, 1, EVENTS]]


def trained_a_little(model):
    """The model in float64 and evaluation mode, with no parameter at a value, such as 0, that would hide a mistake."""
    model = model.double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model.eval()


def test_every_name_of_the_registry_has_a_change_and_equations():
    assert VARIANTS.keys() == EQUATIONS.keys()


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_parameters_are_the_full_networks_less_the_named_ones(setting, name):
    full, variant = network(setting).state_dict(), network(setting, name).state_dict()
    removed = tuple(REMOVED.get(name, []))
    kept = [key for key in full if not (removed and key.startswith(removed))]
    rows = {f"co_attention.{modality}_projection": EQUATIONS[name] for modality in ("visual", "audio")}
    assert list(variant) == kept
    for key in kept:
        expected = full[key]
        if (layer := key.rpartition(".")[0]) in rows:
            modality = layer.removeprefix("co_attention.").removesuffix("_projection")
            parts = dict(zip(("a2v", "v2a", "spatial"), expected.split((WIDTH, WIDTH, HIDDEN)), strict=True))
            expected = torch.cat([parts[part] for part in getattr(EQUATIONS[name], f"{modality}_rows")])
        assert torch.equal(variant[key], expected), key  # also that variants of one seed start alike


@pytest.mark.parametrize("setting", SETTINGS)
def test_projection_that_nothing_reads_does_not_exist(setting):
    model = network(setting, "no-a2v", "no-v2a")
    assert not any(name.startswith("co_attention.visual_projection") for name, _ in model.named_parameters())
    assert model(*batch(torch.float32)).is_event.isfinite().all()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize(("setting", "name"), CASES)
def test_every_parameter_learns_in_a_training_step(setting, name, precision):
    dtype = parameter_dtype(precision)
    model = network(setting, name, dropout=True).to(dtype).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    # What the absent modality alone would tell starts at 0: two steps until it is told from nothing.
    for _ in range(3 if name.endswith("-only") else 1):
        before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
        with autocast(torch.device("cpu"), precision):
            terms = model.loss(model(*batch(dtype)), labels_of(setting, dtype))
        optimizer.zero_grad()
        terms["loss"].backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
        optimizer.step()
    for key, parameter in model.named_parameters():
        assert parameter.grad.any(), key
        assert not torch.equal(parameter, before[key]), key


@pytest.mark.parametrize(("setting", "name"), [*CASES, *((setting, "") for setting in SETTINGS)])
def test_outputs_are_those_of_the_equations(setting, name):
    model = trained_a_little(network(setting, *([name] if name else [])))
    equations = EQUATIONS[name] if name else Equations
    with torch.no_grad():
        outputs = model(*batch())._asdict()
        expected = equations(model.config, model.state_dict(), setting).run(*batch())
    for key, value in outputs.items():
        if expected[key] is None or (key == "gate_logits" and expected["gate_score"] is None):
            assert value is None, key
        else:
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-11, msg=key)


def test_outputs_of_the_full_network_are_as_ever():
    assert SupervisedOutputs._fields[:6] == ("is_event", "event", "um_gate", "um_score", "mm_gate", "mm_score")
    assert WeaklySupervisedOutputs._fields[:4] == ("is_event", "event", "gate", "gate_score")


def bce(p, y):
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def ce(logits, k):
    return -logits.log_softmax(-1)[torch.arange(len(k)), k].mean()


def soft_margin(x, y):
    return bce(x.sigmoid(), y)


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_loss_is_that_of_the_equations(setting, name):
    model = trained_a_little(network(setting, name))
    labels = labels_of(setting)
    terms = model.loss(model(*batch()), labels)
    o = EQUATIONS[name](model.config, model.state_dict(), setting).run(*batch())
    if setting == "supervised":
        y, k = 1 - labels[..., -1], torch.tensor([0, 2, 1, 0])
        expected = {"is_event": bce(o["is_event"].sigmoid(), y), "event": ce(o["event"], k)}
        for gate, highest in (("um", 2), ("mm", 1)):
            if o[f"{gate}_gate"] is not None and name != "no-gate-loss":
                mended = bce(o[f"{gate}_gate"] / highest, y), ce(o[f"{gate}_logits"], k)
                published = bce(o[f"{gate}_gate"].sigmoid(), y), ce(o[f"{gate}_score"], k)
                expected[f"{gate}_gate"] = (mended if name == "mend-gate-terms" else published)[0]
                expected[f"{gate}_score"] = (mended if name == "mend-score-terms" else published)[1]
        loss = sum(value * (1 if key in ("is_event", "event") else 0.5) for key, value in expected.items())
    else:
        k = labels.argmax(-1)
        expected = {"event": soft_margin(o["event"], labels)}
        if o["gate_score"] is not None:
            expected["gate"] = soft_margin(o["gate_score"], labels)
        if name == "mend-loss":  # log gate_score = log um_score + log mm_score
            expected = {"event": ce(o["event_logits"], k), "gate": ce(o["gate_score"].log(), k)}
        loss = sum(expected.values())
    assert list(terms) == ["loss", *expected]
    for key, value in {"loss": loss, **expected}.items():
        torch.testing.assert_close(terms[key], value, rtol=0, atol=1e-11, msg=key)


@pytest.mark.parametrize(
    ("variant", "scores"),
    [
        ((), ("event", "um", "mm")),
        (("no-unimodal-gates",), ("event", "mm")),
        (("no-multimodal-gate",), ("event", "um")),
        (("no-unimodal-gates", "no-multimodal-gate"), ("event",)),
        (("no-gate-loss",), ("event",)),
        (("mend-loss",), ("event", "um", "mm")),
    ],
)
def test_weak_decision_reads_the_scores_that_there_are(variant, scores):
    model = trained_a_little(network("weakly", *variant))
    with torch.no_grad():
        outputs = model(*batch())
        v, a = model.co_attend(*model.refine(*batch()))
        interactions = model.co_interact(model.relate_in_time(v, a))
    gates = [getattr(interactions, f"{gate}_logits").softmax(-1) for gate in scores[1:]]
    total = outputs.event + (math.prod(gates) if gates else 0)
    decisions = model.decisions(outputs)
    torch.testing.assert_close(decisions.of_videos, (total / total.sum(-1, keepdim=True)).double())
    expected = torch.where(outputs.is_event.sigmoid() > 0.7, total.argmax(-1, keepdim=True), EVENTS)
    assert torch.equal(decisions.classes(0.7, EVENTS), expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_absent_modality_does_not_matter(setting):
    visual, audio = batch()
    visual_only, audio_only = (trained_a_little(network(setting, name)) for name in ("visual-only", "audio-only"))
    deaf = visual_only(visual, audio), visual_only(visual, 9 * audio)
    blind = audio_only(visual, audio), audio_only(9 * visual, audio)
    for one, other in (deaf, blind):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert not torch.equal(visual_only(visual, audio).event, visual_only(visual.flip(0), audio).event)
    assert not torch.equal(audio_only(visual, audio).event, audio_only(visual, audio.flip(0)).event)


def allowed(names):
    try:
        sorted_variants(names)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_two_that_change_different_things_train_together(setting):
    pairs = [pair for pair in combinations(variants_of(setting), 2) if allowed(pair)]
    assert len(pairs) > 100
    for pair in pairs:
        model = network(setting, *pair).double()
        model.loss(model(*batch()), labels_of(setting))["loss"].backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, (pair, key)


def test_pair_is_each_of_its_variants():
    """Combined, as alone: one equation from the one, one from the other."""

    class Both(EQUATIONS["no-a2v"], EQUATIONS["no-multimodal-gate"], EQUATIONS["mend-pooling"]):
        pass

    model = trained_a_little(network("weakly", "mend-pooling", "no-a2v", "no-multimodal-gate"))
    with torch.no_grad():
        outputs = model(*batch())
        expected = Both(model.config, model.state_dict(), "weakly").run(*batch())
    for key, value in outputs._asdict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-11, msg=key)


UNSEEN = {
    "no-a2v": {"visual_attention", "audio_guided_attention"},
    "no-spatial-attention": {"visual_attention", "audio_guided_attention"},
    "no-audio-guidance": {"audio_guided_attention"},
    "no-unimodal-gates": {"picture_gate", "sound_gate"},
    "no-multimodal-gate": {"multimodal_gate"},
    "no-gate-loss": {"picture_gate", "sound_gate"},
}


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_attention_and_gates_that_do_not_exist_are_not_observed(setting, name):
    model = trained_a_little(network(setting, name))
    with torch.no_grad(), model.observed() as observed:
        seen = observed(model(*batch()))
    everything = {"visual_attention", "audio_guided_attention", "picture_gate", "sound_gate", "multimodal_gate"}
    assert seen.keys() == everything - UNSEEN.get(name, set())
    for key, values in seen.items():
        assert values.shape == ((4, 6, 6) if key.endswith("attention") else (4, 6)), key


def test_mended_gates_are_named_for_the_modality_that_they_read():
    model = trained_a_little(network("weakly", "mend-gates"))
    with torch.no_grad(), model.observed() as observed:
        seen = observed(model(*batch()))
        relations = model.relate_in_time(*model.co_attend(*model.refine(*batch())))
    gates = model.co_interaction.unimodal_gates
    torch.testing.assert_close(seen["picture_gate"], gates.visual_gate(relations.visual_encoded).sigmoid().squeeze(-1))
    torch.testing.assert_close(seen["sound_gate"], gates.audio_gate(relations.audio_encoded).sigmoid().squeeze(-1))


@pytest.mark.parametrize(("setting", "name"), CASES)
def test_a_copy_and_the_scope_batch_work(setting, name):
    model = copy.deepcopy(trained_a_little(network(setting, name, scope="batch")))
    assert model(*batch()).is_event.isfinite().all()


def test_pooling_survives_events_that_are_nowhere_likely():
    model = network("weakly", "mend-pooling").eval()
    with torch.no_grad():
        model.localization.is_event.bias.fill_(-1e4)
    outputs = model(*batch(torch.float32))
    assert outputs.event.isfinite().all()


def test_name_of_the_other_setting_is_refused_by_the_network():
    with pytest.raises(ValueError, match="the weakly setting has no variant mend-score-terms"):
        network("weakly", "mend-score-terms")
