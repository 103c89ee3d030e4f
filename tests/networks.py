"""Small networks of transformers with random weights, saved as the real ones are."""

import shutil
from pathlib import Path

import torch

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
CONVOLUTIONS = {"conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 2, "num_conv_pos_embeddings": 4}
VISUAL = {"resnet": (7, 32), "convnext": (7, 32), "swin": (7, 64), "vit": (14, 32), "dinov2": (16, 32)}
VISUAL |= {"registers": (16, 32), "clip": (7, 32)}  # side and width of the map
AUDIO = ("ast", "wav2vec2", "hubert", "wavlm", "data2vec")


def save_networks(folder: Path) -> None:
    """Write a folder for each network of ``VISUAL`` and ``AUDIO``."""
    import transformers as t

    torch.manual_seed(0)
    stages = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
    dino = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
    crop = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    clip = {"vision_config": {**SMALL, "patch_size": 32}, "text_config": {**SMALL, "vocab_size": 100}}
    speech, mapped = t.Wav2Vec2FeatureExtractor(), t.ConvNextImageProcessorPil(size={"shortest_edge": 224})
    made = {
        "resnet": (t.ResNetModel(t.ResNetConfig(embedding_size=8, **stages)), mapped),
        "convnext": (t.ConvNextModel(t.ConvNextConfig(**stages)), mapped),
        "swin": (
            t.SwinModel(t.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])),
            t.ViTImageProcessorPil(),
        ),
        "vit": (t.ViTModel(t.ViTConfig(**SMALL)), t.ViTImageProcessorPil()),
        "dinov2": (t.Dinov2Model(t.Dinov2Config(**dino)), t.BitImageProcessorPil(**crop)),
        "registers": (
            t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino)),
            t.BitImageProcessorPil(**crop),
        ),
        "clip": (t.CLIPModel(t.CLIPConfig(**clip)), t.CLIPImageProcessorPil()),
        "ast": (t.ASTModel(t.ASTConfig(**SMALL)), t.ASTFeatureExtractor()),
        "wav2vec2": (t.Wav2Vec2Model(t.Wav2Vec2Config(**SMALL, **CONVOLUTIONS)), speech),
        "hubert": (t.HubertModel(t.HubertConfig(**SMALL, **CONVOLUTIONS)), speech),
        "wavlm": (t.WavLMModel(t.WavLMConfig(**SMALL, **CONVOLUTIONS)), speech),
        "data2vec": (t.Data2VecAudioModel(t.Data2VecAudioConfig(**SMALL, **CONVOLUTIONS)), speech),
    }
    for name, (network, processor) in made.items():
        network.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)


def hub_cache(folder: Path, networks: dict[str, Path]) -> Path:
    """The hub's cache with networks by their names there, as downloads leave it."""
    for name, path in networks.items():
        repository = folder / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(path, repository / "snapshots" / (40 * "0"))
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(40 * "0")
    return folder
