"""AugLocal over every base against its released loop in plain PyTorch, on a CIFAR ResNet of seven units."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import locallearn as ll
from locallearn.networks.cifar_resnet import CifarResNet
from reference import auglocal, heads, local_losses, losses
from reference.chained import nested

CLASSES = 3
WIDTHS = [16, 16, 16, 32, 32, 64, 64]
UNITS = [["conv1", "bn1", "relu"], *([f"layer{stage}.{block}"] for stage in (1, 2, 3) for block in (0, 1))]
BASES = {
    "dgl": ll.DGL(),
    "predsim": ll.PredSim(beta=0.7),
    "infopro": ll.InfoPro(feature_dim=5, task_loss="cross_entropy", prediction=(0.5, 2.0)),
    "contrastive": ll.InfoPro(feature_dim=5, prediction=(0.5, 2.0)),
}


@pytest.fixture
def running_statistics(monkeypatch):
    monkeypatch.setattr(heads, "batch_norm", local_losses.running_batch_norm)


def base_loss(base, weights, head, x, labels, images, position):
    """The base's losses, its prediction through AugLocal's head."""
    *others, _ = weights
    output = head(x)
    if isinstance(base, ll.DGL):
        return F.cross_entropy(output, labels)
    if isinstance(base, ll.PredSim):
        similarity = losses.similarity_matching(heads.similarity_conv(x, others[0]), labels, CLASSES)
        return base.beta * similarity + (1 - base.beta) * F.cross_entropy(output, labels)
    restored = heads.image_decoder(x, others[0], (8, 8))
    contrastive = base.task_loss == "contrastive"
    task = losses.supervised_contrastive(output, labels) if contrastive else F.cross_entropy(output, labels)
    first, second = ((1 - position) * pair[0] + position * pair[1] for pair in (base.reconstruction, base.prediction))
    return first * losses.reconstruction(restored, images) + second * task


def check(base, *, depth, tau, tail, training=True, **fields):
    torch.manual_seed(depth)
    network = CifarResNet(2, CLASSES, 3).double()
    images, labels = torch.rand(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 1])
    blocks = ll.partition(network, images, num_blocks=7)
    method = ll.AugLocal(BASES[base], depth=depth, tau=tau, tail=tail, **fields)
    model = ll.LocalModel(blocks, method, ll.Classification(CLASSES)).train(training)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.add_(9 * torch.rand_like(buffer))
            elif name.endswith("running_mean"):
                buffer.add_(0.1 * torch.rand_like(buffer))
    slow = deepcopy(network)
    learned = {f"network.{name}": p for name, p in slow.named_parameters()}
    count = 7 - depth - 1 if tail == "merged" else 6
    assert len(model.objectives) == count + 1
    slow_losses = []
    for i, layers in enumerate(auglocal.depths(depth, Fraction(tau), count)):
        weights = []
        for place, term in enumerate(model.objectives[i].terms):
            copy = deepcopy(term.auxiliary)
            weights.append(dict(copy.named_parameters()) | dict(copy.named_buffers()))
            path = f"objectives.{i}.terms.{place}.auxiliary"
            learned |= {f"{path}.{name}": p for name, p in copy.named_parameters()}
        steps = auglocal.strides(WIDTHS, i, auglocal.selected(i, 7, layers))
        norm = layers == 1 and fields.get("norm_at_depth_one", True)
        head = partial(auglocal.auxiliary, weights=weights[-1], block_strides=steps, norm=norm)
        how = {"labels": labels, "images": images, "position": i / max(count - 1, 1)}
        slow_losses.append(partial(base_loss, BASES[base], weights, head, **how))
    tail_of = nn.Sequential(slow.avgpool, nn.Flatten(), slow.fc)
    units = [*(nested(slow, names) for names in UNITS), tail_of]
    model.local_backward(images, labels)
    auglocal.auglocal_step(units, slow_losses, images, lambda logits: F.cross_entropy(logits, labels))
    found = dict(model.named_parameters())
    assert found.keys() == learned.keys()
    for name, parameter in found.items():
        message = partial("{}: {}".format, name)
        torch.testing.assert_close(parameter.grad, learned[name].grad, rtol=1e-10, atol=1e-10, msg=message)


@pytest.mark.parametrize(("depth", "tail"), [(1, "kept"), (3, "merged")])
@pytest.mark.parametrize("base", BASES)
def test_gradients_over_every_base(base, depth, tail):
    check(base, depth=depth, tau=0.5, tail=tail)


@pytest.mark.parametrize(
    ("depth", "tau", "rule"),
    [(2, 1.0, "channel_ratio"), (2, 0.0, "observed"), (4, 1.0, "observed"), (5, 0.0, "channel_ratio")],
)
def test_gradients_of_every_depth(depth, tau, rule):
    check("dgl", depth=depth, tau=tau, tail="merged", downsampling=rule, norm_at_depth_one=depth == 4)


@pytest.mark.parametrize("base", BASES)
def test_gradients_in_evaluation_mode(base, running_statistics):
    check(base, depth=3, tau=1.0, tail="merged", training=False)
