from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pytest

from locallearn.datasets import cifar10
from locallearn.datasets.download import _SameScheme, download
from locallearn.errors import InputError

CONTENT = bytes(range(256)) * 12_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    folder: ClassVar[Path]
    seen: ClassVar[list[tuple[bool, bool]]]

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        if self.path != "/cut":
            self.seen.append(((self.folder / "file.bin.part").exists(), (self.folder / "file.bin").exists()))
            self.wfile.write(CONTENT[len(CONTENT) // 2 :])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    Server.folder, Server.seen = tmp_path / "new", []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_complete_or_not_there_at_all(tmp_path: Path, address: str) -> None:
    target = tmp_path / "new" / "file.bin"
    reported: list[int] = []
    download(f"{address}/file", target, md5=MD5, size=len(CONTENT), report=reported.append)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    assert reported == sorted(reported)
    assert reported[-1] == len(CONTENT)
    assert all(not finished for _, finished in Server.seen)


@pytest.mark.parametrize(
    ("path", "md5", "size", "said"),
    [
        ("/file", "0" * 32, len(CONTENT), f"with MD5 {MD5}"),
        ("/file", MD5, len(CONTENT) - 1, "published are 3,071,999 bytes"),
        ("/cut", MD5, len(CONTENT), "gave 1,536,000 bytes|IncompleteRead"),
        ("/missing", MD5, len(CONTENT), "404"),
    ],
)
def test_nothing_stays_of_a_bad_one(tmp_path: Path, address: str, path: str, md5: str, size: int, said: str) -> None:
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(InputError, match=said) as caught:
        download(address + path, target, md5=md5, size=size)
    assert "by hand" in str(caught.value)
    assert not list(target.parent.iterdir())


def test_no_more_than_the_published_size_is_written(tmp_path: Path, address: str) -> None:
    reported: list[int] = []
    with pytest.raises(InputError, match="1,001 bytes"):
        download(f"{address}/file", tmp_path / "new" / "file.bin", md5=MD5, size=1000, report=reported.append)
    assert max(reported) == 1001


def test_an_existing_file_survives_a_bad_download(tmp_path: Path, address: str) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(InputError):
        download(f"{address}/file", target, md5="0" * 32, size=len(CONTENT))
    assert target.read_bytes() == b"old"


def test_an_interruption_leaves_nothing(tmp_path: Path, address: str) -> None:
    def interrupt(received: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(f"{address}/file", tmp_path / "new" / "file.bin", md5=MD5, size=len(CONTENT), report=interrupt)
    assert not list((tmp_path / "new").iterdir())


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be fetched"):
        download("http://127.0.0.1:9/file", tmp_path / "file", md5=MD5, size=1)


def test_a_folder_that_cannot_be_made(tmp_path: Path, address: str) -> None:
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(InputError, match="could not be fetched to"):
        download(f"{address}/file", tmp_path / "folder" / "file.bin", md5=MD5, size=len(CONTENT))


def test_never_from_https_to_http() -> None:
    request = urllib.request.Request("https://here.example/file")
    with pytest.raises(InputError, match="not encrypted"):
        _SameScheme().redirect_request(request, BytesIO(), 302, "", Message(), "http://here.example/file")  # type: ignore[arg-type]
    assert _SameScheme().redirect_request(request, BytesIO(), 302, "", Message(), "https://there.example/file")  # type: ignore[arg-type]


def test_the_archive_of_cifar10_lands_under_its_name(tmp_path: Path, address: str) -> None:
    cifar10.download(tmp_path / "data" / "cifar10", url=f"{address}/file", md5=MD5, size=len(CONTENT))
    assert cifar10.URL.startswith("https://")
    layout = cifar10.find(tmp_path / "data" / "cifar10")
    assert layout is not None
    assert layout.files["train"] == (tmp_path / "data" / "cifar10" / "cifar-10-python.tar.gz",)
