"""What is wrong with a recipe, told by key path."""

from __future__ import annotations

import re
import reprlib
from typing import Any

from pydantic import BaseModel, ValidationError

from locallearn.recipes.choices import nearest, suggestion, unknown_key

OPTIONS = ("network", "options")


def problems(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str | int, ...] = (), *, whole: str = "recipe"
) -> list[str]:
    """One sentence for each wrong key.

    Args:
        error: What pydantic found.
        model: The model that refused.
        prefix: Path of the model within the recipe.
        whole: What to call the outermost model.

    Returns:
        Sentences that begin with the key path and, where there is one, end with a suggestion.
    """
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        place, context = item["loc"], item.get("ctx", {})
        place = place[:3] if place[:2] == OPTIONS else place
        if item["type"] == "inner":
            sentences = problems(context["inner"], context["model"], prefix + place)
            found |= {sentence: sentence for sentence in sentences}
            continue
        if item["type"] == "at":
            place = (*place, context["key"])
        path = dotted(prefix + place, whole=whole)
        found.setdefault(path, f"{path}{_sentence(item, place, model)}")
    return list(found.values())


def dotted(place: tuple[str | int, ...], *, whole: str = "recipe") -> str:
    """A key path as in `training.betas[1]`.

    Args:
        place: Keys and positions, outermost first.
        whole: What to call the outermost model.

    Returns:
        The path, or `whole`.
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or whole


def paths(model: type[BaseModel]) -> list[str]:
    """The dotted paths of a model's fields, sections included.

    Args:
        model: A recipe or a section.

    Returns:
        Paths such as `training` and `training.lr`.
    """
    found = []
    for name, field in model.model_fields.items():
        found.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += [f"{name}.{path}" for path in paths(field.annotation)]
    return found


def _sentence(item: Any, place: tuple[str | int, ...], model: type[BaseModel]) -> str:
    context = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return _unknown(str(place[-1]), place[:-1], model)
        case "missing":
            return " is missing and has no default."
        case "value_error":
            return f": {str(context['error']).rstrip('.')}."
        case "at":
            return f": {context['message']}"
        case "told" | "unknown":
            return context["message"]
        case "model_type":
            return f" = {reprlib.repr(item['input'])} must be a table of keys and values."
        case "bool_type" if place[:2] == OPTIONS:
            return f" = {reprlib.repr(item['input'])} must be true or false, a finite number or a text."
        case "literal_error":
            near = suggestion(str(item["input"]), re.findall(r"'([^']+)'", context["expected"]))
            return f" = {reprlib.repr(item['input'])} must be {context['expected']}.{near}"
    expected = item["msg"].removeprefix("Input should be ").removeprefix("Input is ")
    return f" = {reprlib.repr(item['input'])} must be {expected}."


def _unknown(key: str, section: tuple[str | int, ...], model: type[BaseModel]) -> str:
    elsewhere = {path.rpartition(".")[2]: path for path in paths(model)}
    for name in section:
        inner = model.model_fields[str(name)].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        model = inner
    legal = list(model.model_fields)
    near = "".join(f" Did you mean {elsewhere[near]!r}?" for near in nearest(key, elsewhere))
    return unknown_key(key, legal, otherwise=near)
