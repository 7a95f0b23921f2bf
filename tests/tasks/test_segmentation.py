"""One step of segmentation against plain autograd and against blocks run one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import locallearn as ll
from locallearn.metrics import MeanIoU
from locallearn.networks import build
from locallearn.networks.segmenters import dilate
from locallearn.tasks import Segmentation
from locallearn.training.assembly import check_last_batch

torch.set_num_threads(1)
SIZE = 24


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    resized = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=True)
    return F.cross_entropy(resized, labels, ignore_index=255)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torchvision's kind of network, with a side output, on a ResNet of one block a stage."""
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import BasicBlock, ResNet
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    torch.manual_seed(0)
    resnet = ResNet(BasicBlock, [1, 1, 1, 1])
    dilate(resnet, ["layer3", "layer4"])
    body = IntermediateLayerGetter(resnet, {"layer3": "aux", "layer4": "out"})
    built = FCN(body, FCNHead(512, 5), FCNHead(256, 5)).double()
    for module in built.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return built


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (2, SIZE, SIZE), generator=generator)
    labels[:, :5] = 255
    return images, labels


def model_of(network: nn.Module, method: ll.Method) -> ll.LocalModel:
    torch.manual_seed(2)
    blocks = ll.partition(network, torch.zeros(2, 3, SIZE, SIZE, dtype=torch.float64), num_blocks=4)
    model = ll.LocalModel(blocks, method, Segmentation(5))
    for module in model.objectives.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return model


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def assert_equal_gradients(found: nn.Module, wanted: nn.Module) -> None:
    mine, theirs = gradients(found), gradients(wanted)
    assert mine.keys() == theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def test_back_propagation_is_plain_autograd(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    model, plain = model_of(deepcopy(network), ll.Backprop()), deepcopy(network)
    (output,) = model.local_backward(images, labels, keep_logits=True)
    logits = plain(images)
    loss = cross_entropy(logits["out"], labels) + 0.4 * cross_entropy(logits["aux"], labels)
    loss.backward()
    torch.testing.assert_close(output.loss, loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(output.logits, logits["out"].detach(), rtol=1e-12, atol=1e-12)
    assert_equal_gradients(model.network, plain)


def stages(network: Any, images: Tensor) -> Iterator[Tensor]:
    """The four stages of a body, each on what the one before gave, without its gradient."""
    body = network.backbone
    entry = images
    for names in (("conv1", "bn1", "relu", "maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",)):
        for name in names:
            entry = body[name](entry)
        yield entry
        entry = entry.detach()


@pytest.mark.parametrize("base", [ll.DGL(), ll.InfoPro(task_loss="cross_entropy")], ids=["dgl", "infopro"])
def test_local_gradients_are_those_of_blocks_run_one_by_one(
    network: nn.Module, data: tuple[Tensor, Tensor], base: ll.Method
) -> None:
    images, labels = data
    points = ("backbone.layer1", "backbone.layer2", "backbone.layer3")
    torch.manual_seed(2)
    example = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.float64)
    model = ll.LocalModel(ll.partition(deepcopy(network), example, split_points=points), base, Segmentation(5))
    for module in model.objectives.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    slow: Any = deepcopy(network)
    objectives: Any = deepcopy(model.objectives)
    outputs = model.local_backward(images, labels)
    kept = list(stages(slow, images))
    losses = []
    for features, objective in zip(kept[:3], objectives[:3], strict=True):
        terms = {term.name: term.auxiliary(features) for term in objective.terms}
        loss = cross_entropy(terms["prediction"], labels)
        weights = {term.name: term.weight for term in objective.terms}
        total = weights["prediction"] * loss
        if "reconstruction" in terms:
            total = total + weights["reconstruction"] * F.binary_cross_entropy_with_logits(
                terms["reconstruction"], images
            )
        losses.append(total)
    logits = slow.classifier(kept[3])
    auxiliary = slow.aux_classifier(kept[2].detach())
    full = [F.interpolate(each, size=(SIZE, SIZE), mode="bilinear") for each in (logits, auxiliary)]
    losses.append(cross_entropy(full[0], labels) + 0.4 * cross_entropy(full[1], labels))
    for loss in losses:
        loss.backward()
    for output, loss in zip(outputs, losses, strict=True):
        torch.testing.assert_close(output.loss, loss.detach(), rtol=1e-10, atol=0)
    assert_equal_gradients(model.network, slow)
    assert_equal_gradients(model.objectives, objectives)


METHODS: dict[str, ll.Method] = {
    "man": ll.MAN(ll.DGL()),
    "infopro+man": ll.MAN(ll.InfoPro(task_loss="cross_entropy")),
    "auglocal": ll.AugLocal(),
    "dgl+mlaan": ll.MLAAN(ll.DGL()),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_look_ahead_take_a_step(network: nn.Module, data: tuple[Tensor, Tensor], name: str) -> None:
    images, labels = data
    model = model_of(deepcopy(network), METHODS[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    outputs = model.local_backward(images, labels, keep_logits=True)
    optimizer.step()
    model.after_step()
    assert all(output.loss.isfinite() for output in outputs)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.network.parameters())
    for output in outputs:
        assert output.logits is not None and output.logits.shape[:2] == (2, 5)
        right, counted = model.task.hits(output.logits, labels) or (0, 0)
        assert 0 <= right <= counted
    network.load_state_dict(model.network.state_dict())


def test_methods_that_compare_samples_are_refused(network: nn.Module) -> None:
    for method in (ll.PredSim(), ll.InfoPro()):
        with pytest.raises(ll.InputError, match="Segmentation has none; use another method"):
            model_of(network, method)


def test_a_batch_of_nothing_but_void_teaches_nothing(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    model = model_of(deepcopy(network), ll.DGL())
    outputs = model.local_backward(images, torch.full_like(labels, 255))
    assert all(output.loss == 0 for output in outputs)
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_hits_are_the_right_pixels_at_the_logits_resolution() -> None:
    task = Segmentation(3)
    labels = torch.tensor([[[0, 9, 1, 9], [9, 9, 9, 9], [255, 9, 2, 9], [9, 9, 9, 9]]])
    logits = F.one_hot(torch.tensor([[[0, 2], [0, 2]]]), 3).permute(0, 3, 1, 2).float()
    right, counted = task.hits(logits, labels)
    assert (int(right), int(counted)) == (2, 3)
    own = F.one_hot(torch.tensor([[[0, 1]]]), 3).permute(0, 3, 1, 2).float()
    assert [int(each) for each in task.hits(own, torch.tensor([[[0, 255]]]))] == [1, 1]


def test_a_network_that_returns_a_tensor_is_scored_alike(data: tuple[Tensor, Tensor]) -> None:
    _, labels = data
    logits = torch.randn(2, 5, 8, 8, dtype=torch.float64)
    task = Segmentation(5)
    # As the metric resizes what the network returns; local heads align the corners.
    full = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    wanted = F.cross_entropy(full, labels, ignore_index=255)
    for output in (logits, {"out": logits}):
        torch.testing.assert_close(task.output_loss(nn.Identity(), output, labels), wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(task.loss(logits, labels), cross_entropy(logits, labels), rtol=1e-12, atol=0)
    assert torch.equal(task.prediction({"out": logits}), logits) and torch.equal(task.prediction(logits), logits)
    assert task.fits((5, 8, 8)) and not task.fits((5,)) and not task.fits((4, 8, 8))
    assert task.blank_targets(torch.zeros(2, 3, 6, 7)).shape == (2, 6, 7)
    assert isinstance(task.metric(), MeanIoU) and task.num_outputs == 5


def refused_labels() -> dict[str, Callable[[], object]]:
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    return {
        r"int64 of shape \(N, H, W\), not torch.float32 \(2, 4, 4\)": lambda: labels.float(),
        r"not torch.int64 \(2,\)": lambda: labels[:, 0, 0],
        r"not 'labels'": lambda: "labels",
        r"Targets are \(1, 4, 4\) for 2 images": lambda: labels[:1],
        "Label maps hold -1, 5, 254; the classes are 0 to 4, and 255": lambda: (
            torch.tensor([-1, 0, 5, 254, 255, 4]).view(1, 2, 3).expand(2, 2, 3)
        ),
    }


@pytest.mark.parametrize("message", refused_labels())
def test_labels_that_do_not_fit_are_refused(message: str) -> None:
    with pytest.raises(ll.InputError, match=message):
        Segmentation(5).check_targets(refused_labels()[message](), 2)  # type: ignore[arg-type]


def test_labels_of_another_size_than_the_images_are_refused(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    model = model_of(deepcopy(network), ll.DGL())
    with pytest.raises(ll.InputError, match=r"Label maps are \(24, 12\) \(H, W\) and images \(24, 24\)"):
        model.local_backward(images, labels[:, :, ::2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x.numpy(), y), r"one tensor \(N, ...\), not a ndarray of float64 \(2, 3, 24, 24\): torch.as"),
        (lambda x, y: (list(x), y), "not a list of 2"),
        (lambda x, y: ((255 * x).to(torch.uint8), y), r"floating-point images .* torch.uint8 .* divided by 255"),
        (lambda x, y: (x, y.numpy()), r"not a ndarray of int64 \(2, 24, 24\): torch.as_tensor"),
        (lambda x, y: (x, y.float()), r"not torch.float32 \(2, 24, 24\): torch.as_tensor"),
        (lambda x, y: (x, y.tolist()), "not a list of 2: torch.as_tensor"),
    ],
)
def test_other_kinds_of_images_and_labels_are_named(
    network: nn.Module, data: tuple[Tensor, Tensor], change: Callable[..., tuple[Any, Any]], message: str
) -> None:
    with pytest.raises(ll.InputError, match=message):
        model_of(network, ll.DGL()).local_backward(*change(*data))


@pytest.mark.parametrize("method", [ll.Backprop(), ll.DGL()], ids=["backprop", "dgl"])
def test_one_image_is_too_few_for_the_pooled_branch_of_deeplab(method: ll.Method) -> None:
    network = build("deeplabv3", 3, backbone="resnet18")
    model = ll.LocalModel(ll.partition(network, torch.zeros(1, 3, 32, 32), num_blocks=2), method, Segmentation(3))
    image, labels = torch.rand(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.int64)
    with pytest.raises(ll.InputError, match=r"batch of one sample.*drop_last=True.*zero_grad"):
        model.local_backward(image, labels)
    with pytest.raises(ll.InputError, match="leave one image for the last batch"):
        check_last_batch(model, 5, 2)
    network.classifier[0].convs[-1].eval()
    model.zero_grad()
    assert all(output.loss.isfinite() for output in model.local_backward(image, labels))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: Segmentation(1), "at least 2 classes, not 1"),
        (lambda: Segmentation(300), "ignore_index = 255 is one of the 300 classes"),
        (lambda: Segmentation(3, auxiliary_weight=-1), "auxiliary_weight must be at least 0"),
        (lambda: Segmentation(3).labels(torch.zeros(1, 1, 1)), "none for a whole sample"),
        (lambda: Segmentation(3).loss(torch.zeros(2, 3), torch.zeros(2, 4, 4)), r"\(N, 3, h, w\), not \(2, 3\)"),
        (lambda: Segmentation(3).output_loss(nn.Identity(), [], torch.zeros(1)), "Identity returns list"),
    ],
)
def test_what_cannot_be_is_refused(refused: Callable[[], object], message: str) -> None:
    with pytest.raises(ll.InputError, match=message):
        refused()
