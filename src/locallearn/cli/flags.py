"""Flags from types: what a verb takes, and every field of a recipe by its path."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from locallearn.datasets.registry import SPECS
from locallearn.errors import InputError
from locallearn.recipes import Recipe, checked, known
from locallearn.recipes.choices import augmentation_fields, method_fields
from locallearn.recipes.recipe import DatasetSection, MethodSection
from locallearn.recipes.settings import DESCRIPTIVE

Options = TypeVar("Options")
Json = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="End with one JSON object on standard output.")]
Format = Annotated[Literal["table", "csv", "latex"], tyro.conf.arg(help="How the rows are written.")]
RecipeName = tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="Recipe by name, or the path of a TOML file.")]]

ALIASES = {"method.name": "--method", "partition.num_blocks": "--num-blocks", "training.batch_size": "--batch-size"}


def parsed(kind: type[Options], argv: Sequence[str], *, verb: str) -> Options:
    """A verb's options from its command line.

    Args:
        kind: Frozen dataclass of the options; its docstring is the help's heading.
        argv: Words after the verb.
        verb: Name of the verb.

    Returns:
        The options.

    Raises:
        InputError: A flag is unknown or its value has the wrong type.
        SystemExit: Help was asked for and has been printed.
    """
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            return tyro.cli(kind, prog=f"locallearn {verb}", args=list(argv))
    except SystemExit as stop:
        if not stop.code:
            raise
    raise InputError("\n" + refusal.getvalue().strip("\n"))


def parsed_with_recipe(
    kind: type[Options], argv: Sequence[str], base: Recipe, *, verb: str, where: str
) -> tuple[Options, Recipe]:
    """A verb's options, and a recipe with the flags laid over it.

    Args:
        kind: Frozen dataclass of the verb's own options, every one with a default.
        argv: Words after the verb.
        base: The recipe that the flags change.
        verb: Name of the verb.
        where: What to call the recipe in messages.

    Returns:
        The options and the checked recipe.

    Raises:
        InputError: A flag or its value is refused.
    """
    name = last_value(argv, "--method", "--method.name") or base.method.name
    method = base.method.model_dump() if name == base.method.name else {"name": name}
    tables = base.model_dump() | {"method": method}
    dataset = last_value(argv, "--dataset.name") or base.dataset.name
    if dataset in SPECS and type(SPECS[dataset].augmentation) is not type(SPECS[base.dataset.name].augmentation):
        tables["dataset"] |= {"name": dataset, "augmentation": {}}
    base = checked(tables, where=where)
    section = _section(base, "")
    fields = [(field.name, field.type, field) for field in dataclasses.fields(section)]
    whole = dataclasses.make_dataclass(
        kind.__name__, fields, bases=(kind,), kw_only=True, frozen=True, namespace={"__doc__": kind.__doc__}
    )
    given = parsed(whole, argv, verb=verb)
    values = _values({field.name: getattr(given, field.name) for field in dataclasses.fields(section)})
    kept = {key: getattr(base, key) for key in DESCRIPTIVE}
    return given, checked(kept | values, where=where)


def last_value(argv: Sequence[str], *flags: str) -> str | None:
    """The last value that a command line gives to a flag.

    Args:
        argv: Words of the command line.
        flags: The flag and its other spellings.

    Returns:
        The value, or None if the flag is not given or has no value.
    """
    found = None
    for word, following in itertools.pairwise([*argv, "--"]):
        flag, equals, value = word.partition("=")
        if flag in flags and (equals or not following.startswith("--")):
            found = value if equals else following
    return found


def with_resumed_folder(argv: Sequence[str], *, verb: str) -> list[str]:
    """A command line whose `--resume` without a folder means the one of `--out`.

    Args:
        argv: Words of the command line.
        verb: Name of the verb.

    Returns:
        The words, `--resume` with its folder.

    Raises:
        InputError: There is no folder.
    """
    words = list(argv)
    for index, word in enumerate(words):
        if word == "--resume" and (index + 1 == len(words) or words[index + 1].startswith("--")):
            out = last_value(words, "--out")
            if out is None:
                raise InputError(f"--resume needs the folder of a run: locallearn {verb} --resume runs/NAME.")
            return [*words[:index], f"--resume={out}", *words[index + 1 :]]
    return words


def recipe_word(argv: Sequence[str]) -> str | None:
    """The word of a command line that names a recipe, found before the flags' types are known.

    Args:
        argv: Words after the verb.

    Returns:
        The first word if it is no flag, else the first that is a recipe's name or a TOML file and no name's value.
    """
    if argv and not argv[0].startswith("-"):
        return argv[0]
    for before, word in itertools.pairwise(argv):
        if (known(word) or word.endswith(".toml")) and not before.endswith((".name", "--method")):
            return word
    return None


def _section(model: BaseModel, path: str) -> Any:
    # An instance of a fresh dataclass with the section's fields, their types, descriptions and current values.
    fields: list[tuple[str, Any, Any]] = []
    for name, (info, value) in _fields(model).items():
        here = f"{path}{name}"
        if here in DESCRIPTIVE:
            continue
        inner = _section(value, f"{here}.") if isinstance(value, BaseModel) else value
        annotation = type(inner) if isinstance(value, BaseModel) else info.annotation
        aliases = (ALIASES[here],) if here in ALIASES else None
        confined = Annotated[annotation, tyro.conf.arg(help=info.description, aliases=aliases)]
        default = {"default_factory": lambda inner=inner: inner} if isinstance(inner, dict) else {"default": inner}
        fields.append((name, confined, dataclasses.field(**default)))
    documentation = _own_fields(model).__doc__ if isinstance(model, MethodSection) else type(model).__doc__
    kind = dataclasses.make_dataclass(
        type(model).__name__, fields, kw_only=True, frozen=True, namespace={"__doc__": documentation}
    )
    return kind()


def _fields(model: BaseModel) -> dict[str, tuple[FieldInfo, Any]]:
    own = {name: (info, getattr(model, name)) for name, info in type(model).model_fields.items()}
    if isinstance(model, DatasetSection):
        changes = augmentation_fields(model.name).model_validate(model.augmentation.options)
        own["augmentation"] = (own["augmentation"][0], changes)
    return own | _fields(_own_fields(model)) if isinstance(model, MethodSection) else own


def _own_fields(section: MethodSection) -> BaseModel:
    return method_fields(section.name).model_validate(section.options)


def _values(value: Any) -> Any:
    # Nested tables as in TOML, which has no None.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _values(inner) for key, inner in value.items() if inner is not None}
    return value
