"""The store on S3: an S3 server in this process, and the requests it really receives."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from catalogs import ledger as ledgers
from catalogs import paths
from catalogs.errors import ConfigError, StoreError
from catalogs.plan import Work, make_plan
from catalogs.records import Record, commit
from catalogs.store import Store
from catalogs.store_remote import RemoteStore

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def options(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": endpoint},
    }


class Wire:
    """Counts the requests that leave for the server."""

    def __init__(self, store: RemoteStore) -> None:
        self.requests: Counter[str] = Counter()
        client = store.fs.call_s3.__self__.s3
        client.meta.events.register("before-send.s3", self._seen)

    def _seen(self, request: Any, event_name: str, **_: Any) -> None:
        self.requests[event_name.rpartition(".")[2]] += 1

    def take(self) -> dict[str, int]:
        seen, self.requests = dict(self.requests), Counter()
        return seen


@pytest.fixture
def store(request: pytest.FixtureRequest, options: dict[str, Any]) -> RemoteStore:
    bucket = f"b{abs(hash(request.node.name))}"
    store = Store.open(f"s3://{bucket}/some/where", options=options)
    assert isinstance(store, RemoteStore)
    store.fs.mkdir(bucket)
    return store


def test_every_verb_is_one_request(store: RemoteStore) -> None:
    wire = Wire(store)
    store.put("a/x", b"12", "application/json")
    assert wire.take() == {"PutObject": 1}
    assert store.get("a/x") == b"12"
    assert wire.take() == {"GetObject": 1}
    assert store.get("a/y") is None
    assert wire.take() == {"GetObject": 1}
    assert store.create("a/z", b"3")
    assert wire.take() == {"PutObject": 1}
    assert not store.create("a/z", b"4")
    assert wire.take() == {"PutObject": 1}
    assert [(info.path, info.size) for info in store.list("a")] == [("a/x", 2), ("a/z", 1)]
    assert wire.take() == {"ListObjectsV2": 1}
    assert store.list("none") == []
    assert wire.take() == {"ListObjectsV2": 1}
    assert store.head("a/x") is not None
    assert wire.take() == {"HeadObject": 1}
    store.delete(["a/x", "a/z", "a/none"])
    assert wire.take() == {"DeleteObjects": 1}
    assert store.list("a") == []
    expected = {"put": 1, "get": 2, "create": 2, "list": 3, "head": 1, "delete": 1}
    assert store.counts == expected


def test_the_content_type_travels(store: RemoteStore) -> None:
    store.put("page.html", b"<p>", "text/html")
    store.create("v.mp4", b"0", "video/mp4")
    info = {name: store.fs.info(f"{store.root}/{name}") for name in ("page.html", "v.mp4")}
    assert info["page.html"]["ContentType"] == "text/html"
    assert info["v.mp4"]["ContentType"] == "video/mp4"
    assert store.uri("v.mp4").startswith("s3://b")
    assert store.uri("v.mp4").endswith("/some/where/v.mp4")


def test_listing_sees_what_another_client_wrote(
    store: RemoteStore, options: dict[str, Any]
) -> None:
    other = Store.open(store.url, options={**options, "skip_instance_cache": True})
    store.put("r/1", b"")
    assert len(store.list("r")) == 1
    other.put("r/2", b"")
    assert len(store.list("r")) == 2
    assert all(info.modified for info in store.list("r"))


def test_a_listing_of_two_pages_counts_twice(
    store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    monkeypatch.setattr("catalogs.store.BATCH", 10)
    names = [f"many/{i:04d}" for i in range(11)]
    store.fs.pipe({f"{store.root}/{name}": b"" for name in names})
    wire = Wire(store)
    assert [info.path for info in store.list("many")] == names
    assert wire.take() == {"ListObjectsV2": 2}
    assert store.counts["list"] == 2
    store.delete(names)
    assert wire.take() == {"DeleteObjects": 2}
    assert store.counts["delete"] == 2


def test_a_missing_bucket_is_refused_in_a_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"output s3://nowhere-at-all/x is not writable"):
        Store.open("s3://nowhere-at-all/x", options=options).check_writable()


def test_a_missing_bucket_is_told_from_a_missing_object(
    options: dict[str, Any], store: RemoteStore
) -> None:
    assert store.get("run.yaml") is None
    assert store.list("reviews") == []
    nowhere = Store.open("s3://nowhere-at-all/x", options=options)
    for ask in (lambda: nowhere.get("run.yaml"), lambda: nowhere.list("reviews")):
        with pytest.raises(StoreError, match=r"^there is no such bucket: s3://nowhere") as caught:
            ask()
        assert caught.value.final


def test_unknown_options_are_refused_in_a_sentence(options: dict[str, Any]) -> None:
    wrong = {**options, "config_kwargs": {"no_such_option": 1}}
    with pytest.raises(ConfigError, match="no_such_option"):
        Store.open("s3://nowhere-at-all/x", options=wrong).check_writable()


def test_the_requests_of_a_whole_collection(store: RemoteStore) -> None:
    """Commit, seal, plan, compact and finish, counted where it costs money."""
    works = [Work(f"item {i}", i, {"encode": f"{i:032d}"}) for i in range(4)]
    wire = Wire(store)
    ledger = ledgers.load(store)
    assert wire.take() == {"ListObjectsV2": 3}
    plan = make_plan(works, ledger, shard_size=10, material_of=lambda work: {})
    [(shard, pending)] = plan.shards.items()
    records = [
        commit(
            store,
            Record(item_id=p.work.item_id, shard_id=shard, key=p.work.key, status="done"),
        )
        for p in pending
    ]
    assert wire.take() == {"PutObject": 4}
    ledgers.seal_shard(store, plan.plan_key, shard, records)
    assert wire.take() == {"ListObjectsV2": 1, "PutObject": 2, "DeleteObjects": 1}
    ledgers.seal_all(store, plan.plan_key, {"done": 4}, ledger=ledger)
    assert wire.take() == {"PutObject": 1, "ListObjectsV2": 1}
    assert ledgers.compact(store) == 1
    assert wire.take() == {"ListObjectsV2": 3, "GetObject": 1, "PutObject": 2}

    store.counts.clear()
    assert ledgers.finished(store, plan.plan_key)
    assert wire.take() == {"GetObject": 1}
    assert sum(store.counts.values()) == 1
    assert store.get(paths.seal(plan.plan_key, shard))
    assert wire.take() == {"GetObject": 1}
    assert len(ledgers.load(store)) == 4
    assert wire.take() == {"ListObjectsV2": 3, "GetObject": 2}
    assert store.list(paths.RECORDS) == []
