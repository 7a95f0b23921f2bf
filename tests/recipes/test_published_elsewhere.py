"""The papers' runs beyond ResNet-32 and ResNet-110: every printed number typed a second time, and what each states."""

from __future__ import annotations

import re

import pytest

from locallearn.recipes import load, published
from locallearn.recipes.recipe import Recipe

# Su et al., ECCV 2024, Table 2: network, row, top-1 and top-5 error, as printed from top to bottom.
MAN_TABLE_2 = """
    resnet101 E2E 22.03 5.93
    resnet101 InfoPro(K=2) 21.85 5.89
    resnet101 InfoPro*(K=2) 21.65 5.49
    resnet101 InfoPro(K=4) 22.81 6.54
    resnet101 InfoPro*(K=4) 21.73 5.81
    resnet152 E2E 21.60 5.92
    resnet152 InfoPro(K=2) 21.45 5.84
    resnet152 InfoPro*(K=2) 21.23 5.53
    resnet152 InfoPro(K=4) 22.93 6.71
    resnet152 InfoPro*(K=4) 21.59 5.89
    resnext101 E2E 20.64 5.40
    resnext101 InfoPro(K=2) 20.35 5.28
    resnext101 InfoPro*(K=2) 20.11 5.18
    resnext101 InfoPro(K=4) 21.69 6.11
    resnext101 InfoPro*(K=4) 20.37 5.34
    vgg13 E2E 28.41 9.63
    vgg13 DGL(K=10) 35.60 14.20
    vgg13 DGL*(K=10) 31.99 10.84
"""
# Table 2 of the supplement, without its rows E2E, which repeat the above.
MAN_K8 = """
    resnet101 InfoPro(K=8) 27.06 9.19
    resnet101 InfoPro*(K=8) 23.11 6.69
    resnet152 InfoPro(K=8) 25.91 8.76
    resnet152 InfoPro*(K=8) 22.17 5.99
    resnext101 InfoPro(K=8) 25.55 8.44
    resnext101 InfoPro*(K=8) 20.93 5.71
"""
# Table 3: memory of ResNet-101, ResNet-152, ResNeXt-101.
MAN_TABLE_3 = """
    E2E 19.71 26.29 19.22
    InfoPro(K=2) 12.06 15.53 11.55
    InfoPro*(K=2) 12.32 15.93 11.73
    InfoPro(K=4) 10.37 13.48 10.24
    InfoPro*(K=4) 10.69 13.91 10.49
"""
# Tables 4(b) and 5(b).
MAN_ABLATIONS = {"averaging": (22.09, 6.07), "parameters": (22.64, 6.41)}
# Zhang et al., AAAI 2025, Table 2 (errors) and Table 3 (memory; none for DGL).
MLAAN = """
    resnet34 17 DGL 39.93 15.58 -
    resnet34 17 BP 25.38 7.90 10.74
    resnet34 17 MLAAN 25.31 7.88 9.09
    resnet101 34 DGL 35.58 13.71 -
    resnet101 34 BP 22.03 5.93 20.64
    resnet101 34 MLAAN 21.69 5.72 17.93
    resnet152 51 DGL 35.80 14.15 -
    resnet152 51 BP 21.60 5.92 26.29
    resnet152 51 MLAAN 21.34 5.74 23.01
"""
# Wang et al., ICLR 2021, table of ImageNet: top-1, top-5, GB.
INFOPRO = """
    resnet101 1024 - 22.03 5.93 19.71
    resnet101 1024 K=2 21.85 5.89 12.06
    resnet152 1024 - 21.60 5.92 26.29
    resnet152 1024 K=2 21.45 5.84 15.53
    resnext101 512 - 20.64 5.40 19.22
    resnext101 512 K=2 20.35 5.28 11.55
"""
# Ma et al., ICLR 2024, appendix, Table 3: accuracies of BP and of d = 3 to 6.
AUGLOCAL_TABLE_3 = """
    mobilenetv2 19 94.89±0.15 92.16±0.24 93.94±0.23 94.43±0.04 94.52±0.08
    efficientnetb0 17 93.52±0.15 92.70±0.14 92.84±0.15 93.03±0.16 93.13±0.08
    regnetx400mf 23 95.70±0.12 94.42±0.11 94.72±0.01 94.96±0.12 95.09±0.10
"""
# Table 7: box AP, AP50, AP75, mask AP, AP50, AP75.
AUGLOCAL_TABLE_7 = {
    "coco_maskrcnnr34_backprop": "36.3 56.4 39.4 33.8 53.9 36.1",
    "coco_maskrcnnr34_backprop_auglocalbackbone": "36.2 56.0 39.1 33.4 53.2 35.7",
}
# Supplement of MAN, Table 4: accuracy and GB; Table 5: GB, mIoU for SS, MS, MS+Flip.
VIT = {"cifar10_vitb16_backprop": (88.99, 5.43), "cifar10_vitb16_k6_dgl": (69.13, 3.17)}
VIT |= {"cifar10_vitb16_k6_dgl+man": (83.04, 3.39)}
CITYSCAPES = {
    "cityscapes_deeplabv3r101_backprop": "38.85 79.12 79.81 80.02",
    "cityscapes_deeplabv3r101_k4_infopro": "19.88 78.25 79.14 79.28",
    "cityscapes_deeplabv3r101_k4_infopro+man": "20.25 79.31 80.05 80.40",
}
# Table 6 of both supplements: accuracy on STL-10 of ResNet-32 (K=16) and ResNet-110 (K=55).
TRANSFER = {
    "MAN": {"backprop": (35.98, 36.78), "dgl": (31.95, 33.16), "dgl+man": (37.55, 36.92)},
    "MLAAN": {"backprop": (35.98, 36.78), "dgl": (31.95, 33.16), "dgl+mlaan": (37.65, 40.26)},
}
NOT_PRINTED = {f"{data}_vgg19_k16_auglocal_d{depth}" for data in ("cifar10", "svhn", "stl10") for depth in range(2, 7)}
NOT_PRINTED |= {f"{data}_vgg19_backprop" for data in ("cifar10", "svhn", "stl10")}
NOT_PRINTED |= {f"imagenet_{network}_auglocal_d5" for network in ("vgg13_k10", "resnet34_k17", "resnet101_k34")}
NOT_PRINTED |= {"imagenet_vgg13_backprop_batch256", "imagenet_resnet34_backprop_200epochs"}
NOT_PRINTED |= {"imagenet_resnet101_backprop_200epochs", "cityscapes_deeplabv3r101_k2_infopro"}
NOT_PRINTED |= {f"cityscapes_deeplabv3r101_k2_infopro_{more}" for more in ("batch12", "crop640x1280")}

Number = tuple[str, str, float, float | None, str]


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def man_name(network: str, row: str) -> str:
    found = re.fullmatch(r"(\w+)(\*?)(?:\(K=(\d+)\))?", row)
    assert found is not None
    if found[1] == "E2E":
        return f"imagenet_{network}_backprop"
    return f"imagenet_{network}_k{found[3]}_{found[1].lower()}{'+man' if found[2] else ''}"


def of_man() -> set[Number]:
    found: set[Number] = set()
    for network, row, first, fifth in lines(MAN_TABLE_2) + lines(MAN_K8):
        found.add((man_name(network, row), "test_error", float(first), None, "MAN"))
        found.add((man_name(network, row), "test_top5_error", float(fifth), None, "MAN"))
    for row, *printed in lines(MAN_TABLE_3):
        for network, memory in zip(("resnet101", "resnet152", "resnext101"), printed, strict=True):
            found.add((man_name(network, row), "memory", float(memory), None, "MAN"))
    for variant, (first, fifth) in MAN_ABLATIONS.items():
        found.add((f"imagenet_resnet101_k4_infopro+man_{variant}", "test_error", first, None, "MAN"))
        found.add((f"imagenet_resnet101_k4_infopro+man_{variant}", "test_top5_error", fifth, None, "MAN"))
    for name, (accuracy, memory) in VIT.items():
        found.add((name, "test_error", round(100 - accuracy, 2), None, "MAN"))
        found.add((name, "memory", memory, None, "MAN"))
    for name, text in CITYSCAPES.items():
        quantities = ("memory", "mean_iou", "mean_iou_multi_scale", "mean_iou_multi_scale_flip")
        found |= {(name, quantity, float(x), None, "MAN") for quantity, x in zip(quantities, text.split(), strict=True)}
    return found


def of_others() -> set[Number]:
    found: set[Number] = {("cityscapes_deeplabv3r101_backprop", "memory", 19.43, None, "InfoPro")}
    for network, blocks, row, first, fifth, memory in lines(MLAAN):
        name = (
            f"imagenet_{network}_backprop_150epochs" if row == "BP" else f"imagenet_{network}_k{blocks}_{row.lower()}"
        )
        found.add((name, "test_error", float(first), None, "MLAAN"))
        found.add((name, "test_top5_error", float(fifth), None, "MLAAN"))
        found |= {(name, "memory", float(memory), None, "MLAAN")} if memory != "-" else set()
    for network, batch, row, first, fifth, memory in lines(INFOPRO):
        name = f"imagenet_{network}_{'backprop' if row == '-' else 'k2_infopro'}_batch{batch}"
        for quantity, value in (("test_error", first), ("test_top5_error", fifth), ("memory", memory)):
            found.add((name, quantity, float(value), None, "InfoPro"))
    for network, blocks, *printed in lines(AUGLOCAL_TABLE_3):
        rows = ("backprop", *(f"k{blocks}_auglocal_d{depth}" for depth in (3, 4, 5, 6)))
        for row, cell in zip(rows, printed, strict=True):
            accuracy, deviation = cell.split("±")
            error = round(100 - float(accuracy), 2)
            found.add((f"cifar10_{network}_{row}", "test_error", error, float(deviation), "AugLocal"))
    for name, text in AUGLOCAL_TABLE_7.items():
        quantities = ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75")
        found |= {(name, what, float(x), None, "AugLocal") for what, x in zip(quantities, text.split(), strict=True)}
    return found


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    small = ("resnet32", "resnet110")
    return {name: load(name) for name in published.names() if published.parsed(name).network not in small}


def test_every_number_is_the_papers_and_none_is_missing(recipes: dict[str, Recipe]):
    stated = {
        (name, number.name, number.value, number.deviation, number.paper)
        for name, recipe in recipes.items()
        for number in recipe.published
        if not number.name.startswith("backprop_")
    }
    printed = of_man() | of_others()
    assert stated - printed == set()
    assert printed - stated == set()


def test_recipes_without_number_are_those_of_which_papers_print_settings_alone(recipes: dict[str, Recipe]):
    assert {name for name, recipe in recipes.items() if not recipe.published} == NOT_PRINTED
    for name in NOT_PRINTED:
        assert recipes[name].seeds == 1 and any("no number" in line for line in recipes[name].guessed), name
        assert published.summary(name).endswith(": no number printed")


def test_accuracy_after_the_transfer_belongs_to_the_run_on_cifar10():
    stated = {
        (name, number.paper, number.value)
        for name in published.names()
        for number in load(name).published
        if number.name == "stl10_accuracy"
    }
    expected = set()
    for paper, rows in TRANSFER.items():
        for method, printed in rows.items():
            for network, blocks, accuracy in zip(("resnet32", "resnet110"), ("k16_", "k55_"), printed, strict=True):
                expected.add((f"cifar10_{network}_{'' if method == 'backprop' else blocks}{method}", paper, accuracy))
    assert stated == expected
    assert any("resized" in line for line in load("cifar10_resnet32_k16_dgl+man").guessed)


def test_names_titles_sources_and_guesses(recipes: dict[str, Recipe]):
    assert all(re.fullmatch(r"[a-z0-9]+_[a-z0-9]+(_k\d+)?_[a-z+]+(_[a-z0-9.]+)*", name) for name in recipes)
    titles = [published.title(name) for name in published.names()]
    assert len(set(titles)) == len(titles)
    for name, recipe in recipes.items():
        assert "Settings: " in recipe.source and recipe.title and recipe.guessed, name
        assert len(set(recipe.guessed)) == len(recipe.guessed), name
        assert all(sentence.endswith(".") for sentence in recipe.guessed), name
        assert all(f"{number.paper}: " in recipe.source for number in recipe.published), name
        if recipe.published and recipe.method.name != "backprop":
            assert any(number.name.startswith("backprop_") for number in recipe.published), name


# Epochs, batch and rate by paper: section 4.2 of MAN, InfoPro's README, MLAAN's supplement, A.2 of AugLocal's appendix.
SETTINGS = {
    "imagenet_resnet101_backprop": (90, 128, 0.05),
    "imagenet_resnet101_k4_infopro+man_averaging": (90, 128, 0.05),
    "imagenet_resnet152_k8_infopro": (90, 128, 0.05),
    "imagenet_resnext101_k2_infopro+man": (90, 64, 0.025),
    "imagenet_vgg13_k10_dgl": (90, 64, 0.025),
    "imagenet_vgg13_k10_dgl+man": (90, 64, 0.025),
    "imagenet_vgg13_backprop": (90, 64, 0.025),
    "imagenet_resnet152_k2_infopro_batch1024": (90, 1024, 0.4),
    "imagenet_resnext101_backprop_batch512": (90, 512, 0.2),
    "imagenet_resnet34_k17_mlaan": (150, 128, 0.05),
    "imagenet_resnet101_k34_dgl": (150, 128, 0.05),
    "imagenet_resnet152_backprop_150epochs": (150, 128, 0.05),
    "imagenet_vgg13_k10_auglocal_d5": (90, 256, 0.1),
    "imagenet_vgg13_backprop_batch256": (90, 256, 0.1),
    "imagenet_resnet34_k17_auglocal_d5": (200, 1024, 0.4),
    "imagenet_resnet101_backprop_200epochs": (200, 512, 0.2),
    "cifar10_mobilenetv2_k19_auglocal_d4": (400, 1024, 0.8),
    "svhn_vgg19_k16_auglocal_d2": (400, 1024, 0.8),
    "stl10_vgg19_backprop": (400, 128, 0.1),
    "cifar10_vitb16_k6_dgl": (200, 1024, 0.001),
    "cityscapes_deeplabv3r101_k4_infopro": (108, 8, 0.01),
    "cityscapes_deeplabv3r101_k2_infopro_batch12": (162, 12, 0.015),
    "cityscapes_deeplabv3r101_k2_infopro_crop640x1280": (108, 8, 0.015),
    "coco_maskrcnnr34_backprop": (12, 16, 0.0001),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_epochs_batches_and_rates_are_the_papers(name: str):
    training = load(name).training
    assert (training.epochs, training.batch_size, training.lr) == SETTINGS[name]


def test_optimizers_and_schedules(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        training, parts = recipe.training, published.parsed(name)
        schedule, weight_decay = training.schedule.name, training.weight_decay
        if parts.dataset == "cityscapes":
            assert (training.momentum, training.nesterov, weight_decay) == (0.9, False, 5e-4), name
            assert (schedule, training.schedule.power, training.max_steps) == ("poly", 0.9, 40000), name
            assert training.epochs * (2975 // training.batch_size) >= 40000, name
        elif parts.network == "vitb16" or parts.dataset == "coco":
            assert training.optimizer == "adamw" and any("adamw" in x or "AdamW" in x for x in recipe.guessed), name
        else:
            assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, True), name
            expected = "cosine" if parts.dataset == "imagenet" else "warmup_cosine"
            assert (weight_decay, schedule) == (1e-4, expected), name


def test_weights_of_infopro(recipes: dict[str, Recipe]):
    for name, recipe in recipes.items():
        parts = published.parsed(name)
        if "infopro" not in parts.method:
            continue
        options = recipe.method.options.get("base", recipe.method.options)
        assert options["task_loss"] == "cross_entropy" and len(set(options["reconstruction"])) == 1, name
        weights = options["reconstruction"][0], options["prediction"][0]
        assert len(set(options["prediction"])) == 1, name
        if parts.dataset == "imagenet":
            assert weights == (5.0, 1.0 if (parts.network, parts.method) == ("resnet152", "infopro") else 0.75), name
        else:
            assert weights == {"batch12": (1.0, 0.1), "crop640x1280": (2.0, 1.0)}.get(parts.variant, (1.5, 1.0)), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagenet_resnet101_k8_infopro+man", "no cut into eight blocks is published"),
        ("imagenet_resnet152_k4_infopro", "two days only"),
        ("imagenet_resnet152_k4_infopro", "those of InfoPro's authors for K=2"),
        ("imagenet_resnet152_k2_infopro+man", "where InfoPro's authors have 1"),
        ("imagenet_resnet101_k34_mlaan", "the supplement says 0.8"),
        ("imagenet_resnet34_backprop_150epochs", "the supplement says 0.8"),
        ("imagenet_vgg13_k10_dgl+man", "MAN released no code for DGL"),
        ("imagenet_vgg13_backprop", "torchvision's own vgg13_bn"),
        ("imagenet_resnext101_k2_infopro_batch512", "the README has 1024"),
        ("imagenet_resnet101_k34_auglocal_d5", "the appendix gives no depth"),
        ("imagenet_resnet101_backprop", "a resize to 224"),
        ("cifar10_vitb16_k6_dgl+man", "image_size = 32"),
        ("cifar10_vitb16_k6_dgl", "adamw"),
        ("cifar10_vitb16_k6_dgl", "method.head"),
        ("cifar10_vitb16_k6_dgl", "six blocks only"),
        ("cityscapes_deeplabv3r101_k4_infopro", "no cut into four blocks"),
        ("cityscapes_deeplabv3r101_k4_infopro+man", "InfoPro's for K=2"),
        ("cityscapes_deeplabv3r101_backprop", "resnet101_v1c"),
        ("coco_maskrcnnr34_backprop_auglocalbackbone", "locallearn export"),
        ("coco_maskrcnnr34_backprop", "AdamW only"),
        ("cifar10_mobilenetv2_k19_auglocal_d3", "the stride of a head's layer"),
        ("stl10_vgg19_k16_auglocal_d2", "100 outputs"),
    ],
)
def test_what_is_unknown_is_marked(name: str, words: str):
    assert any(words in sentence for sentence in load(name).guessed)


def test_contradictions_and_slips_are_told(recipes: dict[str, Recipe]):
    assert "20.64 is the error of ResNeXt-101" in recipes["imagenet_resnet101_backprop_150epochs"].source
    assert "1.6 to 3.2 %" in recipes["imagenet_resnet101_k2_infopro+man"].source
    memory = {number.value for number in recipes["cityscapes_deeplabv3r101_backprop"].published if number.unit == "GB"}
    assert memory == {38.85, 19.43} and "twice" in recipes["cityscapes_deeplabv3r101_backprop"].source


def test_a_name_without_k_has_the_largest_there_is():
    assert published.resolved("imagenet_resnet101_infopro+man") == "imagenet_resnet101_k8_infopro+man"
    assert (
        published.resolved("imagenet_resnet101_infopro+man_averaging") == "imagenet_resnet101_k4_infopro+man_averaging"
    )
    assert published.resolved("cityscapes_deeplabv3r101_infopro") == "cityscapes_deeplabv3r101_k4_infopro"
    assert published.resolved("imagenet_resnet101") is None
