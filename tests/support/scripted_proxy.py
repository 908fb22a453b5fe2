"""A proxy in front of a store that misbehaves as it is told and remembers every request."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


@dataclass(frozen=True)
class Fault:
    """What befalls one request.

    `passed_on`: the store sees it before the answer is replaced. `cut`: its answer breaks off.
    `silent`: seconds until anything is answered.
    """

    status: int = 0
    code: str = ""
    message: str = ""
    passed_on: bool = False
    cut: bool = False
    silent: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


SLOW_DOWN = Fault(503, "SlowDown", "Please reduce your request rate.")
BROKEN = Fault(500, "InternalError", "We encountered an internal error.")
AWAY = Fault(503, "ServiceUnavailable", "Service is unable to handle request.")
TOO_MANY = Fault(429, "TooManyRequests", "Please slow down.")
# S3's answer to a create that met another one, which is this very one when an answer was lost.
CONFLICT = Fault(409, "ConditionalRequestConflict", "Conflict.", passed_on=True)
CUT = Fault(passed_on=True, cut=True)


class ScriptedProxy:
    """Listens on a free port before `upstream`; the faults of `script` meet the next requests."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.script: deque[Fault | None] = deque()
        self.every: Fault | None = None  # meets every request while the script is empty
        self.seen: list[str] = []  # "GET /bucket/key?query"
        self.times: list[float] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy._handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_PATCH = handle_one

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self) -> list[str]:
        """What came in since this was last asked."""
        with self._lock:
            seen, self.seen = self.seen, []
        return seen

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = self._body(request)
        with self._lock:
            self.seen.append(f"{request.command} {request.path}")
            self.times.append(time.monotonic())
            fault = self.script.popleft() if self.script else self.every
        if fault is not None and fault.silent:
            time.sleep(fault.silent)
        if fault is None or fault.passed_on:
            status, headers, data = self._ask(request, body)
        else:
            status, headers, data = 0, [], b""
        if fault is not None and fault.status:
            status = fault.status
            data = _ERROR.format(code=fault.code, message=fault.message).encode()
            headers = [("Content-Type", "application/xml"), *fault.headers.items()]
        cut = fault is not None and fault.cut
        self._answer(request, status or 500, headers, data, cut)

    @staticmethod
    def _body(request: http.server.BaseHTTPRequestHandler) -> bytes:
        if "chunked" in request.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(request.rfile.readline().split(b";")[0], 16):
                parts.append(request.rfile.read(size))
                request.rfile.readline()
            request.rfile.readline()
            return b"".join(parts)
        if request.headers.get("Expect") == "100-continue":
            request.send_response_only(100)
            request.end_headers()
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))

    def _ask(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port)
        try:
            drop = {"transfer-encoding", "expect", "connection", "content-length"}
            named = {k: v for k, v in request.headers.items() if k.lower() not in drop}
            connection.request(request.command, request.path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    @staticmethod
    def _answer(
        request: http.server.BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        data: bytes,
        cut: bool,
    ) -> None:
        try:
            request.send_response_only(status)
            length = str(len(data))
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value  # a HEAD has one without a body
                elif name.lower() not in ("transfer-encoding", "connection"):
                    request.send_header(name, value)
            length = length if request.command == "HEAD" else str(len(data))
            request.send_header("Content-Length", length)
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                request.close_connection = True
        except OSError:  # the client has gone
            request.close_connection = True
