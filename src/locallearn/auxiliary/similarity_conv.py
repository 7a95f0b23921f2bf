"""PredSim's similarity network: one bias-free layer that keeps the feature's width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from locallearn.auxiliary.feature_map import conv3x3, map_shape


class SimilarityConv(nn.Module):
    """C -> C, without bias, normalisation or activation: a 3x3 convolution on maps, a linear layer on vectors.

    Source:
        Nøkland and Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019; released code of AugLocal
        (Ma et al., ICLR 2024) for its form.

    Departures:
        Tokens are read as a map of one column, by a 3x1 convolution along them.
    """

    def __init__(self, shape: Sequence[int], *, kaiming: bool) -> None:
        """Builds the network.

        Args:
            shape: The feature's, without batch: (C, H, W), (T, D) or (D,).
            kaiming: Draw the convolution from N(0, sqrt(2 / (9 C))); else PyTorch's default. A linear layer is always
                PyTorch's default.
        """
        super().__init__()
        channels, *size = (shape[1], shape[0], 1) if len(shape) == 2 else map_shape(shape)
        if len(shape) == 1:
            self.layer = nn.Linear(channels, channels, bias=False)
        else:
            self.layer = conv3x3(channels, channels, (size[0], size[1]))
            if not kaiming:
                self.layer.reset_parameters()

    def forward(self, features: Tensor) -> Tensor:
        """The features to compare.

        Args:
            features: (B, C, H, W), (B, T, D) or (B, D).

        Returns:
            (B, C, H, W), (B, D, T, 1) or (B, D).
        """
        return self.layer(features.transpose(1, 2).unsqueeze(-1) if features.ndim == 3 else features)
