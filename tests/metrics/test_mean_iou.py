from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor

from locallearn.errors import InputError
from locallearn.metrics import MeanIoU

torch.set_num_threads(1)


def batches(classes: int, absent: int | None = None) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for count in (3, 1):
        logits = torch.randn(count, classes, 6, 5, generator=generator)
        labels = torch.randint(classes, (count, 6, 5), generator=generator)
        if absent is not None:
            logits[:, absent] = -9
            labels[labels == absent] = 0
        labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
        made.append((logits, labels))
    return made


@pytest.mark.parametrize("absent", [None, 2])
def test_equals_scikit_learns_over_the_classes_that_occur(absent: int | None) -> None:
    metric = MeanIoU(5)
    given = batches(5, absent)
    for logits, labels in given:
        metric.update(logits, labels)
    labels = torch.cat([labels.flatten() for _, labels in given])
    predicted = torch.cat([logits.argmax(1).flatten() for logits, _ in given])
    pair = [each[labels != 255].numpy() for each in (labels, predicted)]
    results = metric.results()
    assert results["mean_iou"] == pytest.approx(100 * jaccard_score(*pair, average="macro"))
    assert results["pixel_accuracy"] == pytest.approx(100 * accuracy_score(*pair))
    each = 100 * jaccard_score(*pair, average=None, labels=range(5), zero_division=0)
    found = metric.class_iou()
    assert [0 if index == absent else found[index] for index in range(5)] == pytest.approx(each.tolist())
    assert math.isnan(found[2]) == (absent == 2)


@pytest.mark.parametrize("stranger", [-1, 3, 4, 254])
def test_labels_that_are_no_class_are_refused(stranger: int) -> None:
    labels = torch.tensor([[[0, 255, stranger, 2]]])
    with pytest.raises(InputError, match=f"Label maps hold {stranger}; the classes are 0 to 2, and 255"):
        MeanIoU(3).update(torch.zeros(1, 3, 1, 4), labels)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    metric = MeanIoU(3)
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, :, 0] = torch.eye(3)[:, [0, 0, 0, 2]]
    metric.update(logits, torch.zeros(1, 1, 4, dtype=torch.long))
    assert metric.class_iou()[0] == 75 and metric.class_iou()[2] == 0
    assert metric.results() == {"mean_iou": 37.5, "pixel_accuracy": 75.0}


def test_small_logits_are_resized_to_the_labels_and_dictionaries_are_read() -> None:
    metric, large = MeanIoU(2), MeanIoU(2)
    logits = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(2, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    metric.update({"out": logits, "aux": -logits}, labels)
    large.update(torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear"), labels)
    assert torch.equal(metric.confusion, large.confusion) and int(metric.confusion.sum()) == 128


def test_nothing_counted_is_zero() -> None:
    metric = MeanIoU(3)
    assert metric.results() == {"mean_iou": 0.0, "pixel_accuracy": 0.0}
    metric.update(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), 255))
    assert metric.results() == {"mean_iou": 0.0, "pixel_accuracy": 0.0}


def test_counts_of_two_metrics_add_up() -> None:
    given = batches(5, absent=2)
    whole, parts = MeanIoU(5), [MeanIoU(5) for _ in range(3)]
    for part, (logits, labels) in zip(parts, given, strict=False):
        whole.update(logits, labels)
        part.update(logits, labels)
    empty = MeanIoU(5)
    for part in (*parts, MeanIoU(5)):
        empty.absorb(part)
    assert torch.equal(empty.confusion, whole.confusion) and empty.results() == whole.results()
    parts[0].absorb(parts[1])
    assert torch.equal(parts[0].confusion, whole.confusion)
