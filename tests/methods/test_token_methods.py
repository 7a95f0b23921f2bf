"""Vision transformers under every method: heads, decoders and copies on sequences of tokens."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.auxiliary import TokenMap, TokenVector, UpsamplingDecoder
from locallearn.engine.grouped_heads import equal_runs

SIDE, WIDTH = 32, 12
GROUPED = ll.Execution(group_heads=True)


@functools.cache
def vit_blocks():
    """Three encoder blocks of 12 numbers for five tokens; tests only read it."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(SIDE, 16, 4, 2, WIDTH, 24, num_classes=3)
    return ll.partition(network, torch.zeros(2, 3, SIDE, SIDE), num_blocks=4)


@functools.cache
def timm_blocks():
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, depth=4, num_classes=3)
    return ll.partition(network, torch.zeros(2, 3, SIDE, SIDE), num_blocks=4)


def model_of(method, blocks=None):
    torch.manual_seed(0)
    return ll.LocalModel(blocks or vit_blocks(), method, ll.Classification(3))


CROSS_ENTROPY = ll.InfoPro(task_loss="cross_entropy")
METHODS = {
    "dgl": ll.DGL(),
    "dgl, class token": ll.DGL(tokens="class", head="mlaan"),
    "dgl, infopro's head": ll.DGL(head="infopro"),
    "predsim": ll.PredSim(tokens="class"),
    "infopro": ll.InfoPro(),
    "infopro, imagenet": ll.InfoPro(task_loss="cross_entropy", head="imagenet", decoder="imagenet", widen=0.1),
    "auglocal": ll.AugLocal(tail="kept"),
    "auglocal, class token": ll.AugLocal(tokens="class", tail="kept"),
    "auglocal, conv3x3": ll.AugLocal(layers="conv3x3", tail="kept"),
    "man": ll.MAN(ll.DGL()),
    "man, one number per feature": ll.MAN(ll.DGL(), bias="channel"),
    "man, paper": ll.method("dgl+man_paper"),
    "infopro+man": ll.MAN(CROSS_ENTROPY),
    "mlaan": ll.MLAAN(),
    "infopro+mlaan": ll.MLAAN(CROSS_ENTROPY),
}


@pytest.mark.parametrize("build", [vit_blocks, timm_blocks])
@pytest.mark.parametrize("name", METHODS)
def test_two_samples_train_every_parameter(name, build):
    blocks = build()
    blocks.network.zero_grad()
    model = model_of(METHODS[name], blocks)
    outputs = model.local_backward(torch.rand(2, 3, SIDE, SIDE), torch.tensor([0, 1]))
    model.after_step()
    assert len(outputs) >= 4 and all(output.loss.isfinite() for output in outputs)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def sequences(model):
    """Local objectives that read tokens."""
    pairs = zip(model.partition.infos, model.objectives, strict=True)
    found = [objective for info, objective in pairs if info.index < 3 and info.out_shape == (5, WIDTH)]
    assert found
    return found


@pytest.mark.parametrize("method", [ll.DGL(tokens="class"), ll.AugLocal(tokens="class", depth=1, tail="kept")])
def test_the_class_token_alone_is_read(method):
    model = model_of(method)
    for objective in sequences(model):
        (vector,) = [module for module in objective.modules() if isinstance(module, TokenVector)]
        tokens = torch.randn(2, 5, WIDTH, requires_grad=True)
        vector(tokens).sum().backward()
        assert vector.reading == "class" and not tokens.grad[:, 1:].any() and tokens.grad[:, 0].all()


def test_a_wrapped_methods_own_reading_holds():
    model = model_of(ll.MAN(ll.DGL(tokens="class")))
    assert {m.reading for m in model.objectives.modules() if isinstance(m, TokenVector)} == {"class"}


def test_the_bias_of_man_is_one_number_per_feature():
    model = model_of(ll.MAN(ll.DGL(), bias="channel"))
    layers = [objective.layers[0] for objective in sequences(model)]
    assert all(layer.vector.shape == (WIDTH,) for layer in layers)
    layer, tokens = layers[0], torch.randn(2, 5, WIDTH)
    before = layer(tokens)
    with torch.no_grad():
        layer.vector.copy_(torch.arange(WIDTH))
    torch.testing.assert_close(layer(tokens) - before, torch.arange(WIDTH).expand(2, 5, WIDTH).float())


def test_heads_on_tokens_still_run_together():
    model = model_of(ll.DGL(), timm_blocks())
    shapes = [model.partition.infos[window.stop - 1].out_shape for window in model.windows]
    assert shapes[:3] == [(5, 192)] * 3 and equal_runs(list(model.objectives), shapes) == [range(3)]
    losses = []
    for objectives in (model, ll.LocalModel(model.partition, ll.DGL(), ll.Classification(3), execution=GROUPED)):
        objectives.objectives.load_state_dict(model.objectives.state_dict())
        torch.manual_seed(1)
        outputs = objectives.local_backward(torch.rand(3, 3, SIDE, SIDE), torch.tensor([0, 1, 2]))
        losses.append([output.loss for output in outputs])
    torch.testing.assert_close(*losses)


def test_images_are_restored_from_the_patches():
    model = model_of(ll.InfoPro(decoder="imagenet"))
    for objective in sequences(model):
        decoder = objective.terms[0].auxiliary
        assert isinstance(decoder, nn.Sequential)
        patches, upsampling = decoder
        assert isinstance(patches, TokenMap) and isinstance(upsampling, UpsamplingDecoder)
        assert (patches.prefix, patches.size) == (1, (2, 2))
        assert upsampling.convs[0].in_channels == WIDTH and upsampling.image_shape[1:] == (SIDE, SIDE)
        tokens = torch.randn(2, 5, WIDTH, requires_grad=True)
        decoder(tokens).square().sum().backward()
        assert not tokens.grad[:, 0].any() and tokens.grad[:, 1:].any(-1).all()


def test_match_flops_counts_heads_on_tokens():
    model_of(ll.AugLocal(layers="conv3x3", match_flops=True, tail="kept"))
