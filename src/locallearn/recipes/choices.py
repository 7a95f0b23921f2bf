"""The names and method fields that a recipe may hold, checked without importing torch."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import warnings
from collections.abc import Iterable
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError, PydanticUndefined

from locallearn.datasets.registry import find_spec
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
        strict = None if get_origin(hints[name]) is not tuple else False
        fields[name] = (hints[name], Field(default, strict=strict))
    if named.base is not None:
        inner = _fields_of(named.base)
        fields["base"] = (inner, Field(default_factory=inner, description="What the method is laid over."))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        return create_model(named.kind.__name__, __config__=CONFIG, __doc__=named.kind.__doc__, **fields)
