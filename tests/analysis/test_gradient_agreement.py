from __future__ import annotations

import copy
import shutil

import pytest
import torch
from tests.small_networks import perceptron, residual
from torch import nn
from torch.nn import functional as F

import locallearn as ll
from locallearn.analysis import opened
from locallearn.analysis.gradient_agreement import agreement_over_training, drawn_batches, gradient_agreement
from locallearn.errors import InputError

CPU = torch.device("cpu")
CLASSES = 3


def model_of(method, network, example, blocks=4):
    torch.manual_seed(1)
    return ll.LocalModel(ll.partition(network, example, num_blocks=blocks), method, ll.Classification(CLASSES))


def vectors(batches=2, size=16):
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(size, 8, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(batches)
    ]


def images(batches=2, size=12):
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.rand(size, 3, 8, 8, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(batches)
    ]


def chain():
    torch.manual_seed(0)
    return perceptron(CLASSES)


def maps():
    torch.manual_seed(0)
    return residual(3, classes=CLASSES)


def layers_of(network):
    """The three blocks of the perceptron: a linear layer with its ReLU; the last has the classifier, too."""
    return [network[0:2], network[2:4], network[4:7]]


def flat(loss, layer):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)])


def slow_cosines(network, local_losses, inputs, targets):
    """By hand: each block's gradient of each loss that reaches it, against that of the output's loss."""
    layers, features = layers_of(network), inputs
    for layer in layers:
        features = layer(features)
    output_loss = F.cross_entropy(features, targets)
    found = []
    for block, layer in enumerate(layers):
        local = sum(flat(loss, layer) for loss in local_losses(block))
        whole = flat(output_loss, layer)
        found.append(float(local @ whole / (local.norm() * whole.norm())))
    return found


def compared(model, batches, losses_of):
    found = gradient_agreement(model, batches)
    rows = torch.tensor([slow_cosines(model.network, losses_of(*batch), *batch) for batch in batches])
    assert found.mean == pytest.approx(rows.mean(0).tolist(), abs=1e-6)
    assert found.deviation == pytest.approx(rows.std(0, correction=0).tolist(), abs=1e-6)
    assert found.inner_mean == pytest.approx(float(rows[:, :-1].mean()), abs=1e-6)
    return found


def test_blocks_alone_match_gradients_by_hand():
    model = model_of(ll.DGL(head="linear"), chain(), torch.zeros(2, 8, dtype=torch.float64), blocks=3)

    def losses_of(inputs, targets):
        def losses(block):
            features = inputs
            for index, layer in enumerate(layers_of(model.network)[: block + 1]):
                features = layer(features.detach())
                if index == block:
                    head = (lambda x: x) if block == 2 else model.objectives[block].terms[0].auxiliary
                    return [F.cross_entropy(head(features), targets)]
            return []

        return losses

    found = compared(model, vectors(), losses_of)
    assert found.mean[-1] == pytest.approx(1) and max(map(abs, found.mean[:-1])) < 0.99


def test_overlapping_windows_add_up_as_they_train():
    method = ll.MLAAN(leap="none", independent_weight=0.4, cascade_weight=0.7)
    model = model_of(method, chain(), torch.zeros(2, 8, dtype=torch.float64), blocks=3)
    assert any(window.stop - window.start == 2 for window in model.windows)

    def losses_of(inputs, targets):
        layers = layers_of(model.network)

        def losses(block):
            found = []
            for window, objective in zip(model.windows, model.objectives, strict=True):
                if not window.start <= block < window.stop:
                    continue
                features = inputs
                for index, layer in enumerate(layers[: window.stop]):
                    features = layer(features.detach() if index == window.start else features)
                head = (lambda x: x) if window.stop == 3 else objective.terms[0].auxiliary
                found.append(window.weight * F.cross_entropy(head(features), targets))
            return found

        return losses

    compared(model, vectors(), losses_of)


def test_back_propagation_agrees_with_itself():
    model = model_of(ll.Backprop(), maps(), torch.zeros(2, 3, 8, 8, dtype=torch.float64))
    found = gradient_agreement(model, images())
    assert found.mean == pytest.approx((1,) * 4) and found.deviation == pytest.approx((0,) * 4, abs=1e-9)


@pytest.mark.parametrize(
    "method",
    [
        ll.MAN(ll.DGL(), update="before_step", momentum=0.5),
        ll.MLAAN(update="before_step", momentum=0.5),
        ll.MAN(ll.DGL()),
        ll.PredSim(),
    ],
)
def test_nothing_of_the_model_changes_not_even_between_batches(method):
    model = model_of(method, maps(), torch.zeros(2, 3, 8, 8, dtype=torch.float64)).train()
    model.network.blocks[0].eval()
    (inputs, targets), _ = images()
    model.local_backward(inputs, targets)
    model.after_step()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    gradients = {p: (p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()}
    modes = [module.training for module in model.modules()]
    found = gradient_agreement(model, [(inputs, targets)] * 3)
    assert found.deviation == pytest.approx((0,) * 4, abs=1e-12)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    for p, (gradient, values) in gradients.items():
        assert p.grad is gradient and (values is None or torch.equal(gradient, values))
    model.local_backward(inputs, targets)


def test_batchnorm_takes_the_batch_and_dropout_is_off():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(8, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(6, 6),
        nn.ReLU(),
        nn.Linear(6, CLASSES),
    ).double()
    nn.init.uniform_(network[1].running_var, 3, 9)
    model = model_of(ll.DGL(head="linear"), network, torch.zeros(2, 8, dtype=torch.float64), blocks=2)
    ((inputs, targets),) = vectors(1)
    one, other = (gradient_agreement(model, [(inputs, targets)]) for _ in range(2))
    assert one == other

    plain = copy.deepcopy(network).train()
    plain[3].eval()
    output_loss = F.cross_entropy(plain(inputs), targets)
    head = model.objectives[0].terms[0].auxiliary
    local_loss = F.cross_entropy(head(plain[:4](inputs)), targets)
    local, whole = (flat(loss, plain[:4]) for loss in (local_loss, output_loss))
    assert one.mean[0] == pytest.approx(float(F.cosine_similarity(local, whole, dim=0)), abs=1e-6)


def test_blocks_without_gradient_and_gradients_that_are_not_finite():
    network = chain()
    network[0].requires_grad_(False)
    model = model_of(ll.Backprop(), network, torch.zeros(2, 8, dtype=torch.float64), blocks=3)
    found = gradient_agreement(model, vectors())
    assert found.mean[0] is None and found.deviation[0] is None
    assert found.mean[1:] == pytest.approx((1,) * 2) and found.inner_mean == pytest.approx(1)
    with torch.no_grad():
        network[2].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="gradients of block 2 are not finite"):
        gradient_agreement(model, vectors())


def test_every_checkpoint_of_a_run_on_the_same_batches(runs):
    run = opened(runs["dgl"])
    batches = drawn_batches(run, run.splits().train, CPU, batch_size=64, seed=3)
    found = agreement_over_training(
        run, lambda: [batch for batch, _ in zip(batches.epoch(0), range(2), strict=False)], CPU
    )
    assert found["steps"] == list(run.steps) and len(found["steps"]) > 1
    for step, mean, inner in zip(found["steps"], found["mean"], found["inner_mean"], strict=True):
        again = gradient_agreement(
            run.model(CPU, step=step, heads=True), [b for b, _ in zip(batches.epoch(0), "ab", strict=False)]
        )
        assert list(again.mean) == mean and again.inner_mean == inner
        assert mean[-1] == pytest.approx(1, abs=1e-5) and -1 < mean[0] < 0.999
    assert found["mean"][0] != found["mean"][-1]
    with pytest.raises(InputError, match="fewer than a batch of 5000"):
        drawn_batches(run, run.splits().train, CPU, batch_size=5000)


def test_steps_that_cannot_be_compared_are_named_and_the_others_shown(runs, tmp_path):
    copied = tmp_path / "dgl"
    shutil.copytree(runs["dgl"], copied)
    run = opened(copied)
    first, *rest = run.steps
    spoil(copied, first)
    batches = drawn_batches(run, run.splits().train, CPU, batch_size=64)
    found = agreement_over_training(run, lambda: [next(batches.epoch(0))], CPU)
    assert found["steps"] == rest and len(found["mean"]) == len(rest)
    ((missing),) = found["missing"]
    assert missing["step"] == first and "damaged" in missing["why"]
    for step in rest:
        spoil(copied, step)
    with pytest.raises(InputError, match="damaged"):
        agreement_over_training(run, lambda: [next(batches.epoch(0))], CPU)


def spoil(folder, step):
    (checkpoint,) = (folder / "checkpoints").glob(f"*{step:08d}*")
    (next(checkpoint.glob("network*"))).write_bytes(b"nonsense")


def test_batches_are_drawn_by_seed_and_augmented(runs):
    run = opened(runs["dgl"])
    train = run.splits().train
    drawn = [next(drawn_batches(run, train, CPU, batch_size=64, seed=seed).epoch(0)) for seed in (0, 0, 1)]
    (images, labels), (again, same), (others, other) = drawn
    assert torch.equal(images, again) and torch.equal(labels, same)
    assert not torch.equal(labels, other) and not torch.equal(images, others)
    assert len(labels.unique()) > 5
    plain, _ = next(run.batches(train, CPU, batch_size=len(train)).epoch(0))
    as_they_are = {tuple(image.flatten().tolist()) for image in plain}
    assert any(tuple(image.flatten().tolist()) not in as_they_are for image in images)
