"""What the store on S3 does when the store misbehaves: counted over the wire, by a real server."""

from __future__ import annotations

import logging
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import virtual_clock
from object_server import S3Server
from scripted_proxy import AWAY, BROKEN, CONFLICT, CUT, SLOW_DOWN, TOO_MANY, Fault, ScriptedProxy
from virtual_clock import VirtualClock

from catalogs import addresses, storage
from catalogs.errors import StoreError
from catalogs.images import read_file
from catalogs.pace import pace_of
from catalogs.storage import Storage, configure
from catalogs.store import Store


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedProxy]:
    with ScriptedProxy(server.url) as proxy:
        for name, value in server.environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    yield
    configure(Storage())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return virtual_clock.install(monkeypatch)


@pytest.fixture
def store(server: S3Server, proxy: ScriptedProxy) -> Store:
    # Another endpoint is other settings, so that no client of an earlier test answers.
    configure(Storage.model_validate({"s3": {"endpoint_url": proxy.url}, "timeout": 2}))
    return Store.open(server.bucket() + "/out")


@pytest.mark.parametrize("fault", [BROKEN, AWAY, SLOW_DOWN, TOO_MANY, CUT])
def test_each_try_is_one_request(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock, fault: Fault
) -> None:
    store.put("a", b"one")
    proxy.take()
    proxy.script.extend([fault] * 3)
    assert store.get("a") == b"one"
    assert len(proxy.take()) == 4
    assert store.counts["get"] == 4
    if fault is not CUT:
        proxy.script.extend([fault] * 3)
        store.put("a", b"two")
        assert len(proxy.take()) == 4
        assert store.counts["put"] == 5
        proxy.script.extend([fault] * 3)
        assert store.list("x") == []
        assert len(proxy.take()) == 4
    assert clock.slept


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(BROKEN, "store_5xx"), (AWAY, "store_5xx"), (Fault(418, "Teapot"), "store_error")],
)
def test_patience_ends_and_the_error_says_what_it_was(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock, fault: Fault, kind: str
) -> None:
    configure(Storage.model_validate({**_endpoint(proxy), "patience": 60}))
    proxy.every = fault
    start = clock.now
    with pytest.raises(StoreError, match="get of a") as caught:
        store.get("a")
    assert caught.value.kind == kind
    waited = clock.now - start
    assert waited == pytest.approx(60 if kind == "store_5xx" else 0)


def test_a_store_that_is_away_for_a_minute_is_waited_for(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("a", b"x")
    back = clock.now + 60
    proxy.every = AWAY
    sleep = clock.sleep

    def until_it_is_back(seconds: float) -> None:
        sleep(seconds)
        if clock.now > back:
            proxy.every = None

    clock.sleep = until_it_is_back  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "epa"):
        assert store.get("a") == b"x"
    assert len([r for r in caplog.records if "waiting up to 180 s" in r.message]) == 1


def test_what_is_forbidden_is_not_waited_for(store: Store, proxy: ScriptedProxy) -> None:
    proxy.every = Fault(403, "AccessDenied", "Access Denied")
    with pytest.raises(StoreError, match="Access Denied") as caught:
        store.get("a")
    assert caught.value.kind == "store_error"
    assert len(proxy.take()) == 1


def test_a_silent_store_is_a_timeout(store: Store, proxy: ScriptedProxy) -> None:
    configure(Storage.model_validate({**_endpoint(proxy), "timeout": 0.3, "patience": 0}))
    silent = Store.open(store.url)
    proxy.every = Fault(silent=8, passed_on=True)
    start = time.monotonic()
    for act in (
        lambda: silent.get("a"),
        lambda: silent.put("a", b""),
        lambda: silent.create("b", b""),
        lambda: silent.list("a"),
        lambda: silent.head("a"),
        lambda: silent.delete(["a"]),
        lambda: read_file(silent.uri("a")),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert caught.value.kind == "store_timeout"
    assert time.monotonic() - start < 7 * 4
    assert len(proxy.take()) == 7


def test_an_unknown_host_is_dns(monkeypatch: pytest.MonkeyPatch, server: S3Server) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    address = {"endpoint_url": "http://no-such-host.invalid"}
    configure(Storage.model_validate({"s3": address, "patience": 0}))
    with pytest.raises(StoreError) as caught:
        Store.open("s3://bucket/out").get("a")
    assert caught.value.kind == "dns"


def test_throttling_outlasts_patience_and_slows_all_threads_down(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock
) -> None:
    configure(Storage.model_validate({**_endpoint(proxy), "patience": 5}))
    store.put("a", b"x")
    name = addresses.store_name(store.url) or ""
    back = clock.now + 25  # five times what a store that is away is waited for
    proxy.every = SLOW_DOWN
    sleep = clock.sleep

    def until_it_serves(seconds: float) -> None:
        sleep(seconds)
        if clock.now > back:
            proxy.every = None

    clock.sleep = until_it_serves  # type: ignore[method-assign]
    assert store.get("a") == b"x"
    pace = pace_of(name)
    assert pace.interval > 0.5
    other = Store.open(store.url)  # of another thread, say
    before = clock.now
    for _ in range(40):
        other.get("a")
    assert clock.now - before > 3
    assert pace.interval == 0  # served again as fast as it can be
    proxy.every = SLOW_DOWN
    clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(StoreError) as caught:
        store.get("a")
    assert caught.value.kind == "store_5xx"


def test_a_store_with_a_limit_is_served_by_many_threads(
    store: Store, proxy: ScriptedProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real clock and a store that bears ten requests a second: nothing fails, few are refused."""
    monkeypatch.setattr("catalogs.pace._PACES", {})
    store.put("a", b"x")
    proxy.take()
    handle, last = proxy._handle, [0.0]

    def limited(request: object) -> None:
        with proxy._lock:
            now = time.monotonic()
            proxy.every = SLOW_DOWN if now - last[0] < 0.1 else None
            last[0] = now if proxy.every is None else last[0]
        handle(request)  # type: ignore[arg-type]

    monkeypatch.setattr(proxy, "_handle", limited)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: store.get("a"), range(16)))
    assert got == [b"x"] * 16
    assert len(proxy.take()) < 16 * 4


def test_a_create_that_was_done_and_answered_409_is_found_again(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock
) -> None:
    proxy.script.append(CONFLICT)
    assert not store.create("r/x", b"mine")
    assert [line.split("?")[0].split("/")[-1] for line in proxy.take()] == ["x", "x"]
    assert store.get("r/x") == b"mine"


def test_deletions_that_fail_are_tried_again(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers 200 to a deletion of many and names those that it could not do."""
    for name in "ab":
        store.put(name, b"")
    stock = proxy._ask
    answers = [
        b"<DeleteResult><Error><Key>out/b</Key><Code>InternalError</Code>"
        b"<Message>later</Message></Error></DeleteResult>"
    ]

    def partly(*arguments: object) -> object:
        status, headers, data = stock(*arguments)  # type: ignore[arg-type]
        return status, headers, answers.pop() if answers else data

    monkeypatch.setattr(proxy, "_ask", partly)
    store.delete(["a", "b"])
    assert store.counts["delete"] == 2
    answers.append(
        b"<DeleteResult><Error><Key>out/b</Key><Code>AccessDenied</Code>"
        b"<Message>no</Message></Error></DeleteResult>"
    )
    with pytest.raises(StoreError, match="AccessDenied"):
        store.delete(["a", "b"])


def test_headers_by_path(store: Store) -> None:
    """A browser plays a video from the bucket: type, caching, and ranges."""
    video = "videos/boat/0123-4567/video.mp4"
    store.put(video, bytes(range(256)) * 100, "video/mp4")
    replaced = ["index.html", "gallery/works.json", "run.yaml", "catalog/catalog.parquet"]
    for path in replaced:
        store.put(path, b"x")

    def place(path: str) -> str:
        return str(store.fs.url(f"{store.root}/{path}"))  # type: ignore[attr-defined]

    with urllib.request.urlopen(place(video)) as answer:
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"
    asked = urllib.request.Request(place(video), headers={"Range": "bytes=300-399"})
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == "bytes 300-399/25600"
        assert answer.read() == (bytes(range(256)) * 100)[300:400]
    kinds = {}
    for path in replaced:
        with urllib.request.urlopen(place(path)) as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
            kinds[path] = answer.headers["Content-Type"]
    assert kinds["run.yaml"] == "application/yaml"
    assert kinds["index.html"].startswith("text/html")


def test_a_large_object_is_one_put(store: Store, proxy: ScriptedProxy) -> None:
    configure(Storage.model_validate(_endpoint(proxy)))
    store = Store.open(store.url)
    store.put("large", bytes(101 << 20))  # s3fs would cut it in parts
    assert len(proxy.take()) == 1
    found = store.head("large")
    assert found is not None
    assert found.size == 101 << 20


def test_times_are_the_stores_own(store: Store) -> None:
    store.put("l", b"1")
    first = store.head("l")
    time.sleep(1.1)
    store.put("l", b"22")
    listed = store.head("l")
    assert first is not None
    assert listed is not None
    assert first.modified is not None
    assert listed.modified is not None
    assert listed.modified.tzinfo is not None
    assert listed.modified > first.modified
    assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=1)


def test_settings_reach_the_client(server: S3Server, proxy: ScriptedProxy) -> None:
    settings = {
        "s3": {"endpoint_url": proxy.url, "path_style": True, "region": "eu-north-1"},
        "timeout": 7,
    }
    bucket = server.bucket()
    configure(Storage.model_validate(settings))
    store = Store.open(f"{bucket}/out")
    store.put("a", b"")
    config = store.fs.s3.meta.config  # type: ignore[attr-defined]
    assert (config.connect_timeout, config.read_timeout) == (7, 7)
    assert config.s3["addressing_style"] == "path"
    assert config.region_name == "eu-north-1"
    assert [line.split("?")[0] for line in proxy.take()] == [f"PUT /{bucket[5:]}/out/a"]


def test_anonymous_requests_are_not_signed(server: S3Server, proxy: ScriptedProxy) -> None:
    settings = {"s3": {"endpoint_url": proxy.url, "anonymous": True}}
    configure(Storage.model_validate(settings))
    store = Store.open(server.bucket() + "/out")
    signed: list[str | None] = []
    stock = proxy._body

    def look(request: object) -> bytes:
        signed.append(request.headers.get("Authorization"))  # type: ignore[attr-defined]
        return stock(request)  # type: ignore[arg-type]

    proxy._body = look  # type: ignore[method-assign]
    assert store.get("a") is None
    assert signed == [None]


def test_time_outs_are_there_before_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_current", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = Store.open("s3://bucket/elsewhere")
    config = store.fs.config_kwargs  # type: ignore[attr-defined]
    assert (config["connect_timeout"], config["read_timeout"]) == (15, 60)


def _endpoint(proxy: ScriptedProxy) -> dict[str, object]:
    return {"s3": {"endpoint_url": proxy.url}}
