"""Planned bytes alive of the recipes whose memory papers print: `python -m benchmarks.memory_of_papers [WORD ...]`.

Of networks beyond CIFAR ResNets; words choose recipes whose names hold one of them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.environment import write
from rich.progress import track

import locallearn as ll
from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError
from locallearn.partitioning.partition import recut
from locallearn.planning.bytes_alive import peak_bytes
from locallearn.planning.lowest_peak import lowest_peak
from locallearn.planning.rehearsal import Rehearsal, Setting
from locallearn.planning.steps import LocalStep
from locallearn.recipes import load, published
from locallearn.recipes.recipe import Recipe
from locallearn.tasks.named import task_of

SMALL_NETWORKS = ("resnet32", "resnet110")
SMALL_BATCH, SMALL_SIDE = 2, 128
RECOMPUTED = ll.Execution(recompute="blocks")
WEIGHTS = ("weights", "weights_backbone", "pretrained")


def printed(name: str) -> dict[str, float]:
    """The memory that papers print for a run.

    Args:
        name: Of the recipe.

    Returns:
        GB by paper.
    """
    return {number["paper"]: number["value"] for number in published.numbers(name) if number["name"] == "memory"}


def rows() -> list[tuple[str, str]]:
    """The runs with printed memory, on large networks, at the batch of their own paper.

    Returns:
        Pairs of a recipe and the one of back-propagation beside which the paper prints it.
    """
    named = [name for name in published.names() if printed(name) and "batch" not in published.parsed(name).variant]
    named = [name for name in named if published.parsed(name).network not in SMALL_NETWORKS]
    whole = [name for name in named if published.parsed(name).method == "backprop"]
    return [
        (name, other)
        for name in named
        for other in whole
        if name not in whole and published.parsed(name)[:2] == published.parsed(other)[:2]
        if printed(name).keys() & printed(other).keys()
    ]


class Planned:
    """The network, data set and batch of a recipe, traced once.

    Args:
        recipe: Of back-propagation.
    """

    def __init__(self, recipe: Recipe) -> None:
        spec = find_spec(recipe.dataset.name)
        self.shape, self.task, self.normalization = spec.shape, task_of(spec), (spec.mean, spec.std)
        options = {key: value for key, value in recipe.network.options.items() if key not in WEIGHTS}
        self.build = partial(ll.networks.constructor(recipe.network.name), len(spec.classes), **options)
        self.rehearsal = self._rehearsal(self.shape)
        plain = self.setting(recipe)
        self.backprop = self.rehearsal.backprop(plain).peak.total
        self.checkpointing = self.rehearsal.checkpointing(plain).peak.total

    def setting(self, recipe: Recipe) -> Setting:
        """A recipe's step.

        Args:
            recipe: Any recipe of the same network.

        Returns:
            All of the step but the cuts.
        """
        training = recipe.training
        return Setting(
            method=recipe.method.build(), batch_size=training.batch_size, optimizer=training.optimizer,
            normalization=self.normalization,
        )  # fmt: skip

    def row(self, name: str) -> dict[str, Any]:
        """Everything that is planned of a recipe.

        Args:
            name: The recipe's.

        Returns:
            Bytes at the published cuts and at the cuts with the lowest peak, by execution.
        """
        recipe = load(name)
        setting = self.setting(recipe)
        found: dict[str, Any] = {
            "name": name,
            "num_blocks": recipe.partition.num_blocks,
            "method": repr(setting.method),
            "batch_size": setting.batch_size,
            "input": list(self.shape),
            "backprop_bytes": self.backprop,
            "checkpointing_bytes": self.checkpointing,
            "published_cuts": self._published(recipe, setting),
        }
        recomputed = replace(setting, execution=RECOMPUTED)
        stepping = replace(recomputed, step_in_backward=True)
        lowest = {"plain": self._lowest(recipe, setting), "blocks recomputed": self._lowest(recipe, recomputed)}
        sizes = lowest["blocks recomputed"]["units"]
        lowest["and step in backward"] = self._measured(self.rehearsal.cut_at(sizes), stepping)
        return found | {"lowest": lowest, "check": self._checked(sizes, stepping)}

    def _rehearsal(self, shape: tuple[int, ...]) -> Rehearsal:
        return Rehearsal(self.build, shape, self.task, device=torch.device("cpu"))

    def _published(self, recipe: Recipe, setting: Setting) -> dict[str, Any] | None:
        cut = recipe.partition
        if cut.preset is None:
            return None
        try:
            blocks = self.rehearsal.cut(cut.num_blocks, cut.balance, cut.preset, None)
            return self._measured(blocks, setting)
        except InputError as error:
            return {"bytes": None, "why": str(error)}

    def _lowest(self, recipe: Recipe, setting: Setting) -> dict[str, Any]:
        count = min(recipe.partition.num_blocks or 1, len(self.rehearsal.whole.units))
        return self._measured(lowest_peak(self.rehearsal, setting, count), setting)

    def _measured(self, blocks: ll.Partition, setting: Setting) -> dict[str, Any]:
        peak = self.rehearsal.local(blocks, setting)[1].peak.total
        return {"bytes": peak, "units": [len(info.units) for info in blocks.infos]}

    def _checked(self, sizes: list[int], setting: Setting) -> dict[str, Any]:
        """A plan of a small batch of small images against the same step on real tensors."""
        shape = (self.shape[0], *(min(side, SMALL_SIDE) for side in self.shape[1:]))
        small, setting = self._rehearsal(shape), replace(setting, batch_size=SMALL_BATCH)
        planned = small.local(small.cut_at(sizes), setting)[1].peak.total
        example = torch.zeros(SMALL_BATCH, *shape)
        blocks = recut(ll.partition(self.build(), example, num_blocks=1), example, sizes)
        model = ll.LocalModel(
            blocks, setting.method, self.task, normalization=self.normalization, execution=setting.execution
        )
        step = LocalStep(model, optimizer=setting.optimizer, step_in_backward=setting.step_in_backward)

        def whole() -> None:
            # Zeros are an image of the mean colour, which is within the range that is checked.
            inputs = torch.zeros(SMALL_BATCH, *shape)
            step(inputs, self.task.blank_targets(inputs))

        real = peak_bytes(whole, step.held)
        return {"input": list(shape), "batch_size": SMALL_BATCH, "planned": planned, "real": real}


def main() -> int:
    """Plan every row and write `results/memory_of_papers.json`, anew after each network.

    Returns:
        1 if a plan is off by more than three percent where it was checked.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="recipes whose names hold one of these; all if there are none")
    parser.add_argument("--name", default="memory_of_papers", help="of the result file; it begins so")
    options = parser.parse_args()
    words = options.words or [""]
    chosen = [pair for pair in rows() if any(word in pair[0] for word in words)]
    found: list[dict[str, Any]] = []
    for other in track(list(dict.fromkeys(other for _, other in chosen)), "networks"):
        planned = Planned(load(other))
        for name in (name for name, beside in chosen if beside == other):
            papers = printed(name).keys() & printed(other).keys()
            figures = {paper: [printed(other)[paper], printed(name)[paper]] for paper in sorted(papers)}
            found.append(planned.row(name) | {"printed_gb": figures})
            write(options.name, found)
    off = [row["name"] for row in found if abs(row["check"]["planned"] / row["check"]["real"] - 1) > 0.03]
    print(f"plans off by more than 3 %: {', '.join(off) or 'none'}")
    return int(bool(off))


if __name__ == "__main__":
    sys.exit(main())
