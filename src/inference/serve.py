"""Serve a site from 127.0.0.1, to this machine alone."""

from __future__ import annotations

import errno
import sys
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from src.inference.site import Site
from src.utils.errors import UserError

HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
TEXT = "text/plain; charset=utf-8"
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; object-src 'none'"
"""The browser refuses every other host, whatever the page asks for."""


class SiteServer(ThreadingHTTPServer):
    """Answers with the files of a site, and with nothing else.

    Args:
        site: the files.
        port: 0 takes a free one.

    Raises:
        UserError: the port is taken, or cannot be opened.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        if not 0 <= port <= 65535:
            raise UserError(f"port={port}: expected a number from 1 to 65535, or 0 for a free one")
        try:
            super().__init__((HOST, port), SiteHandler)
        except OSError as error:
            why = (
                "is taken by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be had ({error.strerror})"
            )
            raise UserError(f"port={port} {why}; port=0 takes a free one") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disconnects before the answer is complete."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Return the address of the page."""
        return f"http://{HOST}:{self.server_port}/"


class SiteHandler(BaseHTTPRequestHandler):
    """One request."""

    server: SiteServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the file, or say that there is none."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as for GET, without the content."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal shows the address."""

    def _answer(self, with_body: bool) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if name not in self.server.site.files:
            self.send_error(HTTPStatus.NOT_FOUND, "The page has no such file")
            return
        content = self.server.site.read(name)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES.get(PurePosixPath(name).suffix, TEXT))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def serve(server: SiteServer, browser: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        server: bound to its port already.
        browser: open the page in the user's browser.
        say: called with each line to print.
    """
    say(f"The page is at {server.address} (this machine only; Ctrl-C ends it)")
    if browser and not _open(server.address):
        say("No browser could be opened; open the address yourself.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("Ended.")
    finally:
        server.server_close()


def _open(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
