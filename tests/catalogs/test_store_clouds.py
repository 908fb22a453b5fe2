"""What every store promises, on S3, Azure and Google by their own clients, counted on the wire."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import virtual_clock
from clouds import CLOUDS, Azurite, GoogleEmulator
from scripted_proxy import AWAY, BROKEN, CUT, TOO_MANY, Fault, ScriptedProxy
from virtual_clock import VirtualClock

from catalogs.errors import ConfigError, StoreError
from catalogs.images import read_file
from catalogs.pace import pace_of
from catalogs.storage import Storage, configure
from catalogs.store import ObjectInfo, Store


@pytest.fixture(scope="module", params=list(CLOUDS))
def cloud(request: pytest.FixtureRequest) -> Iterator[Any]:
    with CLOUDS[request.param]() as cloud:
        yield cloud


@pytest.fixture
def proxy(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedProxy]:
    with ScriptedProxy(cloud.url) as proxy:
        variables, settings = cloud.variables, cloud.settings
        if cloud.protocol == "s3":
            variables = cloud.environment(proxy.url)
            settings = {"s3": {"endpoint_url": proxy.url}}
        elif cloud.protocol == "az":
            variables, settings = cloud.by_key(proxy.url)
        else:
            settings = cloud.settings_at(proxy.url)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        configure(Storage.model_validate(settings))
        yield proxy
    configure(Storage())


@pytest.fixture
def store(cloud: Any, proxy: ScriptedProxy) -> Store:
    store = Store.open(cloud.bucket() + "/some/where")
    proxy.take()
    return store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return virtual_clock.install(monkeypatch)


def names(found: list[ObjectInfo]) -> list[str]:
    return [info.path for info in found]


def test_every_verb_is_one_request(store: Store, proxy: ScriptedProxy) -> None:
    store.put("a/x", b"12", "application/json")
    assert len(proxy.take()) == 1
    assert store.get("a/x") == b"12"
    assert len(proxy.take()) == 1
    assert store.get("a/y") is None
    assert len(proxy.take()) == 1
    assert store.create("a/z", b"3")
    assert len(proxy.take()) == 1
    if not store.url.startswith("gs://"):  # the emulator does not look at preconditions
        assert not store.create("a/z", b"4")
        assert len(proxy.take()) == 1
    assert store.get("a/z") == b"3"
    proxy.take()
    assert [(info.path, info.size) for info in store.list("a")] == [("a/x", 2), ("a/z", 1)]
    assert len(proxy.take()) == 1
    assert store.list("none") == []
    assert len(proxy.take()) == 1
    assert store.head("a/x") is not None
    assert len(proxy.take()) == 1
    assert store.head("a/y") is None
    assert len(proxy.take()) == 1
    store.counts.clear()
    store.delete(["a/x", "a/none", "a/z"])
    assert len(proxy.take()) == store.counts["delete"]
    assert store.list("a") == []
    store.delete(["a/x"])  # all of them gone already


def test_a_create_is_conditional_whatever_the_emulator_does(
    store: Store, proxy: ScriptedProxy
) -> None:
    """Google's condition is in the request, and its answer 412 means that there is an object."""
    if not store.url.startswith("gs://"):
        pytest.skip("seen in the test before")
    assert store.create("a", b"1")
    [request] = proxy.take()
    assert "ifGenerationMatch=0" in request
    proxy.script.append(Fault(412, "conditionNotMet", "At least one condition did not hold."))
    assert not store.create("a", b"2")
    store.put("a", b"3")
    assert "ifGenerationMatch" not in proxy.take()[-1]


def test_of_many_creators_one_wins(store: Store) -> None:
    if store.url.startswith("gs://"):
        pytest.skip("the emulator does not look at preconditions")
    with ThreadPoolExecutor(8) as pool:
        for turn in range(5):
            won = list(pool.map(lambda i, t=turn: store.create(f"r/{t}", bytes([i])), range(8)))
            assert sum(won) == 1
            assert store.get(f"r/{turn}") == bytes([won.index(True)])


def test_empty_and_large_objects(store: Store) -> None:
    store.put("empty", b"")
    store.put("large", bytes(6_000_000))
    assert store.get("empty") == b""
    assert store.get("large") == bytes(6_000_000)
    assert read_file(store.uri("empty"), 10) == b""
    assert read_file(store.uri("large"), 6_000_000) == bytes(6_000_000)


def test_listings_keep_to_their_folder_and_are_never_old(store: Store) -> None:
    for path in ("r/s1/b", "r/s1/a", "r/s0/c", "rest/d"):
        store.put(path, b"x")
    assert names(store.list("r")) == ["r/s0/c", "r/s1/a", "r/s1/b"]
    other = Store.open(store.url)
    other.put("r/s2", b"x")
    assert "r/s2" in names(store.list("r"))
    other.delete(["r/s2"])
    assert "r/s2" not in names(store.list("r"))
    assert store.list("r/s") == []


def test_a_put_replaces_and_the_stores_clock_says_when(store: Store) -> None:
    store.put("lease", b"1")
    first = store.head("lease")
    time.sleep(1.1)
    store.put("lease", b"22")
    second = store.head("lease")
    assert store.get("lease") == b"22"
    assert first is not None
    assert second is not None
    [listed] = [info for info in [*store.list("leases"), second] if info.path == "lease"]
    assert first.modified is not None
    assert listed.modified is not None
    assert listed.modified.utcoffset() is not None
    assert listed.modified > first.modified
    assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=1)
    store.put("many/x", b"")
    [one] = store.list("many")
    assert one.modified is not None
    assert one.modified.utcoffset() is not None


def test_headers(store: Store, cloud: Any) -> None:
    video = "videos/boat/0123-4567/video.mp4"
    store.put(video, b"0123456789", "video/mp4")
    store.put("index.html", b"<p>")
    assert headers_of(store, cloud, video) == ("video/mp4", "max-age=31536000, immutable")
    kind, cache = headers_of(store, cloud, "index.html")
    assert kind.startswith("text/html")
    assert cache == "no-cache"
    store.create("videos/x/y/poster.jpg", b"x")
    assert headers_of(store, cloud, "videos/x/y/poster.jpg")[0] == "image/jpeg"


def headers_of(store: Any, cloud: Any, path: str) -> tuple[str, str]:
    if cloud.protocol == "s3":
        found = store.fs.call_s3(
            "head_object", Bucket=store.root.split("/")[0], Key=f"some/where/{path}"
        )
        return found["ContentType"], found["CacheControl"]
    found = store.fs.info(f"{store.root}/{path}")
    if cloud.protocol == "gs":
        return found["contentType"], found["cacheControl"]
    return found["content_settings"]["content_type"], found["content_settings"]["cache_control"]


@pytest.mark.parametrize("fault", [BROKEN, AWAY, TOO_MANY, CUT])
def test_each_try_is_one_request(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock, fault: Fault
) -> None:
    store.put("a", b"one and a half")
    for act in (
        lambda: store.get("a"),
        lambda: store.head("a") if fault is not CUT else None,
        lambda: store.list("x") if fault is not CUT else None,
        lambda: store.put("a", b"two") if fault is not CUT else None,
        lambda: store.create("b", b"two") if fault is not CUT else None,
        lambda: read_file(store.uri("a")),
    ):
        proxy.take()
        proxy.script.extend([fault] * 2)
        act()
        assert len(proxy.take()) in (3, 0)
        proxy.script.clear()
    if fault is TOO_MANY:
        assert clock.slept


def test_what_asks_for_fewer_requests_sets_the_pace(
    store: Store, proxy: ScriptedProxy, clock: VirtualClock
) -> None:
    busy = {
        "az": Fault(
            503, "ServerBusy", "The server is busy.", headers={"x-ms-error-code": "ServerBusy"}
        )
    }
    fault = busy.get(urlsplit(store.url).scheme, TOO_MANY)
    store.put("a", b"x")
    proxy.script.extend([fault] * 4)
    store.get("a")
    assert store.name is not None
    assert pace_of(store.name).interval > 0.4


def test_patience_ends(store: Store, proxy: ScriptedProxy, clock: VirtualClock) -> None:
    proxy.every = BROKEN
    start = clock.now
    with pytest.raises(StoreError, match="get of a") as caught:
        store.get("a")
    assert caught.value.kind == "store_5xx"
    assert clock.now - start == pytest.approx(180)


def test_what_is_forbidden_is_not_waited_for(store: Store, proxy: ScriptedProxy) -> None:
    proxy.every = Fault(403, "AccessDenied", "Access Denied")
    with pytest.raises(StoreError):
        store.get("a")
    with pytest.raises(PermissionError):
        read_file(store.uri("a"))
    with pytest.raises(ConfigError, match="is not writable"):
        store.check_writable()
    assert len(proxy.take()) == 3


def test_a_silent_store_is_a_timeout(cloud: Any, store: Store, proxy: ScriptedProxy) -> None:
    settings = {"s3": {"endpoint_url": proxy.url}, **cloud.settings, "timeout": 0.4, "patience": 0}
    if cloud.protocol != "s3":
        reach = cloud.by_key(proxy.url)[1] if cloud.protocol == "az" else None
        settings |= reach or cloud.settings_at(proxy.url)
    configure(Storage.model_validate(settings))
    silent = Store.open(store.url)
    proxy.every = Fault(silent=8, passed_on=True)
    start = time.monotonic()
    for act in (
        lambda: silent.get("a"),
        lambda: silent.put("a", b""),
        lambda: silent.list("a"),
        lambda: silent.head("a"),
        lambda: silent.delete(["a"]),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert caught.value.kind == "store_timeout"
    assert time.monotonic() - start < 5 * 4
    assert len(proxy.take()) == 5


def test_a_store_travels_to_another_process(store: Store, proxy: ScriptedProxy) -> None:
    store.put("x", b"1")
    proxy.take()
    other = pickle.loads(pickle.dumps(store))
    proxy.script.append(BROKEN)
    assert other.get("x") == b"1"
    assert len(proxy.take()) == 2


def test_a_missing_bucket_is_refused_in_a_sentence(cloud: Any, store: Store) -> None:
    with pytest.raises(ConfigError, match=r"output .*nowhere/x is not writable"):
        Store.open(f"{cloud.protocol}://nowhere/x").check_writable()


def test_azure_by_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    with Azurite() as cloud:
        for name, value in cloud.variables.items():
            monkeypatch.setenv(name, value)
        configure(Storage())
        store = Store.open(cloud.bucket() + "/x")
        store.put("a", b"1")
        assert names(store.list("a")) == []
        assert store.get("a") == b"1"


def test_google_by_its_emulators_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with GoogleEmulator() as cloud:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.url)
        configure(Storage.model_validate({"gs": {"anonymous": True}}))
        store = Store.open(cloud.bucket() + "/x")
        store.put("a/b", b"1")
        assert names(store.list("a")) == ["a/b"]
    configure(Storage())
