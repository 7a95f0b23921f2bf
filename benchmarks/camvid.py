"""CamVid runs beside the majority class and the untrained network: `python -m benchmarks.camvid --data P RUN ...`."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import torch
from benchmarks.environment import write
from torch import Tensor, nn

from locallearn.recipes import checked
from locallearn.recipes.recipe import Recipe
from locallearn.training import evaluate
from locallearn.training.assembly import Assembly, assemble
from locallearn.training.random_state import seed_everything

KEPT = ("epochs", "steps", "num_blocks", "parameters", "auxiliary_parameters", "peak_bytes", "backprop_peak_bytes")
RESULTS = ("test_mean_iou", "test_pixel_accuracy")


class Constant(nn.Module):
    """Predicts one class for every pixel.

    Args:
        num_classes: Channels of the logits.
        predicted: The class.
    """

    def __init__(self, num_classes: int, predicted: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.eye(num_classes)[predicted].view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the images' size.

        Args:
            images: `(N, 3, H, W)`.

        Returns:
            `(N, num_classes, H, W)`, a view.
        """
        return self.get_buffer("logits").expand(len(images), -1, *images.shape[2:])


def majority_class(parts: Assembly) -> int:
    """The class of most training pixels.

    Args:
        parts: A data set of pixels' classes.

    Returns:
        Its index.
    """
    counts = torch.zeros(len(parts.spec.classes), dtype=torch.int64)
    for _, masks in parts.train.epoch(0):
        counts += torch.bincount(masks[masks != 255], minlength=len(counts))
    return int(counts.argmax())


def baselines(recipe: Recipe) -> list[dict[str, Any]]:
    """Test results of what has not learned.

    Args:
        recipe: With the data.

    Returns:
        A row for the majority class and one for the network as it starts.
    """
    seed_everything(recipe.seed)
    parts = assemble(recipe)
    task, network = parts.model.task, parts.model.network
    untrained = evaluate(network, parts.test, task.metric())
    majority = evaluate(Constant(len(parts.spec.classes), majority_class(parts)), parts.test, task.metric())
    blank = dict.fromkeys((*KEPT, "seed", "training_seconds"))
    return [
        {"name": name} | blank | {key: results[key.removeprefix("test_")] for key in RESULTS}
        for name, results in (("majority class", majority), ("untrained", untrained))
    ]


def row(run: Path) -> dict[str, Any]:
    """What a finished run says of itself.

    Args:
        run: Its folder.

    Returns:
        Settings, results and seconds of training.
    """
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    timings = [json.loads(line) for line in (run / "timings.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "name": recipe["method"]["name"],
        **{key: summary[key] for key in KEPT},
        "seed": recipe["seed"],
        "training_seconds": round(sum(line["training_seconds"] for line in timings)),
        **{key: summary[key] for key in RESULTS},
    }


def main() -> None:
    """Write `results/camvid.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    tables = tomllib.loads((options.runs[0] / "recipe.toml").read_text(encoding="utf-8"))
    recipe = checked(tables | {"data": options.data}, where=str(options.runs[0]))
    rows = [*baselines(recipe), *(row(run) for run in options.runs)]
    print(write("camvid", rows, data="CamVid: 367 scenes to train, 233 to test, at 180x240"))


if __name__ == "__main__":
    main()
