from __future__ import annotations

import pytest
import torch

from locallearn.metrics import TopAccuracy


@pytest.mark.parametrize("classes", [4, 100])
def test_counts_of_two_metrics_add_up(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, classes, generator=generator)
    labels = torch.where(torch.rand(40, generator=generator) < 0.5, logits.argmax(1), torch.arange(40) % classes)
    parts = [TopAccuracy(classes) for _ in range(4)]
    for part, start, stop in zip(parts, (0, 7, 8), (7, 8, 40), strict=False):
        part.update(logits[start:stop], labels[start:stop])
    empty = TopAccuracy(classes)
    for part in (*parts, TopAccuracy(classes)):
        empty.absorb(part)
    ranked = logits.argsort(1, descending=True)[:, :5] == labels[:, None]
    expected = {"accuracy": 100 * ranked[:, 0].float().mean().item()}
    if classes == 100:
        expected["top5_accuracy"] = 100 * ranked.any(1).float().mean().item()
    assert empty.results() == pytest.approx(expected)
    parts[0].absorb(TopAccuracy(classes))
    assert parts[0].results()["accuracy"] == pytest.approx(100 * ranked[:7, 0].float().mean().item())
