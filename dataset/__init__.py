"""The data: features and labels in the AVE layout, real or synthetic."""

from dataset.ave import AVEDataset, AVEFolder, Batch
