"""One file from the web: asked for politely, followed through redirects, taken within limits."""

from __future__ import annotations

import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TypeVar

import httpcore

from catalogs import retries
from catalogs.download_network import (
    Passing,
    PublicNetwork,
    Resolver,
    Unavailable,
    WebAddress,
    parse_address,
    resolve,
)
from catalogs.errors import ConfigError, StoreError

T = TypeVar("T")

MAX_REDIRECTS = 5
MAX_RETRY_AFTER = 600.0  # seconds a server may ask to be left alone; beyond, its files fail
# After so many connections that failed in a row, and so many seconds without an answer, a host is
# taken to be down: the rest of its files are left for another time at once.
FAILURES_IN_A_ROW = 20
SILENCE = 60.0
_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])


@dataclass(frozen=True)
class FetchLimits:
    """How much, how long and how hard: bytes and seconds of one file, further tries, connections.

    `total` seconds are for one request, `connect` and `read` for one wait within it; `backoff` is
    the longest pause before the second try, doubled with each further one.
    """

    max_bytes: int = 200_000_000
    connect: float = 15.0
    read: float = 30.0
    total: float = 600.0
    retries: int = 4
    backoff: float = 1.0
    per_host: int = 2


@dataclass
class _Host:
    slots: threading.BoundedSemaphore
    not_before: float = 0.0
    failures: int = 0
    heard: float = field(default_factory=time.monotonic)

    @property
    def down(self) -> bool:
        silent = time.monotonic() - self.heard >= SILENCE
        return silent and self.failures >= FAILURES_IN_A_ROW


class Hosts:
    """Turns at the servers: so many connections to a host at once, none while it wants a rest."""

    def __init__(self, per_host: int) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._hosts: defaultdict[str, _Host] = defaultdict(
            lambda: _Host(threading.BoundedSemaphore(per_host))
        )

    @contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait for a turn at the host and hold it; Unavailable where it is taken to be down."""
        with self._lock:
            known = self._hosts[host]
        with known.slots:
            while (rest := known.not_before - time.monotonic()) > 0 and not self.stopped.is_set():
                self.stopped.wait(rest)
            self.check()
            if known.down:
                raise Unavailable("host_down", f"{host} did not answer {known.failures} times.")
            yield

    def rest(self, host: str, seconds: float) -> None:
        """Leave the host alone for so long."""
        with self._lock:
            known = self._hosts[host]
            known.not_before = max(known.not_before, time.monotonic() + seconds)

    def answered(self, host: str, answered: bool) -> None:
        """Note whether the host answered at all."""
        with self._lock:
            known = self._hosts[host]
            known.failures = 0 if answered else known.failures + 1
            known.heard = time.monotonic() if answered else known.heard

    def check(self) -> None:
        """Unavailable once the whole download is given up."""
        if self.stopped.is_set():
            raise Unavailable("stopped", "the download was stopped.")


@dataclass
class Fetcher:
    """Fetches files over http(s) from public addresses, or from hosts that are `allowed`.

    Sends no cookies, no credentials and no referrer, and uses no proxy: behind one, nobody here
    could judge the address that is connected to. Safe to use from many threads.
    """

    limits: FetchLimits = field(default_factory=FetchLimits)
    allowed: frozenset[tuple[str, int]] = frozenset()
    contact: str = ""
    resolver: Resolver = resolve
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.hosts = Hosts(self.limits.per_host)
        self._deadline = threading.local()
        network = PublicNetwork(self.allowed, self._seconds_left, self.resolver)
        context = self.ssl_context or httpcore.default_ssl_context()
        self._pool = httpcore.ConnectionPool(
            context, max_connections=100, keepalive_expiry=5.0, network_backend=network
        )
        self._agent = user_agent(self.contact)

    def close(self) -> None:
        """Give up what is under way and close all connections."""
        self.hosts.stopped.set()
        self._pool.close()

    def fetch(self, url: str, check: Callable[[bytes], T]) -> tuple[bytes, T]:
        """The bytes at a URL and what `check` says of them; Unavailable where they cannot be had.

        `check` may raise Unavailable, or Passing for bytes that look cut short.
        """
        tries = 0

        def once() -> tuple[bytes, T]:
            nonlocal tries
            tries += 1
            try:
                data = self._follow(url)
                return data, check(data)
            except Passing as error:
                if tries > self.limits.retries:
                    raise Unavailable(error.code, f"{error} ({tries} tries)") from error
                raise

        try:
            return retries.attempt(
                once,
                f"fetching {url}",
                backoff=self.limits.backoff,
                tries=self.limits.retries + 1,
            )
        except StoreError as error:
            raise Unavailable("unreachable", str(error)) from error

    def _follow(self, url: str) -> bytes:
        address = parse_address(url)
        for _ in range(MAX_REDIRECTS + 1):
            with self.hosts.turn(address.authority):
                answer = self._ask(address)
            if isinstance(answer, bytes):
                return answer
            address = answer
        raise Unavailable("too_many_redirects", f"{url} redirects over {MAX_REDIRECTS} times.")

    def _ask(self, address: WebAddress) -> bytes | WebAddress:
        """The body at an address, or where it redirects to."""
        self._deadline.at = time.monotonic() + self.limits.total
        try:
            with self._stream(address) as response:
                self.hosts.answered(address.authority, True)
                return self._answer(address, response)
        except httpcore.UnsupportedProtocol as error:
            raise Unavailable("bad_url", f"{address}: {error}.") from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            unheard = isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout)
            if unheard:
                self.hosts.answered(address.authority, False)
            if _distrusted(error):
                raise Unavailable("bad_certificate", f"{address}: {error}.") from error
            self._seconds_left()  # a wait that ended with the whole time is not tried again
            code = "timeout" if isinstance(error, httpcore.TimeoutException) else "connection"
            told = str(error) or type(error).__name__
            raise Passing("unreachable" if unheard else code, f"{address}: {told}.") from error

    def _stream(self, address: WebAddress) -> AbstractContextManager[httpcore.Response]:
        headers = [
            ("Host", address.authority),
            ("User-Agent", self._agent),
            ("Accept", "image/*, */*;q=0.5"),
            # Else a few compressed bytes could become gigabytes here.
            ("Accept-Encoding", "identity"),
        ]
        waits = {"connect": self.limits.connect, "read": self.limits.read}
        timeout = {**waits, "write": self.limits.read, "pool": self.limits.total}
        url = httpcore.URL(
            scheme=address.scheme, host=address.host, port=address.port, target=address.target
        )
        return self._pool.stream("GET", url, headers=headers, extensions={"timeout": timeout})

    def _answer(self, address: WebAddress, response: httpcore.Response) -> bytes | WebAddress:
        status = response.status
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if status in _REDIRECTS and b"location" in headers:
            return address.follow(_location(headers[b"location"]))
        if status in _PASSING:
            self._heed(address, status, headers.get(b"retry-after"))
            raise Passing(f"http_{status}", f"{address} answers {status}.")
        if status != 200:
            raise Unavailable(f"http_{status}", f"{address} answers {status}.")
        if headers.get(b"content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise Unavailable("encoded", f"{address} answers in an encoding not asked for.")
        return self._body(address, response, headers.get(b"content-length", ""))

    def _body(self, address: WebAddress, response: httpcore.Response, announced: str) -> bytes:
        """The body, never more of it in memory than is allowed, whatever its header says."""
        limit = self.limits.max_bytes
        too_large = Unavailable("too_large", f"{address} has more than {limit} bytes.")
        if announced.isdecimal() and int(announced[:20]) > limit:
            raise too_large
        data = bytearray()
        for chunk in response.iter_stream():
            self.hosts.check()
            self._seconds_left()
            data += chunk
            if len(data) > limit:
                raise too_large
        return bytes(data)

    def _heed(self, address: WebAddress, status: int, asked: str | None) -> None:
        """Leave the host alone for as long as it asks; Unavailable where that is too long."""
        seconds = retry_after(asked)
        if seconds > MAX_RETRY_AFTER:
            raise Unavailable(
                f"http_{status}", f"{address} answers {status}, come back in {seconds:.0f} s."
            )
        if seconds > 0:
            self.hosts.rest(address.authority, seconds)

    def _seconds_left(self) -> float:
        left: float = self._deadline.at - time.monotonic()
        if left <= 0:
            raise Unavailable("too_slow", f"the file took more than {self.limits.total:g} s.")
        return left


def _location(header: str) -> str:
    """A redirect's target; servers send UTF-8 in it though they should not."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return header


def _distrusted(error: BaseException | None) -> bool:
    """Whether a certificate was refused, somewhere in the causes."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, 0 where it is missing or unreadable."""
    text = (value or "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def user_agent(contact: str = "") -> str:
    """What servers are told of who asks; some want a way to complain. Raises ConfigError."""
    if not (contact.isascii() and contact.isprintable() and len(contact) <= 200):
        raise ConfigError(f"--contact {contact!r}: one line of plain ASCII, up to 200 characters.")
    return f"epa/{version('epa')}" + (f" ({contact})" if contact else "")
