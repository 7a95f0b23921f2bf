from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import detection, resnet18
from torchvision.ops import FrozenBatchNorm2d

import locallearn as ll
from detection_batches import detector, images_and_targets
from locallearn import networks
from locallearn.errors import InputError

torch.set_num_threads(1)
TORCHVISIONS = {"mask_rcnn": detection.maskrcnn_resnet50_fpn, "retinanet": detection.retinanet_resnet50_fpn}


def shapes_of(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("kind", TORCHVISIONS)
def test_full_detectors_are_torchvisions(kind):
    ours = networks.build(kind, 90, backbone="resnet50")
    theirs = TORCHVISIONS[kind](weights=None, weights_backbone=None, num_classes=91)
    assert shapes_of(ours) == shapes_of(theirs)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images, targets = images_and_targets()
    for network in (ours, theirs):
        network.transform.min_size, network.transform.max_size = (64,), 100
    losses = []
    for network in (ours.train(), theirs.train()):
        torch.manual_seed(0)
        losses.append(network(images, targets))
    assert losses[0].keys() == losses[1].keys() and all(torch.equal(losses[0][k], losses[1][k]) for k in losses[0])


@pytest.mark.parametrize("kind", TORCHVISIONS)
@pytest.mark.parametrize("backbone", ["slim_resnet10", "resnet18"])
def test_partition_leaves_the_detector_and_its_keys_alone(kind, backbone):
    network = detector(kind, backbone=backbone)
    before = shapes_of(network)
    blocks = ll.partition(network, torch.zeros(2, 3, 64, 64), num_blocks=4)
    assert shapes_of(network) == before and blocks.body == "backbone.body"
    detector(kind, seed=1, backbone=backbone).load_state_dict(network.state_dict())


def test_a_classifier_of_ones_own_becomes_the_body(tmp_path):
    path = tmp_path / "body.safetensors"
    for backbone, classifier in (("slim_resnet18", networks.build("slim_resnet18", 10)), ("resnet18", resnet18())):
        save_file(classifier.state_dict(), path)
        network = detector(backbone=backbone, weights_backbone=str(path))
        state = classifier.state_dict()
        body = network.backbone.body.state_dict()
        assert body.keys() == {n for n in state if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
        assert all(torch.equal(tensor, state[name]) for name, tensor in body.items())
        assert any(isinstance(module, FrozenBatchNorm2d) for module in network.modules())


def test_pretrained_norms_may_learn_and_the_frozen_ones_step_too(tmp_path):
    path = tmp_path / "body.safetensors"
    save_file(networks.build("slim_resnet10", 10).state_dict(), path)
    learning = detector(weights_backbone=str(path), frozen_norm=False)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in learning.modules())
    frozen = detector(weights_backbone=str(path), trainable_layers=3).train()
    blocks = ll.partition(frozen, torch.zeros(2, 3, 64, 64), num_blocks=3)
    ll.LocalModel(blocks, ll.DGL(), ll.Detection(2)).local_backward(*images_and_targets())
    stages = {name.split(".")[2] for name, p in frozen.named_parameters() if "body" in name and p.grad is not None}
    assert stages == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize("count", range(6))
def test_layers_learn_from_the_end(count):
    network = detector(trainable_layers=count)
    learns = {name.split(".")[0] for name, p in network.backbone.body.named_parameters() if p.requires_grad}
    every = ["layer4", "layer3", "layer2", "layer1", "conv1"]
    assert learns == {*every[:count], *(["bn1"] if count == 5 else [])}


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(networks.build("slim_resnet10", 10).state_dict(), path)
    with pytest.raises(
        InputError, match=r"holds another network than the backbone: layer1\.1\.conv1\.weight \(nothing instead"
    ):
        detector(backbone="slim_resnet18", weights_backbone=str(path))
    with pytest.raises(InputError, match=r"conv1.weight \(\(32, 3, 3, 3\) instead of \(64, 3, 7, 7\)\)"):
        detector(backbone="resnet18", weights_backbone=str(path))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        detector(weights_backbone=str(path))
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        detector(weights_backbone=str(tmp_path / "absent.safetensors"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg11"}, "resnet18, .*slim_resnet18, not 'vgg11'"),
        ({"heads": "tiny"}, "heads must be"),
        ({"image_size": 8}, "image_size"),
        ({"trainable_layers": 6}, "0 to 5"),
        ({"weights_backbone": "IMAGENET1K_V1"}, "path of a .safetensors file of slim_resnet10, not"),
        ({"backbone": "resnet18", "weights_backbone": "V9"}, "has no weights 'V9'; it has 'IMAGENET1K_V1'"),
        ({"widht": 3}, "'widht'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        detector(**options)


def test_slim_networks_are_torchvisions_in_all_but_width():
    slim, wide = networks.build("slim_resnet18", 10), resnet18(num_classes=10)
    # Where width does not change, torchvision's stem and first stage have no shortcut convolution either.
    assert list(slim.state_dict()) == list(wide.state_dict())
    for mine, theirs in zip(slim.modules(), wide.modules(), strict=True):
        if isinstance(mine, nn.Conv2d):
            assert (mine.out_channels, mine.stride) == (theirs.out_channels // 2, theirs.stride)
    assert slim(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
