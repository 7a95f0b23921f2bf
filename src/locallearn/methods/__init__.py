"""The methods by name. Importing this module does not import torch."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from locallearn.abstract_method import Method, Wrapper
from locallearn.errors import InputError, listed
from locallearn.methods.auglocal import AugLocal
from locallearn.methods.backprop import Backprop
from locallearn.methods.dgl import DGL
from locallearn.methods.infopro import InfoPro
from locallearn.methods.man import MAN, MAN_CODE, MAN_PAPER
from locallearn.methods.mlaan import MLAAN, MLAAN_CODE, MLAAN_PAPER
from locallearn.methods.predsim import PredSim


class Preset(NamedTuple):
    """A method with other defaults.

    Args:
        kind: The method's class.
        fields: The defaults that differ, or are stated again.
        title: What it is in one line.
    """

    kind: type[Method]
    fields: dict[str, Any]
    title: str


METHODS: dict[str, type[Method]] = {
    "auglocal": AugLocal,
    "backprop": Backprop,
    "dgl": DGL,
    "infopro": InfoPro,
    "man": MAN,
    "mlaan": MLAAN,
    "predsim": PredSim,
}
"""Every method by its name; those that are laid over others stand after a `+`, as in `dgl+man`."""

PRESETS: dict[str, Preset] = {
    "man_code": Preset(MAN, MAN_CODE, "MAN as the authors' released code has it."),
    "man_paper": Preset(MAN, MAN_PAPER, "MAN as the equations of its paper have it."),
    "mlaan_code": Preset(MLAAN, MLAAN_CODE, "MLAAN as the authors' released code for CIFAR ResNets has it."),
    "mlaan_paper": Preset(MLAAN, MLAAN_PAPER, "MLAAN as its paper has it."),
}
"""Names for a method with other defaults: what released code does where it differs from the paper, and the paper."""

__all__ = [
    "DGL",
    "MAN",
    "METHODS",
    "MLAAN",
    "PRESETS",
    "AugLocal",
    "Backprop",
    "InfoPro",
    "NamedMethod",
    "PredSim",
    "method",
    "named_method",
]


class NamedMethod(NamedTuple):
    """What a name stands for.

    Args:
        kind: The outermost method's class.
        defaults: Its fields without the base, as the name sets them.
        base: What it is laid over, None if over nothing.
    """

    kind: type[Method]
    defaults: dict[str, Any]
    base: NamedMethod | None


def named_method(name: str) -> NamedMethod:
    """What a method's name stands for: a base, and after each `+` what is laid over it.

    Args:
        name: Keys of `METHODS` or `PRESETS`, or `"package.module:Class"` for a user's own subclass of `Method`, joined
            by `+`: `"dgl"`, `"dgl+man"`, `"infopro+mlaan_code"`.

    Returns:
        Classes and defaults, the outermost first.

    Raises:
        InputError: A name is unknown or does not lead to a subclass of `Method`, or one after a `+` cannot be laid over
            another.
    """
    found: NamedMethod | None = None
    for word in name.split("+"):
        kind, preset = PRESETS[word][:2] if word in PRESETS else (_method_class(word), {})
        if found is not None and not issubclass(kind, Wrapper):
            raise InputError(
                f"In the method {name!r}, {word!r} cannot be laid over another method; after a '+' stand "
                f"{', '.join(_wrappers())}."
            )
        base = _default_base(kind) if found is None else found
        fields = {field.name: field.default for field in dataclasses.fields(kind) if field.name != "base"}
        found = NamedMethod(kind, fields | preset, base)
    assert found is not None
    return found


def method(name: str, **fields: Any) -> Method:
    """A method by name, as on the command line.

    Args:
        name: See `named_method`.
        **fields: The outermost method's hyper-parameters; what is left out keeps its default. `base` may hold those of
            what it is laid over as a dictionary.

    Returns:
        The frozen method.

    Raises:
        InputError: The name or a field is unknown, or a value is refused.

    Example:
        >>> method("dgl+man", momentum=0.99, base={"head": "man"}).base
        DGL(tokens='mean', head='man')
    """
    return _built(name, named_method(name), fields)


def _built(name: str, named: NamedMethod, fields: Mapping[str, Any]) -> Method:
    legal = [*named.defaults, *(["base"] if named.base else [])]
    problems = []
    for field in fields:
        if field not in legal:
            near = difflib.get_close_matches(field, legal, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            problems.append(f"{name!r} has no field {field!r}. {hint}Its fields are {', '.join(legal) or 'none'}.")
    if problems:
        raise InputError(listed(problems))
    given = named.defaults | {key: value for key, value in fields.items() if key != "base"}
    given = {key: value for key, value in given.items() if value is not dataclasses.MISSING}
    if named.base is not None:
        inner = fields.get("base", {})
        given["base"] = _built(f"{name}, base", named.base, inner) if isinstance(inner, Mapping) else inner
    return named.kind(**given)


def _default_base(kind: type[Method]) -> NamedMethod | None:
    """What a method is laid over where its name names nothing."""
    for field in dataclasses.fields(kind):
        if field.name == "base" and isinstance(field.default, Method):
            inner = field.default
            own = {f.name: getattr(inner, f.name) for f in dataclasses.fields(inner) if f.name != "base"}
            return NamedMethod(type(inner), own, _default_base(type(inner)))
    return None


def _wrappers() -> list[str]:
    return [name for name, kind in METHODS.items() if issubclass(kind, Wrapper)] + list(PRESETS)


@functools.cache
def _method_class(name: str) -> type[Method]:
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        known = [*METHODS, *PRESETS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"There is no method {name!r}. {hint}The methods are {', '.join(known)}; those that can be laid over "
            "others follow a '+', as in 'dgl+man'. Your own is 'package.module:Class'."
        )
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:
        raise InputError(f"The method {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError(f"{name!r} is {found!r}, not a subclass of locallearn.Method.")
    return found
