"""Every network of the source documents under every method: equal when cut, trained by a step, ordinary afterwards."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from benchmarks.environment import write
from torch import Tensor, nn

import locallearn as ll
from locallearn.partitioning.published_cuts import PRESETS, known_network

CLASSES = 10
BATCH = 4
METHODS = (
    *("backprop", "predsim", "dgl", "infopro", "auglocal", "dgl+man", "predsim+man", "infopro+man"),
    *("mlaan", "dgl+mlaan", "infopro+mlaan", "infopro+auglocal"),
)


@dataclass(frozen=True)
class Case:
    """A network of the grid.

    Args:
        name: Of `locallearn.networks.build`.
        options: Its further options.
        library: Builds the same network without this package, `library(num_classes=..., **options)`; None if it is
            ours.
        side: Rows and columns of an image.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    library: Callable[..., nn.Module] | None = None
    side: int = 32


class Ready:
    """A network with its initial values and what it must equal.

    Args:
        case: Which network.
    """

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.network = ll.networks.build(case.name, CLASSES, **case.options)
        make = case.library or ll.networks.constructor(case.name)
        self.twin = make(num_classes=CLASSES, **case.options)
        self.start = deepcopy(self.network.state_dict())
        self.images = torch.rand(BATCH, 3, case.side, case.side)
        self.targets = torch.arange(BATCH) % 2
        self.units = ll.partition(self.network, self.images, num_blocks=1).units
        self.known = known_network(self.network, self.units)
        self.cuts: dict[tuple[int, str | None], ll.Partition] = {}

    def partition(self, method: str) -> ll.Partition:
        """The network with its initial values, cut for a method.

        Args:
            method: Its name.

        Returns:
            The blocks, which are known to equal the network.
        """
        self.network.load_state_dict(self.start)
        num_blocks, preset = key = published_cut(self.known, method)
        if key not in self.cuts:
            self.cuts[key] = ll.partition(self.network, self.images, num_blocks=num_blocks, preset=preset)
        return self.cuts[key]


def published_cut(network: str | None, method: str) -> tuple[int, str | None]:
    """Where a method's paper cuts a network, into the most blocks if there are several cuts.

    Args:
        network: A key of `published_cuts.NETWORKS`; None for any other.
        method: Its name; what is laid over others says where.

    Returns:
        K and a preset; 4 blocks and None where nothing is published for network and method. MLAAN's paper
        cuts ImageNet's networks with linear heads alone; larger ones, two behind every layer, fit few machines.
    """
    if method.endswith("+mlaan"):
        return 4, None
    preset = method.rpartition("+")[2]
    published = [blocks for name, blocks in PRESETS.get(preset, {}) if name == network]
    return (max(published), preset) if published else (4, None)


def _torchvision(name: str) -> Callable[..., nn.Module]:
    def build(**options: Any) -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None, **options)

    return build


def _timm(name: str) -> Callable[..., nn.Module]:
    def build(**options: Any) -> nn.Module:
        import timm

        return timm.create_model(name, **options)

    return build


NAMES = (
    *("vgg13", "vgg13_bn", "vgg19", "vgg19_bn", "resnet34", "resnet50", "resnet101", "resnet152", "resnext101_32x8d"),
    *("mobilenet_v2", "efficientnet_b0", "regnet_x_400mf"),
)
CASES = (
    *(Case(name, library=_torchvision(name)) for name in NAMES),
    Case("vit_b_16", {"image_size": 32}, _torchvision("vit_b_16")),
    Case("timm:vit_tiny_patch16_224", {"img_size": 32}, _timm("vit_tiny_patch16_224")),
    Case("timm:convnext_atto", library=_timm("convnext_atto"), side=64),
    *(Case(f"{name}_small") for name in ("mobilenet_v2", "efficientnet_b0", "regnet_x_400mf", "vgg19")),
)
"""The networks of the papers at the smallest images they take, two of timm's, and those for small images."""


@functools.lru_cache(maxsize=1)
def ready(name: str) -> Ready:
    """A network of the grid, built; only the last one is kept.

    Args:
        name: The network's.

    Returns:
        It, and what it must equal.
    """
    return Ready(next(case for case in CASES if case.name == name))


class Failure(Exception):
    """A cell does not keep what the grid promises."""


def cell(case: Case, method: str) -> dict[str, Any]:
    """Cut, train a step, and compare with the library's own network.

    Args:
        case: The network.
        method: A name.

    Returns:
        The row of a result: `outcome` is `"trains"`, `"refused"` with the refusal's text as `reason`, or `"fails"`.
    """
    began = time.perf_counter()
    built = ready(case.name)
    num_blocks, preset = published_cut(built.known, method)
    row: dict[str, Any] = {
        "network": case.name,
        "method": method,
        "num_blocks": num_blocks,
        "preset": preset,
        "units": len(built.units),
        "image": [3, case.side, case.side],
        "batch_size": BATCH,
        "blocks": None,
        "windows": None,
        "steps": None,
        "outcome": "trains",
        "reason": None,
    }
    try:
        row |= _trained(built, method)
    except ll.InputError as refusal:
        row |= {"outcome": "refused", "reason": str(refusal)}
    except Exception as error:
        row |= {"outcome": "fails", "reason": f"{type(error).__name__}: {error}"}
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def _trained(built: Ready, method: str) -> dict[str, Any]:
    blocks = built.partition(method)
    check_chain(blocks, built.images)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*which is back-propagation")
        model = ll.LocalModel(blocks, ll.method(method), ll.Classification(CLASSES))
    steps = step_until_all_moved(model, built)
    check_exchange(built)
    return {"blocks": len(blocks), "windows": len(model.windows), "steps": steps}


def check_chain(blocks: ll.Partition, images: Tensor) -> None:
    """Compare the chain of blocks with the network, bit for bit.

    Args:
        blocks: A network that was cut.
        images: One batch.

    Raises:
        Failure: They differ.
    """
    blocks.network.eval()
    with torch.no_grad():
        state: Any = images
        for block in blocks.blocks:
            state = block(state)
        if not torch.equal(state, blocks.network(images)):
            raise Failure("The chain of blocks does not equal the network.")


def step_until_all_moved(model: ll.LocalModel, built: Ready) -> int:
    """Take a step; another if weights that start at zero held gradients back; then everything must have moved.

    Args:
        model: Of the network.
        built: The network with its initial values.

    Returns:
        Steps taken.

    Raises:
        Failure: A loss is not finite, or a parameter of the network got no gradient or did not move.
    """
    model.train()
    parameters = dict(built.network.named_parameters())
    still = list(parameters)
    for step in (1, 2):
        model.zero_grad()
        outputs = model.local_backward(built.images, built.targets)
        if not all(output.loss.isfinite() for output in outputs):
            raise Failure("A loss is not finite.")
        if without := [name for name, parameter in parameters.items() if parameter.grad is None]:
            raise Failure(f"No gradient reaches {', '.join(without[:3])}, {len(without)} in all.")
        follow_signs(model)
        model.after_step()
        still = [name for name in still if torch.equal(parameters[name], built.start[name])]
        if not still:
            return step
    raise Failure(f"{', '.join(still[:3])} did not move, {len(still)} in all.")


@torch.no_grad()
def follow_signs(model: nn.Module) -> None:
    """Move all weights by the sign of their gradients, so that rounding hides no gradient, however small.

    Args:
        model: Its gradients become their signs.
    """
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.sub_(parameter.grad.sign_(), alpha=1e-3)


def check_exchange(built: Ready) -> None:
    """States of our network and the library's own load strictly into each other and give equal outputs.

    Args:
        built: Both networks.

    Raises:
        Failure: The states or the outputs differ.
    """
    trained = built.network.state_dict()
    if trained.keys() != built.twin.state_dict().keys():
        raise Failure("The state's keys are not those of the library's network.")
    built.twin.load_state_dict(trained, strict=True)
    built.network.load_state_dict(built.twin.state_dict(), strict=True)
    built.network.eval()
    built.twin.eval()
    with torch.no_grad():
        ours, theirs = built.network(built.images), built.twin(built.images)
    if not ours.isfinite().all():
        raise Failure("The trained network's output is not finite.")
    if not torch.equal(ours, theirs):
        raise Failure("The exported network's output is not the library's.")


SHOWN = ("network", "method", "num_blocks", "preset", "outcome", "seconds")


def rows(case: Case, methods: str) -> Iterator[dict[str, Any]]:
    """The cells of one network.

    Args:
        case: The network.
        methods: A pattern as for file names.

    Yields:
        Rows of a result.
    """
    yield from (cell(case, method) for method in METHODS if fnmatch.fnmatch(method, methods))


def main() -> int:
    """Fill the grid and write `results/networks.json`, anew after each network, if all methods are asked for.

    Returns:
        1 if a cell fails; a refusal is no failure.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["*"], help="patterns of names; all if there are none")
    parser.add_argument("--methods", default="*", help="pattern of names; a part is printed and not written")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    chosen = [case for case in CASES if any(fnmatch.fnmatch(case.name, each) for each in options.networks)]
    for case in chosen:
        for row in rows(case, options.methods):
            found.append(row)
            print(
                *(row[key] for key in ("network", "method", "num_blocks", "preset", "outcome", "seconds")), flush=True
            )
            if row["reason"]:
                print("   ", row["reason"], flush=True)
        if options.methods == "*":
            write("networks", found)
    return int(any(row["outcome"] == "fails" for row in found))


if __name__ == "__main__":
    sys.exit(main())
