"""A finished run of the digits recipe, small and made once."""

from __future__ import annotations

import pytest

from locallearn.recipes import checked, load
from locallearn.training import train


def digits(**changes):
    tables = load("digits").model_dump()
    tables["training"] |= {"epochs": 2, "keep_checkpoints": 3} | changes.pop("training", {})
    tables["training"]["schedule"] = {"name": "cosine"}
    return checked(tables | {"device": "cpu"} | changes, where="a test's recipe")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Run folders by method: dgl and backprop, on the same blocks."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("dgl", "backprop"):
        train(digits(method={"name": name}), folder / name)
    return {name: folder / name for name in ("dgl", "backprop")}
