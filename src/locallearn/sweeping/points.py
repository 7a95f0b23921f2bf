"""The trials of a sweep as recipes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from locallearn.datasets.registry import SPECS
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe, checked, load
from locallearn.recipes.settings import DESCRIPTIVE, DRAW, NEUTRAL, settings
from locallearn.recipes.stored import flat
from locallearn.sweeping.sweep_file import Changes, Sweep

MOST_ENDS = 256


@dataclass(frozen=True)
class Point:
    """What one trial trains.

    Args:
        values: Those of the swept fields, by path; the name under `case`.
        recipe: The whole run.
    """

    values: Changes
    recipe: Recipe


def bases(sweep: Sweep) -> dict[str, Recipe]:
    """The recipes that a sweep changes.

    Args:
        sweep: Any sweep.

    Returns:
        Them by the names that the sweep calls them.

    Raises:
        InputError: Some do not exist or are refused; all are named.
    """
    wanted = dict.fromkeys(case.recipe or sweep.recipe for case in sweep.case) if sweep.case else {sweep.recipe: None}
    found: dict[str, Recipe] = {}
    problems = []
    for name in wanted:
        assert name is not None
        try:
            found[name] = load(name)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listed(problems))
    return found


def points(sweep: Sweep, known: Mapping[str, Recipe]) -> list[Point]:
    """Every trial of a grid or of cases; of a search, its ends: trials in the corners of what may be drawn.

    Args:
        sweep: Any sweep.
        known: See `bases`.

    Returns:
        The trials in order, all with checked recipes.

    Raises:
        InputError: Fields or values are refused; all are named, each with its trial.
    """
    found, problems = [], []
    for values, changes, base in _wanted(sweep):
        try:
            found.append(Point(values, changed(known[base], changes, sweep, where=told(values))))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listed(list(dict.fromkeys(problems))))
    if sweep.kind == "search":
        return found
    return found[: sweep.trials]


def searched(sweep: Sweep, known: Mapping[str, Recipe], values: Changes) -> Point:
    """A trial of a search.

    Args:
        sweep: The search.
        known: See `bases`.
        values: What was drawn for every field.

    Returns:
        The trial.

    Raises:
        InputError: The values do not go together.
    """
    (base,) = known.values()
    return Point(values, changed(base, {**sweep.set, **values}, sweep, where=told(values)))


def changed(base: Recipe, changes: Changes, sweep: Sweep, *, where: str) -> Recipe:
    """A recipe with other values; printed numbers stay only where nothing changes that they depend on.

    Args:
        base: The recipe.
        changes: Values by path. Another method's other fields have their defaults, another data set's augmentation too.
        sweep: Says how many seeds there are.
        where: What to call the trial in messages, and in the title.

    Returns:
        The checked recipe.

    Raises:
        InputError: Keys or values are refused; all are named.
    """
    tables: dict[str, Any] = base.model_dump(exclude_none=True) | {"seeds": sweep.seeds}
    if (method := changes.get("method.name", base.method.name)) != base.method.name:
        tables["method"] = {"name": method}
    dataset = changes.get("dataset.name", base.dataset.name)
    if dataset in SPECS and type(SPECS[dataset].augmentation) is not type(SPECS[base.dataset.name].augmentation):
        tables["dataset"] = tables["dataset"] | {"augmentation": {}}
    for path, value in changes.items():
        _put(tables, path, value, where)
    recipe = checked(tables, where=where)
    without = (*DESCRIPTIVE, *DRAW, *NEUTRAL)
    if settings(recipe, without=without) == settings(base, without=without):
        return recipe
    return recipe.model_copy(update={"title": f"{base.title}; {where}", "published": ()})


def told(values: Changes) -> str:
    """A trial in words.

    Args:
        values: Those of the swept fields.

    Returns:
        The case's name, or every field with its value.
    """
    if "case" in values:
        return str(values["case"])
    return ", ".join(f"{field} = {value!r}" for field, value in values.items())


def varied_number(recipes: Iterable[Recipe]) -> str | None:
    """The one setting in which recipes differ, if it is a number.

    Args:
        recipes: Those of the cases.

    Returns:
        Its path, or None if they differ in several settings or in one that is no number.
    """
    settings = [flat(recipe.model_dump(exclude=set(DESCRIPTIVE))) for recipe in recipes]
    keys = dict.fromkeys(key for each in settings for key in each)
    differing = [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]
    if len(differing) != 1 or not all(is_number(each.get(differing[0])) for each in settings):
        return None
    return differing[0]


def is_number(value: object) -> bool:
    """Whether a value has a place on an axis.

    Args:
        value: Any value of a field.

    Returns:
        True for whole and other numbers, not for truth values.
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wanted(sweep: Sweep) -> Iterable[tuple[Changes, Changes, str]]:
    # The values, all changes, and the base's name of every trial.
    if sweep.kind == "case":
        for case in sweep.case:
            yield {"case": case.name}, {**sweep.set, **case.set}, case.recipe or sweep.recipe or ""
        return
    axes = {field: area.ends for field, area in sweep.search.items()} or sweep.grid
    combinations = itertools.product(*axes.values())
    for chosen in itertools.islice(combinations, MOST_ENDS if sweep.search else None):
        values = dict(zip(axes, chosen, strict=True))
        yield values, {**sweep.set, **values}, sweep.recipe or ""


def _put(tables: dict[str, Any], path: str, value: Any, where: str) -> None:
    *sections, key = path.split(".")
    for depth, section in enumerate(sections, 1):
        tables = tables.setdefault(section, {})
        if not isinstance(tables, dict):
            raise InputError(f"{where}: {'.'.join(sections[:depth])} is no table, so there is no field {path!r} in it.")
    tables[key] = value
