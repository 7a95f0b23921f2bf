from __future__ import annotations

import pytest
import torch

from locallearn.datasets.augmentation import normalize
from locallearn.datasets.batches import Batches, Part
from locallearn.datasets.image_set import ImageSet
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.errors import InputError

COUNT = 23


@pytest.fixture
def images(small: DatasetSpec) -> ImageSet:
    pixels = torch.randint(0, 256, (COUNT, *small.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels, torch.arange(COUNT) % 2, small.classes)


def batches(images: ImageSet, spec: DatasetSpec, *, seed: int = 0, size: int = 5, device: str = "cpu") -> Batches:
    return Batches(images, size, spec=spec, seed=seed, augmentation=spec.augmentation, device=device, shuffle=True)


def test_resumed_in_the_middle_the_rest_is_identical(images: ImageSet, small: DatasetSpec) -> None:
    whole = list(batches(images, small).epoch(3))
    rest = list(batches(images, small).epoch(3, start=2))
    assert len(whole) == 5
    assert len(rest) == 3
    for (inputs, targets), (inputs_again, targets_again) in zip(whole[2:], rest, strict=True):
        assert torch.equal(inputs, inputs_again)
        assert torch.equal(targets, targets_again)


def test_other_random_numbers_do_not_matter(images: ImageSet, small: DatasetSpec) -> None:
    before = torch.get_rng_state()
    first = [inputs for inputs, _ in batches(images, small).epoch(0)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(map(torch.equal, first, (inputs for inputs, _ in batches(images, small).epoch(0))))


def test_epochs_seeds_and_batches_differ(images: ImageSet, small: DatasetSpec) -> None:
    firsts = [next(batches(images, small, seed=seed).epoch(epoch))[0] for seed in range(3) for epoch in range(3)]
    assert len(torch.stack(firsts).flatten(1).unique(dim=0)) == 9
    same = images.select(torch.zeros(COUNT, dtype=torch.int64))
    batch, other = [inputs for inputs, _ in batches(same, small, size=10).epoch(0)][:2]
    assert not torch.equal(batch, other)


def test_every_image_once_and_the_last_batch_kept(images: ImageSet, small: DatasetSpec) -> None:
    plain = Batches(images, 5, spec=small, seed=0, augmentation=None, device="cpu", shuffle=True)
    seen = list(plain.epoch(0))
    assert len(plain) == len(seen) == 5
    assert [len(targets) for _, targets in seen] == [5, 5, 5, 5, 3]
    inputs = torch.cat([inputs for inputs, _ in seen])
    expected = normalize(images.images, small.mean, small.std)
    assert torch.equal(inputs.flatten(1).unique(dim=0), expected.flatten(1).unique(dim=0))
    assert not torch.equal(inputs, expected)
    assert inputs.dtype == torch.float32
    assert seen[0][1].dtype == torch.int64


def test_labels_follow_their_images(images: ImageSet, small: DatasetSpec) -> None:
    plain = Batches(images, 4, spec=small, seed=0, augmentation=None, device="cpu", shuffle=True)
    originals = normalize(images.images, small.mean, small.std)
    for inputs, targets in plain.epoch(0):
        for image, target in zip(inputs, targets, strict=True):
            (place,) = [index for index, original in enumerate(originals) if torch.equal(image, original)]
            assert images.labels[place] == target


def test_unshuffled_keeps_the_order(images: ImageSet, small: DatasetSpec) -> None:
    plain = Batches(images, 5, spec=small, seed=0, augmentation=None, device="cpu", shuffle=False)
    inputs = torch.cat([inputs for inputs, _ in plain.epoch(7)])
    assert torch.equal(inputs, normalize(images.images, small.mean, small.std))


def test_an_epoch_has_an_end(images: ImageSet, small: DatasetSpec) -> None:
    assert list(batches(images, small).epoch(0, start=5)) == []
    with pytest.raises(InputError, match="batch 6"):
        batches(images, small).epoch(0, start=6)
    with pytest.raises(InputError, match="epoch -1"):
        batches(images, small).epoch(-1)


def test_all_mistakes_at_once(small: DatasetSpec) -> None:
    nothing = ImageSet(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), small.classes)
    with pytest.raises(InputError) as caught:
        Batches(nothing, 0, spec=small, seed=-1, augmentation=None, device="cpu", shuffle=False)
    for said in (
        "no images",
        "(3, 4, 4); small has (3, 4, 6)",
        "batch_size must be at least 1, not 0.",
        "seed must be at least 0, not -1.",
    ):
        assert said in str(caught.value)


@pytest.mark.gpu
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_the_same_batches_on_a_gpu(images: ImageSet, small: DatasetSpec, padding: str) -> None:
    augmentation = Augmentation(pad=2, padding=padding, flip=True)  # type: ignore[arg-type]
    sides = [
        Batches(images, 5, spec=small, seed=0, augmentation=augmentation, device=device, shuffle=True)
        for device in ("cpu", "cuda")
    ]
    for (inputs, targets), (gpu_inputs, gpu_targets) in zip(*(side.epoch(1) for side in sides), strict=True):
        assert gpu_inputs.device.type == gpu_targets.device.type == "cuda"
        torch.testing.assert_close(gpu_inputs.cpu(), inputs, rtol=0, atol=1e-6)
        assert torch.equal(gpu_targets.cpu(), targets)


def augmented(images: ImageSet, spec: DatasetSpec, **shares: Part) -> Batches:
    augmentation = Augmentation(pad=1, padding="zeros", flip=True)
    common = {"spec": spec, "seed": 3, "augmentation": augmentation, "device": "cpu", "shuffle": True}
    return Batches(images, 5, **common, **shares)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_of_every_batch_make_the_batch(images: ImageSet, small: DatasetSpec, count: int) -> None:
    whole = list(augmented(images, small).epoch(2))
    shares = [list(augmented(images, small, rows=Part(index, count)).epoch(2)) for index in range(count)]
    for (inputs, targets), *parts in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([x for x, _ in parts]), inputs)  # varied alike, too
        assert torch.equal(torch.cat([y for _, y in parts]), targets)
        sizes = [len(y) for _, y in parts]
        assert max(sizes) - min(sizes) <= 1
    rest = list(augmented(images, small, rows=Part(count - 1, count)).epoch(2, start=3))
    assert all(torch.equal(x, u) for (x, _), (u, _) in zip(rest, shares[-1][3:], strict=True))


@pytest.mark.parametrize(("count", "start"), [(1, 0), (2, 0), (2, 1), (3, 2), (7, 0)])
def test_batches_that_are_dealt_out_are_each_given_once(
    images: ImageSet, small: DatasetSpec, count: int, start: int
) -> None:
    whole = list(augmented(images, small).epoch(1, start=start))
    hands = [list(augmented(images, small, dealt=Part(index, count)).epoch(1, start=start)) for index in range(count)]
    assert sum(map(len, hands)) == len(whole) == 5 - start
    for place, (inputs, targets) in enumerate(whole):
        dealt = hands[place % count][place // count]
        assert torch.equal(dealt[0], inputs) and torch.equal(dealt[1], targets)
