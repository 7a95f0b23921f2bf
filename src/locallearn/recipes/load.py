"""Recipes by name, and from and to TOML."""

from __future__ import annotations

import functools
import itertools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from locallearn import atomic_file
from locallearn.errors import InputError, listed
from locallearn.recipes import published
from locallearn.recipes.choices import suggestion
from locallearn.recipes.problems import problems
from locallearn.recipes.recipe import Recipe


def names() -> list[str]:
    """The recipes that come with the package.

    Returns:
        Their names in alphabetical order: the files of this folder, and the runs of the papers (`recipes.published`).
    """
    return sorted([*_files(), *published.names()])


def groups() -> dict[str, str]:
    """The papers' runs by data set and network, and the other recipes one by one.

    Returns:
        What the names of a group begin with, and a line on it: what its titles have in common, and how many they are.
    """
    found: dict[str, list[str]] = {}
    for name in published.names():
        found.setdefault("_".join(name.split("_")[:2]), []).append(name)
    own = {name: summary(name) for name in _files()}
    lines = own | {group: _in_common(members) for group, members in found.items()}
    return dict(sorted(lines.items()))


def known(recipe: str) -> bool:
    """Whether a word is the name of a recipe that comes with the package.

    Args:
        recipe: Any word.

    Returns:
        True for the names of `names()`, and for those of published runs without their K.
    """
    return recipe in _files() or published.resolved(recipe) is not None


def summary(recipe: str) -> str:
    """What a recipe of the package is, in one line.

    Args:
        recipe: A name of `names()`.

    Returns:
        Its title, and the first number that a paper prints for it.
    """
    return published.summary(recipe) if recipe in published.names() else read(recipe)["title"]


def load(recipe: str | Path) -> Recipe:
    """A recipe by name or from a file.

    Args:
        recipe: A name of `names()`, or the path of a TOML file.

    Returns:
        The checked recipe, defaults filled in.

    Raises:
        InputError: There is no such recipe, it is no TOML, or some of its keys or values are refused; all are named.
    """
    return checked(read(recipe), where=f"The recipe {str(recipe)!r}")


def read(recipe: str | Path) -> dict[str, Any]:
    """The tables of a recipe as they stand in its file.

    Args:
        recipe: See `load`.

    Returns:
        Nested dictionaries, unchecked.

    Raises:
        InputError: There is no such recipe, or it is no TOML.
    """
    name = published.resolved(str(recipe))
    if name is not None:
        return published.tables(name)
    text = _text(recipe)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The recipe {str(recipe)!r} is not TOML ({error}).") from error


def checked(tables: dict[str, Any], *, where: str) -> Recipe:
    """The recipe that some tables describe.

    Args:
        tables: As read from TOML.
        where: What to call them in messages.

    Returns:
        The recipe, defaults filled in.

    Raises:
        InputError: Keys or values are refused; all of them are named by path.
    """
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise InputError(f"{where}: {listed(problems(error, Recipe))}") from error


def dumped(recipe: Recipe) -> str:
    """A recipe as TOML, every default written out.

    Args:
        recipe: The recipe.

    Returns:
        Text that reads back as an equal recipe.
    """
    return tomli_w.dumps(_without_none(recipe.model_dump(mode="json", exclude_none=True)))


def save(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML, every default written out, whole or not at all.

    Args:
        recipe: The recipe.
        path: File to write; its folder must exist.

    Raises:
        OSError: The file cannot be written.
    """
    atomic_file.write(path, dumped(recipe).encode())


def _in_common(published_names: list[str]) -> str:
    titles = zip(*(published.title(name).split(", ") for name in published_names), strict=False)
    common = [words[0] for words in itertools.takewhile(lambda words: len(set(words)) == 1, titles)]
    return f"{', '.join(common)}: {len(published_names)} recipes"


def _without_none(tables: dict[str, Any]) -> dict[str, Any]:
    # TOML has no None, and what a method is laid over is a plain dictionary, where pydantic leaves them.
    nested = {key: _without_none(value) for key, value in tables.items() if isinstance(value, dict)}
    return {key: value for key, value in (tables | nested).items() if value is not None}


@functools.cache
def _files() -> tuple[str, ...]:
    files = resources.files("locallearn.recipes").iterdir()
    return tuple(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def _text(recipe: str | Path) -> str:
    name = str(recipe)
    if name in _files():
        return (resources.files("locallearn.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    known = "`locallearn ls recipes` lists them, the papers' runs beside " + ", ".join(_files())
    if not name.endswith(".toml"):
        raise InputError(
            f"There is no recipe {name!r}.{suggestion(name, names())} {known}; "
            "your own is given as a path that ends in .toml."
        )
    try:
        return Path(recipe).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"There is no file {name!r}; without a file: {known}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"The recipe {name!r} cannot be read ({error}).") from error
