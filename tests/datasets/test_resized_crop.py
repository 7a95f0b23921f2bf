from __future__ import annotations

import pickle

import pytest
import torch
from torchvision.transforms import v2

from locallearn.datasets.imagenet import SPEC
from locallearn.datasets.resized_crop import ResizedCrop
from locallearn.errors import InputError


def photo(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(height))


def normalized(image: torch.Tensor) -> torch.Tensor:
    means, stds = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    return (image.float() / 255 - means) / stds


@pytest.mark.parametrize("seed", range(6))
def test_training_is_torchvisions_random_crop_then_mirror(seed: int) -> None:
    image = photo(70, 90)
    torch.manual_seed(seed)
    expected = v2.RandomResizedCrop(32, (0.3, 0.9), antialias=True)(image)
    mirrored = bool(torch.rand(1) < 0.5)
    torch.manual_seed(seed)
    given, target = ResizedCrop(size=32, scale=(0.3, 0.9)).training(SPEC)(image, 7)
    assert target == 7 and given.dtype == torch.float32
    torch.testing.assert_close(given, normalized(expected.flip(2) if mirrored else expected))
    torch.manual_seed(seed)
    plain, _ = ResizedCrop(size=32, scale=(0.3, 0.9), flip=False).training(SPEC)(image, 7)
    torch.testing.assert_close(plain, normalized(expected))


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (10, 12), (1, 1), (256, 256)])
def test_every_image_comes_out_at_one_size(height: int, width: int) -> None:
    for transform in (ResizedCrop().training(SPEC), ResizedCrop().testing(SPEC)):
        assert transform(photo(height, width), 0)[0].shape == (3, 224, 224)


def test_testing_cuts_the_centre_of_the_resized_image() -> None:
    image = photo(64, 96)
    given, _ = ResizedCrop(size=40, test_resize=64).testing(SPEC)(image, 0)
    torch.testing.assert_close(given, normalized(image[:, 12:52, 28:68]))
    small, _ = ResizedCrop(size=16, test_resize=32).testing(SPEC)(image, 0)
    resized = v2.functional.resize(image, [32, 48], antialias=True)
    torch.testing.assert_close(small, normalized(resized[:, 8:24, 16:32]))


def test_the_papers_text_resizes_to_the_crops_own_size() -> None:
    image = photo(224, 300)
    given, _ = ResizedCrop(test_resize=224).testing(SPEC)(image, 0)
    torch.testing.assert_close(given, normalized(image[:, :, 38:262]))


def test_testing_draws_nothing_and_transforms_are_pickled() -> None:
    state = torch.random.get_rng_state()
    transform = pickle.loads(pickle.dumps(ResizedCrop(size=8, test_resize=9).testing(SPEC)))
    transform(photo(20, 20), 0)
    assert torch.equal(state, torch.random.get_rng_state())
    pickle.loads(pickle.dumps(ResizedCrop().training(SPEC)))


def test_impossible_fields_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        ResizedCrop(size=0, scale=(0.5, 0.2), test_resize=-1)
    for field in ("size", "scale", "test_resize"):
        assert f"augmentation.{field}" in str(caught.value)
    with pytest.raises(InputError, match="not 200"):
        ResizedCrop(test_resize=200)
