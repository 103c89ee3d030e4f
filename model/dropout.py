"""Dropout whose mask costs little to draw on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # of the random number that decides over an element


class Dropout(nn.Dropout):
    """``nn.Dropout``, faster on a CPU, where drawing the mask is what it spends its time on.

    There, one 64-bit random number decides over four elements. Each is kept with the multiple of 1 / 65536 that is
    nearest to 1 - p, and what is kept is divided by that probability, so the expectation is exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        kept = round((1 - self.p) * LEVELS)
        if not self.training or not 0 < kept < LEVELS or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        mask = (numbers[: x.numel()] < kept - LEVELS // 2).view(x.shape)
        return x * mask.to(x.dtype).mul_(LEVELS / kept)
