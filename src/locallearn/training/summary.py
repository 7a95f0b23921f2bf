"""What a run came to."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The results of a run; written as `summary.json`.

    Args:
        title: The recipe's title.
        run: The run's folder.
        network: The file of the last epoch's network.
        seed: The run's seed.
        epochs: Passes over the training images.
        steps: Optimizer steps.
        num_blocks: Blocks the network was cut into.
        parameters: Numbers in the network's parameters.
        auxiliary_parameters: Numbers in the parameters that only training needs.
        test_accuracy: Percent, after the last epoch.
        test_error: Percent, after the last epoch.
        best_test_error: Lowest test error of any epoch in percent; chosen on the test set, so not a fair result.
        best_test_epoch: The epoch of that error.
        best_validation_error: Lowest validation error in percent, if images were held out.
        best_validation_epoch: The first epoch of that error.
        test_error_at_best_validation: Test error of that epoch in percent.
        peak_bytes: Bytes alive at the peak of a training step; None if the step could not be counted.
        backprop_peak_bytes: The same for back-propagation of the same network and batch.
        versions: Of Python, torch and this package.
    """

    title: str
    run: str
    network: str
    seed: int
    epochs: int
    steps: int
    num_blocks: int
    parameters: int
    auxiliary_parameters: int
    test_accuracy: float
    test_error: float
    best_test_error: float
    best_test_epoch: int
    best_validation_error: float | None
    best_validation_epoch: int | None
    test_error_at_best_validation: float | None
    peak_bytes: int | None
    backprop_peak_bytes: int | None
    versions: dict[str, str]

    def json(self) -> str:
        """The summary as JSON.

        Returns:
            One object, indented.
        """
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def results(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accuracies of a run's epochs, in the words of `Summary`.

    Args:
        records: Lines of `metrics.jsonl`; the last one was evaluated.

    Returns:
        Test results of the last, the best and, where images were held out, the best validated epoch.
    """
    evaluated = [record for record in records if record["test_accuracy"] is not None]
    best = max(evaluated, key=lambda record: record["test_accuracy"])
    validated = [record for record in evaluated if record["validation_accuracy"] is not None]
    chosen = max(validated, key=lambda record: record["validation_accuracy"]) if validated else None
    return {
        "test_accuracy": evaluated[-1]["test_accuracy"],
        "test_error": _error(evaluated[-1]["test_accuracy"]),
        "best_test_error": _error(best["test_accuracy"]),
        "best_test_epoch": best["epoch"],
        "best_validation_error": chosen and _error(chosen["validation_accuracy"]),
        "best_validation_epoch": chosen and chosen["epoch"],
        "test_error_at_best_validation": chosen and _error(chosen["test_accuracy"]),
    }


def versions() -> dict[str, str]:
    """What the run ran on.

    Returns:
        Versions of Python, torch and this package.
    """
    own = metadata.version("locallearn")
    return {"python": platform.python_version(), "torch": str(torch.__version__), "locallearn": own}


def _error(accuracy: float) -> float:
    return round(100 - accuracy, 10)
