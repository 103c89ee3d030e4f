"""The front end computes what its description says, and VGGish is the public network."""

import numpy as np
import torch

from dataset.extraction.vggish import VGGish, log_mel

# Of torchvggish's file, in its order.
PUBLIC_SHAPES = {
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}


def independent_log_mel(sound, second, window):
    """One column of the spectrogram from the definitions: a sum per frequency, a triangle per band."""
    begin = second * 16000 + window * 160
    samples = np.array([sound[i] if i < len(sound) else 0.0 for i in range(begin, begin + 400)])
    n = np.arange(400)
    windowed = samples * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    magnitude = [abs(np.sum(windowed * np.exp(-2j * np.pi * k * n / 512))) for k in range(257)]
    frequency_of = lambda mel: 700 * (np.exp(mel / 1127) - 1)  # noqa: E731
    mel_of = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    step = (mel_of(7500) - mel_of(125)) / 65
    bands = []
    for band in range(64):
        left, peak, right = (mel_of(125) + (band + i) * step for i in range(3))
        total = 0.0
        for k in range(1, 257):  # without the DC bin
            mel = mel_of(k * 16000 / 512)
            if frequency_of(left) < k * 31.25 < frequency_of(right):
                total += magnitude[k] * ((mel - left) / step if mel < peak else (right - mel) / step)
        bands.append(np.log(total + 0.01))
    return np.array(bands)


def test_front_end_agrees_with_an_independent_computation():
    sound = np.random.default_rng(0).uniform(-1, 1, int(2.6 * 16000)).astype(np.float32)
    spectrograms = log_mel(sound, 3)
    assert spectrograms.shape == (3, 96, 64)
    assert spectrograms.dtype == np.float32
    for second, window in ((0, 0), (0, 95), (1, 0), (1, 47), (2, 59), (2, 60), (2, 95)):
        expected = independent_log_mel(sound.astype(np.float64), second, window)
        np.testing.assert_allclose(spectrograms[second, window], expected, atol=1e-5)


def test_second_k_is_described_by_the_sound_from_k_on():
    random = np.random.default_rng(0)
    sound = random.uniform(-1, 1, 4 * 16000)
    before = log_mel(sound, 4)
    sound[2 * 16000 : 2 * 16000 + 15600] = random.uniform(-1, 1, 15600)
    changed = (log_mel(sound, 4) != before).any(axis=(1, 2))
    assert changed.tolist() == [False, False, True, False]


def test_sound_that_ends_early_goes_on_as_silence():
    sound = np.random.default_rng(0).uniform(-1, 1, 16000)
    longer = np.concatenate([sound, np.zeros(16000)])
    assert np.array_equal(log_mel(sound, 2), log_mel(longer, 2))
    np.testing.assert_allclose(log_mel(sound, 2)[1], np.log(0.01), rtol=1e-6)
    assert np.array_equal(log_mel(longer, 1), log_mel(sound, 1))


def test_tone_is_loudest_in_its_own_band():
    times = np.arange(16000) / 16000
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    for band in (5, 20, 40, 60):
        hertz = 700 * (np.exp(edges[band + 1] / 1127) - 1)
        assert np.ptp(log_mel(np.sin(2 * np.pi * hertz * times), 1)[0].argmax(axis=-1)) <= 1
        assert abs(log_mel(np.sin(2 * np.pi * hertz * times), 1)[0, 0].argmax() - band) <= 1


def test_parameters_have_the_public_names_and_shapes():
    state = VGGish().state_dict()
    assert list(state) == [f"{layer}.{part}" for layer in PUBLIC_SHAPES for part in ("weight", "bias")]
    for layer, shape in PUBLIC_SHAPES.items():
        assert state[f"{layer}.weight"].shape == shape


def test_convolutions_are_flattened_by_height_then_width_then_channel():
    """The first Linear layer reads one number; it is that of the height, width and channel that the order says."""
    network = VGGish().eval()
    spectrograms = torch.randn(2, 96, 64)
    with torch.inference_mode():
        maps = network.features(spectrograms.unsqueeze(1))  # (2, 512, 6, 4)
        read = []
        network.embeddings[0].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        embeddings = network(spectrograms)
    for height, width, channel in ((0, 0, 0), (0, 1, 7), (5, 3, 511), (2, 0, 100)):
        assert torch.equal(read[0][:, (height * 4 + width) * 512 + channel], maps[:, channel, height, width])
    assert embeddings.shape == (2, 128)
    assert (embeddings >= 0).all()
