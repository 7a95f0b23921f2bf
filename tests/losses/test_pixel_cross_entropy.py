from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from locallearn.losses import pixel_cross_entropy as module
from locallearn.losses.pixel_cross_entropy import pixel_cross_entropy
from locallearn.planning.bytes_alive import BytesAlive

torch.set_num_threads(1)


def plain(logits: Tensor, labels: Tensor) -> Tensor:
    resized = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=True)
    return F.cross_entropy(resized, labels, ignore_index=255)


def case(size: tuple[int, int] = (7, 9)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (5, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    labels[1] = 255
    return logits, labels


@pytest.mark.parametrize("size", [(7, 9), (3, 4), (2, 2)])
@pytest.mark.parametrize("most", [1, 300, 2**24])
def test_equals_the_plain_one_however_many_samples_are_scored_together(
    monkeypatch: pytest.MonkeyPatch, most: int, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(module, "_MOST_VALUES", most)
    logits, labels = case(size)
    for factor in (1.0, -2.5):
        found, wanted = pixel_cross_entropy(logits, labels), plain(logits, labels)
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=0)
        pair = [torch.autograd.grad(factor * loss, logits)[0] for loss in (found, wanted)]
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-14)


def test_a_graph_that_is_kept_gives_its_gradient_twice() -> None:
    logits, labels = case()
    loss = pixel_cross_entropy(logits, labels)
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_where_no_pixel_counts_loss_and_gradient_are_zero() -> None:
    logits, labels = case()
    loss = pixel_cross_entropy(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_half_precision_is_scored_in_single() -> None:
    logits, labels = case()
    narrow = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = pixel_cross_entropy(narrow, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain(narrow.detach().float(), labels), rtol=1e-6, atol=0)
    loss.backward()
    assert narrow.grad is not None and narrow.grad.dtype == torch.bfloat16


def test_logits_at_the_size_of_the_labels_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_VALUES", 1)
    logits, labels = case((30, 40))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        pixel_cross_entropy(logits, labels)
    assert sorted(kept) == [logits.numel(), labels.numel()]


def test_the_peak_of_a_crop_of_cityscapes_is_a_quarter_of_the_plain_ones() -> None:
    def peak(loss: Callable[[Tensor, Tensor], Tensor]) -> int:
        with FakeTensorMode():
            logits = torch.randn(8, 19, 64, 128, requires_grad=True)
            labels = torch.zeros(8, 512, 1024, dtype=torch.long)
            with BytesAlive(logits, labels) as meter:
                loss(logits, labels).backward()
        return meter.peak

    assert peak(pixel_cross_entropy) < peak(plain) / 4
