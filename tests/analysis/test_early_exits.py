from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tests.small_networks import residual, stack
from torch import nn

import locallearn as ll
from locallearn.analysis import opened
from locallearn.analysis.early_exits import early_exits

CPU = torch.device("cpu")
CLASSES = 3


def model_of(method, *, network=None, blocks=4, size=8):
    """A model whose BatchNorms have seen something, so that modes matter."""
    torch.manual_seed(0)
    network = stack([4, 6, 6, 8], CLASSES) if network is None else network
    parts = ll.partition(network, torch.zeros(2, 3, size, size, dtype=torch.float64), num_blocks=blocks)
    model = ll.LocalModel(parts, method, ll.Classification(CLASSES))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def drawn(batches=3, size=8, spread=0.0):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.rand(20, 3, size, size, generator=generator, dtype=torch.float64)
            + spread * torch.randn(20, 3, 1, 1, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (20,), generator=generator),
        )
        for _ in range(batches)
    ]


def slow_exits(network, heads, batches, weight):
    """Image by image: every head's hits, and those of the two ensembles with explicit weights."""
    network.eval()
    hits = torch.zeros(3, len(heads))
    images = [(image, int(label)) for inputs, labels in batches for image, label in zip(inputs, labels, strict=True)]
    for image, label in images:
        features, logits = image[None], []
        for index, head in enumerate(heads):
            for name in ("conv", "norm", "relu"):
                features = getattr(network, f"{name}{index}")(features)
            logits.append(head.eval()(features)[0])
        for last in range(len(heads)):
            weights = [weight(i) / sum(weight(j) for j in range(last + 1)) for i in range(last + 1)]
            soft = sum(w * each.softmax(0) for w, each in zip(weights, logits, strict=False))
            plain = sum(w * each for w, each in zip(weights, logits, strict=False))
            for row, said in enumerate((logits[last], soft, plain)):
                hits[row, last] += int(said.argmax()) == label
    return (100 * hits / len(images)).tolist()


@torch.no_grad()
def test_heads_and_ensembles_match_a_loop_over_images():
    model, batches = model_of(ll.DGL(head="linear")), drawn(8, spread=3.0)
    heads = [objective.terms[0].auxiliary for objective in model.objectives[:-1]]
    heads.append(nn.Sequential(model.network.pool, model.network.flatten, model.network.linear))
    for head in heads:
        for weight in head.parameters():
            weight.copy_(2 * torch.randn_like(weight))
    found = early_exits(model, batches)
    expected = slow_exits(model.network, heads, batches, lambda i: 2**i)
    measured = [
        [each.accuracy for each in found],
        [each.ensemble_accuracy for each in found],
        [each.logits_ensemble_accuracy for each in found],
    ]
    torch.testing.assert_close(torch.tensor(measured), torch.tensor(expected), rtol=0, atol=1e-4)
    assert len({tuple(row) for row in measured}) == 3
    uniform = slow_exits(model.network, heads, batches, lambda i: 1)
    assert uniform[1] != pytest.approx(expected[1]) and uniform[2] != pytest.approx(expected[2])


def test_operations_are_the_closed_form_up_to_the_block_and_of_its_head():
    found = early_exits(model_of(ll.DGL(head="linear")), drawn(1))
    widths, trunk, trunks, heads = [3, 4, 6, 6, 8], 0, [], []
    for before, width in pairwise(widths):
        trunk += 8 * 8 * 9 * before * width
        trunks.append(trunk)
        heads.append(width * CLASSES)
    assert [each.macs for each in found] == [t + h for t, h in zip(trunks, heads, strict=True)]
    assert [each.ensemble_macs for each in found] == [t + sum(heads[: k + 1]) for k, t in enumerate(trunks)]


def test_a_decoder_is_no_part_of_an_exit():
    both = ll.InfoPro(task_loss="cross_entropy", reconstruction=(1.0, 1.0), prediction=(1.0, 1.0))
    with_decoder = early_exits(model_of(both), drawn(1))
    without = early_exits(model_of(ll.DGL(head="infopro")), drawn(1))
    assert [each.macs for each in with_decoder] == [each.macs for each in without]


def test_layers_that_a_head_looks_ahead_by_are_part_of_it():
    plain, ahead = (
        early_exits(model_of(method, network=residual(4, classes=CLASSES)), drawn(1))
        for method in (ll.DGL(), ll.method("dgl+man"))
    )
    # MAN reads through two copies of the next unit, one that learns and one that is averaged.
    twin = 2 * 8 * 8 * 9 * 4 * 4
    assert [one.macs - other.macs for one, other in zip(ahead, plain, strict=True)] == [twin, twin, twin, 0]


def test_attention_is_counted_in_evaluation():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(8, 4, 2, 2, 16, 32, num_classes=CLASSES).double()
    found = early_exits(model_of(ll.Backprop(), network=network, blocks=2), drawn(1))
    tokens, width, mlp = 5, 16, 32
    layer = 4 * tokens * width * width + 2 * tokens * tokens * width + 2 * tokens * width * mlp
    assert found[-1].macs == 4 * 3 * 4 * 4 * width + 2 * layer + width * CLASSES
    assert torch.backends.mha.get_fastpath_enabled()


def blocks_of(found):
    return [
        (each.block, each.start, each.role, each.accuracy is not None, each.ensemble_macs is not None) for each in found
    ]


def test_blocks_that_do_not_predict():
    backprop = early_exits(model_of(ll.Backprop()), drawn(1))
    assert [each.accuracy is None for each in backprop] == [True, True, True, False]
    assert [each.start for each in backprop] == [None, None, None, 1]
    for method in (ll.PredSim(beta=1.0), ll.InfoPro()):
        found = early_exits(model_of(method), drawn(1))
        assert [each.accuracy is None for each in found] == [True, True, True, False]
        assert [each.macs is None for each in found] == [True, True, True, False]
        assert found[-1].ensemble_accuracy == found[-1].accuracy
    assert all(each.accuracy is not None for each in early_exits(model_of(ll.PredSim()), drawn(1)))


def test_of_windows_that_end_together_the_weightier_is_in_the_ensemble():
    model = model_of(ll.MLAAN(), network=residual(4, classes=CLASSES), blocks=4)
    assert blocks_of(early_exits(model, drawn(1))) == [
        (1, None, None, False, False),
        (2, 2, "independent", True, False),
        (2, 1, "cascade", True, True),
        (3, 3, "independent", True, False),
        (3, 2, "cascade", True, True),
        (4, 3, "cascade", True, True),
    ]


@pytest.mark.parametrize("longest_first", [False, True])
def test_of_windows_that_end_together_and_weigh_the_same_the_longest_is_in_the_ensemble(longest_first):
    class Ordered(ll.MLAAN):
        def windows(self, partition):
            sign = 1 if longest_first else -1
            return tuple(sorted(super().windows(partition), key=lambda each: (each.stop, sign * each.start)))

    method = Ordered(independent_weight=1.0, cascade_weight=1.0)
    found = early_exits(model_of(method, network=residual(4, classes=CLASSES)), drawn(1))
    both = ["independent", "cascade"]
    assert [each.role for each in found if each.block == 3] == (both[::-1] if longest_first else both)
    voting = [(each.block, each.role) for each in found if each.ensemble_macs is not None]
    assert voting == [(2, "cascade"), (3, "cascade"), (4, "cascade")]


@pytest.mark.parametrize("method", [ll.DGL(), ll.method("dgl+man"), ll.MLAAN()])
def test_nothing_of_the_model_changes(method):
    model = model_of(method, network=residual(4, classes=CLASSES)).train()
    model.network.blocks[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    early_exits(model, drawn())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]


def test_the_last_exit_of_a_run_is_the_network_as_it_was_tested(runs):
    for name in ("dgl", "backprop"):
        run = opened(runs[name])
        found = early_exits(run.model(CPU, heads=True), run.batches(run.splits().test, CPU).epoch(0))
        assert run.summary is not None and found[-1].accuracy == pytest.approx(run.summary["test_accuracy"])
    dgl = early_exits(opened(runs["dgl"]).model(CPU, heads=True), run.batches(run.splits().test, CPU).epoch(0))
    # Heads are trained ones: even the first is far above one in ten.
    assert min(each.accuracy for each in dgl if each.accuracy is not None) > 30
