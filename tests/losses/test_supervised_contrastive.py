from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locallearn.errors import InputError
from locallearn.losses import supervised_contrastive
from reference import losses as reference

LABELS = torch.tensor([0, 1, 2, 0, 1, 0])


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


@given(st.integers(1, 7), st.integers(1, 6), st.integers(1, 4), st.floats(0.05, 2))
@settings(deadline=None, max_examples=40)
def test_equals_the_formula_and_so_does_its_gradient(batch: int, width: int, classes: int, temperature: float) -> None:
    fast, slow, labels = drawn(batch, width), drawn(batch, width), torch.arange(batch) % classes
    loss = supervised_contrastive(fast, labels, temperature)
    truth = reference.supervised_contrastive(slow, labels, temperature)
    loss.backward()
    torch.testing.assert_close(loss, truth)
    assert fast.grad is not None
    if truth.requires_grad:
        truth.backward()
        torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-7, atol=1e-12)
    else:
        assert fast.grad.eq(0).all()


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda x: supervised_contrastive(x, LABELS), drawn(6, 5))


def test_by_hand() -> None:
    features = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    anchor = math.log(math.exp(1 / 0.5) + 1) - 1 / 0.5
    torch.testing.assert_close(
        supervised_contrastive(features, torch.tensor([0, 0, 1]), 0.5), torch.tensor(2 * anchor / 3)
    )


def test_the_batch_may_be_permuted_rotated_and_each_sample_scaled() -> None:
    features, order = drawn(6, 5).detach(), torch.tensor([3, 0, 5, 1, 4, 2])
    loss = supervised_contrastive(features, LABELS)
    torch.testing.assert_close(supervised_contrastive(features[order], LABELS[order]), loss)
    rotation = torch.linalg.qr(drawn(5, 5).detach()).Q
    torch.testing.assert_close(supervised_contrastive(features @ rotation, LABELS), loss)
    torch.testing.assert_close(supervised_contrastive(features * torch.arange(1.0, 7.0)[:, None], LABELS), loss)


def test_one_sample_and_lone_anchors_give_zero_not_nan() -> None:
    for batch in (1, 3):
        features = torch.randn(batch, 4, requires_grad=True)
        loss = supervised_contrastive(features, torch.arange(batch))
        loss.backward()
        assert loss == 0 and features.grad is not None and features.grad.eq(0).all()


def test_a_lone_anchor_still_counts_in_the_batch() -> None:
    pair, lone = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    far = supervised_contrastive(torch.cat([pair, lone]), torch.tensor([0, 0, 1]), 10.0)
    expected = 2 / 3 * (math.log(math.exp(0.1) + 1) - 0.1)
    torch.testing.assert_close(far, torch.tensor(expected))


def test_a_dead_sample_gets_no_gradient_and_harms_nobody() -> None:
    features = torch.cat([torch.zeros(1, 4), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))])
    features.requires_grad_()
    supervised_contrastive(features, torch.tensor([0, 0, 1, 0])).backward()
    assert features.grad is not None and features.grad[0].eq(0).all()
    assert features.grad.isfinite().all() and features.grad[1].ne(0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    features = drawn(6, 5).detach().to(dtype).requires_grad_()
    exact = supervised_contrastive(features.double(), LABELS).float()
    loss = supervised_contrastive(features, LABELS)
    torch.testing.assert_close(loss, exact, rtol=1e-5, atol=1e-6)
    loss.backward()
    assert features.grad is not None and features.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(supervised_contrastive(features, LABELS), exact, rtol=1e-5, atol=1e-6)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="temperature must be above 0, got 0"):
        supervised_contrastive(torch.randn(3, 4), LABELS[:3], 0.0)
