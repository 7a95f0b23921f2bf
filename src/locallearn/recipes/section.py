"""What every table of a recipe is, and the numbers it may hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from locallearn.recipes.choices import CONFIG

Fraction = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """One table of a recipe: unknown keys, wrong types, NaN and infinities are refused."""

    model_config = CONFIG


def told_by_key(model: type[BaseModel]) -> WrapValidator:
    """How sections that stand in a list or under names of the user's tell what is wrong with them.

    Args:
        model: The section.

    Returns:
        An annotation for it, with which `recipes.problems` names every wrong key by its path.
    """

    def check(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(given)
        except ValidationError as error:
            context = {"inner": error, "model": model, "message": str(error)}
            raise PydanticCustomError("inner", "{message}", context) from error

    return WrapValidator(check)
