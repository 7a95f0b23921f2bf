from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

import locallearn as ll
from small_networks import gradients, stack

COMPILED = ll.Execution(compile=True)


def pair(make, method, num_blocks):
    """A plain model and a compiled one, both drawn with the same seed."""
    found = []
    for execution in (ll.Execution(), COMPILED):
        torch.manual_seed(0)
        blocks = ll.partition(make(), torch.randn(2, 3, 16, 16), num_blocks=num_blocks)
        found.append(ll.LocalModel(blocks, method, ll.Classification(10), execution=execution))
    return found


@pytest.fixture(autouse=True)
def aot_eager(monkeypatch):
    """Capture as always, but run the captured graphs by torch's own kernels: nothing waits for a C++ compiler."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: compile_(*args, backend="aot_eager", **options))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def learn(model, steps=2):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model.local_backward(torch.rand(8, 3, 16, 16), torch.arange(8))
        optimizer.step()
        model.after_step()
    return model.state_dict()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("dgl", 4), *(pytest.param(n, 4, marks=pytest.mark.slow) for n in ("dgl+man", "mlaan", "predsim"))],
)
def test_compiled_blocks_and_heads_learn_the_same(name, blocks):
    plain, compiled = pair(lambda: ll.networks.build("resnet20", 10), ll.method(name), blocks)
    torch.testing.assert_close(learn(compiled), learn(plain), rtol=1e-4, atol=1e-5)


def test_equal_blocks_and_equal_heads_share_one_graph():
    _, compiled = pair(lambda: ll.networks.build("resnet20", 10), ll.DGL(), 10)
    learn(compiled)
    blocks, heads = 5, 3  # one kind inside each stage and one between two; a head for each width
    stem = 1
    assert counters["stats"]["unique_graphs"] == blocks + heads + stem


def test_blocks_without_containers_are_compiled_whole_and_the_network_stays_itself():
    plain, compiled = pair(lambda: stack([4, 4, 6], dtype=torch.float32, classes=10), ll.DGL(), 3)
    torch.testing.assert_close(learn(compiled), learn(plain), rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] >= 3
    assert all(module._compiled_call_impl is None for module in compiled.network.modules())
    assert gradients(compiled.network).keys() == gradients(plain.network).keys()
