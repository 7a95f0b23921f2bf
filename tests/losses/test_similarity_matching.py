from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from locallearn.errors import InputError
from locallearn.losses import similarity_matching, similarity_matrix
from reference import losses as reference

SHAPES = [(6, 5, 3, 4), (6, 4, 2, 1), (6, 3, 4, 4), (6, 5, 1, 4), (6, 7), (6, 3, 5)]
LABELS = torch.tensor([0, 1, 2, 0, 1, 3])


def drawn(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_formula_and_so_does_its_gradient(shape: tuple[int, ...]) -> None:
    fast, slow = drawn(shape), drawn(shape)
    loss, truth = similarity_matching(fast, LABELS, 4), reference.similarity_matching(slow, LABELS, 4)
    loss.backward()
    truth.backward()
    torch.testing.assert_close(loss, truth, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradcheck(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(lambda x: similarity_matching(x, LABELS, 4), drawn(shape))


def test_maps_are_compared_by_the_deviation_of_their_channels() -> None:
    maps = drawn((4, 5, 3, 3)).detach()
    by_hand = torch.corrcoef(maps.std((2, 3)))
    torch.testing.assert_close(similarity_matrix(maps), by_hand, rtol=1e-6, atol=1e-7)
    flat = torch.corrcoef(maps[:, :3].flatten(1))
    torch.testing.assert_close(similarity_matrix(maps[:, :3]), flat, rtol=1e-6, atol=1e-7)


def test_the_target_of_different_classes_depends_on_their_number() -> None:
    same = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 0])]
    assert similarity_matching(same, torch.tensor([0, 1, 2, 0]), 3) < 1e-14
    assert similarity_matching(same, torch.tensor([0, 1, 2, 0]), 10) > 0.01


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
@settings(deadline=None, max_examples=20)
def test_a_sample_may_be_scaled_and_shifted(seed: int, scale: float, shift: float) -> None:
    features = drawn((5, 6), seed).detach()
    moved = torch.cat([features[:1] * scale + shift, features[1:]])
    torch.testing.assert_close(similarity_matrix(moved), similarity_matrix(features), rtol=1e-5, atol=1e-5)


def test_positions_and_channels_may_be_permuted_and_samples_too() -> None:
    maps, order = drawn((6, 5, 3, 4)).detach(), torch.tensor([3, 0, 5, 1, 4, 2])
    loss = similarity_matching(maps, LABELS, 4)
    for moved in (maps.flip(2, 3), maps.flip(1), maps.transpose(2, 3)):
        torch.testing.assert_close(similarity_matching(moved, LABELS, 4), loss)
    torch.testing.assert_close(similarity_matching(maps[order], LABELS[order], 4), loss)


def dead_maps() -> torch.Tensor:
    """Samples: zero; constant channels; equal deviations in all channels; equal up to rounding; alive; alive."""
    maps = drawn((6, 5, 3, 4), 1).detach()
    maps[0] = 0
    maps[1] = torch.arange(5.0)[:, None, None]
    maps[2] = maps[2, :1]
    maps[3] = maps[3, :1].flatten()[torch.stack([torch.randperm(12) for _ in range(5)])].view(5, 3, 4)
    return maps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dead_samples_are_dissimilar_from_nothing_and_get_no_gradient(dtype: torch.dtype) -> None:
    maps = dead_maps().to(dtype).requires_grad_()
    similarity_matching(maps, LABELS, 4).backward()
    assert maps.grad is not None
    assert maps.grad.dtype == dtype
    assert maps.grad[:4].eq(0).all()
    assert maps.grad[4:].ne(0).any() and maps.grad.isfinite().all()
    assert similarity_matrix(maps)[:4].eq(0).all()


def test_dead_vectors_get_no_gradient_and_one_dead_channel_harms_nobody() -> None:
    rows = torch.stack([torch.zeros(5), torch.full((5,), 0.3), torch.arange(5.0)]).requires_grad_()
    similarity_matching(rows, torch.tensor([0, 1, 0]), 2).backward()
    assert rows.grad is not None and rows.grad[:2].eq(0).all() and rows.grad.isfinite().all()
    maps = drawn((3, 5, 3, 3)).detach()
    maps[0, 2] = 7.0
    maps.requires_grad_()
    similarity_matching(maps, torch.tensor([0, 1, 0]), 2).backward()
    assert maps.grad is not None and maps.grad[0, 2].eq(0).all() and maps.grad[0, 1].ne(0).all()


@given(
    st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.sampled_from(["float32", "bfloat16"])
)
@settings(deadline=None, max_examples=40)
def test_any_shape_is_finite(batch: int, channels: int, height: int, width: int, dtype: str) -> None:
    maps = drawn((batch, channels, height, width)).detach().relu().to(getattr(torch, dtype)).requires_grad_()
    loss = similarity_matching(maps, torch.arange(batch) % 3, 3)
    loss.backward()
    assert loss.isfinite() and maps.grad is not None and maps.grad.isfinite().all()


def test_a_large_mean_does_not_drown_the_deviations() -> None:
    maps = drawn((4, 5, 4, 4)).detach()
    shifted = (maps + 1000).float()
    torch.testing.assert_close(similarity_matrix(shifted), similarity_matrix(maps).float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    maps = drawn((6, 5, 4, 4)).detach().to(dtype)
    exact = similarity_matching(maps.double(), LABELS, 4).float()
    torch.testing.assert_close(similarity_matching(maps, LABELS, 4), exact, rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(similarity_matching(maps, LABELS, 4), exact, rtol=1e-5, atol=1e-6)


def test_runs_without_data() -> None:
    maps = torch.empty((6, 5, 4, 4), device="meta", requires_grad=True)
    assert similarity_matching(maps, LABELS.to("meta"), 4).shape == ()


def test_channels_last_gives_the_same_gradient() -> None:
    plain, last = (
        drawn((6, 5, 4, 4)),
        drawn((6, 5, 4, 4)).detach().to(memory_format=torch.channels_last).requires_grad_(),
    )
    similarity_matching(plain, LABELS, 4).backward()
    similarity_matching(last, LABELS, 4).backward()
    torch.testing.assert_close(last.grad, plain.grad)


def test_only_the_map_itself_is_kept_for_the_backward_pass() -> None:
    maps = torch.randn(4, 8, 16, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        similarity_matching(maps, torch.tensor([0, 1, 0, 1]), 2)
    assert sum(kept.values()) < maps.nbytes * 1.1


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        similarity_matching(torch.randn(3, 4), torch.zeros(3, dtype=torch.long), 1)


def test_the_reported_loss_holds_one_number():
    loss = similarity_matching(torch.randn(64, 8, 4, 4), torch.randint(4, (64,)), 4)
    assert loss.detach().untyped_storage().nbytes() == 4
