"""The AVE data layout: features, labels and synthetic data."""

from dataset.ave import AVEDataset, AVEFolder, Batch

__all__ = ["AVEDataset", "AVEFolder", "Batch"]
