"""The methods by name. Importing this module does not import torch."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from typing import Any

from locallearn.abstract_method import Method
from locallearn.errors import InputError, listed
from locallearn.methods.backprop import Backprop
from locallearn.methods.dgl import DGL
from locallearn.methods.infopro import InfoPro
from locallearn.methods.predsim import PredSim

METHODS: dict[str, type[Method]] = {"backprop": Backprop, "dgl": DGL, "infopro": InfoPro, "predsim": PredSim}

__all__ = ["DGL", "METHODS", "Backprop", "InfoPro", "PredSim", "method", "method_class"]


def method_class(name: str) -> type[Method]:
    """The class behind a method's name.

    Args:
        name: A key of `METHODS`, or `"package.module:Class"` for a user's own subclass of `Method`.

    Returns:
        The frozen dataclass.

    Raises:
        InputError: The name is unknown, or does not lead to a subclass of `Method`.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"There is no method {name!r}. {hint}The methods are {', '.join(METHODS)}; "
            "your own is 'package.module:Class'."
        )
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:
        raise InputError(f"The method {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError(f"{name!r} is {found!r}, not a subclass of locallearn.Method.")
    return found


def method(name: str, **fields: Any) -> Method:
    """A method by name, as on the command line.

    Args:
        name: See `method_class`.
        **fields: The method's hyper-parameters; what is left out keeps its default.

    Returns:
        The frozen method.

    Raises:
        InputError: The name or a field is unknown, or a value is refused.

    Example:
        >>> method("dgl", head="authors")
        DGL(head='authors')
    """
    chosen = method_class(name)
    legal = [field.name for field in dataclasses.fields(chosen)]
    problems = []
    for field in fields:
        if field not in legal:
            near = difflib.get_close_matches(field, legal, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            problems.append(f"{name!r} has no field {field!r}. {hint}Its fields are {', '.join(legal) or 'none'}.")
    if problems:
        raise InputError(listed(problems))
    return chosen(**fields)
