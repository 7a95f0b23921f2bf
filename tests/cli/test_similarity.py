"""The verb: what it prints, draws, keeps and refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from locallearn.analysis import opened
from locallearn.analysis.cka import MinibatchCKA
from locallearn.analysis.stored import stored
from locallearn.cli.main import main

CPU = torch.device("cpu")


def ask(runs, *words):
    return main(["similarity", str(runs["backprop"]), str(runs["dgl"]), "--device", "cpu", *words])


def test_every_block_is_compared_with_every_other_and_kept(runs, tmp_path, capsys):
    charts = ["--plot", str(tmp_path / "curve.svg"), "--heatmap", str(tmp_path / "pairs.svg")]
    assert ask(runs, "--images", "200", "--batch-size", "200", "--passes", "1", *charts, "--json") == 0
    told = capsys.readouterr().out
    answer = json.loads(told.splitlines()[-1])
    found = answer["runs"]["dgl"]
    assert answer["reference"] == "backprop" and found["pairing"] == "same block" and found["images"] == 200
    record = stored(opened(runs["dgl"]))["similarity-with-backprop"]
    assert record["matrix"] == found["matrix"] and record["settings"]["reference"] == "../backprop"
    assert "similarity-with-dgl" not in stored(opened(runs["backprop"]))
    assert "block of backprop" in (tmp_path / "pairs.svg").read_text()
    for name in ("curve.svg", "pairs.svg"):
        drawing = (tmp_path / name).read_text()
        assert "Similarity with backprop" in drawing and "linear CKA, unbiased" in drawing
    run, reference = opened(runs["dgl"]), opened(runs["backprop"])
    ((images, _),) = reference.batches(reference.splits().test, CPU, count=200).epoch(0)
    own, other = run.model(CPU).features(images), reference.model(CPU).features(images)
    expected = MinibatchCKA()
    expected.add(own, other)
    for row, known in zip(found["matrix"], expected.value().tolist(), strict=True):
        assert row == pytest.approx(known, abs=1e-6)
    assert found["curve"] == [found["matrix"][k][k] for k in range(4)]
    assert found["mean"] == pytest.approx(sum(found["curve"]) / 4) and f"{found['mean']:.4f}" in told
    assert "(with " not in told


def test_passes_have_orders_of_their_own_of_the_same_images(runs):
    run = opened(runs["dgl"])
    test = run.splits().test
    drawn = [next(run.batches(test, CPU, count=60, order=order).epoch(0))[0] for order in (None, 0, 1, 0)]
    assert torch.equal(drawn[1], drawn[3]) and not torch.equal(drawn[1], drawn[2])
    rows = [sorted(map(tuple, images.flatten(1).tolist())) for images in drawn]
    assert rows[0] == rows[1] == rows[2]


def test_a_run_like_another_is_1_alike(runs, tmp_path, capsys):
    shutil.copytree(runs["dgl"], tmp_path / "twin")
    assert main(["similarity", str(runs["dgl"]), str(tmp_path / "twin"), "--images", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["runs"]["twin"]
    assert found["curve"] == pytest.approx([1] * 4, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--batch-size", "3", "--passes", "0"], "- --batch-size must be at least 4, not 3.\n- --passes must be at"),
        (["--images", "3"], "no batch of 4 samples or more"),
        (["--heatmap", "pairs.txt"], "--heatmap 'pairs.txt' must end in .png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_is_refused(runs, words, refusal, capsys):
    assert ask(runs, *words) == 2
    assert refusal in capsys.readouterr().err


def test_one_run_alone_is_refused(runs, capsys):
    assert main(["similarity", str(runs["dgl"])]) == 2
    assert "Give the folder of the reference run" in capsys.readouterr().err
