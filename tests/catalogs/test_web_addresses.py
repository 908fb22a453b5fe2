"""Web addresses: their one spelling, and which of them are on the public internet."""

from __future__ import annotations

import ipaddress

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.download_network import Unavailable, is_public, parse_address, parse_allowed
from catalogs.errors import ConfigError

NOT_PUBLIC = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_public_internet(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_judged_as_the_one_inside(inner: ipaddress.IPv4Address) -> None:
    packed = int(inner)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | packed)
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | packed)
    assert is_public(str(mapped)) == is_public(str(nat64)) == is_public(str(inner))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "https:///a.png",
        "http://:80/a",
        "http://host:0/",
        "http://host:99999/",
        "http://host:x/",
        "http://user@host/",
        "http://user:s3cret@host/",
        "http://good.example\\@127.0.0.1/",
        "http://good.example\t/",
        "http://a b/",
        "http://host/\r\nX-Injected: 1",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://a..b/",
        "http://" + "a" * 64 + ".example/",
        "http://host/" + "a" * 9000,
        "ftp://host/a",
        "file:///etc/hostname",
        "javascript:alert(1)",
        "http:host",
    ],
)
def test_what_is_no_web_address(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        parse_address(url)
    assert caught.value.code == "bad_url"
    assert "s3cret" not in caught.value.message


def test_addresses_have_one_spelling() -> None:
    assert str(parse_address("HTTPS://Müseum.Example:443/Bäume & Wege.jpg?q=ä b#top")) == (
        "https://xn--mseum-kva.example/B%C3%A4ume%20&%20Wege.jpg?q=%C3%A4%20b"
    )
    assert str(parse_address("http://[2606:4700::1]:8080/%41%20b")) == (
        "http://[2606:4700::1]:8080/%41%20b"
    )


_PIECES = st.sampled_from(
    ["http://", "HTTPS://", "@", ":", "[", "]", "::1", "%", "\\", "#", "?", "..", "/", "127.1", "é"]
)


@given(st.lists(_PIECES | st.text(max_size=5), max_size=8).map("".join))
def test_any_text_is_refused_or_becomes_one_plain_address(text: str) -> None:
    for url in (text, f"http://{text}", f"https://museum.example/{text}"):
        try:
            address = parse_address(url)
        except Unavailable:
            continue
        plain = str(address)
        assert plain.isascii()
        assert plain.isprintable()
        assert " " not in plain
        assert "@" not in address.authority
        assert parse_address(plain) == address
        httpcore.URL(
            scheme=address.scheme, host=address.host, port=address.port, target=address.target
        )


def test_allowed_hosts() -> None:
    assert parse_allowed(["Img.Museum:8080"]) == {("img.museum", 8080)}
    assert parse_allowed(["img"]) == {("img", 80), ("img", 443)}
    assert parse_allowed(["[::1]:81"]) == {("::1", 81)}
    for wrong in ("", "http://x", "x/y", "a@b:1", "x:0", "x:y", "*:80"):
        with pytest.raises(ConfigError):
            parse_allowed([wrong])
