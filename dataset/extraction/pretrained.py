"""Networks of the transformers library as extractors, with the preprocessing of their own processors.

A name is a folder written by ``save_pretrained``, or a name on the Hugging Face hub, whose cache is read without a
network connection. Weights are read from safetensors alone, and no code that comes with a network is run.
"""

import math
import os
import warnings

import av
import numpy as np
import torch
from torch import Tensor, nn

from dataset.extraction.video import SAMPLE_RATE, picture_of
from utils.errors import InputError
from utils.packages import require_packages

LONGEST_WINDOW = 10  # s of sound that go through a network at once
HOP = 160  # samples from a column of AST's spectrogram to the next
UNUSED = ("pooler", "mask", "head", "classifier")  # in names of weights that a file may lack: features do not use them


class Pretrained(nn.Module):
    """A network by its name, in float32, and its processor.

    Raises:
        InputError: transformers is not installed, or the network is not available, incomplete or unknown to it.
    """

    def __init__(self, name: str, processor: str) -> None:
        super().__init__()
        require_packages("transformers", file="requirements-features.txt")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        import transformers

        transformers.utils.logging.disable_progress_bar()
        warnings.filterwarnings("ignore", "At least one mel filter")  # AST's own filters have some
        how = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}

        def load(**where: bool) -> tuple:
            network = transformers.AutoModel.from_pretrained(name, **how, **where, trust_remote_code=False)
            return *network, getattr(transformers, processor).from_pretrained(name, **where, trust_remote_code=False)

        try:
            try:  # a folder, or the cache: a connection that fails is tried for minutes
                network, loaded, self.processor = load(local_files_only=True)
            except OSError:
                network, loaded, self.processor = load()
        except Exception as error:  # there is no end to what a damaged or unknown network makes it raise
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise InputError(
                f"{name}: cannot be loaded as a network of transformers: {reason}. Expected a name on its hub, or a "
                "folder with config.json, preprocessor_config.json and model.safetensors"
            ) from error
        if missing := [key for key in loaded["missing_keys"] if not any(word in key for word in UNUSED)]:
            raise InputError(f"{name}: lacks {len(missing)} weights of its network, such as {min(missing)}")
        self.name = name
        self.network = getattr(network, "vision_model", network)  # of CLIP, the tower of the pictures

    def hidden(self, inputs: Tensor) -> Tensor:
        """The last hidden states, float32."""
        return self.network(inputs.to(self.network.dtype)).last_hidden_state.float()


class PretrainedPictures(Pretrained):
    """A network with a map (ResNet, ConvNeXt), or with tokens on a grid (Swin, ViT, DINOv2, CLIP's picture tower)."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "AutoImageProcessor")
        config = self.network.config
        self.patch = getattr(config, "patch_size", 1) * 2 ** (len(getattr(config, "depths", [0])) - 1)  # side, pixels

    def prepare(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture of a frame, (3, height, width), float32, as the processor makes it."""
        return self.processor(images=picture_of(frame), return_tensors="np")["pixel_values"][0]

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps (n, h, w, c) of prepared pictures (n, 3, height, width)."""
        x = self.hidden(pictures)
        if x.ndim == 4:  # (n, c, h, w)
            return x.permute(0, 2, 3, 1)
        h, w = (-(-side // self.patch) for side in pictures.shape[-2:])
        if x.ndim != 3 or x.shape[1] < h * w:
            raise InputError(f"{self.name}: gives {tuple(x.shape[1:])} for a picture, not a map of {h} x {w} tokens")
        return x[:, x.shape[1] - h * w :].unflatten(1, (h, w))  # class and registers come first


class PretrainedSound(Pretrained):
    """AST, or a network of the wav2vec 2.0 family (HuBERT, WavLM, Data2Vec): the mean of the vectors of each second.

    A vector belongs to the second in which its sound begins. No window is longer than the ``segments`` of a video.
    """

    def __init__(self, name: str, segments: int) -> None:
        super().__init__(name, "AutoFeatureExtractor")
        config, longest = self.network.config, LONGEST_WINDOW
        self.bands = None  # of AST's spectrogram
        if hasattr(config, "conv_stride"):  # convolutions over samples
            self.stride = math.prod(config.conv_stride)
        elif hasattr(config, "time_stride"):  # patches of a spectrogram, 10 ms to a column
            self.stride = config.time_stride * HOP
            self.bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
            self.columns = (config.max_length - config.patch_size) // config.time_stride + 1
            longest = min(longest, config.max_length * HOP // SAMPLE_RATE)
        if self.processor.sampling_rate != SAMPLE_RATE or not hasattr(self, "stride") or not longest:
            raise InputError(f"{name}: expected AST or a network of the wav2vec 2.0 family that hears 16 kHz")
        self.window = min(longest, segments)

    def prepare(self, sound: np.ndarray) -> Tensor:
        """What the processor makes of the sound, (1, ...)."""
        return self.processor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_values"]

    def forward(self, sound: Tensor) -> Tensor:
        """Vectors (t, c) of the seconds of prepared sound."""
        x = self.hidden(sound)[0]
        if self.bands:  # the tokens of class and distillation come first, then band after band
            x = x[-self.bands * self.columns :].unflatten(0, (self.bands, self.columns)).mean(dim=0)
        numbers = torch.bincount(torch.arange(len(x)) * self.stride // SAMPLE_RATE)  # of the vectors of each second
        return torch.stack([vectors.mean(dim=0) for vectors in x.split(numbers.tolist())])
