from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from locallearn.datasets.check import check
from locallearn.errors import InputError


def test_good_folders(digit_folders: Path) -> None:
    report = check("digits", digit_folders)
    assert report.layout == "class folders"
    assert report.splits["train"] == {str(label): 2 for label in range(10)}
    assert not report.problems
    train, test = report.files
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.parent.name}/{path.name}\n"
        for path in sorted((digit_folders / "test").rglob("*.png"))
    )
    assert test.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert train.bytes == sum(path.stat().st_size for path in (digit_folders / "train").rglob("*.png"))


def test_as_json(digit_folders: Path) -> None:
    told = json.loads(json.dumps(check("digits", digit_folders).as_dict()))
    assert told["ok"] is True
    assert told["counts"] == {"train": 20, "test": 10}
    assert told["files"][0]["official"] is None


def test_embedded_digits() -> None:
    report = check("digits")
    assert (report.root, report.layout, report.files, report.problems) == (None, "embedded in scikit-learn", (), ())
    assert sum(report.splits["test"].values()) == 360


def test_bad_data_is_listed_and_the_rest_counted(digit_folders: Path) -> None:
    for index in range(12):
        (digit_folders / "train" / "7" / f"bad{index:02}.png").write_bytes(b"no image")
    Image.new("L", (8, 8)).save(digit_folders / "test" / "2" / "stray.gif")
    report = check("digits", digit_folders)
    assert not report.as_dict()["ok"]
    assert list(report.splits) == ["test"]
    stray, bad = report.problems
    assert "stray.gif" in stray
    assert str(digit_folders / "train" / "7" / "bad09.png") in bad
    assert "bad10.png" not in bad
    assert bad.endswith("and 2 more.")


def test_files_that_are_not_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(b"other")
    report = check("svhn", tmp_path)
    assert report.layout == "official files"
    (file,) = report.files
    assert file.official is False
    assert file.md5 == hashlib.md5(b"other").hexdigest()
    wrong, missing = report.problems
    assert "e26dedcc434d2e4c54c9b2d4a06d8373" in wrong
    assert "lacks test_32x32.mat" in missing


def test_problems_told_by_one_error_are_listed_each(tmp_path: Path) -> None:
    names = [f"data_batch_{number}" for number in range(1, 6)]
    for name in (*names, "test_batch"):
        (tmp_path / name).write_bytes(b"other")
    problems = check("cifar10", tmp_path).problems
    assert [problem.split()[0] for problem in problems] == [str(tmp_path / name) for name in (*names, "test_batch")]


def test_nothing_there(tmp_path: Path) -> None:
    report = check("stl10", tmp_path / "nowhere")
    assert report.layout is None
    assert "does not exist" in report.problems[0]


def test_an_unknown_name_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(InputError, match="Did you mean 'digits'"):
        check("digit")
