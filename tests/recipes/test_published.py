"""The papers' runs: every printed number against a second copy of the tables, and what each recipe must state."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import locallearn as ll
from locallearn.methods.infopro import PUBLISHED_WEIGHTS
from locallearn.partitioning.published_cuts import published_sizes
from locallearn.recipes import load, names, published
from locallearn.recipes.recipe import Published, Recipe
from recipes.transcribed_tables import COLUMNS, transcribed

UNITS = {"resnet32": 16, "resnet110": 55}


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return {name: load(name) for name in published.names() if published.parsed(name).network in UNITS}


def test_every_number_is_the_papers_and_none_is_missing(recipes: dict[str, Recipe]):
    # What the other paper printed a second time, and MAN's and MLAAN's common memory of back-propagation, count once.
    stated = {
        (name, number.name, number.value, number.deviation, number.paper)
        for name, recipe in recipes.items()
        for number in recipe.published
        if number.name not in ("backprop_test_error", "stl10_accuracy")
    }
    again = {
        (f"cifar10_{n}_backprop", "memory", v, None, p)
        for n, v in (("resnet32", 3.37), ("resnet110", 9.26))
        for p in ("MAN", "MLAAN")
    }
    assert stated - transcribed() - again == set()
    assert transcribed() - stated == set()


def test_names_are_unique_typable_and_listed(recipes: dict[str, Recipe]):
    assert len(set(names())) == len(names()) and {*published.names(), "digits"} <= set(names())
    assert all(re.fullmatch(r"[a-z0-9]+_resnet(32|110)(_k\d+)?_[a-z+]+(_[a-z0-9.]+)*", name) for name in recipes)
    assert len({recipe.title for recipe in recipes.values()}) == len(recipes)
    example = {
        "cifar10_resnet32_k16_infopro+man",
        "svhn_resnet110_k55_dgl+mlaan",
        "cifar10_resnet32_k16_dgl+man_m0.998",
    }
    assert example <= set(recipes)


def test_every_row_of_the_main_tables_has_a_recipe(recipes: dict[str, Recipe]):
    methods = {"predsim", "dgl", "infopro", "predsim+man", "dgl+man", "infopro+man"}
    methods |= {"dgl+mlaan", "infopro+mlaan", "mlaan"}
    for dataset in ("cifar10", "stl10", "svhn"):
        assert {f"{dataset}_resnet32_backprop", f"{dataset}_resnet110_backprop"} <= set(recipes)
        assert {f"{dataset}_{column}_{method}" for column in COLUMNS for method in methods} <= set(recipes)


def test_a_name_without_k_has_a_block_for_each_unit():
    assert load("cifar10_resnet32_dgl") == load("cifar10_resnet32_k16_dgl")
    assert load("svhn_resnet110_dgl+man_m0.998") == load("svhn_resnet110_k55_dgl+man_m0.998")
    assert published.resolved("cifar10_resnet20_dgl") is None and published.resolved("cifar10") is None


def test_every_recipe_states_source_numbers_and_guesses(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        own = [number for number in recipe.published if number.name != "backprop_test_error"]
        assert own and all(number.paper and number.where for number in recipe.published), name
        assert all(f"{number.paper}: " in recipe.source for number in recipe.published), name
        assert "Settings: " in recipe.source and recipe.title and recipe.guessed, name
        assert len(set(recipe.guessed)) == len(recipe.guessed), name
        assert all(sentence.endswith(".") for sentence in recipe.guessed), name


def test_every_partition_can_be_cut(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        cut, units = recipe.partition, UNITS[recipe.network.name]
        assert cut.num_blocks is not None
        if cut.preset is None:
            assert cut.num_blocks == 1 and recipe.method.name == "backprop", name
        else:
            assert sum(published_sizes(cut.preset, recipe.network.name, units, cut.num_blocks)) == units, name
        given = re.search(r"_k(\d+)_", name)
        assert given is None or int(given[1]) == cut.num_blocks, name


def test_settings_are_the_papers(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        training = recipe.training
        parts = published.parsed(name)
        batch, rate = {"cifar10": (1024, 0.8), "svhn": (1024, 0.8), "stl10": (128, 0.1)}[parts.dataset]
        assert (training.batch_size, training.lr, training.weight_decay) == (batch, rate, 1e-4), name
        assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, True), name
        own = re.search("contrast|softmax|balanced|160", parts.variant)
        assert training.epochs == (160 if own else 300 if "300" in parts.variant else 400), name
        assert (recipe.dataset.name, recipe.network.name) == (parts.dataset, parts.network), name
        assert recipe.dataset.num_classes == (10 if parts.dataset == "stl10" else None), name


def test_methods_are_those_the_names_say(recipes: dict[str, Recipe]):
    words = {"man": "man_code", "mlaan": "mlaan_code"}
    for name, recipe in recipes.items():
        parts = published.parsed(name)
        if parts.variant.startswith("matched"):
            told = parts.method.replace("dgl", "auglocal") if parts.method == "dgl" else f"{parts.method}+auglocal"
        else:
            told = "+".join(words.get(word, word) for word in parts.method.split("+"))
        assert recipe.method.name == told, name
        options = recipe.method.options
        if "+mlaan" in name:
            leap_only = parts.variant == "leap"
            assert options["cascade"] == (1 if leap_only else 3), name
        if "+man" in name:
            given = re.search(r"m(0\.99\d?)$", name)
            expected = 0.0 if parts.variant == "parameters" else float(given[1]) if given else 0.995
            assert options["momentum"] == expected, name
            assert options["bias"] == ("none" if parts.variant in ("averaging", "parameters") else "unit"), name
        if (parts.method.endswith("+man") or "mlaan" in parts.method) and parts.blocks in ("k16", "k55"):
            assert any("15 blocks" in line or "54 blocks" in line for line in recipe.guessed), name
            assert recipe.partition.preset in ("man", "mlaan"), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10_resnet32_k16_dgl", {"head": "auglocal"}),
        ("cifar10_resnet32_k16_dgl+man", {"head": "man"}),
        ("svhn_resnet110_k32_dgl+mlaan", {"head": "mlaan"}),
        ("cifar10_resnet32_k16_dgl+mlaan_multilaminar", {"head": "infopro"}),
        ("stl10_resnet32_k8_mlaan", {"head": "linear"}),
        ("stl10_resnet32_k8_predsim+man", {"beta": 0.99, "last_weight": 1.0}),
        ("cifar10_resnet32_k16_infopro", {"reconstruction": (5.0, 0.2), "prediction": (0.05, 0.5)}),
        ("cifar10_resnet110_k55_infopro", {"reconstruction": (5.0, 0.5), "prediction": (0.0, 1.0)}),
        ("svhn_resnet110_k32_infopro", {"reconstruction": (5.0, 0.5), "prediction": (0.2, 1.0)}),
        ("stl10_resnet110_k55_infopro", {"reconstruction": (20.0, 10.0), "prediction": (0.5, 0.1)}),
        ("svhn_resnet32_k16_infopro", {"reconstruction": (5.0, 0.2), "prediction": (0.05, 0.5)}),
        ("svhn_resnet110_k55_infopro+man", {"head": "2c2f", "reconstruction": (5.0, 0.0), "prediction": (0.5, 0.0)}),
        ("svhn_resnet110_k55_infopro+mlaan", {"head": "1c2f", "schedule": "block_stage", "task_loss": "cross_entropy"}),
        ("cifar10_resnet110_k55_predsim_matched_d4", {"beta": 0.99}),
    ],
)
def test_what_the_losses_and_heads_are(name: str, expected: dict[str, object]):
    options = load(name).method.options
    options = options.get("base", options)
    assert {key: options[key] for key in expected} == expected


def test_depths_and_pyramids_of_auglocal(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        depth, tau = re.search(r"_d(\d)", name), re.search(r"_t([\d.]+)$", name)
        if depth is None:
            continue
        options = recipe.method.options
        assert options["depth"] == int(depth[1]) - 1, name
        assert options["tau"] == (float(tau[1]) if tau else 0.5), name
        assert options["tail"] == ("kept" if "matched" in name else "merged"), name


def test_the_ladder_from_auglocals_heads_to_dgls(recipes: dict[str, Recipe]):
    def heads(step: str) -> tuple[object, ...]:
        options = recipes[f"cifar10_resnet110_k55_auglocal_d6_{step}"].method.options
        return options["layers"], options["repeated"], options["repeated_halving"]

    assert heads("repeat2s2") == ("selected", (2,), (2,))
    assert heads("repeat2") == ("selected", (2,), ())
    assert heads("repeat1s2_repeat2s2") == ("selected", (0, 1, 2), (0, 1, 2))
    assert heads("repeat1s2_repeat2") == ("selected", (0, 1, 2), (0, 1))
    assert heads("conv3x3") == ("conv3x3", (), ())


def test_infopros_weights(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        parts, options = published.parsed(name), recipe.method.options
        if parts.variant in ("contrast", "softmax", "balanced"):
            key = (parts.network, parts.dataset, recipe.partition.num_blocks, recipe.partition.preset)
            assert {field: options[field] for field in PUBLISHED_WEIGHTS[key]} == PUBLISHED_WEIGHTS[key], name
            assert options["task_loss"] == ("cross_entropy" if parts.variant == "softmax" else "contrastive"), name
        elif parts.method.startswith("infopro"):
            options = options.get("base", options)
            assert options["task_loss"] == "cross_entropy", name
            assert any("eights" in line or "reconstruction" in line for line in recipe.guessed) or (
                parts[:3] == ("cifar10", "resnet32", "k16")
            ), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stl10_resnet110_k55_dgl", "100 outputs"),
        ("cifar10_resnet32_k16_mlaan", "the supplement says 0.8"),
        ("cifar10_resnet32_k16_dgl+man", "MAN released no code for DGL"),
        ("svhn_resnet110_k55_infopro+man", "Weights are published for ResNet-32"),
        ("cifar10_resnet32_k16_dgl", "Which head"),
        ("cifar10_resnet110_k55_infopro+auglocal_d2", "no weights are published"),
        ("cifar10_resnet110_k55_auglocal_d2", "seeds = 1"),
        ("cifar10_resnet32_k16_dgl+man_m0.998", "seeds = 1"),
        ("cifar10_resnet110_backprop_checkpoint", "num_blocks = 8"),
        ("cifar10_resnet32_k16_dgl+mlaan_300epochs", "warm-up"),
    ],
)
def test_what_is_unknown_is_marked(name: str, words: str):
    assert any(words in sentence for sentence in load(name).guessed)


def test_seeds_are_those_of_the_printed_mean(recipes: dict[str, Recipe]):
    expected = {"cifar10_resnet32_k16_dgl": 5, "svhn_resnet32_k8_dgl+man": 5, "stl10_resnet110_k55_mlaan": 3}
    expected |= {"cifar10_resnet110_k55_auglocal_d6": 1, "cifar10_resnet32_k8_infopro_contrast": 1}
    assert {name: recipes[name].seeds for name in expected} == expected
    for name, recipe in recipes.items():
        for number in recipe.published:
            main_table = number.where.startswith("Table 1") and number.name.endswith("test_error")
            expected_runs = {"MAN": 5, "MLAAN": 3}.get(number.paper) if main_table else None
            assert number.runs == expected_runs, (name, number)
        stated = {number.runs for number in recipe.published if number.name != "backprop_test_error"} - {None}
        assert recipe.seeds in stated if stated else recipe.seeds == 1, name


def test_contradicting_numbers_stand_side_by_side(recipes: dict[str, Recipe]):
    disagreeing = {
        name: [number.value for number in recipe.published if number.name == "test_error"]
        for name, recipe in recipes.items()
        if len({number.value for number in recipe.published if number.name == "test_error"}) > 1
    }
    assert disagreeing == {
        "cifar10_resnet110_backprop": [5.39, 5.42, 5.42],
        "cifar10_resnet110_k55_predsim": [25.05, 24.74],
        "cifar10_resnet110_k55_dgl": [14.31, 14.45, 14.45],
        "cifar10_resnet110_k55_infopro": [13.05, 13.22, 13.22],
        "cifar10_resnet32_k16_dgl+mlaan": [6.36, 6.80],
    }


def test_every_rule_belongs_to_some_recipe_of_its_file():
    for contents in published.files().values():
        listed = contents.get("table", []) + contents.get("settings", [])
        runs = {
            f"{each['dataset']}_{column}_{row}" for each in listed for column in each["columns"] for row in each["rows"]
        }
        facets = [published.parsed(name).facets for name in runs]
        for rule in contents.get("rule", []):
            assert any(published.belongs(rule, name) for name in facets), rule["when"]


@pytest.mark.slow
def test_recipes_of_every_kind_can_be_built(recipes: dict[str, Recipe]):
    import torch

    from locallearn.datasets.registry import find_spec
    from locallearn.training.assembly import build_model

    built = set()
    for name, recipe in recipes.items():
        parts = published.parsed(name)
        kind = (parts.network, parts.method, re.sub(r"[\d.]", "", parts.variant))
        if kind not in built:
            assert list(build_model(recipe, find_spec(recipe.dataset.name), torch.device("cpu")).parameters()), name
            built.add(kind)


def test_a_published_number_reads_as_a_line():
    number = Published(name="test_error", value=6.8, deviation=0.1, runs=3, paper="MLAAN", where="Table 4")
    assert str(number) == "test_error = 6.80 +- 0.10 %, mean of 3 runs (MLAAN, Table 4)"
    assert str(Published(name="memory", value=1.5, unit="GB")) == "memory = 1.50 GB"


def test_the_table_needs_no_torch():
    code = (
        "import sys; from locallearn.recipes import names, read, summary;"
        "read('cifar10_resnet32_k16_dgl+man'); [summary(n) for n in names()]; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_starred_infopro_weighs_by_the_stage_of_the_block_on_both_paths():
    method = load("cifar10_resnet32_k16_infopro+mlaan").method.build()
    blocks = ll.partition(ll.networks.resnet32(), torch.zeros(2, 3, 32, 32), num_blocks=16, preset="mlaan")
    model = ll.LocalModel(blocks, method, ll.Classification(10))
    found: dict[int, set[tuple[float, float]]] = {}
    for window, objective in zip(model.windows, model.objectives, strict=True):
        if window.stop < 15:
            inner = getattr(objective, "objective", objective)
            weights = tuple(round(term.weight, 2) for term in inner.terms)
            found.setdefault(blocks.units[window.stop].stage, set()).add(weights)
    assert found == {1: {(4.62, 0.46)}, 2: {(4.23, 0.42)}, 3: {(3.85, 0.38)}}


def test_the_ablation_of_the_windows_has_weights_of_its_own():
    method = load("cifar10_resnet32_k16_dgl+mlaan_multilaminar").method.options
    assert (method["independent_weight"], method["cascade_weight"], method["leap"]) == (0.01, 0.99, "none")


@pytest.mark.parametrize(
    ("document", "words"), [("README.md", "The {} published runs"), ("CHANGELOG.md", ": {} runs,")]
)
def test_documents_count_the_published_runs(document: str, words: str):
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    assert words.format(len(published.names())) in text
