"""The verb: what it prints, draws, keeps and refuses."""

from __future__ import annotations

import json
import shutil
import statistics

import pytest
import torch

from locallearn.analysis import opened
from locallearn.analysis.block_features import pooled_features
from locallearn.analysis.probe import linear_probe
from locallearn.analysis.stored import stored
from locallearn.cli.main import main

CPU = torch.device("cpu")


def test_every_block_is_probed_and_the_numbers_are_kept(runs, tmp_path, capsys):
    words = ["probe", *map(str, runs.values()), "--train-images", "300", "--seeds", "2", "--images", "100"]
    words += ["--seed", "3"]
    assert main([*words, "--device", "cpu", "--plot", str(tmp_path / "probe.svg"), "--json"]) == 0
    told = capsys.readouterr().out
    found = json.loads(told.splitlines()[-1])["runs"]
    assert "Linear separability" in (tmp_path / "probe.svg").read_text()
    assert list(found) == ["dgl", "backprop"]
    for name, each in found.items():
        assert each["train_images"] == 300 and each["test_images"] == 100 and each["seeds"] == [3, 4]
        record = stored(opened(runs[name]))["probe"]
        assert record["by_seed"] == each["by_seed"] and record["settings"]["seeds"] == [3, 4]
        assert len(each["accuracy"]) == 4 and each["features"][-1] == 10
        for seeds, mean, deviation in zip(each["by_seed"], each["accuracy"], each["deviation"], strict=True):
            assert mean == pytest.approx(statistics.fmean(seeds)) and len(seeds) == 2
            assert deviation == pytest.approx(statistics.stdev(seeds)) and f"{mean:.2f} % +- {deviation:.2f}" in told
    assert any(first != second for first, second in found["dgl"]["by_seed"])
    run = opened(runs["dgl"])
    splits, model = run.splits(), run.model(CPU)
    train, test = (
        pooled_features(model, run.batches(part, CPU, count=count, seed=3).epoch(0))
        for part, count in ((splits.train, 300), (splits.test, 100))
    )
    expected = [
        linear_probe(own, train.labels, tested, test.labels).accuracy
        for own, tested in zip(train.blocks, test.blocks, strict=True)
    ]
    assert [first for first, _ in found["dgl"]["by_seed"]] == pytest.approx(expected)


def test_probes_of_the_logits_are_about_as_good_as_the_network(runs, capsys):
    assert main(["probe", str(runs["dgl"]), "--seeds", "1", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]["dgl"]
    run = opened(runs["dgl"])
    assert told["train_images"] == len(run.splits().train) * 4 // 5
    assert "deviation" not in told and told["accuracy"][-1] > run.summary["test_accuracy"] - 5


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--seeds", "0", "--train-images", "-1"], "- --train-images must be at least 1, not -1.\n- --seeds must be"),
        (["--train-images", "1000000"], "training images: give fewer by --train-images, or all of them with --seeds 1"),
        (["--plot", "probe.txt"], "--plot 'probe.txt' must end in .png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_is_refused(runs, words, refusal, capsys):
    assert main(["probe", str(runs["dgl"]), *words]) == 2
    assert refusal in capsys.readouterr().err


def test_all_images_can_be_drawn_only_once(runs, capsys):
    count = str(len(opened(runs["dgl"]).splits().train))
    assert main(["probe", str(runs["dgl"]), "--train-images", count]) == 2
    assert "every draw would be the same" in capsys.readouterr().err
    assert main(["probe", str(runs["dgl"]), "--train-images", count, "--seeds", "1", "--images", "50"]) == 0


def test_a_run_that_has_not_ended_is_refused(runs, tmp_path, capsys):
    shutil.copytree(runs["dgl"], tmp_path / "run")
    (tmp_path / "run" / "network.safetensors").unlink()
    assert main(["probe", str(tmp_path / "run")]) == 2
    assert (
        "has not ended, or has lost its network or summary: go on with it by locallearn train --resume"
        in capsys.readouterr().err
    )


def test_the_network_is_looked_at_as_it_is_tested(runs):
    run = opened(runs["dgl"])
    model = run.model(CPU)
    assert not model.training and not model.network.training
