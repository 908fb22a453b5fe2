"""A proxy in front of an object store that answers wrongly now and then, or not at all.

It passes requests and answers on as they are, counts them, and by its seeded dice lets some fail
the way networks and services fail. The server behind it never learns of that.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any, Self

import aiohttp
from aiohttp import web

# What may befall a request: answered without being passed on; passed on, but the answer is cut.
KINDS = ("500", "503", "silence", "reset", "cut")
SLOW_DOWN = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    "<Message>Please reduce your request rate.</Message></Error>"
)
INTERNAL = SLOW_DOWN.replace("SlowDown", "InternalError")
CONFLICT = SLOW_DOWN.replace("SlowDown", "ConditionalRequestConflict")
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"}


class FaultProxy:
    """A proxy on a free port before ``upstream`` (http://host:port), as a context manager.

    ``rate`` is the share of requests that fail in one of `KINDS`, ``conflicts`` that of conditional
    creates which are done and then answered 409. ``silence`` is how many seconds an answer that
    never comes is held back: longer than its client waits. `refuse` and `serve` take the whole
    store away and bring it back.
    """

    def __init__(
        self,
        upstream: str,
        *,
        seed: int = 0,
        rate: float = 0.0,
        conflicts: float = 0.0,
        silence: float = 10.0,
        kinds: tuple[str, ...] = KINDS,
    ) -> None:
        self.upstream = upstream
        self.rate, self.conflicts, self.silence, self.kinds = rate, conflicts, silence, kinds
        self.requests: Counter[tuple[str, str]] = Counter()  # (verb, first folder of the path)
        self.faults: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._open: set[asyncio.Transport] = set()
        self._gone = False
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def refuse(self) -> None:
        """From now on no connection is accepted, and those that are open break."""
        self._call(self._refuse())

    def serve(self) -> None:
        """Accept connections again, at the same port."""
        self._call(self._listen())

    def total(self, *folders: str) -> int:
        """Requests so far, of all folders or of those named."""
        chosen = (n for (_, folder), n in self.requests.items() if not folders or folder in folders)
        return sum(chosen)

    def _call(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(60)

    async def _start(self) -> None:
        limits = aiohttp.TCPConnector(limit=0)
        self._client = aiohttp.ClientSession(connector=limits, auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        self._gone = False
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def _refuse(self) -> None:
        self._gone = True
        await self._site.stop()
        for transport in list(self._open):
            transport.abort()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None or self._gone:
            return self._broken(transport)
        self._open.add(transport)
        try:
            return await self._answer(request, transport)
        finally:
            self._open.discard(transport)

    async def _answer(self, request: web.Request, wire: asyncio.Transport) -> web.StreamResponse:
        fault = self._fault(request)
        if fault is not None:
            self.faults[fault] += 1
        if fault == "500":
            return web.Response(status=500, text=INTERNAL, content_type="application/xml")
        if fault == "503":
            return web.Response(status=503, text=SLOW_DOWN, content_type="application/xml")
        if fault == "reset":
            return self._broken(wire)
        if fault == "silence":
            await asyncio.sleep(self.silence)
            return self._broken(wire)
        status, headers, body = await self._pass_on(request)
        if fault == "409" and status == 200:
            return web.Response(status=409, text=CONFLICT, content_type="application/xml")
        if fault == "cut":
            return await self._cut(request, wire, status, headers, body)
        if request.method == "HEAD":
            answer = web.StreamResponse(status=status, headers=headers)
            answer.content_length = int(headers.get("Content-Length", 0))
            await answer.prepare(request)
            return answer
        return web.Response(status=status, headers=headers, body=body)

    def _fault(self, request: web.Request) -> str | None:
        """Count the request, and let the dice say what befalls it."""
        path = request.match_info["path"].split("/")
        query = request.query.get("prefix", "").strip("/").split("/")
        folder = (path[2:] or query[1:] or [""])[0] or "?"
        self.requests[request.method, folder] += 1
        chance, which = self._dice.random(), self._dice.choice(self.kinds)
        if chance < self.rate:
            return which
        conditional = request.method == "PUT" and request.headers.get("If-None-Match") == "*"
        return "409" if conditional and chance < self.rate + self.conflicts else None

    async def _pass_on(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = self.upstream + request.raw_path
        async with self._client.request(
            request.method, _raw(url), headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            return answer.status, kept, await answer.read()

    async def _cut(
        self,
        request: web.Request,
        wire: asyncio.Transport,
        status: int,
        headers: dict[str, str],
        body: bytes,
    ) -> web.StreamResponse:
        """Half of the body under the length of the whole; without a body, not even a status."""
        if len(body) < 2 or request.method == "HEAD":
            return self._broken(wire)
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = len(body)
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
        await asyncio.sleep(0.01)  # what was written gets out before the line breaks
        return self._broken(wire)

    @staticmethod
    def _broken(wire: asyncio.Transport | None) -> web.StreamResponse:
        """Break the line; nobody will read the answer given back."""
        if wire is not None:
            wire.abort()
        return web.Response(status=500)


def _raw(url: str) -> Any:
    """The address as the client sent it: its escapes are part of what it signed."""
    from yarl import URL

    return URL(url, encoded=True)
