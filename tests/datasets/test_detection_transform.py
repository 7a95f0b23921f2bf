from __future__ import annotations

import pickle

import pytest
import torch

from locallearn.datasets import shapes
from locallearn.datasets.detection_transform import DetectionTransform
from locallearn.datasets.shapes import Shapes
from locallearn.errors import InputError

torch.set_num_threads(1)
SAMPLES = Shapes(count=20)


def drawn_until(transform, sample, wanted):
    for seed in range(50):
        torch.manual_seed(seed)
        found = transform(*sample)
        if wanted(*found):
            return found
    raise AssertionError("never drawn")


def test_testing_only_makes_floats() -> None:
    image, target = SAMPLES[0]
    found, same = DetectionTransform().testing(shapes.SPEC)(image, target)
    assert torch.equal(found, image.float() / 255) and same is target


def test_mirrored_images_have_mirrored_boxes_and_masks() -> None:
    image, target = SAMPLES[1]
    transform = DetectionTransform().training(shapes.SPEC)
    found, mirrored = drawn_until(transform, (image, target), lambda found, _: not torch.equal(found, image / 255))
    assert torch.equal(found, image.flip(2).float() / 255) and type(found) is torch.Tensor
    x1, y1, x2, y2 = target["boxes"].unbind(1)
    assert torch.equal(mirrored["boxes"], torch.stack([128 - x2, y1, 128 - x1, y2], 1))
    assert type(mirrored["boxes"]) is torch.Tensor
    assert torch.equal(mirrored["masks"], target["masks"].flip(2))
    assert torch.equal(mirrored["labels"], target["labels"]) and mirrored["image_id"] == target["image_id"]
    drawn_until(transform, (image, target), lambda found, _: torch.equal(found, image / 255))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_images_keep_their_size_and_boxes_fit_their_masks(factor) -> None:
    transform = DetectionTransform(flip=False, min_scale=factor, max_scale=factor).training(shapes.SPEC)
    dropped = 0
    for index in range(len(SAMPLES)):
        image, target = SAMPLES[index]
        torch.manual_seed(index)
        found, scaled = transform(image, target)
        assert found.shape == image.shape and found.min() >= 0 and found.max() <= 1
        count = len(scaled["labels"])
        dropped += len(target["labels"]) - count
        assert len(scaled["boxes"]) == len(scaled["masks"]) == count
        for mask, box in zip(scaled["masks"], scaled["boxes"], strict=True):
            rows, columns = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
            around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert box.min() >= 0 and box.max() <= 128
            # A box that was cut is at least as large as what is left of its mask.
            assert (around[:2] >= box[:2] - 1).all() and (around[2:] <= box[2:] + 1).all()
    assert (dropped > 0) == (factor > 1)


def test_shrunk_images_are_padded_with_grey() -> None:
    image, target = SAMPLES[0]
    found, scaled = DetectionTransform(flip=False, min_scale=0.5, max_scale=0.5).training(shapes.SPEC)(image, target)
    assert (found[:, 64:] == 128 / 255).all() and (found[:, :, 64:] == 128 / 255).all()
    assert torch.allclose(scaled["boxes"], target["boxes"] / 2)


def test_images_of_other_shapes_and_without_objects_or_masks() -> None:
    image = torch.randint(0, 256, (3, 40, 70), dtype=torch.uint8)
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "image_id": torch.tensor(3)}
    found, same = DetectionTransform(min_scale=0.6, max_scale=1.5).training(shapes.SPEC)(image, target)
    assert found.shape == image.shape and same["boxes"].shape == (0, 4)


def test_transforms_can_be_sent_to_workers() -> None:
    for make in (DetectionTransform().training, DetectionTransform().testing):
        pickle.loads(pickle.dumps(make(shapes.SPEC)))(*SAMPLES[0])


@pytest.mark.parametrize("scales", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_scales_out_of_order_are_refused(scales) -> None:
    with pytest.raises(InputError, match="min_scale and max_scale"):
        DetectionTransform(min_scale=scales[0], max_scale=scales[1])
