from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from locallearn.auxiliary import UpsamplingDecoder
from locallearn.engine.lean_backward import Lean, lean_backward
from locallearn.errors import InputError
from reference.compare import assert_same_values_and_gradients

Layers = list[tuple[int, int]]


def plain(channels: int, layers: Layers, sizes: Sequence[tuple[int, int]], image_channels: int = 3) -> nn.Sequential:
    """Each hidden layer is a width and a kernel; behind it the map is upsampled, before the next convolution."""
    modules: list[nn.Module] = []
    for (width, kernel), size in zip(layers, sizes, strict=True):
        modules += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU()]
        modules.append(nn.Upsample(size=size, mode="bilinear", align_corners=True))
        channels = width
    return nn.Sequential(*modules, nn.Conv2d(channels, image_channels, 3, padding=1))


EIGHTH: Layers = [(128, 1), (32, 3), (12, 3)]
SIXTEENTH: Layers = [(192, 1), (64, 1), (32, 3), (12, 3)]


def of_squares(*sides: int) -> list[tuple[int, int]]:
    return [(side, side) for side in sides]


def numbers(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "layers", "parameters"),
    [
        ((512, 28, 28), EIGHTH, 106_699),
        ((1024, 28, 28), EIGHTH, 106_699 + 512 * 128),
        ((1024, 14, 14), SIXTEENTH, 232_011),
    ],
)
def test_published_sizes(shape: tuple[int, int, int], layers: Layers, parameters: int) -> None:
    decoder = UpsamplingDecoder(shape, (3, 224, 224))
    slow = plain(shape[0], layers, of_squares(28, 56, 112, 224)[-len(layers) :])
    assert numbers(decoder) == numbers(slow) == parameters
    assert decoder.sizes(torch.empty(1, *shape)) == of_squares(28, 56, 112, 224)[-len(layers) :]


@pytest.mark.parametrize(
    ("shape", "image_shape", "layers", "sizes"),
    [
        ((5, 4, 4), (3, 32, 32), EIGHTH, of_squares(8, 16, 32)),
        ((5, 2, 3), (3, 32, 48), SIXTEENTH, [(4, 6), (8, 12), (16, 24), (32, 48)]),
        ((5, 1, 1), (3, 32, 32), [(192, 1), *SIXTEENTH], of_squares(2, 4, 8, 16, 32)),
        ((5, 8, 8), (3, 32, 32), [(32, 1), (12, 3)], of_squares(16, 32)),
        ((5, 8, 8), (3, 16, 16), [(12, 1)], of_squares(16)),
        ((5, 8, 8), (1, 8, 8), [(12, 1)], of_squares(8)),
        # A crop at stride 8 that is doubled three times, and sides that halve to none of the feature's.
        ((5, 5, 4), (3, 40, 30), EIGHTH, [(10, 8), (20, 15), (40, 30)]),
        ((5, 5, 5), (3, 33, 37), EIGHTH, [(9, 10), (17, 19), (33, 37)]),
        ((5, 7, 9), (3, 13, 18), [(12, 1)], [(13, 18)]),
    ],
)
def test_equals_the_plain_form_and_so_do_its_gradients(
    shape: tuple[int, int, int], image_shape: tuple[int, int, int], layers: Layers, sizes: list[tuple[int, int]]
) -> None:
    torch.manual_seed(0)
    decoder = UpsamplingDecoder(shape, image_shape).double()
    slow = plain(shape[0], layers, sizes, image_shape[0]).double()
    convs = [module for module in slow if isinstance(module, nn.Conv2d)]
    for own, other in zip(decoder.convs, convs, strict=True):
        other.load_state_dict(own.state_dict())
    maps = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, *image_shape, dtype=torch.float64)
    wanted = torch.autograd.grad((slow(maps) * weight).sum(), [p for conv in convs for p in conv.parameters()])
    found = torch.autograd.grad((decoder(maps) * weight).sum(), list(decoder.convs.parameters()))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
    assert_same_values_and_gradients(decoder(maps), slow(maps), [maps], weight)
    decoder.eval()(maps)
    for own, other in zip(decoder.norms, [m for m in slow if isinstance(m, nn.BatchNorm2d)], strict=True):
        torch.testing.assert_close(own.running_var, other.running_var)


@pytest.mark.parametrize("lean", ["in_place", "recompute"])
def test_a_lean_backward_pass_has_the_same_gradients(lean: Lean) -> None:
    torch.manual_seed(0)
    decoder, maps = UpsamplingDecoder((5, 2, 2), (3, 32, 32)).double(), torch.randn(3, 5, 2, 2, dtype=torch.float64)
    maps.requires_grad_()
    inputs = [maps, *decoder.parameters()]
    wanted = torch.autograd.grad(decoder(maps).square().sum(), inputs)
    with lean_backward(lean):
        loss = decoder(maps).square().sum()
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), wanted)


def test_images_of_another_size_are_restored_at_theirs() -> None:
    torch.manual_seed(0)
    built, wide = (UpsamplingDecoder((5, *size), (3, 8 * size[0], 8 * size[1])) for size in ((4, 4), (4, 6)))
    wide.load_state_dict(built.state_dict())
    maps = torch.randn(2, 5, 4, 6)
    assert torch.equal(built(maps), wide(maps)) and built(maps).shape == (2, 3, 32, 48)


def test_initial_values_and_width() -> None:
    torch.manual_seed(0)
    decoder = UpsamplingDecoder((512, 2, 2), (3, 16, 16), widen=2)
    assert [conv.out_channels for conv in decoder.convs] == [256, 64, 24, 3]
    assert decoder.convs[1].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    default = UpsamplingDecoder((512, 2, 2), (3, 16, 16), kaiming=False).convs[1].weight
    assert default.abs().max().item() <= (9 * 128) ** -0.5


@pytest.mark.parametrize("shape", [(64,), (65, 192)])
def test_vectors_and_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="only from a map"):
        UpsamplingDecoder(shape, (3, 32, 32))
