"""The commit that results name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from locallearn import checkout

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)


@pytest.fixture
def somebodys(tmp_path, monkeypatch):
    """A package in a repository; the package is not in it yet."""
    git(tmp_path, "init", "-q")
    (tmp_path / "mine.py").write_text("1")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "-qm", "mine")
    package = tmp_path / "site-packages" / "locallearn"
    package.mkdir(parents=True)
    (package / "checkout.py").write_text(Path(checkout.__file__).read_text())
    monkeypatch.setattr(checkout, "__file__", str(package / "checkout.py"))
    return tmp_path


def test_an_installed_package_has_no_commit_not_even_within_another_repository(somebodys):
    assert checkout.commit.__wrapped__() is None


def test_a_checkout_has_one_and_says_whether_it_was_changed(somebodys):
    git(somebodys, "add", "-A")
    git(somebodys, "commit", "-qm", "ours")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=somebodys, capture_output=True, text=True, check=True)
    assert checkout.commit.__wrapped__() == head.stdout[:12]
    (somebodys / "mine.py").write_text("2")
    assert checkout.commit.__wrapped__() == f"{head.stdout[:12]}-dirty"


def test_without_git_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout.commit.__wrapped__() is None
