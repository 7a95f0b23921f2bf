"""Training steps of MAN and MLAAN as their released code goes: plain autograd, every path's forward computed anew.

Blocks, units and losses are plain functions of tensors whose parameters get their ``.grad`` filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

Map = Callable[[Tensor], Tensor]


class Bias(NamedTuple):
    """What a branch adds to the copied units: trained units, or a number per channel; and their learned balance."""

    units: Sequence[Map] = ()
    channels: Tensor | None = None
    scale: Tensor | None = None


def through(units: Sequence[Map], x: Tensor) -> Tensor:
    """One unit after the other."""
    for unit in units:
        x = unit(x)
    return x


def man_branch(x: Tensor, copies: Sequence[Map], bias: Bias) -> Tensor:
    """y = LB(x) + EMA(x); with a scale s * LB(x) + (2 - s) * EMA(x); with a vector EMA(x) + b; or one of the two."""
    if not copies:
        return through(bias.units, x)
    y = through(copies, x)
    if bias.channels is not None:
        return y + bias.channels.view(-1, *[1] * (y.ndim - 2))
    if not bias.units:
        return y
    if bias.scale is not None:
        return bias.scale * through(bias.units, x) + (2 - bias.scale) * y
    return through(bias.units, x) + y


def leap(x: Tensor, layers: Sequence[tuple[Map, Map | None]]) -> Tensor:
    """Layers of trained units, each beside its twin if it has one: z = A(z) + E(z), or z = A(z)."""
    for trained, twin in layers:
        x = trained(x) if twin is None else trained(x) + twin(x)
    return x


def man_step(blocks: Sequence[Map], losses: Sequence[Map], inputs: Tensor, output_loss: Map) -> None:
    """Every block from a detached input; the loss of all but the last looks through the block's branch."""
    x = inputs
    for block, loss in zip(blocks[:-1], losses, strict=True):
        x = block(x)
        loss(x).backward()
        x = x.detach()
    output_loss(blocks[-1](x)).backward()


def mlaan_step(
    blocks: Sequence[Map],
    independent: Mapping[int, Map],
    cascaded: Mapping[int, Map],
    inputs: Tensor,
    output_loss: Map,
    *,
    cascade: int,
    stride: int = 1,
    independent_weight: float,
    cascade_weight: float,
    first_blocks: Literal["skipped", "independent"] = "skipped",
    output: Literal["cascade", "both"] = "cascade",
) -> None:
    """The released loop; the losses are those at a block's end, through its leap layers where it has them.

    ``x`` runs through all blocks, detached after each; a cascade starts again from the detached input of its first
    block. The last cascade ends in the network's own output.
    """
    count = len(blocks)
    if count == 1:
        output_loss(through(blocks, inputs)).backward()
        return
    x, entries = inputs, []
    for i in range(count - 1):
        entries.append(x)
        x = blocks[i](x)
        if cascade > 1 and (i >= cascade - 1 or first_blocks == "independent"):
            (independent_weight * independent[i](x)).backward()
        x = x.detach()
        if i >= cascade - 1 and (i - (cascade - 1)) % stride == 0:
            z = entries[i - cascade + 1]
            for k in range(i - cascade + 1, i + 1):
                z = blocks[k](z)
            weight = cascade_weight if cascade > 1 else 1.0
            (weight * cascaded[i](z)).backward()
    entries.append(x)
    first = max(count - cascade, 0)
    z = entries[first]
    for k in range(first, count):
        z = blocks[k](z)
    if output == "cascade":
        output_loss(z).backward()
    else:
        (independent_weight * output_loss(blocks[count - 1](x)) + cascade_weight * output_loss(z)).backward()


def closed_form(start: Tensor, sources: Sequence[Tensor], momentum: float) -> Tensor:
    """m^t c_0 + (1 - m) sum_s m^(t-1-s) theta_s after t averagings of theta_0 ... theta_(t-1)."""
    t = len(sources)
    total = momentum**t * start
    for s, source in enumerate(sources):
        total = total + (1 - momentum) * momentum ** (t - 1 - s) * source
    return total


def pulled_by_sgd(
    start: Tensor, gradients: Sequence[Tensor], sources: Sequence[Tensor], rate: float, momentum: float
) -> Tensor:
    """gamma <- gamma - rate * g, then gamma <- m gamma + (1 - m) theta, once for each step."""
    copy = start
    for gradient, source in zip(gradients, sources, strict=True):
        copy = copy - rate * gradient
        copy = momentum * copy + (1 - momentum) * source
    return copy
