"""The attention maps: what they are, where they look after training, and the pictures of them."""

import json
import re

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch

from model import MODELS, MAGANConfig
from model.observation import observed
from tests.conftest import CONFIGS, ROOT, SCRIPTS
from tests.reference import seeded
from tests.videos import grey, write_video


@pytest.fixture
def network():
    def build(setting):
        torch.manual_seed(0)
        config = MAGANConfig(visual_dim=16, audio_dim=8, d_model=8, encoder_hidden=8, decoder_hidden=8, num_events=3)
        return MODELS[setting](config).eval()

    return build


def features():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 5, 3, 2, 16, generator=generator), torch.rand(2, 5, 8, generator=generator)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_observation_is_what_the_network_computes_with(network, setting):
    """From the maps and the features alone, the co-attended visual feature follows as in the paper."""
    model = network(setting)
    visual, audio = features()
    with torch.inference_mode():
        plain = model(visual, audio)
        with observed(model) as observation:
            watched = model(visual, audio)
            seen = observation()
        assert all(torch.equal(*pair) for pair in zip(plain, watched, strict=True))
        assert not any(module._forward_hooks for module in model.modules())

        m1, m2 = seen.visual_attention, seen.audio_guided_attention
        for share in (m1, m2):
            assert share.shape == (2, 5, 6)
            torch.testing.assert_close(share.sum(dim=-1), torch.ones(2, 5))
        v, a = model.refine(visual, audio)
        branch = model.co_attention.audio_to_visual
        p = torch.relu(model.co_attention.visual_projection(v))[..., :16]
        q = torch.relu(model.co_attention.audio_projection(a))[..., :16]
        z = p * q.unsqueeze(2)
        channels = branch.channel_attention
        s = torch.cat([z.mean(dim=2), z.amax(dim=2)], dim=-1)
        c = torch.sigmoid(channels.expand(torch.relu(channels.squeeze(s)))).unsqueeze(2)
        f1, f2 = ((share.unsqueeze(-1) * v * (1 + c)).sum(dim=2) for share in (m1, m2))
        beta = branch.beta
        expected = f1 + beta[0] * torch.sigmoid(f2) * f1 + f2 + beta[1] * torch.sigmoid(f1) * f2
        torch.testing.assert_close(model.co_attend(v, a)[0], expected)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_gates_are_named_for_the_modality_that_they_read(network, setting):
    """Each unimodal gate, computed anew from the features of its modality: encodings, or weakly the queries."""
    model = network(setting)
    visual, audio = features()
    with torch.inference_mode(), observed(model) as observation:
        outputs = model(visual, audio)
        seen = observation()
        relations = model.relate_in_time(*model.co_attend(*model.refine(visual, audio)))
        gates = model.co_interaction.unimodal_gates
        if setting == "supervised":
            picture, sound = gates.visual_gate(relations.visual_encoded), gates.audio_gate(relations.audio_encoded)
            torch.testing.assert_close(seen.picture_gate + seen.sound_gate, outputs.um_gate)
            torch.testing.assert_close(seen.multimodal_gate, outputs.mm_gate)
        else:
            picture, sound = gates.audio_gate(relations.visual_query), gates.visual_gate(relations.audio_query)
            um_gate = torch.sigmoid(seen.picture_gate * seen.sound_gate)
            torch.testing.assert_close(um_gate * seen.multimodal_gate, outputs.gate)
        torch.testing.assert_close(seen.picture_gate, torch.sigmoid(picture).squeeze(-1))
        torch.testing.assert_close(seen.sound_gate, torch.sigmoid(sound).squeeze(-1))


def test_failing_network_is_left_without_hooks(network):
    model = network("supervised")
    with pytest.raises(ValueError, match="expected the same"), observed(model):
        model(features()[0], features()[1][:1])
    assert not any(module._forward_hooks for module in model.modules())
