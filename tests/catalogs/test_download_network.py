"""Which addresses the download asks: what is judged is the address connected to."""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from picture_server import Asked, PictureServer, png, serving

from catalogs.download_fetch import Fetcher, FetchLimits
from catalogs.download_network import Unavailable, parse_allowed

QUICK = FetchLimits(retries=1, backoff=0.01, connect=2, read=2, total=5)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as running:
        running.picture("/a.png", png(1))
        yield running


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(Unavailable) as caught:
        fetcher.fetch(url, len)
    return caught.value.code


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0",
    ],
)
def test_every_spelling_of_this_machine_is_refused(server: PictureServer, host: str) -> None:
    port = server.server_address[1]
    assert refusal(Fetcher(QUICK), f"http://{host}:{port}/a.png") in ("private_address", "bad_url")
    assert not server.counts


def test_only_the_named_host_and_port_are_exempt(server: PictureServer) -> None:
    fetcher = Fetcher(QUICK, parse_allowed([server.place]))
    assert fetcher.fetch(server.url("/a.png"), len)[0] == png(1)
    with serving() as other:
        assert refusal(fetcher, other.url("/a.png")) == "private_address"
        assert not other.counts
    port = server.server_address[1]
    assert refusal(fetcher, f"http://localhost:{port}/a.png") == "private_address"


def test_a_name_is_resolved_once_and_the_socket_goes_where_was_looked(
    server: PictureServer,
) -> None:
    """DNS rebinding: the first answer is public, every later one is this machine."""
    answers = iter([["192.0.2.1"], ["127.0.0.1"]])  # the first is judged, and is not routed
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    import catalogs.download_network as network

    judged = network.is_public
    try:
        # As if the documentation's network were public: nothing public is reached from here.
        network.is_public = lambda address: address.startswith("192.0.2.") or judged(address)
        fetcher = Fetcher(FetchLimits(retries=0, connect=0.5), resolver=rebinding)
        port = server.server_address[1]
        assert refusal(fetcher, f"http://localhost:{port}/a.png") == "unreachable"
        assert asked == ["localhost"]
        assert refusal(fetcher, f"http://localhost:{port}/a.png") == "private_address"
    finally:
        network.is_public = judged
    assert not server.counts


def test_one_private_answer_among_public_ones_is_enough(server: PictureServer) -> None:
    mixed = Fetcher(QUICK, resolver=lambda host, port: ["93.184.215.14", "127.0.0.1"])
    port = server.server_address[1]
    assert refusal(mixed, f"http://mixed.example:{port}/a.png") == "private_address"


def test_every_redirect_is_judged(server: PictureServer) -> None:
    with serving() as inside:
        inside.picture("/secret", png(2))
        target = inside.url("/secret")
        server.routes["/r"] = lambda asked: asked.answer(302, Location=target)
        fetcher = Fetcher(QUICK, parse_allowed([server.place]))
        assert refusal(fetcher, server.url("/r")) == "private_address"
        assert not inside.counts


@pytest.mark.parametrize(
    "location", ["ftp://example.org/a", "file:///etc/hostname", "http://u:p@example.org/"]
)
def test_redirects_to_other_things_than_plain_web_addresses(
    server: PictureServer, location: str
) -> None:
    server.routes["/r"] = lambda asked: asked.answer(301, Location=location)
    fetcher = Fetcher(QUICK, parse_allowed([server.place]))
    assert refusal(fetcher, server.url("/r")) == "bad_url"


def test_redirects_are_followed_five_times(server: PictureServer) -> None:
    for number in range(1, 7):
        below = f"/hop{number - 1}" if number > 1 else "/a.png"
        server.routes[f"/hop{number}"] = lambda asked, to=below: asked.answer(307, Location=to)
    server.routes["/loop"] = lambda asked: asked.answer(302, Location="/loop")
    fetcher = Fetcher(QUICK, parse_allowed([server.place]))
    assert fetcher.fetch(server.url("/hop5"), len)[0] == png(1)
    assert refusal(fetcher, server.url("/hop6")) == "too_many_redirects"
    assert refusal(fetcher, server.url("/loop")) == "too_many_redirects"
    assert server.counts["/loop"] == 6


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of pictures.example, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pictures.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pictures.example")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, plain)
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_tls_speaks_for_the_name_not_for_the_address(certificate: Path) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate)
    with serving(ours) as server:
        server.picture("/a.png", png(1))
        server.routes["/down"] = lambda asked: asked.answer(302, Location="http://x.example/")
        port = server.server_address[1]
        allowed = parse_allowed([f"pictures.example:{port}", f"other.example:{port}"])

        def here(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        trusting = ssl.create_default_context(cafile=str(certificate))
        fetcher = Fetcher(QUICK, allowed, resolver=here, ssl_context=trusting)
        assert fetcher.fetch(f"https://pictures.example:{port}/a.png", len)[0] == png(1)
        assert refusal(fetcher, f"https://other.example:{port}/a.png") == "bad_certificate"
        assert refusal(fetcher, f"https://pictures.example:{port}/down") == "bad_redirect"
        strict = Fetcher(QUICK, allowed, resolver=here)
        assert refusal(strict, f"https://pictures.example:{port}/a.png") == "bad_certificate"


def test_proxies_and_credentials_of_the_environment_are_not_used(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password word\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        server.routes["/c"] = lambda asked: asked.answer(200, b"x", Set_Cookie="a=b; Path=/")
        fetcher = Fetcher(QUICK, parse_allowed([server.place]), contact="us@museum.example")
        for _ in range(2):
            fetcher.fetch(server.url("/c"), len)
        assert not proxy.counts
    sent = server.headers[-1]
    assert set(sent) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}
    assert sent["Accept-Encoding"] == "identity"
    assert sent["User-Agent"].startswith("epa/")
    assert "us@museum.example" in sent["User-Agent"]


def test_headers_that_drip_end_with_the_whole_time(server: PictureServer) -> None:
    def drip(asked: Asked) -> None:
        asked.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(1200):  # a minute
            asked.wfile.write(b"X-A: b\r\n")
            asked.wfile.flush()
            time.sleep(0.05)

    server.routes["/drip"] = drip
    limits = FetchLimits(retries=0, read=0.4, total=0.5)
    start = time.monotonic()
    assert (
        refusal(Fetcher(limits, parse_allowed([server.place])), server.url("/drip")) == "too_slow"
    )
    assert time.monotonic() - start < 20


def test_a_silent_server_is_waited_for_no_longer_than_the_whole_time(server: PictureServer) -> None:
    server.routes["/silent"] = lambda asked: time.sleep(60)
    limits = FetchLimits(retries=0, read=60, total=0.5)
    start = time.monotonic()
    fetcher = Fetcher(limits, parse_allowed([server.place]))
    assert refusal(fetcher, server.url("/silent")) == "too_slow"
    assert time.monotonic() - start < 20
