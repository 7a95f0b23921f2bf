"""MAN and MLAAN: what they build, where, and what they refuse."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import locallearn as ll
from locallearn.methods.man import MAN_CODE, MAN_PAPER
from locallearn.methods.mlaan import MLAAN_CODE, MLAAN_PAPER
from locallearn.partitioning.partition import recut
from small_networks import residual, stack

EXAMPLE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def cut(num_blocks, network=None):
    return ll.partition(network or residual(5), EXAMPLE, num_blocks=num_blocks)


def model_of(method, num_blocks=6, network=None):
    return ll.LocalModel(cut(num_blocks, network), method, ll.Classification(3))


def windows(method, num_blocks):
    return [(w.start, w.stop, w.role, w.weight) for w in method.windows(cut(num_blocks))]


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "blocks", "branch"), [("resnet32", 16, 461_120), ("resnet110", 55, 1_724_928)])
def test_the_branches_of_man_have_the_size_of_the_released_ones(name, blocks, branch):
    network = ll.networks.build(name, 10)
    partition = ll.partition(network, torch.zeros(2, 3, 32, 32), num_blocks=blocks, preset="man")
    model = ll.LocalModel(partition, ll.method("man_code"), ll.Classification(10))
    layers = [objective.layers[0] for objective in model.objectives[:-1]]
    assert len(layers) == blocks - 2
    assert sum(size(layer.averaged) for layer in layers) == branch == sum(size(layer.learned) for layer in layers)
    assert not any(parameter.requires_grad for layer in layers for parameter in layer.averaged.parameters())
    assert all(parameter.requires_grad for layer in layers for parameter in layer.learned.parameters())


def test_the_head_of_man_has_the_shape_of_the_copied_unit():
    network = stack([4, 6, 8, 8], strides=[1, 2, 2, 1])
    for units, widths in ((1, [6, 8, 8]), (3, [6, 8, 8])):
        model = model_of(ll.MAN(ll.DGL(head="linear"), units=units), 4, network)
        assert [o.objective.terms[0].auxiliary.linear.in_features for o in model.objectives[:-1]] == widths
    model = model_of(ll.MAN(ll.DGL(head="linear"), units=2), 2, stack([4, 6, 8, 10]))
    assert model.objectives[0].objective.terms[0].auxiliary.linear.in_features == 10
    names = dict(model.objectives[0].layers[0].averaged.named_parameters())
    assert [name for name in names if name.endswith("weight")] == [
        "conv2.weight", "norm2.weight", "conv3.weight", "norm3.weight",
    ]  # fmt: skip


@pytest.mark.parametrize("start", ["equal", "independent"])
def test_how_copies_start(start):
    network = residual(5)
    model = model_of(ll.MAN(start=start), 6, network)
    for objective in model.objectives[:-1]:
        layer = objective.layers[0]
        for name, parameter in layer.averaged.named_parameters():
            if parameter.ndim > 1:
                bias = layer.learned.get_parameter(name)
                assert torch.equal(parameter, network.get_parameter(name)) == (start == "equal")
                assert torch.equal(parameter, bias) == (start == "equal")


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, {"averaged", "learned"}),
        ({"bias": "none"}, {"averaged"}),
        ({"copy": "none"}, {"learned"}),
        ({"bias": "scaled_unit"}, {"averaged", "learned", "scale"}),
        ({"bias": "channel"}, {"averaged", "vector"}),
        (MAN_PAPER, {"averaged", "vector"}),
        (MAN_CODE, {"averaged", "learned"}),
    ],
)
def test_the_ablations_of_man(fields, kinds):
    layer = model_of(ll.MAN(**fields)).objectives[0].layers[0]
    assert {kind for kind in ("averaged", "learned", "scale", "vector") if getattr(layer, kind) is not None} == kinds
    learns = fields.get("copy") == "pulled"
    if layer.averaged is not None:
        assert all(parameter.requires_grad == learns for parameter in layer.averaged.parameters())


def test_the_windows_of_mlaan():
    i, c = ("independent", 0.001), ("cascade", 0.999)
    assert windows(ll.MLAAN(), 5) == [
        (1, 2, *i), (0, 2, *c), (2, 3, *i), (1, 3, *c), (3, 4, *i), (2, 4, *c), (3, 5, "cascade", 1.0),
    ]  # fmt: skip
    assert windows(ll.MLAAN(cascade=3), 5) == [
        (2, 3, *i), (0, 3, *c), (3, 4, *i), (1, 4, *c), (2, 5, "cascade", 1.0),
    ]  # fmt: skip
    assert windows(ll.MLAAN(first_blocks="independent", cascade=3), 4) == [
        (0, 1, *i), (1, 2, *i), (2, 3, *i), (0, 3, *c), (1, 4, "cascade", 1.0),
    ]  # fmt: skip
    assert windows(ll.MLAAN(stride=2), 6) == [
        (1, 2, *i), (0, 2, *c), (2, 3, *i), (3, 4, *i), (2, 4, *c), (4, 5, *i), (4, 6, "cascade", 1.0),
    ]  # fmt: skip
    assert windows(ll.MLAAN(output="both"), 3) == [(1, 2, *i), (0, 2, *c), (2, 3, *i), (1, 3, *c)]
    assert windows(ll.MLAAN(cascade=1), 3) == [(0, 1, "cascade", 1), (1, 2, "cascade", 1), (2, 3, "cascade", 1)]
    for cascade, blocks in ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3)):
        assert windows(ll.MLAAN(cascade=cascade), blocks) == [(0, blocks, "cascade", 1.0)]
    both = ll.MLAAN(cascade=4, output="both", first_blocks="independent")
    assert windows(both, 1) == [(0, 1, "cascade", 1.0)]
    assert windows(both, 3) == [(0, 1, *i), (1, 2, *i), (2, 3, *i), (0, 3, *c)]


def test_mlaan_keeps_the_weight_of_the_base_s_last_window():
    assert ll.MLAAN(ll.PredSim(last_weight=0.01)).windows(cut(4))[-1].weight == 0.01
    assert ll.MLAAN(ll.PredSim(last_weight=0.01), cascade=1).windows(cut(4))[-1].weight == 0.01


@pytest.mark.parametrize(
    ("averaging", "forms"),
    [
        ("twin_first", [{"averaged", "learned"}, {"learned"}]),
        ("twin_all", [{"averaged", "learned"}, {"averaged", "learned"}]),
        ("pulled", [{"averaged"}, {"averaged"}]),
    ],
)
def test_the_averaging_policies_of_mlaan(averaging, forms):
    model = model_of(ll.MLAAN(averaging=averaging), 6)
    window = next(index for index, w in enumerate(model.windows) if w.role == "cascade")
    layers = list(model.objectives[window].layers)
    found = [{kind for kind in ("averaged", "learned") if getattr(layer, kind) is not None} for layer in layers]
    assert found[:2] == forms and all(form == forms[1] for form in found[1:])
    followed = {follow.source for follow in model.objectives[window].follows()}
    averaged = [layer.averaged for layer in layers if layer.averaged is not None]
    assert followed == {name for copy in averaged for name, _ in copy.named_parameters()}


@pytest.mark.parametrize(
    ("leap", "roles"), [("cascade", {"cascade"}), ("independent", {"independent"}), ("none", set()),
                        ("both", {"cascade", "independent"})],
)  # fmt: skip
def test_which_windows_leap(leap, roles):
    model = model_of(ll.MLAAN(leap=leap), 6)
    pairs = zip(model.windows, model.objectives, strict=True)
    assert {window.role for window, objective in pairs if isinstance(objective, ll.LookAhead)} == roles


def test_only_the_last_local_block_s_copies_move_as_in_the_released_code():
    model = model_of(ll.MLAAN(averaged_blocks="last"), 6)
    moving = [w for w, o in zip(model.windows, model.objectives, strict=True) if list(o.follows())]
    assert [(w.start, w.stop) for w in moving] == [(3, 5)]


def test_presets_are_names_and_their_fields_can_be_changed():
    assert ll.method("man_code") == ll.MAN(**MAN_CODE) == ll.MAN(ll.DGL(), start="independent", update="before_step")
    assert ll.method("infopro+man_paper") == ll.MAN(ll.InfoPro(), copy="pulled", bias="channel")
    assert ll.method("mlaan_code").base == ll.DGL(head="linear")
    assert ll.method("dgl+mlaan_code", cascade=3) == ll.MLAAN(ll.DGL(), **MLAAN_CODE | {"cascade": 3})
    assert ll.method("mlaan_paper") == ll.MLAAN(**MLAAN_PAPER)
    assert ll.method("dgl+man+mlaan").base == ll.MAN(ll.DGL())
    assert ll.method("mlaan", base={"head": "man"}) == ll.MLAAN(ll.DGL(head="man"))
    assert ll.method("dgl+man", base=ll.PredSim()) == ll.MAN(ll.PredSim())
    assert ll.method("auglocal") == ll.method("dgl+auglocal") == ll.AugLocal()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ll.MAN(momentum=1.1), "MAN's momentum is the share .* between 0 and 1, not 1.1"),
        (lambda: ll.MLAAN(momentum=-0.1), "MLAAN's momentum .* not -0.1"),
        (lambda: ll.MAN(momentum=float("nan")), "not nan"),
        (lambda: ll.MAN(units=0), "at least 1, not 0"),
        (lambda: ll.MAN(copy="none", bias="none"), "copy='none' needs bias='unit'"),
        (lambda: ll.MAN(copy="none", bias="channel"), "copy='none' needs bias='unit'"),
        (lambda: ll.MAN(ll.Backprop()), "MAN needs a base with local losses, and Backprop has none"),
        (lambda: ll.MAN("dgl"), r"such as MAN\(DGL\(\)\), not over 'dgl'"),
        (lambda: ll.MLAAN(cascade=0, stride=0), "(?s)cascade is a number of blocks, at least 1.*stride"),
        (lambda: ll.MAN(units=1.5), "MAN's units must be a whole number, not 1.5"),
        (lambda: ll.MAN(momentum="0.9"), "MAN's momentum must be a number, not '0.9'"),
        (lambda: ll.MLAAN(cascade=True), "MLAAN's cascade must be a whole number, not True"),
        (lambda: ll.AugLocal(norm_at_depth_one="no"), "norm_at_depth_one must be True or False, not 'no'"),
        (lambda: ll.MLAAN(independent_weight=float("inf")), "positive and finite, not inf"),
        (lambda: ll.MAN(ll.MAN()), "MAN is laid over MAN already"),
        (lambda: ll.method("dgl+man+mlaan+man"), "MAN is laid over MAN already"),
        (lambda: ll.AugLocal(ll.MAN(), layers="conv3x3", match_flops=True), "which MAN changes; lay AugLocal over"),
        (lambda: ll.MLAAN(cascade=1, leap="independent"), "cascade=1 has no independent windows to leap from"),
        (lambda: ll.MLAAN(independent_weight=0.0), "must be positive and finite, not 0.0"),
        (lambda: ll.method("man+dgl"), "'dgl' cannot be laid over another method; after a '[+]' stand auglocal, man"),
        (lambda: ll.method("dgl+mann"), "Did you mean 'man'"),
        (
            lambda: ll.method("dgl+man", base={"haed": "man"}),
            "'dgl[+]man, base' has no field 'haed'. Did you mean 'head'",
        ),
        (lambda: ll.method("dgl", base={}), "'dgl' has no field 'base'"),
        (lambda: ll.method("dgl+"), "There is no method ''"),
    ],
)
def test_values_that_are_refused(make, message):
    with pytest.raises(ll.InputError, match=message):
        make()


def test_a_released_leap_that_does_not_fit_names_units_and_shapes():
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv = nn.Conv2d(width, width, 3, padding=1)

        def forward(self, x):
            return x + self.conv(x)

    blocks = nn.Sequential(*(Block(4) for _ in range(8)), nn.Conv2d(4, 6, 3, padding=1), *(Block(6) for _ in range(6)))
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    partition = recut(ll.partition(network, EXAMPLE.float(), num_blocks=16), EXAMPLE.float(), [2, *[1] * 14])
    message = "MLAAN cannot leap from unit 2 (1.1) to units [6, 11, 13, 15]: unit 11 (1.10) reads (6, 8, 8), and the "
    with pytest.raises(ll.InputError, match=re.escape(message) + r".*\(4, 8, 8\).*leap_layers='rule'"):
        ll.LocalModel(partition, ll.method("mlaan_code"), ll.Classification(3))


@pytest.mark.parametrize("name", ["dgl+man", "mlaan", "dgl+mlaan", "auglocal", "auglocal+man"])
@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_few_blocks_work(name, num_blocks):
    model = model_of(ll.method(name), num_blocks)
    outputs = model.local_backward(torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.randint(3, (4,)))
    assert all(output.loss.isfinite() for output in outputs)


def test_a_list_is_taken_for_a_tuple():
    method = ll.InfoPro(reconstruction=[5.0, 1.0])
    assert method.reconstruction == (5.0, 1.0) and hash(method) == hash(ll.InfoPro(reconstruction=(5.0, 1.0)))


def test_infopro_weights_by_stage_follow_the_copied_unit_or_the_block():
    network = stack([4, 8, 8, 16, 16, 16], strides=[1, 2, 1, 2, 1, 1])
    fields = {"reconstruction": (5.0, 0.0), "prediction": (1.0, 1.0)}

    def weights(wrap, schedule):
        model = model_of(wrap(ll.InfoPro(schedule=schedule, **fields)), 6, network)
        return {
            (w.start, w.stop): round(
                o.objective.terms[0].weight if isinstance(o, ll.LookAhead) else o.terms[0].weight, 6
            )
            for w, o in zip(model.windows, model.objectives, strict=True)
            if w.stop < 6
        }

    assert [unit.stage for unit in cut(6, network).units] == [0, 1, 1, 2, 2, 2]
    assert list(weights(ll.MAN, "stage").values()) == [3.75, 3.75, 2.5, 2.5, 2.5]
    assert list(weights(ll.MAN, "block_stage").values()) == [5.0, 3.75, 3.75, 2.5, 2.5]
    by_block = {2: 3.75, 3: 3.75, 4: 2.5, 5: 2.5}
    assert weights(ll.MLAAN, "block_stage") == {
        window: by_block[window[1]] for window in [(1, 2), (0, 2), (2, 3), (1, 3), (3, 4), (2, 4), (4, 5), (3, 5)]
    }
    assert weights(ll.MLAAN, "stage")[0, 2] == 2.5
