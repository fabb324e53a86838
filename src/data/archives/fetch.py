"""Download one file from one address: resumable, and checked against its SHA-256.

Nothing in training or evaluation calls this.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from src.utils.errors import UserError

CHUNK = 1 << 18
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
AGENT = "reversible-unfolding-network/fetch_data"

Progress = Callable[[int, "int | None"], None]
"""Called with the number of bytes received and the total number of bytes, None if it is not known."""


@dataclass(frozen=True)
class Download:
    """A line of the user's registry: what to fetch and where under the data root its contents go.

    `sha256` is in lower case; `size` is in bytes, None where the registry doesn't say.
    """

    name: str
    url: str
    sha256: str
    folder: Path
    size: int | None = None


def probe(source: Download) -> int | None:
    """Return the file's size in bytes as the server reports it without sending the file; else `source.size`.

    Raises:
        UserError: the server does not answer, the file does not exist, or its size differs from the registry's.
    """
    try:
        with _open(source, {}, "HEAD") as answer:
            length = _length(answer.headers)
    except HTTPError as error:
        if error.code in (404, 410):
            raise UserError(
                f"{source.name}: {source.url} does not exist (HTTP {error.code} {error.reason}); correct the url"
            ) from error
        return source.size  # many servers answer GET only
    except (OSError, HTTPException) as error:
        raise UserError(f"{source.name}: {source.url} cannot be reached ({_reason(error)})") from error
    _agree(source, length)
    return length or source.size


def download(source: Download, part: Path, progress: Progress = lambda got, total: None) -> None:
    """Fetch into `part`, resuming where an earlier call stopped, and check the whole file.

    A note beside `part` says which file it is a part of, by the server's ETag or date. If the file has changed since,
    or the server cannot send the rest, the download starts again. When it is interrupted, `part` and its note stay for
    the next call.

    Args:
        source: what to fetch.
        part: the file to write.
        progress: called after every chunk.

    Raises:
        UserError: the server refuses, the connection breaks, the disk is full (`part` stays), or the SHA-256 is wrong
            (`part` is removed).
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    note = _note(source, part)
    if part.exists() and part.stat().st_size == note.get("size"):
        progress(note["size"], note["size"])
    else:
        try:
            _receive(source, part, note, progress)
        except HTTPError as error:
            raise UserError(f"{source.name}: {source.url}: HTTP {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            raise _stopped(source, part, None, _reason(error)) from error
    _verify(source, part)


def forget(part: Path) -> None:
    """Remove a part and its note."""
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _receive(source: Download, part: Path, note: dict[str, Any], progress: Progress) -> None:
    start, answer = _answer(source, part, note)
    with answer:
        length = _length(answer.headers)
        total = None if length is None else start + length
        _agree(source, total)
        if length is not None and length > (free := shutil.disk_usage(part.parent).free):
            raise UserError(
                f"{source.name}: {length} bytes are to come and {free} are free in {part.parent}; make room"
            )
        if not start:  # this part must never get the note of another file
            forget(part)
            content = {
                "sha256": source.sha256,
                "url": source.url,
                "validator": _validator(answer.headers),
                "size": total,
            }
            _note_path(part).write_text(json.dumps(content), encoding="utf-8")
        got = start
        with part.open("ab" if start else "wb") as file:
            while chunk := answer.read(CHUNK):
                got += len(chunk)
                if source.size is not None and got > source.size:
                    break
                file.write(chunk)
                progress(got, total or source.size)
    if source.size is not None and got > source.size:
        forget(part)
        raise UserError(f"{source.name}: {source.url} sends more than the {source.size} bytes of the registry; removed")
    if total is not None and got < total:  # http.client does not report this
        raise _stopped(source, part, total, "the connection was closed")


def _answer(source: Download, part: Path, note: dict[str, Any]) -> tuple[int, Any]:
    """Return the offset of the answer's first byte, and the answer: the rest if possible, else the whole file."""
    start = part.stat().st_size if part.exists() and note else 0
    if not start:
        return 0, _open(source, {})
    validator = note.get("validator") if note["url"] == source.url else None
    try:
        answer = _open(source, {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {}))
    except HTTPError as error:
        if error.code != 416:  # nothing after our last byte: the server's file is another one, or its size was unknown
            raise
        error.close()
        return 0, _open(source, {})
    if answer.status != 206:
        return 0, answer
    range_ = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    changed = validator is not None and _validator(answer.headers) != validator  # some servers ignore If-Range
    if range_ is None or int(range_[1]) != start or changed:
        answer.close()
        return 0, _open(source, {})
    return start, answer


def _verify(source: Download, part: Path) -> None:
    digest, beginning = hashlib.sha256(), b""
    with part.open("rb") as file:
        while chunk := file.read(1 << 20):
            beginning = beginning or chunk[:512]
            digest.update(chunk)
    if digest.hexdigest() != source.sha256:
        size = part.stat().st_size
        forget(part)
        page = (
            "; it is a web page: the url must be the file's own"
            if beginning.lstrip().lower().startswith((b"<!doctype", b"<html"))
            else ""
        )
        raise UserError(
            f"{source.name}: {source.url}: another file than the registry's, removed{page}",
            [f"expected SHA-256 {source.sha256}", f"got SHA-256 {digest.hexdigest()} ({size} bytes)"],
        )


class _WebOnly(HTTPRedirectHandler):
    """Follows redirections to http(s) only, and keeps HEAD; urllib would follow ftp, and turn HEAD into GET."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise HTTPError(req.full_url, code, f"redirects to {newurl}, which is not http(s)", headers, fp)
        redirected = super().redirect_request(req, fp, code, msg, headers, newurl)
        if redirected is not None:
            redirected.method = req.get_method()
        return redirected


def _open(source: Download, headers: Mapping[str, str], method: str = "GET") -> Any:
    return build_opener(_WebOnly).open(
        Request(source.url, headers={"User-Agent": AGENT, **headers}, method=method), timeout=TIMEOUT
    )


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and int(text) and "Transfer-Encoding" not in headers else None


def _validator(headers: Message) -> str | None:
    """Return the value for If-Range: a strong ETag, else the date."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _agree(source: Download, length: int | None) -> None:
    if None not in (length, source.size) and length != source.size:
        raise UserError(
            f"{source.name}: {source.url} has {length} bytes, the registry says size: {source.size}; "
            "correct the registry"
        )


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _note(source: Download, part: Path) -> dict[str, Any]:
    """Return the note of the part; empty if it does not belong to this file."""
    try:
        note = json.loads(_note_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and note.get("sha256") == source.sha256 and "url" in note else {}


def _stopped(source: Download, part: Path, total: int | None, why: str) -> UserError:
    got = part.stat().st_size if part.exists() else 0
    of = f" of {total}" if total is not None else ""
    return UserError(
        f"{source.name}: {source.url}: stopped after {got}{of} bytes ({why}); the same command resumes there"
    )


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
