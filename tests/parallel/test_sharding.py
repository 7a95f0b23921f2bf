from __future__ import annotations

import pytest
import torch

import locallearn as ll
from parallel.cases import batch_of, gradients, model_of
from parallel.processes import in_processes

METHODS = ("backprop", "dgl", "infopro", "auglocal", "dgl+man")


def sharded(rank):
    found = {}
    for name in METHODS:
        model = model_of(name, seed=rank)
        model.eval()
        parallel = ll.DataParallel(model, shard=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        inputs, targets = batch_of(0)
        parallel.local_backward(*(part.split([4, 2])[rank] for part in (inputs, targets)), share=[4 / 6, 2 / 6][rank])
        held = sum(parameter.to_local().numel() for parameter in model.parameters())
        grads = {name: grad.full_tensor() for name, grad in gradients(model).items()}
        optimizer.step()
        parallel.after_step()
        found[name] = held, grads, {key: p.full_tensor().detach() for key, p in model.named_parameters()}
    return found


def test_gradients_and_steps_are_those_of_the_joined_batch(tmp_path):
    found = in_processes(2, tmp_path, sharded)
    for name in METHODS:
        model = model_of(name)
        model.eval()
        model.local_backward(*batch_of(0))
        expected = gradients(model)
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()
        model.after_step()
        for held, grads, stepped in (one[name] for one in found):
            assert grads.keys() == expected.keys()
            assert all(torch.allclose(grads[key], expected[key], rtol=0, atol=1e-12) for key in expected), name
            assert all(torch.allclose(stepped[key], p, rtol=0, atol=1e-12) for key, p in model.named_parameters())
            assert held < 0.75 * sum(p.numel() for p in model.parameters())


def refusals(rank):
    told = []
    for name, options in (("mlaan", {}), ("dgl", {"execution": ll.Execution(lean="in_place")})):
        with pytest.raises(ll.InputError) as error:
            ll.DataParallel(model_of(name, **options), shard=True)
        told.append(str(error.value))
    return told


def test_overlapping_windows_and_replaced_backward_passes_are_refused(tmp_path):
    for overlapping, lean in in_processes(2, tmp_path, refusals):
        assert "windows overlap" in overlapping and "lean" in lean
