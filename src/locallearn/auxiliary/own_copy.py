"""Deep copies that share nothing with what they were copied from."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def own_copy(module: Module) -> Module:
    """A deep copy with parameters and buffers of its own, without gradients and without the user's hooks.

    The hooks by which PyTorch itself computes weights (`torch.nn.utils.spectral_norm`) stay. Fake tensors, which know
    no deep copy, are copied too.

    Args:
        module: Left as it is.

    Returns:
        The copy.
    """
    memo: dict[int, object] = {id(p): nn.Parameter(p.detach().clone(), p.requires_grad) for p in module.parameters()}
    memo |= {id(buffer): buffer.detach().clone() for buffer in module.buffers()}
    for inner in module.modules():
        for name in _HOOKS:
            hooks = getattr(inner, name)
            kept = OrderedDict((key, hook) for key, hook in hooks.items() if _is_of_torch(hook))
            memo[id(hooks)] = deepcopy(kept, memo)
    return deepcopy(module, memo)


def _is_of_torch(hook: object) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils")
