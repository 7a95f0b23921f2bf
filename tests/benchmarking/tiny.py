"""A network and a setting so small that every row is counted in a moment."""

from __future__ import annotations

import torch

from locallearn.benchmarking.sides import BatchForm, Setting
from small_networks import residual

SETTING = Setting(network="benchmarking.tiny:network", input_shape=(3, 8, 8), num_classes=3)
FORM = BatchForm(size=64)


def network(num_classes):
    return residual(3, 4, num_classes, torch.float32)
