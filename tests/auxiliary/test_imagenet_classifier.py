from __future__ import annotations

import pytest
import torch
from torch import nn

from locallearn.auxiliary import ImageNetClassifier
from reference.compare import assert_same_values_and_gradients

IMAGE = (3, 224, 224)
FROM_512, FROM_1024 = [(128, 1), (256, 3), (512, 3), (2048, 1)], [(256, 1), (256, 3), (512, 3), (2048, 1)]
FROM_56 = [(64, 1), (128, 3), (256, 3), (512, 3), (2048, 1)]
Layers = list[tuple[int, int]]


def plain(channels: int, layers: Layers, outputs: int) -> nn.Sequential:
    """Each layer is a width and a kernel; those of 3x3 have stride 2."""
    modules: list[nn.Module] = []
    for width, kernel in layers:
        conv = nn.Conv2d(channels, width, kernel, 2 if kernel == 3 else 1, kernel // 2, bias=False)
        modules += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def layers_of(head: ImageNetClassifier) -> Layers:
    convs = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.stride == ((2, 2) if conv.kernel_size == (3, 3) else (1, 1)) for conv in convs)
    return [(conv.out_channels, conv.kernel_size[0]) for conv in convs]


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((512, 28, 28), FROM_512),
        ((1024, 14, 14), FROM_1024),
        ((256, 56, 56), FROM_56),
        ((64, 56, 56), FROM_56),
        ((128, 28, 28), FROM_512),
        ((256, 14, 14), FROM_1024),
        ((2048, 7, 7), [(512, 1), (256, 3), (512, 3), (2048, 1)]),
        ((64, 112, 112), [(32, 1), (64, 3), (128, 3), (256, 3), (512, 3), (2048, 1)]),
        ((48, 14, 14), [(48, 1), *FROM_1024[1:]]),
    ],
)
def test_layers(shape: tuple[int, ...], layers: Layers) -> None:
    assert layers_of(ImageNetClassifier(shape, 10, IMAGE)) == layers


def test_vectors_have_kernels_of_one_pixel() -> None:
    head = ImageNetClassifier((768,), 10, IMAGE)
    kernels = [(m.out_channels, m.kernel_size) for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(width, (1, 1)) for width in (512, 256, 512, 2048)]
    assert head(torch.randn(2, 768)).shape == (2, 10)


def test_published_size() -> None:
    head, slow = ImageNetClassifier((512, 28, 28), 1000, IMAGE), plain(512, FROM_512, 1000)
    assert sum(p.numel() for p in head.parameters()) == sum(p.numel() for p in slow.parameters()) == 4_643_560


@pytest.mark.parametrize(("shape", "layers"), [((512, 4, 4), FROM_512), ((256, 7, 5), FROM_56)])
def test_equals_the_plain_form_and_so_do_its_gradients(shape: tuple[int, int, int], layers: Layers) -> None:
    torch.manual_seed(0)
    image = (3, 32, 32) if layers is FROM_512 else (3, 28, 20)
    head, slow = ImageNetClassifier(shape, 5, image).double(), plain(shape[0], layers, 5).double()
    slow.load_state_dict(dict(zip(slow.state_dict(), head.state_dict().values(), strict=True)))
    maps = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((head(maps) * weight).sum(), list(head.parameters())),
        torch.autograd.grad((slow(maps) * weight).sum(), list(slow.parameters())),
    )
    assert_same_values_and_gradients(head(maps), slow(maps), [maps], weight)


def test_initial_values_and_width() -> None:
    torch.manual_seed(0)
    head = ImageNetClassifier((64, 4, 4), 7, (3, 32, 32), widen=0.25)
    assert [width for width, _ in layers_of(head)] == [16, 64, 128, 512] and head.linear.out_features == 7
    assert head.convs[2].conv.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.03)
