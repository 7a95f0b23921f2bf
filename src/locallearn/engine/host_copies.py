"""Tensors that go back and forth between a device and the host's memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class HostCopies:
    """Copies tensors to a device and back; on CUDA through pinned memory, beside the device's work.

    On CUDA there is one stream for each direction: nothing waits but `arrived` (the device) and `wait` (the host).

    Args:
        device: Where tensors are used; on a CPU there is nothing to gain, but the same copies are made.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._streams = (torch.cuda.Stream(device), torch.cuda.Stream(device)) if device.type == "cuda" else None

    @torch.no_grad()
    def to_device(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Start copying to the device; use the results after `arrived`.

        Args:
            tensors: On the host.

        Returns:
            New tensors on the device.
        """
        if self._streams is None:
            return [_copy(tensor, torch.empty_like(tensor, device=self.device)) for tensor in tensors]
        working = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._streams[0]):
            found = [_copy(tensor, torch.empty_like(tensor, device=self.device)) for tensor in tensors]
        for tensor in found:
            tensor.record_stream(working)
        return found

    @torch.no_grad()
    def to_host(self, tensors: Sequence[Tensor], buffers: Sequence[Tensor | None]) -> list[Tensor]:
        """Start copying to the host; read the results after `wait`.

        Args:
            tensors: On the device.
            buffers: Earlier results to write into again.

        Returns:
            Tensors on the host.
        """
        found = [self._buffer(*pair) for pair in zip(tensors, buffers, strict=True)]
        if self._streams is None:
            return [_copy(*pair) for pair in zip(tensors, found, strict=True)]
        leaving = self._streams[1]
        leaving.wait_stream(torch.cuda.current_stream(self.device))
        leaving.wait_stream(self._streams[0])
        with torch.cuda.stream(leaving):
            for tensor, buffer in zip(tensors, found, strict=True):
                _copy(tensor, buffer)
                tensor.record_stream(leaving)
        return found

    def arrived(self) -> None:
        """Let what is asked of the device from now on wait for all that `to_device` has started."""
        if self._streams is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._streams[0])

    def wait(self) -> None:
        """Wait until all that `to_host` has started is there."""
        if self._streams is not None:
            self._streams[1].synchronize()

    def _buffer(self, tensor: Tensor, buffer: Tensor | None) -> Tensor:
        pinned = self._streams is not None
        if buffer is not None and buffer.shape == tensor.shape and buffer.is_pinned() == pinned:
            return buffer
        return torch.empty_like(tensor, device="cpu", pin_memory=pinned)


def _copy(source: Tensor, target: Tensor) -> Tensor:
    return target.copy_(source, non_blocking=True)
