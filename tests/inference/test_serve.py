"""The page's server: this machine only, these files only."""

from __future__ import annotations

import http.client
import socket
import threading
import webbrowser
from collections.abc import Iterator

import pytest

from src.inference.serve import SiteServer, serve
from src.inference.site import Site
from src.utils.errors import UserError

FILES = {"index.html": b"<p>page", "app.mjs": b"1", "runtime/a.wasm": b"2", "examples/LICENSE.txt": b"3"}


@pytest.fixture
def server() -> Iterator[SiteServer]:
    """A server on a free port, in a thread."""
    with SiteServer(Site(FILES), 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: SiteServer, path: str, method: str = "GET") -> http.client.HTTPResponse:
    """Ask for a path as it is, not tidied up by a client."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request(method, path)
    return connection.getresponse()


def test_only_this_machine_is_answered(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/", b"<p>page", "text/html; charset=utf-8"),
        ("/app.mjs?x=1", b"1", "text/javascript; charset=utf-8"),
        ("/runtime/a.wasm", b"2", "application/wasm"),
        ("/examples/LICENSE.txt", b"3", "text/plain; charset=utf-8"),
    ],
)
def test_files_and_their_types(server, path, content, kind):
    answer = get(server, path)
    assert (answer.status, answer.read(), answer.headers["Content-Type"]) == (200, content, kind)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/pyproject.toml", "//etc/passwd", "/runtime", "/none"])
def test_nothing_else_is_answered(server, path):
    assert get(server, path).status == 404


def test_head_has_no_content(server):
    answer = get(server, "/app.mjs", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "1", b"")


def test_a_taken_port_is_a_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port} is taken by another program; port=0 takes a free one"):
            SiteServer(Site(FILES), port)


def test_a_port_that_is_none():
    with pytest.raises(UserError, match="port=70000: expected a number"):
        SiteServer(Site(FILES), 70000)


@pytest.mark.parametrize("opens", [True, False])
def test_the_browser_is_opened_or_the_address_told(monkeypatch, opens):
    asked: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or opens)
    monkeypatch.setattr(SiteServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    server = SiteServer(Site(FILES), 0)
    serve(server, browser=True, say=said.append)
    assert asked == [server.address]
    assert server.address in said[0]
    assert any("open the address yourself" in line for line in said) is not opens
    assert server.socket.fileno() == -1  # closed


def test_no_browser_is_opened_unless_wanted(monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail("a browser was opened"))
    monkeypatch.setattr(SiteServer, "serve_forever", lambda self: None)
    serve(SiteServer(Site(FILES), 0), browser=False, say=lambda line: None)
