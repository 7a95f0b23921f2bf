"""Parts of a batch in two processes give the gradients of the joined batch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

import locallearn as ll
from locallearn.parallel.gathering import Gathering
from locallearn.parallel.watch import Watch
from parallel.cases import CLASSES, COMPARING, METHODS, SIDE, batch_of, gradients, model_of
from parallel.processes import in_processes
from small_networks import stack

SIZES = {"alike": (3, 3), "more in the first": (4, 2), "more in the second": (1, 5)}
LATER = 4


def share_of(rank, sizes, dtype, step=0):
    inputs, targets = batch_of(step, dtype=dtype)
    return inputs.split(sizes)[rank], targets.split(sizes)[rank]


def alone(name, dtype, times=1):
    """Gradients of the joined batch in one process, each time as another batch of the same step."""
    model = model_of(name, dtype=dtype).eval()
    for _ in range(times):
        model.zero_grad()
        model.local_backward(*batch_of(0, dtype=dtype))
    return gradients(model)


def joined(rank, dtype):
    found = {}
    for name in METHODS:
        # Other weights in every process: the first one's are taken over.
        model = model_of(name, seed=rank, dtype=dtype).eval()
        parallel = ll.DataParallel(model, gather=True)
        for kind, sizes in SIZES.items():
            model.zero_grad()
            parallel.local_backward(*share_of(rank, sizes, dtype), share=sizes[rank] / sum(sizes))
            found[name, kind] = gradients(model)
        if dtype == torch.float32:
            continue
        model.zero_grad()
        parallel.local_backward(*share_of(rank, SIZES["alike"], dtype))
        found[name, "no share given"] = gradients(model)
        parallel._gathering = model.gather = None
        model.zero_grad()
        parallel.local_backward(*share_of(rank, SIZES["alike"], dtype))
        found[name, "not gathered"] = gradients(model)
    return found


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    return {
        dtype: in_processes(2, tmp_path_factory.mktemp("joined"), joined, dtype)
        for dtype in (torch.float64, torch.float32)
    }


def farthest(found, expected):
    """The largest distance of a gradient, relative to the gradient."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - g).norm() / g.norm().clamp(min=1e-3)) for name, g in expected.items())


def largest_difference(found, expected):
    """Of all numbers, relative to the largest if that is above 1; sums in another order round otherwise."""
    scale = max(1.0, *(float(gradient.abs().max()) for gradient in expected.values()))
    return max(float((found[name] - gradient).abs().max()) for name, gradient in expected.items()) / scale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_those_of_the_joined_batch(gathered, name, dtype):
    expected = alone(name, dtype)
    for found in gathered[dtype]:
        for kind in (*SIZES, "no share given")[: 4 if dtype == torch.float64 else 3]:
            if dtype == torch.float64:
                assert farthest(found[name, kind], expected) <= 1e-12, kind
            else:
                assert largest_difference(found[name, kind], expected) <= 1e-6, kind


@pytest.mark.parametrize("name", METHODS)
def test_without_gathering_losses_that_compare_samples_are_others(gathered, name):
    expected = alone(name, torch.float64)
    for found in gathered[torch.float64]:
        distance = farthest(found[name, "not gathered"], expected)
        assert distance > 1e-3 if name in COMPARING else distance <= 1e-12


def options(rank):
    found = {}
    for name in ("dgl", "mlaan"):
        model = model_of(name, seed=rank).eval()
        parallel = ll.DataParallel(model)
        parts = [share_of(rank, (3, 3), torch.float64, step) for step in (0, 1)]
        scales = [1.0 + index for index in range(len(model.windows))]
        for bucket_bytes in (1, 10**9):
            model.zero_grad()
            parallel.averaging._bucket_bytes = bucket_bytes
            parallel.local_backward(*parts[0], share=0.25, average=False)
            parallel.local_backward(*parts[1], share=0.25)
            found[name, f"accumulated, {bucket_bytes}"] = gradients(model)
        model.zero_grad()
        parallel.local_backward(*parts[0], scales=scales)
        found[name, "scaled"] = gradients(model)
        model.zero_grad()
        heard = Heard(model)
        outputs = parallel.local_backward(*parts[0], keep_logits=True, listener=heard)
        found[name, "when a window is done"] = heard.gradients
        found[name, "outputs"] = [output.logits.shape[0] for output in outputs]
        parallel.local_backward(*parts[0], average=False)
        found[name, "left in the middle"] = parallel.averaging.active
        found[name, "sums of each"] = sums_of_each(parallel, parts[0])
    found["layout"] = odd_layout(rank)
    return found


class Heard(ll.StepListener):
    """Notes gradients that are complete, as soon as it is told so."""

    def __init__(self, model):
        self.settled = model.settled_parameters()
        self.names = {parameter: name for name, parameter in model.named_parameters()}
        self.gradients = {}

    def after_window(self, index):
        self.gradients |= {self.names[p]: p.grad.clone() for p in self.settled[index] if p.grad is not None}


def sums_of_each(parallel, batch):
    """How often each parameter is summed in one pass."""
    model, counts = parallel.model, {}
    model.zero_grad()
    launch = parallel.averaging.launch

    def counted():
        for parameter in parallel.averaging._waiting:
            counts[parameter] = counts.get(parameter, 0) + 1
        launch()

    parallel.averaging.launch = counted
    parallel.averaging._bucket_bytes = 1
    parallel.local_backward(*batch)
    return sorted({counts.get(p, 0) for p in model.parameters() if p.requires_grad and p.grad is not None})


def odd_layout(rank):
    """Weights whose numbers lie otherwise in memory, and gradients of one type among others."""
    torch.manual_seed(rank)
    network = stack([4, 6], dtype=torch.float64).to(memory_format=torch.channels_last)
    model = ll.LocalModel(
        ll.partition(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64), num_blocks=2),
        ll.DGL(), ll.Classification(CLASSES),
    ).eval()  # fmt: skip
    parallel = ll.DataParallel(model)
    parallel.local_backward(*share_of(rank, (3, 3), torch.float64))
    one = copy.deepcopy(model)
    one.zero_grad()
    one.gather = None
    parallel.averaging.active = True
    one.local_backward(*batch_of(0))
    strides = all(p.grad.stride() == p.stride() for p in model.parameters() if p.grad is not None)
    return [farthest(gradients(model), gradients(one)), strides]


@pytest.fixture(scope="module")
def optioned(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("options"), options)


@pytest.mark.parametrize("name", ["dgl", "mlaan"])
def test_several_batches_of_a_step_are_summed_once(optioned, name):
    model = model_of(name).eval()
    for step in (0, 1):
        model.local_backward(*batch_of(step), scales=[0.5] * len(model.windows))
    for found in optioned:
        for bucket_bytes in (1, 10**9):
            assert farthest(found[name, f"accumulated, {bucket_bytes}"], gradients(model)) <= 1e-12
        assert found[name, "sums of each"] == [1]


@pytest.mark.parametrize("name", ["dgl", "mlaan"])
def test_windows_keep_their_factors_and_listeners_see_complete_sums(optioned, name):
    model = model_of(name).eval()
    model.local_backward(*batch_of(0), scales=[1.0 + index for index in range(len(model.windows))])
    for found in optioned:
        assert farthest(found[name, "scaled"], gradients(model)) <= 1e-12
        assert farthest(found[name, "when a window is done"], alone(name, torch.float64, times=2)) <= 1e-12
        assert set(found[name, "outputs"]) == {3} and found[name, "left in the middle"] is False


def test_gradients_lie_in_memory_as_their_weights(optioned):
    for found in optioned:
        distance, alike = found["layout"]
        assert distance <= 1e-12 and alike


def wrong(rank):
    """What summing at every window that touches a parameter does to the gradients."""
    found = {}
    for name in ("dgl", "mlaan"):
        model = model_of(name).eval()
        parallel = ll.DataParallel(model)
        batch = share_of(rank, (3, 3), torch.float64)
        count = len(model.windows)
        # One backward pass for each window's loss, its gradients summed when it is done.
        for index in range(count):
            parallel.local_backward(*batch, scales=[float(index == other) for other in range(count)])
        found[name, "streams"] = gradients(model)
        model.zero_grad()
        parallel.averaging._settled = [model.window_parameters(index) for index in range(count)]
        parallel.averaging._bucket_bytes = 1
        for average in (False, True):
            parallel.local_backward(*batch, share=0.25, average=average)
        found[name, "touched"] = gradients(model)
    return found


def test_a_sum_for_each_window_is_wrong_where_windows_overlap_and_would_be_seen(tmp_path):
    found = in_processes(2, tmp_path, wrong)[0]
    for how in ("streams", "touched"):
        assert farthest(found["mlaan", how], alone("mlaan", torch.float64)) > 0.1, how
    assert farthest(found["dgl", "touched"], alone("dgl", torch.float64)) <= 1e-12


def trained(rank):
    found = {}
    for name in ("dgl+man", "mlaan", "auglocal"):
        model = model_of(name, seed=rank, dtype=torch.float32)
        parallel = ll.DataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for step in range(LATER):
            # BatchNorm in training mode: each process has its own statistics, and so other losses.
            parallel.local_backward(*share_of(rank, (3, 3), torch.float32, step))
            optimizer.step()
            optimizer.zero_grad()
            parallel.after_step()
        found[name] = {each: p.detach() for each, p in model.named_parameters()}
        found[name, "statistics"] = {each: b for each, b in model.named_buffers() if "running" in each}
    found["in the backward pass"] = stepped(rank, inside=True)
    found["afterwards"] = stepped(rank, inside=False)
    return found


def stepped(rank, *, inside):
    model = model_of("mlaan", seed=rank).eval()
    parallel = ll.DataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    stepping = ll.StepInBackward(model, optimizer) if inside else ll.StepListener()
    for step in range(LATER):
        parallel.local_backward(*share_of(rank, (3, 3), torch.float64, step), listener=stepping)
        if not inside:
            optimizer.step()
            optimizer.zero_grad()
        parallel.after_step()
    return {each: p.detach() for each, p in model.named_parameters()}


@pytest.fixture(scope="module")
def after_training(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("trained"), trained)


@pytest.mark.parametrize("name", ["dgl+man", "mlaan", "auglocal"])
def test_weights_stay_the_same_in_all_processes_bit_for_bit(after_training, name):
    first, second = (found[name] for found in after_training)
    start = dict(model_of(name, dtype=torch.float32).named_parameters())
    assert all(torch.equal(first[each], second[each]) for each in start)
    assert sum(not torch.equal(first[each], start[each]) for each in start) > len(start) / 2
    statistics = [found[name, "statistics"] for found in after_training]
    assert any(not torch.equal(statistics[0][each], statistics[1][each]) for each in statistics[0])


def test_steps_in_the_backward_pass_are_those_afterwards_and_those_of_one_process(after_training):
    model = model_of("mlaan").eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(LATER):
        model.local_backward(*batch_of(step))
        optimizer.step()
        optimizer.zero_grad()
        model.after_step()
    for found in after_training:
        for name, parameter in model.named_parameters():
            assert torch.equal(found["in the backward pass"][name], found["afterwards"][name])
            torch.testing.assert_close(found["afterwards"][name], parameter.detach(), rtol=0, atol=1e-12)


def bypassed(rank):
    found = {}
    inputs, targets = batch_of(rank)
    for name in ("dgl", "mlaan", "backprop"):
        model = model_of(name)
        for parameter in model.network.conv0.parameters():
            parameter.requires_grad_(False)
        model.network.conv2.weight.requires_grad_(False)
        parallel = ll.DataParallel(model)
        parallel.local_backward(inputs, targets)
        attempts = {
            "the model": lambda model=model: model.local_backward(inputs, targets),
            "the network": lambda model=model: nn.functional.cross_entropy(model(inputs), targets).backward(),
        }
        for index, features in enumerate([inputs, *model.features(inputs)[:-1]]):
            block = model.partition.blocks[index]
            attempts[f"block {index}"] = lambda block=block, features=features: block(features).sum().backward()
        for index, objective in enumerate(model.objectives[:-1]):
            if not any(p.requires_grad for p in objective.parameters()):
                continue
            attempts[f"objective {index}"] = lambda objective=objective: sum(
                p.sum() for p in objective.parameters() if p.requires_grad
            ).backward()
        found[name] = {what: said(attempt) for what, attempt in attempts.items()}
        parallel.local_backward(inputs, targets)
        found[name, "afterwards"] = said(lambda parallel=parallel: parallel.local_backward(inputs[:3], targets[:3]))
    found["two errors"] = after_an_error(inputs, targets)
    found["gathered twice"] = shared_gradient(rank)
    return found


def said(attempt):
    try:
        attempt()
    except ll.InputError as error:
        return str(error)
    return ""


def after_an_error(inputs, targets):
    """A refused batch leaves nothing behind: the next one is still watched over."""
    model = model_of("dgl")
    parallel = ll.DataParallel(model)
    refused = said(lambda: parallel.local_backward(inputs, targets + CLASSES))
    return [refused, said(lambda: model.local_backward(inputs, targets))]


def shared_gradient(rank):
    """Two gathered tensors whose sum is used get the same gradient, which must not be summed in place."""
    gathering = Gathering(None, Watch(None, rank, 2, 20))
    gathering.begin(2, torch.device("cpu"))
    first, second = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
    ((gathering(first) + gathering(second)) * torch.ones(4, 3)).sum().backward()
    return [first.grad, second.grad]


@pytest.fixture(scope="module")
def past_the_wrapper(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("bypassed"), bypassed)


@pytest.mark.parametrize("name", ["dgl", "mlaan", "backprop"])
def test_gradients_past_the_wrapper_are_refused_also_of_one_block_alone(past_the_wrapper, name):
    for found in past_the_wrapper:
        assert len(found[name]) >= 6
        for what, message in found[name].items():
            assert "outside of DataParallel.local_backward" in message, what
        assert found[name, "afterwards"] == ""


def test_a_refused_batch_leaves_nothing_behind(past_the_wrapper):
    for found in past_the_wrapper:
        refused, watched = found["two errors"]
        assert "outside of DataParallel" not in refused and refused
        assert "outside of DataParallel" in watched


def test_gathering_leaves_gradients_that_others_read_alone(past_the_wrapper):
    for found in past_the_wrapper:
        for gradient in found["gathered twice"]:
            assert torch.equal(gradient, torch.full((2, 3), 2.0))


def test_a_script_without_processes_is_told_how_to_start_it():
    assert not dist.is_initialized()
    for kind in (ll.DataParallel, ll.BlockParallel):
        with pytest.raises(ll.InputError, match=r"torchrun --nproc-per-node N.*init_process_group"):
            kind(model_of("dgl"))
