"""The names and method fields that a recipe may hold, checked without importing torch."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import warnings
from collections.abc import Iterable
from typing import Any, LiteralString, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticUndefined

from locallearn.datasets.registry import find_spec
from locallearn.datasets.spec import varied
from locallearn.errors import InputError
from locallearn.methods import NamedMethod, method, named_method
from locallearn.networks import names as network_names

CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
"""What every section refuses: unknown keys, other types, NaN and infinities."""


def suggestion(wrong: str, legal: Iterable[str]) -> str:
    """The nearest legal name as a question.

    Args:
        wrong: What was given.
        legal: What could have been meant.

    Returns:
        A sentence with a leading space, or nothing if no name is near.
    """
    return "".join(f" Did you mean {name!r}?" for name in nearest(wrong, legal))


def nearest(wrong: str, legal: Iterable[str]) -> list[str]:
    """The legal name nearest to a wrong one.

    Args:
        wrong: What was given.
        legal: What could have been meant.

    Returns:
        That name, or nothing if none is near.
    """
    return difflib.get_close_matches(wrong, list(legal), n=1)


def checked_dataset(name: str) -> str:
    """A data set's name, if there is such a data set.

    Args:
        name: A key of `locallearn.datasets.registry.SPECS`.

    Returns:
        The name.

    Raises:
        InputError: There is none of that name.
    """
    return find_spec(name).name


@functools.cache
def augmentation_fields(dataset: str) -> type[BaseModel]:
    """The fields of a data set's augmentation as a model that checks their types; none of them needs a value.

    Args:
        dataset: A key of `locallearn.datasets.registry.SPECS`.

    Returns:
        A model with one optional field for each of the dataclass's.
    """
    kind: Any = type(find_spec(dataset).augmentation)
    hints = get_type_hints(kind, include_extras=True)
    told = _told_fields(kind)
    fields: dict[str, Any] = {
        field.name: (
            hints[field.name] | None,
            Field(None, description=told.get(field.name), strict=_strict(hints[field.name])),
        )
        for field in dataclasses.fields(kind)
    }
    doc = "Changes to the data set's published augmentation; what is not given stays as published."
    return create_model(kind.__name__, __config__=CONFIG, __doc__=doc, **fields)


def checked_augmentation(dataset: str, given: dict[str, Any]) -> dict[str, Any]:
    """Changes to a data set's augmentation, if its dataclass takes them.

    Args:
        dataset: A key of `locallearn.datasets.registry.SPECS`.
        given: Its fields by name.

    Returns:
        The changes, lists turned into tuples where tuples belong; without those that are None.

    Raises:
        ValidationError: Fields are unknown, of another type or refused by the dataclass; each is told at its key.
    """
    model, published = augmentation_fields(dataset), find_spec(dataset).augmentation
    problems = [
        _problem(key, given[key], "unknown", unknown_key(key, model.model_fields))
        for key in given
        if key not in model.model_fields
    ]
    changes: dict[str, Any] = {}
    for key in (name for name in model.model_fields if name in given):
        try:
            value = getattr(model.model_validate({key: given[key]}), key)
            changes |= {} if value is None else {key: value}
        except ValidationError as error:
            problems += [
                InitErrorDetails(type=item["type"], loc=item["loc"], input=item["input"], ctx=item.get("ctx", {}))
                for item in error.errors(include_url=False)
            ]
    problems += _refused_changes(published, changes)
    if problems:
        refusal = ValidationError.from_exception_data("augmentation", problems)
        raise refusal
    return changes


def _refused_changes(published: Any, changes: dict[str, Any]) -> list[InitErrorDetails]:
    # What the dataclass refuses: the changes that it would refuse alone, else the last of them.
    together = _refusal(published, changes)
    if together is None:
        return []
    alone = {key: _refusal(published, {key: value}) for key, value in changes.items()}
    told = {key: message for key, message in alone.items() if message is not None} or {[*changes][-1]: together}
    return [_problem(key, changes[key], "told", message) for key, message in told.items()]


def _refusal(published: Any, changes: dict[str, Any]) -> str | None:
    try:
        varied(published, changes)
    except ValueError as error:
        return f": {str(error).rstrip('.')}."
    return None


def unknown_key(key: str, legal: Iterable[str], *, otherwise: str = "") -> str:
    """What to say of a key that a section does not have, after its path.

    Args:
        key: The key.
        legal: Those that the section has.
        otherwise: What to suggest if none of them is near.

    Returns:
        Sentences with the nearest key and all of them.
    """
    known = list(legal)
    near = suggestion(key, known) or otherwise
    return f" is not a key of this section.{near} The keys there are {', '.join(known) or 'none'}."


def checked_network(name: str) -> str:
    """A network's name, if it names one of this package's or says where else to look.

    Args:
        name: A name of `locallearn.networks.names()`, or `place:name`.

    Returns:
        The name.

    Raises:
        InputError: The name is neither.
    """
    own = [known for known in network_names() if ":" not in known]
    if name not in own and not re.fullmatch(r"[\w.]+:[\w.\-/]+", name):
        raise InputError(
            f"There is no network {name!r}.{suggestion(name, own)} The networks are {', '.join(network_names())}."
        )
    return name


def checked_device(name: str) -> str:
    """A device's name, if it is spelled like one; whether the machine has it shows when training starts.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:1`, `mps` or `xpu`.

    Returns:
        The name.

    Raises:
        InputError: The name is none of these.
    """
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", name):
        raise InputError(f"There is no device {name!r}: use auto, cpu, cuda, cuda:1, mps or xpu.")
    return name


def checked_method(given: dict[str, Any]) -> dict[str, Any]:
    """The entries of a recipe's method section, completed with the method's defaults.

    Args:
        given: `name` and the method's fields; those of what it is laid over in `base`.

    Returns:
        `name` and every field of the method; the entries as given if `name` is no text.

    Raises:
        PydanticCustomError: A field is unknown or a value refused; `inner` in its context holds the details.
    """
    name = given.get("name")
    if not isinstance(name, str):
        return given
    try:
        model = method_fields(name)
    except InputError as error:
        raise PydanticCustomError("at", "{message}", {"key": "name", "message": str(error)}) from error
    try:
        fields = model.model_validate({key: value for key, value in given.items() if key != "name"})
    except ValidationError as error:
        raise PydanticCustomError(
            "inner", "{message}", {"inner": error, "model": model, "message": str(error)}
        ) from error
    complete = fields.model_dump()
    method(name, **complete)
    return {"name": name} | complete


def useless_heads(dataset: str, name: str, options: dict[str, Any]) -> list[str]:
    """Settings of a method's own heads that do nothing, because the data set's task has heads of its own.

    Args:
        dataset: A key of `locallearn.datasets.registry.SPECS`.
        name: See `locallearn.methods.named_method`.
        options: The method's fields, those of what it is laid over in `base`.

    Returns:
        A sentence for each that differs from its default; none for classification.
    """
    task = find_spec(dataset).task
    if task == "classification":
        return []
    named, prefix, found = named_method(name), "", []
    while named is not None:
        defaults = {key: named.defaults[key] for key in ("head", "tokens") if key in named.defaults}
        found += [f"{prefix}{key}" for key, value in defaults.items() if options.get(key, value) != value]
        named, options, prefix = named.base, options.get("base", {}), f"{prefix}base."
    return [
        f"method.{key} chooses heads that predict once per image, and {dataset} is for {task}, which has heads of its "
        "own: leave it out."
        for key in found
    ]


@functools.cache
def method_fields(name: str) -> type[BaseModel]:
    """The fields of a named method as a model that checks their types.

    Args:
        name: See `locallearn.methods.named_method`.

    Returns:
        A model with one field for each of the dataclass's; `base` is such a model itself.

    Raises:
        InputError: See `locallearn.methods.named_method`.
    """
    return _fields_of(named_method(name))


def _fields_of(named: NamedMethod) -> type[BaseModel]:
    hints = get_type_hints(named.kind)
    fields: dict[str, Any] = {}
    for name, value in named.defaults.items():
        default = PydanticUndefined if value is dataclasses.MISSING else value
        fields[name] = (hints[name], Field(default, strict=_strict(hints[name])))
    if named.base is not None:
        inner = _fields_of(named.base)
        fields["base"] = (inner, Field(default_factory=inner, description="What the method is laid over."))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        return create_model(named.kind.__name__, __config__=CONFIG, __doc__=named.kind.__doc__, **fields)


def _strict(hint: Any) -> bool | None:
    # TOML has lists where dataclasses have tuples.
    return False if any(get_origin(kind) is tuple for kind in (hint, *get_args(hint))) else None


def _problem(key: str, value: Any, kind: LiteralString, message: str) -> InitErrorDetails:
    # "told" and "unknown" are told as they are: pydantic has no such kinds of its own.
    return InitErrorDetails(type=PydanticCustomError(kind, "{message}", {"message": message}), loc=(key,), input=value)


def _told_fields(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of its fields, under `Args:`."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", listed.partition("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
