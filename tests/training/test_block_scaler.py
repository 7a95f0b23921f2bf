from __future__ import annotations

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.errors import InputError, TrainingStopped
from locallearn.precision import precision_context
from locallearn.training.block_scaler import BlockScaler


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    blocks = ll.partition(network, torch.zeros(2, 4), num_blocks=3)
    return ll.LocalModel(blocks, ll.DGL(), ll.Classification(3))


def scaler_of(model, **options):
    return BlockScaler(model.windows, [model.window_parameters(w) for w in range(len(model.windows))], **options)


def batch():
    torch.manual_seed(1)
    return torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])


def test_unscaled_gradients_are_the_plain_ones(model):
    model.local_backward(*batch())
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    scaler = scaler_of(model)
    scaler.scales = [8.0, 64.0, 1024.0]
    model.local_backward(*batch(), scales=scaler.scales)
    assert scaler.unscale() == []
    for parameter, gradient in zip(model.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_an_overflow_skips_only_its_own_block(model, block, bad):
    scaler = scaler_of(model, initial=4.0, interval=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    windows = [model.window_parameters(w) for w in range(3)]
    for _ in range(2):
        before = [[parameter.detach().clone() for parameter in group] for group in windows]
        model.local_backward(*batch(), scales=scaler.scales)
        windows[block][0].grad.view(-1)[0] = bad
        assert scaler.unscale() == [block]
        optimizer.step()
        optimizer.zero_grad()
        for index, (group, old) in enumerate(zip(windows, before, strict=True)):
            changed = [not torch.equal(parameter, was) for parameter, was in zip(group, old, strict=True)]
            assert any(changed) is (index != block)
    assert scaler.scales == [1.0 if index == block else 8.0 for index in range(3)]


def test_the_state_goes_on(model):
    scaler, other = scaler_of(model, interval=5), scaler_of(model, interval=5)
    model.local_backward(*batch(), scales=scaler.scales)
    scaler.unscale()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() == {"scales": [65536.0] * 3, "clean_steps": [1] * 3}


def test_a_block_that_always_overflows_stops_the_run(model):
    scaler = scaler_of(model, initial=2.0**-10)
    model.local_backward(*batch())
    model.window_parameters(1)[0].grad.fill_(float("nan"))
    with pytest.raises(TrainingStopped, match="block 1 "):
        scaler.unscale()


def test_windows_that_share_a_block_are_refused():
    with pytest.raises(InputError, match=r"\(0, 2\) and \(1, 3\) overlap.*bf16"):
        BlockScaler([ll.Window(0, 2), ll.Window(1, 3)], [[], []])


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_forward_passes_run_in_the_precision(model, precision, dtype):
    with precision_context(precision, torch.device("cpu")):
        assert model(batch()[0]).dtype == (dtype or torch.float32)
        outputs = model.local_backward(*batch())
    assert all(torch.isfinite(output.loss) for output in outputs)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
