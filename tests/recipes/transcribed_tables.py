"""A second copy of the papers' tables, typed from the printed pages and not from the recipes."""

from __future__ import annotations

import re

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
