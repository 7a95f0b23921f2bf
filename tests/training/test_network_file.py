from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from locallearn.errors import InputError
from locallearn.training import load_network, save_network
from training.tiny_runs import Hostile, convolutions, same_state


@pytest.fixture
def saved(tmp_path):
    network = convolutions(10)
    save_network(network, tmp_path / "network.safetensors", classes=["zéro", "one"], title="a run")
    return network, tmp_path / "network.safetensors"


def test_the_plain_keys_and_the_class_names_are_in_the_file(saved):
    network, path = saved
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(network.state_dict())
        assert file.metadata() == {"format": "pt", "title": "a run", "classes": json.dumps(["zéro", "one"])}
    other = convolutions(10)
    assert load_network(other, path) == ("zéro", "one")
    assert same_state(dict(network.state_dict()), dict(other.state_dict()))


def test_the_same_network_gives_the_same_bytes(saved, tmp_path):
    network, path = saved
    for attempt in range(20):
        again = tmp_path / f"{attempt}.safetensors"
        save_network(network, again, classes=["zéro", "one"], title="a run")
        assert again.read_bytes() == path.read_bytes()


def test_tied_weights_are_saved(tmp_path):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    save_network(network, tmp_path / "n", classes=[], title="")
    load_network(network, tmp_path / "n")


def test_another_network_is_refused_and_left_alone(saved):
    other = convolutions(10, channels=5)
    before = other[0].weight.clone()
    with pytest.raises(InputError, match=r"another network: 0\.weight is \(4, 3, 3, 3\), not \(5, 3, 3, 3\).*more"):
        load_network(other, saved[1])
    assert torch.equal(other[0].weight, before)


def test_what_is_no_network_is_refused_and_never_run(saved, tmp_path):
    network, path = saved
    marker = tmp_path / "marker"
    with pytest.raises(InputError, match="missing"):
        load_network(network, tmp_path / "missing")
    torch.save(Hostile(marker), tmp_path / "hostile.safetensors")
    with pytest.raises(InputError, match=r"hostile\.safetensors"):
        load_network(network, tmp_path / "hostile.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"network\.safetensors"):
        load_network(network, path)
    assert not marker.exists()
