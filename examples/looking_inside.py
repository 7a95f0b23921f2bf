"""What the blocks have learned: a linear probe on every block's features, for back-propagation and local learning.

Run: python examples/looking_inside.py

`model.features` returns the output of every block. A linear classifier fitted to them says how well the classes can be
told apart at that depth: local learning tells them apart early, back-propagation leaves that to the last blocks. For
finished runs the command line has this, and more, as verbs.
"""

from __future__ import annotations

import torch
from digits import accuracy, digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import locallearn as ll


def trained(method: ll.Method, training: TensorDataset) -> ll.LocalModel:
    """A ResNet-20 in six blocks after a few epochs.

    Args:
        method: How its blocks learn.
        training: Images and class indices.

    Returns:
        The model in evaluation mode.
    """
    torch.manual_seed(0)
    network = ll.networks.resnet20(10, in_channels=1)
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=6)
    model = ll.LocalModel(blocks, method, ll.Classification(10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(3):
        for images, labels in DataLoader(training, batch_size=64, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            model.local_backward(images, labels)
            optimizer.step()
            model.after_step()
    return model.eval()


def pooled(model: ll.LocalModel, data: TensorDataset) -> list[Tensor]:
    """The features of every block but the last, averaged over the image.

    Args:
        model: In evaluation mode.
        data: Images and class indices.

    Returns:
        One tensor (N, C) for each block.
    """
    return [features.mean((2, 3)) for features in model.features(data.tensors[0])[:-1]]


def main() -> None:
    """Probe both networks, block by block."""
    training, held_out = digits()
    for name in ("backprop", "dgl"):
        model = trained(ll.method(name), training)
        scores = []
        for seen, unseen in zip(pooled(model, training), pooled(model, held_out), strict=True):
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            probe.fit(seen.numpy(), training.tensors[1].numpy())
            scores.append(100 * probe.score(unseen.numpy(), held_out.tensors[1].numpy()))
        depth = ", ".join(f"{score:.1f}" for score in scores)
        whole = accuracy(model.network, held_out)
        print(f"{name:<8} linear probe after each block: {depth} %; the network: {whole:.1f} %")


if __name__ == "__main__":
    main()
