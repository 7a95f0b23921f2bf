"""Ten-step losses of every method; a change that should not alter training must not move them.

Rewritten with `python tests/golden/test_golden.py` when a change is meant to alter them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import locallearn as ll

STORED = Path(__file__).parent / "losses.json"
METHODS = {
    "backprop": ll.Backprop(),
    "dgl": ll.DGL(),
    "dgl-authors": ll.DGL(head="authors"),
    "dgl-mlaan": ll.DGL(head="mlaan"),
    "dgl-infopro": ll.DGL(head="infopro"),
    "predsim": ll.PredSim(),
    "predsim-original": ll.PredSim(head="original", last_weight=0.01),
    "infopro": ll.InfoPro(),
    "infopro-cross-entropy": ll.InfoPro(task_loss="cross_entropy", head="2c2f"),
}


def ten_losses(method):
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ll.networks.resnet20(4).double()
        blocks = ll.partition(network, torch.zeros(2, 3, 16, 16, dtype=torch.float64), num_blocks=4)
        model = ll.LocalModel(blocks, method, ll.Classification(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    found = []
    for _ in range(10):
        images = torch.rand(8, 3, 16, 16, generator=generator, dtype=torch.float64)
        labels = torch.randint(4, (8,), generator=generator)
        optimizer.zero_grad()
        found.append([float(output.loss) for output in model.local_backward(images, labels)])
        optimizer.step()
        model.after_step()
    return found


@pytest.mark.parametrize("name", METHODS)
def test_ten_losses_are_the_stored_ones(name):
    stored = json.loads(STORED.read_text(encoding="utf-8"))[name]
    for found, expected in zip(ten_losses(METHODS[name]), stored, strict=True):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


if __name__ == "__main__":
    STORED.write_text(json.dumps({name: ten_losses(method) for name, method in METHODS.items()}, indent=1) + "\n")
