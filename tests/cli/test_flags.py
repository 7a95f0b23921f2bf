"""Every field of a recipe is a flag by its path, and flags win over the recipe."""

from __future__ import annotations

from typing import Any

import pytest

from locallearn.cli.flags import DESCRIPTIVE, last_value, recipe_word
from locallearn.cli.train import resolve
from locallearn.errors import InputError
from locallearn.recipes import Recipe, load
from locallearn.recipes.choices import augmentation_fields
from locallearn.recipes.problems import paths
from locallearn.recipes.stored import flat

CHANGES: dict[str, tuple[list[str], Any]] = {
    "seed": (["7"], 7),
    "seeds": (["2"], 2),
    "device": (["cpu"], "cpu"),
    "precision": (["bf16"], "bf16"),
    "channels-last": ([], True),
    "deterministic": ([], True),
    "data": (["/some/where"], "/some/where"),
    "dataset.name": (["cifar10"], "cifar10"),
    "dataset.download": ([], True),
    "dataset.validation": (["0.25"], 0.25),
    "dataset.num-classes": (["100"], 100),
    "dataset.workers": (["2"], 2),
    "dataset.augmentation.pad": (["2"], 2),
    "dataset.augmentation.padding": (["reflect"], "reflect"),
    "dataset.augmentation.flip": (["True"], True),
    "network.name": (["resnet32"], "resnet32"),
    "partition.num-blocks": (["2"], 2),
    "partition.balance": (["memory"], "memory"),
    "partition.preset": (["infopro"], "infopro"),
    "method.name": (["predsim"], "predsim"),
    "method.head": (["authors"], "authors"),
    "execution.recompute": (["blocks"], "blocks"),
    "execution.lean": (["in_place"], "in_place"),
    "execution.compile": ([], True),
    "execution.group-heads": ([], True),
    "execution.count-batches": (["together"], "together"),
    "training.epochs": (["3"], 3),
    "training.max-steps": (["50"], 50),
    "training.drop-last": ([], True),
    "training.batch-size": (["32"], 32),
    "training.optimizer": (["adamw"], "adamw"),
    "training.lr": (["1e-3"], 1e-3),
    "training.momentum": (["0.5"], 0.5),
    "training.weight-decay": (["0"], 0.0),
    "training.betas": (["0.5", "0.75"], [0.5, 0.75]),
    "training.auxiliary-lr": (["0.2"], 0.2),
    "training.cascade-lr": (["0.3"], 0.3),
    "training.accumulate": (["2"], 2),
    "training.clip-norm": (["1"], 1.0),
    "training.clip-value": (["1"], 1.0),
    "training.step-in-backward": ([], True),
    "training.capture": ([], True),
    "training.checkpoint-every-steps": (["10"], 10),
    "training.keep-checkpoints": (["3"], 3),
    "training.evaluate-every": (["2"], 2),
    "training.schedule.name": (["cosine"], "cosine"),
    "training.schedule.warmup-epochs": (["1"], 1),
    "training.schedule.warmup-start": (["0"], 0.0),
    "training.schedule.milestones": (["4", "8"], [4, 8]),
    "training.schedule.gamma": (["0.5"], 0.5),
    "training.schedule.power": (["2"], 2.0),
    "distributed.gather": ([], True),
    "distributed.shard": ([], True),
    "distributed.sync-batch-norm": ([], True),
    "distributed.crossing": (["send_back"], "send_back"),
    "distributed.exchange-every": (["10"], 10),
    "distributed.queue": (["1"], 1),
    "distributed.replay": (["4"], 4),
    "distributed.transfer": (["bf16"], "bf16"),
    "distributed.timeout": (["60"], 60.0),
}
OTHERWISE_TESTED = {"training.nesterov", "training.offload", "partition.split_points", "network.options"}


def settings(recipe: Recipe) -> dict[str, Any]:
    return flat(recipe.model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize("path", CHANGES)
def test_a_flag_changes_its_field_and_nothing_else(path: str):
    words, value = CHANGES[path]
    field = path.replace("-", "_")
    changed = settings(resolve([f"--{path}", *words])[1])
    before = settings(load("digits"))
    assert changed[field] == value
    others = {key for key in {*before, *changed} if before.get(key) != changed.get(key)}
    assert others == {field} or path == "method.name"


def test_without_flags_the_recipe_is_as_it_is():
    assert resolve([])[1] == load("digits")
    assert resolve(["cifar10_resnet32_infopro"])[1] == load("cifar10_resnet32_infopro")


def test_no_field_is_forgotten():
    sections = {"dataset", "dataset.augmentation", "network", "partition", "method", "execution", "training"}
    sections |= {"training.schedule", "distributed"}
    tested = {path.replace("-", "_") for path in CHANGES} - {"method.head"}
    changes = {f"dataset.augmentation.{name}" for name in augmentation_fields("digits").model_fields}
    assert tested | OTHERWISE_TESTED | sections | set(DESCRIPTIVE) == set(paths(Recipe)) | changes


def test_flags_that_need_one_another():
    names = ["--partition.num-blocks", "None", "--partition.split-points", "layer1", "layer2"]
    assert resolve(names)[1].partition.split_points == ("layer1", "layer2")
    recipe = resolve(["--training.no-nesterov", "--training.momentum", "0"])[1]
    assert (recipe.training.nesterov, recipe.training.momentum) == (False, 0.0)
    options = resolve(["--network.options", "in_channels", "3", "scale", "0.5", "bias", "False", "norm", "batch"])[1]
    assert options.network.options == {"in_channels": 3, "scale": 0.5, "bias": False, "norm": "batch"}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (["--method", "predsim"], ["--method.name", "predsim"]),
        (["--method=predsim", "--method.beta", "0.5"], ["--method.beta=0.5", "--method.name=predsim"]),
        (["--num-blocks", "2"], ["--partition.num-blocks", "2"]),
        (["--batch-size", "2"], ["--training.batch_size", "2"]),
    ],
)
def test_short_forms(short: list[str], long: list[str]):
    assert resolve(short)[1] == resolve(long)[1] != load("digits")


def test_a_method_given_by_flag_starts_from_its_own_defaults_and_the_recipes_from_the_recipes():
    other = resolve(["cifar10_resnet110_infopro", "--method", "dgl"])[1]
    assert other.method == load("digits").method
    same = resolve(["cifar10_resnet110_infopro", "--method", "infopro", "--method.prediction", "1", "2"])[1]
    assert same.method.options["reconstruction"] == (5.0, 0.5) and same.method.options["prediction"] == (1.0, 2.0)


def test_the_last_of_two_methods_counts():
    assert resolve(["--method", "dgl", "--method", "predsim", "--method.beta", "0.5"])[1].method.name == "predsim"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--training.epoch", "3"], "--training.epochs"),
        (["--method.beta", "0.5"], "--method.beta"),
        (["--training.epochs", "three"], "invalid literal"),
        (["--training.epochs", "0"], "training.epochs = 0 must be greater than or equal to 1"),
        (["--training.lr", "inf"], "training.lr = inf must be a finite number"),
        (["--method", "dlg"], "Did you mean 'dgl'?"),
        (["--method", "infopro", "--method.prediction", "1"], "--method.prediction"),
        (["--precision", "fp64"], "fp64"),
        (["--out"], "--out"),
        (["--method"], "--method"),
        (["digits", "digits"], "digits"),
        (["--seed", "3", "somewhere"], "Name the recipe first"),
        (["--partition.split-points", "layer1"], "--num-blocks None"),
    ],
)
def test_wrong_flags_are_refused_by_name(argv: list[str], words: str):
    with pytest.raises(InputError) as caught:
        resolve(argv)
    assert words in str(caught.value)


def test_the_recipe_may_stand_behind_flags():
    recipe = resolve(["--seed", "3", "cifar10_resnet32_dgl"])[1]
    assert recipe.network.name == "resnet32" and recipe.seed == 3
    assert recipe_word(["--dataset.name", "digits", "--seed", "1"]) is None


def test_the_last_value_of_a_flag():
    argv = ["--a", "1", "--b=2", "--a=3", "--c", "--d"]
    assert [last_value(argv, flag) for flag in ("--a", "--b", "--c", "--d", "--e")] == ["3", "2", None, None, None]
