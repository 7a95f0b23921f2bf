"""Frozen dataclasses whose fields are options: values of the wrong type or name are refused."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

from locallearn.errors import InputError, listed

_NUMBERS: dict[object, str] = {int: "a whole number", float: "a number", bool: "True or False"}


def check_fields(options: Any) -> None:
    """Refuse wrong values in the fields of a frozen dataclass, and turn lists into tuples where tuples belong.

    Args:
        options: The dataclass.

    Raises:
        InputError: A field that names one of several rules names none of them, or a number is of another type.
    """
    problems = []
    name_of_class = type(options).__name__
    for name, hint in get_type_hints(type(options)).items():
        if get_origin(hint) is tuple and isinstance(getattr(options, name), list):
            object.__setattr__(options, name, tuple(getattr(options, name)))
        if hint in _NUMBERS and not _is_of(getattr(options, name), hint):
            problems.append(f"{name_of_class}'s {name} must be {_NUMBERS[hint]}, not {getattr(options, name)!r}.")
        if get_origin(hint) is Literal and getattr(options, name) not in get_args(hint):
            legal = ", ".join(map(repr, get_args(hint)))
            problems.append(f"{name_of_class}'s {name} is {getattr(options, name)!r}; it must be one of {legal}.")
    if problems:
        raise InputError(listed(problems))


def _is_of(value: object, hint: object) -> bool:
    """Whether a value has the type that a field is annotated with; a whole number is a number too."""
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint
