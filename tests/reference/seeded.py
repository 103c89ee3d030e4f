"""The seeded weights and inputs behind the expected values in this folder.

``expected.json`` and the npz files hold what the authors' published code gives for these weights and inputs, in
evaluation mode and float64, under either attention scope. All numbers come from NumPy's PCG64.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
SETTINGS = ("supervised", "weakly")
SCOPES = ("video", "batch")


def _generator(stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([0, stream]))


def published_checkpoint(setting: str) -> dict[str, Tensor]:
    """The contents of a published checkpoint file (prefix ``module.``, float64) with seeded weights."""
    shapes = json.loads((HERE / f"state_dict_{setting}.json").read_text())
    state = {}
    for key, shape in shapes.items():
        x = _generator(zlib.crc32(key.encode())).standard_normal(shape)
        last = key.rsplit(".", 1)[-1]
        if key == "visual_self_attention.in_proj_weight":
            # NumPy does not promise its streams for ever: tell a changed stream from a wrong model.
            np.testing.assert_allclose(x[0, :3], [-1.377607346170142, 2.520901166391045, -2.0475821246484394])
        if last == "beta":
            x = 0.5 + 0.1 * x
        elif "norm" in key and last == "weight":
            x = 1 + 0.1 * x
        elif x.ndim == 1:
            x = 0.1 * x
        else:
            x = 1.6 * x / np.sqrt(shape[1])
        state[f"module.{key}"] = torch.from_numpy(x)
    return state


def inputs(n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Seeded visual (n, 10, 7, 7, 512), audio (n, 10, 128) and segment labels (n, 10, 29), float64."""
    generator = _generator(2**20)
    visual = generator.standard_normal((n, 10, 7, 7, 512))
    np.testing.assert_allclose(visual.flat[:3], [-0.5412093053826628, -1.7613734882718441, 0.528203688083746])
    visual = 2 * np.maximum(visual, 0)
    audio = np.maximum(generator.standard_normal((n, 10, 128)), 0)
    event = generator.integers(0, 28, n)
    start = generator.integers(0, 6, n)
    end = start + generator.integers(2, 5, n)
    labels = np.zeros((n, 10, 29))
    for row in range(n):
        labels[row, :, 28] = 1
        labels[row, start[row] : end[row], 28] = 0
        labels[row, start[row] : end[row], event[row]] = 1
    return torch.from_numpy(visual), torch.from_numpy(audio), torch.from_numpy(labels)


def video_labels(labels: Tensor) -> Tensor:
    """Video labels (n, 29) from segment labels (n, 10, 29)."""
    y = labels.amax(dim=1)
    y[:, -1] = 0
    return y


def write_ave_folder(root: Path, splits: Mapping[str, int]) -> None:
    """Write an AVE folder into ``root``; each split has the first seeded videos, as many as named, in its own rows."""
    visual, audio, labels = inputs()
    files = {"visual_feature": visual, "audio_feature": audio, "right_labels": labels}
    for name, values in {**files, "mil_labels": video_labels(labels)}.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["avadataset"] = np.concatenate([values[:number].numpy() for number in splits.values()])
    begin = 0
    for split, number in splits.items():
        with h5py.File(root / f"{split}_order.h5", "w") as file:
            file["order"] = begin + np.arange(number)
        begin += number


def expected(setting: str, scope: str) -> dict:
    """The published loss, its terms, accuracy, gradient norms and four training losses."""
    return json.loads((HERE / "expected.json").read_text())[f"{setting}_{scope}"]


def expected_outputs(setting: str, scope: str) -> dict[str, np.ndarray]:
    """The published outputs by name, and the prediction."""
    with np.load(HERE / f"{setting}_{scope}.npz") as arrays:
        return dict(arrays)
