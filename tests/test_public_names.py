from __future__ import annotations

import inspect

import locallearn as ll

PUBLIC = {
    "AugLocal", "Backprop", "Batch", "BlockParallel", "CapturedStep", "Classification", "Context", "DataParallel",
    "Detection",
    "Execution", "DGL", "Follow", "InfoPro", "InputError", "Layout",
    "LocalModel", "LocalObjective", "LocalOutput", "LookAhead", "MAN", "MLAAN", "Method", "Offload", "Part",
    "Partition", "Plan",
    "PredSim", "Segmentation", "Site",
    "StepInBackward", "StepListener", "Task", "Term", "TrainingStopped", "Unit", "WeightedTerms", "Window", "Wrapper",
    "datasets",
    "method", "networks", "partition", "plan",
}  # fmt: skip


def test_public_names_are_the_inventory_and_all_exist():
    assert set(ll.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(ll, name) is not None
    assert dir(ll) == sorted(PUBLIC)


def test_functions_stay_functions_after_their_modules_are_imported():

    assert inspect.isfunction(ll.partition) and inspect.isfunction(ll.method)


def test_every_public_name_is_documented():
    for name in PUBLIC - {"networks", "datasets"}:
        assert inspect.getdoc(getattr(ll, name)), name


def test_networks_are_attributes():
    assert sum(p.numel() for p in ll.networks.resnet32(num_classes=10).parameters()) == 466_906
