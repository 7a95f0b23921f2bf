from __future__ import annotations

import pytest
import torch

from locallearn.datasets.registry import find_spec
from locallearn.errors import InputError, TrainingStopped
from locallearn.networks import build
from locallearn.training import assembly, train
from locallearn.training.assembly import assemble, build_model, find_device
from training.tiny_runs import recipe

CPU = torch.device("cpu")


def test_the_example_is_no_zeros_and_leaves_the_random_state_to_the_weights(monkeypatch):
    examples, real = [], assembly.partition

    def partition(network, example, **options):
        examples.append(example)
        return real(network, example, **options)

    monkeypatch.setattr(assembly, "partition", partition)
    made = recipe(method={"name": "backprop"})
    torch.manual_seed(0)
    build_model(made, find_spec("digits"), CPU)
    drawn = torch.rand(())
    torch.manual_seed(0)
    build(made.network.name, 10)
    assert torch.equal(torch.rand(()), drawn)
    assert examples[0].std() > 0.5


@pytest.mark.parametrize(("size", "fitting"), [(1436, 1435), (718, 717), (1, 3)])
def test_batch_norm_is_not_left_with_one_image(size, fitting):
    words = rf"1437 training images in batches of {size} .*give --batch-size {fitting}, "
    with pytest.raises(InputError, match=words):
        assemble(recipe(training={"batch_size": size}))
    assemble(recipe(training={"batch_size": fitting}))


def test_a_single_image_is_too_few_for_batch_norm_and_enough_without():
    model = build_model(recipe(), find_spec("digits"), CPU)
    with pytest.raises(InputError, match="give more images"):
        assembly.check_last_batch(model, 1, 5)
    for images, size in ((10, 5), (11, 6), (2, 2), (5, 9)):
        assembly.check_last_batch(model, images, size)
    assemble(recipe(network="without_statistics", method={"name": "backprop"}, training={"batch_size": 1436}))


def test_auto_takes_the_accelerator_that_is_available(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert find_device("auto") == CPU
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert find_device("auto") == torch.device("xpu")
    assert [find_device(name) for name in ("cpu", "xpu:1")] == [CPU, torch.device("xpu:1")]
    for missing in ("xpu:2", "cuda"):
        with pytest.raises(InputError, match=f"The device '{missing}' is not on this machine"):
            find_device(missing)


def test_whatever_a_network_raises_it_does_not_take_the_images(tmp_path):
    with pytest.raises(InputError, match=r"does not take .*\(3, 8, 8\) \(Wrong image height!\)") as refusal:
        train(recipe(network="asserting"), tmp_path / "run")
    assert isinstance(refusal.value.__cause__, AssertionError)


@pytest.mark.parametrize("place", ["load", "build", "partition"])
def test_running_out_of_memory_before_training_is_explained(tmp_path, monkeypatch, place):
    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(assembly, place, out_of_memory)
    with pytest.raises(TrainingStopped, match=r"Memory ran out on cpu while data and network.*MiB.*--device"):
        train(recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_running_out_of_memory_in_the_output_check_is_no_mistake_of_the_networks(monkeypatch):
    monkeypatch.setattr("training.tiny_runs.REASON", MemoryError())
    with pytest.raises(TrainingStopped, match="Memory ran out"):
        assemble(recipe(network="asserting"))
