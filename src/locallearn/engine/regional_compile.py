"""`torch.compile` by region: modules that are alike but for their weights share one compiled graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch._functorch import config as functorch_config

from locallearn.partitioning.block import Block, State

_MOST_KINDS = 64


def compiled_blocks(blocks: Iterable[Block]) -> list[Callable[[State], State]]:
    """Blocks in compiled form; the network's modules stay as they are.

    A block compiles the modules that it calls and that hold others, such as residual blocks, each kind once for all
    blocks; a block without such modules is compiled as a whole.

    Args:
        blocks: Blocks of one network.

    Returns:
        A function for each block.
    """
    call = torch.compile(_call, dynamic=False)
    return [partial(block, call=call) if block.calls_containers() else _compiled(block) for block in blocks]


def keeping_compiled_graphs() -> AbstractContextManager[Any]:
    """A context in which compiled modules keep what a second backward pass through the same graph needs.

    Returns:
        A context manager for forward and backward passes.
    """
    return functorch_config.patch(donated_buffer=False)


@contextmanager
def room_for_kinds() -> Iterator[None]:
    """A context in which a function may be compiled for many kinds of modules, with torch's own limit put aside.

    Yields:
        None: Nothing.
    """
    from torch._dynamo import config  # takes seconds to import

    with config.patch(recompile_limit=_MOST_KINDS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        yield


def _compiled(block: Block) -> Callable[[State], State]:
    return torch.compile(block.forward, dynamic=False)


def _call(module: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return module(*args, **kwargs)
