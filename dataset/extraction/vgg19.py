"""VGG-19 up to pool5, the visual features."""

import av
import numpy as np
import torch
from torch import Tensor, nn

from dataset.extraction.video import picture_of

PICTURE_SIZE = 224  # height and width

# Widths of the 3 x 3 convolutions; "M" is a 2 x 2 max pooling.
_LAYERS = (64, 64, "M", 128, 128, "M", *4 * (256,), "M", *4 * (512,), "M", *4 * (512,), "M")


def convolutions(layers: tuple[int | str, ...], in_channels: int, device: str) -> nn.Sequential:
    """3 x 3 convolutions, each with a ReLU, and poolings, numbered as in the public weight files."""
    modules: list[nn.Module] = []
    for width in layers:
        if width == "M":
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(in_channels, width, 3, padding=1, device=device), nn.ReLU(inplace=True)]
            in_channels = width
    return nn.Sequential(*modules)


class VGG19(nn.Module):
    """The convolutions of VGG-19, under the parameter names of torchvision's ``vgg19``.

    Args:
        preprocessing: the one that the weights were trained with. ``torchvision``: RGB in [0, 1], normalised with
            ImageNet's mean and standard deviation. ``caffe``: BGR in [0, 255] less ImageNet's mean, as for Keras's
            weights, which come from Caffe.
        device: of the parameters; those on ``meta`` take no time, and have no values until they are loaded.
    """

    def __init__(self, preprocessing: str = "torchvision", device: str = "cpu") -> None:
        super().__init__()
        self.features = convolutions(_LAYERS, 3, device)
        self.reverse_channels = preprocessing == "caffe"
        if preprocessing == "caffe":
            mean, scale = torch.tensor([103.939, 116.779, 123.68]), torch.ones(3)  # blue, green, red
        else:
            mean = 255 * torch.tensor([0.485, 0.456, 0.406])  # red, green, blue
            scale = 255 * torch.tensor([0.229, 0.224, 0.225])
        self.mean, self.scale = mean.view(3, 1, 1), scale.view(3, 1, 1)  # no buffers: they stay float32

    @staticmethod
    def prepare(frame: av.VideoFrame) -> np.ndarray:
        """The whole picture of a frame, (224, 224, 3), RGB, uint8."""
        return picture_of(frame, PICTURE_SIZE, PICTURE_SIZE)

    def forward(self, pictures: Tensor) -> Tensor:
        """pool5 maps (n, 7, 7, 512), float32, all >= 0, of pictures (n, 224, 224, 3), RGB, uint8."""
        if self.reverse_channels:
            pictures = pictures.flip(-1)
        mean, scale = self.mean.to(pictures.device), self.scale.to(pictures.device)
        x = (pictures.permute(0, 3, 1, 2).float() - mean) / scale  # (n, 3, 224, 224)
        return self.features(x.to(self.features[0].weight.dtype)).permute(0, 2, 3, 1).float()
