"""Connections to the public web: which addresses may be asked, judged where a socket is opened."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from catalogs.errors import ConfigError

MAX_URL = 8192
MAX_ADDRESSES = 4  # of one host that are tried
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")  # parsers disagree on what these mean in a URL
# Services that a cloud's machines alone can ask, and that tell them secrets. Private or not,
# whoever lists pictures must not have them asked.
_HOST_SERVICES = {
    "169.254.169.254": "metadata and credentials of a machine in AWS, Azure and Google Cloud",
    "168.63.129.16": "Azure's host of a machine: settings, certificates, DNS; a public address",
}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# `%` stays: what is quoted already is not quoted twice.
_PATH, _QUERY = "/%:@!$&'()*+,;=~-._[]", "/?%:@!$&'()*+,;=~-._[]"

Resolver = Callable[[str, int], list[str]]


class Unavailable(Exception):
    """A file that cannot be had: a stable code to count by, and one sentence for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Passing(OSError):
    """A failure that may be gone another time; `retries.attempt` tries again after it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class WebAddress:
    """One http(s) address in the only spelling that is used from here on."""

    scheme: str
    host: str
    port: int
    target: str  # path and query

    @property
    def authority(self) -> str:
        """Host, and port where it is not the usual one: what the Host header says."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _PORTS[self.scheme] else f"{shown}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def follow(self, location: str) -> WebAddress:
        """Where a redirect leads; Unavailable for a step from https down to http."""
        following = parse_address(urljoin(str(self), location))
        if self.scheme == "https" and following.scheme == "http":
            raise Unavailable("bad_redirect", f"{self} redirects from https to http.")
        return following


def is_web(uri: str | None) -> bool:
    """Whether this is an address on the web."""
    return uri is not None and uri.strip().lower().startswith(("http://", "https://"))


def parse_address(url: str) -> WebAddress:
    """The parts of an http(s) URL, non-ASCII characters encoded; Unavailable for any other."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        port, host = parts.port, _ascii_host(parts.hostname or "")
    except ValueError as error:
        raise Unavailable("bad_url", f"{url!r} is no web address: {error}.") from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise Unavailable("bad_url", f"{url!r} is neither http nor https.")
    if "@" in parts.netloc:
        raise Unavailable("bad_url", f"an address on {host!r} holds a user name or password.")
    if len(text) > MAX_URL or _FORBIDDEN.search(text) or port == 0:
        raise Unavailable("bad_url", f"{url[:200]!r} is no web address.")
    target = quote(parts.path or "/", safe=_PATH, errors="replace")
    if parts.query:
        target += "?" + quote(parts.query, safe=_QUERY, errors="replace")
    return WebAddress(scheme, host, port or _PORTS[scheme], target)


def _ascii_host(name: str) -> str:
    """A host as names are asked for: lower case, IDNA; ValueError for what is none."""
    if ":" in name and "%" not in name:
        return str(ipaddress.IPv6Address(name))
    host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{name!r} is no host")
    return host


def parse_allowed(values: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Hosts and ports named as HOST or HOST:PORT; the two usual ports where none is given."""
    found: set[tuple[str, int]] = set()
    for value in values:
        try:
            parts = urlsplit(f"//{value}")
            host, port = _ascii_host(parts.hostname or ""), parts.port
            if parts.netloc != value or "@" in value or port == 0:
                raise ValueError("it is more than that")
        except ValueError as error:
            raise ConfigError(
                f"--allow-host {value!r} is no HOST or HOST:PORT, like images.museum:8080: {error}"
            ) from error
        found |= {(host, known) for known in ([port] if port else _PORTS.values())}
    return frozenset(found)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, whatever it is wrapped in."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if str(ip) in _HOST_SERVICES:
        return False
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback
    return ip.is_global and not (special or ip.is_link_local or ip.is_private)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which the system would try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class PublicNetwork(httpcore.NetworkBackend):
    """Opens sockets to public addresses only.

    A host's name is resolved once, every answer is judged, and the socket goes to one of the very
    addresses that were judged: a name that resolves differently the next time gains nothing.
    `allowed` (host, port) may lie anywhere. `seconds_left` bounds every wait on a connection.
    """

    def __init__(
        self,
        allowed: frozenset[tuple[str, int]],
        seconds_left: Callable[[], float],
        resolver: Resolver = resolve,
    ) -> None:
        self._allowed = allowed
        self._left = seconds_left
        self._resolve = resolver
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to a judged address; Unavailable for a host that may not be asked."""
        error: Exception = Passing("unreachable", f"{host} has no address.")
        for address in self._addresses(host, port)[:MAX_ADDRESSES]:
            try:
                stream = self._sockets.connect_tcp(
                    address,
                    port,
                    timeout=min(timeout or self._left(), self._left()),
                    local_address=local_address,
                    socket_options=socket_options,
                )
                return _TimedStream(stream, self._left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = self._resolve(host, port)
        except (socket.gaierror, UnicodeError) as error:
            if getattr(error, "errno", None) == socket.EAI_AGAIN:
                raise Passing("unreachable", f"{host} cannot be looked up: {error}") from error
            raise Unavailable("no_such_host", f"there is no host {host!r}.") from error
        if (host, port) not in self._allowed:
            hidden = next((address for address in found if not is_public(address)), None)
            if hidden is not None:
                raise Unavailable(
                    "private_address",
                    f"{host} is {hidden}, which is not on the public internet; "
                    f"if it is yours, allow it with --allow-host {host}:{port}.",
                )
        return found


class _TimedStream(httpcore.NetworkStream):
    """A connection on which no wait is longer than what is left of the whole time."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._bounded(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._bounded(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._bounded(timeout))
        return _TimedStream(stream, self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _bounded(self, timeout: float | None) -> float:
        left = self._left()
        return left if timeout is None else min(timeout, left)
