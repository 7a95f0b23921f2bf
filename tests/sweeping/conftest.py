"""Sweeps over a network that trains in a fraction of a second."""

from __future__ import annotations

import pytest

from locallearn.recipes import save
from locallearn.sweeping.sweep_file import checked
from training.conftest import counted_peaks, loaded, one_thread  # noqa: F401  (fixtures)
from training.tiny_runs import recipe


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Path of a tiny recipe that holds images out."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    save(recipe(dataset={"validation": 0.2}, training={"epochs": 2, "checkpoint_every_steps": 3}), path)
    return str(path)


@pytest.fixture
def sweep(base):
    """Makes a sweep over the tiny recipe; a grid over two learning rates if nothing else is asked for."""

    def made(**tables):
        kinds = {"grid", "search", "case"} & {*tables}
        grid = {} if kinds else {"grid": {"training.lr": [0.05, 0.2]}}
        return checked({"title": "tiny", "recipe": base, **grid, **tables}, where="A test's sweep")

    return made
