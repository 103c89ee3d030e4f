"""Networks of transformers make maps and vectors: their own preprocessing, the map's layout, the sound's seconds."""

import json
import shutil

import numpy as np
import pytest
import torch

from dataset.extraction.extractor import FeatureExtractor
from dataset.extraction.pretrained import PretrainedPictures, PretrainedSound
from dataset.extraction.record import Settings, choose_settings, networks_of
from dataset.extraction.video import SAMPLE_RATE, Video
from tests.networks import AUDIO, VISUAL
from tests.videos import tone, write_video
from utils.errors import InputError

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """13 seconds, wider than high, of a picture that moves and a sound that begins at 3 s and ends at 11 s."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (90, 300, 3), np.uint8)
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    return write_video(path, 13, lambda time: noise[:, int(10 * time) : int(10 * time) + 120], tone(700, *range(3, 11)))


def features(networks, clip, settings, limit=None):
    settings = Settings(**{**settings, **{name: str(networks / settings[name]) for name in ("visual", "audio")}})
    extractor = FeatureExtractor(settings, None, CPU, batch_size=3)
    parts = zip(*extractor.features(extractor.video(clip, limit).seconds()), strict=True)
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("name", VISUAL)
def test_map_is_that_of_the_library_with_its_preprocessing_and_without_other_tokens(networks, clip, name):
    settings = {"visual": name, "audio": "wav2vec2", "frames_per_second": 2, "map_size": VISUAL[name][0]}
    visual, _ = features(networks, clip, settings, 2)
    side, width = VISUAL[name]
    assert visual.shape == (2, side, side, width)

    pictures = [picture for second in Video(clip, 2, 2).seconds() for picture in second.pictures]
    processor = transformers.AutoImageProcessor.from_pretrained(networks / name)
    network = transformers.AutoModel.from_pretrained(networks / name).eval()
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        if name == "clip":
            states = network.vision_model(pixel_values=pixels).last_hidden_state
        else:
            states = network(pixel_values=pixels).last_hidden_state
    if states.ndim == 4:
        expected = states.permute(0, 2, 3, 1)
    else:
        others = {"swin": 0, "registers": 5}.get(name, 1)
        expected = states[:, others:].reshape(4, side, side, width)
    expected = expected.reshape(2, 2, side, side, width).mean(dim=1)
    torch.testing.assert_close(torch.from_numpy(visual), expected, atol=1e-5, rtol=1e-4)

    settings["map_size"] = 3
    pooled = torch.nn.functional.adaptive_avg_pool2d(expected.permute(0, 3, 1, 2), 3).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(features(networks, clip, settings, 2)[0]), pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", VISUAL)
def test_rows_and_columns_of_the_map_are_those_of_the_picture(networks, name):
    network = PretrainedPictures(str(networks / name)).eval()
    picture = torch.zeros(1, 3, 224, 224)
    changed = picture.clone()
    changed[:, :, -32:, :32] = 2  # lower left
    with torch.inference_mode():
        difference = (network(changed) - network(picture)).abs().amax(dim=-1)[0]
    side = VISUAL[name][0]
    row, column = divmod(int(difference.argmax()), side)
    assert (row >= side - side // 3, column < side // 3) == (True, True), (row, column)


@pytest.mark.parametrize("name", AUDIO)
def test_sound_lies_in_its_seconds_in_each_window(networks, clip, name):
    """It lasts from 3 s to 11 s; windows are 10 s long. Silence sounds alike wherever it is."""
    _, audio = features(networks, clip, {"visual": "resnet", "audio": name, "frames_per_second": 1})
    assert audio.shape == (13, 32)
    assert np.isfinite(audio).all()
    heard = np.linalg.norm(audio - np.concatenate([audio[:1].repeat(10, 0), audio[-1:].repeat(3, 0)]), axis=1)
    quiet = [*range(3), 12]
    assert heard[quiet].max() < heard[3:11].min() / 3, heard


@pytest.mark.parametrize("name", AUDIO)
def test_vectors_are_the_mean_over_each_second_of_what_the_library_gives(networks, clip, name):
    _, audio = features(networks, clip, {"visual": "resnet", "audio": name, "frames_per_second": 1}, 10)
    sound = np.concatenate([second.sound for second in Video(clip, 1, 10).seconds()])
    processor = transformers.AutoFeatureExtractor.from_pretrained(networks / name)
    network = transformers.AutoModel.from_pretrained(networks / name).eval()
    with torch.inference_mode():
        states = network(**processor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt")).last_hidden_state[0]
    if name == "ast":  # 12 bands of 101 tokens each 100 ms, the middle of the first at 87.5 ms
        states = states[2:].reshape(12, 101, 32).mean(dim=0)
        expected = [states[10 * second : 10 * second + 10].mean(dim=0) for second in range(10)]
    else:  # 499 of 20 ms, the middle of the first at 12.5 ms
        expected = [states[50 * second : 50 * second + 50].mean(dim=0) for second in range(10)]
    torch.testing.assert_close(torch.from_numpy(audio), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_window_is_no_longer_than_a_training_video_or_than_the_network_hears(networks, tmp_path):
    assert PretrainedSound(str(networks / "ast"), 4).window == 4
    assert PretrainedSound(str(networks / "ast"), 60).window == 10
    brief = transformers.ASTConfig(max_length=256, num_hidden_layers=1, hidden_size=16, num_attention_heads=1)
    transformers.ASTModel(brief).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(max_length=256).save_pretrained(tmp_path)
    network = PretrainedSound(str(tmp_path), 10)
    assert network.window == 2
    assert len(network(network.prepare(np.zeros(2 * SAMPLE_RATE, np.float32)))) >= 2


def test_bf16_changes_features_by_less_than_its_own_precision(networks, clip):
    exact, rounded = (
        features(networks, clip, {"visual": "dinov2", "audio": "ast", "precision": precision}, 2)
        for precision in ("fp32", "bf16")
    )
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == np.float32
        assert 0 < np.linalg.norm(other - one) < 0.02 * np.linalg.norm(one)


def refusal(make, *arguments):
    with pytest.raises(InputError) as error:
        make(*arguments)
    return str(error.value)


def test_network_that_cannot_be_used_is_named_with_the_reason(networks, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as by the environment variable
    said = refusal(PretrainedPictures, "nobody/nothing")
    assert said.startswith("nobody/nothing: cannot be loaded as a network of transformers: ")
    assert "a folder with config.json, preprocessor_config.json and model.safetensors" in said
    settings = {"visual": "swin", "audio": "ast", "map_size": 9}
    assert "swin: its maps are 7 x 7, smaller than --map_size 9: give a --map_size from 1 to 7" in refusal(
        features, networks, clip, settings, 1
    )
    hears = json.loads((networks / "hubert/preprocessor_config.json").read_text())
    faster = shutil.copytree(networks / "hubert", tmp_path / "faster")
    (faster / "preprocessor_config.json").write_text(json.dumps({**hears, "sampling_rate": 48000}))
    assert "AST or a network of the wav2vec 2.0 family that hears 16 kHz" in refusal(PretrainedSound, str(faster), 9)
    assert "vit: cannot be loaded" in refusal(PretrainedSound, str(networks / "vit"), 9)
    assert "ast: cannot be loaded" in refusal(PretrainedPictures, str(networks / "ast"))
    monkeypatch.setattr("utils.packages.find_spec", lambda name: None)
    said = refusal(PretrainedPictures, str(networks / "vit"))
    assert said == "needs transformers, not installed here: python -m pip install -r requirements-features.txt"


def test_weights_are_read_from_safetensors_alone_and_all_of_them(networks, tmp_path):
    """A pickle, which can hold code, is not opened; no weight is left at random."""
    pickled = shutil.copytree(networks / "resnet", tmp_path / "pickled")
    weights = transformers.AutoModel.from_pretrained(pickled).state_dict()
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    assert "safetensors" in refusal(PretrainedPictures, str(pickled))
    lacking = shutil.copytree(networks / "resnet", tmp_path / "lacking")
    removed = next(name for name in weights if "stages.3" in name and name.endswith("weight"))
    kept = {name: value.contiguous() for name, value in weights.items() if name != removed}
    from safetensors.torch import save_file

    save_file(kept, lacking / "model.safetensors", {"format": "pt"})
    assert f"lacking: lacks 1 weights of its network, such as {removed}" in refusal(PretrainedPictures, str(lacking))
    damaged = shutil.copytree(networks / "resnet", tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"damaged")
    assert "damaged: cannot be loaded" in refusal(PretrainedPictures, str(damaged))


def test_code_that_comes_with_a_network_is_not_run(networks, tmp_path):
    folder = shutil.copytree(networks / "resnet", tmp_path / "coded")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    assert "coded: cannot be loaded" in refusal(PretrainedPictures, str(folder))
    assert not (tmp_path / "run").exists()


def test_settings_follow_the_record_and_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "vgg19").mkdir()  # the name of the network goes before that of a folder
    assert choose_settings({}, {}) == Settings()
    asked = {"visual": "mine", "audio": "some/ast", "map_size": 4}
    chosen = choose_settings(asked, {"preprocessing": "caffe", "frames_per_second": 4, "weights": "0"})
    assert chosen == Settings(str(tmp_path / "mine"), "some/ast", "own", frames_per_second=4, map_size=4)
    assert networks_of(chosen.__dict__) == "mine and some/ast"
    assert networks_of({"preprocessing": "caffe"}) == "vgg19 (caffe) and vggish"
    assert choose_settings({"visual": "vgg19"}, chosen.__dict__).preprocessing == "torchvision"
    assert choose_settings({"visual": "vgg19"}, chosen.__dict__).visual == "vgg19"
    with pytest.raises(InputError, match="--preprocessing is for vgg19: mine has its own"):
        choose_settings({"visual": "mine", "preprocessing": "caffe"}, {})
