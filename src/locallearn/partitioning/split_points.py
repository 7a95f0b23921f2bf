"""Cuts by the names of modules."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from locallearn.errors import InputError, listed
from locallearn.partitioning.tracing import owner
from locallearn.partitioning.unit import TracedUnits


def ends_after(network: nn.Module, traced: TracedUnits, split_points: Sequence[str]) -> list[int]:
    """Where blocks end if one ends after each of some modules.

    Args:
        network: The network.
        traced: Its graph with the places of its units.
        split_points: Names of modules.

    Returns:
        One past the index of the last unit of each block but the last.

    Raises:
        InputError: A name is no place for a cut, or the names are not in order.
    """
    last_unit = _last_units(network, traced)
    problems, ends = [], []
    for name in split_points:
        if name not in last_unit:
            near = difflib.get_close_matches(name, last_unit, n=3) or [unit.name for unit in traced.units][:3]
            problems.append(f"There is no legal cut after {name!r}; the nearest are {', '.join(map(repr, near))}.")
        elif last_unit[name] == len(traced.units) - 1:
            problems.append(f"A cut after {name!r} would leave nothing but the head for the last block.")
        else:
            ends.append(last_unit[name] + 1)
    if not problems and ends != sorted(set(ends)):
        problems.append(
            f"split_points must name ends of different units in order; {list(split_points)} end units {ends}."
        )
    if problems:
        raise InputError(listed(problems))
    return ends


def names_of_ends(network: nn.Module, traced: TracedUnits) -> list[str | None]:
    """What `ends_after` calls the end of each unit.

    Args:
        network: The network.
        traced: Its graph with the places of its units.

    Returns:
        The shortest name for each unit, None where no module ends with it.
    """
    names: dict[int, list[str]] = {}
    for name, unit in _last_units(network, traced).items():
        names.setdefault(unit, []).append(name)
    return [min(names.get(unit.index, []), key=len, default=None) for unit in traced.units]


def _last_units(network: nn.Module, traced: TracedUnits) -> dict[str, int]:
    """The unit that each module ends with."""
    last_unit: dict[str, int] = {}
    for index in range(len(traced.units)):
        for node in traced.nodes[traced.bounds[index] : traced.bounds[index + 1]]:
            parts = owner(node).split(".")
            own = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
            if node.op == "call_module" and any(p.ndim > 1 for p in network.get_submodule(owner(node)).parameters()):
                last_unit = {name: unit for name, unit in last_unit.items() if unit != index or name in own}
            last_unit |= dict.fromkeys(own, index)
    return {name: unit for name, unit in last_unit.items() if name}
