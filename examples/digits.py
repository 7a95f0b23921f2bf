"""What the examples share: scikit-learn's handwritten digits as tensors, and the accuracy of any network on them."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1,397 images to train and 400 that training never sees.

    Returns:
        Two data sets of pairs: image (1, 8, 8) in [0, 1], and class index.
    """
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(found.target)
    return TensorDataset(images[400:], labels[400:]), TensorDataset(images[:400], labels[:400])


@torch.no_grad()
def accuracy(network: nn.Module, data: TensorDataset) -> float:
    """How often a network is right; plain PyTorch, nothing of this package.

    Args:
        network: From images (N, 1, 8, 8) to logits (N, 10).
        data: Images and class indices.

    Returns:
        Percent.
    """
    images, labels = data.tensors
    was_training = network.training
    network.eval()
    predicted: Tensor = network(images).argmax(1)
    network.train(was_training)
    return 100 * (predicted == labels).double().mean().item()
