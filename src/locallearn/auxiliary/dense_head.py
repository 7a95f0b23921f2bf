"""InfoPro's head for segmentation: logits for every pixel of a feature map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import require_map


class DenseHead(nn.Module):
    """3x3 convolution to half the channels, BatchNorm, ReLU, Dropout2d of 0.1, 1x1 convolution.

    Both convolutions have biases; all values start as PyTorch starts them. The logits have the feature's resolution;
    whoever scores them resizes them to that of the targets.

    Source:
        Wang et al., "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021
        (InfoPro); blackfeather-wang/InfoPro-Pytorch at a38362a, mmseg/models/segmentors/encoder_decoder.py.

    Departures:
        The released code takes 1024 channels to 512; other widths C go to C // 2. Whole channels are dropped before the
        ReLU instead of behind it: the two commute, and one map less is kept. Statistics are each device's own.
    """

    def __init__(self, shape: Sequence[int], num_outputs: int) -> None:
        """Builds the head.

        Args:
            shape: The feature map's, without batch: (C, H, W).
            num_outputs: Classes.

        Raises:
            InputError: If the feature is not a map.
        """
        super().__init__()
        require_map(shape, "pixels cannot be predicted", "use a task that predicts once per sample")
        width = max(1, shape[0] // 2)
        self.conv = nn.Conv2d(shape[0], width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(0.1, inplace=True)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Conv2d(width, num_outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits.

        Args:
            features: (B, C, H, W).

        Returns:
            (B, num_outputs, H, W).
        """
        return self.classifier(self.relu(self.dropout(self.norm(self.conv(features)))))
