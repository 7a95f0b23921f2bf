"""A captured step is the ordinary one; what cannot be captured is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn, optim

import locallearn as ll
from engine.test_step_in_backward import batch, model_of
from locallearn.training import train
from training.tiny_runs import recipe


def refusal(model, optimizer, **options):
    with pytest.raises(ll.InputError) as caught:
        ll.CapturedStep(model, optimizer, *batch(0), **options)
    return str(caught.value)


def test_what_cannot_be_captured_is_refused_all_at_once():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.Conv2d(4, 4, 3), nn.Flatten())
    model = model_of(ll.DGL(head="linear"), 2, nn.Sequential(*network, nn.Linear(64, 3)))
    optimizer = optim.SGD(model.parameters(), lr=torch.tensor(0.1))
    other = ll.StepInBackward(model, optim.SGD(model.parameters()))
    told = refusal(model, optimizer, step_in_backward=other)
    for words in ("these are on cpu", "fused=True", "as floats", "another optimizer", "'network.1' has momentum=None"):
        assert words in told


def test_rates_become_tensors_for_the_capture_only():
    model = model_of(ll.DGL())
    step = object.__new__(ll.CapturedStep)
    step.optimizer = optim.AdamW(model.parameters(), lr=0.1, fused=True)
    step._rates, step._known = [torch.zeros(())], []
    step._set_rates()
    (group,) = step.optimizer.param_groups
    with step._tensor_rates():
        assert group["lr"] is step._rates[0] and group["capturable"]
    assert (group["lr"], group["capturable"], float(step._rates[0])) == (0.1, False, pytest.approx(0.1))
    group["lr"] = 0.2
    step._set_rates()
    assert float(step._rates[0]) == pytest.approx(0.2)


@pytest.mark.gpu
@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["dgl", "man", "mlaan"])
def test_equal_to_ordinary_steps_on_resnet32(method, kind, in_backward):
    sides = []
    for captured in (False, True):
        torch.manual_seed(0)
        network = ll.networks.resnet32(num_classes=10)
        blocks = ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=4)
        model = ll.LocalModel(blocks, ll.method(method), ll.Classification(10)).to("cuda").train()
        if kind == "sgd":
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        else:
            optimizer = optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        sides.append((model, train_on_device(model, optimizer, captured=captured, in_backward=in_backward)))
    (ordinary, losses), (ours, other_losses) = sides
    torch.testing.assert_close(other_losses, losses, rtol=1e-5, atol=1e-5)
    for name, value in ordinary.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-5, msg=name)


def train_on_device(model, optimizer, *, captured, in_backward):
    stepping = ll.StepInBackward(model, optimizer) if in_backward else None
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(50, 32, 3, 32, 32, generator=generator).cuda()
    targets = torch.randint(10, (50, 32), generator=generator).cuda()
    step = ll.CapturedStep(model, optimizer, inputs[0], targets[0], step_in_backward=stepping) if captured else None
    losses = []
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for index in range(50):
            optimizer.param_groups[0]["lr"] *= 0.97
            size = 20 if index == 30 else 32
            images, labels = inputs[index][:size], targets[index][:size]
            if step is not None:
                outputs = step(images, labels)
            else:
                outputs = model.local_backward(images, labels, listener=stepping or ll.StepListener())
                if not in_backward:
                    optimizer.step()
                model.after_step()
                optimizer.zero_grad()
            losses.append(torch.stack([output.loss for output in outputs]).clone())
    return torch.stack(losses)


@pytest.mark.gpu
def test_a_run_is_captured_as_its_recipe_says(tmp_path):
    networks = []
    for capture in (False, True):
        made = recipe(device="cuda", network="without_statistics", training={"capture": capture})
        train(made, tmp_path / str(capture))
        networks.append(load_file(tmp_path / str(capture) / "network.safetensors"))
    for name, value in networks[0].items():
        torch.testing.assert_close(networks[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_a_state_loaded_into_the_optimizer_is_used():
    torch.manual_seed(0)
    model = model_of(ll.DGL()).to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    inputs, targets = (tensor.cuda() for tensor in batch(0))
    step = ll.CapturedStep(model, optimizer, inputs, targets)
    for _ in range(6):
        step(inputs, targets)
    optimizer.load_state_dict(optimizer.state_dict())
    before = next(iter(optimizer.state.values()))["momentum_buffer"].clone()
    for _ in range(6):
        step(inputs, targets)
    assert not torch.equal(before, next(iter(optimizer.state.values()))["momentum_buffer"])
