"""The papers' runs by name, expanded from the one table `published.toml`.

Names read `DATASET_NETWORK_kK_METHOD_VARIANT`, for instance `svhn_resnet110_k55_dgl+mlaan`:

* data sets `cifar10`, `svhn`, `stl10`; networks `resnet32` (K = 8, 16) and `resnet110` (K = 32, 55); InfoPro's own rows
  have K = 2, 3, 4, 8, 16. K is the paper's; a run of back-propagation has none. Where K is left out it is the network's
  largest: `cifar10_resnet32_dgl` stands for `cifar10_resnet32_k16_dgl`.
* methods `backprop`; `predsim`, `dgl`, `infopro`, each also with `+man`; `dgl+mlaan`, `infopro+mlaan`, `mlaan`;
  `auglocal`, `infopro+auglocal`.
* variants: `checkpoint` and `160epochs` of `backprop`; `m0.999`, `m0.998`, `m0.99`, `averaging`, `parameters` of MAN;
  `multilaminar`, `leap`, `300epochs` of MLAAN; `contrast`, `softmax`, `balanced` (InfoPro*) of InfoPro's authors, who
  train for 160 epochs; of AugLocal the paper's depth `d2` to `d9`, its pyramid `t1` to `t0.6` where it is not 0.5, and
  the ladder `repeat2s2`, `repeat2`, `repeat1s2_repeat2s2`, `repeat1s2_repeat2`, `conv3x3` (s2: with halving); and
  `matched`, a baseline whose heads are scaled to AugLocal's operations.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from locallearn.methods.infopro import PUBLISHED_WEIGHTS

FILE = "published.toml"
UNITS = {"test_error": "%", "memory": "GB", "forward_flops": "GFLOP", "time_overhead": "%"}
LARGEST = {"resnet32": "k16", "resnet110": "k55"}


class Name(NamedTuple):
    """A recipe's name in its parts."""

    dataset: str
    network: str
    blocks: str
    """`k16`, or nothing."""
    method: str
    variant: str
    """Its parts joined by `_`, or nothing."""

    @property
    def facets(self) -> dict[str, set[str]]:
        """What a rule's `when` may ask for, each with the values this name has."""
        base, _, wrapper = self.method.rpartition("+")
        if wrapper not in ("auglocal", "man", "mlaan"):
            base, wrapper = wrapper, ""
        return {
            "dataset": {self.dataset},
            "network": {self.network},
            "blocks": {self.blocks},
            "method": {self.method},
            "base": {base},
            "wrapper": {wrapper},
            "variant": {self.variant, *self.variant.split("_")},
        }


def parsed(name: str) -> Name:
    """A recipe's name taken apart.

    Args:
        name: A name of `names()`.

    Returns:
        Its parts.
    """
    dataset, network, *rest = name.split("_")
    blocks = rest.pop(0) if rest[0][0] == "k" else ""
    return Name(dataset, network, blocks, rest[0], "_".join(rest[1:]))


def names() -> tuple[str, ...]:
    """The published runs.

    Returns:
        Their names in the order of the tables.
    """
    return tuple(_cells())


def resolved(name: str) -> str | None:
    """The full name of a published run.

    Args:
        name: A name of `names()`, perhaps without its K.

    Returns:
        The name of `names()`, with the network's largest K where K is left out; None if there is no such run.
    """
    if name in _cells():
        return name
    dataset, network, method = (*name.split("_", 2), "", "")[:3]
    full = f"{dataset}_{network}_{LARGEST.get(network, '')}_{method}"
    return full if full in _cells() else None


def title(name: str) -> str:
    """A run in one line.

    Args:
        name: A name of `names()`.

    Returns:
        Data set, network, K, method and variant in words.
    """
    return ", ".join(rule["title"] for rule in _rules(parsed(name)) if "title" in rule)


def summary(name: str) -> str:
    """A run and what came of it in one line.

    Args:
        name: A name of `names()`.

    Returns:
        Its title and the first number printed for it, the error where there is one.
    """
    first = min(_cells()[name], key=lambda number: number["name"] != "test_error")
    return f"{title(name)}: {first['value']:.2f} {first['unit']}"


def numbers(name: str) -> list[dict[str, Any]]:
    """What the papers print for a run.

    Args:
        name: A name of `names()`.

    Returns:
        Tables as `locallearn.recipes.recipe.Published` has them; first the run's own, then back-propagation's error
        wherever the same paper prints it.
    """
    own = _cells()[name]
    parts = parsed(name)
    found = list(own)
    if parts.method != "backprop":
        papers = {number["paper"] for number in own}
        for other in _cells():
            there = parsed(other)
            if there[:2] == parts[:2] and there.method == "backprop" and there.variant != "checkpoint":
                found += [
                    number | {"name": "backprop_test_error"}
                    for number in _cells()[other]
                    if number["name"] == "test_error" and number["paper"] in papers
                ]
    return _joined(found)


def tables(name: str) -> dict[str, Any]:
    """The tables of a published run's recipe.

    Args:
        name: A name of `names()`.

    Returns:
        Nested dictionaries as read from TOML, unchecked.
    """
    parts, rules = parsed(name), _rules(parsed(name))
    recipe: dict[str, Any] = {}
    for rule in rules:
        recipe = _laid_over(recipe, rule.get("set", {}))
    if any("weights" in rule for rule in rules):
        key = (parts.network, parts.dataset, recipe["partition"]["num_blocks"], recipe["partition"]["preset"])
        recipe = _laid_over(recipe, {"method": PUBLISHED_WEIGHTS[key]})
    own = numbers(name)
    runs = [number["runs"] for number in _cells()[name] if "runs" in number]
    guessed = [sentence for rule in rules for sentence in rule.get("guessed", [])]
    papers = dict.fromkeys(number["paper"] for number in own)
    sources = [f"{paper}: {file_contents()['papers'][paper]}." for paper in papers]
    return {
        "title": title(name),
        "source": " ".join([*sources, *(rule["source"] for rule in rules if "source" in rule)]),
        "guessed": guessed + ([] if runs else [file_contents()["runs_not_stated"]]),
        "seeds": runs[0] if runs else 1,
        "published": own,
    } | recipe


@functools.cache
def file_contents() -> dict[str, Any]:
    """The table as it stands in its file.

    Returns:
        `papers`, `table` and `rule`.
    """
    return tomllib.loads((resources.files("locallearn.recipes") / FILE).read_text(encoding="utf-8"))


def belongs(rule: dict[str, Any], facets: dict[str, set[str]]) -> bool:
    """Whether a rule belongs to a recipe.

    Args:
        rule: One of the table's.
        facets: Those of the recipe's name.

    Returns:
        True if the name has one of the wanted values of everything in `when`.
    """
    wanted = {key: {given} if isinstance(given, str) else {*given} for key, given in rule["when"].items()}
    return all(facets[key] & values for key, values in wanted.items())


@functools.cache
def _cells() -> dict[str, list[dict[str, Any]]]:
    # Every printed number by recipe, in the order of the tables.
    found: dict[str, list[dict[str, Any]]] = {}
    for table in file_contents()["table"]:
        accuracy = table["quantity"] == "test_accuracy"
        quantity = "test_error" if accuracy else table["quantity"]
        for row, cells in table["rows"].items():
            for column, cell in zip(table["columns"], cells, strict=True):
                value, *deviation = cell if isinstance(cell, list) else [cell]
                number = {
                    "name": quantity,
                    "value": round(100 - value, 2) if accuracy else float(value),
                    "unit": UNITS[quantity],
                    "paper": table["paper"],
                    "where": table["where"],
                }
                number |= {"deviation": float(deviation[0])} if deviation else {}
                number |= {"runs": table["runs"]} if "runs" in table else {}
                found.setdefault(f"{table['dataset']}_{column}_{row}", []).append(number)
    return found


def _rules(name: Name) -> list[dict[str, Any]]:
    facets = name.facets
    return [rule for rule in file_contents()["rule"] if belongs(rule, facets)]


def _joined(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # One entry for each number of a paper, with every place where the paper prints it.
    places: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number in found:
        key = tuple(number[part] for part in ("paper", "name", "value"))
        if key not in places:
            places[key] = number
        elif number["where"] not in places[key]["where"]:
            places[key] = number | places[key] | {"where": f"{places[key]['where']}; {number['where']}"}
    return list(places.values())


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    shared = [key for key in above if isinstance(above[key], dict) and key in below]
    return below | above | {key: _laid_over(below[key], above[key]) for key in shared}
