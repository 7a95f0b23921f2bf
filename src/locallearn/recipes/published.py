"""The papers' runs by name, expanded from the tables in `papers/*.toml`.

Names read `DATASET_NETWORK_kK_METHOD_VARIANT`, for instance `svhn_resnet110_k55_dgl+mlaan`:

* K is the paper's; a run of back-propagation has none. Where K is left out it is the largest there is:
  `cifar10_resnet32_dgl` stands for `cifar10_resnet32_k16_dgl`.
* data sets and networks: `cifar10`, `svhn`, `stl10` with `resnet32` (K = 8, 16), `resnet110` (K = 32, 55; InfoPro's own
  rows have K = 2, 3, 4, 8, 16) and `vgg19`; `cifar10` with `mobilenetv2`, `efficientnetb0`, `regnetx400mf`, `vitb16`;
  `imagenet` with `resnet34`, `resnet101`, `resnet152`, `resnext101`, `vgg13`; `cityscapes` with `deeplabv3r101`; `coco`
  with `maskrcnnr34`.
* methods `backprop`; `predsim`, `dgl`, `infopro`, each also with `+man`; `dgl+mlaan`, `infopro+mlaan`, `mlaan`;
  `auglocal`, `infopro+auglocal`.
* variants: `checkpoint`, `150epochs`, `160epochs` and `200epochs` of `backprop`; `batch1024`, `batch512`, `batch256`,
  `batch12` where papers print the same run with other batches; `crop640x1280` of Cityscapes; `m0.999`, `m0.998`,
  `m0.99`, `averaging`, `parameters` of MAN; `multilaminar`, `leap`, `300epochs` of MLAAN; `contrast`, `softmax`,
  `balanced` (InfoPro*) of InfoPro's authors, who train for 160 epochs; of AugLocal the paper's depth `d2` to `d9`, its
  pyramid `t1` to `t0.6` where it is not 0.5, and the ladder `repeat2s2`, `repeat2`, `repeat1s2_repeat2s2`,
  `repeat1s2_repeat2`, `conv3x3` (s2: with halving); `matched`, a baseline whose heads are scaled to AugLocal's
  operations; and `auglocalbackbone`, a detector whose backbone AugLocal trained.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, NamedTuple

from locallearn.methods.infopro import PUBLISHED_WEIGHTS

FOLDER = "papers"
UNITS = {
    "test_error": "%",
    "test_top5_error": "%",
    "mean_iou": "%",
    "mean_iou_multi_scale": "%",
    "mean_iou_multi_scale_flip": "%",
    "box_ap": "%",
    "box_ap50": "%",
    "box_ap75": "%",
    "mask_ap": "%",
    "mask_ap50": "%",
    "mask_ap75": "%",
    "stl10_accuracy": "%",
    "memory": "GB",
    "forward_flops": "GFLOP",
    "time_overhead": "%",
}
"""What papers print, each with its unit; `stl10_accuracy` is that of a network trained on CIFAR-10."""
HEADLINES = ("test_error", "mean_iou", "box_ap")
"""What a run is judged by, and set beside back-propagation's."""


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


@functools.cache
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
    return tuple(_runs())


def resolved(name: str) -> str | None:
    """The full name of a published run.

    Args:
        name: A name of `names()`, perhaps without its K.

    Returns:
        The name of `names()`, with the largest K there is where K is left out; None if there is no such run.
    """
    return name if name in _runs() else _without_blocks().get(name)


def title(name: str) -> str:
    """A run in one line.

    Args:
        name: A name of `names()`.

    Returns:
        Data set, network, K, method and variant in words.
    """
    return ", ".join(rule["title"] for rule in _rules(name) if "title" in rule)


def summary(name: str) -> str:
    """A run and what came of it in one line.

    Args:
        name: A name of `names()`.

    Returns:
        Its title and the first number printed for it, what it is judged by where that is printed.
    """
    printed = _runs()[name].numbers
    if not printed:
        return f"{title(name)}: no number printed"
    first = min(printed, key=lambda number: number["name"] not in HEADLINES)
    return f"{title(name)}: {first['value']:.2f} {first['unit']}"


def numbers(name: str) -> list[dict[str, Any]]:
    """What the papers print for a run.

    Args:
        name: A name of `names()`.

    Returns:
        Tables as `locallearn.recipes.recipe.Published` has them; first the run's own, then what back-propagation is
        judged by wherever the same paper prints it.
    """
    own = _runs()[name].numbers
    parts = parsed(name)
    found = list(own)
    if parts.method != "backprop":
        papers = {number["paper"] for number in own}
        for other in _runs():
            there = parsed(other)
            if there[:2] == parts[:2] and there.method == "backprop" and there.variant != "checkpoint":
                found += [
                    number | {"name": f"backprop_{number['name']}"}
                    for number in _runs()[other].numbers
                    if number["name"] in HEADLINES and number["paper"] in papers
                ]
    return _joined(found)


def tables(name: str) -> dict[str, Any]:
    """The tables of a published run's recipe.

    Args:
        name: A name of `names()`.

    Returns:
        Nested dictionaries as read from TOML, unchecked.
    """
    rules = _rules(name)
    recipe: dict[str, Any] = {}
    for rule in rules:
        recipe = _laid_over(recipe, rule.get("set", {}))
    if any("weights" in rule for rule in rules):
        parts = parsed(name)
        key = (parts.network, parts.dataset, recipe["partition"]["num_blocks"], recipe["partition"]["preset"])
        recipe = _laid_over(recipe, {"method": PUBLISHED_WEIGHTS[key]})
    own, guessed, seeds = numbers(name), [text for rule in rules for text in rule.get("guessed", [])], 1
    runs = [number["runs"] for number in _runs()[name].numbers if "runs" in number]
    if runs:
        seeds = runs[0]
    else:
        guessed.append(_common()["runs_not_stated" if own else "numbers_not_printed"])
    papers = dict.fromkeys([*_runs()[name].papers, *(number["paper"] for number in own)])
    sources = [f"{paper}: {_common()['papers'][paper]}." for paper in papers]
    return {
        "title": title(name),
        "source": " ".join([*sources, *(rule["source"] for rule in rules if "source" in rule)]),
        "guessed": guessed,
        "seeds": seeds,
        "published": own,
    } | recipe


@functools.cache
def files() -> dict[str, dict[str, Any]]:
    """The files of tables as they stand.

    Returns:
        `table`, `settings` and `rule` of each by its name, and what all have in common by the name `common`.
    """
    folder = resources.files("locallearn.recipes") / FOLDER
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8")) for file in found}


def belongs(rule: dict[str, Any], facets: dict[str, set[str]]) -> bool:
    """Whether a rule belongs to a recipe of its file.

    Args:
        rule: One of the file's.
        facets: Those of the recipe's name.

    Returns:
        True if the name has one of the wanted values of everything in `when`.
    """
    wanted = {key: {given} if isinstance(given, str) else {*given} for key, given in rule["when"].items()}
    return all(facets[key] & values for key, values in wanted.items())


class _Run(NamedTuple):
    file: str
    papers: list[str]
    numbers: list[dict[str, Any]]


def _common() -> dict[str, Any]:
    return files()["common"]


@functools.cache
def _runs() -> dict[str, _Run]:
    # Every run with its printed numbers, in the order of the tables.
    found: dict[str, _Run] = {}
    for file, contents in files().items():
        for table in contents.get("table", []):
            for row, cells in table["rows"].items():
                for column, cell in zip(table["columns"], cells, strict=True):
                    run = found.setdefault(f"{table['dataset']}_{column}_{row}", _Run(file, [], []))
                    run.papers.append(table["paper"])
                    run.numbers.append(_number(table, cell))
        for settings in contents.get("settings", []):
            for column in settings["columns"]:
                for row in settings["rows"]:
                    run = found.setdefault(f"{settings['dataset']}_{column}_{row}", _Run(file, [], []))
                    run.papers.append(settings["paper"])
    return found


@functools.cache
def _without_blocks() -> dict[str, str]:
    largest: dict[str, str] = {}
    for name in sorted(_runs(), key=lambda name: int(parsed(name).blocks[1:] or 0)):
        parts = parsed(name)
        largest["_".join(part for part in parts._replace(blocks="") if part)] = name
    return largest


def _number(table: dict[str, Any], cell: float | list[float]) -> dict[str, Any]:
    value, *deviation = cell if isinstance(cell, list) else [cell]
    accuracy = table["quantity"] == "test_accuracy"
    quantity = "test_error" if accuracy else table["quantity"]
    number = {
        "name": quantity,
        "value": round(100 - value, 2) if accuracy else float(value),
        "unit": UNITS[quantity],
        "paper": table["paper"],
        "where": table["where"],
    }
    number |= {"deviation": float(deviation[0])} if deviation else {}
    return number | ({"runs": table["runs"]} if "runs" in table else {})


def _rules(name: str) -> list[dict[str, Any]]:
    facets = parsed(name).facets
    return [rule for rule in files()[_runs()[name].file]["rule"] if belongs(rule, facets)]


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
