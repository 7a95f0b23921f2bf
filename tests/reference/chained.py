"""Networks as plain lists of units and a head, whose parameters carry the names they have in the network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import deepcopy

from torch import Tensor, nn


def nested(network: nn.Module, names: Iterable[str]) -> nn.Sequential:
    """The named modules one after the other, under their names."""
    root = nn.Sequential()
    for name in names:
        parent = root
        *outer, last = name.split(".")
        for part in outer:
            if part not in parent._modules:
                parent.add_module(part, nn.Sequential(OrderedDict()))
            parent = parent.get_submodule(part)
        parent.add_module(last, network.get_submodule(name))
    return root


def copies_of(units: Sequence[nn.Module], values: dict[str, Tensor], *, learns: bool) -> list[nn.Module]:
    """Copies of units with given values, which must be those of these units and no others."""
    copies = [deepcopy(unit) for unit in units]
    wanted = [name for copy in copies for name in copy.state_dict()]
    assert sorted(wanted) == sorted(values)
    for copy in copies:
        copy.load_state_dict({name: values[name].clone() for name in copy.state_dict()})
        copy.requires_grad_(learns)
    return copies
