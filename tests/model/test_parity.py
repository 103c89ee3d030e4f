"""The network gives what the authors' published code gives, to the last digits of float64."""

import pytest
import torch

from model.published import published_parts
from tests.model.conftest import NO_DROPOUT, inputs
from tests.reference import seeded

pytestmark = [
    pytest.mark.parametrize("setting", seeded.SETTINGS),
    pytest.mark.parametrize("scope", seeded.SCOPES),
]


def training_labels(setting, labels):
    return labels if setting == "supervised" else seeded.video_labels(labels)


def test_outputs_are_the_published_ones(seeded_model, setting, scope):
    visual, audio, _ = inputs()
    with torch.no_grad():
        outputs = seeded_model(setting, scope)(visual, audio)._asdict()
    expected = seeded.expected_outputs(setting, scope)
    assert {name for name in outputs if not name.endswith("logits")} == expected.keys() - {"prediction"}
    for name in expected.keys() - {"prediction"}:
        torch.testing.assert_close(outputs[name], torch.from_numpy(expected[name]), rtol=0, atol=1e-10, msg=name)


def test_decision_and_accuracy_are_the_published_ones(seeded_model, setting, scope):
    visual, audio, labels = inputs()
    model = seeded_model(setting, scope)
    with torch.no_grad():
        prediction = model.decisions(model(visual, audio)).classes(model.event_threshold, 28)
    assert torch.equal(prediction, torch.from_numpy(seeded.expected_outputs(setting, scope)["prediction"]))
    accuracy = 100 * (prediction == labels.argmax(dim=-1)).double().mean().item()
    assert accuracy == pytest.approx(seeded.expected(setting, scope)["accuracy"], abs=1e-10)


def test_loss_and_its_terms_are_the_published_ones(seeded_model, setting, scope):
    visual, audio, labels = inputs()
    model = seeded_model(setting, scope)
    terms = model.loss(model(visual, audio), training_labels(setting, labels))
    expected = seeded.expected(setting, scope)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"loss": expected["loss"], **expected["terms"]}, rel=0, abs=1e-10
    )


def test_gradient_norms_are_the_published_ones(seeded_model, setting, scope):
    visual, audio, labels = inputs()
    model = seeded_model(setting, scope)
    model.loss(model(visual, audio), training_labels(setting, labels))["loss"].backward()
    expected, parts = seeded.expected(setting, scope), published_parts(model)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}

    # What never learns in the published network (None, or 0 exactly) is what ours does without.
    assert parts.keys() == {name for name, norm in expected["grad_norms"].items() if norm}
    norms = {name: gradients[part.key][part.rows].norm().item() for name, part in parts.items()}
    assert norms == pytest.approx({name: expected["grad_norms"][name] for name in parts}, rel=1e-8)

    total = torch.nn.utils.get_total_norm(gradients.values())
    assert total.item() == pytest.approx(expected["grad_norm"], rel=1e-8)


def test_four_adam_steps_are_the_published_ones(seeded_model, setting, scope):
    visual, audio, labels = inputs()
    model = seeded_model(setting, scope, **NO_DROPOUT).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    losses = []
    for _ in range(4):
        loss = model.loss(model(visual, audio), training_labels(setting, labels))["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(seeded.expected(setting, scope)["training_losses"], rel=0, abs=1e-8)
