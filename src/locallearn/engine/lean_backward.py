"""A context in which BatchNorm, ReLU and convolutions hold less for the backward pass, and overwrite gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary
from typing_extensions import override

from locallearn.lean.batch_norm import lean_batch_norm
from locallearn.lean.convolution import Geometry, lean_convolution
from locallearn.lean.normalized import Normalized
from locallearn.lean.relu import lean_relu
from locallearn.objective import Batch, LocalObjective, Part
from locallearn.recomputation import LastingMode

_PRECISIONS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_KINDS = (Tensor, FakeTensor, nn.Parameter)


Lean = Literal["off", "in_place", "recompute"]


def lean_backward(lean: Lean) -> AbstractContextManager[Any]:
    """The context of a forward pass whose backward pass is lean.

    Args:
        lean: See `Execution`.

    Returns:
        A context manager; backward passes belong outside.
    """
    return nullcontext() if lean == "off" else LeanBackward(recompute=lean == "recompute")


def lean_parts(lean: Lean, objective: LocalObjective, prepared: Tensor, batch: Batch) -> Iterator[Part]:
    """The parts of an objective, computed within `lean_backward`, which is left whenever one is handed out.

    Args:
        lean: See `Execution`.
        objective: Whose parts.
        prepared: What its `prepare` returned.
        batch: Inputs, targets and images.

    Yields:
        Part: The summands in order.
    """
    with lean_backward(lean):
        parts = iter(objective.parts(prepared, batch))
    while True:
        with lean_backward(lean):
            part = next(parts, None)
        if part is None:
            return
        yield part
        del part


class _Scope:
    """What is known of tensors computed in one stretch of a forward pass, under the same hooks on saved tensors."""

    def __init__(self) -> None:
        self.sources: MutableMapping[Tensor, tuple[int, Normalized]] = WeakIdKeyDictionary()
        self._hooks = _saved_tensors_hooks()

    def is_left(self) -> bool:
        """Whether hooks of the network's own are in place.

        A checkpoint inside the network runs again in the backward pass, where no mode is entered, and must then save
        the same tensors.

        Returns:
            True if so.
        """
        return _saved_tensors_hooks() != self._hooks


def _saved_tensors_hooks() -> object:
    return torch._C._autograd._top_saved_tensors_default_hooks(False)  # pyright: ignore[reportAttributeAccessIssue]


class LeanBackward(LastingMode):
    """While it is entered, what is computed holds less in its backward pass.

    ReLU and BatchNorm write the gradient of their input over that of their output, unless somebody else holds it.
    Gradients stay what they are, up to rounding; only first derivatives can be taken.

    Args:
        recompute: Whether convolutions behind BatchNorm, or behind BatchNorm and ReLU, compute their input again
            instead of keeping it, and convolutions whose weight is frozen keep none.
    """

    def __init__(self, *, recompute: bool) -> None:
        super().__init__()
        self.recompute = recompute
        self._scopes: list[_Scope] = []

    @override
    def __enter__(self) -> LeanBackward:
        self._scopes.append(_Scope())
        super().__enter__()
        return self

    @override
    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        self._scopes.pop()

    @contextmanager
    @override
    def apart(self) -> Iterator[None]:
        self._scopes.append(_Scope())
        try:
            yield
        finally:
            self._scopes.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None or not torch.is_grad_enabled() or self._scopes[-1].is_left():
            return func(*args, **(kwargs or {}))
        return handler(self, func, *args, **(kwargs or {}))

    def _batch_norm(
        self,
        function: Callable[..., Tensor],
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        learns = input.requires_grad or (weight is not None and weight.requires_grad)
        several = input.ndim > 1 and input.numel() > input.shape[1]
        precise = weight is None or (weight.dtype in (torch.float32, torch.float64) and bias is not None)
        if not (training and learns and several and precise and _known(input)):
            return function(input, running_mean, running_var, weight, bias, training, momentum, eps)
        result, source = lean_batch_norm(input, running_mean, running_var, weight, bias, momentum, eps)
        return self._noted(result, source)

    def _relu(self, function: Callable[..., Tensor], input: Tensor, inplace: bool = False) -> Tensor:
        in_place = inplace or function in _IN_PLACE
        fits = input.requires_grad and _known(input) and not (in_place and (input.is_leaf or input._is_view()))
        if not fits:
            return torch.relu_(input) if in_place else torch.relu(input)
        source = self._source(input) if self.recompute else None
        result = lean_relu(input, in_place=in_place, source=source)
        return result if source is None else self._noted(result, source._replace(relu=True))

    def _lean_relu(
        self,
        function: Callable[..., Tensor],
        values: Tensor,
        *,
        in_place: bool = True,
        source: Normalized | None = None,
    ) -> Tensor:
        return self._relu(function, values, in_place) if source is None else function(values, source=source)

    def _convolution(
        self,
        function: Callable[..., Tensor],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Tensor:
        source = self._source(input)
        learns = weight.requires_grad or input.requires_grad or (bias is not None and bias.requires_grad)
        spares = self.recompute and (source is not None or not weight.requires_grad)
        fits = input.ndim == weight.ndim and _known(input) and input.dtype == _computed_in(weight)
        if isinstance(padding, str) or not (learns and spares and fits):
            return function(input, weight, bias, stride, padding, dilation, groups)
        axes = weight.ndim - 2
        geometry = Geometry(_for_axes(stride, axes), _for_axes(padding, axes), _for_axes(dilation, axes), groups)
        return lean_convolution(function, input, weight, bias, geometry, source if weight.requires_grad else None)

    def _noted(self, result: Tensor, source: Normalized) -> Tensor:
        if self.recompute:
            self._scopes[-1].sources[result] = (result._version, source)
        return result

    def _source(self, values: Tensor) -> Normalized | None:
        """How to compute a tensor again, unless it was changed since it was noted."""
        version, source = self._scopes[-1].sources.get(values, (-1, None))
        return source if version == values._version else None


def _known(values: Tensor) -> bool:
    return type(values) in _KINDS and values.dtype in _PRECISIONS


def _computed_in(weight: Tensor) -> torch.dtype:
    """What a convolution casts its input to."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _for_axes(numbers: int | Sequence[int], axes: int) -> list[int]:
    if isinstance(numbers, int):
        return [numbers] * axes
    return [*numbers] * (axes if len(numbers) == 1 else 1)


_IN_PLACE = frozenset((torch.relu_, Tensor.relu_))
_HANDLERS: dict[Any, Callable[..., Tensor]] = {
    F.batch_norm: LeanBackward._batch_norm,
    lean_relu: LeanBackward._lean_relu,
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu, *_IN_PLACE), LeanBackward._relu),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), LeanBackward._convolution),
}
