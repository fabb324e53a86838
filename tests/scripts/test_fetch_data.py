"""Fetching from a server on this machine: resuming, hashes, hostile archives; nothing overwritten, nothing partial."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import fetch_data
from scripts.fetch_data import fetch, read_registry
from src.data.archives import unpack as unpacking
from src.data.archives.fetch import CHUNK
from src.data.archives.unpack import RECEIPT, receipt_of, unpack
from src.utils.errors import UserError

NOISE = bytes(os.urandom(3 * CHUNK))
"""So that an archive is longer than one read."""
FILES = {"Imgs/a.jpg": NOISE, "GT/a.png": b"mask", "GT/\u00e9.png": b"accent"}


@dataclass
class Server:
    """Serves `files`; `cut` closes the connection after that many bytes of a body; `asked`: requests and Ranges."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"1"'
    ranges: bool = True
    heed_if_range: bool = True
    lengths: bool = True
    head: int = 200
    cut: int | None = None
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)

    def gets(self) -> list[tuple[str | None, str | None]]:
        """Range and If-Range of the GET requests."""
        return [(range_, if_range) for method, _, range_, if_range in self.asked if method == "GET"]


def handler(state: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            range_, if_range = self.headers.get("Range"), self.headers.get("If-Range")
            state.asked.append((self.command, self.path, range_, if_range))
            if self.path.startswith("/moved/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved"))
                self.end_headers()
                return
            if self.path == "/ftp":
                self.send_response(302)
                self.send_header("Location", "ftp://127.0.0.1/a.zip")
                self.end_headers()
                return
            content = state.files.get(self.path)
            if content is None or (not body and state.head != 200):
                self.send_error(404 if content is None else state.head)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", range_)[1]) if range_ and state.ranges else 0
            if state.heed_if_range and if_range not in (None, state.etag):
                start = 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            if body:
                with suppress(ConnectionError):  # the client may have closed the connection
                    self.wfile.write(content[start:][: state.cut])

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(state)) as http:
        state.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes], **kind: Any) -> bytes:
    """A tar file with members by name and content; `kind` sets attributes of all of them (`type`, `linkname`)."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in kind.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def register(tmp_path: Path, server: Server, content: bytes, path: str = "/a.zip", **changes: Any) -> Path:
    """A registry of the one set A, served as `path`."""
    server.files[path] = content
    entry = {
        "url": server.address + path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "folder": "TrainDataset/A",
    } | changes
    registry = tmp_path / "sets.yaml"
    registry.write_text(json.dumps({"A": entry}))
    return registry


def tree(folder: Path) -> dict[str, bytes]:
    """All files with their contents, receipts apart."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECEIPT
    }


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "tar": lambda files: tarred(*files.items()),
    "tar.gz": lambda files: gzip.compress(tarred(*files.items())),
    "tar.bz2": lambda files: bz2.compress(tarred(*files.items())),
    "tar.xz": lambda files: lzma.compress(tarred(*files.items()), preset=0),
}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("around", ["", "./CAMO-V1/"])
def test_every_kind_arrives_whole(kind: str, around: str, tmp_path: Path) -> None:
    archive, target = tmp_path / "archive", tmp_path / "data" / "A"
    archive.write_bytes(
        PACKERS[kind]({around + name: content for name, content in FILES.items()} | {"__MACOSX/._a": b"x"})
    )
    assert unpack(archive, target, {"sha256": "0"}) == 3
    assert tree(target) == FILES
    assert receipt_of(target) == {"sha256": "0", "files": 3}
    assert os.listdir(tmp_path / "data") == ["A"]


def test_fetched_then_skipped(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, root = zipped(FILES), tmp_path / "data"
    registry = register(tmp_path, server, content, size=len(content), url=f"{server.address}/moved/a.zip")
    assert fetch(registry, root) == ["A"]
    assert tree(root) == {f"TrainDataset/A/{name}": content for name, content in FILES.items()}
    assert os.listdir(root) == ["TrainDataset"]
    assert os.listdir(root / "TrainDataset") == ["A"]
    server.asked.clear()
    assert fetch(registry, root) == []
    assert server.asked == []
    assert f"A: {root / 'TrainDataset/A'} was fetched before, skipped" in capsys.readouterr().out


@pytest.mark.parametrize("head", [200, 405])
def test_interrupted_goes_on_with_the_rest(head: int, server: Server, tmp_path: Path) -> None:
    content, root = zipped(FILES), tmp_path / "data"
    registry = register(tmp_path, server, content, path="/moved/a.zip")
    server.files["/a.zip"], server.cut, server.head = content, 300_000, head
    with pytest.raises(UserError, match=f"stopped after 300000 of {len(content)} bytes .*the same command resumes"):
        fetch(registry, root)
    assert (root / ".fetch" / "A.part").read_bytes() == content[:300_000]
    assert not (root / "TrainDataset").exists()
    server.cut = 200_000
    with pytest.raises(UserError, match="stopped after 500000"):
        fetch(registry, root)
    server.cut = None
    server.asked.clear()
    assert fetch(registry, root) == ["A"]
    assert set(server.gets()) == {("bytes=500000-", '"1"')}  # before and after the redirection
    assert tree(root / "TrainDataset" / "A") == FILES
    assert os.listdir(root) == ["TrainDataset"]


@pytest.mark.parametrize("changes", [{"ranges": False}, {"etag": '"2"'}, {"etag": '"2"', "heed_if_range": False}])
def test_begins_anew_where_there_is_no_rest_of_this_file(
    changes: dict[str, Any], server: Server, tmp_path: Path
) -> None:
    old, new, root = zipped({"a.png": NOISE}), zipped(FILES), tmp_path / "data"
    registry = register(tmp_path, server, new)
    server.files["/a.zip"], server.cut = old if "etag" in changes else new, 300_000
    with pytest.raises(UserError, match="stopped after 300000"):
        fetch(registry, root)
    server.files["/a.zip"], server.cut = new, None
    for name, value in changes.items():
        setattr(server, name, value)
    assert fetch(registry, root) == ["A"]
    assert tree(root / "TrainDataset" / "A") == FILES


def test_another_hash_in_the_registry_is_another_part(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    server.cut = 1000
    with pytest.raises(UserError, match="stopped after 1000"):
        fetch(register(tmp_path, server, zipped({"a.png": NOISE})), root)
    server.cut = None
    server.asked.clear()
    assert fetch(register(tmp_path, server, zipped(FILES)), root) == ["A"]
    assert server.gets() == [(None, None)]


def test_a_part_longer_than_the_file_begins_anew(server: Server, tmp_path: Path) -> None:
    root, content = tmp_path / "data", zipped(FILES)
    server.cut = 1000
    registry = register(tmp_path, server, content)
    with pytest.raises(UserError, match="stopped after 1000"):
        fetch(registry, root)
    (root / ".fetch" / "A.part").write_bytes(content + b"more")
    server.cut = None
    server.asked.clear()
    assert fetch(registry, root) == ["A"]
    assert server.gets() == [(f"bytes={len(content) + 4}-", '"1"'), (None, None)]


def test_ctrl_c_while_loading(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, content = tmp_path / "data", zipped(FILES)
    registry = register(tmp_path, server, content)

    def download(source: Any, part: Path, progress: Any = None) -> None:
        def pressed(got: int, total: int | None) -> None:
            raise KeyboardInterrupt

        real(source, part, pressed)

    real = fetch_data.download
    monkeypatch.setattr(fetch_data, "download", download)
    monkeypatch.setattr(sys, "argv", ["fetch_data", str(registry), f"data.root={root}"])
    with pytest.raises(SystemExit) as caught:
        fetch_data.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command resumes from here\n"
    assert (root / ".fetch" / "A.part").read_bytes() == content[:CHUNK]
    monkeypatch.setattr(fetch_data, "download", real)
    with pytest.raises(SystemExit) as caught:
        fetch_data.main()
    assert caught.value.code == 0
    assert server.gets()[-1] == (f"bytes={CHUNK}-", '"1"')
    assert tree(root / "TrainDataset" / "A") == FILES


def test_killed_while_unpacking_leaves_no_half_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, files = tmp_path / "data", []

    def copy(source: Any, file: Any, length: int) -> None:
        files.append(Path(file.name).relative_to(root).as_posix())
        if len(files) == 2:
            raise KeyboardInterrupt
        file.write(source.read())

    registry = register(tmp_path, server, zipped(FILES))
    with monkeypatch.context() as patched:
        patched.setattr(unpacking.shutil, "copyfileobj", copy)
        with pytest.raises(KeyboardInterrupt):
            fetch(registry, root)
    assert files == ["TrainDataset/.A.unpacking/Imgs/a.jpg", "TrainDataset/.A.unpacking/GT/a.png"]
    assert os.listdir(root) == [".fetch"]
    # what SIGKILL leaves, which no handler can clean up
    left = root / "TrainDataset" / ".A.unpacking" / "Imgs"
    left.mkdir(parents=True)
    (left / "a.jpg").write_bytes(b"half")
    server.asked.clear()
    assert fetch(registry, root) == ["A"]
    assert server.gets() == []  # the archive was whole
    assert tree(root / "TrainDataset") == {f"A/{name}": content for name, content in FILES.items()}


def test_a_wrong_hash_removes_the_part(server: Server, tmp_path: Path) -> None:
    root, page = tmp_path / "data", b"\n<!DOCTYPE html><html>please log in</html>"
    registry = register(tmp_path, server, page, sha256="AB" * 32)
    with pytest.raises(UserError, match="another file than the registry's, removed; it is a web page") as caught:
        fetch(registry, root)
    assert "expected SHA-256 " + "ab" * 32 in str(caught.value)
    assert f"got SHA-256 {hashlib.sha256(page).hexdigest()} ({len(page)} bytes)" in str(caught.value)
    assert os.listdir(root) == []


def test_more_than_the_registry_says_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    registry = register(tmp_path, server, zipped(FILES), size=1000)
    with pytest.raises(UserError, match="sends more than the 1000 bytes"):
        fetch(registry, tmp_path / "data")
    assert os.listdir(tmp_path / "data") == []


def test_what_exists_is_not_touched_and_all_problems_come_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, content = tmp_path / "data", zipped(FILES)
    mine = root / "TrainDataset" / "A" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (root / "file").write_text("mine too")
    server.files["/a.zip"] = content
    good = {"url": f"{server.address}/a.zip", "sha256": hashlib.sha256(content).hexdigest()}
    entries = {
        "A": good | {"folder": "TrainDataset/A"},
        "B": good | {"folder": "file/B"},
        "C": good | {"folder": "C", "size": 5},
        "D": good | {"folder": "D", "url": f"{server.address}/none.zip"},
        "E": good | {"folder": "E", "url": "http://127.0.0.1:1/a.zip"},
        "F": good | {"folder": "F", "url": f"{server.address}/ftp"},
        "G": good | {"folder": "G"},
    }
    registry = tmp_path / "sets.yaml"
    registry.write_text(json.dumps(entries))
    monkeypatch.setattr(fetch_data.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(sys, "argv", ["fetch_data", str(registry), f"data.root={root}"])
    before = tree(root)
    with pytest.raises(SystemExit) as caught:
        fetch_data.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: nothing was fetched:\n")
    lines = [
        f"A: {root / 'TrainDataset/A'} exists and did not come from this archive",
        f"B: {root / 'file'} is a file",
        f"C: {server.address}/a.zip has {len(content)} bytes, the registry says size: 5",
        f"D: {server.address}/none.zip does not exist (HTTP 404",
        "E: http://127.0.0.1:1/a.zip cannot be reached (Connection refused)",
        "archives and their contents need about ",
        ", and 1.0 kB are free in ",
    ]
    for line in lines:
        assert line in said
    assert tree(root) == before
    assert server.gets() == []


def test_one_failure_keeps_nobody_else_from_coming(server: Server, tmp_path: Path) -> None:
    content, root = zipped(FILES), tmp_path / "data"
    registry = register(tmp_path, server, content)
    entries = json.loads(registry.read_text())
    entries = {
        "Bad": entries["A"] | {"sha256": "0" * 63 + "1", "folder": "B"},
        "Moved": entries["A"] | {"url": f"{server.address}/ftp", "folder": "C"},
    } | entries
    registry.write_text(json.dumps(entries))
    with pytest.raises(UserError) as caught:
        fetch(registry, root)
    assert "Bad: " in str(caught.value)
    assert "redirects to ftp://127.0.0.1/a.zip, which is not http(s)" in str(caught.value)
    assert tree(root) == {f"TrainDataset/A/{name}": content for name, content in FILES.items()}
    assert fetch(registry, root, only=["A"]) == []


def test_two_at_a_time_are_refused(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    registry = register(tmp_path, server, zipped(FILES))
    with fetch_data._alone(tmp_path / "data"), pytest.raises(UserError, match="another process is fetching"):
        fetch(registry, tmp_path / "data")


def test_all_of_a_registry_is_read_before_anything_is_asked(tmp_path: Path) -> None:
    good = {"url": "https://localhost/a.zip", "sha256": "0" * 64, "folder": "X/A"}
    entries: dict[str, Any] = {
        "A": good,
        "a": good | {"folder": "Y"},
        "inside": good | {"folder": "X/A/B"},
        "../B": good | {"folder": "Z", "mirror": "x"},
        "C": good | {"folder": "../C", "url": "file:///etc/passwd", "sha256": 12, "size": "big"},
        "D": good | {"folder": "/D", "url": "https://user:word@localhost/a.zip"},
        "E": good | {"folder": ".", "url": "https://localhost/a b.zip"},
        "F": good | {"folder": ".fetch/F", "url": "https://localhost:x/a.zip"},
        "G": None,
        "H": {},
    }
    path = tmp_path / "sets.yaml"
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError) as caught:
        read_registry(path, ["inside", "inisde"])
    said = "\n".join(caught.value.problems)
    for line in (
        "a: differs from A in letter case only",
        "inside: folder: X/A/B and that of A, X/A, must not contain each other",
        "../B: a name may only have letters",
        "../B: mirror: unknown key; choose from url, sha256, folder, size",
        "C: url: file:///etc/passwd: ",
        "C: sha256: 12: must be 64",
        "C: folder: ../C: must be a folder under",
        "C: size: big: ",
        "D: folder: /D: ",
        "D: url: localhost: user and password",
        "E: folder: .: ",
        "E: url: https://localhost/a b.zip: not a complete address",
        "F: folder: .fetch/F: ",
        "F: url: https://localhost:x/a.zip: not a complete address",
        "G: must be a mapping with url",
        "H: url: None",
        "--only inisde: not in the registry; did you mean inside?",
    ):
        assert line in said
    path.write_text("A: {url: x}\nA: {url: y}\n")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_registry(path)
    path.write_text("- A\n")
    with pytest.raises(UserError, match="must hold one entry per set"):
        read_registry(path)
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        read_registry(tmp_path / "nowhere.yaml")


def zip_of_kind(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def zip_named(raw: bytes) -> bytes:
    """A zip with one file, whose name is the bytes `raw`, without the flag for UTF-8."""
    return zipped({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)


def encrypted() -> bytes:
    content = bytearray(zipped({"a": b"1"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(zipped({"a": NOISE}))
    content[5000] ^= 1
    return bytes(content)


def long_name() -> bytes:
    """A tar header whose "name" is 8 MiB of zeros, packed into a few bytes."""
    return gzip.compress(tarred(("././@LongLink", bytes(8 << 20)), type=tarfile.GNUTYPE_LONGNAME) + tarred(("a", b"1")))


def sparse() -> bytes:
    return tarred(("holes", b""), type=tarfile.GNUTYPE_SPARSE)


NAMES = {
    "/etc/x": "absolute",
    "../x": "leads out",
    "a/../../x": "leads out",
    "a\\..\\x": "backslash",
    "C:x": "drive letter",
    "a\nb": "control characters",
}
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"zip {name!r}": (lambda name=name: zipped({"ok": b"1", name: b"x"}), word) for name, word in NAMES.items()},
    **{f"tar {name!r}": (lambda name=name: tarred(("ok", b"1"), (name, b"x")), word) for name, word in NAMES.items()},
    "zip symlink": (lambda: zip_of_kind(stat.S_IFLNK | 0o777), "link or a device"),
    "zip device": (lambda: zip_of_kind(stat.S_IFCHR), "link or a device"),
    "zip encrypted": (encrypted, "needs a password"),
    "zip damaged": (damaged, "cannot be unpacked"),
    "zip cut": (lambda: zipped(FILES)[:-30], "cannot be unpacked"),
    "zip latin-1": (lambda: zip_named(b"\xe9t\xe9.png"), "no UTF-8"),
    "zip zero byte": (lambda: zip_named(b"a.png\0.sh"), "control characters"),
    "tar latin-1": (lambda: tarred(("\udce9t\udce9.png", b"1")), "no UTF-8"),
    "tar symlink": (lambda: tarred(("l", b""), type=tarfile.SYMTYPE, linkname="/etc"), "link, a device"),
    "tar hard link": (lambda: tarred(("l", b""), type=tarfile.LNKTYPE, linkname="/etc/passwd"), "link, a device"),
    "tar device": (lambda: tarred(("l", b""), type=tarfile.CHRTYPE), "link, a device"),
    "tar pipe": (lambda: tarred(("l", b""), type=tarfile.FIFOTYPE), "link, a device"),
    "tar sparse": (sparse, "sparse file"),
    "tar cut": (lambda: tarred(*FILES.items())[:5000], "cannot be unpacked"),
    "tar.gz cut": (lambda: gzip.compress(tarred(*FILES.items()))[:-5000], "cannot be unpacked"),
    "tar.gz long name": (long_name, "a header of more than"),
    "zip bomb": (lambda: zipped({f"{n}": bytes(1 << 20) for n in range(80)}), "would become more than"),
    "tar.gz bomb": (
        lambda: gzip.compress(tarred(*((f"{n}", bytes(1 << 20)) for n in range(80))), 1),
        "would become more than",
    ),
    "tar twice": (lambda: tarred(("a", b"1"), ("./a", b"2")), "a appears twice"),
    "tar file and folder": (lambda: tarred(("a", b"1"), ("a/b", b"2")), "a/b appears twice"),
    "tar receipt": (lambda: tarred((RECEIPT, b"{}")), "cannot be unpacked"),
    "empty zip": (lambda: zipped({}), "no files"),
    "empty tar": (lambda: tarred(("a/", b""), type=tarfile.DIRTYPE), "no files"),
    "no archive": (lambda: b"GIF89a" + bytes(600), "neither a zip nor a tar"),
    "gz of no archive": (lambda: gzip.compress(b"a mask"), "neither a zip nor a tar"),
    "many": (lambda: tarred(*((f"{n}", b"") for n in range(30))), "more than 20 entries"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_damaged_archives_leave_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, words = HOSTILE[kind]
    if kind == "many":
        monkeypatch.setattr(unpacking, "MAX_ENTRIES", 20)
    archive, root = tmp_path / "archive", tmp_path / "data" / "deep"
    archive.write_bytes(make())
    root.mkdir(parents=True)
    with pytest.raises(UserError, match=words) as caught:
        unpack(archive, root / "TrainDataset" / "A", {})
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {"archive", "data", "data/deep"}


def test_utf8_that_is_not_declared_is_read_as_such(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(zip_named("\u00e9.png".encode()))
    unpack(archive, tmp_path / "A", {})
    assert list(tree(tmp_path / "A")) == ["\u00e9.png"]


def test_a_folder_that_came_up_meanwhile_is_kept(tmp_path: Path) -> None:
    archive, target = tmp_path / "archive", tmp_path / "A"
    archive.write_bytes(zipped(FILES))
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(archive, target, {})
    assert tree(target) == {"mine": b"mine"}
    assert sorted(os.listdir(tmp_path)) == ["A", "archive"]
