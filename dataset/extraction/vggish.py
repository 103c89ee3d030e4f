"""VGGish and its log-mel front end, the audio features.

The front end is that of AudioSet: 16 kHz, windows of 25 ms every 10 ms, 64 mel bands. The features of second k come
from the 96 windows that begin at k seconds, so from the sound between k and k + 0.975 s. AudioSet itself cuts examples
of 0.96 s.
"""

import numpy as np
import torch
from torch import Tensor, nn

from dataset.extraction.vgg19 import convolutions
from dataset.extraction.video import SAMPLE_RATE

WINDOW, HOP, FFT = 400, 160, 512  # samples
NUM_WINDOWS, NUM_BANDS = 96, 64  # of one second
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
OFFSET = 0.01  # keeps the logarithm of silence finite

_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")


def log_mel(sound: np.ndarray, num_seconds: int) -> np.ndarray:
    """The log-mel spectrogram (t, 96, 64), float32, of each second of a sound (n,) at 16 kHz in [-1, 1].

    Windows beyond the end of the sound read zeros; no window reaches from one second into the next.
    """
    length = num_seconds * SAMPLE_RATE
    padded = np.pad(sound[:length].astype(np.float64), (0, max(0, length - len(sound))))
    seconds = padded.reshape(num_seconds, SAMPLE_RATE)
    windows = np.lib.stride_tricks.sliding_window_view(seconds, WINDOW, axis=1)[:, ::HOP][:, :NUM_WINDOWS]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # periodic
    magnitude = np.abs(np.fft.rfft(windows * hann, FFT))  # (t, 96, 257)
    return np.log(magnitude @ mel_bands() + OFFSET).astype(np.float32)


def mel_bands() -> np.ndarray:
    """Weights (257, 64) of the FFT bins in each band: triangles in mel, as in HTK, without the DC bin."""
    bins = _mel(np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(LOWEST), _mel(HIGHEST), NUM_BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    weights[0] = 0
    return weights


def _mel(hertz: np.ndarray | float) -> np.ndarray | float:
    return 1127 * np.log(1 + hertz / 700)


class VGGish(nn.Module):
    """VGGish, under the parameter names of torchvggish: the raw embedding, without PCA and quantisation.

    ``device`` as that of ``VGG19``.
    """

    window = None  # each second by itself

    @staticmethod
    def prepare(sound: np.ndarray) -> Tensor:
        """The log-mel spectrograms (t, 96, 64) of seconds of sound (16000 t,)."""
        return torch.from_numpy(log_mel(sound, len(sound) // SAMPLE_RATE))

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.features = convolutions(_LAYERS, 1, device)
        self.embeddings = nn.Sequential(
            *(nn.Linear(512 * 6 * 4, 4096, device=device), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 4096, device=device), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 128, device=device), nn.ReLU(inplace=True)),
        )

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Embeddings (n, 128), float32, all >= 0, of log-mel spectrograms (n, 96, 64)."""
        x = self.features(spectrograms.unsqueeze(1).to(self.features[0].weight.dtype))  # (n, 512, 6, 4)
        x = x.permute(0, 2, 3, 1).flatten(1)  # as TensorFlow flattens: height, width, channel
        return self.embeddings(x).float()
