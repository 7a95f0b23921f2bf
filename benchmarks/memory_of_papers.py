"""Planned bytes alive for the papers' tables of memory: `python -m benchmarks.memory_of_papers [NETWORK ...]`."""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.environment import write
from rich.progress import track

import locallearn as ll
from locallearn.errors import InputError
from locallearn.partitioning.partition import recut
from locallearn.planning.bytes_alive import peak_bytes
from locallearn.planning.lowest_peak import lowest_peak
from locallearn.planning.rehearsal import Rehearsal, Setting
from locallearn.planning.steps import LocalStep

TABLE = Path(__file__).with_suffix(".toml")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL_BATCH = 2
EXECUTIONS = {
    "plain": ll.Execution(),
    "blocks recomputed": ll.Execution(recompute="blocks"),
}


def task_of(network: dict[str, Any]) -> ll.Task:
    """What a network of the table is trained for.

    Args:
        network: Its entry.

    Returns:
        The task.
    """
    if network.get("task") == "segmentation":
        return ll.Segmentation(network["classes"])
    return ll.Classification(network["classes"])


def method_of(row: dict[str, Any], network: dict[str, Any]) -> ll.Method:
    """How a row is trained.

    Args:
        row: Its entry.
        network: Its network's.

    Returns:
        The method.
    """
    base, _, wrapper = row["method"].partition("+")
    given = network.get("fields", {})
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    if not wrapper:
        return ll.method(base, **fields)
    return ll.method(row["method"], base=ll.method(base, **fields))


class Measured:
    """One network of the table, traced once.

    Args:
        network: Its entry.
    """

    def __init__(self, network: dict[str, Any]) -> None:
        self.network, self.task = network, task_of(network)
        self.build = partial(ll.networks.constructor(network["name"]), network["classes"], **network.get("options", {}))
        shape = network["input"]
        self.rehearsal = Rehearsal(self.build, shape, self.task, device=torch.device("cpu"))
        plain = Setting(method=ll.Backprop(), batch_size=network["batch_size"])
        self.backprop = self.rehearsal.backprop(plain).peak.total
        self.checkpointing = self.rehearsal.checkpointing(plain).peak.total

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Everything that is planned of a row.

        Args:
            row: Its entry.

        Returns:
            Bytes at the published cuts and at the cuts with the lowest peak, by execution.
        """
        setting = Setting(
            method=method_of(row, self.network), batch_size=self.network["batch_size"], normalization=IMAGENET
        )
        found: dict[str, Any] = {key: row[key] for key in ("network", "label", "num_blocks", "published_gb")}
        found |= {
            "method": repr(setting.method),
            "batch_size": setting.batch_size,
            "input": self.network["input"],
            "published_backprop_gb": self.network["backprop_gb"],
            "source": self.network["source"],
            "backprop_bytes": self.backprop,
            "checkpointing_bytes": self.checkpointing,
            "published_cuts": self._published(row, setting),
            "lowest": {name: self._lowest(row, replace(setting, execution=each)) for name, each in EXECUTIONS.items()},
        }
        best = min(found["lowest"].values(), key=lambda cut: cut["bytes"])
        return found | {"check": self._checked(best["units"], setting)}

    def _published(self, row: dict[str, Any], setting: Setting) -> dict[str, Any] | None:
        preset, count = row.get("preset"), len(self.rehearsal.whole.units)
        if preset is None and row["num_blocks"] < count:
            return None
        try:
            blocks = self.rehearsal.cut(row["num_blocks"], "depth", preset, None)
            return {"bytes": self.rehearsal.local(blocks, setting)[1].peak.total, "units": _units(blocks)}
        except InputError as error:
            return {"bytes": None, "why": str(error)}

    def _lowest(self, row: dict[str, Any], setting: Setting) -> dict[str, Any]:
        blocks = lowest_peak(self.rehearsal, setting, row["num_blocks"])
        return {"bytes": self.rehearsal.local(blocks, setting)[1].peak.total, "units": _units(blocks)}

    def _checked(self, sizes: list[int], setting: Setting) -> dict[str, Any]:
        """A plan of a small batch of small images against the same step on real tensors."""
        shape = [self.network["input"][0], *(min(side, 128) for side in self.network["input"][1:])]
        small = Rehearsal(self.build, shape, self.task, device=torch.device("cpu"))
        planned = small.local(small.cut_at(sizes), replace(setting, batch_size=SMALL_BATCH))[1].peak.total
        example = torch.zeros(2, *shape)
        blocks = recut(ll.partition(self.build(), example, num_blocks=1), example, sizes)
        step = LocalStep(ll.LocalModel(blocks, setting.method, self.task, normalization=IMAGENET))

        def whole() -> None:
            images = torch.rand(SMALL_BATCH, *shape)
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in IMAGENET)
            inputs = (images - mean) / std
            del images, mean, std
            step(inputs, self.task.blank_targets(inputs))

        return {"input": shape, "batch_size": SMALL_BATCH, "planned": planned, "real": peak_bytes(whole, step.held)}


def _units(blocks: ll.Partition) -> list[int]:
    return [len(info.units) for info in blocks.infos]


def main() -> None:
    """Plan every row and write `results/memory_of_papers.json`, anew after each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="networks of the table, all if none is named")
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    names = parser.parse_args().networks or list(table["network"])
    rows: list[dict[str, Any]] = []
    for name in track(names, "networks"):
        measured = Measured(table["network"][name])
        rows += [measured.row(row) for row in table["row"] if row["network"] == name]
        write("memory_of_papers", rows)


if __name__ == "__main__":
    main()
