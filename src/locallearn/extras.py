"""Packages that are installed only where they are needed."""

from __future__ import annotations

from importlib import import_module

from locallearn.errors import InputError


def require(module: str, needed_by: str, *, extra: str) -> None:
    """Refuse what cannot be done without a package that is not installed.

    Args:
        module: One of the package's modules.
        needed_by: What cannot be done, as the subject of a sentence.
        extra: The extra of this package that brings it.

    Raises:
        InputError: It is not installed.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise InputError(f"{needed_by} needs {package}: pip install 'locallearn[{extra}]'.") from error
