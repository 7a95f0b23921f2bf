"""A model of MAN or MLAAN beside the same network as plain units, with copies of all that its objectives learn."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

import locallearn as ll
from conformance.networks import CLASSES, staged
from locallearn.methods import METHODS, PRESETS
from reference import local_losses, look_ahead
from reference.chained import copies_of, nested
from small_networks import stack

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
BASES = {
    "linear": ll.DGL(head="linear"),
    "dgl": ll.DGL(),
    "predsim": ll.PredSim(beta=0.7),
    "infopro": ll.InfoPro(feature_dim=5, task_loss="cross_entropy", prediction=(0.5, 2.0)),
    "contrastive": ll.InfoPro(feature_dim=5, prediction=(0.5, 2.0)),
}
HALF = {"independent_weight": 0.3, "cascade_weight": 0.6}
RULE = {"leap_layers": "rule"}
WRAPPED = {
    "man": {},
    "man+scaled": {"bias": "scaled_unit"},
    "man+channel": {"bias": "channel"},
    "man+averaging_only": {"bias": "none"},
    "man+bias_only": {"copy": "none"},
    "man+next_parameters": {"bias": "none", "momentum": 0.0},
    "man+pulled": {"copy": "pulled", "bias": "none"},
    "man+pulled_unit": {"copy": "pulled"},
    "man+pulled_scaled": {"copy": "pulled", "bias": "scaled_unit"},
    "man+two_units": {"units": 2},
    "man+many_units": {"units": 9, "bias": "scaled_unit", "buffers": "averaged"},
    "man_code": {},
    "man_paper": {},
    "mlaan": {},
    "mlaan+c1": {"cascade": 1},
    "mlaan+c3": HALF | {"cascade": 3, "first_blocks": "independent"},
    "mlaan+c3_both": HALF | {"cascade": 3, "output": "both", "leap": "both", "averaging": "twin_all"},
    "mlaan+stride2": HALF | {"stride": 2, "averaging": "pulled"},
    "mlaan+stride2_c3": HALF | {"stride": 2, "cascade": 3, "most_layers": 2, "buffers": "averaged"},
    "mlaan+multilaminar": HALF | {"leap": "none", "output": "both"},
    "mlaan+independent": HALF | {"leap": "independent", "averaged_blocks": "last", "first_blocks": "independent"},
    "mlaan_code": HALF | RULE,
    "mlaan_paper": HALF,
}


def method_of(name, base):
    kind = name.partition("+")[0]
    method, preset = PRESETS[kind][:2] if kind in PRESETS else (METHODS[kind], {})
    return method(BASES[base], **preset | WRAPPED[name])


class Case:
    """A network, its model, and the same network as plain units with copies of all auxiliary weights."""

    def __init__(self, network, units, head, sizes, method, *, seed, training):
        torch.manual_seed(seed)
        self.images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
        self.labels = torch.tensor([0, 1, 2, 1])
        mean, std = (self.images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        self.inputs = (self.images - mean) / std
        for key, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) * 0.5 - (0.5 if key.endswith("mean") else -1.0))
        ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
        self.ranges = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        cuts = [units[end - 1][0] for end in ends[:-1]]
        blocks = ll.partition(network, self.inputs, split_points=cuts)
        self.method = method
        self.model = ll.LocalModel(blocks, method, ll.Classification(CLASSES), normalization=(MEAN, STD))
        self.model.train(training)
        with torch.no_grad():
            for parameter in self.model.objectives.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for key, buffer in self.model.objectives.named_buffers():
                if buffer.is_floating_point():
                    buffer.add_(torch.rand_like(buffer) * (9.0 if key.endswith("var") else 0.3))
        slow = deepcopy(network).train(training)
        self.units = [nested(slow, names) for names in units]
        self.tail = nested(slow, head)
        self.slow = slow
        self.blocks = [nn.Sequential(*(self.units[unit] for unit in units)) for units in self.ranges]
        self.blocks[-1].append(self.tail)
        self.training = training
        self.learned = {f"network.{key}": p for key, p in slow.named_parameters()}
        self.follows: list[tuple[nn.Parameter, nn.Parameter]] = []

    def output_loss(self, logits):
        return F.cross_entropy(logits, self.labels)

    def copies(self, path, module, indices, *, learns, follows):
        """Copies with the values of the library's, to be compared with them after the step."""
        assert module is not None, f"{path} is missing"
        copies = copies_of([self.units[index] for index in indices], module.state_dict(), learns=learns)
        for copy in copies:
            for key, parameter in copy.named_parameters():
                self.learned[f"{path}.{key}"] = parameter
                if follows:
                    self.follows.append((parameter, self.slow.get_parameter(key)))
        return copies

    def number(self, path, parameter):
        """A copy of one parameter of a layer."""
        self.learned[path] = parameter.detach().clone().requires_grad_()
        return self.learned[path]

    def base_loss(self, path, objective, base, index):
        """The base's loss at the end of block `index`, by the reference."""
        weights = []
        for place, term in enumerate(objective.terms):
            copy = deepcopy(term.auxiliary)
            weights.append(dict(copy.named_parameters()) | dict(copy.named_buffers()))
            self.learned |= {f"{path}terms.{place}.auxiliary.{key}": p for key, p in copy.named_parameters()}
        final = self.units[-1](self.units_input()).shape[1]
        position = index / max(len(self.blocks) - 2, 1)

        def loss(x):
            if isinstance(base, ll.PredSim):
                return local_losses.predsim(x, self.labels, weights, classes=CLASSES, beta=base.beta)
            if isinstance(base, ll.InfoPro):
                return local_losses.infopro(
                    x,
                    self.labels,
                    weights,
                    images=self.images,
                    position=position,
                    reconstruction=base.reconstruction,
                    prediction=base.prediction,
                    grows=x.shape[1] < final,
                    contrastive=base.task_loss == "contrastive",
                )
            chosen = local_losses.linear_prediction if base.head == "linear" else local_losses.dgl
            return chosen(x, self.labels, weights)

        return loss

    @torch.no_grad()
    def units_input(self):
        """What the last unit reads, for its number of channels."""
        x = self.inputs
        units = deepcopy(self.units)
        for unit in units[:-1]:
            x = unit(x)
        return x

    def slow_step(self):
        raise NotImplementedError

    def average(self):
        """m copy + (1 - m) source, for every copy that follows."""
        momentum = self.method.momentum
        with torch.no_grad():
            for copy, source in self.follows:
                copy.copy_(momentum * copy + (1 - momentum) * source)

    def assert_same_gradients(self):
        found = dict(self.model.named_parameters())
        assert found.keys() >= self.learned.keys()
        for key, parameter in found.items():
            wanted = self.learned[key].grad
            assert (parameter.grad is None) == (wanted is None), key
            if wanted is not None:
                torch.testing.assert_close(
                    parameter.grad, wanted, rtol=1e-10, atol=1e-10, msg=partial("{}: {}".format, key)
                )

    def assert_same_parameters(self):
        for key, parameter in self.model.named_parameters():
            torch.testing.assert_close(
                parameter.detach(), self.learned[key].detach(), rtol=1e-9, atol=1e-9, msg=partial("{}: {}".format, key)
            )


class MANCase(Case):
    """The slow form of MAN."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        method = self.method
        self.losses = []
        for index, objective in enumerate(self.model.objectives[:-1]):
            following = self.ranges[index + 1]
            ahead = following[: method.units]
            path = f"objectives.{index}."
            (layer,) = objective.layers
            copies, bias = [], look_ahead.Bias()
            if method.copy != "none":
                learns = method.copy == "pulled"
                copies = self.copies(f"{path}layers.0.averaged", layer.averaged, ahead, learns=learns, follows=True)
            else:
                assert layer.averaged is None
            if method.bias in ("unit", "scaled_unit"):
                bias = look_ahead.Bias(
                    self.copies(f"{path}layers.0.learned", layer.learned, ahead, learns=True, follows=False)
                )
            if method.bias == "scaled_unit":
                bias = bias._replace(scale=self.number(f"{path}layers.0.scale", layer.scale))
            if method.bias == "channel":
                bias = bias._replace(channels=self.number(f"{path}layers.0.vector", layer.vector))
            loss = self.base_loss(f"{path}objective.", objective.objective, method.base, index)
            self.losses.append(partial(self.ahead, loss, copies, bias))

    @staticmethod
    def ahead(loss, copies, bias, x):
        return loss(look_ahead.man_branch(x, copies, bias))

    def slow_step(self):
        look_ahead.man_step(self.blocks, self.losses, self.inputs, self.output_loss)


class MLAANCase(Case):
    """The slow form of MLAAN."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        method = self.method
        self.path_losses: dict[str, dict[int, object]] = {"independent": {}, "cascade": {}}
        for place, (window, objective) in enumerate(zip(self.model.windows, self.model.objectives, strict=True)):
            if window.stop == len(self.blocks):
                continue
            index = window.stop - 1
            path = f"objectives.{place}."
            layers, scored = [], objective
            if method.leap in (window.role, "both"):
                layers = self.leap_layers(path, objective.layers, index)
                path, scored = f"{path}objective.", objective.objective
            loss = self.base_loss(path, scored, method.base, index)
            assert index not in self.path_losses[window.role]
            self.path_losses[window.role][index] = partial(self.ahead, loss, layers)

    @staticmethod
    def ahead(loss, layers, x):
        return loss(look_ahead.leap(x, layers))

    def leap_layers(self, path, layers, index):
        moves = self.method.averaged_blocks == "all" or index == len(self.blocks) - 2
        found, before = [], self.ranges[index].stop - 1
        for place, layer in enumerate(layers):
            names = (layer.averaged or layer.learned).state_dict().keys()
            (unit,) = (i for i, candidate in enumerate(self.units) if candidate.state_dict().keys() == names)
            assert unit > before
            before = unit
            has_twin = self.method.averaging == "twin_all" or (self.method.averaging == "twin_first" and place == 0)
            pulled = self.method.averaging == "pulled"
            inner = f"{path}layers.{place}."
            (trained,) = self.copies(
                inner + ("averaged" if pulled else "learned"),
                layer.averaged if pulled else layer.learned,
                [unit],
                learns=True,
                follows=pulled and moves,
            )
            twin = None
            if has_twin:
                (twin,) = self.copies(f"{inner}averaged", layer.averaged, [unit], learns=False, follows=moves)
            else:
                assert pulled or layer.averaged is None
            found.append((trained, twin))
        return found

    def slow_step(self):
        method = self.method
        look_ahead.mlaan_step(
            self.blocks,
            self.path_losses["independent"],
            self.path_losses["cascade"],
            self.inputs,
            self.output_loss,
            cascade=method.cascade,
            stride=method.stride,
            independent_weight=method.independent_weight,
            cascade_weight=method.cascade_weight,
            first_blocks=method.first_blocks,
            output=method.output,
        )


def stacked(widths, strides):
    """A plain stack, its units and its head by name."""
    units = [[f"conv{i}", f"norm{i}", f"relu{i}"] for i in range(len(widths))]
    return stack(widths, CLASSES, strides=strides), units, ["pool", "flatten", "linear"]


def staged_units(depths):
    """The residual network, its units and its head by name."""
    blocks = [[f"stage{stage + 1}.{b}"] for stage, depth in enumerate(depths) for b in range(depth)]
    return staged(depths), [["stem", "norm", "relu"], *blocks], ["pool", "flatten", "linear"]


def case_of(name, base, made, sizes, *, seed=0, training=True):
    kind = MANCase if name.startswith("man") else MLAANCase
    return kind(*made, sizes, method_of(name, base), seed=seed, training=training)
