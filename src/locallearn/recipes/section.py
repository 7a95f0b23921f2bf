"""What every table of a recipe is, and the numbers it may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from locallearn.recipes.choices import CONFIG

Fraction = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """One table of a recipe: unknown keys, wrong types, NaN and infinities are refused."""

    model_config = CONFIG
