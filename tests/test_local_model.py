from __future__ import annotations

import weakref
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import locallearn as ll
from locallearn.networks import resnet20
from small_networks import gradients, perceptron, residual, stack

DOUBLE = {"dtype": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Windows(ll.Method):
    """Given windows with one linear classifier each, as a user's own method."""

    given: tuple[ll.Window, ...]

    def windows(self, partition):
        return self.given

    def objective(self, window, site, context, *, head=None):
        channels = site.shape[0]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, context.task.num_outputs))

        def loss(output, batch):
            return context.task.loss(output, batch.targets)

        return ll.WeightedTerms(ll.Term("prediction", head, loss, predicts=True))


def model_of(network, method, num_blocks, inputs, **options):
    blocks = ll.partition(network, inputs, num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(3), **options)


@pytest.mark.parametrize("recompute", ["nothing", "blocks"])
@pytest.mark.parametrize("make", [residual, lambda: stack([4, 6, 6]), lambda: resnet20(3).double()])
def test_one_window_is_backprop_bit_for_bit_with_its_statistics(make, recompute):
    torch.manual_seed(0)
    network = make()
    plain = deepcopy(network)
    execution = ll.Execution(recompute=recompute)
    model = model_of(network, ll.Backprop(), 3, torch.randn(2, 3, 8, 8, **DOUBLE), execution=execution)
    for _ in range(2):
        inputs, labels = torch.randn(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
        (output,) = model.local_backward(inputs, labels)
        loss = F.cross_entropy(plain(inputs), labels)
        loss.backward()
        assert torch.equal(output.loss, loss)
    expected = gradients(plain)
    assert all(torch.equal(expected[name], found) for name, found in gradients(network).items())
    assert gradients(network).keys() == expected.keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_isolation_matrix_is_the_identity():
    network, inputs, labels = residual(4), torch.randn(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
    model = model_of(network, ll.DGL(), 5, inputs)
    for window in range(5):
        model.zero_grad()
        model.local_backward(inputs, labels, scales=[float(window == other) for other in range(5)])
        reached = [any(bool(p.grad.any()) for p in model.block_parameters(block)) for block in range(5)]
        assert reached == [window == block for block in range(5)]


def test_state_dict_of_the_network_keeps_its_keys_and_loads_both_ways():
    network = resnet20(3)
    keys = list(network.state_dict())
    model = ll.LocalModel(ll.partition(network, torch.randn(2, 3, 8, 8), num_blocks=4), ll.DGL(), ll.Classification(3))
    assert list(network.state_dict()) == keys
    resnet20(3).load_state_dict(network.state_dict(), strict=True)
    network.load_state_dict(resnet20(3).state_dict(), strict=True)
    assert sum(p.numel() for p in model.parameters()) > sum(p.numel() for p in network.parameters())
    inputs = torch.randn(2, 3, 8, 8)
    model.eval()
    assert torch.equal(model(inputs), network(inputs))
    assert torch.equal(model.features(inputs)[-1], network(inputs))


def test_forward_hooks_inside_a_block_run_in_training():
    network, inputs = residual(2), torch.randn(4, 3, 8, 8, **DOUBLE)
    model = model_of(network, ll.DGL(), 3, inputs)
    calls = []
    network.blocks[1].register_forward_hook(lambda *_: calls.append(1))
    model.local_backward(inputs, torch.randint(3, (4,)))
    assert calls == [1]


def overlapping_truth(network, heads, windows, inputs, labels, num_units):
    """Recompute every window from a detached input: the slow form of overlapping windows."""
    units = [nn.Sequential(network.stem), *network.blocks]
    tail = nn.Sequential(network.pool, network.flatten, network.linear)
    entries = [inputs]
    for unit in units:
        entries.append(unit(entries[-1]).detach())
    for window, head in zip(windows, heads, strict=True):
        x = entries[window.start]
        for unit in units[window.start : window.stop]:
            x = unit(x)
        logits = tail(x) if window.stop == num_units else head.terms[0].auxiliary(x)
        (window.weight * F.cross_entropy(logits, labels)).backward()


OVERLAPPING = [
    [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5)],
    [(0, 1), (0, 1), (1, 2), (0, 2), (0, 3), (1, 4), (2, 5)],
    [(0, 2), (2, 4), (4, 5)],
    [(0, 5), (3, 5)],
    [(0, 3), (1, 3), (2, 3), (2, 5)],
]


@pytest.mark.parametrize("ranges", OVERLAPPING)
@pytest.mark.parametrize("training", [False, True])
def test_overlapping_windows_equal_recomputed_ones_with_one_forward_per_block(ranges, training):
    torch.manual_seed(1)
    network, inputs, labels = residual(4), torch.randn(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
    windows = tuple(ll.Window(start, stop, weight=0.5 + index) for index, (start, stop) in enumerate(ranges))
    model = model_of(network, Windows(given=windows), 5, inputs)
    model.train(training)
    slow_network, slow_heads = deepcopy(network), deepcopy(model.objectives)
    model.local_backward(inputs, labels)
    overlapping_truth(slow_network, slow_heads, windows, inputs, labels, 5)
    for fast, slow in ((network, slow_network), (model.objectives, slow_heads)):
        expected = gradients(slow)
        assert gradients(fast).keys() == expected.keys()
        for name, found in gradients(fast).items():
            torch.testing.assert_close(found, expected[name], rtol=1e-10, atol=1e-12)
    if training:
        assert int(network.blocks[1].norm.num_batches_tracked) == 1


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0, 2), (3, 5)], r"No window covers blocks \[2\]"),
        ([(0, 5), (1, 4)], "(?s)last window must end at block 5.*order in which they end"),
        ([(0, 6)], "not a range of the blocks 0 to 4"),
        ([], "No window covers"),
    ],
)
def test_windows_that_do_not_fit_are_refused(ranges, message):
    with pytest.raises(ll.InputError, match=message):
        model_of(residual(4), Windows(given=tuple(ll.Window(*r) for r in ranges)), 5, torch.randn(2, 3, 8, 8, **DOUBLE))


class _Held:
    def __init__(self, tensor):
        self.tensor = tensor


def test_graphs_are_freed_window_by_window():
    network, inputs = residual(6, width=16, dtype=torch.float32), torch.randn(16, 3, 16, 16)
    labels = torch.randint(3, (16,))
    sizes = {"now": 0, "peak": 0}

    def forget(size):
        sizes["now"] -= size

    def pack(tensor):
        held = _Held(tensor)
        sizes["now"] += tensor.numel()
        sizes["peak"] = max(sizes.values())
        weakref.finalize(held, forget, tensor.numel())
        return held

    def saved(method):
        model = model_of(network, method, 7, inputs)
        sizes["peak"] = 0
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
            model.local_backward(inputs, labels)
        assert sizes["now"] == 0
        return sizes["peak"]

    assert saved(ll.DGL()) < 0.35 * saved(ll.Backprop())


def test_losses_terms_and_logits_are_reported_without_graph_and_unscaled():
    network, inputs, labels = stack([4, 4]), torch.randn(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
    model = model_of(network, ll.PredSim(last_weight=0.5), 2, inputs)
    first, last = model.local_backward(inputs, labels, keep_logits=True, scales=[3.0, torch.tensor(7.0, **DOUBLE)])
    assert first.loss.grad_fn is None and first.terms.keys() == {"similarity", "prediction"}
    torch.testing.assert_close(first.loss, 0.99 * first.terms["similarity"] + 0.01 * first.terms["prediction"])
    torch.testing.assert_close(last.loss, 0.5 * F.cross_entropy(last.logits, labels))
    assert first.logits.shape == last.logits.shape == (4, 3)
    scaled = gradients(network)
    network.zero_grad()
    plain = model.local_backward(inputs, labels)
    assert plain[0].logits is None
    torch.testing.assert_close(scaled["linear.weight"], 7 * network.linear.weight.grad)
    with pytest.raises(ll.InputError, match="each of the 2 windows, not 1"):
        model.local_backward(inputs, labels, scales=[1.0])


def test_frozen_parameters_get_no_gradient():
    network, inputs = residual(2), torch.randn(4, 3, 8, 8, **DOUBLE)
    network.blocks[0].requires_grad_(False)
    model = model_of(network, ll.DGL(), 3, inputs)
    model.local_backward(inputs, torch.randint(3, (4,)))
    assert network.blocks[0].conv.weight.grad is None and network.blocks[1].conv.weight.grad is not None


class Following(ll.LocalObjective):
    def __init__(self, source):
        super().__init__()
        self.copy = nn.Parameter(torch.zeros_like(source), requires_grad=False)

    def parts(self, features, batch):
        yield ll.Part("size", features.square().mean())

    def follows(self):
        return [ll.Follow(self.copy, "4.weight", 0.9)]


@dataclass(frozen=True, kw_only=True)
class Averaging(ll.Method):
    def windows(self, partition):
        return tuple(ll.Window(block, block + 1) for block in range(len(partition.blocks)))

    def objective(self, window, site, context, *, head=None):
        return Following(torch.zeros(6, 6))


def test_averages_follow_and_a_forgotten_after_step_is_said():
    network, inputs, labels = perceptron(), torch.randn(4, 8, **DOUBLE), torch.randint(3, (4,))
    model = model_of(network, Averaging(), 2, inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = torch.zeros(6, 6, **DOUBLE)
    for _ in range(3):
        model.local_backward(inputs, labels)
        model.local_backward(inputs, labels)
        optimizer.step()
        model.after_step()
        expected = 0.9 * expected + 0.1 * network[4].weight.detach()
        torch.testing.assert_close(model.objectives[0].copy.detach(), expected)
    model.local_backward(inputs, labels)
    optimizer.step()
    with pytest.raises(ll.InputError, match="after_step"):
        model.local_backward(inputs, labels)


def test_an_objective_that_ignores_the_features_is_refused():
    class Deaf(Following):
        def parts(self, features, batch):
            yield ll.Part("nothing", self.copy.sum() + torch.ones((), requires_grad=True, **DOUBLE))

    network, inputs = perceptron(), torch.randn(4, 8, **DOUBLE)
    model = model_of(network, Averaging(), 2, inputs)
    model.objectives[0] = Deaf(torch.zeros(6, 6))
    with pytest.raises(ll.InputError, match="gives its features no gradient"):
        model.local_backward(inputs, torch.randint(3, (4,)))


def test_deep_copies_train_by_themselves():
    network, inputs, labels = residual(2), torch.randn(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
    model = model_of(network, ll.DGL(), 3, inputs)
    copy = deepcopy(model)
    copy.local_backward(inputs, labels)
    assert not gradients(model) and gradients(copy.network)
    model.local_backward(inputs, labels)
    for name, found in gradients(model).items():
        assert torch.equal(found, gradients(copy)[name])


@pytest.mark.parametrize("method", ["backprop", "dgl", "predsim", "infopro"])
def test_bfloat16_autocast_is_finite_and_close(method):
    torch.manual_seed(0)
    network, inputs, labels = resnet20(3), torch.rand(8, 3, 16, 16), torch.randint(3, (8,))
    model = model_of(network, ll.method(method), 4, inputs)
    exact = model.local_backward(inputs, labels)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.local_backward(inputs, labels)
    for one, other in zip(exact, rough, strict=True):
        torch.testing.assert_close(one.loss.float(), other.loss.float(), rtol=0.1, atol=0.1)
    assert all(p.grad is None or (p.grad.dtype == p.dtype and p.grad.isfinite().all()) for p in model.parameters())


def test_images_outside_the_unit_range_are_refused_with_the_remedy():
    inputs, labels = torch.randn(4, 3, 8, 8, **DOUBLE) * 3, torch.randint(3, (4,))
    blocks = ll.partition(stack([4, 4]), inputs, num_blocks=2)
    with pytest.raises(ll.InputError, match=r"no normalization was given.*normalization=\(mean, std\)"):
        ll.LocalModel(blocks, ll.InfoPro(), ll.Classification(3)).local_backward(inputs, labels)
    images = torch.rand(4, 3, 8, 8, **DOUBLE)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    normalised = (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)
    torch.testing.assert_close(ll.Batch(normalised, labels, (mean, std)).images, images)
    ll.LocalModel(blocks, ll.InfoPro(), ll.Classification(3), normalization=(mean, std)).local_backward(
        normalised, labels
    )


def test_every_batch_on_a_cpu_is_looked_at():
    images, labels = torch.rand(4, 3, 8, 8, **DOUBLE), torch.randint(3, (4,))
    model = model_of(stack([4, 4]), ll.InfoPro(), 2, images)
    model.local_backward(images, labels)
    with pytest.raises(ll.InputError, match="range from"):
        model.local_backward(images * 3, labels)


def test_networks_that_return_no_tensor_and_maps_with_channels_last_are_refused():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return {"out": self.c(self.b(self.a(x)))}

    inputs = torch.randn(4, 8)
    with pytest.raises(ll.InputError, match="Named returns dict"):
        model_of(Named(), ll.Backprop(), 1, inputs).local_backward(inputs, torch.randint(3, (4,)))
    swin = ll.networks.build("torchvision:swin_t", 3)
    blocks = ll.partition(swin, torch.zeros(1, 3, 64, 64), num_blocks=2)
    with pytest.raises(ll.InputError, match="channels last"):
        ll.LocalModel(blocks, ll.DGL(), ll.Classification(3))
    ll.LocalModel(blocks, ll.Backprop(), ll.Classification(3))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "Labels range from 0 to 3; the classes are 0 to 2"),
        (torch.tensor([0, 1, 2, -1]), "Labels range from -1 to 2"),
        (torch.zeros(4), "torch.int64"),
        (torch.zeros(3, dtype=torch.int64), r"shape \(4,\), not torch.int64 \(3,\)"),
        (None, "not None"),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_anything_is_computed(targets, message):
    network, inputs = stack([4, 4]), torch.rand(4, 3, 8, 8, **DOUBLE)
    model = model_of(network, ll.DGL(), 2, inputs)
    with pytest.raises(ll.InputError, match=message):
        model.local_backward(inputs, targets)
    assert not gradients(model)


def test_inputs_that_are_no_tensor_are_refused():
    network, inputs = stack([4, 4]), torch.rand(4, 3, 8, 8, **DOUBLE)
    with pytest.raises(ll.InputError, match=r"not a ndarray of float64 \(4, 3, 8, 8\): torch.as_tensor"):
        model_of(network, ll.DGL(), 2, inputs).local_backward(inputs.numpy(), torch.tensor([0, 1, 2, 0]))


def test_parts_that_do_not_fit_are_refused_when_the_model_is_built():
    inputs = torch.rand(4, 3, 8, 8, **DOUBLE)
    blocks = ll.partition(stack([4, 4]), inputs, num_blocks=2)
    with pytest.raises(ll.InputError, match=r"outputs of shape \(3,\).*num_classes=5"):
        ll.LocalModel(blocks, ll.DGL(), ll.Classification(5))
    with pytest.raises(ll.InputError, match=r"(?s)partition must be.*method must be.*task must be"):
        ll.LocalModel(stack([4]), ll.DGL, nn.CrossEntropyLoss())
    with pytest.raises(ll.InputError, match=r"must be locallearn.Window values, not 1"):
        ll.LocalModel(blocks, Windows(given=(1, 2)), ll.Classification(3))
    model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(3))
    with pytest.raises(ll.InputError, match="drop_last=True"):
        model.local_backward(inputs[:1], torch.zeros(1, dtype=torch.int64))


def test_a_model_is_in_the_mode_of_its_network():
    network, inputs = stack([4, 4]).eval(), torch.rand(4, 3, 8, 8, **DOUBLE)
    model = model_of(network, ll.DGL(), 2, inputs)
    assert not model.training and not model.objectives[0].training
    assert model.train().network.training


def test_tasks_without_labels_are_refused_by_methods_that_compare_samples():
    class Regression(ll.Classification):
        @property
        def has_labels(self):
            return False

    blocks = ll.partition(stack([4, 4]), torch.randn(2, 3, 8, 8, **DOUBLE), num_blocks=2)
    for method in (ll.PredSim(), ll.InfoPro()):
        with pytest.raises(ll.InputError, match="Regression has none"):
            ll.LocalModel(blocks, method, Regression(3))
