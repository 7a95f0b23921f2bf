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

UNITS = {"resnet32": 16, "resnet110": 55}
COLUMNS = ("resnet32_k8", "resnet32_k16", "resnet110_k32", "resnet110_k55")

# Su et al., ECCV 2024, Table 1 and Table 1 of the supplement, row by row as printed; * is + MAN.
MAN = {
    "cifar10": """
        PredSim 20.62 22.71 22.08 24.74
        PredSim* 14.29 15.58 17.05 18.02
        DGL 11.63 14.08 12.51 14.45
        DGL* 8.42 9.11 9.65 9.73
        InfoPro 11.51 12.93 12.26 13.22
        InfoPro* 9.32 9.65 9.06 9.77
        PredSim*(m=0.999) 14.98 15.95 17.09 18.59
        PredSim*(m=0.998) 15.03 15.92 17.25 18.47
        PredSim*(m=0.990) 14.25 15.60 17.11 18.01
        DGL*(m=0.999) 9.18 10.31 9.97 10.19
        DGL*(m=0.998) 9.97 9.94 9.60 10.34
        DGL*(m=0.990) 8.96 10.15 9.94 10.03
        InfoPro*(m=0.999) 9.64 9.84 9.93 10.45
        InfoPro*(m=0.998) 9.53 9.81 9.72 9.93
        InfoPro*(m=0.990) 9.58 9.77 9.15 9.74
    """,
    "stl10": """
        PredSim 31.97 32.90 32.05 33.27
        PredSim* 29.97 29.99 30.48 31.55
        DGL 25.05 27.14 25.67 28.16
        DGL* 20.74 21.37 22.54 22.69
        InfoPro 27.32 29.28 28.58 29.20
        InfoPro* 23.17 23.54 24.08 24.74
        PredSim*(m=0.999) 28.91 28.95 31.40 32.20
        PredSim*(m=0.998) 29.76 29.35 30.92 31.71
        PredSim*(m=0.990) 29.42 30.01 30.59 31.68
        DGL*(m=0.999) 21.43 21.47 22.95 23.93
        DGL*(m=0.998) 21.38 21.90 23.12 23.64
        DGL*(m=0.990) 21.47 21.75 22.66 22.68
        InfoPro*(m=0.999) 23.74 24.63 24.93 24.88
        InfoPro*(m=0.998) 23.69 24.77 24.25 24.79
        InfoPro*(m=0.990) 23.22 24.04 24.37 25.01
    """,
    "svhn": """
        PredSim 6.91 8.08 9.12 10.47
        PredSim* 5.54 6.39 7.27 8.24
        DGL 4.83 5.05 5.12 5.36
        DGL* 3.80 4.04 4.08 4.52
        InfoPro 5.61 5.97 5.89 6.11
        InfoPro* 4.49 5.19 4.85 4.99
        PredSim*(m=0.999) 5.47 6.78 7.84 8.51
        PredSim*(m=0.998) 5.59 7.01 7.45 8.39
        PredSim*(m=0.990) 5.69 6.97 7.19 8.43
        DGL*(m=0.999) 3.94 4.31 4.48 5.16
        DGL*(m=0.998) 4.00 4.14 4.32 4.94
        DGL*(m=0.990) 4.03 4.09 4.42 5.01
        InfoPro*(m=0.999) 4.68 5.62 5.01 4.97
        InfoPro*(m=0.998) 4.74 5.59 4.92 5.03
        InfoPro*(m=0.990) 4.43 5.38 4.89 4.99
    """,
}
# Zhang et al., AAAI 2025, Table 1; * is + MLAAN.
MLAAN = {
    "cifar10": """
        DGL 11.63±0.21 14.08±0.31 12.51±0.19 14.45±0.54
        DGL* 6.25±0.12 6.36±0.15 5.38±0.27 5.42±0.52
        InfoPro 11.51±0.33 12.93±0.38 12.26±0.28 13.22±0.42
        InfoPro* 6.37±0.50 6.37±0.35 5.41±0.49 5.60±0.55
        MLAAN 6.36±0.23 6.51±0.55 5.41±0.62 6.02±0.67
    """,
    "stl10": """
        DGL 25.05±0.20 27.14±0.19 25.67±0.26 28.16±0.31
        DGL* 19.35±0.51 19.02±0.11 19.54±0.34 19.66±0.55
        InfoPro 27.32±0.22 29.28±0.15 28.58±0.20 29.20±0.17
        InfoPro* 19.21±0.19 19.21±0.12 19.51±0.16 19.24±0.21
        MLAAN 19.34±0.15 19.96±0.53 20.46±0.64 19.66±0.67
    """,
    "svhn": """
        DGL 4.83±0.11 5.05±0.08 5.12±0.16 5.36±0.19
        DGL* 2.79±0.12 2.73±0.19 2.78±0.22 2.90±0.14
        InfoPro 5.61±0.27 5.97±0.17 5.89±0.19 6.11±0.22
        InfoPro* 2.97±0.18 2.95±0.2 2.87±0.32 2.90±0.42
        MLAAN 2.85±0.22 2.82±0.38 2.79±0.31 2.89±0.31
    """,
}
# Ma et al., ICLR 2024, appendix: accuracies, ResNet-110, d from 2 on.
AUGLOCAL = {
    "auglocal": "90.98±0.05 92.62±0.22 93.22±0.17 93.75±0.20 93.96±0.15 94.03±0.13 94.01±0.06 94.30±0.17",
    "infopro+auglocal": "91.59±0.11 92.75±0.50 93.71±0.14 94.11±0.19 94.02±0.09 94.17±0.13 94.29±0.07 94.08±0.18",
    "dgl_matched": "83.03±0.24 85.82±0.08 87.84±0.46 89.19±0.20 90.01±0.05",
    "predsim_matched": "72.06±0.63 80.16±0.47 86.00±0.56 88.27±0.72 88.34±0.34",
    "infopro_matched": "83.71±0.20 89.14±0.17 90.75±0.22 91.45±0.05 92.10±0.17",
}
# Table 6: FLOPs (G) at tau = 1, 0.9, 0.8, 0.7, 0.6.
PYRAMIDS = {
    "d5": "0.79 0.83 0.87 0.89 0.93",
    "d6": "0.90 0.95 0.99 1.03 1.09",
    "d7": "0.99 1.06 1.11 1.17 1.22",
    "d8": "1.09 1.16 1.22 1.29 1.36",
    "d9": "1.18 1.26 1.35 1.41 1.49",
}
# Single numbers: recipe, what, value, deviation, paper.
SINGLE = [
    ("cifar10_resnet32_backprop", "test_error", 6.37, None, "MAN"),
    ("cifar10_resnet110_backprop", "test_error", 5.42, None, "MAN"),
    ("stl10_resnet32_backprop", "test_error", 19.35, None, "MAN"),
    ("stl10_resnet110_backprop", "test_error", 19.67, None, "MAN"),
    ("svhn_resnet32_backprop", "test_error", 2.99, None, "MAN"),
    ("svhn_resnet110_backprop", "test_error", 2.92, None, "MAN"),
    ("cifar10_resnet32_backprop", "test_error", 6.37, 0.43, "MLAAN"),
    ("cifar10_resnet110_backprop", "test_error", 5.42, 0.31, "MLAAN"),
    ("stl10_resnet32_backprop", "test_error", 19.35, 0.24, "MLAAN"),
    ("stl10_resnet110_backprop", "test_error", 19.67, 0.34, "MLAAN"),
    ("svhn_resnet32_backprop", "test_error", 2.99, 0.18, "MLAAN"),
    ("svhn_resnet110_backprop", "test_error", 2.92, 0.22, "MLAAN"),
    ("cifar10_resnet32_k16_dgl+man_averaging", "test_error", 11.07, None, "MAN"),
    ("cifar10_resnet32_k16_dgl+man_parameters", "test_error", 12.93, None, "MAN"),
    ("cifar10_resnet32_k16_dgl+mlaan_multilaminar", "test_error", 8.46, None, "MLAAN"),
    ("cifar10_resnet32_k16_dgl+mlaan_leap", "test_error", 7.64, None, "MLAAN"),
    ("cifar10_resnet32_k16_dgl+mlaan", "test_error", 6.80, None, "MLAAN"),
    ("cifar10_resnet32_k16_dgl+mlaan_300epochs", "test_error", 7.79, None, "MLAAN"),
    ("cifar10_resnet110_k55_dgl+mlaan_300epochs", "test_error", 6.98, None, "MLAAN"),
    ("cifar10_resnet32_k16_mlaan", "memory", 2.62, None, "MLAAN"),
    ("cifar10_resnet110_k55_mlaan", "memory", 2.76, None, "MLAAN"),
    ("cifar10_resnet32_k16_predsim+man", "memory", 2.33, None, "MAN"),
    ("cifar10_resnet32_k16_dgl+man", "memory", 2.02, None, "MAN"),
    ("cifar10_resnet32_k16_infopro+man", "memory", 3.08, None, "MAN"),
    ("cifar10_resnet110_k55_predsim+man", "memory", 2.47, None, "MAN"),
    ("cifar10_resnet110_k55_dgl+man", "memory", 2.11, None, "MAN"),
    ("cifar10_resnet110_k55_infopro+man", "memory", 3.22, None, "MAN"),
    ("cifar10_resnet32_backprop", "memory", 3.37, None, "MAN"),
    ("cifar10_resnet110_backprop", "memory", 9.26, None, "MLAAN"),
    ("cifar10_resnet110_k55_auglocal_d6_repeat2s2", "test_error", 7.25, 0.09, "AugLocal"),
    ("cifar10_resnet110_k55_auglocal_d6_repeat2", "test_error", 8.27, 0.11, "AugLocal"),
    ("cifar10_resnet110_k55_auglocal_d6_repeat1s2_repeat2s2", "test_error", 8.60, 0.08, "AugLocal"),
    ("cifar10_resnet110_k55_auglocal_d6_repeat1s2_repeat2", "test_error", 10.08, 0.37, "AugLocal"),
    ("cifar10_resnet110_k55_auglocal_d6_conv3x3", "test_error", 11.72, 0.24, "AugLocal"),
]
# Table 2 of Ma et al.: accuracy, GFLOPs, GB, overhead in time.
COSTS = {
    "cifar10_resnet110_backprop": "94.61±0.18 0.25 9.27 -",
    "cifar10_resnet110_backprop_checkpoint": "94.61±0.18 0.25 3.03 34.1",
    "cifar10_resnet110_k55_predsim": "74.95±0.36 0.25 1.54 65.9",
    "cifar10_resnet110_k55_dgl": "85.69±0.32 0.26 1.61 76.2",
    "cifar10_resnet110_k55_infopro": "86.95±0.46 0.34 3.98 292.3",
    "cifar10_resnet110_k55_auglocal_d2": "90.98±0.05 0.63 1.71 87.2",
    "cifar10_resnet110_k55_auglocal_d3": "92.62±0.22 0.69 1.62 115.9",
    "cifar10_resnet110_k55_auglocal_d4": "93.22±0.17 0.80 1.70 135.6",
    "cifar10_resnet110_k55_auglocal_d5": "93.75±0.20 0.98 1.71 180.8",
    "cifar10_resnet110_k55_auglocal_d6": "93.96±0.15 1.13 1.72 214.6",
}
# Wang et al., ICLR 2021: errors at K = 2, 4, 8, 16; InfoPro* at K = 2, 3, 4, with its memory.
INFOPRO = {
    ("cifar10", "resnet32", "contrast"): "7.76 8.58 11.13 12.75",
    ("cifar10", "resnet32", "softmax"): "8.13 8.64 11.40 14.23",
    ("cifar10", "resnet110", "contrast"): "6.42 7.30 8.93 9.90",
    ("cifar10", "resnet110", "softmax"): "7.01 7.96 9.40 10.78",
    ("svhn", "resnet110", "contrast"): "3.15 3.28 3.62 3.91",
    ("stl10", "resnet110", "contrast"): "20.99 22.73 25.15 26.27",
    ("stl10", "resnet110", "softmax"): "21.02 21.28 23.60 26.05",
}
BALANCED = {"cifar10": "6.41/5.38 6.74/4.22 6.93/3.52", "stl10": "20.95/6.15 21.00/4.96 21.22/4.08"}
END_TO_END = {
    "cifar10_resnet32_backprop_160epochs": (7.37, None),
    "cifar10_resnet110_backprop_160epochs": (6.50, 9.40),
    "svhn_resnet110_backprop_160epochs": (3.07, None),
    "stl10_resnet110_backprop_160epochs": (22.27, 10.77),
}


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def cell(text: str) -> tuple[float, float | None]:
    value, _, deviation = text.partition("±")
    return float(value), float(deviation) if deviation else None


def transcribed() -> set[tuple[str, str, float, float | None, str]]:
    found = set(SINGLE)
    for dataset, text in MAN.items():
        for label, *cells in rows(text):
            row = re.sub(r"\(m=(0\.99\d)\)", r"_m\1", label).replace("0.990", "0.99").replace("*", "+man").lower()
            for column, printed in zip(COLUMNS, cells, strict=True):
                found.add((f"{dataset}_{column}_{row}", "test_error", *cell(printed), "MAN"))
    for dataset, text in MLAAN.items():
        for label, *cells in rows(text):
            for column, printed in zip(COLUMNS, cells, strict=True):
                row = label.replace("*", "+mlaan").lower()
                found.add((f"{dataset}_{column}_{row}", "test_error", *cell(printed), "MLAAN"))
    for row, text in AUGLOCAL.items():
        for depth, printed in enumerate(text.split(), start=2):
            accuracy, deviation = cell(printed)
            error = round(100 - accuracy, 2)
            found.add((f"cifar10_resnet110_k55_{row}_d{depth}", "test_error", error, deviation, "AugLocal"))
    for depth, text in PYRAMIDS.items():
        for tau, printed in zip(("1", "0.9", "0.8", "0.7", "0.6"), text.split(), strict=True):
            name = f"cifar10_resnet110_k55_auglocal_{depth}_t{tau}"
            found.add((name, "forward_flops", float(printed), None, "AugLocal"))
    for name, text in COSTS.items():
        accuracy, flops, memory, overhead = text.split()
        found.add((name, "test_error", round(100 - cell(accuracy)[0], 2), cell(accuracy)[1], "AugLocal"))
        found.add((name, "forward_flops", float(flops), None, "AugLocal"))
        found.add((name, "memory", float(memory), None, "AugLocal"))
        if overhead != "-":
            found.add((name, "time_overhead", float(overhead), None, "AugLocal"))
    for (dataset, network, loss), text in INFOPRO.items():
        for blocks, printed in zip((2, 4, 8, 16), text.split(), strict=True):
            found.add((f"{dataset}_{network}_k{blocks}_infopro_{loss}", "test_error", float(printed), None, "InfoPro"))
    for dataset, text in BALANCED.items():
        for blocks, printed in enumerate(text.split(), start=2):
            name = f"{dataset}_resnet110_k{blocks}_infopro_balanced"
            error, memory = printed.split("/")
            found.add((name, "test_error", float(error), None, "InfoPro"))
            found.add((name, "memory", float(memory), None, "InfoPro"))
    for name, (error, memory) in END_TO_END.items():
        found.add((name, "test_error", error, None, "InfoPro"))
        if memory is not None:
            found.add((name, "memory", memory, None, "InfoPro"))
    return found


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
