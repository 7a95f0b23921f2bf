from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from locallearn.auxiliary.upsampled_conv import upsampled_conv3x3


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, size: tuple[int, int]) -> torch.Tensor:
    return F.conv2d(F.interpolate(x, size=size, mode="bilinear", align_corners=True), weight, bias, padding=1)


@given(*[st.integers(1, 5)] * 5, st.integers(1, 12), st.integers(1, 12), st.booleans())
@settings(deadline=None, max_examples=60)
def test_equals_a_convolution_of_the_upsampled_map(
    batch: int, channels: int, outputs: int, height: int, width: int, rows: int, columns: int, has_bias: bool
) -> None:
    x, weight, bias = drawn(batch, channels, height, width), drawn(outputs, channels, 3, 3), drawn(outputs)
    inputs = [x, weight, bias] if has_bias else [x, weight]
    fast = upsampled_conv3x3(x, weight, bias if has_bias else None, (rows, columns))
    slow = plain(x, weight, bias if has_bias else None, (rows, columns))
    torch.testing.assert_close(fast, slow)
    gradient = torch.randn_like(slow)
    torch.testing.assert_close(torch.autograd.grad(fast, inputs, gradient), torch.autograd.grad(slow, inputs, gradient))


def test_gradcheck() -> None:
    x, weight, bias = drawn(2, 3, 2, 3), drawn(4, 3, 3, 3), drawn(4)
    assert torch.autograd.gradcheck(lambda *given: upsampled_conv3x3(*given, (5, 7)), (x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast(dtype: torch.dtype) -> None:
    x, weight, bias = drawn(2, 3, 4, 4).float().to(dtype), drawn(4, 3, 3, 3).float(), drawn(4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = upsampled_conv3x3(x, weight, bias, (8, 8))
    assert fast.dtype == torch.bfloat16
    torch.testing.assert_close(fast.float(), plain(x.float(), weight, bias, (8, 8)), rtol=0.05, atol=0.15)


def test_channels_last_input() -> None:
    x, weight = drawn(2, 6, 4, 4), drawn(4, 6, 3, 3)
    last = x.detach().to(memory_format=torch.channels_last)
    torch.testing.assert_close(upsampled_conv3x3(last, weight, None, (8, 8)), plain(x, weight, None, (8, 8)))
