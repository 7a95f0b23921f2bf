from __future__ import annotations

import shutil

import pytest

from locallearn.analysis import opened_together
from locallearn.errors import InputError
from locallearn.recipes import load, save


def test_runs_of_one_data_set_stand_beside_each_other(runs):
    assert [run.name for run in opened_together(list(runs.values()), checkpoints=True)] == ["dgl", "backprop"]


def test_all_that_is_wrong_is_told_at_once(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    for name in ("camvid_deeplabv3", "cifar10_resnet32_k16_dgl"):
        (tmp_path / name).mkdir()
        save(load(name).model_copy(update={"seeds": 1}), tmp_path / name / "recipe.toml")
    folders = [runs["dgl"], *(tmp_path / name for name in ("bare", "camvid_deeplabv3"))]
    with pytest.raises(InputError) as refused:
        opened_together([*folders, tmp_path / "cifar10_resnet32_k16_dgl"], checkpoints=True)
    told = str(refused.value)
    assert "bare' has no checkpoint" in told and "is a run of segmentation" in told
    assert "dgl' has not ended, or has lost its network or summary: go on with it by locallearn train --resume" in told
    assert (
        "is of cifar10 with 10 classes (airplane, automobile, bird, ...) at 32x32" in told
        and "digits with 10 classes (0, 1, 2, ...) at 8x8: give runs of one" in told
    )


def test_a_run_under_way_can_be_asked_for(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "under_way")
    (tmp_path / "under_way" / "network.safetensors").unlink()
    assert opened_together([tmp_path / "under_way"], finished=False, checkpoints=True)
    with pytest.raises(InputError, match="has not ended"):
        opened_together([tmp_path / "under_way"])
    with pytest.raises(InputError, match="at least one run"):
        opened_together([])
