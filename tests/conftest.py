"""One thread per test process: the tensors are tiny, and workers share the cores. Finished runs to look into."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)
# Fake tensors announce a device, for which a later first backward pass would start threads that forked children lack.
torch.ones(1, requires_grad=True).sum().backward()


def digits(**changes):
    from locallearn.recipes import checked, load

    tables = load("digits").model_dump()
    tables["training"] |= {"epochs": 2, "keep_checkpoints": 3} | changes.pop("training", {})
    tables["training"]["schedule"] = {"name": "cosine"}
    return checked(tables | {"device": "cpu"} | changes, where="a test's recipe")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Folders of small finished runs of the digits recipe by method: dgl and backprop, on the same blocks."""
    from locallearn.training import train

    folder = tmp_path_factory.mktemp("runs")
    for name in ("dgl", "backprop"):
        train(digits(method={"name": name}), folder / name)
    return {name: folder / name for name in ("dgl", "backprop")}


@pytest.fixture
def figures(monkeypatch):
    """The figures that verbs write, by the names of their files."""
    from locallearn.plotting import figure_file

    found, write = {}, figure_file.save_figure

    def kept(figure, path):
        found[path.name] = figure
        write(figure, path)

    monkeypatch.setattr(figure_file, "save_figure", kept)
    return found
