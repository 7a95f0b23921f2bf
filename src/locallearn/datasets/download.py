"""One file over the network, complete and verified or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from locallearn.atomic_file import flushed, rename
from locallearn.errors import InputError

_PIECE = 1 << 20
_PATIENCE_SECONDS = 60


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Redirects are followed, but never from an encrypted address to a plain one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            fp.close()
            raise InputError(f"{req.full_url} redirects to {newurl}, which is not encrypted: nothing was fetched.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str, target: Path, *, md5: str, size: int, report: Callable[[int], None] = lambda received: None
) -> None:
    """Fetch a file to a temporary name beside its own, verify and flush it, and only then give it its name.

    Args:
        url: Where it is published; an https address is never left for a plain one.
        target: The file to make; its folder is made too.
        md5: The published checksum.
        size: The published size in bytes; at most one byte more is written.
        report: Called with the bytes received so far.

    Raises:
        InputError: The file cannot be fetched or written, or is not the published one; nothing is left behind.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"try again, or fetch {url} by hand and put it at {target}."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        received, found = _fetch(url, part, size, report)
        if (received, found) != (size, md5):
            raise InputError(
                f"{url} gave {received:,} bytes with MD5 {found}; published are {size:,} bytes with {md5}: {by_hand}"
            )
        rename(part, target)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection open
        raise InputError(f"{url} could not be fetched to {target} ({error}): {by_hand}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def download_with_bar(url: str, target: Path, *, md5: str, size: int) -> None:
    """`download` with a progress bar on standard error.

    Args:
        url: Where it is published.
        target: The file to make.
        md5: The published checksum.
        size: The published size in bytes.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Any = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(target.name, total=size)
        download(url, target, md5=md5, size=size, report=lambda received: progress.update(task, completed=received))


def _fetch(url: str, part: Path, limit: int, report: Callable[[int], None]) -> tuple[int, str]:
    # The number of bytes and their MD5; at most one byte past the limit is written.
    received, md5 = 0, hashlib.md5(usedforsecurity=False)
    opener = urllib.request.build_opener(_SameScheme)
    with opener.open(url, timeout=_PATIENCE_SECONDS) as response, flushed(part) as file:
        while received <= limit and (piece := response.read(min(_PIECE, limit + 1 - received))):
            received += file.write(piece)
            md5.update(piece)
            report(received)
    return received, md5.hexdigest()
