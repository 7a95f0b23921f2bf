from __future__ import annotations

import copy
import re
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import pytest
import torch

import locallearn as ll
from detection_batches import detector, images_and_targets
from locallearn.errors import InputError
from locallearn.tasks.class_map import class_map
from locallearn.tasks.detection import Objects

torch.set_num_threads(1)
KINDS = ("mask_rcnn", "retinanet")


def local_model(network, method, num_blocks=3):
    blocks = ll.partition(network, torch.zeros(2, 3, 64, 64), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Detection(2))


def assert_same_gradients(network, truth):
    for (name, ours), theirs in zip(network.named_parameters(), truth.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad), name


@pytest.mark.parametrize("kind", KINDS)
def test_backprop_gives_the_gradients_of_the_detectors_own_losses(kind):
    network = detector(kind).train()
    truth = copy.deepcopy(network)
    images, targets = images_and_targets()
    model = local_model(network, ll.Backprop())
    torch.manual_seed(5)
    (output,) = model.local_backward(images, targets)
    torch.manual_seed(5)
    losses = truth(images, targets)
    sum(losses.values()).backward()
    assert torch.equal(output.loss, sum(losses.values()).detach())
    assert_same_gradients(network, truth)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), truth.buffers(), strict=True))


def rest_of(network, images, targets, features):
    """What torchvision's detectors do behind their body."""
    features = network.backbone.fpn(features)
    if hasattr(network, "rpn"):
        proposals, losses = network.rpn(images, features, targets)
        return sum({**network.roi_heads(features, proposals, images.image_sizes, targets)[1], **losses}.values())
    features = list(features.values())
    anchors = network.anchor_generator(images, features)
    return sum(network.compute_loss(targets, network.head(features), anchors).values())


@pytest.mark.parametrize("kind", KINDS)
def test_local_gradients_are_those_of_blocks_run_one_by_one(kind):
    network = detector(kind).train()
    truth = copy.deepcopy(network)
    images, targets = images_and_targets()
    model = local_model(network, ll.DGL())
    heads = [copy.deepcopy(objective.terms[0].auxiliary) for objective in model.objectives[:2]]
    torch.manual_seed(5)
    outputs = model.local_backward(images, targets)

    torch.manual_seed(5)
    batch, resized = truth.transform(images, targets)
    body, x, features = truth.backbone.body, batch.tensors, OrderedDict()
    # Units: the stem and four stages of one block; blocks of 1, 2 and 2 units.
    for block, stages in enumerate((("conv1", "bn1", "relu", "maxpool"), ("layer1", "layer2"), ("layer3", "layer4"))):
        x = x.detach()
        features = OrderedDict((name, feature.detach()) for name, feature in features.items())
        for stage in stages:
            x = body[stage](x)
            if stage in body.return_layers:
                features[body.return_layers[stage]] = x
        if block < 2:
            task_loss = ll.Detection(2).loss(heads[block](x), Objects(batch, resized))
            task_loss.backward()
            assert torch.equal(outputs[block].loss, task_loss.detach())
    rest_of(truth, batch, resized, features).backward()
    assert_same_gradients(network, truth)


def painted(image_size, target, num_outputs, size, *, with_masks):
    """Pixel by pixel, larger objects first, then averaged over the cells."""
    height, width = image_size
    classes = torch.zeros(height, width, dtype=torch.int64)
    areas = (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1)
    for index in areas.argsort(descending=True).tolist():
        x1, y1, x2, y2 = (int(corner) for corner in target["boxes"][index])
        inside = torch.zeros(height, width, dtype=torch.bool)
        if with_masks:
            mask = target["masks"][index]
            inside[: mask.shape[0], : mask.shape[1]] = mask.bool()
        else:
            inside[y1:y2, x1:x2] = True
        classes[inside] = target["labels"][index]
    shares = torch.zeros(num_outputs, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            rows, columns = height // size[0], width // size[1]
            cell = classes[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            for label in range(num_outputs):
                shares[label, row, column] = (cell == label).float().mean()
    return shares


@pytest.mark.parametrize("with_masks", [True, False])
@pytest.mark.parametrize("cells", [64, 32, 16])
def test_the_class_map_is_what_is_painted_pixel_by_pixel(with_masks, cells):
    _, targets = images_and_targets()
    if not with_masks:
        targets = [{name: value for name, value in target.items() if name != "masks"} for target in targets]
    found = class_map((64, 64), targets, 3, (cells, cells))
    for shares, target in zip(found, targets, strict=True):
        slow = painted((64, 64), target, 3, (cells, cells), with_masks=with_masks)
        assert torch.allclose(shares, slow, atol=1e-6)


def test_disjoint_masks_that_share_a_cell_are_both_painted_whole():
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)
    masks[0, :, :1], masks[1, :, 1:3] = 1, 1
    target = {"boxes": torch.tensor([[0.0, 0, 1, 4], [1, 0, 3, 4]]), "labels": torch.tensor([2, 1]), "masks": masks}
    assert class_map((4, 4), [target], 3, (1, 1)).flatten().tolist() == [0.25, 0.5, 0.25]


def test_objects_and_background_count_equally():
    network = detector()
    images, targets = images_and_targets()
    task = ll.Detection(2)
    _, objects = task.enter(network, images, targets)
    height, width = objects.images.tensors.shape[-2:]
    logits = torch.randn(3, 3, height // 2, width // 2)
    size = logits.shape[-2:]
    shares = torch.stack([painted((height, width), t, 3, size, with_masks=True) for t in objects.targets])
    entropy = -(shares * logits.log_softmax(1))
    slow = (entropy[:, 0].sum() / shares[:, 0].sum() + entropy[:, 1:].sum() / shares[:, 1:].sum()) / 2
    assert torch.allclose(task.loss(logits, objects), slow, atol=1e-6)


def test_images_without_objects_have_a_loss():
    network = detector().train()
    model = local_model(network, ll.DGL())
    images, targets = images_and_targets()
    losses = [output.loss for output in model.local_backward(images[2:] * 2, targets[2:] * 2)]
    assert torch.stack(losses).isfinite().all()


def test_evaluation_is_the_detectors_own():
    network = detector().eval()
    model = local_model(network, ll.DGL())
    truth = copy.deepcopy(network)
    images, _ = images_and_targets()
    with torch.no_grad():
        for ours, theirs in zip(model(images), truth(images), strict=True):
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_model_trains_all_that_stands_around_the_body():
    network = detector().train()
    model = local_model(network, ll.DGL())
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p in network.parameters())
    last = {id(p) for p in model.window_parameters(2)}
    around = [p for name, p in network.named_parameters() if not name.startswith("backbone.body")]
    assert around and all(id(p) in last for p in around)
    model.local_backward(*images_and_targets())
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("method", [ll.DGL(), ll.Backprop()])
@pytest.mark.parametrize("frozen_norm", [False, True])
def test_a_frozen_body_keeps_its_parameters_and_the_rest_learns(method, frozen_norm):
    network = detector(trainable_layers=0, frozen_norm=frozen_norm or None).train()
    model = local_model(network, method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.1)
    before = copy.deepcopy(dict(network.named_parameters()))
    statistics = copy.deepcopy(dict(network.backbone.body.named_buffers()))
    model.local_backward(*images_and_targets())
    optimizer.step()
    model.after_step()
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("backbone.body."), name
    # Without weights to start from the statistics of BatchNorm move, unless it is frozen too.
    moved = [n for n, buffer in network.backbone.body.named_buffers() if not torch.equal(buffer, statistics[n])]
    assert any(name.endswith("running_mean") for name in moved) != frozen_norm and bool(moved) != frozen_norm


CROSS_ENTROPY = ll.InfoPro(task_loss="cross_entropy")


@pytest.mark.parametrize(
    "method",
    [
        ll.MAN(ll.DGL()),
        CROSS_ENTROPY,
        replace(CROSS_ENTROPY, decoder="segmentation"),
        ll.MAN(CROSS_ENTROPY),
        ll.MLAAN(ll.DGL()),
        ll.AugLocal(ll.DGL()),
    ],
    ids=["dgl+man", "infopro", "infopro_doubling", "infopro+man", "mlaan", "auglocal"],
)
def test_methods_take_a_step(method):
    network = detector().train()
    blocks = ll.partition(network, torch.zeros(2, 3, 64, 64), num_blocks=3)
    norm = (tuple(network.transform.image_mean), tuple(network.transform.image_std))
    model = ll.LocalModel(blocks, method, ll.Detection(2), normalization=norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, targets = images_and_targets()
    # Neither batch has the size that the network was cut with.
    sides = (64, 40), (64, 100)
    for height, width in sides:
        more = torch.rand(3, height, width)
        outputs = model.local_backward([images[1], more], [targets[1], ll.Detection(2).blank_targets(more[None])[0]])
        optimizer.step()
        model.after_step()
        assert all(output.loss.isfinite() for output in outputs)


@pytest.mark.parametrize("name", ["predsim"])
def test_methods_that_compare_samples_are_refused(name):
    with pytest.raises(InputError, match="Detection has none"):
        local_model(detector(), ll.method(name))


def test_a_few_steps_lower_the_loss():
    network = detector().train()
    model = local_model(network, ll.DGL())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    images, targets = images_and_targets()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(torch.stack([output.loss for output in model.local_backward(images, targets)]))
        optimizer.step()
    assert (losses[-1] < losses[0]).all()


def broken(**changes):
    images, targets = images_and_targets()
    targets[1] = targets[1] | changes
    return images, targets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": torch.tensor([[5.0, 5.0, 5.0, 9.0]])}, r"targets\[1\]\['boxes'\]\[0\] is \[5.0, 5.0, 5.0, 9.0\]"),
        ({"boxes": torch.tensor([[5.0, 5.0, float("nan"), 9.0]])}, r"targets\[1\]\['boxes'\]\[0\]"),
        ({"boxes": torch.zeros(1, 5)}, r"targets\[1\]\['boxes'\] must be .* not torch.float32 \(1, 5\)"),
        ({"labels": torch.tensor([0])}, r"targets\[1\] has labels \[0\]; those of objects are 1 to 2"),
        ({"labels": torch.tensor([3])}, r"targets\[1\] has labels \[3\]"),
        ({"labels": torch.tensor([1.0])}, r"targets\[1\]\['labels'\] must be torch.int64"),
        ({"masks": torch.zeros(2, 64, 40)}, r"targets\[1\]\['masks'\] must be \(1, H, W\)"),
    ],
)
def test_bad_targets_are_named(changes, message):
    model = local_model(detector().train(), ll.DGL())
    with pytest.raises(InputError, match=message):
        model.local_backward(*broken(**changes))


def test_images_and_targets_that_do_not_fit_each_other_are_named_all_at_once():
    model = local_model(detector().train(), ll.DGL())
    images, targets = images_and_targets()
    targets[0]["masks"] = targets[0]["masks"][:, :24, :32]
    targets[1]["boxes"] = torch.tensor([[2.0, 20.0, 360.0, 60.0]])
    images[2] = images[2][:1]
    with pytest.raises(InputError) as caught:
        model.local_backward(images, targets)
    for problem in (
        "targets[0]['masks'] are 24x32 and inputs[0] is 48x64: paint masks at the size of their image.",
        "targets[1]['boxes'][0] is [2.0, 20.0, 360.0, 60.0], outside of inputs[1], which is 64x40 (H, W)",
        "inputs[2] must be floating-point (3, H, W), not torch.float32 (1, 64, 64)",
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize("image", [torch.rand(4, 64, 40), torch.zeros(3, 64, 40, dtype=torch.uint8), None])
def test_other_images_are_named(image):
    model = local_model(detector().train(), ll.DGL())
    images, targets = images_and_targets()
    images[1] = image
    with pytest.raises(InputError, match=r"inputs\[1\] must be floating-point \(3, H, W\), not"):
        model.local_backward(images, targets)


def test_numbers_of_0_to_255_are_named():
    model = local_model(detector().train(), ll.DGL())
    images, targets = images_and_targets()
    images[0] = 255 * images[0]
    targets[1]["masks"] = 255.0 * targets[1]["masks"]
    with pytest.raises(InputError) as caught:
        model.local_backward(images, targets)
    assert re.search(r"inputs\[0\] has values up to 25\d.*give image / 255", str(caught.value))
    assert "targets[1]['masks'] has values up to 255; inside is 1" in str(caught.value)
    assert "inputs[1]" not in str(caught.value) and "targets[0]" not in str(caught.value)
    images[0] = images[0] / 200
    targets[1]["masks"] = targets[1]["masks"].bool()
    assert all(output.loss.isfinite() for output in model.local_backward(images, targets))


def test_detectors_may_be_made_for_images_of_0_to_255():
    network = detector(mean=(123.7, 116.3, 103.5), std=(1.0, 1.0, 1.0))
    images, targets = images_and_targets()
    ll.Detection(2).enter(network, [255 * image for image in images], targets)


def test_arrays_are_named_without_their_contents():
    model = local_model(detector().train(), ll.DGL())
    images, targets = images_and_targets()
    with pytest.raises(InputError, match=r"inputs\[0\] must be .* not a ndarray of float32 \(3, 48, 64\): convert it"):
        model.local_backward([images[0].numpy(), *images[1:]], targets)
    with pytest.raises(InputError, match=r"\['boxes'\] must be .* not a ndarray of float32 \(2, 4\)"):
        model.local_backward(images, [targets[0] | {"boxes": targets[0]["boxes"].numpy()}, *targets[1:]])
    with pytest.raises(InputError, match=r"\['labels'\] must be .* not a list of 2"):
        model.local_backward(images, [targets[0] | {"labels": [1, 2]}, *targets[1:]])


@pytest.mark.parametrize(("shift", "refused"), [(-3.0, False), (-3.5, True), (5.0, False), (5.5, True)])
def test_boxes_may_leave_the_image_by_a_pixel(shift, refused):
    images, targets = images_and_targets()
    targets[1]["boxes"] = targets[1]["boxes"] + torch.tensor([shift, 0, shift, 0])
    enter = partial(ll.Detection(2).enter, detector())
    if refused:
        with pytest.raises(InputError, match="outside of inputs"):
            enter(images, targets)
    else:
        enter(images, targets)


def test_a_data_set_without_outlines_is_refused_for_networks_that_learn_masks():
    class Boxes(list):
        def __str__(self):
            return "boxes.json"

    _, targets = images_and_targets()
    boxes = Boxes([(None, {"boxes": targets[0]["boxes"], "labels": targets[0]["labels"]})])
    task = ll.Detection(2)
    with pytest.raises(InputError, match=r"boxes\.json has no outlines.*MaskRCNN learns.*take retinanet"):
        task.check_samples(detector(), boxes)
    task.check_samples(detector("retinanet"), boxes)
    task.check_samples(detector(), [(None, targets[0])])


def test_missing_targets_masks_and_keys_are_named():
    model = local_model(detector().train(), ll.DGL())
    images, targets = images_and_targets()
    with pytest.raises(InputError, match="3 images, not 2"):
        model.local_backward(images, targets[:2])
    with pytest.raises(InputError, match=r"targets\[0\] must be a dictionary with boxes and labels, not \['boxes'\]"):
        model.local_backward(images, [{"boxes": targets[0]["boxes"]}, *targets[1:]])
    del targets[2]["masks"]
    with pytest.raises(InputError, match=r"targets\[2\] has no masks"):
        model.local_backward(images, targets)


def test_steps_in_evaluation_mode_and_other_networks_are_refused():
    network = detector()
    model = local_model(network, ll.DGL())
    model.eval()
    with pytest.raises(InputError, match="training mode only"):
        model.local_backward(*images_and_targets())
    linear = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with pytest.raises(InputError, match="Sequential is no detector"):
        ll.LocalModel(ll.partition(linear, torch.zeros(2, 4), num_blocks=1), ll.Backprop(), ll.Detection(2))


def test_blank_targets_do_for_a_step():
    network = detector().train()
    model = local_model(network, ll.DGL())
    inputs = torch.rand(2, 3, 64, 48)
    model.local_backward(inputs, model.task.blank_targets(inputs))


@pytest.mark.parametrize("classes", [1, 3])
def test_a_detector_of_other_classes_is_refused_before_a_step(classes):
    blocks = ll.partition(detector(), torch.zeros(2, 3, 64, 64), num_blocks=2)
    with pytest.raises(ll.InputError, match="background among them"):
        ll.LocalModel(blocks, ll.DGL(), ll.Detection(classes))
