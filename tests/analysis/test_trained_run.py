from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from locallearn.analysis import opened, opened_all
from locallearn.analysis.stored import store, stored
from locallearn.errors import InputError
from locallearn.execution import PLAIN
from locallearn.recipes import load, save
from locallearn.recipes.recipe import ExecutionSection
from locallearn.training.network_file import save_network

CPU = torch.device("cpu")


def test_a_finished_run_shows_everything(runs):
    run = opened(runs["dgl"])
    assert run.is_finished and run.summary is not None and len(run.metrics) == len(run.timings) == 2
    assert run.metrics[-1]["test_accuracy"] == run.summary["test_accuracy"]
    network = load_file(runs["dgl"] / "network.safetensors")
    model = run.model(CPU)
    assert not model.training and all(torch.equal(network[name], t) for name, t in model.network.state_dict().items())
    with_heads = run.model(CPU, heads=True)
    assert all(torch.equal(network[name], t) for name, t in with_heads.network.state_dict().items())
    logits = [w for name, w in with_heads.objectives.named_parameters() if name.endswith("weight")]
    fresh = [w for name, w in model.objectives.named_parameters() if name.endswith("weight")]
    assert any(not torch.equal(one, other) for one, other in zip(logits, fresh, strict=True))


def test_earlier_checkpoints_are_other_networks(runs):
    run = opened(runs["dgl"])
    first, last = run.steps[0], run.steps[-1]
    one, other = (run.model(CPU, step=step).network.state_dict() for step in (first, last))
    assert first < last and any(not torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(InputError, match=f"no checkpoint of step 7; there are: {first}"):
        run.model(CPU, step=7)


def test_images_are_drawn_once_for_a_seed(runs):
    run = opened(runs["dgl"])
    test = run.splits().test
    labels = [torch.cat([y for _, y in run.batches(test, CPU, count=50, seed=s).epoch(0)]) for s in (0, 0, 1)]
    assert len(labels[0]) == 50 and torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])
    assert sum(len(y) for _, y in run.batches(test, CPU).epoch(0)) == len(test)


def test_a_run_under_way_shows_its_newest_checkpoint(runs, tmp_path):
    folder = tmp_path / "under_way"
    shutil.copytree(runs["dgl"], folder)
    for name in ("network.safetensors", "summary.json"):
        (folder / name).unlink()
    run = opened(folder)
    assert not run.is_finished and run.summary is None
    network = load_file(runs["dgl"] / "network.safetensors")
    assert all(torch.equal(network[name], tensor) for name, tensor in run.model(CPU).network.state_dict().items())
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(InputError, match=r"There is no checkpoint in .* let the run train"):
        opened(folder).model(CPU)


def test_a_model_is_plain_however_it_was_trained(runs, tmp_path):
    for name in ("network.safetensors", "summary.json"):
        (tmp_path / name).write_bytes((runs["dgl"] / name).read_bytes())
    recipe = load(runs["dgl"] / "recipe.toml")
    save(recipe.model_copy(update={"execution": ExecutionSection(compile=True)}), tmp_path / "recipe.toml")
    assert opened(tmp_path).recipe.execution.compile and opened(tmp_path).model(CPU).execution == PLAIN


def test_images_of_other_classes_are_refused_however_many_there_are(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "run")
    run = opened(tmp_path / "run")
    renamed = [f"digit {name}" for name in run.spec.classes]
    save_network(run.model(CPU).network, tmp_path / "run" / "network.safetensors", classes=renamed, title="")
    with pytest.raises(InputError, match=r"tells 10 classes apart \(digit 0, .* the data has 10 \(0, 1, 2, "):
        run.splits()


def test_what_is_no_run_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        opened(tmp_path)
    with pytest.raises(InputError, match="named twice"):
        opened_all([runs["dgl"], runs["dgl"]])


def test_several_seeds_are_several_runs(runs, tmp_path):
    folder = tmp_path / "seeds"
    text = (runs["dgl"] / "recipe.toml").read_text()
    for seed in (0, 1):
        shutil.copytree(runs["dgl"], folder / f"seed{seed}")
    (folder / "recipe.toml").write_text(text.replace("seeds = 1", "seeds = 2"))
    assert [run.path.name for run in opened_all([folder])] == ["seed0", "seed1"]
    assert [run.name for run in opened_all([folder])] == ["seeds/seed0", "seeds/seed1"]
    with pytest.raises(InputError, match="holds 2 runs"):
        opened(folder)
    shutil.copytree(runs["dgl"], tmp_path / "seeds-seed0")
    names = [run.name for run in opened_all([folder, tmp_path / "seeds-seed0"])]
    assert names == ["seeds/seed0", "seeds/seed1", "seeds-seed0"]
    shutil.move(folder / "seed0", folder / "seed10")
    recipe = folder / "seed10" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("\nseed = 0", "\nseed = 10", 1))
    assert [run.recipe.seed for run in opened_all([folder])][-1] == 10
    for seed in ("seed10", "seed1"):
        shutil.rmtree(folder / seed)
    with pytest.raises(InputError, match="is of 2 seeds, and none has begun"):
        opened(folder)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("metrics.jsonl", '{"epoch": 1}', r"Line 1 of .*metrics.jsonl has no step and no blocks"),
        ("timings.jsonl", '{"epoch": 1}', r"Line 1 of .*timings.jsonl has no training_seconds and no batches"),
        ("summary.json", "[]", r"summary.json has no seed"),
        ("summary.json", "{", r"summary.json cannot be read"),
    ],
)
def test_hollow_files_are_named(runs, tmp_path, file, text, said):
    shutil.copytree(runs["dgl"], tmp_path / "run")
    (tmp_path / "run" / file).write_text(text)
    run = opened(tmp_path / "run")
    with pytest.raises(InputError, match=said):
        getattr(run, file.partition(".")[0])


def test_what_was_found_is_kept_beside_the_run(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    run = opened(tmp_path / "run")
    assert stored(run) == {}
    path = store(run, "probe", {"accuracy": [0.5]}, settings={"images": 3})
    assert path == tmp_path / "run" / "analysis" / "probe.json"
    found = stored(run)["probe"]
    assert found == json.loads(path.read_text())
    assert (found["accuracy"], found["settings"], found["run"]) == ([0.5], {"images": 3}, "run")


def test_runs_of_equal_names_are_told_apart_by_the_folders_around_them(runs, tmp_path, monkeypatch):
    for around in ("a", "b"):
        shutil.copytree(runs["dgl"], tmp_path / around / "run")
    assert [run.name for run in opened_all([tmp_path / "a" / "run", tmp_path / "b" / "run"])] == ["a/run", "b/run"]
    monkeypatch.chdir(tmp_path / "a" / "run")
    assert opened(Path()).name == "run"


def test_a_file_that_no_analysis_wrote_is_named(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "run")
    (tmp_path / "run" / "analysis").mkdir(exist_ok=True)
    for text in ("[1]", "{"):
        (tmp_path / "run" / "analysis" / "probe.json").write_text(text)
        with pytest.raises(InputError, match=r"probe.json was not written by an analysis"):
            stored(opened(tmp_path / "run"))


def test_a_network_of_no_numbers_is_refused(runs, tmp_path):
    shutil.copytree(runs["dgl"], tmp_path / "run")
    tensors = load_file(tmp_path / "run" / "network.safetensors")
    name = next(name for name in tensors if name.endswith("running_var"))
    tensors[name][0] = float("nan")
    run = opened(tmp_path / "run")
    network = run.model(CPU).network
    network.load_state_dict(tensors)
    save_network(network, tmp_path / "run" / "network.safetensors", classes=run.spec.classes, title="")
    with pytest.raises(InputError, match=f"holds NaN or infinity, in {re.escape(name)} first"):
        run.model(CPU)
