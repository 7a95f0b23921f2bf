"""Copies in auxiliary networks that follow the network as moving averages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from locallearn.errors import InputError
from locallearn.objective import Follow, LocalObjective


class MovingAverages:
    """Moves the copies of a model's objectives, and notices when a step was taken without moving them.

    Args:
        network: Owns the sources.
        objectives: Own the copies; each by its window.
        elsewhere: Sources that another process trains, by name, with the values that were last heard of; copies follow
            them in `catch_up`.
    """

    def __init__(
        self,
        network: nn.Module,
        objectives: Mapping[int, LocalObjective],
        *,
        elsewhere: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._network = network
        self._objectives = dict(objectives)
        self._elsewhere = elsewhere or {}
        self._behind = False
        self._noted: dict[str, int] | None = None
        self._named: dict[str, Tensor] | None = None
        self._versions: dict[str, int] = {}
        self._sample: tuple[str, Tensor] | None = None

    def begin(self) -> None:
        """Call before a forward pass; remembers the sources as the first batch of a step finds them.

        Raises:
            InputError: The sources have changed since the last step's first batch, or copies are too coarse to average.
                A fused optimizer on another device than the CPU leaves no trace that could be seen without waiting for
                the device.
        """
        follows, self._named = self._follows(), None
        coarse = {follow.copy.dtype for follow in follows if follow.copy.dtype.itemsize < 4 and 0 < follow.momentum < 1}
        if coarse:
            raise InputError(
                f"Moving averages in {', '.join(map(str, coarse))} round small steps away and never move. Keep the "
                "weights in single precision and run the forward pass under torch.autocast instead."
            )
        if self._noted is not None and self._changed(follows):
            raise InputError(
                "The parameters that the copies of this method follow were changed since the last local_backward, but "
                "after_step() was not called. Call model.after_step() after every optimizer.step(). If you loaded "
                "other weights into the network, load them into the whole model, or build the model again."
            )
        if self._noted is None:
            self._remember(self._sources(follows))

    def after_window(self, index: int) -> None:
        """Move the copies of a window that move before the optimizer's step, for the first batch of a step.

        Args:
            index: The window, whose backward pass is done.
        """
        if self._noted is None:
            objective = self._objectives.get(index)
            self._move([follow for follow in objective.follows() if follow.before_step] if objective else [])

    def end(self) -> None:
        """Call after the last window: from now on the sources may not change without `after_step`."""
        self._noted = self._versions

    def _remember(self, sources: dict[str, nn.Parameter]) -> None:
        self._versions = {name: source._version for name, source in sources.items()}
        self._sample = None
        on_cpu = [(name, source) for name, source in sources.items() if source.device.type == "cpu"]
        if on_cpu:
            # Biases in front of normalisation may stay as they are.
            name, source = min(on_cpu, key=lambda item: (item[1].dim() < 2, item[1].numel()))
            self._sample = name, source.detach().clone()

    def after_step(self) -> None:
        """Move all other copies whose sources are here, now that the optimizer has taken its step."""
        self._move([f for f in self._follows() if not f.before_step and f.source not in self._elsewhere])
        self._behind = bool(self._elsewhere)
        self.forget()

    def catch_up(self) -> None:
        """Move the copies that the last `after_step` would have moved if their sources were here, once."""
        if self._behind:
            self._move([f for f in self._follows() if not f.before_step and f.source in self._elsewhere])
            self._behind = False

    def follows_elsewhere(self, index: int) -> bool:
        """Whether copies of a window follow what another process trains.

        Args:
            index: The window.

        Returns:
            True if so.
        """
        return any(follow.source in self._elsewhere for follow in self._objectives[index].follows())

    def forget(self) -> None:
        """Take the sources as they are for new."""
        self._noted, self._named, self._sample = None, None, None

    def _follows(self) -> list[Follow]:
        return [follow for objective in self._objectives.values() for follow in objective.follows()]

    def _found(self, follows: Sequence[Follow]) -> list[Tensor]:
        """The source of every copy, as the network has it in this step."""
        named = self._tensors() if follows else {}
        for follow in follows:
            source = named.get(follow.source)
            if source is None:
                raise InputError(
                    f"The network has no {follow.source!r} any more, which a copy follows: a module was replaced. "
                    "Replace modules first, then partition and build the model."
                )
            if source.shape != follow.copy.shape:
                raise InputError(
                    f"{follow.source!r} has shape {tuple(source.shape)} and the copy that follows it "
                    f"{tuple(follow.copy.shape)}: a module was replaced. Replace modules first, then build the model."
                )
        return [named[follow.source] for follow in follows]

    def _tensors(self) -> dict[str, Tensor]:
        # Walking a deep network takes milliseconds; a step walks it once.
        if self._named is None:
            parameters = self._network.named_parameters(remove_duplicate=False)
            buffers = self._network.named_buffers(remove_duplicate=False)
            self._named = {**dict(parameters), **dict(buffers), **self._elsewhere}
        return self._named

    def _sources(self, follows: Sequence[Follow]) -> dict[str, nn.Parameter]:
        found = zip(follows, self._found(follows), strict=True)
        return {follow.source: source for follow, source in found if isinstance(source, nn.Parameter)}

    def _changed(self, follows: Sequence[Follow]) -> bool:
        sources = self._sources(follows)
        if self._noted != {name: source._version for name, source in sources.items()}:
            return True
        # Fused optimizers leave the versions as they are.
        return self._sample is not None and not torch.equal(self._sample[1], sources[self._sample[0]])

    @torch.no_grad()
    def _move(self, follows: Sequence[Follow]) -> None:
        pairs: dict[float, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
        for follow, source in zip(follows, self._found(follows), strict=True):
            copies, sources = pairs[follow.momentum]
            copies.append(follow.copy)
            sources.append(source.to(follow.copy.device))
        for momentum, (copies, sources) in pairs.items():
            torch._foreach_lerp_(copies, sources, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]
