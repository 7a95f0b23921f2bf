"""Runs of CIFAR-10 and SVHN, made by hand."""

from __future__ import annotations

import pytest

from locallearn.analysis import opened_all
from reporting.made_runs import found, made_run


@pytest.fixture
def folders(tmp_path):
    """Three seeds of DGL, back-propagation, a run under way, and a run on other data."""
    made = {
        f"dgl/seed{seed}": (
            "cifar10_resnet32_k16_dgl",
            [30.0, 20.0, 14.0 + seed],
            {"seed": seed, "peak": 2**29, "seconds": 1.0 + seed**2},
        )
        for seed in range(3)
    }
    made["backprop"] = ("cifar10_resnet32_backprop", [20.0, 10.0, 8.0, 7.5], {"seconds": 5.0})
    made["under_way"] = ("cifar10_resnet32_k16_dgl+man", [25.0, None], {"finished": False})
    made["other"] = ("svhn_resnet32_k16_dgl", [5.0, 4.0], {})
    return {name: made_run(tmp_path / name, recipe, errors, **more) for name, (recipe, errors, more) in made.items()}


@pytest.fixture
def runs(folders):
    """What the folders show; operations are known already."""
    for name, folder in folders.items():
        found(folder, "curves", settings={"flops_per_step": 2 * 10**9 if name == "backprop" else 10**9})
    return {name: run for name, run in zip(folders, opened_all(list(folders.values())), strict=True)}
