"""A real web server on this machine that serves pictures and misbehaves on request."""

from __future__ import annotations

import io
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from paintings import painting


def png(seed: int, width: int = 40, height: int = 32) -> bytes:
    """A small picture; another one for every seed."""
    file = io.BytesIO()
    painting(seed, width, height).save(file, "PNG")
    return file.getvalue()


class Asked(BaseHTTPRequestHandler):
    """One request; routes of the server answer it."""

    protocol_version = "HTTP/1.1"
    server: PictureServer

    def do_GET(self) -> None:
        self.server.saw(self)
        route = self.server.routes.get(self.path.partition("?")[0])
        try:
            if route is None:
                self.answer(404, b"no such picture")
            else:
                route(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.left()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `Content_Type="x"` names a header."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **given}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class PictureServer(ThreadingHTTPServer):
    """Serves `routes` (path -> what answers) and counts requests and those at one time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Asked)
        self.routes: dict[str, Callable[[Asked], object]] = {}
        self.counts: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.server_address[0]!s}:{self.server_address[1]}"

    def url(self, path: str) -> str:
        """The address of a route."""
        return f"http://{self.place}{path}"

    def picture(self, path: str, body: bytes) -> str:
        """Serve these bytes at a path; returns its URL."""
        self.routes[path] = lambda asked: asked.answer(200, body)
        return self.url(path)

    def saw(self, asked: Asked) -> None:
        with self._lock:
            self.counts[asked.path] += 1
            self.headers.append(dict(asked.headers.items()))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def left(self) -> None:
        with self._lock:
            self._now -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are what some tests are about


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[PictureServer]:
    """A running server for the time of a `with` block; over TLS with a context."""
    server = PictureServer()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
