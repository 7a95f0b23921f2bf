from __future__ import annotations

import pytest
import torch

import locallearn as ll
from locallearn.auxiliary import ImageNetClassifier, UpsamplingDecoder
from locallearn.methods.infopro import PUBLISHED_WEIGHTS
from locallearn.partitioning.published_cuts import PRESETS
from small_networks import residual, stack


def model_of(method, num_blocks=4, network=None):
    network = network or residual(num_blocks - 1)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8, dtype=torch.float64), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(3))


def weights(model, name):
    found = [{term.name: term.weight for term in objective.terms} for objective in model.objectives[:-1]]
    return [terms.get(name, 0.0) for terms in found]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ll.DGL(head="nope"), "DGL's head is 'nope'; it must be one of 'auglocal', 'authors'"),
        (lambda: ll.InfoPro(task_loss="nope", schedule="no"), "(?s)task_loss is 'nope'.*schedule is 'no'"),
        (lambda: ll.InfoPro(reconstruction=(1.0, -1.0)), "two numbers of at least 0"),
        (
            lambda: ll.InfoPro(decoder="stl10"),
            "decoder is 'stl10'; it must be one of 'cifar', 'imagenet', 'segmentation'",
        ),
        (lambda: ll.DGL(tokens="last"), "tokens is 'last'; it must be one of 'mean', 'class'"),
        (lambda: ll.PredSim(beta=1.5), "between 0 and 1, not 1.5"),
        (lambda: ll.PredSim(last_weight=float("nan")), "must be positive"),
        (lambda: ll.method("dgll"), "Did you mean 'dgl'"),
        (lambda: ll.method("dgl", haed="authors"), "Did you mean 'head'"),
        (lambda: ll.method("small_networks:stack"), "not a subclass of locallearn.Method"),
        (lambda: ll.method("nowhere:Method"), "cannot be imported"),
        (lambda: ll.method(".a:B"), "cannot be imported"),
    ],
)
def test_values_that_are_refused(make, message):
    with pytest.raises(ll.InputError, match=message):
        make()


def test_methods_are_values():
    assert ll.DGL() == ll.method("dgl") and hash(ll.DGL()) == hash(ll.DGL(head="auglocal"))
    assert ll.DGL() != ll.DGL(head="authors")


def test_infopro_weights_go_linearly_from_first_to_last_local_block():
    model = model_of(ll.InfoPro(reconstruction=(5.0, 1.0), prediction=(0.0, 2.0)), 4)
    assert weights(model, "reconstruction") == [5.0, 3.0, 1.0]
    assert weights(model, "contrastive") == [0.0, 1.0, 2.0]
    assert [len(objective.terms) for objective in model.objectives[:-1]] == [1, 2, 2]
    assert weights(model_of(ll.InfoPro(reconstruction=(5.0, 1.0)), 2), "reconstruction") == [5.0]


def test_infopro_weights_by_stage():
    network = stack([4, 8, 8, 16, 16], strides=[1, 2, 1, 2, 1])
    model = model_of(ll.InfoPro(reconstruction=(6.0, 0.0), prediction=(1.0, 1.0), schedule="stage"), 5, network)
    assert weights(model, "reconstruction") == [6.0, 4.0, 4.0, 2.0]
    with pytest.raises(ll.InputError, match="leaves the range"):
        model_of(ll.InfoPro(schedule="stage"), 3, stack([4, 8, 16, 32, 32], strides=[1, 2, 2, 2, 1]))


def test_infopro_refuses_a_block_that_would_not_learn():
    with pytest.raises(ll.InputError, match=r"Both InfoPro weights are zero at local block 2 \(unit blocks.1\)"):
        model_of(ll.InfoPro(reconstruction=(5.0, 0.0), prediction=(1.0, 0.0)), 4)


@pytest.mark.parametrize("decoder", ["imagenet", "segmentation"])
def test_infopro_for_large_images(decoder):
    method = ll.InfoPro(task_loss="cross_entropy", decoder=decoder, head="imagenet", widen=0.5)
    model = model_of(method, 3, stack([4, 8, 8], strides=[1, 2, 2]))
    reconstruction, prediction = (term.auxiliary for term in model.objectives[1].terms)
    assert isinstance(reconstruction, UpsamplingDecoder) and isinstance(prediction, ImageNetClassifier)
    assert [conv.out_channels for conv in reconstruction.convs] == [6, 3]
    assert prediction.linear.in_features == 1024
    bound = 8**-0.5  # PyTorch's, which 48 draws with the Kaiming rule's standard deviation of 0.58 exceed
    assert (reconstruction.convs[0].weight.abs().max() <= bound) == (decoder == "segmentation")
    outputs = model.local_backward(torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.randint(3, (4,)))
    assert all(output.loss.isfinite() for output in outputs)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_published_weights_belong_to_published_cuts():
    for (network, _, num_blocks, preset), fields in PUBLISHED_WEIGHTS.items():
        assert (network, num_blocks) in PRESETS[preset]
        ll.InfoPro(**fields)
    assert len(PUBLISHED_WEIGHTS) == 22
    assert PUBLISHED_WEIGHTS["resnet32", "cifar10", 16, "infopro"] == {
        "reconstruction": (5.0, 0.2),
        "prediction": (0.05, 0.5),
    }


def test_predsim_forms():
    authors = model_of(ll.PredSim(head="original", pooled_features=2048, last_weight=0.01))
    assert authors.windows[-1].weight == 0.01
    assert not authors.objectives[0].terms[1].auxiliary.linear.weight.any()
    assert model_of(ll.PredSim()).objectives[0].terms[1].auxiliary.linear.weight.any()
    assert [term.name for term in model_of(ll.PredSim(beta=1.0)).objectives[0].terms] == ["similarity"]
    assert [term.name for term in model_of(ll.PredSim(beta=0.0)).objectives[0].terms] == ["prediction"]


@pytest.mark.parametrize("head", ["auglocal", "authors", "mlaan", "man", "infopro"])
def test_every_head_of_dgl_trains_and_is_absent_from_the_network(head):
    model = model_of(ll.DGL(head=head), 3)
    inputs, labels = torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.randint(3, (4,))
    outputs = model.local_backward(inputs, labels)
    assert all(output.loss.isfinite() for output in outputs)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["dgl", "predsim", "infopro", "backprop"])
def test_same_seed_same_numbers(name):
    def losses():
        torch.manual_seed(3)
        model = model_of(ll.method(name), 3, residual(2))
        inputs, labels = torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.randint(3, (4,))
        return [float(output.loss) for output in model.local_backward(inputs, labels)]

    assert losses() == losses()
