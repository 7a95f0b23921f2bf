"""Networks cut for AugLocal, and what its heads are and cost by counting of their own."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

import locallearn as ll
from locallearn.auxiliary.later_layers import LaterLayers
from locallearn.networks import build
from locallearn.networks.cifar_resnet import BasicBlock

PARTITIONS = {}


def cut(name, num_blocks, size=32, preset=None):
    """A partition that tests share, as they only read it."""
    key = (name, num_blocks, size, preset)
    if key not in PARTITIONS:
        example = torch.zeros(2, 3, size, size)
        network = SMALL[name](10) if name in SMALL else build(name, 10)
        PARTITIONS[key] = ll.partition(network, example, num_blocks=num_blocks, preset=preset)
    return PARTITIONS[key]


def resnet110():
    return cut("resnet110", 55, preset="auglocal")


def small_vgg(num_classes):
    from torchvision.models.vgg import make_layers

    layers = make_layers([4, 4, "M", 8, 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"], batch_norm=True)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))


def small_resnet34(num_classes):
    widths = [4] * 3 + [8] * 4 + [16] * 6 + [32] * 3
    blocks = [BasicBlock(a, b, 1 if a == b else 2) for a, b in pairwise([4, *widths])]
    stem = [nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))


def small_vit(num_classes):
    from torchvision.models import VisionTransformer

    return VisionTransformer(16, 8, 5, 2, 16, 32, num_classes=num_classes)


SMALL = {"small_resnet34": small_resnet34, "small_vgg": small_vgg, "small_vit": small_vit}


def model_of(blocks, method, num_classes=10):
    return ll.LocalModel(blocks, method, ll.Classification(num_classes))


def heads_of(model):
    """The prediction networks of the local windows by the last unit they read."""
    blocks = model.partition
    ends = [blocks.infos[window.stop - 1].units.stop - 1 for window in model.windows if window.stop < len(blocks)]
    local = [objective for objective in model.objectives if hasattr(objective, "terms")]
    terms = [{term.name: term for term in objective.terms} for objective in local]
    return {end: term["prediction"].auxiliary for end, term in zip(ends, terms, strict=True)}


def form(head):
    """Width of each residual block, negative where it halves."""
    return [block.conv2.out_channels * (-1 if block.conv1.stride == (2, 2) else 1) for block in head.layers]


def macs_of(module, shape, *, norms=True):
    """Forward multiply-accumulates counted by hooks; with norms two more per output of a normalisation."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()
        elif norms:
            total += 2 * output.numel()

    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, kinds)]
    was_training = module.training
    module.eval()
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    module.train(was_training)
    for hook in hooks:
        hook.remove()
    return total


def cost_of(model, *, norms=True):
    """Of network and heads; heads of the same form on the same shape are counted once."""
    known, total = {}, macs_of(model.network, model.partition.input_shape, norms=norms)
    for end, head in heads_of(model).items():
        shape = model.partition.units[end].out_shape
        key = (shape, *(form(head) if isinstance(head, LaterLayers) else [str(head)]), len(list(head.children())))
        known[key] = known.get(key) or macs_of(head, shape, norms=norms)
        total += known[key]
    return total
