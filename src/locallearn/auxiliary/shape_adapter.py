"""What brings a feature into the shape that a copied unit reads."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from locallearn.auxiliary.feature_map import kaiming_fan_out_, pool_to


class MapAdapter(nn.Module):
    """A 1x1 convolution with the needed stride, without bias, and BatchNorm.

    Where no stride gives the wanted rows and columns, an adaptive average pool does so before the convolution.
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        """Builds the adapter.

        Args:
            before: (C, H, W) of the feature.
            after: (C, H, W) wanted.
        """
        super().__init__()
        sides = list(zip(before[1:], after[1:], strict=True))
        strides = [-(-have // want) for have, want in sides]
        exact = all(-(-have // stride) == want for (have, want), stride in zip(sides, strides, strict=True))
        self.size = None if exact else (after[1], after[2])
        self.conv = nn.Conv2d(before[0], after[0], 1, (strides[0], strides[1]) if exact else 1, bias=False)
        self.norm = nn.BatchNorm2d(after[0])
        kaiming_fan_out_(self.conv)

    def forward(self, maps: Tensor) -> Tensor:
        """The adapted maps.

        Args:
            maps: (B, *before).

        Returns:
            (B, *after).
        """
        return self.norm(self.conv(maps if self.size is None else pool_to(maps, self.size)))


class TokenAdapter(nn.Module):
    """Maps as tokens, their number by adaptive average pool, their width by a linear layer and LayerNorm."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        """Builds the adapter.

        Args:
            before: (C, H, W) or (T, D) of the feature.
            after: (T, D) wanted, or (D,) for their mean.
        """
        super().__init__()
        self.tokens = after[0] if len(after) == 2 else None
        width = before[0] if len(before) == 3 else before[-1]
        self.linear = nn.Linear(width, after[-1])
        self.norm = nn.LayerNorm(after[-1])

    def forward(self, features: Tensor) -> Tensor:
        """The adapted tokens.

        Args:
            features: (B, *before).

        Returns:
            (B, *after).
        """
        if features.ndim > 2:
            lines = features.flatten(2) if features.ndim == 4 else features.transpose(1, 2)
            if self.tokens is None:
                features = lines.mean(2)
            else:
                same = lines.shape[2] == self.tokens
                features = (lines if same else F.adaptive_avg_pool1d(lines, self.tokens)).transpose(1, 2)
        return self.norm(self.linear(features))


def adapted(copy: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> nn.Module | None:
    """A layer behind an adapter, or the layer alone if the shapes agree.

    Args:
        copy: The layer.
        before: Shape of the feature without the batch.
        after: Shape that the layer reads.

    Returns:
        The whole; None if there is no adapter from the one kind of feature to the other.
    """
    if before == after:
        return copy
    if len(after) > len(before) or len(before) > 3:
        return None
    adapter = MapAdapter(before, after) if len(after) == 3 else TokenAdapter(before, after)
    return nn.Sequential(OrderedDict(adapter=adapter, layer=copy))
