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

from locallearn.checkout import commit


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
        parallel: How processes shared blocks and batches.
        score: What the task is measured by, such as `accuracy` or `mean_iou`; higher is better.
        results: See `results`; fields of their own in `summary.json`.
        peak_bytes: Bytes alive at the peak of a training step; None if the step could not be counted.
        backprop_peak_bytes: The same for back-propagation of the same network and batch.
        versions: See `versions`.
        notes: What the data set warned of, such as that test images were trained on.
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
    parallel: str
    score: str
    results: dict[str, float | int | None]
    peak_bytes: int | None
    backprop_peak_bytes: int | None
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def test_score(self) -> float:
        """The score after the last epoch in percent."""
        return self.results[f"test_{self.score}"] or 0.0

    @property
    def test_accuracy(self) -> float:
        """Percent of the test images after the last epoch; of classification alone."""
        return self.results["test_accuracy"] or 0.0

    @property
    def test_error(self) -> float:
        """100 less the accuracy; of classification alone."""
        return self.results["test_error"] or 0.0

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON takes it.

        Returns:
            Its fields, each of the results in their place.
        """
        told: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            told |= value if field.name == "results" else {field.name: value}
        return told

    def json(self) -> str:
        """The summary as JSON.

        Returns:
            One object, indented.
        """
        return json.dumps(self.as_dict(), indent=2) + "\n"


def results(records: Sequence[Mapping[str, Any]], score: str = "accuracy") -> dict[str, Any]:
    """What a run's epochs came to.

    Args:
        records: Lines of `metrics.jsonl`; the last one was evaluated.
        score: What epochs are compared by; where it is accuracy, errors are told in its place.

    Returns:
        Every test result of the last epoch; the best test score of any epoch, which is chosen on the test set and so
        no fair result; where images were held out, the best validation score, its first epoch, and that one's test
        score.
    """
    test, validation = f"test_{score}", f"validation_{score}"
    told, value = ("error", _error) if score == "accuracy" else (score, float)
    evaluated = [record for record in records if record[test] is not None]
    best = max(evaluated, key=lambda record: record[test])
    validated = [record for record in evaluated if record[validation] is not None]
    chosen = max(validated, key=lambda record: record[validation]) if validated else None
    return {
        **{name: result for name, result in evaluated[-1].items() if name.startswith("test_")},
        **{f"test_{told}": value(evaluated[-1][test])},
        f"best_test_{told}": value(best[test]),
        "best_test_epoch": best["epoch"],
        f"best_validation_{told}": chosen and value(chosen[validation]),
        "best_validation_epoch": chosen and chosen["epoch"],
        f"test_{told}_at_best_validation": chosen and value(chosen[test]),
    }


def versions() -> dict[str, str]:
    """What the run ran on.

    Returns:
        Versions of Python, torch and this package, and its commit if it runs from a checkout of its own.
    """
    own = metadata.version("locallearn")
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "locallearn": own}
    return found if (at := commit()) is None else found | {"commit": at}


def _error(accuracy: float) -> float:
    return round(100 - accuracy, 10)
