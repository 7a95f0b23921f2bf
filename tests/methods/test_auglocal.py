"""AugLocal's windows and heads against the paper and the released code."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import locallearn as ll
from locallearn.methods.auglocal import AugLocal
from locallearn.methods.mlaan import MLAAN
from methods.auglocal_cases import cut, form, heads_of, model_of, resnet110
from small_networks import perceptron, residual, stack


@pytest.mark.usefixtures("without_initial_values")
def test_heads_are_those_of_the_released_code():
    """Width of each block, negative where it halves, by the unit that the head reads."""
    heads = heads_of(model_of(resnet110(), AugLocal(depth=3)))
    assert list(heads) == list(range(51))
    expected = {0: [16, -32, -64], 10: [-32, -64, 64], 19: [32, -64, 64], 30: [-64, 64], 48: [64, 64]}
    assert {unit: form(heads[unit]) for unit in expected} == expected
    assert all(head.norm is None for head in heads.values())
    heads = heads_of(model_of(resnet110(), AugLocal(depth=1)))
    assert [form(heads[unit]) for unit in (0, 18, 19, 36, 37, 52)] == [[-64]] * 4 + [[64]] * 2
    assert all(isinstance(head.norm, nn.BatchNorm1d) for head in heads.values()) and len(heads) == 53
    constant = heads_of(model_of(resnet110(), AugLocal(depth=3, tau=0.0)))
    assert form(constant[37]) == [64, 64, 64]
    observed, by_ratio = (
        [form(head) for head in heads_of(model_of(resnet110(), AugLocal(depth=6, downsampling=rule))).values()]
        for rule in ("observed", "channel_ratio")
    )
    assert observed == by_ratio
    without = heads_of(model_of(resnet110(), AugLocal(depth=3, downsampling="none")))
    assert form(without[0]) == [16, 32, 64]


def test_heads_of_resnet_34():
    """As the released ImageNet code builds them at D = 4, but with narrow layers."""
    kept = AugLocal(depth=4, tau=0.0, tail="kept")
    heads = heads_of(model_of(cut("small_resnet34", 17, 64), kept))
    assert list(heads) == list(range(16))
    expected = {
        0: [-8, -16, 16, -32],
        5: [-16, 16, 16, -32],
        8: [16, 16, -32, 32],
        13: [-32, 32, 32],
        15: [32],
    }
    assert {unit: form(heads[unit]) for unit in expected} == expected
    assert heads[15].norm is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("channel_ratio", {0: "M8 M16 M32 32", 2: "M16 M32 32 32", 6: "32 32 32"}),
        ("observed", {0: "M8 M16 M32 M32", 2: "M16 M32 32 M32", 6: "32 M32 32"}),
    ],
)
def test_heads_of_vgg(rule, expected):
    """VGG13 with narrow layers; M is a pool."""
    heads = heads_of(model_of(cut("small_vgg", 10), AugLocal(depth=4, tau=0.0, tail="kept", downsampling=rule)))
    for unit, widths in expected.items():
        found = []
        for layer in heads[unit].layers:
            kinds = [type(module).__name__ for module in layer]
            assert kinds[-3:] == ["Conv2d", "BatchNorm2d", "ReLU"] and kinds[:-3] in ([], ["MaxPool2d"])
            found.append("M" * (len(kinds) - 3) + str(layer[-3].out_channels))
        assert " ".join(found) == widths


def spans(blocks, method):
    return [(window.start, window.stop) for window in method.windows(blocks)]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_tail_is_one_window(depth):
    blocks = cut("resnet32", 16, preset="auglocal")
    assert spans(blocks, AugLocal(depth=depth)) == [(k, k + 1) for k in range(15 - depth)] + [(15 - depth, 16)]
    assert spans(blocks, AugLocal(depth=depth, tail="kept")) == [(k, k + 1) for k in range(16)]
    assert len(model_of(blocks, AugLocal(depth=depth)).objectives) == 16 - depth


def test_the_tail_is_counted_in_units():
    # Four blocks of four units end at the units 3, 7, 11 and 15.
    blocks = cut("resnet32", 4)
    single = [(k, k + 1) for k in range(4)]
    assert spans(blocks, AugLocal(depth=3)) == single
    assert spans(blocks, AugLocal(depth=4)) == [(0, 1), (1, 2), (2, 4)]
    assert spans(blocks, AugLocal(depth=11)) == [(0, 1), (1, 4)] and spans(blocks, AugLocal(depth=12)) == [(0, 4)]
    heads = heads_of(model_of(blocks, AugLocal(depth=3, tau=1.0)))
    assert {unit: len(head.layers) for unit, head in heads.items()} == {3: 3, 7: 2, 11: 1}
    assert [form(heads[unit]) for unit in heads] == [[-32, -64, 64], [-64, 64], [64]]


@pytest.mark.parametrize(
    ("num_blocks", "depth", "expected"),
    [
        (1, 2, [(0, 1)]),
        (2, 2, [(0, 1), (1, 2)]),
        (3, 2, [(0, 1), (1, 2), (2, 3)]),
        (2, 8, [(0, 2)]),
        (3, 6, [(0, 1), (1, 3)]),
    ],
)
def test_few_blocks(num_blocks, depth, expected):
    blocks = cut("resnet32", num_blocks)
    method = AugLocal(depth=depth)
    assert spans(blocks, method) == expected
    model = model_of(blocks, method)
    assert [len(head.layers) for head in heads_of(model).values()][:1] == [depth][: len(expected) - 1]
    outputs = model.local_backward(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    assert len(outputs) == len(expected) and all(output.loss.isfinite() for output in outputs)


def test_the_last_window_weighs_as_the_base_says():
    blocks = cut("resnet32", 16)
    assert AugLocal(ll.PredSim(last_weight=0.01)).windows(blocks)[-1] == (13, 16, "local", 0.01)
    assert spans(blocks, AugLocal(MLAAN(ll.DGL())))[-3:] == [(12, 13), (11, 13), (13, 16)]
    assert spans(cut("resnet32", 4), AugLocal(MLAAN(ll.DGL()), depth=11)) == [(0, 4)]


@pytest.mark.parametrize(
    ("base", "others"),
    [(ll.DGL(), set()), (ll.PredSim(), {"similarity"}), (ll.InfoPro(task_loss="cross_entropy"), {"reconstruction"})],
)
def test_heads_replace_the_base_s_alone(base, others):
    model = model_of(cut("resnet32", 16), AugLocal(base, depth=3))
    for objective in model.objectives[:-1]:
        names = {term.name: type(term.auxiliary).__name__ for term in objective.terms}
        assert names.pop("prediction") == "LaterLayers" and set(names) == others
    assert all(head.linear.out_features == 10 for head in heads_of(model).values())
    outputs = model.local_backward(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]))
    assert all(output.loss.isfinite() for output in outputs)


def test_a_wrapper_around_gets_heads_for_its_own_sites():
    model = model_of(cut("resnet32", 16), ll.MAN(AugLocal(depth=3), units=2))
    assert [(window.start, window.stop) for window in model.windows][-1] == (12, 16)
    assert all(
        output.loss.isfinite() for output in model.local_backward(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    )
    given = []

    def head(site, num_outputs):
        given.append((site.unit, num_outputs))
        return ll.auxiliary.PooledLinear(site.shape, num_outputs, threshold=512, zero_weight=False)

    method, blocks = AugLocal(), cut("resnet32", 16)
    site = ll.Site(3, 13, 3, blocks.units[3].out_shape)
    context = ll.Context(blocks, ll.Classification(10))
    method.objective(method.windows(blocks)[3], site, context, head=head)
    assert given == [(3, 10)]


NETWORKS = {
    # Side of the image, number of blocks, what the heads are made of.
    "resnet32": (32, 16, {"BasicBlock"}),
    "torchvision:resnet18": (32, 4, {"BasicBlock"}),
    "resnet50": (32, 4, {"Bottleneck"}),
    "small_vgg": (32, 10, {"Conv2d"}),
    "mobilenet_v2": (64, 6, {"InvertedResidual", "Conv2d"}),
    "efficientnet_b0": (64, 6, {"MBConv", "Conv2d"}),
    "regnet_x_400mf": (64, 6, {"ResBottleneckBlock"}),
    "mobilenet_v3_small": (64, 6, {"MapAdapter", "Conv2d"}),
    "small_vit": (16, 6, {"MultiheadAttention"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    size, num_blocks, kinds = NETWORKS[name]
    blocks = cut(name, num_blocks, size)
    model = model_of(blocks, AugLocal(depth=2))
    inputs, labels = torch.randn(2, 3, size, size), torch.tensor([0, 1])
    outputs = model.local_backward(inputs, labels)
    assert len(outputs) >= 4 and all(output.loss.isfinite() for output in outputs)
    assert all(parameter.grad is not None for parameter in model.parameters())
    own = {tensor.data_ptr() for tensor in (*model.network.parameters(), *model.network.buffers())}
    tensors = [t for t in (*model.objectives.parameters(), *model.objectives.buffers()) if t.numel()]
    assert not own & {tensor.data_ptr() for tensor in tensors}
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)
    drawn = [p for p in model.objectives.parameters() if p.std() > 0]
    originals = [p for p in model.network.parameters() if p.std() > 0]
    assert drawn and not any(torch.equal(p, other) for p in drawn for other in originals if p.shape == other.shape)
    last, found = blocks.units[-1].out_shape, set()
    for end, head in heads_of(model).items():
        with torch.no_grad():
            features = head.layers(torch.zeros(2, *blocks.units[end].out_shape))
        assert features.shape[1:] == last if len(last) == 2 else features.shape[1] == last[0]
        found |= {type(module).__name__ for module in head.layers.modules()}
    assert kinds <= found
    assert ("MapAdapter" in found) == ("MapAdapter" in kinds)


@pytest.mark.parametrize(
    "network", [stack([4, 6, 6, 8], strides=[1, 2, 1, 2]), residual(4), perceptron()], ids=["stack", "residual", "mlp"]
)
def test_gradients_equal_the_plain_computation(network):
    shape = (8,) if isinstance(network[0], nn.Linear) else (3, 8, 8)
    inputs, labels = torch.randn(6, *shape, dtype=torch.float64), torch.randint(3, (6,))
    blocks = ll.partition(network, inputs, num_blocks=3)
    model = model_of(blocks, AugLocal(depth=1), 3)
    slow_model = deepcopy(model)
    model.local_backward(inputs, labels)
    blocks, x = slow_model.partition.blocks, inputs
    heads = list(heads_of(slow_model).values())
    assert len(heads) >= 1
    for head, block in zip(heads, blocks, strict=False):
        x = block(x.detach())
        F.cross_entropy(head(x), labels).backward()
    x = x.detach()
    for block in blocks[len(heads) :]:
        x = block(x)
    F.cross_entropy(x, labels).backward()
    for (name, fast), (_, slow) in zip(model.named_parameters(), slow_model.named_parameters(), strict=True):
        torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-10, msg=name)


def test_same_seed_same_heads():
    def drawn(seed, **fields):
        torch.manual_seed(seed)
        return [p.clone() for p in model_of(cut("resnet32", 16), AugLocal(**fields)).objectives.parameters()]

    assert all(map(torch.equal, drawn(3), drawn(3)))
    assert not any(torch.equal(a, b) for a, b in zip(drawn(3), drawn(4), strict=True) if a.ndim == 4)
    matched = {"layers": "conv3x3", "match_flops": True}
    # The second time the multiplier is known; solving it must not have drawn numbers.
    assert all(map(torch.equal, drawn(3, **matched), drawn(3, **matched)))


def test_normalisation_at_depth_one():
    blocks = cut("resnet32", 16)
    normed = {unit: head.norm is not None for unit, head in heads_of(model_of(blocks, AugLocal(tau=1.0))).items()}
    assert normed == {unit: unit > 6 for unit in range(13)}
    off = heads_of(model_of(blocks, AugLocal(depth=1, norm_at_depth_one=False)))
    assert all(head.norm is None for head in off.values())


def test_ladder_of_table_5():
    def forms(**fields):
        heads = heads_of(model_of(resnet110(), AugLocal(depth=5, **fields)))
        return [form(heads[unit]) for unit in (0, 1, 18, 19, 36, 37, 48)]

    uniform = forms()
    assert [len(widths) for widths in uniform] == [5, 5, 4, 4, 4, 3, 3]
    second = forms(repeated=(2,), repeated_halving=(2,))
    assert second == [*uniform[:3], *[[-32, 32, 32, 32, 32]] * 2, *uniform[5:]]
    assert forms(repeated=(2,)) == [*uniform[:3], *[[32] * 5] * 2, *uniform[5:]]
    both = forms(repeated=(0, 1, 2), repeated_halving=(0, 1))
    assert both == [*[[-16, 16, 16, 16, 16]] * 3, *[[32] * 5] * 2, *uniform[5:]]
    assert forms(repeated=(2,), downsampling="none")[3] == [32] * 5
    single = heads_of(model_of(resnet110(), AugLocal(depth=1, repeated=(2,))))
    assert form(single[20]) == [32] and single[20].norm is not None
    heads = heads_of(model_of(resnet110(), AugLocal(depth=5, layers="conv3x3")))
    for unit, width in ((0, 16), (18, 16), (19, 32), (48, 64)):
        convs = [module for module in heads[unit].modules() if isinstance(module, nn.Conv2d)]
        assert [(conv.out_channels, conv.kernel_size) for conv in convs] == [(width, (3, 3))] * 6
        assert heads[unit](torch.zeros(2, *resnet110().units[unit].out_shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0}, "depth is a number of hidden layers, at least 1, not 0"),
        ({"tau": -0.1}, "tau lies between 0"),
        ({"tau": 1.1}, "tau lies between 0"),
        ({"tau": float("nan")}, "tau lies between 0"),
        ({"tail": "cut"}, "tail is 'cut'; it must be one of 'merged', 'kept'"),
        ({"layers": "conv1x1"}, "layers is 'conv1x1'"),
        ({"downsampling": "half"}, "downsampling is 'half'"),
        ({"match_flops": True}, "match_flops changes the heads of layers='conv3x3' only"),
        ({"repeated": (2,), "repeated_halving": (1, 2)}, r"stages \[1\], which are not in repeated=\(2,\)"),
        ({"repeated": (2,), "layers": "conv3x3"}, "has no effect with layers='conv3x3'"),
        ({"depth": 0, "tau": 2.0}, "(?s)depth.*tau"),
        ({"base": ll.Backprop()}, "needs a base with local losses"),
        ({"base": None}, "laid over another method"),
    ],
)
def test_values_that_are_refused(fields, message):
    with pytest.raises(ll.InputError, match=message):
        AugLocal(**fields)


def test_refusals_that_depend_on_the_network():
    with pytest.raises(ll.InputError, match=r"the stages \[4\]; the network has 0 to 3"):
        model_of(cut("resnet32", 16), AugLocal(repeated=(1, 4)))
    with pytest.raises(ll.InputError, match=r"features.1 has 16 channels after 32 of unit features.0"):
        model_of(cut("mobilenet_v2", 19, 64), AugLocal(depth=18, tail="kept", downsampling="channel_ratio"))


def test_the_default_is_a_value():
    assert AugLocal() == AugLocal(ll.DGL()) and hash(AugLocal()) == hash(AugLocal(depth=2))
    assert AugLocal() == ll.method("auglocal")
    assert ll.method("predsim+auglocal", depth=3) == AugLocal(ll.PredSim(), depth=3)


@pytest.mark.parametrize("name", ["vgg11_bn", "mobilenet_v2", "efficientnet_b0", "resnet18"])
def test_heads_on_fake_tensors(name):
    import torchvision

    with FakeTensorMode():
        network = getattr(torchvision.models, name)(num_classes=10)
        blocks = ll.partition(network, torch.empty(2, 3, 64, 64), num_blocks=5)
        model = ll.LocalModel(blocks, ll.AugLocal(), ll.Classification(10))
        model.local_backward(torch.empty(4, 3, 64, 64), torch.empty(4, dtype=torch.long))
        assert all(parameter.grad is not None for parameter in model.parameters())
