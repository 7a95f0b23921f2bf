"""Every network of the papers under every method: some cells of the grid of `benchmarks.networks`, all if slow."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from benchmarks import networks_table, result_files
from benchmarks.networks import (
    CASES,
    METHODS,
    Failure,
    Ready,
    cell,
    check_chain,
    check_exchange,
    follow_signs,
    published_cut,
    step_until_all_moved,
)
from torch import nn

import locallearn as ll
from locallearn.networks.lookup import OWN, TORCHVISION

BY_NAME = {case.name: case for case in CASES}
FAST = {
    "mobilenet_v2": METHODS,
    "efficientnet_b0": ("dgl+man", "mlaan", "infopro+auglocal"),
    "regnet_x_400mf": ("infopro", "predsim+man", "auglocal"),
    "timm:vit_tiny_patch16_224": ("backprop", "dgl", "auglocal", "infopro+man"),
    "timm:convnext_atto": ("predsim", "dgl+mlaan"),
    "mobilenet_v2_small": ("infopro+mlaan",),
}


def trains(name: str, method: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    row = cell(BY_NAME[name], method)
    assert row["outcome"] == "trains", row["reason"]
    assert row["blocks"] in (row["num_blocks"], row["num_blocks"] - 1)


@pytest.mark.parametrize(("name", "method"), [(name, method) for name, methods in FAST.items() for method in methods])
def test_a_network_is_cut_trained_and_ordinary_again(name, method):
    trains(name, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BY_NAME)
def test_every_network_under_every_method(name, method):
    trains(name, method)


def test_all_networks_of_the_papers_are_in_the_grid():
    named = {*TORCHVISION, *(name for name in OWN if name.endswith("_small"))}
    assert named - set(BY_NAME) == {"resnet18"}


def test_published_cuts_are_those_of_the_grid():
    cuts = {
        ("resnet34", "mlaan"): (17, "mlaan"),
        ("resnet101", "dgl+mlaan"): (4, None),
        ("resnet101", "infopro"): (2, "infopro"),
        ("resnet101", "dgl+man"): (4, "man"),
        ("vgg19", "infopro+auglocal"): (16, "auglocal"),
        ("vgg19", "dgl"): (4, None),
        ("vit_b_16", "dgl+man"): (6, "man"),
        (None, "dgl+man"): (4, None),
    }
    for (network, method), cut in cuts.items():
        assert published_cut(network, method) == cut


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 10))


class Spendthrift(nn.Sequential):
    """A network with a layer that its forward does not use."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[3](self[1](self[0](x)))


def test_the_grid_sees_what_is_wrong():
    network = small()
    blocks = ll.partition(network, torch.rand(4, 4), num_blocks=2)
    check_chain(blocks, torch.rand(4, 4))
    with pytest.raises(Failure, match="chain"):
        check_chain(replace(blocks, network=small()), torch.rand(4, 4))
    ready = Ready.__new__(Ready)
    ready.network, ready.twin, ready.images = network, small(), torch.rand(4, 4)
    check_exchange(ready)
    ready.twin.add_module("more", nn.Linear(2, 2))
    with pytest.raises(Failure, match="keys"):
        check_exchange(ready)
    ready.twin = small()
    ready.twin.forward = lambda x: small()(x)  # type: ignore[method-assign]
    with pytest.raises(Failure, match="not the library's"):
        check_exchange(ready)


def test_the_grid_sees_weights_that_stay():
    ready = Ready.__new__(Ready)
    ready.images, ready.targets = torch.rand(4, 4), torch.arange(4) % 2
    ready.network = Spendthrift(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(9, 9), nn.Linear(4, 10))
    ready.start = deepcopy(ready.network.state_dict())
    model = ll.LocalModel(ll.partition(ready.network, ready.images, num_blocks=2), ll.DGL(), ll.Classification(10))
    with pytest.raises(Failure, match=r"No gradient reaches 2\.weight, 2\.bias, 2 in all"):
        step_until_all_moved(model, ready)
    for parameter in ready.network[2].parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
    with pytest.raises(Failure, match=r"2\.weight, 2\.bias did not move, 2 in all"):
        step_until_all_moved(model, ready)


def test_a_gradient_moves_weights_however_small_it_is():
    network = small()
    before = network[0].weight.clone()
    network[0].weight.grad = torch.full((4, 4), 1e-30)
    follow_signs(network)
    torch.testing.assert_close(before - network[0].weight, torch.full((4, 4), 1e-3))


def test_equal_refusals_share_a_number(tmp_path, monkeypatch):
    (tmp_path / "networks.json").write_text(
        json.dumps(
            {
                "rows": [
                    {"network": "a", "method": "dgl", "outcome": "trains", "blocks": 4, "reason": None},
                    {"network": "a", "method": "man", "outcome": "refused", "blocks": None, "reason": "no (5, 8) here"},
                    {"network": "b", "method": "dgl", "outcome": "fails", "blocks": None, "reason": "Failure: none"},
                    {"network": "b", "method": "man", "outcome": "refused", "blocks": None, "reason": "no (5, 9) here"},
                ]
            }
        )
    )
    monkeypatch.setattr(result_files, "RESULTS", tmp_path)
    found = networks_table.networks()
    assert "| a | 4 | r1 |" in found and "| b | fails (r2) | r1 |" in found
    assert found.endswith("r1: no (...) here\n\nr2: Failure: none")
