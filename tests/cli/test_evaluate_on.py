"""A network trained on CIFAR-10, tested on STL-10."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from locallearn.cli.main import main
from locallearn.cli.tables import shown
from locallearn.datasets import cifar10, digits, stl10
from locallearn.networks import build
from locallearn.recipes import load, save
from locallearn.recipes.recipe import Published
from locallearn.training import load_network, save_network

PRINTED = Published(name="stl10_accuracy", value=37.55, paper="MAN", where="supplement, Table 6")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose network is as it was drawn."""
    folder = tmp_path_factory.mktemp("run")
    recipe = load("cifar10_resnet32_k16_dgl+man")
    others = tuple(number for number in recipe.published if number.name != PRINTED.name)
    save(recipe.model_copy(update={"published": (*others, PRINTED), "seeds": 1}), folder / "recipe.toml")
    torch.manual_seed(0)
    network = build("resnet32", 10)
    save_network(network, folder / "network.safetensors", classes=cifar10.SPEC.classes, title="drawn")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test images of each of STL-10's classes."""
    folder = tmp_path_factory.mktemp("stl10")
    random = np.random.RandomState(0)
    for split, count in (("train", 1), ("test", 2)):
        for name in stl10.SPEC.classes:
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                coarse = Image.fromarray(random.randint(0, 256, (6, 6, 3)).astype(np.uint8))
                coarse.resize((96, 96)).save(folder / split / name / f"{index}.png")
    return folder


def expected(run: Path, images: Path) -> tuple[float, float, float]:
    """Image by image, from the class names."""
    network = build("resnet32", 10).eval()
    load_network(network, run / "network.safetensors")
    prepare = v2.Compose([v2.PILToTensor(), v2.Resize(32), v2.ToDtype(torch.float32, scale=True)])
    normalize = v2.Normalize(cifar10.SPEC.mean, cifar10.SPEC.std)
    same, raw = 0, 0
    for label, name in enumerate(stl10.SPEC.classes):
        for path in (images / "test" / name).iterdir():
            with Image.open(path) as image, torch.no_grad():
                output = int(network(normalize(prepare(image))[None]).argmax())
            same += cifar10.SPEC.classes[output].replace("automobile", "car") == name
            raw += output == label
    return 100 * same / 18, 100 * same / 20, 100 * raw / 20


def test_all_readings_and_the_papers_number(run: Path, images: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(run), "--on", "stl10", "--data", str(images), "--device", "cpu", "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    found = (result["mapped_accuracy"], result["mapped_accuracy_of_all"], result["raw_accuracy"])
    assert found == pytest.approx(expected(run, images)) and max(found) > 0
    assert (result["images"], result["images_without_class"], result["on"]) == (20, 2, "stl10")
    assert result["mapping"]["car"] == "automobile" and result["mapping"]["monkey"] is None
    assert "antialiasing" in result["resizing"] and result["trained_on"] == "cifar10"
    assert result["published"] == [{"accuracy": 37.55, "where": "MAN, supplement, Table 6"}]
    kept = json.loads((run / "analysis" / "transfer-stl10.json").read_text())
    assert kept | {"run": result["run"]} == result | {key: kept[key] for key in ("analysis", "settings", "versions")}
    assert kept["settings"] == {"batch_size": 500, "class_map": None} and result["mapped_by"] == "name"
    text = "\n".join(table)
    assert all(words in text for words in ("monkey left out", "monkey counted wrong", "raw", "37.55", "Table 6"))
    (wrong,) = (line for line in table if "monkey counted wrong" in line)
    assert wrong.split()[-2:] == ["20", shown(found[1])] and found[0] > found[1]


def test_data_sets_that_do_not_go_together(run: Path, capsys: pytest.CaptureFixture[str]):
    for on, words in (("digits", "knows none of the classes"), ("cifar10", "leave --on out"), ("stl", "'stl10'")):
        assert main(["evaluate", str(run), "--on", on, "--device", "cpu"]) == 2
        assert words in capsys.readouterr().err


def test_a_class_map_of_the_users_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Digits are none of CIFAR-10's classes, until somebody says which stands for which."""
    file = tmp_path / "classes.toml"
    file.write_text('0 = "ship"\n"3" = "cat"\n# Several may stand for one.\n7 = "ship"\n')
    words = ["evaluate", str(run), "--on", "digits", "--classes", str(file), "--device", "cpu", "--json"]
    assert main(words) == 0
    *table, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    pairs = {"0": "ship", "3": "cat", "7": "ship"}
    assert result["mapping"] == {name: pairs.get(name) for name in map(str, range(10))}
    counts = Counter(digits.read("test").labels.tolist())
    assert result["images"] - result["images_without_class"] == counts[0] + counts[3] + counts[7]
    assert "classes mapped by file, 1, 2, 4, 5, 6, 8, 9 left out" in "\n".join(table)
    kept = json.loads((run / "analysis" / "transfer-digits-mapped.json").read_text())
    assert kept["settings"]["class_map"] == pairs and kept["mapped_accuracy"] == result["mapped_accuracy"]


def test_class_maps_that_make_no_sense(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "classes.toml"
    for text, told in (
        ('0 = "boat"', "'boat' is none of the classes trained on."),
        ('eleven = "ship"', "'eleven' is none of the classes tested."),
        ("0 = 8", "gives '0' the value 8"),
        ("", "maps no class"),
        ("0 = ", "cannot be read"),
    ):
        file.write_text(text)
        assert main(["evaluate", str(run), "--on", "digits", "--classes", str(file), "--device", "cpu"]) == 2
        assert told in capsys.readouterr().err
    assert main(["evaluate", str(run), "--on", "digits", "--classes", "nowhere.toml", "--device", "cpu"]) == 2
    assert "nowhere.toml" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--classes", str(file)]) == 2
    assert "--on" in capsys.readouterr().err
