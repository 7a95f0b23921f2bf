"""How a model's steps are carried out, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from locallearn.errors import InputError
from locallearn.field_types import check_fields


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a step keeps, computes again or joins; gradients stay what they are, up to rounding.

    Args:
        recompute: What keeps only its input and runs again in the backward pass: `"nothing"`; `"branches"`, the copies
            of later units in the heads of MAN and MLAAN; `"blocks"`, these and the blocks of the network (with
            `Backprop` this is activation checkpointing). BatchNorm counts every batch once all the same.
        lean: `"off"`; `"in_place"`: ReLU and BatchNorm write the gradient of their input over that of their output;
            `"recompute"`: besides, convolutions behind BatchNorm and ReLU compute their input again from BatchNorm's,
            and take the weight's gradient first.
        compile: Compile modules that several blocks have in common, and the heads, with `torch.compile`.
        group_heads: Run heads that are equal but for their weights together, after the blocks that they read;
            in the precision of their weights, also under autocast.
        count_batches: `"each"`: every BatchNorm adds to its counter of batches when it is called; `"together"`: one
            operation adds to all counters at the end of a step.

    Raises:
        InputError: A field names none of its rules, or `lean`, `group_heads` or
            `count_batches="together"` meets `compile`.
    """

    recompute: Literal["nothing", "branches", "blocks"] = "nothing"
    lean: Literal["off", "in_place", "recompute"] = "off"
    compile: bool = False
    group_heads: bool = False
    count_batches: Literal["each", "together"] = "each"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.compile and self.group_heads:
            raise InputError(
                "Heads that run together are not compiled: choose Execution(compile=True) or group_heads=True."
            )
        if self.compile and self.lean != "off":
            raise InputError(
                f"lean={self.lean!r} replaces the backward passes of single operators, and torch.compile fuses "
                "operators and writes backward passes of its own. Choose one: lean='off' or compile=False."
            )
        if self.compile and self.count_batches == "together":
            raise InputError(
                "count_batches='together' takes counters out of modules for a step, which torch.compile would compile "
                "anew. Choose one: count_batches='each' or compile=False."
            )


PLAIN = Execution()
"""Nothing computed again, nothing joined."""
