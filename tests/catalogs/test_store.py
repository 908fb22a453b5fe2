import errno
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from catalogs import store_local
from catalogs.errors import ConfigError, StoreError
from catalogs.ledger import load
from catalogs.store import ObjectInfo, Store
from catalogs.store_local import LocalStore
from catalogs.store_remote import RemoteStore


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store.open(str(tmp_path / "out"))
    return Store.open(f"memory://{tmp_path.name}/out")


def names(found: Sequence[ObjectInfo]) -> list[str]:
    return [info.path for info in found]


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get("a/b") is None
    store.put("a/b", b"one")
    store.put("a/b", b"two")
    assert store.get("a/b") == b"two"
    assert store.counts == {"get": 2, "put": 2}


def test_empty_and_large_objects(store: Store) -> None:
    store.put("empty", b"")
    store.put("large", bytes(3_000_000))
    assert store.get("empty") == b""
    assert store.get("large") == bytes(3_000_000)


def test_create_writes_once(store: Store) -> None:
    assert store.create("r/x.json", b"first")
    assert not store.create("r/x.json", b"second")
    assert store.get("r/x.json") == b"first"


def test_of_many_creators_one_wins(store: Store) -> None:
    for turn in range(20):
        won: list[int] = []
        barrier = threading.Barrier(8)

        def create(i: int, turn: int = turn, won: list[int] = won, barrier: Any = barrier) -> None:
            barrier.wait()
            if store.create(f"race/{turn}", str(i).encode() * 1000):
                won.append(i)

        threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(f"race/{turn}") == str(won[0]).encode() * 1000


def test_creates_in_memory_are_exclusive_although_their_test_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}")
    exists = store.fs.exists

    def slow(path: str, **options: Any) -> bool:
        found = bool(exists(path, **options))
        time.sleep(0.01)
        return found

    monkeypatch.setattr(store.fs, "exists", slow)
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda i: store.create("x", bytes([i])), range(4)))
    assert sorted(won) == [False, False, False, True]
    assert store.get("x") == bytes([won.index(True)])


def test_listing_is_deep_sorted_and_sized(store: Store) -> None:
    for path, size in [("r/s1/b", 2), ("r/s1/a", 1), ("r/s0/c", 3), ("rest/d", 4)]:
        store.put(path, b"x" * size)
    found = store.list("r")
    assert [(info.path, info.size) for info in found] == [
        ("r/s0/c", 3),
        ("r/s1/a", 1),
        ("r/s1/b", 2),
    ]
    assert all(info.modified and info.modified.tzinfo for info in found)
    assert names(store.list("r/s1")) == ["r/s1/a", "r/s1/b"]
    assert store.list("nothing/here") == []


def test_delete_many_and_missing(store: Store) -> None:
    for i in range(5):
        store.put(f"d/{i}", b"x")
    store.counts.clear()
    store.delete(["d/1", "d/missing", "d/3", "d/1"])
    assert names(store.list("d")) == ["d/0", "d/2", "d/4"]
    assert store.counts == {"delete": 1, "list": 1}
    store.delete([])
    assert store.counts["delete"] == 1


def test_head(store: Store) -> None:
    store.put("h/x", b"123")
    info = store.head("h/x")
    assert info is not None
    assert (info.path, info.size) == ("h/x", 3)
    assert store.head("h/y") is None
    assert store.head("h") is None


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "./a", "a/."])
def test_no_path_leaves_the_store(store: Store, path: str) -> None:
    for act in (store.get, store.head, store.list, lambda p: store.put(p, b""), store.uri):
        with pytest.raises(ValueError, match="relative path"):
            act(path)  # type: ignore[operator]
    with pytest.raises(ValueError, match="relative path"):
        store.delete([path])


def test_a_store_travels_to_another_process(store: Store) -> None:
    store.put("x", b"1")
    assert pickle.loads(pickle.dumps(store)).get("x") == b"1"


def test_addresses(tmp_path: Path) -> None:
    local, memory = Store.open(str(tmp_path)), Store.open("memory://room/out/")
    assert local.uri("a/b") == str(tmp_path / "a" / "b")
    assert Store.open(f"file://{tmp_path}").url == local.url
    assert memory.uri("a") == "memory://room/out/a"
    memory.put("a", b"5")
    with fsspec.open(memory.uri("a")) as file:
        assert file.read() == b"5"


def test_opening_makes_no_request_and_no_folder(tmp_path: Path) -> None:
    assert Store.open(str(tmp_path / "later")).counts == {}
    assert not (tmp_path / "later").exists()


def test_a_leftover_temporary_file_is_no_object(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.put("a/x", b"1")
    (tmp_path / "a" / f"{store_local._TEMPORARY}0123").write_bytes(b"half")
    assert names(store.list("a")) == ["a/x"]


def test_old_temporary_files_of_killed_writers_go(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.put("records/s/x.1.json", b"1")
    store.put("videos/a/x", b"1")
    files = [
        tmp_path / folder / f"{store_local._TEMPORARY}{name}"
        for folder in ("records/s", "videos/a")
        for name in ("old", "new")
    ]
    for path in files:
        path.write_bytes(b"half")
        if path.name.endswith("old"):
            os.utime(path, (time.time() - 90_000,) * 2)
    old = tmp_path / "records" / "s" / "x.1.json"
    os.utime(old, (0, 0))
    store.check_writable()
    assert [path.exists() for path in files] == [False, True, True, True]
    assert old.exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store.open(str(tmp_path))
    store.put("a/x", b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="No space left"):
        store.put("a/x", b"new")
    assert os.listdir(tmp_path / "a") == ["x"]
    assert store.get("a/x") == b"old"
    assert store.counts["put"] == 2  # a full disk is not tried again
    store.put("a/x", b"quick", durable=False)
    assert store.get("a/x") == b"quick"


def test_disks_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = Store.open(str(tmp_path))
    assert store.create("a/x", b"1")
    assert not store.create("a/x", b"2")
    assert store.get("a/x") == b"1"
    assert os.listdir(tmp_path / "a") == ["x"]


class Flaky(LocalStore):
    """Local disk whose requests fail a number of times first."""

    backoff = 0.0

    def __init__(self, root: Path, failures: int, make: Callable[[], Exception]) -> None:
        super().__init__(root)
        self.failures, self.make = failures, make

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.make()

    def _get(self, path: str) -> bytes:
        self._fail()
        return super()._get(path)

    def _put(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        self._fail()
        super()._put(path, data, content_type, durable)

    def _create(self, path: str, data: bytes, content_type: str | None, durable: bool) -> None:
        super()._create(path, data, content_type, durable)
        self._fail()  # the answer is lost, not the request

    def _list(self, prefix: str) -> Sequence[ObjectInfo]:
        self._fail()
        return super()._list(prefix)


TRANSIENT = [
    ConnectionResetError,
    TimeoutError,
    lambda: OSError(errno.EBUSY, "409 conflict"),
    lambda: OSError(errno.EREMOTEIO, "500"),
]


@pytest.mark.parametrize("make", TRANSIENT)
def test_what_may_pass_is_tried_again(tmp_path: Path, make: Callable[[], Exception]) -> None:
    store = Flaky(tmp_path, 4, make)
    store.put("x", b"1")
    assert store.counts["put"] == 5
    store.failures = 4
    assert store.get("x") == b"1"
    store.failures = 4
    assert names(store.list("r")) == []
    store.failures = 5
    with pytest.raises(StoreError, match="get of x"):
        store.get("x")


@pytest.mark.parametrize("make", [lambda: PermissionError(13, "no"), lambda: OSError(28, "full")])
def test_what_cannot_pass_is_not_tried_again(tmp_path: Path, make: Callable[[], Exception]) -> None:
    store = Flaky(tmp_path, 1, make)
    with pytest.raises(StoreError):
        store.put("x", b"1")
    assert store.counts["put"] == 1


def test_mistakes_in_code_are_not_taken_for_trouble_with_the_store(tmp_path: Path) -> None:
    store = Flaky(tmp_path, 1, lambda: KeyError("bug"))
    with pytest.raises(KeyError):
        store.get("x")
    assert store.counts["get"] == 1


def test_a_create_whose_answer_was_lost_says_that_it_exists(tmp_path: Path) -> None:
    store = Flaky(tmp_path, 1, TimeoutError)
    assert not store.create("x", b"mine")
    assert store.get("x") == b"mine"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = LocalStore(tmp_path)
    store.backoff = 0.0
    store.put("records/s/x", b"1")
    scandir = os.scandir

    def broken(path: Any) -> Any:
        if Path(path).name == "s":
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(StoreError, match=r"list of records in .* failed"):
        store.list("records")
    with pytest.raises(StoreError, match="list of"):
        load(store)
    assert store.list("manifest") == []


class GatewayFileSystem(MemoryFileSystem):
    """Answers EINVAL to a create on an existing object, as some S3 gateways do."""

    protocol = "gateway"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if (mode == "create" and self.exists(path)) or path.endswith("bad"):
            raise OSError(errno.EINVAL, "invalid argument")
        super().pipe_file(path, value, mode=mode, **kwargs)


def test_a_gateway_that_calls_existing_objects_invalid() -> None:
    fsspec.register_implementation("gateway", GatewayFileSystem, clobber=True)
    store = RemoteStore("gateway://room")
    assert store.create("x", b"1")
    assert not store.create("x", b"2")
    with pytest.raises(StoreError):
        store.create("bad", b"1")


def test_outputs_that_cannot_be_written_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"output .* is not writable: .*file is a file\."):
            Store.open(str(path)).check_writable()

    def denied(self: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigError, match=r"is not writable: Permission denied\."):
        Store.open(str(tmp_path / "other")).check_writable()


def test_a_writable_output_is_left_as_it_was(store: Store) -> None:
    store.check_writable()
    assert store.list("runs") == []


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("nonsense://x", None, "nonsense"),
        ("hf://datasets/owner/name", None, "output hf://.* can only be read; allowed are a folder"),
        ("https://host/x", None, "'https' is no object store"),
        ("http://user:password@host/x", None, r"http://\.\.\.\) holds credentials"),
        ("s3://KEY:SECRET@bucket/x", None, r"s3://\.\.\.\) holds credentials .*environment"),
        ("az://box/x?sv=1&sig=SECRET", None, r"az://\.\.\.\) holds credentials"),
        ("s3://bucket/x?X-Amz-Signature=SECRET", None, "holds credentials or a signature"),
        ("gs://bucket/x", None, r"pip install 'epa\[gcs\]'"),
        ("abfs://box/x", None, r"pip install 'epa\[azure\]'"),
    ],
)
def test_urls_that_cannot_be_opened(
    url: str, options: dict[str, Any] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("gcsfs", "gcsfs.core", "adlfs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=message) as caught:
        Store.open(url, options=options)
    assert "SECRET" not in str(caught.value)
