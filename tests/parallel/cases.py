"""Small models of every method, the same in every process."""

from __future__ import annotations

import torch

import locallearn as ll
from small_networks import stack

METHODS = {
    "backprop": ll.Backprop(),
    "dgl": ll.DGL(),
    "predsim": ll.PredSim(),
    "infopro": ll.InfoPro(task_loss="cross_entropy", feature_dim=8),
    "contrastive": ll.InfoPro(feature_dim=8),
    "auglocal": ll.AugLocal(ll.DGL()),
    "dgl+man": ll.MAN(ll.DGL(), momentum=0.7),
    "dgl+man, before the step": ll.MAN(ll.DGL(), momentum=0.7, update="before_step"),
    "dgl+man, statistics": ll.MAN(ll.DGL(), momentum=0.7, buffers="averaged"),
    "infopro+man": ll.MAN(ll.InfoPro(task_loss="cross_entropy", feature_dim=8), momentum=0.7),
    "mlaan": ll.MLAAN(ll.DGL(), momentum=0.7),
    "mlaan, wide": ll.MLAAN(ll.DGL(), cascade=3, momentum=0.7),
    "infopro+mlaan": ll.MLAAN(ll.InfoPro(task_loss="cross_entropy", feature_dim=8), momentum=0.7),
}
COMPARING = ("predsim", "contrastive")
SIDE = 8
CLASSES = 3


def model_of(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, blocks: int = 4, **options):
    torch.manual_seed(seed)
    network = stack([4, 6, 6, 8, 8], classes=CLASSES, strides=[1, 1, 2, 1, 1], dtype=dtype)
    cut = ll.partition(network, torch.zeros(2, 3, SIDE, SIDE, dtype=dtype), num_blocks=blocks)
    return ll.LocalModel(cut, METHODS[name], ll.Classification(CLASSES), **options)


def batch_of(step: int, size: int = 6, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(100 + step)
    images = torch.rand(size, 3, SIDE, SIDE, generator=generator, dtype=dtype)
    return images, torch.randint(CLASSES, (size,), generator=generator)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
