"""The attention maps: what they are, where they look after training, and the pictures of them."""

import json
import re

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch

from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from model import MAGANConfig
from model.registry import NETWORKS
from tests.conftest import CONFIGS, SCRIPTS
from tests.processes import ROOT
from tests.reference import seeded
from tests.videos import grey, write_video
from tools.visualize.__main__ import shares_inside

MAPPED_DIM = 192  # of the visual features in which attention finds the event


@pytest.fixture
def network():
    def build(setting):
        torch.manual_seed(0)
        config = MAGANConfig(visual_dim=16, audio_dim=8, d_model=8, encoder_hidden=8, decoder_hidden=8, num_events=3)
        return NETWORKS["magan"][setting](config).eval()

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
        with model.observed() as observed:
            watched = model(visual, audio)
            seen = observed(watched)
        assert all(torch.equal(*pair) for pair in zip(plain, watched, strict=True))
        assert not any(module._forward_hooks for module in model.modules())

        m1, m2 = seen["visual_attention"], seen["audio_guided_attention"]
        for share in (m1, m2):
            assert share.shape == (2, 5, 6)
            torch.testing.assert_close(share.sum(dim=-1), torch.ones(2, 5))
        v, a = model.refine(visual, audio)
        branch = model.co_attention.audio_to_visual
        p = model.co_attention.visual_projection(v)[0]
        q = model.co_attention.audio_projection(a)[0]
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
    with torch.inference_mode(), model.observed() as observed:
        outputs = model(visual, audio)
        seen = observed(outputs)
        relations = model.relate_in_time(*model.co_attend(*model.refine(visual, audio)))
        gates = model.co_interaction.unimodal_gates
        if setting == "supervised":
            picture, sound = gates.visual_gate(relations.visual_encoded), gates.audio_gate(relations.audio_encoded)
            torch.testing.assert_close(seen["picture_gate"] + seen["sound_gate"], outputs.um_gate)
            torch.testing.assert_close(seen["multimodal_gate"], outputs.mm_gate)
        else:
            picture, sound = gates.audio_gate(relations.visual_query), gates.visual_gate(relations.audio_query)
            um_gate = torch.sigmoid(seen["picture_gate"] * seen["sound_gate"])
            torch.testing.assert_close(um_gate * seen["multimodal_gate"], outputs.gate)
        torch.testing.assert_close(seen["picture_gate"], torch.sigmoid(picture).squeeze(-1))
        torch.testing.assert_close(seen["sound_gate"], torch.sigmoid(sound).squeeze(-1))


def test_failing_network_is_left_without_hooks(network):
    model = network("supervised")
    with pytest.raises(ValueError, match="expected the same"), model.observed():
        model(features()[0], features()[1][:1])
    assert not any(module._forward_hooks for module in model.modules())


# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def mapped_data(tmp_path_factory):
    """A synthetic AVE folder of 60 videos of 4 events, whose 4 x 4 maps leave room to look elsewhere."""
    out = tmp_path_factory.mktemp("mapped")
    generator = SyntheticAVE(4, signal=3.3, map_size=4, seed=1, widths=(MAPPED_DIM, 128))
    write_synthetic_ave(out, generator, generator.annotations(60), 3, "float16")
    return out


@pytest.fixture(scope="module")
def attentive(tmp_path_factory, run, mapped_data):
    """The last checkpoint of a run on it, per setting."""
    folder = tmp_path_factory.mktemp("attentive")

    def train(setting):
        config = json.loads((ROOT / "configs" / CONFIGS[setting]).read_text())
        config["model"] |= {"visual_dim": MAPPED_DIM, "d_model": 64, "encoder_hidden": 64, "decoder_hidden": 64}
        config["model"]["num_events"] = 4
        config["training"] |= {"batch_size": 4, "n_epoch": 8, "lr": 3e-4, "num_workers": 0, "eval_freq": 8}
        path = folder / CONFIGS[setting]
        path.write_text(json.dumps(config))
        arguments = ("--gpu", "cpu", "--data_root", mapped_data, "--config", path, "--snapshot_pref", folder / setting)
        run(SCRIPTS[setting], *arguments)
        return folder / setting / "last.pth.tar"

    return train


def rows_of(data, split="test"):
    with h5py.File(data / f"{split}_order.h5") as file:
        return file["order"][:].tolist()


def shares_said(stdout):
    """What is printed, in percent: of the area, of m1 and of m2."""
    return [float(figure) for figure in re.findall(r"^  of .* ([\d.]+) %$", stdout, re.MULTILINE)]


def test_share_inside_is_measured_where_attention_can_be_outside():
    """Of three segments, one has no event and one is filled by it: there, any attention is all inside."""
    regions = np.array([[[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]])
    attention = torch.tensor([[[0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.25] * 4]], dtype=torch.float64)
    maps = {"one": attention, "other": 1 - attention}
    count, shares = shares_inside(maps, regions)
    assert count == 1
    assert list(shares.values()) == pytest.approx([0.25, 0.7, 0.3])
    assert shares_inside(maps, np.ones_like(regions)) == (0, {})


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_attention_after_training_is_where_the_event_is(run, attentive, mapped_data, tmp_path, setting):
    row = rows_of(mapped_data)[0]
    checkpoint = attentive(setting)
    arguments = ("--data_root", mapped_data, "--gpu", "cpu", "--rows", row, "--out", tmp_path)
    area, m1, m2 = shares_said(run("tools.visualize", checkpoint, *arguments).stdout)

    with h5py.File(mapped_data / "truth.h5") as file:
        regions = file["regions"][:][rows_of(mapped_data)].reshape(len(rows_of(mapped_data)), 10, -1)
    partly = regions.any(axis=-1) & ~regions.all(axis=-1)
    assert area == pytest.approx(100 * regions[partly].mean(), abs=0.06)
    # Even attention has exactly the area. Of four seeds of the training none came near this bound, but weakly m2 stays
    # almost even.
    assert m1 > 1.05 * area
    if setting == "supervised":
        assert m2 > 1.05 * area


@pytest.mark.slow
def test_pictures_of_the_rows_are_written_and_named(run, trained, data_root, tmp_path):
    rows = rows_of(data_root, "val")[:2]
    result = run(
        "tools.visualize",
        *(trained("weakly"), "--split", "val", "--data_root", data_root, "--gpu", "cpu", "--rows", *rows),
        *("--out", tmp_path / "out"),
    )
    pictures = [tmp_path / "out" / f"attention_{row:05d}.png" for row in rows]
    assert result.stdout.splitlines()[:2] == list(map(str, pictures))
    first, second = map(matplotlib.image.imread, pictures)
    assert first.shape[1] > 2000
    assert first.shape != second.shape or not np.array_equal(first, second)


@pytest.mark.slow
def test_maps_lie_over_the_frames_of_the_raw_video(run, trained, data_root, tmp_path):
    """The picture changes with the video's seconds, and only in its frames."""
    row = rows_of(data_root)[0]
    arguments = (trained("supervised"), "--data_root", data_root, "--gpu", "cpu", "--rows", row, "--video")
    shown = {}
    for name, level in {"dark": 10, "late": 240}.items():
        video = write_video(tmp_path / f"{name}.mp4", 10, lambda t, end=level: grey(10 if t < 5 else end), None)
        run("tools.visualize", *arguments, video, "--out", tmp_path / name)
        shown[name] = matplotlib.image.imread(tmp_path / name / f"attention_{row:05d}.png")[..., :3]
    different = np.abs(shown["dark"] - shown["late"]).max(axis=-1) > 0.05
    columns = np.flatnonzero(different.any(axis=0))
    width = different.shape[1]
    assert 0.45 * width < columns.min() < 0.55 * width  # where the sixth second begins
    assert different.any(axis=1).mean() < 0.7  # not the curves below


def test_rows_and_videos_that_do_not_fit_are_said_in_a_sentence(run, trained, data_root, tmp_path):
    arguments = (trained("supervised"), "--gpu", "cpu", "--out", tmp_path / "out", "--rows")
    val = rows_of(data_root, "val")[0]
    result = run("tools.visualize", *arguments, val, 999, status=2)
    assert f"--rows: {val}, 999 not in the test split" in result.stderr

    row = rows_of(data_root)[0]
    short = write_video(tmp_path / "short.mp4", 3, lambda _: grey(90), None)
    result = run("tools.visualize", *arguments, row, "--video", short, status=2)
    assert f"{short}: its picture lasts about 3 s, expected 10" in result.stderr
    (tmp_path / "notes.mp4").write_text("no video")
    result = run("tools.visualize", *arguments, row, "--video", tmp_path / "notes.mp4", status=2)
    assert f"{tmp_path / 'notes.mp4'}: cannot be decoded" in result.stderr
    result = run("tools.visualize", *arguments, row, val, "--video", short, status=2)
    assert "--video is the video of one row, but --rows names 2" in result.stderr
    assert not (tmp_path / "out").exists()
