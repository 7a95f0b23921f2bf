from __future__ import annotations

import torch
from torch import nn

from locallearn.auxiliary.initial_values import draw_anew


def test_every_layer_gets_other_values_of_the_published_spread():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.Sequential(nn.Linear(64, 64)))
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(7)
    draw_anew(module)
    conv, norm, linear = module[0], module[1], module[2][0]
    assert abs(conv.weight.std() - (2 / (9 * 64)) ** 0.5) < 2e-3 and abs(conv.weight.mean()) < 2e-3
    assert torch.equal(norm.weight, torch.ones(64)) and torch.equal(norm.bias, torch.zeros(64))
    assert torch.equal(norm.running_var, torch.ones(64)) and norm.num_batches_tracked == 0
    assert linear.weight.abs().max() <= 1 / 8 and linear.weight.std() > 0.05 and (linear.bias != 7).all()


def test_attention_is_drawn_anew_too():
    module = nn.MultiheadAttention(8, 2)
    before = module.in_proj_weight.clone()
    draw_anew(module)
    assert not torch.equal(before, module.in_proj_weight)
    assert not module.out_proj.bias.any() and not module.in_proj_bias.any()


def test_computed_weights_are_drawn_anew_too():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 16, 3)))
    before, values = module[0].weight.clone(), [p.clone() for p in module.parameters()]
    draw_anew(module)
    assert not torch.isclose(module[0].weight, before).any()
    assert all(not torch.equal(one, other) for one, other in zip(values, module.parameters(), strict=True))
    assert abs(module[0].weight.std() - (2 / (9 * 16)) ** 0.5) < 0.01
