from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locallearn.errors import InputError
from locallearn.losses import reconstruction
from reference import losses as reference


def drawn(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    logits = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    return logits, torch.rand(shape, dtype=torch.float64, generator=generator)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_equals_the_formula_and_so_does_its_gradient(batch: int, channels: int, height: int, width: int) -> None:
    logits, images = drawn(batch, channels, height, width)
    loss, truth = reconstruction(logits, images), reference.reconstruction(logits, images)
    torch.testing.assert_close(loss, truth)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(truth, logits))


def test_gradcheck() -> None:
    logits, images = drawn(2, 3, 4, 4)
    assert torch.autograd.gradcheck(lambda z: reconstruction(z, images), logits)


def test_the_minimum_is_the_entropy_of_the_image() -> None:
    _, images = drawn(2, 3, 4, 4)
    best = images.logit().requires_grad_()
    loss = reconstruction(best, images)
    torch.testing.assert_close(loss.detach(), torch.distributions.Bernoulli(images).entropy().mean())
    assert torch.autograd.grad(loss, best)[0].abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, images = (tensor.detach().to(dtype) for tensor in drawn(2, 3, 8, 8))
    exact = reconstruction(logits.double(), images.double()).float()
    torch.testing.assert_close(reconstruction(logits, images), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(reconstruction(logits, images.float()), exact)


def test_far_off_logits_stay_finite() -> None:
    logits = torch.tensor([[[[-500.0, 500.0]]]], requires_grad=True)
    loss = reconstruction(logits, torch.tensor([[[[1.0, 0.0]]]]))
    loss.backward()
    assert loss == 500 and logits.grad is not None and logits.grad.isfinite().all()


def test_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(2, 3, 4, 4\).*\(2, 3, 5, 5\)"):
        reconstruction(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 5, 5))
